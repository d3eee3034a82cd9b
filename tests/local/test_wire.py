"""From a spec to a run's configuration: nothing dropped, every `auto` decided and said."""

from __future__ import annotations

import json
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from backends.ledger import every_field
from backends.local import wire
from backends.local.backend import LocalBackend
from gateway.core.plan import CandidateKey, FieldOutcome, Fit, Machine, Range, Translation
from gateway.core.rows import DataProfile, FileStats
from gateway.core.spec import JobSpec
from tests.local.conftest import profile_of, sft_row

TARGET = CandidateKey("local", "tunegate-demo", "local", "this-machine")


@pytest.fixture
def profile(tmp_path: Path) -> DataProfile:
    path = tmp_path / "train.jsonl"
    path.write_text("{}\n", encoding="utf-8")
    made = profile_of(path, 300)
    test = FileStats("test", "canonical", 20, 20, {}, "1" * 64, 10)
    return replace(made, converted={"canonical": (*made.converted["canonical"], test)})


def _spec(**changes: Any) -> JobSpec:
    return JobSpec.model_validate(
        {"name": "notes", "model": "tunegate-demo", "data": {"train": "a.jsonl"}, **changes}
    )


def _translate(
    spec: JobSpec, backend: LocalBackend, profile: DataProfile, fit: Fit | None = None
) -> Translation:
    return backend.translate(spec, TARGET, profile, fit)


def _outcome(translation: Translation, path: str) -> FieldOutcome:
    return next(outcome for outcome in translation.fields if outcome.path == path)


def test_every_field_has_one_outcome_and_no_auto_is_left(backend: LocalBackend, profile: DataProfile) -> None:
    spec = _spec(options={"bedrock": {"role_arn": "r"}}, serving={"months": 3})
    translation = _translate(spec, backend, profile)
    assert [outcome.path for outcome in translation.fields] == [path for path, _ in every_field(spec)]
    body = translation.requests[0].body
    settings = [body[key] for key in ("epochs", "batch_size", "learning_rate", "max_length", "method")]
    assert settings == [8, 8, 2e-3, 2048, "lora"]
    changed = [outcome for outcome in translation.fields if outcome.action == "changed"]
    assert all(outcome.why and outcome.before == "auto" for outcome in changed)
    assert not translation.refused
    json.dumps(dict(body))


def test_held_out_rows_are_no_file_of_the_run(backend: LocalBackend, profile: DataProfile) -> None:
    assert [file.name for file in _translate(_spec(), backend, profile).files] == ["train.jsonl"]


@pytest.mark.parametrize(
    ("changes", "path"),
    [
        ({"method": "full", "hyperparameters": {"lora": {"rank": 8}}}, "hyperparameters.lora.rank"),
        ({"method": "qlora", "options": {"local": {"sharded": True}}}, "options.local.sharded"),
        ({"hyperparameters": {"max_length": 100_000}}, "hyperparameters.max_length"),
        (
            {"hyperparameters": {"learning_rate": 1e-4, "learning_rate_multiplier": 2.0}},
            "hyperparameters.learning_rate_multiplier",
        ),
        ({"options": {"local": {"device": "cuda"}}}, "options.local.device"),
    ],
)
def test_what_makes_no_sense_is_refused(
    backend: LocalBackend, profile: DataProfile, changes: dict[str, Any], path: str
) -> None:
    translation = _translate(_spec(**changes), backend, profile)
    assert path in [outcome.path for outcome in translation.refused]
    assert _outcome(translation, path).why


def test_a_multiplier_multiplies_our_rate_and_never_is_one(
    backend: LocalBackend, profile: DataProfile
) -> None:
    spec = _spec(hyperparameters={"learning_rate_multiplier": 2.0})
    translation = _translate(spec, backend, profile)
    assert translation.requests[0].body["learning_rate"] == pytest.approx(4e-3)
    assert "multiplier 2" in (_outcome(translation, "hyperparameters.learning_rate").why or "")


