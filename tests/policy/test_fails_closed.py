"""Missing, mistyped, malformed, empty: never allowed by accident."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from dataclasses import fields, replace
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.core.classes import DataClass
from gateway.core.gate import Attestation, GateRequest
from gateway.policy import explain, load_gate, shipped_sets
from gateway.policy.engine import judge
from gateway.policy.question import UNSAFE, cedar_request
from tests.policy.asking import GOOD, LOCAL, MANAGED, REQUESTS, TODAY, signed

GATE = load_gate()
ALLOWED = replace(MANAGED, attestations=signed("baa", "modified_retention"))
WRONG: tuple[object, ...] = (None, 1, 1.5, "yes", "PHI", "true", True, [], ["x"], [1], {}, {"x": 1})


def paths(tree: dict[str, Any], at: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """Every key of a nested question; entities count as one value."""
    for key, value in tree.items():
        yield (*at, key)
        if isinstance(value, dict) and not value.keys() & {"__entity", "type"}:
            yield from paths(value, (*at, key))  # pyright: ignore[reportUnknownArgumentType]


QUESTION = cedar_request(ALLOWED, GATE.book.words)
LEAVES = [path for path in paths(QUESTION) if path[0] == "context" and len(path) > 1]


def parent(question: dict[str, Any], path: tuple[str, ...]) -> dict[str, Any]:
    for key in path[:-1]:
        question = question[key]
    return question


def test_the_question_that_is_mutated_below_is_allowed() -> None:
    assert judge(QUESTION, GATE.book.every).allowed
    assert len(LEAVES) > 20


@pytest.mark.parametrize("path", LEAVES, ids=".".join)
def test_deleting_any_attribute_is_denied_as_unjudged(path: tuple[str, ...]) -> None:
    question = copy.deepcopy(QUESTION)
    del parent(question, path)[path[-1]]
    verdict = judge(question, GATE.book.every)
    assert not verdict.allowed
    assert not verdict.judged


@pytest.mark.parametrize("path", LEAVES, ids=".".join)
def test_an_attribute_of_another_type_is_denied_as_unjudged(path: tuple[str, ...]) -> None:
    original = parent(QUESTION, path)[path[-1]]
    for wrong in WRONG:
        same_type = type(wrong) is type(original) and not isinstance(wrong, dict)
        if same_type and wrong != [1]:
            continue  # of the right type: another question, not a malformed one
        question = copy.deepcopy(QUESTION)
        parent(question, path)[path[-1]] = wrong
        verdict = judge(question, GATE.book.every)
        assert not verdict.allowed, wrong
        assert not verdict.judged, wrong


@pytest.mark.parametrize("name", ["PHI", "Public", "secret", "", "public "])
def test_a_misspelt_class_is_never_one(name: str) -> None:
    question = copy.deepcopy(QUESTION)
    question["context"]["data"]["class"] = {"__entity": {"type": "Class", "id": name}}
    assert not judge(question, GATE.book.every).judged


@pytest.mark.parametrize("attribute", sorted({*UNSAFE, "title"}))
@settings(max_examples=40, deadline=None)
@given(ask=REQUESTS, wrong=st.sampled_from(WRONG))
def test_a_fact_missing_or_mistyped_never_opens_a_door(attribute: str, ask: GateRequest, wrong: Any) -> None:
    if GATE.verdict(ask).allowed:
        return
    without = {name: value for name, value in ask.handling.items() if name != attribute}
    assert not GATE.verdict(replace(ask, handling=without)).allowed
    if not isinstance(wrong, type(UNSAFE.get(attribute, ""))):
        assert not GATE.verdict(replace(ask, handling={**without, attribute: wrong})).allowed


@pytest.mark.parametrize("attribute", ["hipaa_eligible", "hipaa_requires", "trains_on_data"])
def test_absent_means_unsafe(attribute: str) -> None:
    handling = {name: value for name, value in GOOD.items() if name != attribute}
    assert not GATE.decide(replace(ALLOWED, handling=handling)).allowed


@pytest.mark.parametrize("field", [f.name for f in fields(GateRequest)])
@pytest.mark.parametrize("wrong", [None, 7, object(), ["x"], "x\ud800"], ids=repr)
def test_a_malformed_request_is_answered_with_a_deny(field: str, wrong: Any) -> None:
    """No request raises. Where the field is free text, the wrong value may be as good as another."""
    free = {"team", "backend", "model", "region", "offer", "purpose", "asked_residency", "account"}
    start = replace(ALLOWED, asked_residency="us")
    malformed = replace(start, **{field: wrong})
    decision = GATE.decide(malformed)
    if field not in free and not (field == "residency" and wrong == start.residency):
        assert not decision.allowed
    assert decision.grounds
    assert explain(GATE, malformed).allowed is decision.allowed


def test_one_word_is_not_a_tuple_of_tags() -> None:
    wrong: Any = "part2"
    assert not GATE.decide(replace(ALLOWED, tags=wrong)).allowed


def test_a_class_by_its_number_is_not_a_class() -> None:
    wrong: Any = 0
    assert not GATE.decide(replace(ALLOWED, data_class=wrong)).allowed


@pytest.mark.parametrize("ask", [LOCAL, ALLOWED, replace(ALLOWED, data_class=DataClass.PUBLIC)])
def test_without_rules_nothing_is_permitted_not_even_here(ask: GateRequest) -> None:
    decision = load_gate(sets=()).decide(ask)
    assert not decision.allowed
    assert [ground.rule for ground in decision.grounds] == ["default-deny"]


@pytest.mark.parametrize("sets", [("hipaa",), ("gdpr-eu",), ("on-prem-only",)])
def test_a_set_of_restrictions_alone_permits_nothing_here(sets: tuple[str, ...]) -> None:
    assert not load_gate(sets=sets).decide(LOCAL).allowed


def test_an_agreement_holds_from_its_first_day_to_its_last() -> None:
    day = timedelta(days=1)

    def allowed(first: date, last: date | None) -> bool:
        held = (Attestation("dpa", "cloud", first, last),)
        return GATE.decide(replace(MANAGED, data_class=DataClass.PII, attestations=held)).allowed

    assert allowed(TODAY, TODAY)
    assert allowed(TODAY - day, None)
    assert not allowed(TODAY + day, None)  # the clock stands before the signature
    assert not allowed(TODAY - 2 * day, TODAY - day)


def test_a_clock_with_a_time_of_day_is_not_a_day() -> None:
    assert not GATE.decide(replace(ALLOWED, as_of=datetime(2026, 11, 22).astimezone())).allowed


def test_grounds_hold_no_engine_messages() -> None:
    """The engine quotes the whole question in its errors; nobody else may."""
    canary = "canary-8831"
    wrong: Any = canary
    decision = GATE.decide(replace(ALLOWED, scanned=wrong, tags=(canary,)))
    assert not decision.allowed
    assert canary not in str(decision.to_json())


def test_a_rule_that_fails_while_it_is_tried_spoils_the_answer(tmp_path: Path) -> None:
    """Cedar skips a rule that fails; a skipped forbid must not let the permits win."""
    ours = tmp_path / "ours.cedar"
    ours.write_text(
        '@id("ours.overflow") @reason("Always.")\n'
        "forbid (principal, action, resource) when { 9223372036854775807 + 1 > 0 };\n"
    )
    gate = load_gate([ours])
    assert not gate.verdict(ALLOWED).judged
    assert [ground.rule for ground in gate.decide(LOCAL).grounds] == ["gate.error"]


def test_every_shipped_set_loads_together() -> None:
    assert not load_gate(sets=shipped_sets()).decide(ALLOWED).allowed
