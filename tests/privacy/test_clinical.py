"""What the rules find in labelled clinical text, and what they leave alone."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest

from gateway.core.classes import DataClass
from gateway.core.rows import Finding
from gateway.privacy import TYPES, class_of, scan_record
from tests.privacy import varied
from tests.privacy.labelled import CLEAN, CLEAN_NOTES, LABELLED, NOTES, parse

SHARED = Path(__file__).parents[2].parent / "shared"


def findings(text: str) -> tuple[Finding, ...]:
    return scan_record({"text": text}).findings


@pytest.mark.parametrize("line", LABELLED)
def test_each_labelled_span_is_found_exactly_and_nothing_else(line: str) -> None:
    example = parse(line)
    found = {(finding.type, finding.start, finding.end) for finding in findings(example.text)}
    assert found == set(example.spans)


@pytest.mark.parametrize("line", NOTES)
def test_every_span_of_a_note_is_touched_and_nothing_else_flagged(line: str) -> None:
    example = parse(line)
    found = findings(example.text)
    missed = [
        kind for kind, start, end in example.spans if not any(f.start < end and f.end > start for f in found)
    ]
    extra = [f for f in found if not any(f.start < end and f.end > start for _, start, end in example.spans)]
    assert (missed, extra) == ([], [])


@pytest.mark.parametrize("line", [*CLEAN, *CLEAN_NOTES])
def test_clean_clinical_text_is_left_alone(line: str) -> None:
    assert findings(line) == ()


def test_every_text_type_has_a_labelled_line() -> None:
    labelled = {kind for line in LABELLED for kind, _, _ in parse(line).spans}
    assert labelled == set(TYPES) - {"unknown_content"}


@pytest.mark.parametrize(
    ("surer", "less_sure"),
    [
        ("4111 1111 1111 1111", "4111 1111 1111 1112"),  # Luhn
        ("219-09-9999", "666-09-9999"),  # structure
        ("DE89370400440532013000", "DE88370400440532013000"),  # mod 97
        ("1HGCM82633A004352", "1HGCM82643A004352"),  # check digit
        ("AB1234563", "AB1234564"),
    ],
)
def test_a_failed_checksum_lowers_confidence_and_deletes_nothing(surer: str, less_sure: str) -> None:
    def confidence(text: str) -> float:
        return max(finding.confidence for finding in scan_record({"note": text}, floor=0.0).findings)

    assert 0 < confidence(less_sure) < 0.5 <= confidence(surer)


def test_context_raises_what_digits_alone_do_not_say() -> None:
    assert findings("the total was 219099999 units") == ()
    assert [finding.type for finding in findings("her social security number is 219099999")] == ["ssn"]


def test_a_disease_or_a_drug_is_health_content_alone() -> None:
    assert scan_record({"text": "SSN 123-45-6789, has diabetes"}).health is True
    assert scan_record({"text": "Anna Miller, 12 Oak Street, takes lithium"}).health is True
    assert scan_record({"text": "the doctor of philosophy gave a talk"}).health is False


def test_health_content_takes_two_different_words_otherwise() -> None:
    assert scan_record({"text": "a fever and nausea since May of last term"}).health is False
    assert scan_record({"text": "The diagnosis is asthma."}).health is True
    assert scan_record({"text": "pain, pain, pain"}).health is False


def test_class_follows_type_and_health_content() -> None:
    assert class_of([], health=True) is DataClass.PUBLIC
    assert class_of(["email"], health=False) is DataClass.PII
    assert class_of(["email"], health=True) is DataClass.PHI
    assert class_of(["mrn"], health=False) is DataClass.PHI
    assert class_of(["unknown_content"], health=False) is DataClass.PHI


@pytest.mark.shared
def test_little_of_real_deidentified_dialogue_is_taken_for_a_name() -> None:
    path = SHARED / "data" / "mts-dialog" / "train.csv"
    if not path.is_file():
        pytest.skip("the development data is not beside this checkout")
    with path.open(newline="", encoding="utf-8") as file:
        texts = [row["dialogue"] for row in csv.DictReader(file)]
    # Names that remain in it are real flags; without them hardly a record may be left.
    named = sum(any(finding.type == "name" for finding in findings(text)) for text in texts)
    assert named / len(texts) < 0.06


def test_of_text_in_other_styles_only_what_is_listed_is_missed() -> None:
    missed: set[str] = set()
    for line in varied.IDENTIFYING:
        example = parse(line)
        found = findings(example.text)
        missed |= {
            example.text[start:end]
            for _, start, end in example.spans
            if not any(each.start < end and each.end > start for each in found)
        }
    assert missed <= varied.MISSED


def test_of_clean_text_in_other_styles_only_what_is_listed_is_flagged() -> None:
    flagged = {line[each.start : each.end] for line in varied.CLEAN for each in findings(line)}
    assert flagged <= varied.FLAGGED
