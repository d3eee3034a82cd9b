"""From looks to findings: checks and context say how sure each look is, and the surest of each place stays.

Looks come with the most they can be worth. They are taken in that order, so that whatever a surer finding
covers is never checked at all; one that turns out to be worth less goes back and waits for its turn.
"""

from __future__ import annotations

import re
from bisect import bisect_left, bisect_right
from collections.abc import Iterable
from heapq import heapify, heappop, heappush
from itertools import accumulate
from typing import NamedTuple, TypeAlias

from gateway.privacy import people
from gateway.privacy.fields import Texts
from gateway.privacy.folding import Folded
from gateway.privacy.numbers import NUMBERS, Match, is_piece
from gateway.privacy.rules import CHECK_LOSS, CONTEXT_GAIN, PIECE_LOSS, RULES, Rule

SEPARATOR = "\n\x1e\n"
GAP = len(SEPARATOR)
_WINDOW = 48  # bytes before a match in which context words count
_SURE = 0.88  # the most that context makes of a look; a label before it says more
_LINE_BREAK = 10
_LEAST = 0.05
_WORD = re.compile(rb"[a-z]+")
_ALL = (*NUMBERS, *RULES)
_NO_RULE = len(_ALL)


class Joined:
    """The folded texts of a record, one after the other, so that one pass matches them all.

    Attributes:
        turned: indices of the texts that have marks which turn the direction of writing.
    """

    __slots__ = ("_near", "_starts", "fields", "folded", "parts", "text", "turned")

    def __init__(
        self,
        fields: Texts,
        folded: list[Folded | None] | None,
        parts: list[str],
        text: bytes,
        turned: frozenset[int] = frozenset(),
    ) -> None:
        self.fields, self.folded, self.text = fields, folded, text
        self.parts, self.turned = parts, turned
        self._starts: list[int] | None = None
        self._near: dict[int, list[bytes]] = {}

    @property
    def starts(self) -> list[int]:
        """Where each text begins, and one more where the next would."""
        if self._starts is None:
            self._starts = list(accumulate([len(part) + GAP for part in self.parts], initial=0))
        return self._starts

    def at(self, position: int) -> int:
        """Index of the text that a position lies in."""
        return bisect_right(self.starts, position) - 1

    def end(self, at: int) -> int:
        return self.starts[at + 1] - GAP

    def near(self, start: int) -> list[bytes]:
        """The words shortly before a position, and those of the key above it; remembered."""
        words = self._near.get(start)
        if words is None:
            at = self.at(start)
            before = self.text[max(self.starts[at], start - _WINDOW) : start].lower()
            words = _WORD.findall(self.fields.keys[at].words + before.replace(b"d.o.b", b"dob"))
            self._near[start] = words
        return words

    def original(self, start: int, end: int) -> tuple[int, int, int]:
        """Index of the text that a span lies in, and its offsets in that text as it was before folding."""
        at = self.at(start)
        start, end = start - self.starts[at], end - self.starts[at]
        folded = self.folded[at] if self.folded else None
        return (at, *folded.span(start, end)) if folded else (at, start, end)


class Found(NamedTuple):
    """A finding in the joined text."""

    start: int
    end: int
    type: str
    confidence: float


Look: TypeAlias = tuple[float, int, int, bool, int, str, float]
"""A place where something may be: minus the most its confidence can be, minus its length, its rule (an index
into `NUMBERS` and then `RULES`), whether it is checked, its start, its type, its confidence before check and
context. Sorts by worth, then the longer first. A plain tuple, since dense text has thousands a megabyte."""


def _worth(rule: Rule, *, piece: bool) -> tuple[float, float]:
    """Minus the most a rule's match can be worth, and what it is worth before check and context."""
    base = rule.confidence - (PIECE_LOSS if piece and rule.alone else 0.0)
    return -_rounded(max(base, min(base + CONTEXT_GAIN, _SURE)) if rule.context else base), base


def _rounded(confidence: float) -> float:
    return round(confidence, 2) if confidence > _LEAST else _LEAST


_WORTH = [(_worth(rule, piece=False), _worth(rule, piece=True)) for rule in _ALL]


def of_numbers(found: Iterable[Match]) -> list[Look]:
    """What `numbers.find` found."""
    looks: list[Look] = []
    for rule, start, end, piece in found:
        bound, base = _WORTH[rule][piece]
        looks.append((bound, start - end, rule, False, start, NUMBERS[rule].type, base))
    return looks


def of_rule(joined: Joined, number: int, spans: Iterable[tuple[int, int]]) -> list[Look]:
    """The matches of one of `RULES`."""
    looks: list[Look] = []
    rule, judge, text = len(NUMBERS) + number, RULES[number], joined.text
    for start, end in spans:
        if text[end - 1] == _LINE_BREAK:  # perhaps the separator's, which is no part of the field
            end = min(end, joined.end(joined.at(start)))
        if start < end:
            bound, base = _WORTH[rule][judge.alone and is_piece(text, start, end)]
            looks.append((bound, start - end, rule, False, start, judge.type, base))
    return looks


def known(start: int, end: int, type_: str, confidence: float) -> Look:
    """What needs no confirming."""
    return -confidence, start - end, _NO_RULE, True, start, type_, confidence


def confirm(joined: Joined, looks: list[Look], floor: float) -> list[Found]:
    """The surest finding of each place, of at least `floor`, in the text's order; none overlap."""
    heapify(looks)
    kept: list[Found] = []
    while looks:
        bound, length, rule, checked, start, kind, base = heappop(looks)
        if -bound < floor:
            break
        end, place = start - length, bisect_left(kept, (start,))
        if (place and kept[place - 1][1] > start) or (place < len(kept) and kept[place][0] < end):
            continue
        if not checked:
            confidence = _confidence(joined, _ALL[rule], base, start, end, floor)
            if confidence < -bound:
                if confidence >= floor:
                    heappush(looks, (-confidence, length, rule, True, start, kind, base))
                continue
        kept.insert(place, Found(start, end, kind, -bound))
    return kept


def _confidence(joined: Joined, rule: Rule, base: float, start: int, end: int, floor: float) -> float:
    text, confidence = joined.text, base
    if rule.type == "name" and people.eponym(text, end):
        return -1.0
    near = rule.context is not None and not rule.context.isdisjoint(joined.near(start))
    if base < floor and not near:
        return base  # too little whatever a check says
    if rule.check is not None and not rule.check(text[start:end]):
        confidence -= CHECK_LOSS
    if near and confidence < _SURE:
        confidence = min(confidence + CONTEXT_GAIN, _SURE)
    return _rounded(confidence)
