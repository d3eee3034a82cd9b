"""Answers to a sample: a file that `data review --json` begins and a person completes."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, cast

from gateway.core.errors import DataError

SCHEMA = "tunegate.review-answers/1"
Verdict = Literal["clean", "leak"]


@dataclass(frozen=True, slots=True)
class Answer:
    """A verdict on one record of a sample, and the findings in it that identify nobody."""

    file: int
    line: int
    verdict: Verdict
    dismiss: tuple[tuple[str, str], ...] = ()  # (field, type)


def seed_of(path: Path) -> tuple[str, int]:
    """The seed and the size of the sample that a file of answers is about.

    Raises:
        DataError: the file makes no sense.
    """
    said = _said(path)
    answers = said.get("answers")
    if not isinstance(said.get("seed"), str) or not isinstance(answers, list):
        raise _senseless(path)
    return said["seed"], len(cast("list[Any]", answers))


def read_answers(path: Path, *, data_hash: str, seed: str, drawn: Sequence[tuple[int, int]]) -> list[Answer]:
    """The answers of a file to exactly the sample that was drawn: its (file, line) pairs.

    Raises:
        DataError: the file makes no sense, is about another sample, or leaves a record unanswered.
    """
    said = _said(path)
    if (said.get("data_hash"), said.get("seed")) != (data_hash, seed):
        raise DataError(
            "these answers are about another sample, or the data has changed since it was drawn",
            place=str(path),
            fix="draw it anew: `tunegate data review DATASET --json`",
        )
    answers = [_answer(each, path) for each in cast("Sequence[Any]", said.get("answers") or ())]
    given = [(answer.file, answer.line) for answer in answers]
    if sorted(drawn) != sorted(given):
        raise DataError(
            f"{len(set(drawn) - set(given))} records of the sample have no answer",
            place=str(path),
            fix="answer every record of the sample, and no other",
        )
    return answers


def _said(path: Path) -> dict[str, Any]:
    try:
        said = cast("object", json.loads(path.read_bytes()))
    except (OSError, ValueError, RecursionError):
        said = None
    if not isinstance(said, dict):
        raise _senseless(path)
    found = cast("dict[str, Any]", said)
    if found.get("schema") != SCHEMA:
        raise _senseless(path)
    return found


def _senseless(path: Path) -> DataError:
    return DataError(
        "this is no file of answers", place=str(path), fix="make one: `tunegate data review DATASET --json`"
    )


def _answer(said: object, path: Path) -> Answer:
    try:
        each = cast("dict[str, Any]", said)
        verdict, file, line = each["verdict"], each["file"], each["line"]
        dismiss = tuple((str(found["field"]), str(found["type"])) for found in each.get("dismiss") or ())
    except (KeyError, TypeError, AttributeError):
        raise _senseless(path) from None
    if verdict not in ("clean", "leak") or type(file) is not int or type(line) is not int:
        raise DataError(
            "a verdict is `clean` or `leak`",
            place=f"{path}, the record on line {line if type(line) is int else '?'}",
            fix="give every record of the sample one",
        )
    return Answer(file, line, verdict, dismiss)
