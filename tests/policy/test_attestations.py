"""`[[attestations]]` at the door."""

from __future__ import annotations

import tomllib
from datetime import date, datetime
from pathlib import Path
from typing import Any

import pytest

from gateway.core.errors import SettingsError
from gateway.core.gate import Attestation
from gateway.policy import attestations_from, check_known, known_agreements, load_gate, shipped_sets
from tests.policy.asking import signed

TOML = """
[[attestations]]
kind = "baa"
backend = "bedrock"
signed = 2026-03-01
expires = "2027-03-01"
evidence = "https://intranet.example/baa.pdf"

[[attestations]]
kind = "existing_account"
backend = "openai"
signed = 2024-01-01
"""


def test_a_table_becomes_attestations() -> None:
    assert attestations_from(tomllib.loads(TOML)["attestations"]) == (
        Attestation(
            "baa",
            "bedrock",
            date(2026, 3, 1),
            date(2027, 3, 1),
            evidence="https://intranet.example/baa.pdf",
        ),
        Attestation("existing_account", "openai", date(2024, 1, 1), None),
    )
    assert attestations_from([]) == ()


@pytest.mark.parametrize(
    ("change", "path"),
    [
        ({"kind": "BAA "}, "attestations[2].kind"),
        ({"backend": ""}, "attestations[2].backend"),
        ({"signed": None}, "attestations[2].signed"),
        ({"signed": 20260301}, "attestations[2].signed"),
        ({"signed": datetime(2026, 3, 1)}, "attestations[2].signed"),  # noqa: DTZ001
        ({"signed": "1 March"}, "attestations[2].signed"),
        ({"expires": date(2020, 1, 1)}, "attestations[2]"),
        ({"expiry": date(2027, 1, 1)}, "attestations[2].expiry"),
    ],
)
def test_a_wrong_row_is_refused_with_its_place(change: dict[str, Any], path: str) -> None:
    good = {"kind": "baa", "backend": "bedrock", "signed": date(2026, 3, 1)}
    with pytest.raises(SettingsError) as caught:
        attestations_from([good, {**good, **change}], place="tunegate.toml")
    assert path in caught.value.message
    assert caught.value.place == "tunegate.toml"


def test_every_wrong_row_is_reported() -> None:
    with pytest.raises(SettingsError) as caught:
        attestations_from([{}, {"kind": "baa"}])
    assert "attestations[1]" in caught.value.message
    assert "attestations[2]" in caught.value.message


def test_an_attestation_that_nothing_looks_at_is_refused_with_the_nearest_name() -> None:
    rows = (*signed("baa"), *signed("baaa"), *signed("baa", backend="clowd"))
    with pytest.raises(SettingsError) as caught:
        check_known(rows, backends={"cloud", "local"}, kinds={"baa", "dpa"}, place="ours.toml")
    assert caught.value.place == "ours.toml"
    assert "attestations[2].kind: no fact and no rule asks for 'baaa'" in caught.value.message
    assert "attestations[3].backend: no backend is called 'clowd'" in caught.value.message
    assert "attestations[1]" not in str(caught.value)
    assert "did you mean 'baa'?" in (caught.value.fix or "")
    assert "did you mean 'cloud'?" in (caught.value.fix or "")
    check_known(signed("baa", "dpa"), backends={"cloud"}, kinds={"baa", "dpa"})


def test_kinds_are_known_by_shipped_rules_even_switched_off_and_by_own_ones(tmp_path: Path) -> None:
    ours = tmp_path / "ours.cedar"
    ours.write_text(
        '@id("ours") @reason("r") forbid (principal, action, resource)'
        ' unless { context.agreements.contains("handshake") };'
    )
    assert "handshake" in known_agreements(load_gate([ours]).book)
    every = load_gate(sets=shipped_sets()).book.agreements
    assert every
    assert every <= known_agreements(load_gate(sets=()).book)
