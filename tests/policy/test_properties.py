"""Thousands of questions over every combination of rule sets: the gate answers as the reference does,
and nothing that is missing or mistyped turns a deny into an allow."""

from __future__ import annotations

import copy
import itertools
import random
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest

from gateway.core.classes import DataClass
from gateway.core.gate import Action, Attestation, GateRequest
from gateway.policy import Bundle, Pin, TrustState, gate_of, load_gate, shipped_sets
from gateway.policy.engine import judge
from gateway.policy.question import cedar_request
from tests.policy.asking import GOOD, MANAGED, TODAY
from tests.policy.test_decisions import gate_of as gate_over
from tests.policy.test_decisions import reference
from tests.policy.test_fails_closed import WRONG, parent, paths

KINDS = ("baa", "modified_retention", "dpa", "qsoa", "scc", "existing_account")
FACTS = ("hipaa_eligible", "trains_on_data", "zero_retention", "business_associate")
EVERY_SET = [sets for size in range(6) for sets in itertools.combinations(shipped_sets(), size)]
USUAL = [sets for sets in EVERY_SET if {"baseline", "hipaa"} <= set(sets) and "on-prem-only" not in sets]


def questions(count: int, *, seed: int) -> Iterator[tuple[GateRequest, tuple[str, ...]]]:
    """Questions near the line: most have most of what an allow needs, so that one thing decides."""
    draw = random.Random(seed)
    for _ in range(count):
        yield _question(draw), draw.choice(EVERY_SET if draw.random() < 0.3 else USUAL)


def _question(draw: random.Random) -> GateRequest:
    kind = draw.choice(("managed", "managed", "managed", "local"))
    facts = dict(GOOD) if draw.random() < 0.8 else {}
    for name in FACTS:
        if draw.random() < 0.15:
            facts[name] = draw.choice((True, False))
    if kind == "local" and draw.random() < 0.8:
        facts["business_associate"] = False
    return GateRequest(
        action=draw.choice(list(Action)),
        team=draw.choice(("notes", "research")),
        backend="cloud",
        kind=kind,
        model="a-model",
        region="us-1",
        offer="standard",
        residency=draw.choice(("us", "us", "eu", "global", "local")),
        handling=facts,
        data_class=draw.choice(list(DataClass)),
        scanned=draw.random() < 0.9,
        tags=tuple(draw.sample(("part2", "gdpr-art9", "copyrighted"), draw.choice((0, 0, 0, 1, 2)))),
        purpose=draw.choice((None, "research")),
        asked_residency=draw.choice(("any", "any", "any", "us", "eu", "de")),
        attestations=tuple(_attestation(draw, name) for name in KINDS if draw.random() < 0.85),
        as_of=TODAY,
        account=draw.choice(("ours", "ours", "")),
        approvals=draw.choice(((), ("privacy-officer",), ("privacy-officer", "alice"), ("alice",))),
    )


def _attestation(draw: random.Random, kind: str) -> Attestation:
    """One that holds, mostly; else one thing about it is otherwise."""
    day = timedelta(days=1)
    good = Attestation(kind, "cloud", TODAY - 100 * day, draw.choice((None, TODAY, TODAY + day)))
    if draw.random() < 0.7:
        return good
    other: dict[str, Any] = draw.choice(
        (
            {"backend": "other"},
            {"signed": TODAY},
            {"signed": TODAY + day, "expires": None},
            {"expires": TODAY - day},
            {"account": "ours"},
            {"account": "theirs"},
            {"services": (Action.UPLOAD, Action.TRAIN)},
            {"services": (Action.INFER,)},
            {"void": "its evidence was altered"},
        )
    )
    return replace(good, **other)


def agree(count: int, *, seed: int) -> tuple[int, int]:
    """Hold the gate to the reference; how often they allowed, and denied."""
    allowed = 0
    for ask, sets in questions(count, seed=seed):
        expected = reference(ask, sets)
        assert gate_over(*sets).verdict(ask).allowed == expected, (ask, sets)
        allowed += expected
    return allowed, count - allowed


def test_thousands_of_decisions_equal_the_reference() -> None:
    allowed, denied = agree(6000, seed=17)
    assert min(allowed, denied) > 1000  # or the questions would not lie near the line


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(10))
def test_a_hundred_thousand_decisions_equal_the_reference(seed: int) -> None:
    agree(10_000, seed=1000 + seed)


