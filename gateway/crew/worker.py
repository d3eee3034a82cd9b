"""A reading process: batches of lines in, what its hand saw out. See `crew` for the form."""

from __future__ import annotations

import gc
import importlib
import os
import sys
from collections.abc import Callable, Sequence

import orjson

from gateway.core.collector import no_collection
from gateway.crew.crew import Hand
from gateway.crew.wire import Line, read_frame, unpack, write_frame


def main(maker: str, ends: Sequence[str]) -> None:
    """Read until the line ends. What is loaded stays, so nobody looks for garbage in it.

    Args:
        maker: `module:function` that makes the hand of a task.
        ends: file descriptors, two for each further process to become: where it reads, where it writes.
    """
    gc.disable()
    pairs = [(0, 1), *zip(map(int, ends[::2]), map(int, ends[1::2]), strict=True)]
    # Not `sys.stdin`: closing that leaves the descriptor open, and the other side would wait forever.
    lines = [Line(open(write, "wb"), open(read, "rb")) for read, write in pairs]  # noqa: PTH123, SIM115
    module, _, name = maker.partition(":")
    make: Callable[[bytes], Hand] = getattr(importlib.import_module(module), name)
    told = read_frame(lines[0].receive)
    if told is None:
        return
    hand = make(told)
    write_frame(lines[0].send, orjson.dumps([hand.hello()]))
    line = _one_of(lines)
    while (content := read_frame(line.receive)) is not None:
        try:
            with no_collection():
                answer: object = [hand.read(unpack(content))]
        except Exception as error:  # its text may quote data
            answer = type(error).__name__
        write_frame(line.send, orjson.dumps(answer))


def _one_of(lines: Sequence[Line]) -> Line:
    """Become as many processes as there are lines, and take one's own; the others' ends are closed, so
    that each ends with its own. What is loaded stays where it is: the collector is told not to touch it."""
    gc.collect()
    gc.freeze()
    gc.enable()
    mine = next((line for line in lines[1:] if os.fork() == 0), lines[0])
    for line in lines:
        if line is not mine:
            line.close()
    return mine


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2:])
