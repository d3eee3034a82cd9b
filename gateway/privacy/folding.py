"""Text as the rules see it: plain ASCII, with a way back to the original's code points.

Unicode hides identifiers from patterns: full-width digits, non-breaking hyphens, zero-width spaces,
right-to-left marks, letters of other alphabets that look Latin. Folding undoes that once, so that
every rule can be written for ASCII. Letters of other scripts stay letters (a stand-in of the same
case), so that words keep their shape.
"""

from __future__ import annotations

import re
import unicodedata
from array import array
from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple

_ODD = re.compile(r"[^ -~\n\t\r]")
_CONTROLS = bytes(set(range(32)) - set(b"\n\t\r")) + b"\x7f"
_LOOKALIKES = dict(
    zip(
        "АВЕЅІЈКМНОРСТХУаеѕіјорсухһԁԛԝΑΒΕΖΗΙΚΜΝΟΡΤΥΧοɑıſøØłŁđĐðÐħĦŧŦ",
        "ABESIJKMHOPCTXYaesijopcyxhdqwABEZHIKMNOPTYXoaisoOlLdDdDhHtT",
        strict=True,
    )
)
_LIGATURES = {"ß": "ss", "ẞ": "SS", "æ": "ae", "Æ": "AE", "œ": "oe", "Œ": "OE", "þ": "th", "Þ": "Th"}
_PUNCTUATION = {
    **dict.fromkeys(map(ord, "\u2018\u2019\u201a\u201b\u2032\u02bc\u00b4"), "'"),
    **dict.fromkeys(map(ord, "\u201c\u201d\u201e\u201f\u2033\u00ab\u00bb"), '"'),
    **dict.fromkeys(map(ord, "\u2026\u2022\u00b7\u2027\u3002"), "."),
}


# Letters that are drawn small, upside down or in a box: `LATIN LETTER SMALL CAPITAL J`, flags' letters.
_BASE_LETTER = re.compile(r"(?:LATIN .*|CIRCLED |SQUARED |INDICATOR SYMBOL )LETTER (?:[A-Z]{2,} )*([A-Z])$")


class Folded(NamedTuple):
    """ASCII text and the original code point of each of its characters; None where they are the same."""

    text: str
    origins: Sequence[int] | None

    def span(self, start: int, end: int) -> tuple[int, int]:
        """Original code-point offsets of the characters from `start` up to `end` (not empty)."""
        if self.origins is None:
            return start, end
        return self.origins[start], self.origins[end - 1] + 1


def count_controls(text: bytes) -> int:
    """How many control characters there are, tabs and line breaks aside."""
    return len(text) - len(text.translate(None, _CONTROLS))


def is_plain(text: str) -> bool:
    """Whether a text is ASCII without control characters, and so stands for itself."""
    return text.isascii() and not count_controls(text.encode("ascii"))


def is_turned(text: str) -> bool:
    """Whether a text has a mark that shows what follows it backwards."""
    return "\u202e" in text


def fold(text: str) -> Folded:
    """Fold a field's text. Plain text, the usual case, needs none (see `is_plain`)."""
    stand_ins = {char: _fold_char(char) for char in set(_ODD.findall(text))}
    if all(len(plain) == 1 for plain in stand_ins.values()):
        return Folded(text.translate(str.maketrans(stand_ins)), None)
    out: list[str] = []
    origins, at = array("L"), 0
    for odd in _ODD.finditer(text):
        plain = stand_ins[odd[0]]
        out += (text[at : odd.start()], plain)
        origins.extend(range(at, odd.start()))
        origins.extend([odd.start()] * len(plain))
        at = odd.end()
    origins.extend(range(at, len(text)))
    return Folded("".join((*out, text[at:])), origins)


@lru_cache(maxsize=8192)
def _fold_char(char: str) -> str:
    """What stands for one non-ASCII code point: nothing for marks and invisible ones."""
    if (smuggled := _smuggled(ord(char))) is not None:
        return smuggled
    category = unicodedata.category(char)
    if category == "Pd" or char == "\u2212":
        return "-"
    if category in ("Zs", "Zl", "Zp"):
        return "\n" if category != "Zs" else " "
    if category in ("Cf", "Cc", "Mn", "Me"):
        return "\n" if char == "\x85" else ""
    if char.isdecimal():
        return str(unicodedata.decimal(char))
    plain = char.translate(_PUNCTUATION)
    if plain.isascii():
        return plain
    return _fold_letter(char)


def _smuggled(code: int) -> str | None:
    """The ASCII that an invisible code point carries: tags, and selectors that stand for bytes."""
    number = code - 0xE0000 if code < 0xE0100 else code - 0xE0100 + 16
    return chr(number) if 0xE0000 <= code < 0xE01F0 and 32 <= number < 127 else None


def _fold_letter(char: str) -> str:
    named = _BASE_LETTER.search(unicodedata.name(char, ""))
    if named and char not in _LOOKALIKES and not unicodedata.decomposition(char):
        return named[1] if "CAPITAL" in named[0] or "SQUARED" in named[0] else named[1].lower()
    out: list[str] = []
    for part in unicodedata.normalize("NFKD", char):
        if part < "\x80":
            out.append(part)
        elif part in _LOOKALIKES:
            out.append(_LOOKALIKES[part])
        elif part in _LIGATURES:
            out.append(_LIGATURES[part])
        elif unicodedata.category(part) in ("Pd", "Mc"):
            out.append("-" if unicodedata.category(part) == "Pd" else "x")
        elif part.isalpha():
            out.append("X" if part.isupper() else "x")
        elif unicodedata.category(part) not in ("Cf", "Mn", "Me"):
            out.append(" ")
    return "".join(out)
