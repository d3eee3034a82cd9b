"""Finding the files a spec names, and recognising what each one is before anything relies on it."""

from __future__ import annotations

import csv
import difflib
import glob
import re
import zlib
from collections.abc import Iterable, Sequence
from contextlib import closing
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Literal, NamedTuple
from urllib.parse import urlsplit

from gateway.core.errors import DataError
from gateway.core.rows import Split
from gateway.core.spec import Data
from gateway.data import formats, tables
from gateway.data.dataset import Dataset, Source, damaged, read_source, same_column_twice
from gateway.data.lines import GZIP_MAGIC, open_file, open_stream

_SNIFF_BYTES = 64 * 1024
_SNIFF_RECORDS = 100
_URL = re.compile(r"^[A-Za-z][A-Za-z0-9+.-]+://")
_CONTROL = re.compile(rb"[\x01-\x08\x0e-\x1a\x1c-\x1f]")
_UTF16 = (b"\xff\xfe", b"\xfe\xff")
_KNOWN_BINARY = {
    b"PK\x03\x04": "a zip archive or a spreadsheet",
    b"%PDF": "a PDF",
    b"\x28\xb5\x2f\xfd": "a zstd archive",
    b"BZh": "a bzip2 archive",
    b"\xfd7zXZ": "an xz archive",
    b"SQLite format 3": "a database",
}
Kind = Literal["jsonl", "csv", "parquet"]


class _Recognised(NamedTuple):
    kind: Kind
    compressed: bool
    delimiter: str = ","


def open_dataset(data: Data, base: Path, *, task: str) -> Dataset:
    """Find and recognise the files of a spec; reads the first records of each, and no more.

    Args:
        data: the spec's `data` part.
        base: the folder that relative paths are relative to.
        task: `sft` or `dpo`; decides what a row must hold.

    Raises:
        DataError: a file is missing, empty, a folder, binary, not UTF-8 or UTF-16, unreadable, a URL
            that was not fetched, in no format we know, or lacks a column the spec names.
    """
    found = _held_out(data, base)
    for pattern in data.train:
        for path in _resolve(pattern, base):
            found.setdefault(
                path, None
            )  # a held-out file that the training pattern matches too stays held out
    order: tuple[Split | None, ...] = (None, "validation", "test")
    chosen = sorted(found.items(), key=lambda item: order.index(item[1]))
    if chosen[0][1] is not None:
        raise DataError(
            "every training file is also a held-out file",
            place="data.train",
            fix="name files for training that are in neither validation nor test",
        )
    sources = tuple(_recognise(path, _name(path, base), split, data, task) for path, split in chosen)
    return Dataset(data, task, sources)


def _held_out(data: Data, base: Path) -> dict[Path, Split | None]:
    """The files named for validation and test."""
    found: dict[Path, Split | None] = {}
    asked: tuple[tuple[Split, float | str], ...] = (("validation", data.validation), ("test", data.test))
    for split, value in asked:
        for path in _resolve(value, base) if isinstance(value, str) else ():
            if found.setdefault(path, split) != split:
                raise DataError(
                    "validation and test name the same file",
                    place=_name(path, base),
                    fix="give each its own file, or a fraction",
                )
    return found


def _name(path: Path, base: Path) -> str:
    return str(path.relative_to(base)) if path.is_relative_to(base) else str(path)


def _resolve(pattern: str, base: Path) -> list[Path]:
    """The files that a path or glob names, sorted."""
    if _URL.match(pattern):
        url = urlsplit(pattern)
        raise DataError(
            "this is a URL that was not fetched yet",
            place=f"{url.scheme}://{url.hostname or ''}{url.path}",
            fix="run `tunegate data fetch URL`, and name the file it prints",
        )
    path = base / Path(pattern).expanduser()
    if path.exists() or not glob.has_magic(pattern):
        _check_file(path, pattern)
        return [path]
    matches = sorted(Path(match) for match in glob.glob(str(path), recursive=True))  # noqa: PTH207
    files = [match for match in matches if match.is_file()]
    if not files:
        raise DataError("no file matches this pattern", place=pattern, fix=f"it was looked for in {base}")
    return files


