"""Processes that read, over pipes: nothing is pickled, and a caller's script is not run again in each.

One process is started, told its task, and answers with what stands beside the rows. Where the system can,
it then becomes several, which share the lists, rules and vocabularies that it loaded: loading them is most of
what a process costs, in time and in memory. No text comes back, and nothing that a process prints is shown.
"""

from __future__ import annotations

import os
import queue
import subprocess
import sys
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Protocol, cast

import orjson

from gateway.crew.batching import Batch
from gateway.crew.wire import Line, pack

_ROOT = Path(__file__).parents[2]


class Hand(Protocol):
    """What a process does. What it says is JSON values, and no text of the data."""

    def hello(self) -> Any:
        """Load what reading needs, and say what stands beside the rows."""
        ...

    def read(self, batch: Batch) -> Any: ...


@dataclass(frozen=True, slots=True)
class Lost:
    """An answer that did not come.

    Attributes:
        error: the name of what was raised in the process; None where the process has ended.
    """

    error: str | None = None


class Crew:
    """Reading processes, each used by one thread at a time; ended with the block.

    Args:
        maker: `module:function` of ours, which makes a `Hand` of the task in another process.
        task: what it is told.

    Attributes:
        hello: what the first process said before any batch, or `Lost`.
    """

    def __init__(self, maker: str, task: bytes, processes: int) -> None:
        self._process, self._lines = _start(maker, processes)
        self.hello = _answer(self._lines[0].ask(task))
        self._free: queue.SimpleQueue[Line] = queue.SimpleQueue()
        for line in self._lines:
            self._free.put(line)

    def __enter__(self) -> Crew:
        return self

    def __exit__(self, *_: object) -> None:
        for line in self._lines:
            line.close()  # each process ends with its line
        self._process.kill()
        self._process.wait()

    def answers(self, batches: Iterable[Batch]) -> Iterator[tuple[Batch, Any]]:
        """Each batch with what was read in it, or `Lost`, in order. Few batches are under way at once."""
        waiting: deque[tuple[Batch, Future[Any]]] = deque()
        with ThreadPoolExecutor(len(self._lines)) as threads:
            try:
                for batch in batches:
                    waiting.append((batch, threads.submit(self._ask, batch)))
                    if len(waiting) > 2 * len(self._lines):
                        yield _done(*waiting.popleft())
                while waiting:
                    yield _done(*waiting.popleft())
            finally:
                for _, future in waiting:
                    future.cancel()

    def _ask(self, batch: Batch) -> Any:
        line = self._free.get()
        try:
            return _answer(line.ask(pack(batch)))
        finally:
            self._free.put(line)


def _done(batch: Batch, future: Future[Any]) -> tuple[Batch, Any]:
    return batch, future.result()


def _answer(content: bytes | None) -> Any:
    """What a process said: `[value]`, or the name of an error."""
    try:
        said: list[Any] | str | None = None if content is None else orjson.loads(content)
    except ValueError:
        said = None
    return said[0] if isinstance(said, list) else Lost(said)


def _start(maker: str, processes: int) -> tuple[subprocess.Popen[bytes], list[Line]]:
    """The first process, and a line to each that it will be."""
    more = [(os.pipe(), os.pipe()) for _ in range(processes - 1)] if hasattr(os, "fork") else []
    theirs = [end for (read, _), (_, write) in more for end in (read, write)]
    process = subprocess.Popen(
        [sys.executable, "-m", "gateway.crew.worker", maker, *map(str, theirs)],
        cwd=_ROOT,  # so that it is this package, whatever lies in the caller's folder
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,  # a traceback may quote data
        pass_fds=theirs,
    )
    for end in theirs:
        os.close(end)
    ours = [Line(open(write, "wb"), open(read, "rb")) for (_, write), (read, _) in more]  # noqa: PTH123, SIM115
    return process, [Line(cast("IO[bytes]", process.stdin), cast("IO[bytes]", process.stdout)), *ours]
