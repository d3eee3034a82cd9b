"""Whether to tune at all: what the numbers say, by whose figures, and what they leave to people."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from pathlib import Path

import pytest

from gateway import Gateway, JobSpec
from gateway.advice import Advice, Finding

CLOCK = datetime(2026, 11, 22, 12, tzinfo=UTC)


def _row(prompt: str, answer: str) -> str:
    return json.dumps(
        {"messages": [{"role": "user", "content": prompt}, {"role": "assistant", "content": answer}]}
    )


def ask(folder: Path, rows: Iterable[tuple[str, str]], **data: object) -> Advice:
    (folder / "rows.jsonl").write_text("\n".join(_row(*row) for row in rows))
    traffic = {
        "input_tokens_per_month": 30_000_000,
        "output_tokens_per_month": 5_000_000,
        "incumbent": "gpt-4.1",
    }
    told: Mapping[str, object] = {
        "name": "job",
        "model": "nova-micro",
        "data": {"train": "rows.jsonl", "class": "public", "test": 0.2, **data},
        "serving": traffic,
    }
    gateway = Gateway(home=folder / "home", clock=lambda: CLOCK)
    return gateway.advise(JobSpec.model_validate(told).at(folder))


def about(advice: Advice, what: str) -> Finding | None:
    return next((finding for finding in advice.findings if finding.about == what), None)


def labels(count: int, *names: str) -> list[tuple[str, str]]:
    return [(f"ticket number {n} about a thing called {n * 7}", names[n % len(names)]) for n in range(count)]


def test_enough_of_every_label_is_worth_trying(tmp_path: Path) -> None:
    advice = ask(tmp_path, labels(600, "billing", "login", "other"))
    size = about(advice, "size")
    assert advice.verdict == "worth trying"
    assert (advice.look.kind, advice.look.per_label) == ("classification", (200, 200, 200))
    assert size is not None
    assert size.level == "good"
    assert "200 to 500 advised" in size.text
    assert "500 to 1,000 at least for LoRA" in size.text  # the guides that say otherwise stand beside


def test_too_few_is_not_yet_and_says_how_many_are_missing(tmp_path: Path) -> None:
    advice = ask(tmp_path, labels(60, "billing", "login"))
    size = about(advice, "size")
    assert advice.verdict == "not yet"
    assert size is not None
    assert (size.level, size.do) == ("stop", "collect 20 more examples of the rarest label")


def test_a_rare_label_is_told(tmp_path: Path) -> None:
    rows = [*labels(900, "billing"), *((f"rare {n}", "fraud") for n in range(60))]
    balance = about(ask(tmp_path, rows), "balance")
    assert balance is not None
    assert "900" in balance.text
    assert "60" in balance.text


def test_one_answer_for_nearly_all_is_no_task_for_a_model(tmp_path: Path) -> None:
    rows = [(f"question {n}", "yes" if n % 10 else "no") for n in range(1000)]
    constant = about(ask(tmp_path, rows), "constant answers")
    assert constant is not None
    assert constant.level == "stop"


def test_copies_and_contradictions_are_counted(tmp_path: Path) -> None:
    rows = [(f"question {n % 150}", f"an answer in words of its own, {n % 300}") for n in range(600)]
    advice = ask(tmp_path, rows)
    assert advice.look.repeated == 300
    assert advice.look.contradictory == 150
    assert about(advice, "copies") is not None
    assert about(advice, "contradictions") is not None


def test_json_answers_are_a_format(tmp_path: Path) -> None:
    rows = [(f"make it {n}", json.dumps({"n": n, "ok": True})) for n in range(250)]
    advice = ask(tmp_path, rows)
    size = about(advice, "size")
    assert advice.look.kind == "output format"
    assert size is not None
    assert size.level == "mind"  # 200 at least, 500 advised


def test_answers_from_nowhere_point_to_retrieval(tmp_path: Path) -> None:
    fact = "the harbour master keeps seventeen lanterns beside every northern granary until tides recede "
    rows = [(f"what of case {n}?", f"{fact * 2} {n}") for n in range(320)]
    knowledge = about(ask(tmp_path, rows), "knowledge")
    assert knowledge is not None
    assert "retrieve" in knowledge.do


def test_held_out_rows_that_are_trained_on_are_found(tmp_path: Path) -> None:
    (tmp_path / "test.jsonl").write_text("\n".join(_row(*row) for row in labels(30, "billing", "login")))
    advice = ask(tmp_path, labels(400, "billing", "login"), test="test.jsonl")
    leaked = about(advice, "leakage")
    assert leaked is not None
    assert leaked.level == "stop"
    assert "30 held-out rows" in leaked.text


def test_what_it_saves_is_worked_out_from_the_plan(tmp_path: Path) -> None:
    back = about(ask(tmp_path, labels(600, "a", "b")), "return")
    assert back is not None
    assert back.level == "good"
    assert "gpt-4.1 costs $100.00 a month" in back.text
    assert "people's time" in back.text


def test_questions_for_people_are_always_asked_and_every_finding_has_a_source(tmp_path: Path) -> None:
    advice = ask(tmp_path, labels(600, "a", "b"), test=0)
    assert {"prompting", "review"} <= {each.about for each in advice.findings if each.level == "ask"}
    assert about(advice, "evaluation") is not None
    assert all(finding.source for finding in advice.findings)
    assert advice.to_json()["schema"] == "tunegate.advice/1"


@pytest.mark.parametrize("text", ["ticket number 3", "thing called"])
def test_no_row_text_is_in_the_advice(tmp_path: Path, text: str) -> None:
    assert text not in json.dumps(ask(tmp_path, labels(100, "billing", "login")).to_json())
