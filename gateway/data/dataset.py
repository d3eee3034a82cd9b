"""The dataset: its files found and recognised, and one streaming pass over its records."""

from __future__ import annotations

import csv
import zlib
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Literal, Protocol

from gateway.core.errors import DataError
from gateway.core.rows import Refusal, Row, Split
from gateway.core.spec import Data
from gateway.data import formats, tables
from gateway.data.lines import Line, RawRecord, open_file, open_stream, read_jsonl, read_lines
from gateway.data.reasons import RowProblem, refuse

OnProgress = Callable[[int, int], None]
_PROGRESS_EVERY = 512


@dataclass(frozen=True, slots=True)
class Record:
    """One record of a file, used or refused.

    Attributes:
        file: index into `Dataset.sources`.
        line: 1-based physical line on which it starts; Parquet: row number.
        raw: the parsed original with every key or column, used or not (what a scanner must see);
            None where it could not be parsed.
        outcome: the canonical row, or why there is none.
        size: bytes of its text as stored, uncompressed.
    """

    file: int
    line: int
    raw: Mapping[str, Any] | None
    outcome: Row | Refusal
    size: int


class Observer(Protocol):
    """Anything that looks at every record of a pass, once, in order."""

    def see(self, record: Record) -> None: ...


@dataclass(frozen=True, slots=True)
class Source:
    """One file: where it is, what it is, and what it was when it was opened.

    Attributes:
        name: the path as people know it, relative to the spec's folder where it lies below it.
        split: the split its rows belong to, where the spec names a file for one.
    """

    path: Path
    name: str
    kind: Literal["jsonl", "csv", "parquet"]
    compressed: bool
    delimiter: str
    format: formats.Format
    bytes: int
    mtime_ns: int
    split: Split | None = None


@dataclass(frozen=True, slots=True)
class Dataset:
    """Files and how to read them. Holds no rows: every pass streams them again."""

    data: Data
    task: str
    sources: tuple[Source, ...]

    @property
    def files(self) -> tuple[str, ...]:
        return tuple(source.name for source in self.sources)

    @property
    def bytes(self) -> int:
        """Bytes of all files as they lie on disk."""
        return sum(source.bytes for source in self.sources)

    def check_unchanged(self) -> None:
        """What was read is still what was opened.

        Raises:
            DataError: a file changed.
        """
        for source in self.sources:
            _check_unchanged(source)

    def records(self, on_progress: OnProgress | None = None) -> Iterator[Record]:
        """Every record of every file, in order; memory stays flat in the size of the files.

        Args:
            on_progress: told (bytes done, bytes in all) now and then, and at the end.

        Raises:
            DataError: a file is gone, damaged, or has changed since the dataset was opened.
        """
        outcome_of = self.outcomes()
        for index, raw in self.originals(on_progress):
            yield Record(index, raw.line, raw.value, outcome_of(raw, index), raw.size)

    def outcomes(self) -> Callable[[RawRecord, int], Row | Refusal]:
        """A function from (raw record, file) to its row, or why there is none."""
        parses = [formats.parser(source.format, self.data, task=self.task) for source in self.sources]
        return lambda raw, file: _outcome(raw, file, parses[file])

    def originals(self, on_progress: OnProgress | None = None) -> Iterator[tuple[int, RawRecord]]:
        """(file, record) as its file has it: parsed, and not yet looked at as a row. Else as `records`."""
        done = 0
        for index, source in enumerate(self.sources):
            report = _reporter(on_progress, done, self.bytes)
            for raw in read_source(source, report):
                yield index, raw
            done += source.bytes
            report(source.bytes)


def _outcome(raw: RawRecord, file: int, parse: formats.Parse) -> Row | Refusal:
    if raw.problem is not None or raw.value is None:
        return refuse(raw.problem or "bad_json", line=raw.line, file=file)
    try:
        return parse(raw.value, raw.line, file)
    except RowProblem as problem:
        return refuse(problem.code, line=raw.line, file=file, path=problem.path)


def _reporter(on_progress: OnProgress | None, before: int, total: int) -> Callable[[int], None]:
    if on_progress is None:
        return lambda done: None
    return lambda done: on_progress(before + done, total)


def read_source(source: Source, report: Callable[[int], None]) -> Generator[RawRecord]:
    """The raw records of one file; `report` is told how many of its bytes were read.

    Raises:
        DataError: the file is gone, damaged, or has changed since it was opened.
    """
    with _reading(source) as file:
        yield from _raw_records(source, file, report)


def read_source_lines(source: Source, report: Callable[[int], None]) -> Iterator[Line]:
    """The lines of one JSONL file, as `read_source` reads them: for who parses them elsewhere."""
    with _reading(source) as file:
        lines = read_lines(open_stream(file, compressed=source.compressed))
        for count, line in enumerate(lines, start=1):
            yield line
            if count % _PROGRESS_EVERY == 0:
                report(file.tell())


@contextmanager
def _reading(source: Source) -> Generator[BinaryIO]:
    """The open file, the same from beginning to end, with its errors in our words."""
    try:
        with open_file(source.path) as file:
            _check_unchanged(source)
            yield file
            _check_unchanged(source)
    except (DataError, GeneratorExit):
        raise
    except FileNotFoundError:
        raise DataError("this file is gone", place=source.name, fix="put it back, or plan again") from None
    except tables.SameColumnTwice as found:
        raise same_column_twice(source.name, found) from None
    except (OSError, EOFError, zlib.error, csv.Error) as error:
        raise damaged(source.name, error) from None
    except Exception as error:
        if type(error).__module__.split(".")[0] != "pyarrow":
            raise
        raise damaged(source.name, error) from None


def same_column_twice(name: str, found: tables.SameColumnTwice) -> DataError:
    return DataError(
        str(found),
        place=f"{name}, line 1",
        fix="rename or remove one of them; line 1 must name the columns",
    )


def damaged(name: str, error: Exception) -> DataError:
    """A file that stops making sense part-way. Library messages may quote data: only the kind is kept."""
    return DataError(
        f"this file cannot be read to its end ({type(error).__name__})",
        place=name,
        fix="it is damaged, cut off or encrypted: copy it again from where it came",
    )


def _raw_records(source: Source, file: BinaryIO, report: Callable[[int], None]) -> Iterator[RawRecord]:
    if source.kind == "parquet":
        yield from tables.read_parquet(file, lambda share: report(int(share * source.bytes)))
        return
    stream = open_stream(file, compressed=source.compressed)
    records = read_jsonl(stream) if source.kind == "jsonl" else tables.read_csv(stream, source.delimiter)
    for count, record in enumerate(records, start=1):
        yield record
        if count % _PROGRESS_EVERY == 0:
            report(file.tell())


def _check_unchanged(source: Source) -> None:
    now = source.path.stat()
    if (now.st_size, now.st_mtime_ns) != (source.bytes, source.mtime_ns):
        raise DataError(
            "this file changed while it was in use", place=source.name, fix="let it settle, then plan again"
        )


RunPass = Callable[[Dataset, Sequence[Observer], OnProgress | None], None]
"""What shows every record of a dataset to every observer, in order."""


def run_pass(dataset: Dataset, observers: Sequence[Observer], on_progress: OnProgress | None = None) -> None:
    """Read the whole dataset once and show every record to every observer."""
    sees = [observer.see for observer in observers]
    for record in dataset.records(on_progress):
        for see in sees:
            see(record)
