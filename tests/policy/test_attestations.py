"""`[[attestations]]` at the door."""

from __future__ import annotations

import tomllib
from datetime import date, datetime
from pathlib import Path
from typing import Any

import pytest

from gateway.core.errors import SettingsError
from gateway.core.gate import Action, Attestation
from gateway.policy import (
    approvers_from,
    attestations_from,
    check_known,
    expiring,
    known_agreements,
    load_gate,
    shipped_sets,
)
from gateway.records import SigningKey
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


def test_scope_account_services_and_evidence_are_read() -> None:
    (row,) = attestations_from(
        [
            {
                "kind": "baa",
                "backend": "bedrock",
                "signed": "2026-03-01",
                "account": "123456789012",
                "services": ["upload", "train"],
                "evidence": "baa.pdf",
                "evidence_sha256": "ab" * 32,
            }
        ]
    )
    assert row.covers(Action.TRAIN, "123456789012")
    assert not row.covers(Action.INFER, "123456789012")
    assert not row.covers(Action.TRAIN, "210987654321")
    assert not row.covers(Action.TRAIN, "")  # an account that is not known is not the one covered


@pytest.mark.parametrize(
    "change", [{"services": ["training"]}, {"services": "upload"}, {"evidence_sha256": "AB"}, {"void": ""}]
)
def test_a_wrong_scope_or_hash_is_refused(change: dict[str, Any]) -> None:
    with pytest.raises(SettingsError):
        attestations_from([{"kind": "baa", "backend": "bedrock", "signed": date(2026, 3, 1), **change}])


def test_what_ends_within_thirty_days_is_said_of_the_backends_in_question() -> None:
    ends = date(2026, 12, 22)
    rows = (
        Attestation("baa", "cloud", date(2026, 1, 1), ends),
        Attestation("dpa", "other", date(2026, 1, 1), ends),
        Attestation("scc", "cloud", date(2026, 1, 1), None),
        Attestation("qsoa", "cloud", date(2026, 1, 1), None, void="its evidence was altered"),
    )
    assert expiring(rows, date(2026, 11, 21), {"cloud"}) == (
        "the attestation `qsoa` for cloud does not count: its evidence was altered",
    )
    assert expiring(rows, date(2026, 11, 22), {"cloud"})[0] == (
        "the attestation `baa` for cloud expires on 2026-12-22"
    )
    assert len(expiring(rows, ends, {"cloud", "other"})) == 3
    assert len(expiring(rows, date(2026, 12, 23), {"cloud", "other"})) == 1  # what has ended is absent


KEY = SigningKey.generate()


@pytest.mark.parametrize(
    "row",
    [
        {"name": "alice"},
        {"name": "", "key": "a.pub"},
        {"name": "alice smith", "key": "a.pub"},
        {"name": "alice", "key": "absent.pub"},
        {"name": "alice", "key": "private.pem"},
        {"name": "alice", "key": "a.pub", "role": "privacy-officer"},
        {"name": "bob", "key": "a.pub"},
    ],
)
def test_an_approver_nobody_could_hold_to_is_refused(tmp_path: Path, row: dict[str, Any]) -> None:
    (tmp_path / "a.pub").write_text(KEY.public_pem)
    (tmp_path / "private.pem").write_bytes(KEY.private_pem())
    bob = {"name": "bob", "roles": ["privacy-officer"], "key": "a.pub"}
    (known,) = approvers_from([bob], place="x", folder=tmp_path)
    assert set(known.keys) == {KEY.id}
    with pytest.raises(SettingsError, match=r"approvers\[2\]"):
        approvers_from([bob, row], place="x", folder=tmp_path)
