"""The scanner: every text of every record through the rules, and what they add up to.

Records are looked at some hundreds at a time (see `detecting`): memory is flat in the size of the file.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from gateway.core.classes import DataClass
from gateway.core.collector import no_collection
from gateway.core.rows import Finding, ScanSummary
from gateway.data import Record
from gateway.data.lines import RawRecord
from gateway.privacy.classes import THRESHOLD, class_of
from gateway.privacy.confirming import Found
from gateway.privacy.detecting import Detected, detect
from gateway.privacy.fields import Texts, path, texts_of
from gateway.privacy.ner import Ner, Read, together
from gateway.privacy.page import Page
from gateway.privacy.repeats import Repeats

_RECORDS_AT_ONCE = 1024
_BYTES_AT_ONCE = 1 << 20


class _Waiting(NamedTuple):
    raw: Mapping[str, Any]
    line: int
    file: int


@dataclass(frozen=True, slots=True)
class RecordScan:
    """What one record holds; `complete` False means not scanned, whatever the findings."""

    findings: tuple[Finding, ...]
    health: bool
    complete: bool


def scan_record(
    raw: Mapping[str, Any],
    *,
    line: int = 0,
    file: int = 0,
    floor: float = THRESHOLD,
    ner: Ner | None = None,
) -> RecordScan:
    """Scan one record: all its values, keys, roles and tool calls, for findings of at least `floor`.

    Args:
        ner: a model that reads the same texts beside the rules.
    """
    (scanned,) = _scan([_Waiting(raw, line, file)], [texts_of(raw)], floor, ner)
    return scanned


class Scanner:
    """Observer of a data pass: scans every record and says at the end what it found.

    A record that could not be parsed has nothing to scan: it is refused, and no byte of it goes anywhere.

    Args:
        on_finding: told every finding of at least `floor`, in the data's order, up to 1,024 records later.
        floor: confidence from which findings are told; what counts is `THRESHOLD` in any case.
        beside: what goes out with the records and stands in none of them, such as a spec's system
            prompt: scanned like one, on line 0, and not counted as a record.
        ner: a model that reads beside the rules.
    """

    def __init__(
        self,
        *,
        on_finding: Callable[[Finding], None] | None = None,
        floor: float = THRESHOLD,
        beside: Mapping[str, Any] | None = None,
        ner: Ner | None = None,
    ) -> None:
        self._on_finding, self._floor, self._ner = on_finding, floor, ner
        self._waiting, self._bytes = list[_Waiting](), 0
        self._repeats = None if ner else Repeats()  # a model may see names where no rule does
        self._begin()
        if beside:
            self._waiting.append(_Waiting(beside, line=0, file=0))
            self._take_waiting()
            self._flagged = self._health = 0

    def _begin(self) -> None:
        self._records = self._flagged = self._health = 0
        self._counts: Counter[str] = Counter()
        self._complete, self._class = True, DataClass.PUBLIC

    def see(self, record: Record) -> None:
        self._see(record.raw, record.line, record.file, record.size)

    def see_raw(self, record: RawRecord, *, file: int = 0) -> None:
        """See a record as its file has it."""
        self._see(record.value, record.line, file, record.size)

    def _see(self, raw: Mapping[str, Any] | None, line: int, file: int, size: int) -> None:
        self._records += 1
        if raw is None:
            return
        self._waiting.append(_Waiting(raw, line, file))
        self._bytes += size
        if len(self._waiting) >= _RECORDS_AT_ONCE or self._bytes >= _BYTES_AT_ONCE:
            self._take_waiting()

    def add(self, part: ScanSummary | None, records: int = 0) -> None:
        """Count records that were scanned elsewhere, and what was found in them.

        Args:
            part: None where nobody can say.
            records: how many more there are that had nothing to scan, or nobody scanned.
        """
        self._records += records
        if part is None:
            self._complete = False
            return
        self._records += part.records
        self._flagged += part.flagged
        self._health += part.health
        self._complete &= part.complete
        self._counts.update(part.findings)
        self._class = max(self._class, part.detected)

    def summary(self) -> ScanSummary:
        self._take_waiting()
        return ScanSummary(
            complete=self._complete,
            records=self._records,
            flagged=self._flagged,
            findings=dict(sorted(self._counts.items())),
            health=self._health,
            detected=self._class,
        )

    def hand_over(self) -> ScanSummary:
        """What was found since the last time, for another one's `add`."""
        found = self.summary()
        self._begin()
        return found

    def _take_waiting(self) -> None:
        with no_collection():
            self._take_page()  # all that it makes is gone before the collector is back

    def _take_page(self) -> None:
        waiting, self._waiting, self._bytes = self._waiting, [], 0
        texts = [texts_of(each.raw) for each in waiting]
        if self._repeats is not None:
            for each in texts:
                self._repeats.leave_out(each)
        if self._on_finding is None and self._ner is None:
            self._count_page(detect(texts, THRESHOLD, exact=False))
        else:
            self._tell(_scan(waiting, texts, min(self._floor, THRESHOLD), self._ner))

    def _tell(self, scanned: Iterable[RecordScan]) -> None:
        """Count what records hold, and tell the findings."""
        for record in scanned:
            self._complete &= record.complete
            self._health += record.health
            counted = [each.type for each in record.findings if each.confidence >= THRESHOLD]
            self._count(counted, health=record.health)
            for each in record.findings:
                if self._on_finding is not None and each.confidence >= self._floor:
                    self._on_finding(each)

    def _count_page(self, detected: Detected) -> None:
        self._complete &= not detected.silent
        health = detected.health - detected.silent
        self._health += len(health)
        for record, found in detected.by_record().items():
            self._count([each.type for each in found], health=record in health)

    def _count(self, types: list[str], *, health: bool) -> None:
        if types:
            self._flagged += 1
            self._counts.update(types)
            self._class = max(self._class, class_of(types, health=health))


