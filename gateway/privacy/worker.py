"""A scanning process: reads batches of lines from its input, writes what it found to its output.

Started by `workers`, with our own interpreter and nothing of the caller's program. A frame is eight bytes
of length and as many of content. A batch is a JSON head (`file`, `floor`, `lines`: their numbers) on one
line, and the lines. The answer is JSON: totals, and findings as places. No text comes back.
"""

from __future__ import annotations

import struct
import sys
from typing import IO, Any

import orjson

from gateway.core.rows import Finding
from gateway.data.lines import parse_object
from gateway.data.reasons import RowProblem
from gateway.privacy.scanner import Scanner
from gateway.privacy.totals import to_json

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


def scan_batch(content: bytes) -> dict[str, Any]:
    """What one batch holds; see the module's text for its form."""
    head, _, body = content.partition(b"\n")
    told: dict[str, Any] = orjson.loads(head)
    found: list[Finding] = []
    floor: float | None = told["floor"]
    scanner = Scanner() if floor is None else Scanner(on_finding=found.append, floor=floor)
    for number, line in zip(told["lines"], body.split(b"\n")[:-1], strict=True):
        try:
            raw: dict[str, Any] | None = parse_object(line)
        except RowProblem:
            raw = None
        scanner.see_raw(raw, line=number, file=told["file"])
    totals = to_json(scanner.summary())
    places = [(f.line, f.field, f.start, f.end, f.type, f.confidence, f.file) for f in found]
    return {"totals": totals, "findings": places}


def main() -> None:
    inward, outward = sys.stdin.buffer, sys.stdout.buffer
    while (content := read_frame(inward)) is not None:
        write_frame(outward, orjson.dumps(scan_batch(content)))


if __name__ == "__main__":
    main()
