"""Classification-like answers: precision, recall and F1 of each class, and which is taken for which.

A class is one of few distinct reference answers. Such an answer may itself be personal, so a class has
a letter, and the line it first stands on; the words are read from there, by whoever may see them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from string import ascii_uppercase
from typing import Any

import numpy as np

from gateway.core.job import Completion
from gateway.evaluate.asking import Answers, Example
from gateway.evaluate.intervals import Column, Interval, interval, mean
from gateway.evaluate.metrics import normalise

MOST_CLASSES = 20
MOST_CONFUSIONS = 20


@dataclass(frozen=True, slots=True)
class ClassFigures:
    """How well one model finds one class; precision is over the rows it took for that class."""

    precision: Interval
    recall: Interval
    f1: Interval

    def to_json(self) -> dict[str, Any]:
        return {name: getattr(self, name).to_json() for name in ("precision", "recall", "f1")}


@dataclass(frozen=True, slots=True)
class ClassResult:
    """One class: its letter, the held-out line its answer first stands on, its rows (support)."""

    label: str
    file: int
    line: int
    n: int
    base: ClassFigures | None
    tuned: ClassFigures

    def to_json(self) -> dict[str, Any]:
        return {
            "label": self.label,
            "file": self.file,
            "line": self.line,
            "n": self.n,
            "base": self.base and self.base.to_json(),
            "tuned": self.tuned.to_json(),
        }


@dataclass(frozen=True, slots=True)
class Confusion:
    """Rows of one class that were answered as another; `answered` is None for what is no class."""

    reference: str
    answered: str | None
    base: int | None
    tuned: int

    def to_json(self) -> dict[str, Any]:
        return {
            "reference": self.reference,
            "answered": self.answered,
            "base": self.base,
            "tuned": self.tuned,
        }


@dataclass(frozen=True, slots=True)
class Classes:
    results: tuple[ClassResult, ...] = ()
    confusions: tuple[Confusion, ...] = ()


def classes(examples: Sequence[Example], base: Answers | None, tuned: Answers, seed: int) -> Classes:
    """Per class, where the references look like classes: few, and repeated; else nothing."""
    references = [normalise(example.target.content) for example in examples]
    counts = Counter(references)
    if not 2 <= len(counts) <= MOST_CLASSES or len(references) < 2 * len(counts):
        return Classes()
    letters = {text: ascii_uppercase[place] for place, (text, _) in enumerate(counts.most_common())}
    meant = [letters[text] for text in references]
    took = _taken(letters, tuned.completions)
    took_before = _taken(letters, base.completions) if base else None
    results = tuple(
        ClassResult(
            letter,
            *examples[meant.index(letter)].place,
            meant.count(letter),
            _figures(letter, meant, took_before, seed) if took_before else None,
            _figures(letter, meant, took, seed),
        )
        for letter in letters.values()
    )
    return Classes(results, _confusions(meant, took_before, took))


def labels_of(examples: Sequence[Example]) -> Mapping[str, str]:
    """The answer that each letter stands for: text of the dataset."""
    counts = Counter(normalise(example.target.content) for example in examples)
    return {ascii_uppercase[place]: text for place, (text, _) in enumerate(counts.most_common(MOST_CLASSES))}


def _taken(letters: Mapping[str, str], completions: Sequence[Completion | None]) -> list[str | None]:
    """The class each answer is, None where it is none."""
    return [letters.get(normalise(found.text)) if found else None for found in completions]


def _figures(letter: str, meant: Sequence[str], took: Sequence[str | None], seed: int) -> ClassFigures:
    is_it = np.array([one == letter for one in meant])
    said_it = np.array([one == letter for one in took])
    hit = (is_it & said_it).astype(float)
    share = (0.0, 1.0)
    return ClassFigures(
        precision=interval([hit[said_it]], mean, bounds=share, seed=seed),
        recall=interval([hit[is_it]], mean, bounds=share, seed=seed),
        f1=interval(
            [hit, is_it.astype(float), said_it.astype(float)], _f1, bounds=share, smooth=False, seed=seed
        ),
    )


def _f1(hit: Column, is_it: Column, said_it: Column, axis: int = -1) -> Any:
    either = is_it.sum(axis=axis) + said_it.sum(axis=axis)
    return np.divide(2 * hit.sum(axis=axis), either, out=np.zeros_like(either), where=either > 0)


def _confusions(
    meant: Sequence[str], before: Sequence[str | None] | None, after: Sequence[str | None]
) -> tuple[Confusion, ...]:
    """The commonest first, by what the tuned model does."""
    tuned = Counter(pair for pair in zip(meant, after, strict=True) if pair[0] != pair[1])
    base = Counter(pair for pair in zip(meant, before, strict=True) if pair[0] != pair[1]) if before else None
    pairs = sorted({*tuned, *(base or ())}, key=lambda p: (-tuned[p], -(base or tuned)[p], p[0], p[1] or ""))
    return tuple(
        Confusion(*pair, None if base is None else base[pair], tuned[pair])
        for pair in pairs[:MOST_CONFUSIONS]
    )
