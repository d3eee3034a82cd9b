"""A split in a provider's own format: counted and hashed, or written whole or not at all."""

from __future__ import annotations

import errno
import hashlib
import os
import tempfile
from collections import Counter
from collections.abc import Generator, Iterable, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import orjson

from gateway.core.errors import DataError
from gateway.core.rows import Convert, FileStats, Refusal, Row, Split
from gateway.data.dataset import Dataset
from gateway.data.splits import SplitAssignment


class LineTally:
    """Converts rows to lines one by one, and knows what a file of them holds so far."""

    def __init__(self, split: Split, format: str, convert: Convert) -> None:
        self._split: Split = split
        self._format, self._convert = format, convert
        self._refused: Counter[str] = Counter()
        self._sha256 = hashlib.sha256()
        self._rows_in = self._rows_out = self._bytes = 0

    def line(self, row: Row) -> bytes | None:
        """The row's line with its newline; None where this format has no place for it."""
        self._rows_in += 1
        converted = self._convert(row)
        if isinstance(converted, Refusal):
            self._refused[converted.code] += 1
            return None
        line = orjson.dumps(converted.line, option=orjson.OPT_APPEND_NEWLINE)
        self._sha256.update(line)
        self._rows_out += 1
        self._bytes += len(line)
        return line

    def stats(self) -> FileStats:
        return FileStats(
            split=self._split,
            format=self._format,
            rows_in=self._rows_in,
            rows_out=self._rows_out,
            refused=dict(self._refused),
            sha256=self._sha256.hexdigest(),
            bytes=self._bytes,
        )


@dataclass(frozen=True, slots=True)
class SplitFile:
    """Where one split goes, and as what."""

    path: Path
    convert: Convert
    format: str = ""


def write_split(
    dataset: Dataset,
    assignment: SplitAssignment,
    split: Split,
    convert: Convert,
    path: Path,
    *,
    format: str = "",
) -> FileStats:
    """Write one split as JSON Lines; see `write_splits`."""
    return write_splits(dataset, assignment, {split: SplitFile(path, convert, format)})[split]


def write_splits(
    dataset: Dataset, assignment: SplitAssignment, files: Mapping[Split, SplitFile]
) -> dict[Split, FileStats]:
    """Write splits as JSON Lines in one pass over the data, readable by their owner only.

    The bytes are those that `profile` counted and hashed for the same converter. A file appears under
    its name only when all of it is on disk.

    Raises:
        DataError: the dataset cannot be read, or a file cannot be written (full disk, no right).
    """
    tallies = {split: LineTally(split, file.format, file.convert) for split, file in files.items()}
    with ExitStack() as stack:
        out = {split: stack.enter_context(_whole(file.path)) for split, file in files.items()}
        for record in dataset.records():
            split = assignment.of(record) if isinstance(record.outcome, Row) else None
            if split in out and isinstance(record.outcome, Row):
                line = tallies[split].line(record.outcome)
                if line is not None:
                    _written(files[split].path, out[split], line)
    return {split: tallies[split].stats() for split in files}


def write_atomically(path: Path, pieces: Iterable[bytes]) -> None:
    """Write a file whole or not at all: a temporary one beside it, synced, then renamed. Mode 0600.

    Raises:
        DataError: it cannot be written. Nothing is left behind.
    """
    with _whole(path) as file:
        for piece in pieces:
            _written(path, file, piece)


@contextmanager
def _whole(path: Path) -> Generator[BinaryIO]:
    """A file to be written that appears under its name when the block ends well, and not at all else."""
    temporary: str | None = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".part", dir=path.parent)
        with os.fdopen(handle, "wb", 1 << 20) as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        Path(temporary).replace(path)
        temporary = None
        _sync_folder(path.parent)
    except OSError as error:
        raise _unwritable(path, error) from None
    finally:
        if temporary is not None:
            Path(temporary).unlink(missing_ok=True)


def _written(path: Path, file: BinaryIO, piece: bytes) -> None:
    try:
        file.write(piece)
    except OSError as error:
        raise _unwritable(path, error) from None


def _sync_folder(folder: Path) -> None:
    """Make the rename itself last, where the system lets a folder be opened."""
    try:
        handle = os.open(folder, os.O_RDONLY)
    except OSError:
        return
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _unwritable(path: Path, error: OSError) -> DataError:
    full = error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
    fix = "free some space" if full else "check that the folder exists and may be written"
    text = "the disk is full" if full else f"cannot be written ({os.strerror(error.errno or 0)})"
    return DataError(text, place=str(path), fix=f"{fix}, then run it again; nothing half-written is left")
