# ruff: noqa: E501 - one alphabet a line reads as a table
"""Text that is written so that rules do not see it, and what it says: one layer of encoding at a time.

Escapes (HTML, `%41`, `\\u0041`, quoted-printable, JSON in a text), blobs (base64, base32, hex, ascii85, lists
of character codes), letters with something between them, and text written backwards. Where to look says
`triggers`. What looks encoded and cannot be read is unknown.

Not seen through: ciphers, compression, spelling (`at` for `@` has a rule), words split by markup.
"""

from __future__ import annotations

import base64
import html
import re
from bisect import bisect_left
from collections.abc import Callable, Iterator
from functools import lru_cache
from itertools import pairwise
from typing import TypeAlias

from gateway.privacy import lexicon
from gateway.privacy.engine import Pattern
from gateway.privacy.triggers import SPACED
from gateway.privacy.views import Edit, View, spliced

_ESCAPE = re.compile(
    r"&(?:#(?:[xX][0-9a-fA-F]{1,6}|[0-9]{1,7});?|[A-Za-z][A-Za-z0-9]{1,30};)|"
    r"%u[0-9a-fA-F]{4}|(?:%[0-9a-fA-F]{2})+|(?:\\+u[0-9a-fA-F]{4})+|\\+u\{[0-9a-fA-F]{1,6}\}|\\+U[0-9a-fA-F]{8}|"
    r"(?:\\+x[0-9a-fA-F]{2})+|(?:\\[0-3][0-7]{2})+|\\+[nrtbf\"'/\\]|U\+[0-9A-F]{4,6}|"
    r"(?:=[0-9A-F]{2})+|=[ \t]*\r?\n|(?<=[A-Za-z0-9])\+(?=[A-Za-z0-9])"
)
_HEX_DIGITS = re.compile(r"[0-9a-fA-F]{2,8}")
_SIMPLE = {"n": "\n", "r": "\n", "t": "\t", "b": "", "f": "\n"}

_ADOBE = re.compile(r"<~([!-uz\s]{2,})~>|>~([!-uz\s]{2,})~<")
_BLOB = re.compile(
    r"(?:[01]{8}[ ,]?){3,}|(?<![0-9A-Za-z])[0-9a-fA-F]{2}(?:[ :,-]+(?:0x)?[0-9a-fA-F]{2}){5,}(?![0-9A-Za-z])|"
    r"(?<![0-9])[0-9]{2,3}(?:[ ,;]+[0-9]{2,3}){5,}(?![0-9])|[A-Za-z0-9+/_-]{8,}={0,6}"
)
_TOKEN = re.compile(r"(?:(?<=[\s\"'(:=~])|^)[!-uz]{10,}")
_CLOSING = "\"'),.;]"
_ODD = re.compile(r"[!-*,;-@\[-^`]")
_DIGESTS = frozenset((32, 40, 56, 64, 96, 128))  # hex digits of the usual hashes, which say nothing of anyone
_HASH = re.compile(r"(?i)(?:sha-?\d{1,3}|md5)[-:=\s\"']*")
_RUN = re.compile(r"[A-Za-z0-9+/_-]+")
_SMALL_WORD = re.compile(r"[a-z]{3,}")
_LONG = 40
_SPACED = re.compile(
    r"(?<![A-Za-z0-9])[!-~](?P<by>(?P<sign>[ ._*|~/,-])(?P=sign){0,3})(?:[ -~](?P=by)){2,}[!-~](?![A-Za-z0-9])"
)
_BACK = 4  # characters before a trigger in which a run may begin
_LETTERS = re.compile(r"[A-Za-z]+")

Span: TypeAlias = tuple[int, int]


def unescaped(text: str) -> View | None:
    """An ASCII text with its escapes read; None where it has none."""
    edits = list(_escaped(text))
    return spliced(text, edits) if edits else None


def unpacked(text: str) -> tuple[View | None, list[Span]]:
    """A text with its blobs read, None where there are none; and the spans of those that nobody can read."""
    unknown: list[Span] = []
    edits = _blobs(text, unknown)
    return (spliced(text, edits) if edits else None), unknown


def closed_up(text: str) -> tuple[View | None, list[Span]]:
    """`j o h n` without its spaces; and the spans of what is then no word, though all of it letters."""
    unknown: list[Span] = []
    edits = _despaced(text, unknown)
    return (spliced(text, edits) if edits else None), unknown


def _escaped(text: str) -> Iterator[Edit]:
    for match in _ESCAPE.finditer(text):
        new = _unescape(match[0])
        if new is not None and new != match[0]:
            yield Edit(match.start(), match.end(), new)


