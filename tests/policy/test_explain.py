"""Why a door is shut, and what would open it, in words people act on."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import date, timedelta
from pathlib import Path

from hypothesis import given, settings

from gateway.core.classes import DataClass
from gateway.core.gate import Attestation, GateRequest
from gateway.policy import explain, load_gate, smallest_changes
from tests.policy.asking import GOOD, LOCAL, MANAGED, REQUESTS, TODAY, signed

GATE = load_gate()


def grounds(ask: GateRequest) -> dict[str, str]:
    return {ground.reason: ground.rule for ground in GATE.decide(ask).grounds}


def test_a_missing_baa_is_named_with_rule_citation_and_fix() -> None:
    ask = replace(MANAGED, handling={**GOOD, "hipaa_requires": ("baa",)})
    (ground,) = GATE.decide(ask).grounds
    assert ground.reason == "No BAA with cloud on file"
    assert ground.rule == "hipaa.no-baa"
    assert "164.502(e)" in ground.citation
    assert ground.fix == "sign a BAA with cloud and attest it (`[[attestations]]` in tunegate.toml)"


def test_every_missing_agreement_is_named() -> None:
    assert grounds(MANAGED) == {
        "No BAA with cloud on file": "hipaa.no-baa",
        "No Modified Retention approval with cloud on file": "hipaa.phi",
    }


def test_an_expired_agreement_says_when_it_expired() -> None:
    old = Attestation("dpa", "cloud", date(2025, 1, 1), date(2026, 1, 1))
    ask = replace(MANAGED, data_class=DataClass.PII, attestations=(old,))
    assert "The data processing agreement with cloud expired on 2026-01-01" in grounds(ask)
    # The same question to the engine, another story to tell.
    fresh = replace(old, signed=TODAY + timedelta(days=3), expires=None)
    later = replace(ask, attestations=(fresh,))
    assert "The data processing agreement with cloud holds only from 2026-11-25" in grounds(later)


def test_every_reason_is_given_not_the_first() -> None:
    ask = replace(MANAGED, scanned=False, asked_residency="eu", tags=("part2",), residency="global")
    assert set(grounds(ask).values()) == {
        "baseline.unscanned",
        "baseline.residency",
        "hipaa.part2",
        "hipaa.no-baa",
        "hipaa.phi",
    }
    assert any("stay in `eu`" in reason and "`global`" in reason for reason in grounds(ask))


def test_a_fact_that_nobody_states_is_a_reason() -> None:
    assert "Nothing states that cloud is HIPAA-eligible" in grounds(replace(MANAGED, handling={}))
    assert "Nothing states that local is your own machine" in grounds(replace(LOCAL, handling={}))


def test_people_read_the_providers_title_where_facts_give_one() -> None:
    ask = replace(MANAGED, handling={**GOOD, "title": "Example Cloud"})
    assert "No BAA with Example Cloud on file" in grounds(ask)


def test_the_smallest_changes_for_phi() -> None:
    texts = [change.text for change in smallest_changes(GATE, MANAGED)]
    assert len(texts) == 2
    assert texts[0].startswith("scrub the data (`tunegate data scrub`")
    assert texts[1] == (
        "sign a BAA with cloud and obtain Modified Retention from cloud, and attest them"
        " (`[[attestations]]` in tunegate.toml)"
    )


def test_a_region_is_pinned_where_that_is_all_that_is_missing() -> None:
    ask = replace(MANAGED, data_class=DataClass.PUBLIC, asked_residency="eu")
    (change,) = smallest_changes(GATE, ask)
    assert change.text == "choose a region or offer of cloud that keeps data in `eu`"
    assert change.request == replace(ask, residency="eu")


def test_what_a_provider_does_not_do_cannot_be_signed_away() -> None:
    ask = replace(MANAGED, handling={**GOOD, "trains_on_data": True}, data_class=DataClass.PII)
    assert smallest_changes(GATE, ask) == ()


def test_an_agreement_only_an_organisations_own_rule_asks_for_is_found(tmp_path: Path) -> None:
    ours = tmp_path / "ours.cedar"
    ours.write_text(
        '@id("ours.audit") @reason("Audited providers only.")\n'
        "forbid (principal, action, resource)\n"
        'when { context.provider.kind == Kind::"managed" }\n'
        'unless { context.agreements.containsAny(["soc2", "iso27001"]) };\n'
    )
    gate = load_gate([ours])
    ask = replace(MANAGED, data_class=DataClass.PUBLIC)
    texts = [change.text for change in smallest_changes(gate, ask)]
    assert len(texts) == 2
    assert "obtain `soc2` from cloud" in " ".join(texts)


@settings(max_examples=60, deadline=None)
@given(REQUESTS)
def test_every_change_opens_the_door_and_has_no_needless_sibling(ask: GateRequest) -> None:
    changes = smallest_changes(GATE, ask)
    assert all(GATE.decide(change.request).allowed for change in changes)
    assert not (changes and GATE.decide(ask).allowed)
    assert len({change.text for change in changes}) == len(changes)
    untouched = ("action", "team", "backend", "kind", "handling", "asked_residency", "as_of")
    for change in changes:
        assert all(getattr(change.request, name) == getattr(ask, name) for name in untouched)


def test_an_explanation_is_json() -> None:
    denied = json.loads(json.dumps(explain(GATE, MANAGED).to_json()))
    assert denied["allowed"] is False
    assert len(denied["changes"]) == 2
    allowed = explain(GATE, replace(MANAGED, attestations=signed("baa", "modified_retention")))
    assert allowed.to_json()["changes"] == []
    assert [ground.rule for ground in allowed.grounds] == ["hipaa.phi"]