def _check_file(path: Path, place: str) -> None:
    if path.is_dir():
        raise DataError(
            "this is a folder", place=place, fix=f"name the files in it: {place.rstrip('/')}/*.jsonl"
        )
    if not path.exists():
        beside = [other.name for other in path.parent.glob("*")] if path.parent.is_dir() else []
        near = nearest(path.name, beside)
        fix = f"did you mean {near}?" if near else f"it was looked for at {path}"
        raise DataError("no such file", place=place, fix=fix)
    if not path.is_file():
        raise DataError("this is not a regular file", place=place, fix="copy its content into a file")


def nearest(name: str, names: Iterable[str]) -> str | None:
    return next(iter(difflib.get_close_matches(name, list(names), n=1, cutoff=0.6)), None)


def open_any(path: Path, base: Path) -> Source:
    """One file of records of whatever shape, for work that reads them without making rows of them.

    Raises:
        DataError: as from `open_dataset`, for what the file itself is.
    """
    path = base / path.expanduser()
    _check_file(path, str(path))
    return _source(path, _name(path, base), None)


def _source(path: Path, name: str, split: Split | None) -> Source:
    try:
        stat = path.stat()
        kind, compressed, delimiter = _sniff(path, name)
    except PermissionError:
        raise DataError("this file may not be read", place=name, fix="check its permissions") from None
    except (OSError, EOFError, zlib.error) as error:
        raise damaged(name, error) from None
    return Source(
        path=path,
        name=name,
        kind=kind,
        compressed=compressed,
        delimiter=delimiter,
        format="chat",
        bytes=stat.st_size,
        mtime_ns=stat.st_mtime_ns,
        split=split,
    )


def _recognise(path: Path, name: str, split: Split | None, data: Data, task: str) -> Source:
    source = _source(path, name, split)
    names, complete = _field_names(source)
    format = _format_of(names, source, data)
    _check_task(format, source, data, task)
    _check_columns(names, source, data, format, complete=complete)
    return replace(source, format=format)


def _sniff(path: Path, name: str) -> _Recognised:
    """The kind of a file by its first bytes, and by its name where those leave it open."""
    with open_file(path) as file:
        compressed = file.read(2) == GZIP_MAGIC
        file.seek(0)
        start = open_stream(file, compressed=compressed).read(_SNIFF_BYTES)
    if start[:4] == b"PAR1" and not compressed:
        return _Recognised("parquet", compressed)
    _check_text(start, name)
    suffixes = [suffix.lower() for suffix in path.suffixes if suffix.lower() != ".gz"]
    suffix = suffixes[-1] if suffixes else ""
    first = start.removeprefix(b"\xef\xbb\xbf").lstrip()[:1]
    if suffix in (".csv", ".tsv"):
        return _Recognised("csv", compressed, _delimiter(start, suffix))
    if suffix == ".json" and first == b"[":
        raise DataError(
            "this is one JSON array, not one object per line",
            place=name,
            fix="write its items one per line: jq -c '.[]' FILE > FILE.jsonl",
        )
    if suffix in (".jsonl", ".ndjson", ".json") or first == b"{":
        return _Recognised("jsonl", compressed)
    what = "a damaged Parquet file" if suffix == ".parquet" else "neither JSON Lines, CSV nor Parquet"
    raise DataError(f"this is {what}", place=name, fix="give it as .jsonl, .csv, .tsv or .parquet")


def _delimiter(start: bytes, suffix: str) -> str:
    """What separates the header's cells: a comma wherever there is one, else what stands there most."""
    header = start.split(b"\n", 1)[0]
    if suffix == ".tsv" or b"," in header:
        return "\t" if suffix == ".tsv" else ","
    return max((",", ";", "\t"), key=lambda mark: header.count(mark.encode()))