def _unescape(code: str) -> str | None:
    """What an escape stands for; None where it stands for nothing that could be read."""
    first, bare = code[0], code.lstrip("\\")
    if first == "&":
        return html.unescape(code)
    if first == "+":
        return " "
    if code[:2] in ("%u", "U+"):
        return _char(code[2:])
    if first == "%" or first == "=":
        octets = "".join(_HEX_DIGITS.findall(code))
        return _read_octets(bytes.fromhex(octets)) if octets else ""
    if not bare:
        return "\\" if len(code) > 1 else None
    if bare[0] in "uU":
        return _utf16("".join(_char(each) for each in _HEX_DIGITS.findall(code)))
    if bare[0] == "x":
        return _read_octets(bytes.fromhex("".join(_HEX_DIGITS.findall(code))))
    if bare[0].isdigit():
        return _read_octets(bytes(int(each, 8) for each in code[1:].split("\\")))
    return _SIMPLE.get(bare, bare)


def _char(code: str) -> str:
    number = int(code, 16)
    return chr(number) if number < 0x110000 else ""


def _utf16(text: str) -> str:
    """Pairs of surrogates as the code points they mean; a lone one as nothing."""
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "ignore")


def _read_octets(octets: bytes) -> str | None:
    """Escaped bytes as text; None for a single control character, which nobody escapes to hide a word."""
    if len(octets) == 1 and octets[0] < 32 and octets[0] not in b"\t\r\n":
        return None
    try:
        return octets.decode()
    except UnicodeDecodeError:
        return octets.decode("latin-1")


def _blobs(text: str, unknown: list[Span]) -> list[Edit]:
    """What the blobs of a text say; those that say nothing readable go to `unknown`."""
    edits: list[Edit] = []
    for match in _ADOBE.finditer(text):
        if (new := _ascii85((match[1] or match[2]).replace("\n", ""))) is not None:
            edits.append(Edit(match.start(), match.end(), new))
        elif " " not in match[0]:
            unknown.append(match.span())
    taken = sorted([(edit.start, edit.end) for edit in edits] + unknown)
    for match in _TOKEN.finditer(text):
        if _overlaps(match.span(), taken):
            continue
        if (new := _ascii85(match[0])) is not None:
            edits.append(Edit(match.start(), match.end(), new))
        elif _is_opaque85(match[0]):
            unknown.append(match.span())
    taken = sorted((edit.start, edit.end) for edit in edits)
    for match in _BLOB.finditer(text):
        start, end = match.span()
        if _overlaps((start, end), taken):
            continue
        new = _decoded(match[0])
        if new is not None:
            edits.append(Edit(start, end, new))
        elif is_opaque(match[0]) and not _HASH.search(text, max(start - 12, 0), start + 8):
            unknown.append((start, end))
        else:
            edits += _pieces(match)
    return sorted(edits)


def _overlaps(span: Span, others: list[Span]) -> bool:
    """Whether a span shares a character with one of others, which are in order and do not overlap."""
    before = bisect_left(others, (span[1], 0)) - 1
    return before >= 0 and others[before][1] > span[0]


def _pieces(match: re.Match[str]) -> Iterator[Edit]:
    """Blobs that something is tied to with a character of their own alphabet: `ssn-MjE5LTA5LTk5OTk`."""
    for piece in re.finditer(r"[A-Za-z0-9]{8,}={0,6}", match[0]):
        if piece.group() != match[0] and (new := _decoded(piece.group())) is not None:
            yield Edit(match.start() + piece.start(), match.start() + piece.end(), new)


def _decoded(run: str) -> str | None:
    """The text that a run stands for in the first of the codes in which it stands for one."""
    for decode in _CODES:
        try:
            octets = decode(run)
        except ValueError:
            continue
        if octets and (said := readable(octets)) is not None:
            return said
    return None


