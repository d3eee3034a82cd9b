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
class ReviewAnswer:
    """A verdict on one record of a sample, and the findings in it that identify nobody."""

    file: int
    line: int
    verdict: Verdict
    dismiss: tuple[tuple[str, str], ...] = ()  # (field, type)


@dataclass(frozen=True, slots=True)
class Answers:
    """A file of answers: to which sample, and what."""

    place: str
    data_hash: str
    seed: str
    given: tuple[ReviewAnswer, ...]

    def check(self, data_hash: str, drawn: Sequence[tuple[int, int]]) -> None:
        """Hold the answers to the sample as it is drawn now: its (file, line) pairs.

        Raises:
            DataError: they are about another one, or leave a record unanswered.
        """
        given = [(answer.file, answer.line) for answer in self.given]
        if self.data_hash != data_hash or sorted(given) != sorted(drawn):
            raise DataError(
                "these answers are about another sample, or the data has changed since it was drawn",
                place=self.place,
                fix="draw it anew: `tunegate data review DATASET --json`",
            )


def read_answers(path: Path) -> Answers:
    """What a file of answers says.

    Raises:
        DataError: the file makes no sense, or leaves a record unanswered.
    """
    said = _said(path)
    data_hash, seed, answers = said.get("data_hash"), said.get("seed"), said.get("answers")
    if not (isinstance(data_hash, str) and isinstance(seed, str) and isinstance(answers, list)):
        raise _senseless(path)
    given = tuple(_answer(each, path) for each in cast("list[object]", answers))
    return Answers(str(path), data_hash, seed, given)


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


def _answer(said: object, path: Path) -> ReviewAnswer:
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
    return ReviewAnswer(file, line, verdict, dismiss)
