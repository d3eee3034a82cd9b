"""The scan of some lines, in another process: what `passes` asks of a crew.

The task and the answers are JSON: a floor; totals, and findings as places. No text comes back.
"""

from __future__ import annotations

from typing import Any

import orjson

from gateway.core.rows import Finding
from gateway.crew import Batch
from gateway.data.lines import raw_record
from gateway.privacy import lexicon
from gateway.privacy.scanner import Scanner, scan_record
from gateway.privacy.totals import to_json

MAKER = f"{__name__}:make"
# Nobody's; it makes the scanner load what it looks things up in.
_MADE_UP = {
    "text": "Dr. Jane Miller, 12 Oak Street, Springfield, IL 62704, on 03/14/2019: d i a b e t e s &#9;"
}


def task(floor: float | None) -> bytes:
    """What a hand is told: the confidence from which findings are; None for totals alone."""
    return orjson.dumps({"floor": floor})


def load() -> None:
    """Load every list and rule that a scan may need: half a second, and a second for the cities."""
    lexicon.cities()
    lexicon.is_word(b"word")
    scan_record(_MADE_UP)


def make(told: bytes) -> Scanning:
    return Scanning(orjson.loads(told)["floor"])


class Scanning:
    """Scans batches; each answer stands for itself."""

    def __init__(self, floor: float | None) -> None:
        self._floor, self._found = floor, list[Finding]()
        self._scanner = self._made()

    def _made(self) -> Scanner:
        if self._floor is None:
            return Scanner()
        return Scanner(on_finding=self._found.append, floor=self._floor)

    def hello(self) -> None:
        load()

    def read(self, batch: Batch) -> dict[str, Any]:
        self._found.clear()
        try:
            for number, line in zip(batch.numbers, batch.lines, strict=True):
                self._scanner.see_raw(raw_record(number, len(line or b""), line), file=batch.file)
            totals = to_json(self._scanner.hand_over())
        except BaseException:
            self._scanner = self._made()  # nothing of this batch counts in the next
            raise
        places = [(f.line, f.field, f.start, f.end, f.type, f.confidence, f.file) for f in self._found]
        return {"totals": totals, "findings": places}
