"""Scanning for plans and for people: over several processes, and once for the same bytes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gateway.core.rows import Finding, ScanSummary
from gateway.core.spec import JobSpec, canonical_sha256

if TYPE_CHECKING:
    from gateway.data import Dataset, OnProgress, Record
    from gateway.privacy.ner import Ner
    from gateway.sdk.rooms import Rooms

CACHE_FOLDER = "cache/scans"


def beside(spec: JobSpec) -> dict[str, str]:
    """What a spec itself says to a provider, and must be scanned like a row: the prompt it puts before a
    model, and the names it gives a job."""
    words = {"system": spec.data.system or "", "job": spec.name}
    for name, options in spec.options.items():
        if suffix := options.get("suffix"):
            words[f"options.{name}.suffix"] = str(suffix)
    return {where: text for where, text in words.items() if text}


def scanned(
    rooms: Rooms,
    dataset: Dataset,
    outside: Mapping[str, Any],
    on_progress: OnProgress | None = None,
    ner: Ner | None = None,
) -> ScanSummary:
    """What a dataset holds, from the cache where the same bytes were scanned before.

    Args:
        outside: what goes out beside the rows; see `beside`.
        ner: a model to read with in place of the settings' own.

    Raises:
        DataError: a file is gone, damaged, or has changed since the dataset was opened.
    """
    from gateway.data.dataset import damaged
    from gateway.privacy.cache import ScanCache, key_of
    from gateway.privacy.passes import scan_dataset

    reader = ner or rooms.ner
    cache = ScanCache(rooms.settings.home / CACHE_FOLDER)
    try:
        key = key_of(dataset, outside, reader)
    except OSError as error:
        raise damaged(dataset.files[0], error) from None
    totals = cache.get(key)
    if totals is None:
        totals = scan_dataset(dataset, beside=outside, on_progress=on_progress, ner=reader)
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
    outside: Mapping[str, Any],
    title: str,
    path: Path,
    on_progress: OnProgress | None,
    ner: Ner | None = None,
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

    tally, reader = Tally(), ner or rooms.ner
    try:
        data_hash = key_of(dataset, outside, reader)
    except OSError as error:
        raise damaged(dataset.files[0], error) from None
    totals = scan_dataset(dataset, on_finding=tally.add, beside=outside, on_progress=on_progress, ner=reader)
    text = page(
        tally, totals, title=title, files=dataset.files, size_bytes=dataset.bytes, data_hash=data_hash,
        scanner=_scanner(scanner_version(), reader), made_at=rooms.clock(),
    )  # fmt: skip
    write_atomically(path, [text.encode()])
    recorded(rooms, dataset, totals, reader)
    return totals


def recorded(rooms: Rooms, dataset: Dataset, found: ScanSummary, ner: Ner | None) -> None:
    """Record a scan that somebody asked for by itself, where there is an account: looking at a file makes
    none, and no key.

    Raises:
        RecordError: it cannot be written.
    """
    if not rooms.has_account:
        return
    from gateway.privacy.scrubbing import file_sha256

    files = canonical_sha256({"sources": [file_sha256(source) for source in dataset.sources]})
    dataset.check_unchanged()
    rooms.accounts.looked(files, found, ner)


def _scanner(rules: str, ner: Ner | None) -> str:
    return f"{rules}, with the model {ner.fingerprint}" if ner else rules


@dataclass(frozen=True, slots=True)
class InContext:
    """A finding with the text around it: for the eyes of whoever may see the data, and for nothing else.

    Attributes:
        pieces: (text, type of the finding it belongs to or None), in order.
    """

    finding: Finding
    pieces: tuple[tuple[str, str | None], ...] = field(repr=False)


def in_context(dataset: Dataset, width: int, ner: Ner | None = None) -> Iterator[InContext]:
    """Each finding that counts, with up to `width` characters of its field on either side."""
    from gateway.privacy import scan_record
    from gateway.privacy.fields import fields

    for file, record in dataset.originals():
        if record.value is None:
            continue
        found = scan_record(record.value, line=record.line, file=file, ner=ner).findings
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
