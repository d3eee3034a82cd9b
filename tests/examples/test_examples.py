"""The shipped examples: made the same again, valid, invented, and fair to measure on."""

from __future__ import annotations

import csv
import json
import re
import runpy
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from gateway.core.classes import DataClass
from gateway.core.spec import JobSpec

EXAMPLES = Path(__file__).parents[2] / "examples"
NOTES = EXAMPLES / "clinical_notes"
TICKETS = EXAMPLES / "support_tickets"


def _notes() -> list[dict[str, str]]:
    with (NOTES / "notes.csv").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def _tickets() -> list[dict[str, Any]]:
    lines = (TICKETS / "tickets.jsonl").read_text(encoding="utf-8").splitlines()
    return [json.loads(line) for line in lines]


@pytest.mark.parametrize(("folder", "name"), [(NOTES, "notes.csv"), (TICKETS, "tickets.jsonl")])
def test_the_generator_makes_the_committed_file_again(folder: Path, name: str, tmp_path: Path) -> None:
    runpy.run_path(str(folder / "make_data.py"))["write"](tmp_path / name)
    assert (tmp_path / name).read_bytes() == (folder / name).read_bytes()


@pytest.mark.parametrize("folder", [NOTES, TICKETS], ids=lambda folder: folder.name)
def test_the_job_is_a_valid_spec_over_a_file_that_is_there(folder: Path) -> None:
    spec = JobSpec.from_yaml(folder / "job.yaml")
    assert (spec.folder / spec.data.train[0]).is_file()
    assert spec.model[0] == "tunegate-demo"


def test_notes_are_phi_and_tickets_are_not() -> None:
    assert JobSpec.from_yaml(NOTES / "job.yaml").data.class_ is DataClass.PHI
    assert JobSpec.from_yaml(TICKETS / "job.yaml").data.class_ is DataClass.INTERNAL


def test_planted_details_are_there_and_invented() -> None:
    talk = "\n".join(row["dialogue"] for row in _notes())
    phones = re.findall(r"\(\d{3}\) \d{3}-\d{4}", talk)
    mails = re.findall(r"\S+@(\S+?)[.\s]*(?=\s|$)", talk)
    assert len(phones) > 50
    assert all(phone.startswith("(555) 555-01") for phone in phones)
    assert mails
    assert set(mails) == {"example.com"}
    assert len(re.findall(r"MRN \d{8}", talk)) > 100
    assert len(re.findall(r"born \d\d/\d\d/\d{4}", talk)) > 100
    assert not re.search(r"\d{3}-\d{2}-\d{4}", talk)


def test_tickets_hold_no_personal_data() -> None:
    assert not re.search(r"@|\d", " ".join(turn["content"] for row in _tickets() for turn in row["messages"]))


def _shingles(text: str) -> set[tuple[str, ...]]:
    words = re.findall(r"\w+", text.lower())
    return {tuple(words[i : i + 3]) for i in range(len(words) - 2)}


def test_examples_differ_enough_to_be_held_out_honestly() -> None:
    """Near-duplicates would be clustered, and a test set would then be one cluster or none."""
    for texts in (
        [row["dialogue"] for row in _notes()],
        [row["messages"][-2]["content"] for row in _tickets()],
    ):
        sets = [_shingles(text) for text in texts]
        pairs = ((a, b) for i, a in enumerate(sets) for b in sets[:i])
        assert max(len(a & b) / len(a | b) for a, b in pairs) < 0.7


def test_every_answer_occurs_often_enough_to_be_learned_and_held_out() -> None:
    for answers in (
        Counter(row["section_text"] for row in _notes()),
        Counter(row["messages"][-1]["content"] for row in _tickets()),
    ):
        assert min(answers.values()) >= 10
        assert max(answers.values()) <= 3 * min(answers.values())
