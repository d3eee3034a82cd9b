"""One scan of a whole dataset: in this process, or over several."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from gateway.core.rows import Finding, ScanSummary
from gateway.data import Dataset, OnProgress
from gateway.privacy import workers
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
    processes = 1 if ner else workers.useful(dataset) if processes is None else processes
    if processes < 2:
        for file, record in dataset.originals(on_progress):
            scanner.see_raw(record.value, line=record.line, file=file)
        return scanner.summary()
    wanted = floor if on_finding is not None else None
    for batch, answer in workers.answers(dataset, processes, wanted, on_progress):
        try:
            part = None if answer is None else from_json(answer["totals"])
        except (KeyError, ValueError):
            part = None
        lost = 0 if part is not None else len(batch.lines)
        scanner.add(part, records=batch.skipped + lost)
        if on_finding is not None and answer is not None and part is not None:
            for place in answer["findings"]:
                on_finding(Finding(*place))
    return scanner.summary()