def _check_text(start: bytes, name: str) -> None:
    """Refuse what is no UTF-8 text, saying what it is instead."""
    if not start.strip(b"\xef\xbb\xbf \t\r\n"):
        raise DataError("this file is empty", place=name, fix="it needs at least one row")
    for magic, what in _KNOWN_BINARY.items():
        if start.startswith(magic):
            raise DataError(
                f"this is {what}, not text", place=name, fix="save it as .jsonl, .csv or .parquet"
            )
    nuls = start.count(b"\0")
    if start.startswith(_UTF16) or nuls > len(start) // 4:
        raise DataError("this looks like UTF-16", place=name, fix="save it as UTF-8")
    if nuls or len(_CONTROL.findall(start)) > len(start) // 100:
        raise DataError("this file is binary", place=name, fix="give it as .jsonl, .csv or .parquet")


def _field_names(source: Source) -> tuple[set[str], bool]:
    """Column names, or the keys of the first records; and whether every record must have them."""
    try:
        if source.kind == "parquet":
            return set(tables.parquet_header(source.path)), True
        if source.kind == "csv":
            with open_file(source.path) as file:
                stream = open_stream(file, compressed=source.compressed)
                return set(tables.csv_header(stream, source.delimiter)), True
    except tables.SameColumnTwice as found:
        raise same_column_twice(source.name, found) from None
    except (OSError, EOFError, zlib.error, csv.Error) as error:
        raise damaged(source.name, error) from None
    except Exception as error:
        if type(error).__module__.split(".")[0] != "pyarrow":
            raise
        raise damaged(source.name, error) from None
    with closing(read_source(source, lambda done: None)) as records:
        first = list(islice(records, _SNIFF_RECORDS))
    keys: set[str] = set()
    for record in first:
        keys |= set(record.value or ())
    return keys, False


def _format_of(names: set[str], source: Source, data: Data) -> formats.Format:
    if data.format != "auto":
        return data.format
    if data.columns is not None:
        return "columns"
    found = formats.detect(names)
    if found is None and (names or source.kind != "jsonl"):
        raise DataError(
            "the format of these rows is not one we know",
            place=source.name,
            fix="say which columns hold what: data.columns: {prompt: …, completion: …}",
        )
    return found or "chat"  # no line could be parsed: every row will say so itself


def _check_task(format: formats.Format, source: Source, data: Data, task: str) -> None:
    pairs = formats.is_preference(format, data.columns)
    if pairs and task != "dpo":
        raise DataError("these are preference pairs", place=source.name, fix="set `task: dpo`")
    if task == "dpo" and not pairs:
        raise DataError(
            "task dpo needs preference pairs",
            place=source.name,
            fix="give chosen and rejected answers, or map them in data.columns",
        )


def _check_columns(
    names: set[str], source: Source, data: Data, format: formats.Format, *, complete: bool
) -> None:
    """Every mapped column exists, and enough are mapped to make a row."""
    for column in _needed(data, format):
        sparse = not complete and (not names or column == (data.columns and data.columns.system))
        if column in names or sparse:
            continue
        near = nearest(column, names)
        fix = f"did you mean `{near}`?" if near else "check the names in data.columns against the file"
        raise DataError(f"there is no column `{column}`", place=source.name, fix=fix)
    group = data.group_by
    if complete and group and group not in names and group.split(".")[0] not in names:
        near = nearest(group, names)
        fix = f"did you mean `{near}`?" if near else "name a column of the file in data.group_by"
        raise DataError(f"there is no column `{group}`", place=source.name, fix=fix)


def _needed(data: Data, format: formats.Format) -> Sequence[str]:
    if format != "columns":
        return ()
    columns = data.columns or formats.DEFAULT_COLUMNS
    if columns.messages:
        return (columns.messages,)
    answers = (columns.chosen, columns.rejected) if columns.chosen else (columns.completion,)
    if columns.prompt is None or None in answers:
        raise DataError(
            "data.columns does not say where prompt and answer are",
            place="data.columns",
            fix="map prompt and completion, or messages; for dpo: prompt, chosen and rejected",
        )
    return [name for name in (columns.prompt, *answers, columns.system) if name is not None]