def test_an_attribute_deleted_or_mistyped_is_never_judged() -> None:
    draw = random.Random(5)
    for ask, sets in questions(2000, seed=5):
        gate = gate_over(*sets)
        whole = cedar_request(ask, gate.book.words)
        leaf = draw.choice([path for path in paths(whole) if path[0] == "context" and len(path) > 1])
        wrong: Any = draw.choice(WRONG)
        for change in ("delete", "mistype"):
            question: dict[str, Any] = copy.deepcopy(whole)
            holder, name = parent(question, leaf), leaf[-1]
            if change == "delete":
                del holder[name]
            elif type(wrong) is type(holder[name]) and wrong != [1]:
                continue  # of the right type: another question, not a malformed one
            else:
                holder[name] = wrong
            verdict = judge(question, gate.book.every)
            assert not verdict.allowed, (change, leaf, wrong)
            assert not verdict.judged, (change, leaf, wrong)


FIELDS: tuple[tuple[str, Any], ...] = (
    ("scanned", None), ("scanned", "yes"), ("scanned", 1), ("data_class", None), ("data_class", "public"),
    ("data_class", 0), ("tags", None), ("tags", "part2"), ("approvals", None),
    ("approvals", "privacy-officer"), ("attestations", None), ("attestations", "baa"), ("kind", None),
    ("kind", "Local"), ("kind", "own"), ("action", "read"), ("action", None), ("residency", None),
    ("handling", None), ("as_of", None), ("as_of", "2026-11-22"), ("asked_residency", None),
    ("as_of", datetime(2026, 11, 22, tzinfo=UTC)),
)  # fmt: skip


def test_a_field_missing_or_mistyped_never_turns_a_deny_into_an_allow() -> None:
    draw = random.Random(6)
    for ask, sets in questions(3000, seed=6):
        gate = gate_over(*sets)
        field, wrong = draw.choice(FIELDS)
        if not gate.verdict(ask).allowed:
            assert not gate.verdict(replace(ask, **{field: wrong})).allowed, (field, wrong)


def bundle(sets: tuple[str, ...], *, expires: date = TODAY) -> Bundle:
    book = load_gate(sets=sets).book
    issued = datetime(2026, 1, 1, tzinfo=UTC)
    return Bundle(7, issued, expires, "k", "", book, sets, (), (), {}, "")


PIN = Pin("a test", {})


def test_a_bundles_rules_decide_as_the_same_rules_unsigned() -> None:
    gates = {sets: gate_of(TrustState(PIN, bundle(sets)), (), ()) for sets in EVERY_SET}
    for ask, sets in questions(400, seed=7):
        decision = gates[sets].decide(ask)
        assert decision.allowed == reference(ask, sets)
        assert decision.trust == "verified"


@pytest.mark.parametrize(
    "state",
    [
        TrustState(PIN, problem="the trust bundle was altered"),
        TrustState(PIN),
        TrustState(PIN, bundle(shipped_sets()[:0], expires=TODAY - timedelta(days=1))),
        TrustState(PIN, bundle(("baseline", "hipaa"), expires=TODAY - timedelta(days=1))),
    ],
)
def test_where_a_pinned_bundle_does_not_hold_nothing_managed_is_allowed(state: TrustState) -> None:
    gate = gate_of(state, (), ("baseline",))
    for ask, _ in questions(700, seed=8):
        decision = gate.decide(ask)
        assert decision.trust == "broken"
        assert gate.verdict(ask).allowed == decision.allowed
        if ask.kind == "managed":
            assert [ground.rule for ground in decision.grounds] == ["trust"]
            assert not decision.allowed
            assert not decision.awaiting
        assert not gate.decide(replace(ask, kind="Local")).allowed  # pyright: ignore[reportArgumentType]


def test_a_bundle_holds_from_its_first_day_to_its_last() -> None:
    state = TrustState(PIN, bundle(("baseline",), expires=TODAY))
    public = replace(MANAGED, data_class=DataClass.PUBLIC)
    gate = gate_of(state, (), ())
    assert gate.decide(public).allowed
    assert not gate.decide(replace(public, as_of=TODAY + timedelta(days=1))).allowed
    assert not gate.decide(replace(public, as_of=date(2025, 12, 31))).allowed
    assert gate.decide(replace(public, as_of=date(2026, 1, 1))).allowed


def test_what_only_an_approval_lacks_says_whose() -> None:
    """The answer is a deny until it is there; where more is missing, an approval is not what is awaited."""
    awaited = 0
    sets = ("approvals", "baseline", "hipaa")
    for question, _ in questions(600, seed=9):
        ask = replace(question, kind="managed", action=Action.TRAIN, data_class=DataClass.PII, approvals=())
        decision = gate_over(*sets).decide(ask)
        assert not decision.allowed
        would = reference(replace(ask, approvals=("privacy-officer",)), sets)
        assert decision.awaiting == (("privacy-officer",) if would else ())
        awaited += would
    assert awaited > 50
