"""A scan in which some findings count for nothing, because an officer looked at them and signed so."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping
from typing import Any

from gateway.core.classes import DataClass
from gateway.core.rows import ScanSummary
from gateway.data import Record
from gateway.privacy.classes import THRESHOLD, class_of
from gateway.privacy.ner import Ner
from gateway.privacy.scanner import scan_record

Where = tuple[int, int, str, str]
"""(file, line, field, type) of a finding."""


class Dismissing:
    """Observer of a data pass, as `Scanner` is.

    Args:
        places: the findings that count for nothing; all of that type in that field of that line.
        beside: as in `Scanner`; nothing in it can be dismissed.
        ner: as in `Scanner`: dismissals are judged by the scan that they are about.

    Attributes:
        dismissed: how many findings were passed over, by type.
    """

    def __init__(
        self,
        places: Collection[Where],
        *,
        beside: Mapping[str, Any] | None = None,
        ner: Ner | None = None,
    ) -> None:
        self._places, self._ner = frozenset(places), ner
        self._records = self._flagged = self._health = 0
        self._counts: Counter[str] = Counter()
        self._complete, self._class = True, DataClass.PUBLIC
        self.dismissed: Counter[str] = Counter()
        if beside:
            self._take(beside, file=-1, line=0)
            self._flagged = self._health = 0

    def see(self, record: Record) -> None:
        self._records += 1
        if record.raw is not None:
            self._take(record.raw, file=record.file, line=record.line)

    def _take(self, raw: Mapping[str, Any], *, file: int, line: int) -> None:
        scanned = scan_record(raw, ner=self._ner)
        counted: list[str] = []
        for found in scanned.findings:
            if found.confidence < THRESHOLD:
                continue
            if (file, line, found.field, found.type) in self._places:
                self.dismissed[found.type] += 1
            else:
                counted.append(found.type)
        self._complete &= scanned.complete
        self._health += scanned.health
        self._flagged += bool(counted)
        self._counts.update(counted)
        self._class = max(self._class, class_of(counted, health=scanned.health))

    def summary(self) -> ScanSummary:
        return ScanSummary(
            complete=self._complete,
            records=self._records,
            flagged=self._flagged,
            findings=dict(sorted(self._counts.items())),
            health=self._health,
            detected=self._class,
        )
