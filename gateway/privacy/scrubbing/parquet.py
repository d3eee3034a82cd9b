"""Parquet scrubbed batch by batch: the same columns of the same types, nested ones too.

Only the values that changed are made anew. What a type cannot hold (a mark in a column of dates)
becomes null. Metadata is left out: it is free text, and other tools put data there.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import date, datetime
from decimal import Decimal, InvalidOperation
from typing import TYPE_CHECKING, Any, cast

from gateway.core.errors import DataError
from gateway.data.dataset import damaged
from gateway.data.tables import plain, python_rows
from gateway.privacy.fields import plain_key

if TYPE_CHECKING:
    from gateway.privacy.scrubbing.files import Scrubbing

_BATCH_ROWS = 256


class _Sink:
    """A file that hands on what is written to it."""

    closed = False

    def __init__(self) -> None:
        self._pieces: list[bytes] = []

    def write(self, piece: Any) -> int:
        self._pieces.append(bytes(piece))
        return len(self._pieces[-1])

    def flush(self) -> None: ...

    def close(self) -> None: ...

    def taken(self) -> list[bytes]:
        pieces, self._pieces = self._pieces, []
        return pieces


def parquet_bytes(scrubbing: Scrubbing, on_progress: Callable[[int, int], None] | None) -> Iterator[bytes]:
    """The bytes of the scrubbed file.

    Raises:
        DataError: the file is damaged, or a column's type cannot hold what must stand there.
    """
    source = scrubbing.source
    try:
        yield from _bytes(scrubbing, on_progress)
    except DataError:
        raise
    except Exception as error:
        # A time in nanoseconds is a plain `ValueError`, and its message quotes the value.
        if type(error).__module__.split(".")[0] != "pyarrow" and not isinstance(error, ValueError):
            raise
        raise damaged(source.name, error) from None
    now = source.path.stat()
    if (now.st_size, now.st_mtime_ns) != (source.bytes, source.mtime_ns):
        raise DataError("this file changed while it was in use", place=source.name, fix="let it settle")


def _bytes(scrubbing: Scrubbing, on_progress: Callable[[int, int], None] | None) -> Iterator[bytes]:
    import pyarrow as arrow
    from pyarrow import parquet

    pa, pq = cast("Any", arrow), cast("Any", parquet)
    sink, line = _Sink(), 0
    file = pq.ParquetFile(scrubbing.source.path)
    fields = list(file.schema_arrow)
    names = scrubbing.header(field.name for field in fields)
    told = zip(names, fields, strict=True)
    schema = pa.schema([pa.field(name, field.type, field.nullable) for name, field in told])
    writer = pq.ParquetWriter(pa.PythonFile(sink, mode="w"), schema)
    for batch in file.iter_batches(batch_size=_BATCH_ROWS, use_threads=False):
        rows = python_rows(batch)
        changes = [_row(scrubbing, row, line + number) for number, row in enumerate(rows, start=1)]
        line += len(rows)
        kept = [number for number, change in enumerate(changes) if change is not None]
        columns = [
            _column(
                pa, batch.column(at), [change[at] for change in changes if change is not None], kept, name
            )
            for at, name in enumerate(names)
        ]
        writer.write_batch(pa.record_batch(columns, schema=schema))
        yield from sink.taken()
        if on_progress:
            on_progress(int(scrubbing.source.bytes * line / file.metadata.num_rows), scrubbing.source.bytes)
    writer.close()
    yield from sink.taken()


def _row(scrubbing: Scrubbing, row: Mapping[str, Any], line: int) -> list[tuple[Any, bool]] | None:
    """(value, whether it changed) of each column; None where the row is refused."""
    before = {name: plain(item) for name, item in row.items()}
    record = scrubbing.row(before, line)
    if record is None:
        return None
    pairs = zip(row.values(), before.values(), record.values(), strict=True)
    return [(_typed(value, old, new), old != new) for value, old, new in pairs]


def _column(pa: Any, column: Any, values: Sequence[tuple[Any, bool]], kept: list[int], name: str) -> Any:
    """The column's kept rows, made anew where one of them changed."""
    if not any(changed for _, changed in values):
        return column.take(pa.array(kept, pa.int64()))
    try:
        return pa.array([value for value, _ in values], type=column.type)
    except (pa.ArrowException, ValueError, TypeError, OverflowError):
        where = f"column `{name}`" if plain_key(name) else "a column"
        raise DataError(
            f"{where} is of type {column.type}, which cannot hold what must stand there",
            place=where,
            fix="turn the column into text, and scrub again",
        ) from None


def _typed(value: Any, old: Any, new: Any) -> Any:
    """A scrubbed value as the column's own type has it; None where it has no such value."""
    if old == new:
        return value
    if isinstance(value, dict):
        return _struct(cast("dict[str, Any]", value), old, new)
    if isinstance(value, list | tuple):
        items = [_typed(*each) for each in zip(cast("Sequence[Any]", value), old, new, strict=True)]
        return items if isinstance(value, list) else tuple(items)
    try:
        return _scalar(value, str(new)) if not isinstance(value, str | int | float) else new
    except (ValueError, InvalidOperation):
        return None


def _struct(value: dict[str, Any], old: Mapping[str, Any], new: Mapping[str, Any]) -> dict[str, Any]:
    """Fields are told apart by their order: their names may have been replaced, and belong to the type."""
    scrubbed = dict(zip(old, new.values(), strict=True))
    return {key: _typed(item, old[key], scrubbed[key]) if key in old else item for key, item in value.items()}


def _scalar(value: object, new: str) -> object:
    whole = f"{new}-01-01" if len(new) == 4 else new
    if isinstance(value, datetime):
        return datetime.fromisoformat(whole).replace(tzinfo=value.tzinfo)
    if isinstance(value, date):
        return date.fromisoformat(whole[:10])
    if isinstance(value, Decimal):
        return Decimal(new)
    return new.encode() if isinstance(value, bytes) else None
