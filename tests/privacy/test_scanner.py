"""The observer: every field, honest offsets, counts that add up, and silence that denies."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.core.classes import DataClass
from gateway.core.rows import Finding, Refusal, Row
from gateway.core.spec import Data
from gateway.data import Record, open_dataset, run_pass
from gateway.data.lines import RawRecord
from gateway.privacy import Scanner, detecting, scan, scan_record
from gateway.privacy import scanner as scanner_module
from gateway.privacy.engine import Engine

SSN = "219-09-9999"


def record(raw: Mapping[str, Any] | None, line: int = 1) -> Record:
    return Record(0, line, raw, Row(line, ()), 0)


def places(raw: Mapping[str, Any]) -> list[tuple[str, str]]:
    return [(finding.field, finding.type) for finding in scan_record(raw).findings]


@pytest.mark.parametrize(
    ("raw", "field"),
    [
        ({"messages": [{"role": "user", "content": f"SSN {SSN}"}]}, "messages[0].content"),
        ({"messages": [{"role": f"SSN {SSN}", "content": "hi"}]}, "messages[0].role"),
        (
            {"messages": [{"tool_calls": [{"function": {"arguments": f'{{"ssn": "{SSN}"}}'}}]}]},
            "messages[0].tool_calls[0].function.arguments",
        ),
        ({"metadata": {"deep": {"deeper": [[{"note": SSN}]]}}}, "metadata.deep.deeper[0][0].note"),
        ({"metadata": {SSN: "x"}}, "metadata.{0}~"),
        ({"ssn": 219099999}, "ssn"),
        ({"unused_column": SSN}, "unused_column"),
    ],
)
def test_every_place_of_a_record_is_scanned(raw: dict[str, Any], field: str) -> None:
    assert (field, "ssn") in places(raw)


def test_a_key_that_names_someone_is_found_and_not_shown() -> None:
    found = scan_record(
        {"metadata": {"Tamara Kowalski": f"SSN {SSN}", "georgina_notes": f"SSN {SSN}"}}
    ).findings
    assert {finding.type for finding in found} == {"name", "ssn"}
    assert not any("amara" in finding.field or "eorgina" in finding.field for finding in found)


def test_a_key_of_a_schema_is_no_person() -> None:
    assert places({"meta": {"lang": "en", "gene": "BRCA1"}, "note": "Vicks on the chest, in a Nissan"}) == []


@pytest.mark.parametrize(
    ("raw", "kind"),
    [
        ({"mrn": "88123"}, "mrn"),
        ({"patient_name": "Q. Zzyx"}, "name"),
        ({"dob": "7 1 60"}, "date"),
        ({"dob": {"year": 1931, "month": 3}}, "date"),
        ({"name": [{"use": "official", "family": "Zzyx"}]}, "name"),
        ({"home_address": {"line": "The Old Mill"}}, "address"),
        ({"zip": "00501"}, "geography"),
        ({"Member ID": "A7"}, "health_plan"),
    ],
)
def test_a_column_says_what_it_holds(raw: dict[str, Any], kind: str) -> None:
    assert [found for _, found in places(raw)] == [kind]


def test_a_tool_named_in_a_name_field_is_no_person() -> None:
    assert places({"messages": [{"role": "tool", "name": "get_weather", "content": "sunny"}]}) == []


@pytest.mark.parametrize(
    "raw",
    [
        {"content": [{"type": "image_url", "image_url": {"url": "x"}}]},
        {"photo": b"\x89PNG"},
        {"note": base64.b64encode(bytes(range(256))).decode()},
        {"note": "data:image/png;base64,iVBORw0KGgo="},
    ],
)
def test_what_cannot_be_read_is_treated_as_the_worst(raw: dict[str, Any]) -> None:
    scanner = Scanner()
    scanner.see(record(raw))
    assert scanner.summary().detected is DataClass.PHI
    assert "unknown_content" in scanner.summary().findings


NOISE = st.lists(
    st.sampled_from(["\u200b", "\u200d", "\u2060", "\u00ad", "\u200f", "\ufeff", "\x00", "\x1e"]), max_size=2
)
IDENTIFIERS = st.sampled_from([SSN, "(415) 555-0134", "4111 1111 1111 1111", "03/14/1962", "203.0.113.77"])


@settings(deadline=None)  # the first of them reads the lists
@given(st.data(), IDENTIFIERS, st.text(alphabet="éü漢字 абв", max_size=8))
def test_offsets_point_at_the_original_whatever_unicode_hides_it(
    data: st.DataObject, plain: str, before: str
) -> None:
    disguised = ""
    for char in plain:
        if char.isdigit() and data.draw(st.booleans()):
            char = chr(ord(char) + 0xFEE0)  # full width
        elif char == "-":
            char = data.draw(st.sampled_from("-\u2010\u2011\u2013\u2212\uff0d"))
        elif char == " ":
            char = data.draw(st.sampled_from(" \u00a0\u202f\u3000"))
        disguised += char + "".join(data.draw(NOISE))
    text = f"{before} is {disguised} ok"
    start = len(before) + 4
    touched = [f for f in scan_record({"text": text}).findings if f.start >= start]
    assert len(touched) == 1
    # the span is the identifier: what hides inside belongs to it, what trails may be left out
    found = text[touched[0].start : touched[0].end]
    assert touched[0].start == start
    assert disguised.startswith(found)
    assert not any(char.isalnum() for char in disguised[len(found) :])


LEAVES = st.text(max_size=30) | st.integers() | st.floats() | st.none() | st.booleans()
JSON = st.recursive(
    LEAVES,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=12,
)


@settings(deadline=None)  # the first of them reads the lists
@given(JSON)
def test_any_json_is_scanned_with_spans_inside_its_fields(value: Any) -> None:
    result = scan_record({"value": value}, floor=0.0)
    assert result.complete
    assert all(0 <= finding.start < finding.end for finding in result.findings)


def test_deep_nesting_and_one_huge_field_are_scanned() -> None:
    deep: Any = f"SSN {SSN}"
    for _ in range(50_000):
        deep = [deep]
    assert scan_record({"deep": deep}).findings[0].type == "ssn"
    huge = scan_record({"text": "no news. " * 500_000 + f"SSN {SSN}"})
    assert [finding.type for finding in huge.findings] == ["ssn"]


class SilentSet:
    """An engine that ran out of memory: it answers, and has seen nothing."""

    def Match(self, text: bytes) -> list[int] | None:
        return None


class BlindSet:
    """An engine that reports a pattern which is not there, as after a mix-up of patterns."""

    def Match(self, text: bytes) -> list[int]:
        return [0, 1]


@pytest.mark.parametrize("broken", [SilentSet(), BlindSet()])
def test_a_silent_engine_leaves_the_scan_incomplete(broken: object, monkeypatch: pytest.MonkeyPatch) -> None:
    engine = Engine(["never there"])
    monkeypatch.setattr(engine, "_set", broken)
    monkeypatch.setattr(detecting, "engine", lambda: engine)
    scanner = Scanner()
    scanner.see(record({"text": f"SSN {SSN}"}))
    assert scanner.summary().complete is False
    monkeypatch.undo()
    scanner.see(record({"text": "nothing here"}))
    assert scanner.summary().complete is False
    assert scanner.summary().records == 2


def test_counts_add_up_and_only_counted_findings_raise_the_class() -> None:
    told: list[Finding] = []
    scanner = Scanner(on_finding=told.append, floor=0.0)
    for line, text in enumerate(
        [f"SSN {SSN}", "invoice total 219099999", "no news", "Diagnosis asthma, call (415) 555-0134"], start=1
    ):
        scanner.see(record({"text": text}, line))
    scanner.see(record(None, 5))
    summary = scanner.summary()
    assert (summary.records, summary.flagged, summary.health) == (5, 2, 1)
    assert summary.findings == {"phone": 1, "ssn": 1}
    assert summary.detected is DataClass.PHI
    assert summary.complete
    assert {finding.line for finding in told} == {1, 2, 4}


def test_a_dataset_streams_its_findings_in_order(tmp_path: Path) -> None:
    rows = [{"prompt": f"call (415) 555-01{number:02}", "completion": "ok"} for number in range(20)]
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    dataset = open_dataset(Data(train=("rows.jsonl",)), tmp_path, task="sft")
    found = list(scan(dataset.records()))
    assert [(finding.line, finding.field) for finding in found] == [(line, "prompt") for line in range(1, 21)]
    scanner = Scanner()
    run_pass(dataset, [scanner])
    assert scanner.summary().findings == {"phone": 20}


def test_refused_records_are_scanned_too() -> None:
    scanner = Scanner()
    scanner.see(Record(0, 1, {"odd": f"SSN {SSN}"}, Refusal(1, "no_messages", "", "no messages"), 0))
    assert scanner.summary().flagged == 1


def test_no_finding_or_summary_holds_text() -> None:
    canary = "Zyxwvut Quonset"
    result = scan_record({"patient_name": canary, canary: f"SSN {SSN} {canary}"})
    assert result.findings
    assert "Zyxwvut" not in repr(result)


def test_what_goes_out_beside_the_records_is_scanned_too() -> None:
    scanner = Scanner(beside={"system": "The patient is reached at john.q@example.org."})
    summary = scanner.summary()
    assert summary.findings == {"email": 1}
    assert (summary.records, summary.flagged) == (0, 0)
    assert summary.detected >= DataClass.PII


def test_records_looked_at_together_are_judged_as_if_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither what a neighbour holds nor where a batch ends changes what is found in a record."""
    raws = [
        {"text": "call (415) 555-2671"},
        {"text": ""},
        {"text": "nothing here"},
        {"text": "caf\u00e9, SSN 219-09-9999"},
        {"text": "a \x01 control and jane.doe@example.org"},
        {"notes": ["U1NOIDIxOS0wOS05OTk5", "Dr. Alvarez"], "patient_name": "ann"},
    ] * 3
    alone = [each for line, raw in enumerate(raws) for each in scan_record(raw, line=line).findings]
    for at_once in (1, 4, 64):
        monkeypatch.setattr(scanner_module, "_RECORDS_AT_ONCE", at_once)
        found: list[Finding] = []
        scanner = Scanner(on_finding=found.append)
        for line, raw in enumerate(raws):
            scanner.see_raw(RawRecord(line, 0, raw))
        assert scanner.summary().flagged == 12
        assert found == alone


