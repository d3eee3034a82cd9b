"""`data scan --json`: one JSON object whose findings are written as they are found."""

from __future__ import annotations

import json
import time
from typing import Any

import typer

from gateway import Gateway, JobSpec
from gateway.core.rows import Finding

SCAN_SCHEMA = "tunegate.data-scan/1"


class _Stream:
    """Writes the object from its beginning; nothing is written before the data could be opened."""

    def __init__(self) -> None:
        self._before = f'{{"schema": "{SCAN_SCHEMA}", "findings": ['

    def finding(self, found: Finding) -> None:
        typer.echo(f"{self._before}\n{json.dumps(_shown(found))}", nl=False)
        self._before = ","

    def end(self, rest: dict[str, Any]) -> None:
        before = "" if self._before == "," else self._before
        typer.echo(f"{before}\n], {json.dumps(rest)[1:]}")


def print_as_found(gateway: Gateway, spec: JobSpec, *, every: bool) -> None:
    """Findings first, a line each, since a file may hold millions; then what they add up to."""
    started, stream = time.monotonic(), _Stream()
    summary, size = gateway.data.scan(spec, on_finding=stream.finding, every=every)
    stream.end(
        {
            "records": summary.records,
            "flagged": summary.flagged,
            "bytes": size,
            "seconds": round(time.monotonic() - started, 3),
            "class": str(summary.detected),
            "complete": summary.complete,
        }
    )


def _shown(found: Finding) -> dict[str, Any]:
    return {
        "line": found.line,
        "field": found.field,
        "start": found.start,
        "end": found.end,
        "type": found.type,
        "confidence": found.confidence,
        "file": found.file,
    }
