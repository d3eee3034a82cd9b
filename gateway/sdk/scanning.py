"""Scanning for plans and for people: over several processes, and once for the same bytes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gateway.core.rows import Finding, ScanSummary

if TYPE_CHECKING:
    from gateway.data import Dataset, OnProgress, Record
    from gateway.sdk.rooms import Rooms

CACHE_FOLDER = "cache/scans"


def scanned(
    rooms: Rooms, dataset: Dataset, beside: Mapping[str, Any], on_progress: OnProgress | None = None
) -> ScanSummary:
    """What a dataset holds, from the cache where the same bytes were scanned before.

    Raises:
        DataError: a file is gone, damaged, or has changed since the dataset was opened.
    """
    from gateway.data.dataset import damaged
    from gateway.privacy.cache import ScanCache, key_of
    from gateway.privacy.passes import scan_dataset

    cache = ScanCache(rooms.settings.home / CACHE_FOLDER)
    try:
        key = key_of(dataset, beside)
    except OSError as error:
        raise damaged(dataset.files[0], error) from None
    totals = cache.get(key)
    if totals is None:
        totals = scan_dataset(dataset, beside=beside, on_progress=on_progress)
        if rooms.settings.home.is_dir():  # a plan alone makes no home folder
            cache.put(key, totals)
    dataset.check_unchanged()  # what was hashed is what was scanned
    return totals


class Known:
    """Observer of a data pass that need not look: the data was scanned, and is checked to be the same."""

    def __init__(self, totals: ScanSummary) -> None:
        self._totals = totals

    def see(self, record: Record) -> None: ...

    def summary(self) -> ScanSummary:
        return self._totals


def write_report(
    rooms: Rooms,
    dataset: Dataset,
    beside: Mapping[str, Any],
    title: str,
    path: Path,
    on_progress: OnProgress | None,
) -> ScanSummary:
    """Scan, and write a page for an officer; see `gateway.privacy.report`.

    Raises:
        DataError: the data cannot be read to its end, or the page cannot be written.
    """
    from gateway.data import write_atomically
    from gateway.data.dataset import damaged
    from gateway.privacy.cache import key_of, scanner_version
    from gateway.privacy.passes import scan_dataset
    from gateway.privacy.report import Tally, page

    tally = Tally()
    try:
        data_hash = key_of(dataset, beside)
    except OSError as error:
        raise damaged(dataset.files[0], error) from None
    totals = scan_dataset(dataset, on_finding=tally.add, beside=beside, on_progress=on_progress)
    text = page(
        tally, totals, title=title, files=dataset.files, size_bytes=dataset.bytes, data_hash=data_hash,
        scanner=scanner_version(), made_at=rooms.clock(),
    )  # fmt: skip
    write_atomically(path, [text.encode()])
    return totals


@dataclass(frozen=True, slots=True)
class InContext:
    """A finding with the text around it: for the eyes of whoever may see the data, and for nothing else.

    Attributes:
        pieces: (text, type of the finding it belongs to or None), in order.
    """

    finding: Finding
    pieces: tuple[tuple[str, str | None], ...] = field(repr=False)


def in_context(dataset: Dataset, width: int) -> Iterator[InContext]:
    """Each finding that counts, with up to `width` characters of its field on either side."""
    from gateway.privacy import scan_record
    from gateway.privacy.fields import fields

    for file, record in dataset.originals():
        if record.value is None:
            continue
        found = scan_record(record.value, line=record.line, file=file).findings
        texts = dict(fields(record.value)) if found else {}
        for each in found:
            near = [other for other in found if other.field == each.field]
            yield InContext(each, _pieces(texts[each.field], each, near, width))


def _pieces(text: str, each: Finding, near: list[Finding], width: int) -> tuple[tuple[str, str | None], ...]:
    start, end = max(each.start - width, 0), min(each.end + width, len(text))
    pieces: list[tuple[str, str | None]] = []
    at = start
    for other in sorted(near, key=lambda found: found.start):
        if other.end > start and other.start < end:
            pieces += [(text[at : other.start], None), (text[max(other.start, at) : other.end], other.type)]
            at = max(other.end, at)
    return tuple(piece for piece in (*pieces, (text[at:end], None)) if piece[0])
