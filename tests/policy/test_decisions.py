"""What the shipped rules decide: against a reference written without Cedar, and case by case."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gateway.core.classes import DataClass
from gateway.core.gate import Action, Gate, GateRequest
from gateway.policy import CedarGate, load_gate, shipped_sets
from gateway.policy.engine import judge
from gateway.policy.question import cedar_request
from tests.policy.asking import GOOD, LOCAL, MANAGED, REQUESTS, signed

SETS = st.lists(st.sampled_from(shipped_sets()), unique=True).map(lambda names: tuple(sorted(names)))


@cache
def gate_of(*sets: str) -> CedarGate:
    return load_gate(sets=sets)


def reference(ask: GateRequest, sets: tuple[str, ...]) -> bool:
    """The shipped rules once more, in plain Python, from their descriptions."""
    here = ask.kind == "local"
    facts = ask.handling
    held = {
        a.kind
        for a in ask.attestations
        if a.backend == ask.backend and a.signed <= ask.as_of and (a.expires or ask.as_of) >= ask.as_of
        if not a.void and (not a.account or a.account == ask.account)
        if not a.services or ask.action in a.services
    }
    personal = ask.data_class in (DataClass.PII, DataClass.PHI)
    quiet = facts.get("trains_on_data", True) is False

    permitted = False
    if "baseline" in sets:
        if here:
            permitted = facts.get("business_associate", True) is False
        elif ask.data_class is DataClass.PUBLIC:
            permitted = True
        elif ask.data_class in (DataClass.INTERNAL, DataClass.CONFIDENTIAL):
            permitted = quiet
        elif ask.data_class is DataClass.PII:
            permitted = quiet and "dpa" in held
    if "hipaa" in sets and not here and ask.data_class is DataClass.PHI:
        required = facts.get("hipaa_requires", ())
        assert isinstance(required, tuple)
        eligible = facts.get("hipaa_eligible", False) is True
        permitted = eligible and quiet and bool(required) and {"baa", *required} <= held

    forbidden = False
    if "baseline" in sets:
        forbidden |= not here and not ask.scanned
        stays = ask.asked_residency in ("any", ask.residency) or (here and ask.residency == "local")
        forbidden |= not stays
    if "hipaa" in sets and not here:
        forbidden |= ask.data_class is DataClass.PHI and "baa" not in held
        forbidden |= "part2" in ask.tags and "qsoa" not in held
    if "gdpr-eu" in sets and not here:
        forbidden |= personal and "dpa" not in held
        forbidden |= personal and ask.residency != "eu" and "scc" not in held
        forbidden |= "gdpr-art9" in ask.tags and ask.residency != "eu"
    if "on-prem-only" in sets:
        forbidden |= not here
    if "approvals" in sets and not here and ask.action in (Action.UPLOAD, Action.TRAIN):
        forbidden |= personal and "privacy-officer" not in ask.approvals
    return permitted and not forbidden


@settings(max_examples=500, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(REQUESTS, st.one_of(SETS, st.just(("baseline", "hipaa"))))
def test_every_decision_equals_the_reference(ask: GateRequest, sets: tuple[str, ...]) -> None:
    assert gate_of(*sets).verdict(ask).allowed == reference(ask, sets)


@settings(max_examples=150, deadline=None)
@given(REQUESTS, SETS)
def test_a_decision_is_its_verdict_with_grounds(ask: GateRequest, sets: tuple[str, ...]) -> None:
    gate = gate_of(*sets)
    decision = gate.decide(ask)
    assert decision.allowed == gate.verdict(ask).allowed
    assert decision.grounds
    assert all(ground.rule and ground.reason for ground in decision.grounds)
    rules = {ground.rule for ground in decision.grounds}
    assert set(gate.verdict(ask).rules) <= rules  # no determining rule is left unsaid
    assert decision.policy_hash == gate.policy_hash
    assert decision.trust == "unverified"


PII = replace(MANAGED, data_class=DataClass.PII)
WITH_ALL = replace(MANAGED, attestations=signed("baa", "modified_retention"))


@pytest.mark.parametrize(
    ("ask", "allowed"),
    [
        (MANAGED, False),
        (replace(MANAGED, attestations=signed("baa")), False),  # eligible is not enough of an agreement
        (WITH_ALL, True),
        (replace(WITH_ALL, attestations=signed("baa", "modified_retention", backend="other")), False),
        (replace(WITH_ALL, handling={**GOOD, "trains_on_data": True}), False),
        (replace(WITH_ALL, handling={**GOOD, "hipaa_requires": ()}), False),
        (replace(WITH_ALL, scanned=False), False),
        (replace(WITH_ALL, tags=("part2",)), False),
        (PII, False),
        (replace(PII, attestations=signed("dpa")), True),
        (replace(PII, attestations=signed("baa", "modified_retention")), False),
        (replace(MANAGED, data_class=DataClass.INTERNAL), True),
        (replace(MANAGED, data_class=DataClass.CONFIDENTIAL, handling={}), False),
        (replace(MANAGED, data_class=DataClass.PUBLIC, handling={}), True),
        (replace(MANAGED, data_class=DataClass.PUBLIC, scanned=False), False),
        (replace(MANAGED, data_class=DataClass.PUBLIC, asked_residency="eu"), False),
        (replace(MANAGED, data_class=DataClass.PUBLIC, asked_residency="us", residency="global"), False),
        (replace(MANAGED, data_class=DataClass.PUBLIC, asked_residency="us"), True),
        (replace(LOCAL, scanned=False, asked_residency="de", tags=("part2", "gdpr-art9")), True),
        (replace(LOCAL, handling={}), False),
    ],
)
@pytest.mark.parametrize("action", list(Action))
def test_the_rules_in_force_by_default(ask: GateRequest, allowed: bool, action: Action) -> None:
    assert gate_of("baseline", "hipaa").decide(replace(ask, action=action)).allowed is allowed


def test_an_organisation_adds_its_own_rules(tmp_path: Path) -> None:
    ours = tmp_path / "ours.cedar"
    ours.write_text(
        '@id("ours.region") @reason("Only eu-1 is approved.")\n'
        'forbid (principal, action == Action::"upload", resource == Backend::"cloud")\n'
        'unless { context.candidate.region == "eu-1" };\n'
        '@id("ours.team") @reason("The research team may send PHI anywhere.")\n'
        'permit (principal == Team::"research", action, resource);\n'
    )
    gate = load_gate([ours])
    assert not gate.decide(WITH_ALL).allowed
    assert gate.decide(replace(WITH_ALL, region="eu-1")).allowed
    assert gate.decide(replace(WITH_ALL, action=Action.TRAIN)).allowed
    # A broad permit opens no door that HIPAA keeps shut.
    assert not gate.decide(replace(MANAGED, team="research", region="eu-1")).allowed


@settings(max_examples=100, deadline=None)
@given(REQUESTS, st.sampled_from(("m1", "m2", "")), st.sampled_from(("r1", "r2")))
def test_what_no_rule_mentions_may_be_left_out(ask: GateRequest, model: str, region: str) -> None:
    gate = gate_of(*shipped_sets())
    ask = replace(ask, model=model, region=region)
    everything = cedar_request(ask, gate.book.words | {"model", "region", "offer", "purpose"})
    assert judge(everything, gate.book.every) == gate.verdict(ask)


def test_the_gate_is_the_gate_of_core() -> None:
    gate: Gate = load_gate()
    assert gate.decide(LOCAL).allowed


def test_many_candidates_are_decided_in_their_order() -> None:
    asks = [replace(WITH_ALL, model=f"m{n}", data_class=DataClass(n % 5)) for n in range(1000)]
    gate = gate_of("baseline", "hipaa")
    assert gate.decide_many(asks) == tuple(gate.decide(ask) for ask in asks)


def test_the_hash_follows_the_rules() -> None:
    hashes = {load_gate(sets=sets).policy_hash for sets in ((), ("baseline",), ("baseline", "hipaa"))}
    assert len(hashes) == 3
    assert load_gate().policy_hash == load_gate(sets=("hipaa", "baseline")).policy_hash
