"""How a crew's processes are spoken to: frames over pipes, a batch of lines out, JSON back.

A frame is eight bytes of length and as many of content. A batch is a JSON head (`file`, `numbers`, `sizes`)
on one line, and the lines one after the other.
"""

from __future__ import annotations

import struct
from contextlib import suppress
from typing import IO, Any, NamedTuple

import orjson

from gateway.crew.batching import Batch

_LENGTH = struct.Struct(">Q")


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
