"""Texts that stand in many records: read once, and nothing found or missed for that."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.core.rows import Finding
from gateway.data.lines import RawRecord
from gateway.privacy import Scanner, detecting, scan_record
from gateway.privacy.fields import texts_of
from gateway.privacy.repeats import Repeats

PROMPT = "You write the section of a note that a conversation belongs to, and nothing beside it."
LONG = (
    PROMPT,
    "answer in small letters only, as briefly as you can, and leave out what was not said at all",
    "You are told about insulin and other medications; answer only what the patient has asked you for.",
    "Always sign as Dr. Jane Miller, 12 Oak Street, Springfield, IL 62704, call (415) 555-2671 for more.",
    "Texts like &#83;&#83;&#78; 219-09-9999 are encoded, and what they say is read as well, wherever.",
    "caf\u00e9 au lait, cr\u00e8me br\u00fbl\u00e9e and other words with marks, folded before they are read",
)
SHORT = ("", "hello", "mary said so", "SSN 219-09-9999", "John Smith called", "diabetes")


@settings(deadline=None, max_examples=60)
@given(st.lists(st.tuples(st.sampled_from(LONG), st.sampled_from(SHORT)), min_size=1, max_size=24))
def test_what_is_left_out_changes_nothing(rows: list[tuple[str, str]]) -> None:
    raws = [{"messages": [{"role": "system", "content": one}, {"content": two}]} for one, two in rows]
    told: list[Finding] = []
    scanner, counting = Scanner(on_finding=told.append), Scanner()
    for line, raw in enumerate(raws):
        for each in (scanner, counting):
            each.see_raw(RawRecord(line, 0, raw))
    alone = [scan_record(raw, line=line) for line, raw in enumerate(raws)]
    assert scanner.summary() == counting.summary()
    assert told == [each for scanned in alone for each in scanned.findings]
    assert scanner.summary().health == sum(scanned.health for scanned in alone)


def test_a_text_is_left_out_once_it_is_known_to_hold_nothing() -> None:
    repeats, left = Repeats(), list[list[str]]()
    for number in range(5):
        texts = texts_of({"system": PROMPT, "prompt": f"row {number}"})
        repeats.leave_out(texts)
        left.append(texts.texts)
    assert [PROMPT in texts for texts in left] == [True, True, False, False, False]
    assert all(len(texts) in (1, 2) for texts in left)


def test_a_text_that_nobody_looked_at_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    class Silent:
        def Match(self, text: bytes) -> list[int] | None:
            return None

    repeats = Repeats()
    monkeypatch.setattr(detecting.engine(), "_set", Silent())
    for _ in range(5):
        texts = texts_of({"system": PROMPT})
        repeats.leave_out(texts)
        assert texts.texts == [PROMPT]


def test_what_its_key_gives_away_stays() -> None:
    repeats = Repeats()
    for _ in range(5):
        texts = texts_of({"patient_name": PROMPT, "system": PROMPT})
        repeats.leave_out(texts)
        assert texts.texts == [PROMPT, PROMPT]
