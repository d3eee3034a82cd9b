"""The model card: read by the hub's own parser, plain about what is worse and what is not known."""

from __future__ import annotations

from typing import Any

import pytest

from gateway.records import model_card
from tests.records.test_predicates import PLAN

JOB: dict[str, Any] = {
    "id": "job-1",
    "state": "succeeded",
    "raw_state": "done",
    "backend": "local",
    "model": "tiny: demo",
    "region": "here",
    "offer": "this-machine",
    "estimate_usd": None,
    "actual_usd": None,
}
SPEC: dict[str, Any] = {
    "name": "notes",
    "task": "sft",
    "method": "lora",
    "data": {"purpose": "triage\n# injected"},
    "hyperparameters": {"epochs": 3, "lora": {"rank": 16}},
}


def _evaluation(verdict: str) -> dict[str, Any]:
    value = {"value": 0.5, "low": 0.4, "high": 0.6, "n": 40}
    return {
        "rows": 40,
        "metrics": {part: {"exact_match": value} for part in ("base", "tuned", "difference")},
        "verdicts": {"exact_match": verdict},
    }


def _card(verdict: str = "better") -> str:
    return model_card(
        JOB, PLAN.to_json(), _evaluation(verdict), spec=SPEC, libraries={"peft": "0.18"}, record="3:ab"
    )


def test_the_hubs_own_parser_reads_it() -> None:
    hub = pytest.importorskip("huggingface_hub")
    card = hub.ModelCard(_card())
    data = card.data.to_dict()
    assert data["base_model"] == "tiny: demo"
    assert data["library_name"] == "peft"
    assert "data-class-phi" in data["tags"]
    assert card.data.eval_results[0].metric_value == 0.5


def test_worse_is_said_plainly() -> None:
    assert "WORSE than its base by exact_match" in _card("worse")
    assert "WORSE" not in _card("better")


def test_it_says_what_limits_it() -> None:
    card = _card()
    assert "Inherits class phi" in card
    assert "not completely scanned" in card
    assert "40 rows only" in card
    assert "`3:ab`" in card
    assert "| exact_match | 0.500 (0.400 … 0.600) |" in card


def test_it_says_whose_rules_decided() -> None:
    assert "Rules in force: `baseline`, `ours.cedar`; policy" in _card()
    plan: dict[str, Any] = {**PLAN.to_json(), "rules": []}
    assert "Rules in force: none" in model_card(JOB, plan, None)


def test_unknown_is_not_zero() -> None:
    card = model_card(JOB, PLAN.to_json(), None)
    assert "Actual cost: unknown" in card
    assert "Not evaluated" in card
    assert "No signed record" in card
    assert "$0" not in card


def test_a_users_text_cannot_add_headings() -> None:
    assert "\n# injected" not in _card()
