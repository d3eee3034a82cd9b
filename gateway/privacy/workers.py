"""Scanning over several processes: the same findings in the same order, memory flat in the size of the file.

Our own processes over pipes, rather than a pool: nothing is pickled, and a caller's script is not run again
in each of them. A process that dies leaves its records unscanned, and the scan incomplete.
"""

from __future__ import annotations

import os
import queue
import subprocess
import sys
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import orjson

from gateway.data import Dataset, OnProgress
from gateway.data.dataset import read_source_lines
from gateway.privacy.worker import read_frame, write_frame

_BATCH_BYTES = 1 << 20
_WORTH_BYTES = 8 << 20  # below this, starting a process takes longer than it saves
_ROOT = Path(__file__).parents[2]


class Batch(NamedTuple):
    """Some lines of one file. `skipped`: records in between that are too long to be read."""

    file: int
    numbers: list[int]
    lines: list[bytes]
    skipped: int


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


def answers(
    dataset: Dataset, processes: int, floor: float | None, on_progress: OnProgress | None = None
) -> Iterator[tuple[Batch, dict[str, Any] | None]]:
    """Each batch with what `worker.scan_batch` found in it, in the data's order; None where nobody could say.

    Args:
        floor: confidence from which findings are told; None for totals alone.
    """
    waiting: deque[tuple[Batch, Future[dict[str, Any] | None]]] = deque()
    with _Crew(processes) as crew, ThreadPoolExecutor(processes) as threads:
        for batch in _batches(dataset, on_progress):
            waiting.append((batch, threads.submit(crew.scan, batch, floor)))
            if len(waiting) > 2 * processes:
                done, future = waiting.popleft()
                yield done, future.result()
        for done, future in waiting:
            yield done, future.result()


def _batches(dataset: Dataset, on_progress: OnProgress | None) -> Iterator[Batch]:
    before = 0
    for file, source in enumerate(dataset.sources):
        size, batch = 0, Batch(file, [], [], 0)
        for number, _, text, _ in read_source_lines(source, _reporter(dataset, before, on_progress)):
            if text is None:
                batch = batch._replace(skipped=batch.skipped + 1)
            elif text and not text.isspace():
                batch.numbers.append(number)
                batch.lines.append(text if text.endswith(b"\n") else text + b"\n")
                size += len(text)
            if size >= _BATCH_BYTES:
                yield batch
                size, batch = 0, Batch(file, [], [], 0)
        yield batch
        before += source.bytes
        _reporter(dataset, before, on_progress)(0)


def _reporter(dataset: Dataset, before: int, on_progress: OnProgress | None) -> Callable[[int], None]:
    return lambda done: on_progress(before + done, dataset.bytes) if on_progress else None


class _Crew:
    """Scanning processes, each used by one thread at a time."""

    def __init__(self, processes: int) -> None:
        self._all = [_start() for _ in range(processes)]
        self._free: queue.SimpleQueue[subprocess.Popen[bytes]] = queue.SimpleQueue()
        for process in self._all:
            self._free.put(process)

    def __enter__(self) -> _Crew:
        return self

    def __exit__(self, *_: object) -> None:
        for process in self._all:
            process.kill()
            process.communicate()

    def scan(self, batch: Batch, floor: float | None) -> dict[str, Any] | None:
        process = self._free.get()
        try:
            return _ask(process, batch, floor)
        except (OSError, ValueError):  # it died, or answered what is no answer
            return None
        finally:
            self._free.put(process)


def _start() -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-m", "gateway.privacy.worker"],
        cwd=_ROOT,  # so that it is this package, whatever lies in the caller's folder
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,  # a traceback may quote data
    )


def _ask(process: subprocess.Popen[bytes], batch: Batch, floor: float | None) -> dict[str, Any] | None:
    if process.stdin is None or process.stdout is None:
        return None
    head = orjson.dumps({"file": batch.file, "floor": floor, "lines": batch.numbers})
    write_frame(process.stdin, b"".join((head, b"\n", *batch.lines)))
    answer = read_frame(process.stdout)
    return None if answer is None else orjson.loads(answer)
