"""Records from tables: CSV (and TSV) as a stream, Parquet by small batches."""

from __future__ import annotations

import csv
import math
from collections.abc import Callable, Iterator, Mapping
from datetime import date, time, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any, BinaryIO, cast

from gateway.data.lines import RawRecord, read_lines
from gateway.data.reasons import MAX_LINE_BYTES

_BATCH_ROWS = 256
_LONGEST_NAME = 64


class SameColumnTwice(Exception):
    """A table's header names one column twice, so that a row's value for it would be a guess.

    The message names it only where it looks like a column's name: in a table without a header, the
    first row is data.
    """

    def __init__(self, name: str, first: int, second: int) -> None:
        named = name.isidentifier() and name.isascii() and len(name) <= _LONGEST_NAME
        text = f"column `{name}` appears twice" if named else "a column appears twice"
        super().__init__(f"{text} (columns {first} and {second})")


def read_csv(stream: BinaryIO, delimiter: str) -> Iterator[RawRecord]:
    """One record per row below the header; `line` is the physical line on which the row starts.

    Raises:
        csv.Error: the header itself cannot be read.
        SameColumnTwice: the header names a column twice.
    """
    # The limit is the whole process's; it is only ever raised, and never above our own.
    csv.field_size_limit(max(csv.field_size_limit(), MAX_LINE_BYTES))
    feed = _CsvFeed(stream)
    reader = csv.reader(feed.lines(), delimiter=delimiter, strict=True)
    header = _checked_header(next(reader, list[str]()))
    while True:
        line = feed.start_row()
        try:
            cells = next(reader)
        except StopIteration:
            return
        except csv.Error:
            yield RawRecord(line, feed.row_bytes, None, "line_too_long" if feed.too_long else "bad_csv")
            continue
        if feed.too_long:
            yield RawRecord(line, feed.row_bytes, None, "line_too_long")
        elif cells:
            yield _csv_record(line, feed.row_bytes, header, cells)


def csv_header(stream: BinaryIO, delimiter: str) -> list[str]:
    """The names in the first row, without their outer spaces.

    Raises:
        csv.Error, SameColumnTwice: as from `read_csv`.
    """
    reader = csv.reader(_CsvFeed(stream).lines(), delimiter=delimiter, strict=True)
    return _checked_header(next(reader, list[str]()))


def _checked_header(cells: list[str]) -> list[str]:
    header = [cell.strip() for cell in cells]
    for at, name in enumerate(header):
        if name in header[:at]:
            raise SameColumnTwice(name, header.index(name) + 1, at + 1)
    return header


def _csv_record(line: int, size: int, header: list[str], cells: list[str]) -> RawRecord:
    if len(cells) != len(header):
        return RawRecord(line, size, None, "bad_csv")
    value = dict(zip(header, cells, strict=True))
    text = "".join(cells)
    if not text.isascii():
        try:
            text.encode()
        except UnicodeEncodeError:  # what could not be decoded came through as lone surrogates
            return RawRecord(line, size, value, "bad_encoding")
    return RawRecord(line, size, value)


class _CsvFeed:
    """Feeds physical lines to the csv reader and keeps count of the row they make up.

    Once a row is over the limit its text is dropped, but its quotes are not: an odd number of them
    is fed on as one, so that the reader still knows where the row ends and the next one starts.
    """

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self._read = 0
        self.row_bytes = 0
        self.too_long = False

    def start_row(self) -> int:
        """Forget the last row; the 1-based line on which the next one starts."""
        self.row_bytes, self.too_long = 0, False
        return self._read + 1

    def lines(self) -> Iterator[str]:
        for number, size, text, quotes in read_lines(self._stream):
            self._read = number
            self.row_bytes += size
            if text is None or self.row_bytes > MAX_LINE_BYTES:
                self.too_long = True
                quotes = quotes if text is None else text.count(b'"')
                yield '"\n' if quotes % 2 else "\n"
            else:
                yield text.decode(errors="surrogateescape")


