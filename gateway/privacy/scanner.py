"""The scanner: every text of every record through the rules, and what they add up to.

Records are looked at some dozens at a time (see `detecting`), so that memory is flat in the size of the file.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from gateway.core.classes import DataClass
from gateway.core.rows import Finding, ScanSummary
from gateway.data import Record
from gateway.privacy.classes import THRESHOLD, class_of
from gateway.privacy.confirming import Found
from gateway.privacy.detecting import Detected, detect
from gateway.privacy.fields import Texts, path, texts_of
from gateway.privacy.ner import Ner, Read, together
from gateway.privacy.repeats import Repeats

_RECORDS_AT_ONCE = 64
_CHARACTERS_AT_ONCE = 1 << 18


class _Waiting(NamedTuple):
    texts: Texts
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
    (scanned,) = _scan([_Waiting(texts_of(raw), line, file)], floor, ner)
    return scanned


class Scanner:
    """Observer of a data pass: scans every record and says at the end what it found.

    A record that could not be parsed has nothing to scan: it is refused, and no byte of it goes anywhere.

    Args:
        on_finding: told every finding of at least `floor`, in the data's order, some dozens of records later.
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
        self._waiting, self._characters = list[_Waiting](), 0
        self._repeats = None if ner else Repeats()  # a model may see names where no rule does
        self._records = self._flagged = self._health = 0
        self._counts: Counter[str] = Counter()
        self._complete, self._class = True, DataClass.PUBLIC
        if beside:
            self._take(beside, line=0, file=0)
            self._take_waiting()
            self._flagged = self._health = 0

    def see(self, record: Record) -> None:
        self.see_raw(record.raw, line=record.line, file=record.file)

    def see_raw(self, raw: Mapping[str, Any] | None, *, line: int, file: int) -> None:
        """See a record as its file has it; None where it could not be parsed."""
        self._records += 1
        if raw is not None:
            self._take(raw, line=line, file=file)

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

    def _take(self, raw: Mapping[str, Any], *, line: int, file: int) -> None:
        texts = texts_of(raw)
        if self._repeats is not None:
            self._repeats.leave_out(texts)
        self._waiting.append(_Waiting(texts, line, file))
        self._characters += sum(map(len, texts.texts))
        if len(self._waiting) >= _RECORDS_AT_ONCE or self._characters >= _CHARACTERS_AT_ONCE:
            self._take_waiting()

    def _take_waiting(self) -> None:
        waiting, self._waiting, self._characters = self._waiting, [], 0
        if self._on_finding is None and self._ner is None:
            for each in detect([each.texts for each in waiting], THRESHOLD, exact=False):
                self._count([found.type for found in each.found], each.health, complete=not each.silent)
            return
        for scanned in _scan(waiting, min(self._floor, THRESHOLD), self._ner):
            counted = [each.type for each in scanned.findings if each.confidence >= THRESHOLD]
            self._count(counted, scanned.health, complete=scanned.complete)
            for each in scanned.findings:
                if self._on_finding is not None and each.confidence >= self._floor:
                    self._on_finding(each)

    def _count(self, types: list[str], health: bool, *, complete: bool) -> None:
        self._complete &= complete
        self._health += health
        if types:
            self._flagged += 1
            self._counts.update(types)
            self._class = max(self._class, class_of(types, health=health))


def scan(records: Iterable[Record], *, floor: float = THRESHOLD) -> Iterator[Finding]:
    """Stream the findings of at least `floor`, record by record; nothing is kept."""
    for record in records:
        if record.raw is not None:
            yield from scan_record(record.raw, line=record.line, file=record.file, floor=floor).findings


def _scan(waiting: list[_Waiting], floor: float, ner: Ner | None) -> list[RecordScan]:
    """What records hold, by the rules and by the model that reads beside them, if there is one."""
    detected = detect([each.texts for each in waiting], floor)
    if ner is None:
        return [_record(each, place) for each, place in zip(detected, waiting, strict=True)]
    read = iter(ner.read([text for each in waiting for text in each.texts.texts]))
    return [
        _with_model(_record(each, place), place, [next(read) for _ in place.texts.texts], floor)
        for each, place in zip(detected, waiting, strict=True)
    ]


def _record(detected: Detected, place: _Waiting) -> RecordScan:
    if detected.silent:
        return RecordScan((), health=False, complete=False)
    findings = tuple(_finding(detected, found, place) for found in detected.found)
    return RecordScan(findings, detected.health, complete=True)


def _finding(detected: Detected, found: Found, place: _Waiting) -> Finding:
    at, start, end = detected.joined.original(found.start, found.end)
    field = path(place.texts.places[at])
    return Finding(place.line, field, start, end, found.type, found.confidence, place.file)


def _with_model(scanned: RecordScan, place: _Waiting, read: list[Read | None], floor: float) -> RecordScan:
    """A record with what the model found in it too; incomplete where it could not read a text."""
    if not scanned.complete:
        return scanned
    texts: dict[str, str] = {}
    found: list[Finding] = []
    for at, text, named in zip(map(path, place.texts.places), place.texts.texts, read, strict=True):
        if named is None:
            return RecordScan((), scanned.health, complete=False)
        texts[at] = text
        found += [Finding(place.line, at, *each, place.file) for each in named if each.confidence >= floor]
    return RecordScan(together(scanned.findings, found, texts), scanned.health, complete=True)
