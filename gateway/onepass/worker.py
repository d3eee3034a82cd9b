"""A reading process: batches of lines in, what its observers saw out. See `crew` for the form."""

from __future__ import annotations

import gc
import os
import sys
from collections.abc import Sequence

import orjson

from gateway.onepass.crew import Line, read_frame, unpack, write_frame
from gateway.onepass.work import Reader, Scans, Shared, Task, observers
from gateway.privacy import Scanner


def main(ends: Sequence[str]) -> None:
    """Args: file descriptors, two for each further process to become: where it reads, where it writes."""
    pairs = [(0, 1), *zip(map(int, ends[::2]), map(int, ends[1::2]), strict=True)]
    # Not `sys.stdin`: closing that leaves the descriptor open, and the other side would wait forever.
    lines = [Line(open(write, "wb"), open(read, "rb")) for read, write in pairs]  # noqa: PTH123, SIM115
    told = read_frame(lines[0].receive)
    if told is None:
        return
    task = Task.model_validate_json(told)
    dataset = task.dataset()
    seers = observers(task, dataset)
    write_frame(lines[0].send, orjson.dumps(_hello(task, seers)))
    reader, line = Reader(dataset, seers), _one_of(lines)
    while (content := read_frame(line.receive)) is not None:
        try:
            reader.read(unpack(content))
            answer: object = [seer.hand_over() for seer in seers]
        except Exception as error:  # its text may quote data
            answer = type(error).__name__
        write_frame(line.send, orjson.dumps(answer))


def _hello(task: Task, seers: Sequence[Shared]) -> list[object]:
    """What stands beside the rows, as if it had been a batch."""
    for seer in seers:
        if isinstance(seer, Scans):
            seer.scanner = Scanner(beside=task.beside)
    return [seer.hand_over() for seer in seers]


def _one_of(lines: Sequence[Line]) -> Line:
    """Become as many processes as there are lines, and take one's own; the others' ends are closed, so
    that each ends with its own. What is loaded stays where it is: the collector is told not to touch it."""
    gc.freeze()
    mine = next((line for line in lines[1:] if os.fork() == 0), lines[0])
    for line in lines:
        if line is not mine:
            line.close()
    return mine


if __name__ == "__main__":
    main(sys.argv[1:])
