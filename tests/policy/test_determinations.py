"""What an officer signs holds for exactly one dataset, from one day to another, in their own name."""

from __future__ import annotations

import base64
import json
from dataclasses import replace
from datetime import date
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.core.classes import DataClass, effective_class
from gateway.core.review import Lineage, Review
from gateway.policy import Approver
from gateway.policy.determinations import ROLE, About, Determined, Dismissed, Place, review, sign
from gateway.records.keys import SigningKey, public_keys

ALICE, BOB = SigningKey.generate(), SigningKey.generate()
HASH, OTHER, SOURCE = "a" * 64, "b" * 64, "c" * 64
TODAY = date(2026, 11, 22)
LINEAGE = Lineage(SOURCE, "tunegate.scrub/1 dates=shift", DataClass.PHI)
ABOUT = About(HASH, "notes", LINEAGE)


def approver(name: str, key: SigningKey, *roles: str) -> Approver:
    return Approver(name, roles, public_keys(key.public_pem))


OFFICERS = (approver("alice", ALICE, ROLE), approver("bob", BOB, "finance"))


def determined(**changes: Any) -> Determined:
    said: dict[str, Any] = {
        "name": "notes", "data_hash": HASH, "source_hash": SOURCE, "officer": "alice",
        "signed": date(2026, 11, 1), "expires": date(2027, 11, 1), "method": LINEAGE.method, "before": "phi",
        "to": "internal", "rows": 1000, "sampled": 300, "leaks": 0, "upper_bound": 0.00994, "seed": "s",
    }  # fmt: skip
    return Determined.model_validate({**said, **changes})


def looked_up(*contents: bytes, about: About = ABOUT, on: date = TODAY) -> Review:
    return review({f"{n}.json": content for n, content in enumerate(contents)}, OFFICERS, about, on)[0]


def why_not(content: bytes, about: About = ABOUT, on: date = TODAY) -> str:
    found = looked_up(content, about=about, on=on)
    assert found.determination is None
    return " ".join(found.absent)


def test_a_determination_in_force_says_what_was_signed() -> None:
    content = sign(determined(), ALICE)
    found = looked_up(content).determination
    assert found is not None
    assert (found.to, found.officer, found.key_id) == (DataClass.INTERNAL, "alice", ALICE.id)
    assert (found.sampled, found.leaks, found.expires) == (300, 0, date(2027, 11, 1))
    assert looked_up(content).absent == ()


@pytest.mark.parametrize(
    ("changes", "key", "why"),
    [
        ({}, BOB, "bob signed"),
        ({"officer": "bob"}, BOB, "role"),
        ({}, SigningKey.generate(), "unknown here"),
        ({"data_hash": OTHER}, ALICE, "other data"),
        ({"expires": date(2026, 11, 21)}, ALICE, "expired on 2026-11-21"),
        ({"signed": date(2026, 11, 23)}, ALICE, "only from 2026-11-23"),
        ({"method": "tunegate.scrub/1 dates=year"}, ALICE, "dates=year"),
    ],
)
def test_what_does_not_hold_is_absent_with_a_reason(
    changes: dict[str, Any], key: SigningKey, why: str
) -> None:
    assert why in why_not(sign(determined(**changes), key))


def test_its_first_and_last_day_count() -> None:
    content = sign(determined(), ALICE)
    for day in (date(2026, 11, 1), date(2027, 11, 1)):
        assert looked_up(content, on=day).determination is not None
    for day in (date(2026, 10, 31), date(2027, 11, 2)):
        assert looked_up(content, on=day).determination is None


def test_data_that_was_never_scrubbed_has_a_determination_of_its_own() -> None:
    about = About(HASH, "notes")
    assert "and this is none" in why_not(sign(determined(), ALICE), about)
    assert looked_up(sign(determined(method="none"), ALICE), about=about).determination is not None


@settings(max_examples=200, deadline=None)
@given(st.data())
def test_not_a_byte_can_be_changed(data: st.DataObject) -> None:
    content = bytearray(sign(determined(), ALICE))
    at = data.draw(st.integers(0, len(content) - 1))
    content[at] ^= data.draw(st.integers(1, 255))
    assert looked_up(bytes(content)).determination is None


@pytest.mark.parametrize(
    "content", [b"", b"{}", b"null", b"\xff", b"[" * 10_000, b'{"payload": "e30=", "signatures": []}']
)
def test_a_file_that_makes_no_sense_is_absent(content: bytes) -> None:
    assert why_not(content)


def test_another_statement_with_a_good_signature_is_none() -> None:
    """The kind and the subject are signed too: an approval, or another shape, is no determination."""
    from gateway.records.envelope import seal

    body = determined().model_dump(mode="json")
    good = json.loads(base64.b64decode(json.loads(sign(determined(), ALICE))["payload"]))
    changes: tuple[dict[str, Any], ...] = (
        {"predicateType": "https://tunegate.example/predicate/approval/v1"},
        {"subject": [{"name": "data", "digest": {"sha256": OTHER}}]},
        {"subject": []},
        {"predicate": {**body, "to": "harmless"}},
        {"predicate": {**body, "extra": 1}},
        {"_type": "something else"},
    )
    for change in changes:
        assert "neither" in why_not(seal({**good, **change}, ALICE))


def test_the_latest_counts_so_that_signing_anew_revokes() -> None:
    first = sign(determined(), ALICE)
    second = sign(determined(signed=date(2026, 11, 20), to="phi"), ALICE)
    found = looked_up(first, second).determination
    assert found is not None
    assert found.to is DataClass.PHI
    same_day = sign(determined(to="pii"), ALICE)
    found = looked_up(first, same_day).determination
    assert found is not None
    assert found.to is DataClass.PII


def test_documents_about_other_datasets_are_not_mentioned() -> None:
    other = sign(determined(data_hash=OTHER, source_hash=None, name="tickets"), ALICE)
    assert looked_up(other) == Review()
    past = sign(determined(data_hash=OTHER), ALICE)
    assert looked_up(past).absent
    assert looked_up(past, sign(determined(), ALICE)).absent == ()


def test_dismissals_are_bound_to_the_data_too() -> None:
    place = Place(line=3, field="text", type="name")
    said = determined().model_dump(
        include={"name", "data_hash", "source_hash", "officer", "signed", "expires"}
    )
    content = sign(Dismissed(**said, findings=(place,)), ALICE)
    documents = {"d.json": content}
    assert review(documents, OFFICERS, ABOUT, TODAY)[1] == frozenset([place])
    assert review(documents, OFFICERS, replace(ABOUT, data_hash=OTHER), TODAY)[1] == frozenset()
    assert review(documents, (), ABOUT, TODAY)[1] == frozenset()


classes = st.sampled_from(list(DataClass))
maybe = st.one_of(st.none(), classes)


@given(classes, maybe, maybe, maybe)
def test_only_a_determination_lowers_a_class(
    declared: DataClass, detected: DataClass | None, source: DataClass | None, determined: DataClass | None
) -> None:
    """An independent statement of the rule."""
    found = effective_class(declared, detected, source=source, determined=determined)
    if determined is None or detected is None:
        assert found == max(each for each in (declared, detected, source) if each is not None)
    else:
        assert found == determined
