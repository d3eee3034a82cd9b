"""The spec from outside: YAML in, every problem out, on its line."""

from __future__ import annotations

import contextlib
from datetime import timedelta
from decimal import Decimal
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.core.classes import DataClass
from gateway.core.errors import SpecError
from gateway.core.load import load_spec, parse_spec
from gateway.core.spec import Data, JobSpec

MINIMAL = "name: notes\nmodel: tunegate-demo\ndata: {train: notes.jsonl}\n"


def problems(text: str) -> dict[str, tuple[int | None, str]]:
    with pytest.raises(SpecError) as caught:
        parse_spec(text)
    return {p.path: (p.line, f"{p.text} {p.fix or ''}") for p in caught.value.problems}


def test_a_minimal_spec_gets_safe_defaults() -> None:
    spec = parse_spec(MINIMAL)
    assert spec.data.class_ is DataClass.PHI  # absent means phi
    assert spec.model == ("tunegate-demo",)
    assert spec.data.train == ("notes.jsonl",)
    assert spec.route.backends == ()
    assert spec.hyperparameters.epochs == "auto"


def test_the_whole_language() -> None:
    spec = parse_spec(
        MINIMAL
        + """
hyperparameters: {epochs: 3, learning_rate: 1e-4, lora: {rank: 8}}
route: {backends: [local], objective: fastest, budget_usd: 50.10, deadline: 24h}
serving: {input_tokens_per_month: 30_000_000, months: 6}
evaluate: {metrics: [exact_match], json_schema: null}
"""
    )
    assert spec.hyperparameters.learning_rate == 1e-4  # YAML 1.2: a number
    assert spec.route.budget_usd == Decimal("50.1")
    assert spec.route.deadline == timedelta(days=1)
    assert spec.serving is not None
    assert spec.serving.input_tokens_per_month == 30_000_000


def test_yaml_1_2_no_is_a_word() -> None:
    assert parse_spec(MINIMAL + "team: no\n").team == "no"


def test_five_mistakes_are_reported_at_once_each_on_its_line() -> None:
    found = problems(
        "name: Soap Notes\nmodle: x\ntask: sfd\ndata:\n  trian: a.jsonl\n"
        "hyperparameters: {epochs: 0, lora: {rnk: 3}}\n"
    )
    assert found["modle"] == (2, "unknown key did you mean `model`?")
    assert found["data.trian"] == (5, "unknown key did you mean `train`?")
    assert found["hyperparameters.lora.rnk"] == (6, "unknown key did you mean `rank`?")
    assert found["task"][0] == 3
    assert found["name"][0] == 1
    assert found["hyperparameters.epochs"][0] == 6
    assert found["model"][1].startswith("required")
    assert found["data.train"] == (4, "required, and missing add it")


@pytest.mark.parametrize(
    ("line", "path"),
    [
        ("data: {train: a.jsonl, class: secret}", "data.class"),
        ("data: {train: a.jsonl, test: 1.5}", "data.test"),
        ("data: {train: []}", "data.train"),
        ("route: {deadline: 3 weeks}", "route.deadline"),
        ("route: {deadline: 0h}", "route.deadline"),
        ("route: {deadline: 99999999999999999d}", "route.deadline"),
        ("route: {budget_usd: -1}", "route.budget_usd"),
        ("serving: {months: true}", "serving.months"),
        ("hyperparameters: {learning_rate: fast}", "hyperparameters.learning_rate"),
        ("hyperparameters: {learning_rate_multiplier: 0}", "hyperparameters.learning_rate_multiplier"),
        ("version: 2", "version"),
    ],
)
def test_a_wrong_value_names_its_field(line: str, path: str) -> None:
    base = "" if line.startswith("data") else "data: {train: a.jsonl}\n"
    assert path in problems(f"name: a\nmodel: b\n{base}{line}\n")


def test_broken_yaml_names_the_line(tmp_path: Path) -> None:
    file = tmp_path / "job.yaml"
    file.write_text("name: a\nmodel: [b\ndata: {}\n")
    with pytest.raises(SpecError) as caught:
        load_spec(file)
    assert caught.value.place == str(file)
    assert caught.value.problems[0].line == 3


@pytest.mark.parametrize("content", [b"- a\n- b\n", b"", b"\xff\xfe\x00", b"just words"])
def test_what_is_no_mapping_is_refused(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "job.yaml"
    file.write_bytes(content)
    with pytest.raises(SpecError):
        load_spec(file)


def test_a_missing_file_and_a_folder(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match="no such file"):
        load_spec(tmp_path / "nothing.yaml")
    with pytest.raises(SpecError, match="folder"):
        load_spec(tmp_path)


def test_the_hash_covers_every_default_and_nothing_else() -> None:
    spec = parse_spec(MINIMAL)
    spelled_out = parse_spec(MINIMAL + "task: sft\nmethod: auto\n")
    assert spec.hash() == spelled_out.hash()
    assert spec.hash() != parse_spec(MINIMAL + "task: dpo\n").hash()


def test_a_spec_knows_the_folder_its_paths_are_relative_to(tmp_path: Path) -> None:
    file = tmp_path / "job.yaml"
    file.write_text(MINIMAL)
    assert load_spec(file).folder == tmp_path
    assert load_spec(file).hash() == parse_spec(MINIMAL).hash()  # the same job wherever it lies


def test_python_and_yaml_are_the_same_model() -> None:
    in_python = JobSpec(name="notes", model=("tunegate-demo",), data=Data(train=("notes.jsonl",)))
    assert in_python == parse_spec(MINIMAL)
    assert JobSpec.model_validate(in_python.to_json()) == in_python


@given(st.text(max_size=200))
def test_any_text_is_a_spec_or_a_spec_error(text: str) -> None:
    with contextlib.suppress(SpecError):
        assert isinstance(parse_spec(text), JobSpec)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("rows.jsonl", '{"Margaret Whitfield": 1}'),
        ("rows.csv", "name,Whitfield\n"),
        ("job.yaml", '{"Margaret Whitfield": 1}'),
        ("job.yaml", "a: *Whitfield219\n"),
        ("job.yaml", "Whitfield: [1, 2\n"),
    ],
)
def test_a_file_that_is_no_spec_is_told_so_and_not_quoted(tmp_path: Path, name: str, text: str) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(SpecError) as caught:
        load_spec(tmp_path / name)
    assert "Whitfield" not in f"{caught.value} {caught.value.problems} {caught.value.to_json()}"
