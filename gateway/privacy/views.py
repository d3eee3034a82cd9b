"""Another reading of a text, with a way back: which part of the text each of its characters comes from."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable
from typing import NamedTuple


class Edit(NamedTuple):
    """A piece of a text and what it reads as: a block, or, with `step`, every so many characters of it."""

    start: int
    end: int
    new: str
    step: int = 0


class Segment(NamedTuple):
    """Characters of a view, up to the next segment, that come from `start` to `end` of the text: character by
    character in steps of `step`, or with step 0 all of them from all of it."""

    at: int
    start: int
    end: int
    step: int


class View(NamedTuple):
    """A text as it reads once one layer of encoding is taken off."""

    text: str
    segments: list[Segment]

    @property
    def is_reversed(self) -> bool:
        return self.segments[0].step < 0

    def origin(self, start: int, end: int) -> tuple[int, int]:
        """The part of the text that the characters from `start` up to `end` (not empty) come from."""
        first = bisect_right(self.segments, start, key=lambda each: each.at) - 1
        ends: list[tuple[int, int]] = []
        for number in range(first, len(self.segments)):
            if self.segments[number].at >= end:
                break
            ends += self._ends(number, max(start, self.segments[number].at), end)
        return min(low for low, _ in ends), max(high for _, high in ends)

    def _ends(self, number: int, start: int, end: int) -> Iterable[tuple[int, int]]:
        """Where the first and the last character of a segment's part come from."""
        at, begin, stop, step = self.segments[number]
        if step == 0:
            return ((begin, stop),)
        after = self.segments[number + 1].at if number + 1 < len(self.segments) else len(self.text)
        last = min(end, after) - 1
        origin = begin if step > 0 else stop - 1
        return [(origin + step * (place - at), origin + step * (place - at) + 1) for place in (start, last)]


def spliced(text: str, edits: Iterable[Edit]) -> View:
    """The text with pieces of it replaced; edits in order, none over another."""
    pieces: list[str] = []
    segments: list[Segment] = []
    at = done = 0
    for start, end, new, step in edits:
        if start > done:
            pieces.append(text[done:start])
            segments.append(Segment(at, done, start, 1))
            at += start - done
        if new:
            pieces.append(new)
            segments.append(Segment(at, start, end, step))
            at += len(new)
        done = end
    if done < len(text):
        pieces.append(text[done:])
        segments.append(Segment(at, done, len(text), 1))
    return View("".join(pieces), segments)


def reversed_view(text: str) -> View:
    return View(text[::-1], [Segment(0, 0, len(text), -1)])
