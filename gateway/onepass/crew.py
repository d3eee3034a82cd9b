"""Processes that read, over pipes: nothing is pickled, and a caller's script is not run again in each.

One process is started, told its `Task`, and answers with what stands beside the rows. Where the system can,
it then becomes several, which share the lists, rules and vocabularies that it loaded: most of their memory.

A frame is eight bytes of length and as many of content. A batch is a JSON head (`file`, `numbers`, `sizes`)
on one line, and the lines one after the other; the answer is JSON: what each observer hands over, or the
name of an error. No text comes back, and nothing that a process prints is shown.
"""

from __future__ import annotations

import os
import queue
import struct
import subprocess
import sys
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import IO, Any, NamedTuple, cast

import orjson

from gateway.core.errors import DataError
from gateway.onepass.batches import Batch
from gateway.onepass.work import Task

_LENGTH = struct.Struct(">Q")
_ROOT = Path(__file__).parents[2]


def write_frame(stream: IO[bytes], content: bytes) -> None:
    stream.write(_LENGTH.pack(len(content)))
    stream.write(content)
    stream.flush()


def read_frame(stream: IO[bytes]) -> bytes | None:
    """The next frame; None when the other side has ended, even within one."""
    head = stream.read(_LENGTH.size)
    if len(head) < _LENGTH.size:
        return None
    content = stream.read(_LENGTH.unpack(head)[0])
    return content if len(content) == _LENGTH.unpack(head)[0] else None


def pack(batch: Batch) -> bytes:
    sizes = [-1 if line is None else len(line) for line in batch.lines]
    head = orjson.dumps({"file": batch.file, "numbers": batch.numbers, "sizes": sizes})
    return b"".join((head, b"\n", *(line for line in batch.lines if line is not None)))


def unpack(content: bytes) -> Batch:
    head, _, body = content.partition(b"\n")
    told: dict[str, Any] = orjson.loads(head)
    lines: list[bytes | None] = []
    start = 0
    for size in told["sizes"]:
        lines.append(None if size < 0 else body[start : start + size])
        start += max(size, 0)
    return Batch(told["file"], told["numbers"], lines)


class Line(NamedTuple):
    """Both ends' way to speak to one process, or the process's own to be spoken to."""

    send: IO[bytes]
    receive: IO[bytes]

    def ask(self, content: bytes) -> bytes | None:
        """The answer; None where there is none."""
        try:
            write_frame(self.send, content)
            return read_frame(self.receive)
        except OSError:
            return None

    def close(self) -> None:
        for stream in self:
            with suppress(OSError):  # what is left to be written, to nobody
                stream.close()


class Crew:
    """Reading processes, each used by one thread at a time; ended with the block."""

    def __init__(self, task: Task, processes: int) -> None:
        self._process, self._lines = _start(processes)
        self._hello = self._lines[0].ask(task.model_dump_json().encode())
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

    def answers(self, batches: Iterable[Batch]) -> Iterator[list[Any]]:
        """What the observers hand over: of what stands beside the rows, then of each batch, in order. Few
        batches are under way at once.

        Raises:
            DataError: a process ended, or failed.
        """
        yield _answer(self._hello)
        waiting: deque[Future[list[Any]]] = deque()
        with ThreadPoolExecutor(len(self._lines)) as threads:
            try:
                for batch in batches:
                    waiting.append(threads.submit(self._ask, batch))
                    if len(waiting) > 2 * len(self._lines):
                        yield waiting.popleft().result()
                while waiting:
                    yield waiting.popleft().result()
            finally:
                for future in waiting:
                    future.cancel()

    def _ask(self, batch: Batch) -> list[Any]:
        line = self._free.get()
        try:
            return _answer(line.ask(pack(batch)))
        finally:
            self._free.put(line)


def _answer(content: bytes | None) -> list[Any]:
    if content is None:
        raise DataError(
            "a process that was reading the data has ended",
            fix="free some memory, then try again; the data are as they were",
        )
    answer: list[Any] | str = orjson.loads(content)
    if isinstance(answer, str):
        raise DataError(
            f"a process that was reading the data failed ({answer})",
            fix="this is a fault of ours: please report it, with the versions that `tunegate --version` says",
        )
    return answer


def _start(processes: int) -> tuple[subprocess.Popen[bytes], list[Line]]:
    """The first process, and a line to each that it will be."""
    more = [(os.pipe(), os.pipe()) for _ in range(processes - 1)] if hasattr(os, "fork") else []
    theirs = [end for (read, _), (_, write) in more for end in (read, write)]
    process = subprocess.Popen(
        [sys.executable, "-m", "gateway.onepass.worker", *map(str, theirs)],
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
