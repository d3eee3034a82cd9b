"""A record while it is rewritten: each of its texts, and which parts of them are ours already.

Texts are known by their address, the position of a value in everything above it, so that a key may be
renamed without losing what stands below it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Any, NamedTuple, cast

from gateway.privacy.scrubbing.surrogates import AGE_90, is_made

_STEP = re.compile(r"\[(\d+)\]|\.?\{(\d+)\}(~?)|\.?([^.\[\]{}]+)")
Span = tuple[int, int]


class Address(NamedTuple):
    """Positions from the record down to a value; `key` means the name of that value, not the value."""

    steps: tuple[int, ...]
    key: bool = False


class Edit(NamedTuple):
    start: int
    end: int
    new: str


@dataclass(slots=True)
class Text:
    """A text of the record as it stands now.

    Attributes:
        was: the value it came from: a string, or a number.
        ours: the spans that we wrote, in order.
    """

    text: str
    was: str | int | float
    ours: list[Span] = field(default_factory=list[Span])
    changed: bool = False

    @property
    def is_number(self) -> bool:
        return not isinstance(self.was, str)

    def is_made(self, kind: str, start: int, end: int) -> bool:
        """Whether a stand-in stands there; of `90+`, a scanner may find the number alone."""
        if kind == "age" and (self.is_number or self.text[end : end + 1] == "+"):
            return self.text[start:end] == AGE_90.rstrip("+")
        return is_made(kind, self.text[start:end])

    def is_ours(self, start: int, end: int) -> bool:
        """Whether all of a span was written by us."""
        return any(begin <= start and end <= stop for begin, stop in self.ours)

    def replace(self, edits: Sequence[Edit]) -> None:
        """Put new texts in place; an edit that cuts into a part of ours takes all of it."""
        kept: list[Edit] = []
        for edit in sorted(self._grown(edit) for edit in edits):
            if not kept or edit.start >= kept[-1].end:
                kept.append(edit)
        ours = [span for span in self.ours if not any(e.start < span[1] and span[0] < e.end for e in kept)]
        pieces, at, moved = list[str](), 0, list[Span]()
        shift = 0
        for edit in kept:
            pieces += [self.text[at : edit.start], edit.new]
            moved += [(a + shift, b + shift) for a, b in ours if at <= a < edit.start]
            moved.append((edit.start + shift, edit.start + shift + len(edit.new)))
            shift += len(edit.new) - (edit.end - edit.start)
            at = edit.end
        moved += [(a + shift, b + shift) for a, b in ours if a >= at]
        self.text = "".join([*pieces, self.text[at:]])
        self.ours, self.changed = moved, self.changed or bool(kept)
        if self.is_number and kept:  # a number is ours as a whole, in the form it will be written in
            self.text = str(self.value())
            self.ours = [(0, len(self.text))]

    def _grown(self, edit: Edit) -> Edit:
        start, end = edit.start, edit.end
        for a, b in self.ours:
            if a < end and start < b:
                start, end = min(start, a), max(end, b)
        return Edit(start, end, edit.new)

    def value(self) -> str | int | float:
        """What goes back into the record: of the type it had, where the text still is one."""
        if not self.changed:
            return self.was
        try:
            return type(self.was)(self.text)
        except ValueError:
            return self.text


class Draft:
    """A record and its texts."""

    def __init__(self, raw: Mapping[str, Any]) -> None:
        self._raw = raw
        self.texts: dict[Address, Text] = {
            address: Text(str(value), value) for address, value in _leaves(raw, ())
        }

    def build(self) -> dict[str, Any]:
        """The record as it stands now."""
        return cast("dict[str, Any]", self._rebuilt(self._raw, ()))

    def find(self, built: Mapping[str, Any], path: str) -> Address | None:
        """The address of the value that a finding's path names in the record as built; None where no
        text stands there."""
        steps, value, is_key = list[int](), cast("object", built), False
        for match in _STEP.finditer(path):
            index, number, tilde, name = match.groups()
            if isinstance(value, Mapping):
                items = cast("Mapping[object, object]", value)
                at = int(number) if number is not None else _position(items, name or "")
                if at is None or at >= len(items):
                    return None
                steps.append(at)
                is_key, value = bool(tilde), next(islice(items.values(), at, None))
            elif isinstance(value, list | tuple) and index is not None:
                values = cast("Sequence[object]", value)
                if int(index) >= len(values):
                    return None
                steps.append(int(index))
                value = values[int(index)]
            else:
                return None
        address = Address(tuple(steps), is_key)
        return address if address in self.texts else None

    def path(self, address: Address) -> str:
        """Where an address is, for people who may see the data: keys as they are."""
        value, path = cast("object", self._raw), ""
        for at in address.steps:
            if isinstance(value, Mapping):
                name, value = next(islice(cast("Mapping[object, object]", value).items(), at, None))
                path += f".{name}"
            else:
                value = cast("Sequence[object]", value)[at]
                path += f"[{at}]"
        return path.removeprefix(".") + (" (its name)" if address.key else "")

    def _rebuilt(self, value: object, above: tuple[int, ...]) -> object:
        if isinstance(value, Mapping):
            found: dict[str, object] = {}
            for at, (name, child) in enumerate(cast("Mapping[object, object]", value).items()):
                steps = (*above, at)
                key, taken = self.texts[Address(steps, key=True)].text, 2
                while key in found:  # two keys became one: both stay
                    key, taken = f"{self.texts[Address(steps, key=True)].text}-{taken}", taken + 1
                found[key if key != str(name) else cast("str", name)] = self._rebuilt(child, steps)
            return found
        if isinstance(value, list | tuple):
            values = cast("Sequence[object]", value)
            items = [self._rebuilt(item, (*above, at)) for at, item in enumerate(values)]
            return items if isinstance(value, list) else tuple(items)
        text = self.texts.get(Address(above))
        return value if text is None else text.value()


def _leaves(value: object, above: tuple[int, ...]) -> Iterator[tuple[Address, str | int | float]]:
    """Every string, number and key; what else there is holds no text that could be rewritten."""
    if isinstance(value, Mapping):
        for at, (name, child) in enumerate(cast("Mapping[object, object]", value).items()):
            yield Address((*above, at), key=True), str(name)
            yield from _leaves(child, (*above, at))
    elif isinstance(value, list | tuple):
        for at, item in enumerate(cast("Sequence[object]", value)):
            yield from _leaves(item, (*above, at))
    elif isinstance(value, str | int | float) and not isinstance(value, bool):
        yield Address(above), value


def _position(items: Mapping[object, object], name: str) -> int | None:
    return next((at for at, key in enumerate(items) if str(key) == name), None)
