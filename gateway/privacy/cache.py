"""What a scan found, kept by what was scanned and by which scanner: the same bytes are scanned once.

The key is a hash over the files' bytes, how they are read, what goes out beside them, and the scanner: its
rules, lists and code. A changed byte or rule gives another key. An entry holds counts by type and no text.
One that is damaged, or was made for another key, is as good as none. Whoever may write to the home folder
could write one; so could they change the program.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from contextlib import suppress
from functools import lru_cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from gateway.core.errors import DataError
from gateway.core.rows import ScanSummary
from gateway.data import Dataset, write_atomically
from gateway.privacy.ner import Ner
from gateway.privacy.totals import from_json, to_json

_PACKAGES = ("google-re2", "ahocorasick-rs", "names", "zipcodes")


class ScanCache:
    """Totals in a folder, a file each."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def get(self, key: str) -> ScanSummary | None:
        try:
            entry = json.loads((self._folder / f"{key}.json").read_bytes())
            return from_json(entry["totals"]) if entry["key"] == key and entry["totals"]["complete"] else None
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def put(self, key: str, totals: ScanSummary) -> None:
        """Keep the totals of a complete scan. A folder that cannot be written to keeps nothing."""
        if not totals.complete:
            return
        entry = json.dumps({"key": key, "totals": to_json(totals)}, sort_keys=True)
        with suppress(OSError, DataError):
            write_atomically(self._folder / f"{key}.json", [entry.encode()])


def key_of(dataset: Dataset, beside: Mapping[str, Any], ner: Ner | None = None) -> str:
    """The cache's key for a dataset as it lies on disk.

    Raises:
        OSError: a file cannot be read.
    """
    whole = hashlib.sha256(scanner_version().encode())
    whole.update(json.dumps(beside, sort_keys=True).encode())
    if ner is not None:
        whole.update(f"ner {ner.fingerprint}\n".encode())
    for source in dataset.sources:
        with source.path.open("rb") as file:
            content = hashlib.file_digest(file, "sha256").hexdigest()
        whole.update(f"{content} {source.kind} {source.compressed} {source.delimiter!r}\n".encode())
    return whole.hexdigest()


@lru_cache(maxsize=1)
def scanner_version() -> str:
    """A hash over everything that says what a scan finds: this room's code and lists, and its engines."""
    whole = hashlib.sha256()
    for path in sorted(Path(__file__).parent.glob("*.*")):
        if path.suffix in (".py", ".gz"):
            whole.update(path.name.encode() + b"\0" + path.read_bytes() + b"\0")
    for package in _PACKAGES:
        try:
            whole.update(f"{package} {version(package)}\n".encode())
        except PackageNotFoundError:
            whole.update(f"{package} ?\n".encode())
    return whole.hexdigest()