def read_parquet(file: BinaryIO, on_row: Callable[[float], None]) -> Iterator[RawRecord]:
    """One record per row, numbered from 1; `on_row` is told the share of rows read so far.

    Raises:
        pyarrow.ArrowException, OSError: the file is damaged or encrypted.
    """
    from pyarrow.parquet import ParquetFile  # pyright: ignore[reportUnknownVariableType]

    table = cast("Any", ParquetFile(file))
    total: int = table.metadata.num_rows
    number = 0
    for batch in table.iter_batches(batch_size=_BATCH_ROWS, use_threads=False):
        for row in python_rows(batch):
            number += 1
            value = {name: plain(item) for name, item in row.items()}
            size = _text_bytes(value)
            yield RawRecord(number, size, value, "line_too_long" if size > MAX_LINE_BYTES else None)
        on_row(number / total)


def python_rows(batch: Any) -> list[dict[str, Any]]:
    """An Arrow batch as Python values, the same whether pandas is installed or not. Python's times have
    microseconds; finer ones of a column are cut to them.

    Raises:
        pyarrow.ArrowInvalid: a finer time within a list or structure; its own error would quote the value.
    """
    import pyarrow  # pyright: ignore[reportMissingTypeStubs]

    arrow = cast("Any", pyarrow)
    coarse = arrow.schema([field.with_type(_coarse(arrow, field.type)) for field in batch.schema])
    if any(_too_fine(field.type) for field in coarse):
        raise arrow.ArrowInvalid("a time in nanoseconds within a list or structure")
    try:
        return batch.cast(coarse, safe=False).to_pylist()
    except ValueError as error:
        if isinstance(error, arrow.ArrowException):
            raise
        raise arrow.ArrowInvalid("a value that Python cannot hold") from None


def _too_fine(kind: Any) -> bool:
    return getattr(kind, "unit", None) == "ns" or any(
        _too_fine(kind.field(at).type) for at in range(kind.num_fields)
    )


def _coarse(arrow: Any, kind: Any) -> Any:
    """The same kind of time in microseconds, where it is in nanoseconds; else the kind itself."""
    if getattr(kind, "unit", None) != "ns":
        return kind
    if arrow.types.is_timestamp(kind):
        return arrow.timestamp("us", tz=kind.tz)
    return arrow.time64("us") if arrow.types.is_time64(kind) else arrow.duration("us")


def parquet_header(path: Path) -> list[str]:
    """The names of a Parquet file's columns."""
    from pyarrow.parquet import read_schema  # pyright: ignore[reportUnknownVariableType]

    return list(cast("Any", read_schema(path)).names)


def plain(value: object) -> Any:
    """An Arrow value as JSON has it: times and decimals as text, null fields of structs left out.

    Bytes become text where they are UTF-8; others stay bytes, which no row may use.
    """
    if isinstance(value, dict):
        items = cast("Mapping[str, object]", value).items()
        return {key: plain(item) for key, item in items if item is not None}
    if isinstance(value, list):
        return [plain(item) for item in cast("list[object]", value)]
    if isinstance(value, bytes):
        try:
            return value.decode()
        except UnicodeDecodeError:
            return value
    if isinstance(value, date | time | timedelta | Decimal):
        return str(value)
    return value


def _text_bytes(value: object) -> int:
    """Roughly how large a value is: the bytes of its text, eight for anything else."""
    if isinstance(value, str):
        return len(value) if value.isascii() else len(value.encode(errors="surrogatepass"))
    if isinstance(value, dict):
        return sum(_text_bytes(item) for item in cast("Mapping[str, object]", value).values())
    if isinstance(value, list):
        return sum(_text_bytes(item) for item in cast("list[object]", value))
    return len(value) if isinstance(value, bytes) else 8


def is_nan(value: object) -> bool:
    """NaN as tables have it: a float, or the word that a data frame wrote for a missing cell."""
    if isinstance(value, float):
        return not math.isfinite(value)
    return isinstance(value, str) and len(value) == 3 and value in ("nan", "NaN")
