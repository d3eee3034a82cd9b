"""`options.local`: kept, refused by name, and what becomes of those nobody gave."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from backends.ledger import Ledger
from backends.local.options import LocalOptions, read
from gateway.core.plan import FieldOutcome
from gateway.core.spec import JobSpec


def account(options: dict[str, Any], method: str = "lora") -> tuple[LocalOptions, dict[str, FieldOutcome]]:
    spec = JobSpec.model_validate(
        {
            "name": "tiny",
            "model": "m",
            "method": method,
            "data": {"train": "t.jsonl"},
            "options": {"local": options},
        }
    )
    ledger = Ledger(spec)
    found = read(spec, "local", ledger)
    for path in ("version", "name", "team", "task", "model", "method", "data", "hyperparameters", "evaluate"):
        ledger.kept(path)
    for path in ("route", "serving", "options"):
        ledger.kept(path)
    return found, {outcome.path: outcome for outcome in ledger.close()}


def test_every_option_is_accounted_for() -> None:
    given = {"validate_every": 5, "early_stopping": 0, "checkpoint_every": 7, "keep_checkpoints": 1}
    found, outcomes = account({**given, "processes": 2, "sharded": True})
    assert {outcomes[f"options.local.{name}"].action for name in LocalOptions.model_fields} == {"kept"}
    assert found.model_dump() == {**given, "processes": 2, "sharded": True}


@pytest.mark.parametrize(
    ("options", "method", "path"),
    [
        ({"device": "cuda", "processes": 2}, "lora", "options.local.device"),
        ({"sharded": True}, "qlora", "options.local.sharded"),
    ],
)
def test_what_cannot_be_is_refused_with_its_reason(options: dict[str, Any], method: str, path: str) -> None:
    _, outcomes = account(options, method)
    assert outcomes[path].action == "refused"
    assert outcomes[path].why


@pytest.mark.parametrize("options", [{"processes": 0}, {"keep_checkpoints": 0}, {"early_stopping": True}])
def test_nonsense_is_an_error(options: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        account(options)
