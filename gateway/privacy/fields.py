"""Every piece of text in a record, with its JSON path: values of any type, and the keys themselves."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from functools import lru_cache
from typing import Any, NamedTuple, cast

from gateway.privacy import lexicon

_PLAIN_KEY = re.compile(r"[A-Za-z_][A-Za-z_-]{0,30}\d{0,2}")
_WORDS = re.compile(r"[A-Z]?[a-z]+|[A-Z]+")
_MEDIA_TYPES = frozenset(
    ("image", "image_url", "input_image", "audio", "input_audio", "video", "file", "input_file", "document")
)
_MEDIA_KEYS = frozenset(("image_url", "input_audio", "inline_data", "inlineData", "fileData", "file_data"))


class Place(NamedTuple):
    """Where a text stands: a key or an index below another place. Written out only for findings."""

    above: Place | None
    step: str | int

    @property
    def path(self) -> str:
        """Such as `messages[0].content`. A key that is no plain word is shown by its number
        (`metadata.{2}`, and `metadata.{2}~` for the key itself), since keys may name people."""
        steps: list[str] = []
        at: Place | None = self
        while at is not None:
            steps.append(f"[{at.step}]" if isinstance(at.step, int) else f".{at.step}")
            at = at.above
        return "".join(reversed(steps)).removeprefix(".")


class Field(NamedTuple):
    """One text of a record.

    Attributes:
        place: where it stands.
        key: the nearest key above it, for rules that go by a column's name.
        known: type of finding that the whole field is, whatever its text (`unknown_content` for an image).
    """

    place: Place
    key: str
    text: str
    known: str | None = None


def fields(raw: Mapping[str, Any]) -> Iterator[Field]:
    """Every value and every unusual key, in the record's order. Not recursive: nesting has no limit here."""
    stack: list[tuple[Place | None, str, Any]] = [(None, "", raw)]
    while stack:
        place, key, value = stack.pop()
        if isinstance(value, str):
            if value and place:
                yield Field(place, key, value)
        elif isinstance(value, dict):
            yield from _open(place, cast("dict[object, Any]", value), stack)
        elif isinstance(value, list | tuple):
            items = cast("list[Any]", value)
            stack.extend((Place(place, at), key, items[at]) for at in range(len(items) - 1, -1, -1))
        elif isinstance(value, Mapping):
            yield from _open(place, cast("Mapping[object, Any]", value), stack)
        elif place and isinstance(value, bytes | bytearray | memoryview):
            yield Field(place, key, " ", "unknown_content")
        elif place and value is not None and not isinstance(value, bool):
            yield Field(place, key, str(value))


def _open(
    place: Place | None, value: Mapping[object, Any], stack: list[tuple[Place | None, str, Any]]
) -> Iterator[Field]:
    """Put a mapping's values on the stack; yield those of its keys that may say something themselves."""
    children: list[tuple[Place | None, str, Any]] = []
    for number, (name, child) in enumerate(value.items()):
        key = str(name)
        if plain_key(key):
            here = Place(place, key)
            if key in _MEDIA_KEYS or (key == "type" and isinstance(child, str) and child in _MEDIA_TYPES):
                yield Field(here, key, " ", "unknown_content")
        else:
            here = Place(place, f"{{{number}}}")
            known = "name" if _names_someone(key) else None
            yield Field(Place(place, f"{{{number}}}~"), "", key, known)
        children.append((here, key, child))
    children.reverse()
    stack.extend(children)


@lru_cache(maxsize=4096)
def plain_key(key: str) -> bool:
    """Whether a key may be shown in a path: one short word of a schema, not a number, a date or a name."""
    return _PLAIN_KEY.fullmatch(key) is not None and not _names_someone(key)


def _names_someone(key: str) -> bool:
    words = {word.capitalize().encode("ascii", "ignore") for word in _WORDS.findall(key)}
    return not words.isdisjoint(lexicon.names().certain)
