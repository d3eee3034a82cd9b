"""Every piece of text in a record, with its JSON path: values of any type, and the keys themselves."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, TypeAlias, cast

from gateway.privacy import lexicon
from gateway.privacy.columns import part_type

_PLAIN_KEY = re.compile(r"[A-Za-z_][A-Za-z_-]{0,30}\d{0,2}")
_SCHEMA = frozenset((b"Meta", b"Lang", b"Gene"))  # first names that a key does not mean
_WORDS = re.compile(r"[A-Z]?[a-z]+|[A-Z]+")
_MEDIA_TYPES = frozenset(
    ("image", "image_url", "input_image", "audio", "input_audio", "video", "file", "input_file", "document")
)
# Parts of a message that are text, or text's frame; a part of any other type is something nobody can read.
_TEXT_TYPES = frozenset(
    (
        "text",
        "input_text",
        "output_text",
        "summary_text",
        "refusal",
        "thinking",
        "reasoning",
        "json",
        "function",
        "function_call",
        "function_call_output",
        "tool_call",
        "tool_use",
        "tool_result",
    )
)
_OF_PARTS = frozenset(("content", "parts"))
_SCHEMA_TYPES = frozenset(("string", "number", "integer", "boolean", "object", "array", "null"))
_MEDIA_KEYS = frozenset(("image_url", "input_audio", "inline_data", "inlineData", "fileData", "file_data"))
# Words of the formats themselves, in nearly every record there is: no rule has anything to say on them.
_CONSTANTS = frozenset(
    ("user", "assistant", "system", "tool", "function", "developer", "human", "gpt", "text")
)
_LONGEST_CONSTANT = max(map(len, _CONSTANTS))  # whatever is longer need not be hashed to know that it is none
_UNREADABLE = ("unknown_content", 0.9)

Place: TypeAlias = "tuple[Place | None, str | int]"
"""Where a text stands: a key or an index below another place. Written out only for findings."""


def path(place: Place) -> str:
    """Such as `messages[0].content`. A key that is no plain word is shown by its number
    (`metadata.{2}`, and `metadata.{2}~` for the key itself), since keys may name people."""
    steps: list[str] = []
    at: Place | None = place
    while at is not None:
        at, step = at
        steps.append(f"[{step}]" if isinstance(step, int) else f".{step}")
    return "".join(reversed(steps)).removeprefix(".")


@dataclass(frozen=True, slots=True)
class Key:
    """What a key's name tells.

    Attributes:
        words: it in small letters, as context for what stands below it.
        told: type and confidence of its value, where the name says so.
        plain: it may be shown: one short word of a schema, not a number, a date or a name.
        schema: plain, and what stands below it is certainly no image or the like.
        person: it names someone.
    """

    name: str
    words: bytes
    told: tuple[str, float] | None
    plain: bool
    schema: bool
    person: bool


@lru_cache(maxsize=4096)
def key_of(name: str, above: tuple[str, float] | None = None) -> Key:
    """What a key tells, below one that tells `above` of everything under it."""
    words = {word.capitalize().encode("ascii", "ignore") for word in _WORDS.findall(name)}
    person = not (words - _SCHEMA).isdisjoint(lexicon.names().certain)
    plain = _PLAIN_KEY.fullmatch(name) is not None and not person
    context = name.replace("_", " ").lower().encode("ascii", "replace") + b" "
    return Key(
        name,
        context,
        part_type(name, above),
        plain,
        plain and name not in _MEDIA_KEYS and name != "type",
        person,
    )


NO_KEY = Key("", b"", None, plain=True, schema=True, person=False)
_Open: TypeAlias = "tuple[Place | None, Key, Any]"


class Texts:
    """The texts of one record, each with its place and the nearest key above it.

    Attributes:
        known: (index, type, confidence) of what a text is whatever it says: an image, a key that names
            someone.
        told: the same where it holds if the text fits its key's name.
        said: rules that the texts left out of it (see `repeats`) had something for.
    """

    __slots__ = ("keys", "known", "places", "said", "skip", "texts", "told")

    def __init__(self, skip: frozenset[str]) -> None:
        self.skip = skip
        self.texts: list[str] = []
        self.places: list[Place] = []
        self.keys: list[Key] = []
        self.known: list[tuple[int, str, float]] = []
        self.told: list[tuple[int, str, float]] = []
        self.said: frozenset[int] = frozenset()

    def add(self, text: str, place: Place, key: Key) -> None:
        if key.told is not None:
            self.told.append((len(self.texts), *key.told))
        elif text in self.skip:
            return
        self.texts.append(text)
        self.places.append(place)
        self.keys.append(key)

    def mark(self, text: str, place: Place, kind: tuple[str, float]) -> None:
        self.known.append((len(self.texts), *kind))
        self.texts.append(text)
        self.places.append(place)
        self.keys.append(NO_KEY)


def fields(raw: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Every text of a record with its path written out, in the record's order."""
    found = texts_of(raw, skip=frozenset())
    return zip(map(path, found.places), found.texts, strict=True)