def scan(records: Iterable[Record], *, floor: float = THRESHOLD) -> Iterator[Finding]:
    """Stream the findings of at least `floor`, record by record; nothing is kept."""
    for record in records:
        if record.raw is not None:
            yield from scan_record(record.raw, line=record.line, file=record.file, floor=floor).findings


def _scan(
    waiting: Sequence[_Waiting], texts: Sequence[Texts], floor: float, ner: Ner | None
) -> list[RecordScan]:
    """What records hold, by the rules and by the model that reads beside them, if there is one."""
    detected = detect(texts, floor)
    found = detected.by_record()
    scanned = [_record(detected, at, found.get(at, ()), place) for at, place in enumerate(waiting)]
    if ner is None:
        return scanned
    read = iter(ner.read([text for each in texts for text in each.texts]))
    return [
        _with_model(each, place, own, [next(read) for _ in own.texts], floor)
        for each, place, own in zip(scanned, waiting, texts, strict=True)
    ]


def _record(detected: Detected, at: int, found: Sequence[Found], place: _Waiting) -> RecordScan:
    if at in detected.silent:
        return RecordScan((), health=False, complete=False)
    findings = tuple(_finding(detected.page, at, each, place) for each in found)
    return RecordScan(findings, at in detected.health, complete=True)


def _finding(page: Page, record: int, found: Found, place: _Waiting) -> Finding:
    part, start, end = page.original(found.start, found.end)
    field = path(page.records[record].places[part - page.first[record]])
    return Finding(place.line, field, start, end, found.type, found.confidence, place.file)


def _with_model(
    scanned: RecordScan, place: _Waiting, own: Texts, read: list[Read | None], floor: float
) -> RecordScan:
    """A record with what the model found in it too; incomplete where it could not read a text."""
    if not scanned.complete:
        return scanned
    texts: dict[str, str] = {}
    found: list[Finding] = []
    for at, text, named in zip(map(path, own.places), own.texts, read, strict=True):
        if named is None:
            return RecordScan((), scanned.health, complete=False)
        texts[at] = text
        found += [Finding(place.line, at, *each, place.file) for each in named if each.confidence >= floor]
    return RecordScan(together(scanned.findings, found, texts), scanned.health, complete=True)
