"""Files scrubbed as a stream: the same format out as in, and the output is there whole or not at all."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import orjson

from gateway.core.errors import DataError
from gateway.data import Source, write_atomically
from gateway.data.dataset import read_source
from gateway.data.lines import open_file, open_stream
from gateway.data.tables import csv_header
from gateway.privacy.scrubbing.records import Method, learn, scrub_record, subject_of
from gateway.privacy.scrubbing.report import BESIDE, ScrubReport, Tally

OnProgress = Callable[[int, int], None]
_HASH_BYTES = 1 << 20
_SUFFIXES = {"jsonl": (".jsonl", ".ndjson", ".json"), "csv": (".csv", ".tsv"), "parquet": (".parquet",)}


class Scrubbing:
    """One file's way through the scrub, and what it comes to."""

    def __init__(self, source: Source, key: bytes, method: Method) -> None:
        self.source, self.method = source, method
        self._key = key
        self._known: dict[str, dict[str, str]] = {}  # by subject: what identifies it, and the types
        self.tally = Tally()

    def learn(self, on_progress: OnProgress | None) -> None:
        """A pass of its own over grouped data: what is found in one row of a subject is to be replaced in
        all of them. Memory grows with what is found, each text once a subject."""
        for raw in read_source(self.source, self._told(on_progress)):
            found = learn(raw.value, self.method) if raw.value is not None else None
            if found is not None:
                subject, texts = found
                self._known.setdefault(subject, {}).update(texts)

    def _told(self, on_progress: OnProgress | None) -> Callable[[int], None]:
        return lambda done: on_progress(done, self.source.bytes) if on_progress else None

    def row(self, raw: Mapping[str, Any], line: int) -> Mapping[str, Any] | None:
        """The record rewritten; None where it is refused, which is counted."""
        self.tally.rows += 1
        known = self._known.get(subject_of(raw, self.method.group_by) or "")
        found = scrub_record(raw, self._key, self.method, known)
        self.tally.detected = max(self.tally.detected, found.detected)
        if found.record is None:
            self.tally.refuse(found.problem or "not_scanned", line)
            return None
        self.tally.written += 1
        self.tally.changed += bool(found.replaced)
        self.tally.replaced.update(found.replaced)
        self.tally.left.update(found.left)
        return found.record

    def header(self, names: Iterable[str]) -> list[str]:
        """A table's column names, those that identify someone replaced."""
        columns = Method(self.method.dates, self.method.year, ner=self.method.ner)
        found = scrub_record(dict.fromkeys(names, ""), self._key, columns)
        if found.record is None:
            raise DataError(
                "the column names cannot be scrubbed", place=self.source.name, fix="rename the columns"
            )
        return list(found.record)

    def records(self, on_progress: OnProgress | None) -> Iterator[tuple[int, Mapping[str, Any]]]:
        """(line, record rewritten) of every row that could be."""
        for raw in read_source(self.source, self._told(on_progress)):
            if raw.problem is not None or raw.value is None:
                self.tally.rows += 1
                self.tally.refuse(raw.problem or "bad_json", raw.line)
            elif (record := self.row(raw.value, raw.line)) is not None:
                yield raw.line, record


def scrub_file(
    source: Source, to: Path, key: bytes, method: Method, *, on_progress: OnProgress | None = None
) -> ScrubReport:
    """Scrub one file into another, and leave the report beside it.

    Rows come out in order; what could not be read or rewritten is left out and counted.

    Args:
        key: the secret under which stand-ins and shifts are drawn.
        on_progress: told (bytes read, bytes in all).

    Raises:
        DataError: the source cannot be read, or the output cannot be written or is not fit for it.
            Nothing half-written is left.
    """
    check_name(source, to)
    scrubbing = Scrubbing(source, key, method)
    before = file_sha256(source)
    hashed = hashlib.sha256()
    reports: list[ScrubReport] = []

    def pieces() -> Iterator[bytes]:
        if method.group_by is not None:
            scrubbing.learn(_halved(on_progress))
        for piece in _compressed(_bytes(scrubbing, on_progress), source):
            hashed.update(piece)
            yield piece
        report = scrubbing.tally.report(str(method), key, before, hashed.hexdigest())
        # Before the output has its name: an output whose origin nobody knows would pass for new data.
        write_atomically(to.with_name(to.name + BESIDE), [json.dumps(report.to_json(), indent=2).encode()])
        reports.append(report)

    write_atomically(to, pieces())
    return reports[0]


def _halved(on_progress: OnProgress | None) -> OnProgress | None:
    return None if on_progress is None else lambda done, size: on_progress(done // 2, size)


def check_name(source: Source, to: Path) -> None:
    """Refuse an output that is the input, or whose name belies its format."""
    if to.exists() and to.samefile(source.path):
        raise DataError("this is the file that is scrubbed", place=str(to), fix="name another for the output")
    suffixes = [suffix.lower() for suffix in to.suffixes]
    compressed = suffixes[-1:] == [".gz"]
    kind = suffixes[-2:-1] if compressed else suffixes[-1:]
    fits = kind and kind[0] in _SUFFIXES[source.kind] and compressed == source.compressed
    if not fits or (source.kind == "csv" and (kind[0] == ".tsv") != (source.delimiter == "\t")):
        raise DataError(
            "the output has the format of the input, and this name says otherwise",
            place=str(to),
            fix=f"end it as the input ends: {source.path.name}",
        )


def file_sha256(source: Source) -> str:
    """SHA-256 (hex) of the file's bytes."""
    try:
        with source.path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        text = f"cannot be read ({type(error).__name__})"
        raise DataError(text, place=source.name, fix="check that it is there and may be read") from None


def _bytes(scrubbing: Scrubbing, on_progress: OnProgress | None) -> Iterator[bytes]:
    if scrubbing.source.kind == "parquet":
        from gateway.privacy.scrubbing.parquet import parquet_bytes

        yield from parquet_bytes(scrubbing, on_progress)
    elif scrubbing.source.kind == "csv":
        yield from _csv_bytes(scrubbing, on_progress)
    else:
        for _, record in scrubbing.records(on_progress):
            yield orjson.dumps(record, option=orjson.OPT_APPEND_NEWLINE)


def _csv_bytes(scrubbing: Scrubbing, on_progress: OnProgress | None) -> Iterator[bytes]:
    source = scrubbing.source
    with open_file(source.path) as file:
        stream = open_stream(file, compressed=source.compressed)
        header = scrubbing.header(csv_header(stream, source.delimiter))
    yield _csv_line(header, source.delimiter)
    for _, record in scrubbing.records(on_progress):
        yield _csv_line(record.values(), source.delimiter)


def _csv_line(cells: Iterable[object], delimiter: str) -> bytes:
    line = io.StringIO()
    csv.writer(line, delimiter=delimiter, lineterminator="\n").writerow(cells)
    return line.getvalue().encode()


def _compressed(pieces: Iterable[bytes], source: Source) -> Iterator[bytes]:
    """Gzip, without the time of day: equal content gives equal bytes."""
    if not source.compressed:
        yield from pieces
        return
    packer = zlib.compressobj(wbits=31)
    for piece in pieces:
        if packed := packer.compress(piece):
            yield packed
    yield packer.flush()