@pytest.mark.parametrize(
    "text",
    [
        "712 21 36 Rue de Pologne\nCite De L'Interieur 13 70486",
        "portaliou street suite 574, grundbach, bulgaria 46027",
        "Square Suite 685, Quebec, Bosnia and Herzegovina 78990 for post mail?",
    ],
)
def test_what_is_counted_is_what_is_told(text: str) -> None:
    """Counting leaves out what only a telling needs; a look that turns out too weak is neither."""
    told: list[Finding] = []
    telling, counting = Scanner(on_finding=told.append), Scanner()
    for each in (telling, counting):
        each.see_raw(RawRecord(1, 0, {"text": text}))
    assert counting.summary() == telling.summary()
    assert counting.summary().findings.get("geography", 0) == sum(each.type == "geography" for each in told)


@pytest.mark.parametrize(
    "raw",
    [
        {"parameters": {"properties": {"address": {"type": "string", "description": "where it goes"}}}},
        {"patient": {"sex": "Female", "note": "Improved"}, "name": {"use": "official"}},
        {"messages": [{"role": "user", "content": [{"type": "text", "text": "fine"}]}], "type": "hologram"},
    ],
)
def test_what_stands_below_a_telling_key_may_be_no_identifier(raw: dict[str, Any]) -> None:
    assert scan_record(raw).findings == ()