def _binary(run: str) -> bytes:
    digits = re.sub(r"[ ,]", "", run)
    if len(digits) % 8 or not set(digits) <= {"0", "1"}:
        raise ValueError
    return int(digits, 2).to_bytes(len(digits) // 8, "big")


def _hex(run: str) -> bytes:
    bare = re.sub(r"[ :,-]+(?:0x)?", "", run.removeprefix("0x"))
    if len(bare) < 8:
        raise ValueError
    return bytes.fromhex(bare)


def _decimal(run: str) -> bytes:
    if not re.fullmatch(r"[0-9]{2,3}(?:[ ,;]+[0-9]{2,3})+", run):
        raise ValueError
    return bytes(int(code) for code in re.split(r"[ ,;]+", run))


def _base32(run: str) -> bytes:
    bare = run.rstrip("=")
    if len(run) < 8 or not bare.isupper() or (len(run) < 16 and bare.isalpha() and bare == run):
        raise ValueError  # or a word in capitals
    return base64.b32decode(bare + "=" * (-len(bare) % 8))


def _base64(run: str) -> bytes:
    bare = run.rstrip("=").replace("-", "+").replace("_", "/")
    if bare.isdigit() or (bare.isalpha() and (bare.islower() or bare.istitle())):
        raise ValueError  # a number or a word
    return base64.b64decode(bare + "=" * (-len(bare) % 4), validate=True)


_CODES: tuple[Callable[[str], bytes], ...] = (
    _binary, _hex, _decimal, _base32, _base64,
)  # fmt: skip


def readable(octets: bytes) -> str | None:
    """Decoded bytes as text, where they are text: no control characters, in UTF-8 or UTF-16."""
    wide = octets.count(0) * 6 > len(octets)
    try:
        said = (
            octets.decode("utf-16-be" if wide and not octets[0] else "utf-16-le") if wide else octets.decode()
        )
    except UnicodeDecodeError:
        return None
    if len(said) < 3 or any((char < " " and char not in "\t\r\n") or char == "\x7f" for char in said):
        return None
    return said


def _ascii85(token: str) -> str | None:
    """What a token says in ascii85, forwards or backwards, with whatever closes a quotation after it left out."""
    for run in _unquoted(token):
        for way in (run, run[::-1]):
            firsts = way[::5]
            if len(way) < _LONG and sum("+" <= each <= "I" for each in firsts) * 2 < len(firsts):
                continue
            try:
                said = readable(base64.a85decode(way))
            except ValueError:
                continue
            if said is not None:
                return said
    return None


def _unquoted(token: str) -> dict[str, None]:
    """A token, and what it is without more and more of the signs that may be punctuation around it."""
    closing = len(token) - len(token.rstrip(_CLOSING))
    return dict.fromkeys(
        part[: len(part) - left]
        for part in (token, token.lstrip("\"'(="))
        for left in range(min(closing, 4) + 1)
    )


def _is_opaque85(token: str) -> bool:
    """Whether a long token is ascii85 of what is no text: decodes, and holds signs that no name or path does."""
    if (
        len(token) < _LONG
        or "://" in token
        or len(_ODD.findall(token)) * 10 < len(token)
        or len(set(token)) < 16
        or _words_in(token) > 0.2
    ):
        return False
    try:
        octets = base64.a85decode(token)
    except ValueError:
        return False
    return bool(octets)


def is_opaque(run: str) -> bool:
    """Whether a long run, which says nothing in any code, looks like one: neither words, path, hash nor number."""
    bare = run.rstrip("=")
    if (
        len(bare) < _LONG
        or not _RUN.fullmatch(bare)
        or bare.isdigit()
        or bare.count("/") > len(bare) // 12
        or bare.count("-") > len(bare) // 8
    ):
        return False
    if not any(char.isdigit() for char in bare):
        return len(set(bare)) > 20 and not bare.isupper() and not bare.islower() and _words_in(bare) < 0.4
    if re.fullmatch(r"[0-9a-fA-F]+", bare):
        return len(bare) not in _DIGESTS
    if bare.isupper():
        return True
    return not bare.islower() and _words_in(bare) < 0.4


def _words_in(run: str) -> float:
    """The share of a run that small words make up: most of a name in code, little of a code."""
    return sum(map(len, _SMALL_WORD.findall(run))) / len(run)


def _despaced(text: str, unknown: list[Span]) -> list[Edit]:
    """`j o h n` without its spaces. What is then no word, though all of it letters, is unknown."""
    edits: list[Edit] = []
    for match in _spaced(text):
        step = 1 + len(match["by"])
        said = match[0][::step]
        if said.count(" ") * 3 > len(said) * 2 or not any(map(str.isalnum, said)):
            continue  # the space that sets off a column, or a ruler
        edits.append(Edit(match.start(), match.end(), said, step))
        if _is_riddle(said):
            unknown.append(match.span())
    gaps = [
        Edit(a.end, b.start, " ")
        for a, b in pairwise(edits)
        if b.start - a.end > 1 and text[a.end : b.start].isspace()
    ]
    return sorted([*edits, *gaps])


def _spaced(text: str) -> Iterator[re.Match[str]]:
    """Runs of single characters. The engine says where to look: word by word, that takes a hundred times as long."""
    done = 0
    for start, end in _spaced_at().spans(text.encode("ascii")):
        for place in range(max(start - _BACK, 0), end):
            if place >= done and (match := _SPACED.match(text, place)) is not None:
                done = match.end()
                yield match


@lru_cache(maxsize=1)
def _spaced_at() -> Pattern:
    return Pattern(f"(?:{SPACED})")


def _is_riddle(said: str) -> bool:
    """Whether letters that somebody wrote one by one make no words, nor a mere row such as a b c d e f."""
    if len(said) < 6 or not said.replace(" ", "").isalpha():
        return False
    small = said.lower()
    if len(set(small)) < 5 or sorted(small) == list(small):
        return False
    return not all(lexicon.is_word(word.encode()) for word in _LETTERS.findall(small))
