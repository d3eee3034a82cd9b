"""Lines of a dataset in batches of about a megabyte, in reading order."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from typing import NamedTuple

from gateway.data import Dataset, OnProgress
from gateway.data.dataset import read_source_lines

BATCH_BYTES = 1 << 20
_WORTH_BYTES = 8 << 20  # below this, starting a process takes longer than it saves


class Batch(NamedTuple):
    """Some lines of one file: their numbers, and each as it stands, with its end; None where it is too
    long to be read."""

    file: int
    numbers: list[int]
    lines: list[bytes | None]


def useful(dataset: Dataset) -> int:
    """How many processes are worth while for a dataset; 1 means none besides our own."""
    if any(source.kind != "jsonl" for source in dataset.sources):
        return 1  # tables are parsed where they are read
    return max(1, min(_processors(), dataset.bytes // _WORTH_BYTES))


def _processors() -> int:
    """Processors that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def batches(dataset: Dataset, on_progress: OnProgress | None) -> Iterator[Batch]:
    """Every line that is not blank.

    Raises:
        DataError: a file is gone, damaged, or has changed since the dataset was opened.
    """
    before = 0
    for file, source in enumerate(dataset.sources):
        batch, size = Batch(file, [], []), 0
        report = _reporter(on_progress, before, dataset.bytes)
        for number, _, text, _ in read_source_lines(source, report):
            if text is None or (text and not text.isspace()):
                batch.numbers.append(number)
                batch.lines.append(text if text is None or text.endswith(b"\n") else text + b"\n")
                size += len(text or b"")
            if size >= BATCH_BYTES:
                yield batch
                batch, size = Batch(file, [], []), 0
        if batch.lines:
            yield batch
        before += source.bytes
        report(source.bytes)


def _reporter(on_progress: OnProgress | None, before: int, total: int) -> Callable[[int], None]:
    return lambda done: on_progress(before + done, total) if on_progress else None
