"""The layer below a record's texts: what they say once an encoding is taken off, ready to be scanned too."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from functools import lru_cache
from typing import NamedTuple

from gateway.privacy import columns
from gateway.privacy.encodings import closed_up, unescaped, unpacked
from gateway.privacy.engine import Engine, Pattern, Silent
from gateway.privacy.fields import Texts
from gateway.privacy.page import Page
from gateway.privacy.triggers import BACKWARDS, NEARLY, TRIGGERS
from gateway.privacy.views import View, reversed_view

DEEPEST = 6
"""Layers that are taken off; what has more is unknown."""
OPAQUE, RIDDLE = 0.85, 0.55
_ESCAPES, _BLOBS, _SPACED, _BACKWARDS = range(len(TRIGGERS))
IN_TEXT = len(TRIGGERS)
"""Number of the trigger for JSON within a text."""
_GROWTH, _ROOM = 4, 1 << 16


class Unknown(NamedTuple):
    """A span of the joined text that nobody can read."""

    start: int
    end: int
    confidence: float


@dataclass(slots=True)
class Below:
    """The views of a joined text's parts.

    Attributes:
        texts: what they say, below the same keys and places.
        views: for each of them, the part it comes from and the way back.
        too_much: they are many times what they come from.
    """

    texts: Texts = field(default_factory=lambda: Texts(frozenset()))
    views: list[tuple[int, View]] = field(default_factory=list[tuple[int, View]])
    unknown: list[Unknown] = field(default_factory=list[Unknown])
    too_much: bool = False

    def is_reversed(self, at: int) -> bool:
        return self.views[at][1].is_reversed

    def origin(self, at: int, start: int, end: int) -> tuple[int, int, int]:
        """The part that a span of a view comes from, and where in it."""
        part, view = self.views[at]
        return (part, *view.origin(start, end))


def below(page: Page, record: int, triggered: Collection[int], seen: set[str]) -> Below:
    """What stands one layer below a record's texts.

    Args:
        triggered: which of `TRIGGERS` matched somewhere.
        seen: every text read so far, in which this adds its own: none is read twice.
    """
    found, size = Below(), 0
    seen.update(page.parts[at] for at in page.of(record))
    for at in page.of(record):
        for view in _views(page, at, triggered, found):
            if view.text and view.text not in seen:
                seen.add(view.text)
                size += len(view.text)
                _add(found, page, record, at, view)
    begin, end = page.body(record)
    found.too_much = size > _GROWTH * (end - begin) + _ROOM
    return found


def _views(page: Page, at: int, triggered: Collection[int], found: Below) -> list[View]:
    part, begin, end = page.parts[at], page.starts[at], page.end(at)
    views = list[View | None]()
    if _ESCAPES in triggered:
        views.append(unescaped(part))
    if _BLOBS in triggered and _blobs().occurs(page.text, begin - 1, end + 1):  # as it stands, between breaks
        view, unknown = unpacked(part)
        views.append(view)
        found.unknown += [Unknown(begin + start, begin + end, OPAQUE) for start, end in unknown]
    if _SPACED in triggered:
        view, unknown = closed_up(part)
        views.append(view)
        found.unknown += [Unknown(begin + start, begin + end, RIDDLE) for start, end in unknown]
    if at in page.turned or (_BACKWARDS in triggered and _backwards().occurs(page.text, begin, end)):
        views.append(reversed_view(part))
    return [view for view in views if view is not None]


def triggered(page: Page) -> Iterator[tuple[int, Collection[int] | None]]:
    """The records in which triggers match or text is turned, and which triggers; None where the engine did
    not look."""
    turned = {page.record_at(page.starts[at]) for at in page.turned}
    for record in sorted(turned.union(_nearly_triggered(page))):
        begin, end = page.body(record)
        try:
            yield record, _engine().which(page.text[begin:end] + b"\n" + _engine().tail)
        except Silent:
            yield record, None


def _nearly_triggered(page: Page) -> Iterator[int]:
    """The records in which a trigger could match; after the first place in one, the next is looked at."""
    begin = 0
    while (place := _nearly().first(page.text, begin)) is not None:
        yield (record := page.record_at(place))
        begin = page.bounds[record + 1]


@lru_cache(maxsize=1)
def _nearly() -> Pattern:
    return Pattern(f"(?:{NEARLY})")


@lru_cache(maxsize=1)
def _engine() -> Engine:
    return Engine([*TRIGGERS, columns.IN_TEXT])


@lru_cache(maxsize=1)
def _blobs() -> Pattern:
    """To decode is dear, and one blob is enough for every word of a record to be tried."""
    return Pattern(f"(?:{TRIGGERS[_BLOBS]})")


@lru_cache(maxsize=1)
def _backwards() -> Pattern:
    return Pattern(f"(?:{BACKWARDS})")


def _add(found: Below, page: Page, record: int, at: int, view: View) -> None:
    texts, key = found.texts, page.keys[at]
    if key.told is not None:
        texts.told.append((len(texts.texts), *key.told))
    texts.texts.append(view.text)
    texts.places.append(page.records[record].places[at - page.first[record]])
    texts.keys.append(key)
    found.views.append((at, view))
