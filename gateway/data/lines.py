"""Lines of a file of any size, and JSON objects from lines, within fixed memory."""

from __future__ import annotations

import gzip
import io
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple, NoReturn, cast

import orjson

from gateway.data.reasons import MAX_DEPTH, MAX_LINE_BYTES, RowProblem

_BUFFER_BYTES = 1 << 20
_BOM = b"\xef\xbb\xbf"
GZIP_MAGIC = b"\x1f\x8b"


class RawRecord(NamedTuple):
    """A record as its file has it: the parsed original, or the reason code why there is none."""

    line: int
    size: int
    value: Mapping[str, Any] | None
    problem: str | None = None


class Line(NamedTuple):
    """One physical line, 1-based. `text` is None when it is over the limit: it was skipped, and
    `quotes` is how many double quotes went by (what CSV needs to know where fields end)."""

    number: int
    size: int
    text: bytes | None
    quotes: int = 0


def open_stream(file: BinaryIO, *, compressed: bool) -> BinaryIO:
    """A buffered stream of the (uncompressed) bytes of an open file."""
    if not compressed:
        return file
    return cast("BinaryIO", io.BufferedReader(gzip.GzipFile(fileobj=file), _BUFFER_BYTES))


def open_file(path: Path) -> BinaryIO:
    return path.open("rb", buffering=_BUFFER_BYTES)


def read_lines(stream: BinaryIO, limit: int = MAX_LINE_BYTES) -> Iterator[Line]:
    """Every line, at most `limit` bytes of each in memory; a byte order mark is dropped."""
    number = 0
    readline = stream.readline
    while text := readline(limit + 1):
        number += 1
        if number == 1 and text.startswith(_BOM):
            text = text[len(_BOM) :]
        if len(text) > limit and not text.endswith(b"\n"):
            yield _skip(stream, number, text)
        else:
            yield Line(number, len(text), text)


def _skip(stream: BinaryIO, number: int, start: bytes) -> Line:
    """Read on to the end of an over-long line, holding one buffer of it."""
    size, quotes, piece = len(start), start.count(b'"'), start
    while not piece.endswith(b"\n") and (piece := stream.readline(_BUFFER_BYTES)):
        size += len(piece)
        quotes += piece.count(b'"')
    return Line(number, size, None, quotes)


def read_jsonl(stream: BinaryIO) -> Iterator[RawRecord]:
    """One record per line that is not blank."""
    for number, size, text, _ in read_lines(stream):
        if text is None or (text and not text.isspace()):
            yield raw_record(number, size, text)


def raw_record(number: int, size: int, text: bytes | None) -> RawRecord:
    """The record on a line; None is one over the limit."""
    if text is None:
        return RawRecord(number, size, None, "line_too_long")
    try:
        return RawRecord(number, size, parse_object(text))
    except RowProblem as problem:
        return RawRecord(number, size, None, problem.code)


def parse_object(text: bytes) -> dict[str, Any]:
    """The JSON object of one line.

    Raises:
        RowProblem: `bad_json`, `bad_encoding`, `nan`, `too_deep` or `not_object`.
    """
    value = parse_json(text)
    if not isinstance(value, dict):
        raise RowProblem("not_object")
    return cast("dict[str, Any]", value)


def parse_json(text: bytes | str) -> object:
    """Any JSON value within the depth limit; NaN and infinities are no JSON.

    Raises:
        RowProblem: `bad_json`, `bad_encoding`, `nan` or `too_deep`.
    """
    try:
        value: object = orjson.loads(text)
    except orjson.JSONDecodeError:  # its message quotes positions and text: only its fact is kept
        raise RowProblem(_why_not_json(text)) from None
    if isinstance(text, bytes):
        openings = text.count(b"{") + text.count(b"[")
    else:
        openings = text.count("{") + text.count("[")
    if openings > MAX_DEPTH and _deeper_than(value, MAX_DEPTH):
        raise RowProblem("too_deep")
    return value


class _NotFinite(ValueError):
    """A NaN, Infinity or -Infinity literal, which the standard parser announces."""


def _not_finite(_literal: str) -> NoReturn:
    raise _NotFinite


def _why_not_json(text: bytes | str) -> str:
    """The reason code for text that the fast parser refused; slow, and only met on bad rows."""
    try:
        json.loads(text.decode() if isinstance(text, bytes) else text, parse_constant=_not_finite)
    except UnicodeDecodeError:
        return "bad_encoding"
    except RecursionError:
        return "too_deep"
    except _NotFinite:
        return "nan"
    except ValueError:
        return "bad_json"
    # Only the fast parser refused it: nested past its own limit, or half a surrogate pair.
    return "too_deep" if len(text) > 2 * MAX_DEPTH and _opens_deep(text) else "bad_encoding"


def _opens_deep(text: bytes | str) -> bool:
    return _deeper_than(json.loads(text), MAX_DEPTH)


def _deeper_than(value: object, limit: int) -> bool:
    """Whether containers nest more than `limit` levels; walks level by level, without recursion."""
    level: list[object] = [value]
    for _ in range(limit + 1):
        below: list[object] = []
        for item in level:
            if isinstance(item, dict):
                below.extend(cast("dict[str, object]", item).values())
            elif isinstance(item, list):
                below.extend(cast("list[object]", item))
        if not below:
            return False
        level = below
    return True
