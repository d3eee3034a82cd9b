"""`tunegate cost probe` and `cost fit`: measured with one's own job, and the next plan says so."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.stories.conftest import CANARY, User, easy_rows, training_spec


@pytest.fixture
def trainer(user: User, tiny: Path) -> User:
    user.chats("data.jsonl", [*easy_rows(), (f"what is {CANARY}", f"a {CANARY}")])
    training_spec(user, tiny)
    return user


def reasons(shown: dict[str, object]) -> dict[str, str]:
    candidate = shown["candidates"][0]  # pyright: ignore[reportIndexIssue, reportUnknownVariableType]
    return {reason["code"]: reason["text"] for reason in candidate["reasons"]}  # pyright: ignore[reportUnknownVariableType]


def test_a_probe_measures_with_the_job_itself_and_the_next_plan_says_so(trainer: User) -> None:
    before = trainer.json("plan", "job.yaml")
    assert "cost probe" in reasons(before)["assumed"]
    found = trainer.json("cost", "probe", "job.yaml", "--steps", "4")
    assert len(found["steps"]) == 4
    assert found["peak_gib"] >= found["loaded_gib"] >= found["idle_gib"] > 0.1
    assert all(step["seconds"] > 0 and step["passes"]["tokens"] > 0 for step in found["steps"])
    after = trainer.json("plan", "job.yaml")
    assert re.search(r"measured on this machine on \d{4}-\d\d-\d\d$", reasons(after)["measured"])
    low, high = (
        [float(plan["candidates"][0]["duration_h"][name]) for plan in (before, after)]
        for name in ("low", "high")
    )
    assert high[1] / low[1] < high[0] / low[0]
    kept = [path for path in (trainer.home / "probes").rglob("*") if path.is_file()]
    assert [path.suffix for path in kept] == [".json"]
    assert CANARY not in kept[0].read_text(encoding="utf-8")


def test_a_probe_trains_nothing_and_leaves_no_job(trainer: User) -> None:
    told = trainer.tunegate("cost", "probe", "job.yaml", "--steps", "4").stdout
    assert "4 steps of" in told
    assert "tokens a second" in told
    assert not list((trainer.home / "jobs").glob("*"))
    assert CANARY not in told


def test_what_cannot_run_here_cannot_be_probed_here(user: User) -> None:
    user.chats("data.jsonl", easy_rows())
    user.spec("route: {backends: [local]}\n", model="llama-3.1-8b-instruct")
    told = user.tunegate("cost", "probe", "job.yaml", code=5).stderr
    assert "nothing to measure here" in told


def test_what_fits_where_is_one_table(trainer: User) -> None:
    told = trainer.tunegate("cost", "fit", "job.yaml").stdout
    assert "this-machine" in told
    assert "H100" in told
    shown = trainer.json("cost", "fit", "job.yaml")
    assert {each["method"] for each in shown} == {"lora", "qlora", "full"}
    assert all(
        each["memory_gib"] == pytest.approx(sum(each["parts_gib"].values()), abs=0.01) for each in shown
    )