def plain_key(name: str) -> bool:
    """Whether a key may be shown: one short word of a schema, not a number, a date or a name."""
    return key_of(name).plain


def texts_of(raw: Mapping[str, Any], *, skip: frozenset[str] = _CONSTANTS) -> Texts:
    """Every value but `skip`, and every unusual key, in the record's order. Not recursive: nesting has no
    limit here."""
    found = Texts(skip)
    stack: list[_Open] = [(None, NO_KEY, raw)]
    while stack:
        place, key, value = stack.pop()
        if isinstance(value, dict):
            _open(place, key, cast("Mapping[object, Any]", value), found, stack)
        elif isinstance(value, str):
            if value and place:
                found.add(value, place, key)
        elif isinstance(value, list | tuple):
            items = cast("list[Any]", value)
            stack += [((place, at), key, items[at]) for at in range(len(items) - 1, -1, -1)]
        elif isinstance(value, Mapping):
            _open(place, key, cast("Mapping[object, Any]", value), found, stack)
        elif place and isinstance(value, bytes | bytearray | memoryview):
            found.mark(" ", place, _UNREADABLE)
        elif place and value is not None and not isinstance(value, bool):
            found.add(str(value), place, key)
    return found


def _open(
    place: Place | None, above: Key, value: Mapping[object, Any], found: Texts, stack: list[_Open]
) -> None:
    """Put a mapping's values on the stack; mark those of its keys that say something themselves.

    Texts at its beginning, which most of all texts are, are taken at once.
    """
    later: list[_Open] = []
    texts, places, keys, skip = found.texts, found.places, found.keys, found.skip
    told = above.told if above.told is not None and not _is_schema(value) else None
    number = -1
    for name, child in value.items():
        number += 1
        word = name if type(name) is str else str(name)
        key = key_of(word) if told is None else key_of(word, told)
        here = (place, key.name) if key.schema else _odd_key(place, number, name, child, found)
        if later or type(child) is not str:
            later.append((here, key, child))
        elif key.told is not None:
            found.add(child, here, key)
        elif child and (len(child) > _LONGEST_CONSTANT or child not in skip):
            texts.append(child)
            places.append(here)
            keys.append(key)
    if later:
        later.reverse()
        stack += later


def _odd_key(place: Place | None, number: int, key: object, child: Any, found: Texts) -> Place:
    """Where the value of a key stands that is a text of its own, or that announces what is none."""
    name = str(key)
    if key_of(name).plain:
        here = (place, name)
        if name != "type" or not _is_text(child, place):
            found.mark(" ", here, _UNREADABLE)
        return here
    at: Place = (place, f"{{{number}}}~")
    if key_of(name).person:
        found.mark(name, at, ("name", 0.9))
    elif name:
        found.add(name, at, NO_KEY)
    return (place, f"{{{number}}}")


def _is_text(kind: Any, place: Place | None) -> bool:
    """Whether something of this `type` is text. What is no part of a message may be of any type but those
    that are surely none."""
    if not isinstance(kind, str):
        return not _is_part(place)
    return kind in _TEXT_TYPES or (kind not in _MEDIA_TYPES and not _is_part(place))


def _is_part(place: Place | None) -> bool:
    """Whether a mapping is one of the parts of a message's content."""
    return (
        place is not None and isinstance(place[1], int) and place[0] is not None and place[0][1] in _OF_PARTS
    )


def _is_schema(value: Mapping[object, Any]) -> bool:
    """Whether a mapping says what an address is like, as tools' definitions do, and is none."""
    kind = value.get("type")
    return isinstance(kind, str) and kind in _SCHEMA_TYPES