def test_the_machines_fit_decides_how_much_goes_through_at_once(
    backend: LocalBackend, profile: DataProfile
) -> None:
    machine = Machine("this-machine", None, 0, 0.0, 2, 16.0)
    choices = {
        "micro_batch": (2, "memory"),
        "checkpointing": (True, "memory"),
        "precision": ("fp32", "cpu"),
        "threads": (1, "small"),
    }
    fit = Fit(machine, True, 1.0, {}, Range.exactly(Decimal(1)), choices)
    body = _translate(_spec(), backend, profile, fit).requests[0].body
    assert (body["micro_batch_tokens"], body["checkpointing"], body["precision"]) == (4096, True, "fp32")
    assert body["threads"] == 1


@pytest.mark.parametrize(("rows", "epochs"), [(50, 8), (300, 8), (400, 6), (799, 3), (800, 3), (50_000, 3)])
def test_few_rows_are_gone_over_more_often_and_it_is_said_why(
    backend: LocalBackend, profile: DataProfile, rows: int, epochs: int
) -> None:
    few = replace(profile, split_rows={"train": rows})
    outcome = _outcome(_translate(_spec(), backend, few), "hyperparameters.epochs")
    assert outcome.after == epochs
    assert outcome.why
    assert ("steps a pass" in outcome.why) == (epochs > 3)


@pytest.mark.parametrize(
    ("path", "value"),
    [("epochs", 7), ("batch_size", 3), ("learning_rate", 3e-3), ("max_length", 64), ("seed", 5)],
)
def test_what_is_asked_is_what_is_run(
    backend: LocalBackend, profile: DataProfile, path: str, value: float
) -> None:
    translation = _translate(_spec(hyperparameters={path: value}), backend, profile)
    assert translation.requests[0].body[path] == value
    assert _outcome(translation, f"hyperparameters.{path}").action == "kept"


def test_larger_bases_learn_in_smaller_steps(profile: DataProfile, backend: LocalBackend) -> None:
    model = backend.facts.models[0]
    rates = [
        wire.translate(_spec(), TARGET, model, profile, None, max_positions=None, parameters=size)
        .requests[0]
        .body["learning_rate"]
        for size in (2_000_000, 100_000_000, 1_000_000_000, 8_000_000_000, 70_000_000_000)
    ]
    assert rates == sorted(rates, reverse=True)
    assert len(set(rates)) == 5


@pytest.mark.parametrize("task", ["sft", "dpo"])
@pytest.mark.parametrize("parameters", [2_000_000, 8_000_000_000, None])
def test_rates_follow_method_and_task_and_say_so(task: str, parameters: int | None) -> None:
    lora, qlora, full = (wire.Rate.of(task, method, parameters) for method in ("lora", "qlora", "full"))
    assert lora.value == qlora.value == pytest.approx(10 * full.value)
    assert "a tenth of LoRA's" in full.why
    assert ("for preferences" in lora.why) == (task == "dpo")
    assert wire.Rate.of("dpo", "lora", parameters).value < wire.Rate.of("sft", "lora", parameters).value


def test_preferences_have_a_beta_and_answers_none(backend: LocalBackend, profile: DataProfile) -> None:
    spec = _spec(task="dpo", hyperparameters={"dpo": {"beta": 0.3}})
    assert _translate(spec, backend, profile).requests[0].body["beta"] == 0.3
    assert "beta" not in _translate(_spec(), backend, profile).requests[0].body


def test_the_method_that_fits_is_taken_where_the_spec_leaves_it_open(
    backend: LocalBackend, profile: DataProfile
) -> None:
    machine = Machine("this-machine", None, 0, 0.0, 2, 16.0)
    choices = {"method": ("qlora", "only that fits")}
    fit = Fit(machine, True, 1.0, {}, Range.exactly(Decimal(1)), choices)
    translation = _translate(_spec(), backend, profile, fit)
    assert translation.requests[0].body["method"] == "qlora"
    assert _outcome(translation, "method").why == "only that fits"
    assert _translate(_spec(method="lora"), backend, profile, fit).requests[0].body["method"] == "lora"


def test_the_adapters_kind_and_layers_reach_the_run(backend: LocalBackend, profile: DataProfile) -> None:
    asked = {"rank": 8, "rslora": True, "dora": True, "targets": ["q_proj"]}
    body = _translate(_spec(hyperparameters={"lora": asked}), backend, profile).requests[0].body
    assert {name: body["lora"][name] for name in asked} == asked


def test_a_row_converts_to_canonical_json() -> None:
    row = sft_row("a", "b")
    assert wire.convert(row).line == row.to_json()
