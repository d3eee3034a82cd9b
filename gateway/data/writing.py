"""A split in a provider's own format: counted and hashed, or written whole or not at all."""

from __future__ import annotations

import errno
import hashlib
import os
import tempfile
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

import orjson

from gateway.core.errors import DataError
from gateway.core.rows import Convert, FileStats, Refusal, Row, Split
from gateway.data.dataset import Dataset
from gateway.data.splits import SplitAssignment, rows_of


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


def write_split(
    dataset: Dataset,
    assignment: SplitAssignment,
    split: Split,
    convert: Convert,
    path: Path,
    *,
    format: str = "",
) -> FileStats:
    """Write one split as JSON Lines, readable by its owner only.

    The bytes are those that `profile` counted and hashed for the same converter. The file appears
    under its name only when all of it is on disk.

    Raises:
        DataError: the dataset cannot be read, or the file cannot be written (full disk, no right).
    """
    tally = LineTally(split, format, convert)
    lines = (line for row in rows_of(dataset, assignment, split) if (line := tally.line(row)) is not None)
    write_atomically(path, lines)
    return tally.stats()


def write_atomically(path: Path, pieces: Iterable[bytes]) -> None:
    """Write a file whole or not at all: a temporary one beside it, synced, then renamed. Mode 0600.

    Raises:
        DataError: it cannot be written. Nothing is left behind.
    """
    temporary: str | None = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".part", dir=path.parent)
        with os.fdopen(handle, "wb", 1 << 20) as file:
            for piece in pieces:
                file.write(piece)
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