# Beginnings and ends of what rules look for: none may go on in the next record, or be cut short by the last.
PIECES = st.sampled_from(
    ("call (415) 555-", "2671", "SSN ", "219-09-", "9999", "Smith, ", "John", " Mary", "said", "Dr.",
     " Alvarez", "on 3/14", "/2019", "U1NOIDIxOS0w", "OS05OTk5", "\u202e9999-90-912 NSS", "caf\u00e9 ",
     "\x01", "d i a b", " e t e s", "&#83;&#83;", "example.org", "jane@", "\n", ".", '{"mrn": "', '4411"}',
     "patient ", "7")
)  # fmt: skip
RECORDS = st.lists(st.lists(st.lists(PIECES, max_size=4).map("".join), max_size=3), min_size=1, max_size=12)


@settings(deadline=None, max_examples=150)
@given(RECORDS)
def test_nothing_goes_on_from_one_record_to_the_next(texts: list[list[str]]) -> None:
    raws = [{"notes": each} for each in texts]
    found: list[Finding] = []
    scanner, counting = Scanner(on_finding=found.append), Scanner()
    for line, raw in enumerate(raws):
        for each in (scanner, counting):
            each.see_raw(RawRecord(line, 0, raw))
    alone = [scan_record(raw, line=line) for line, raw in enumerate(raws)]
    assert scanner.summary() == counting.summary()
    assert found == [each for scanned in alone for each in scanned.findings]
    assert scanner.summary().health == sum(scanned.health for scanned in alone)
