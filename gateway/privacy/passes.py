"""One scan of a whole dataset: in this process, or over several."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from gateway.core.collector import no_collection
from gateway.core.rows import Finding, ScanSummary
from gateway.crew import Crew, Lost, batches, useful
from gateway.data import Dataset, OnProgress
from gateway.privacy import hand
from gateway.privacy.classes import THRESHOLD
from gateway.privacy.ner import Ner
from gateway.privacy.scanner import Scanner
from gateway.privacy.totals import from_json


def scan_dataset(
    dataset: Dataset,
    *,
    on_finding: Callable[[Finding], None] | None = None,
    floor: float = THRESHOLD,
    beside: Mapping[str, Any] | None = None,
    processes: int | None = None,
    on_progress: OnProgress | None = None,
    ner: Ner | None = None,
) -> ScanSummary:
    """Scan every record; the same whatever the number of processes.

    Args:
        on_finding, floor, beside, ner: as in `Scanner`.
        processes: how many share the work; None for as many as are worth while. A model uses every core
            by itself, and stays in this one.

    Raises:
        DataError: a file is gone, damaged, or has changed since the dataset was opened.
    """
    scanner = Scanner(on_finding=on_finding, floor=floor, beside=beside, ner=ner)
    processes = 1 if ner else useful(dataset) if processes is None else processes
    if processes < 2:
        with no_collection():
            for file, record in dataset.originals(on_progress):
                scanner.see_raw(record, file=file)
            return scanner.summary()
    wanted = floor if on_finding is not None else None
    with Crew(hand.MAKER, hand.task(wanted), processes) as crew:
        for batch, answer in crew.answers(batches(dataset, on_progress)):
            part = _totals(answer)
            scanner.add(part, records=len(batch.lines) if part is None else 0)
            if on_finding is not None and part is not None:
                for place in answer["findings"]:
                    on_finding(Finding(*place))
    return scanner.summary()


def _totals(answer: Any) -> ScanSummary | None:
    """What a process found in a batch; None where nobody can say: the scan is then incomplete."""
    try:
        return None if isinstance(answer, Lost) else from_json(answer["totals"])
    except (KeyError, TypeError, ValueError):
        return None
