"""`data scan`: one JSON object whose findings are written as they are found; findings in context."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Any

import typer
from rich.text import Text

from gateway import Gateway, JobSpec, SpecError
from gateway.cli.console import out
from gateway.core.rows import Finding

_AGREED = "show it"
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


def print_as_found(gateway: Gateway, spec: JobSpec, *, every: bool, ner: Path | None) -> None:
    """Findings first, a line each, since a file may hold millions; then what they add up to."""
    started, stream = time.monotonic(), _Stream()
    summary, size = gateway.data.scan(spec, on_finding=stream.finding, every=every, ner=ner)
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


def show_in_context(gateway: Gateway, spec: JobSpec, *, unmask: bool, ner: Path | None) -> None:
    """Findings with the text around them, for eyes alone: never into a pipe, a file or a log.

    What was found is masked, unless somebody types that they want to see it.
    """
    if not (out.is_terminal and sys.stdin.isatty()):
        raise SpecError(
            "text of the data is shown on a terminal only",
            place="--show-context",
            fix="leave it out: types, places and counts need no terminal; or use --report FILE.html",
        )
    if unmask and typer.prompt(f"This shows what identifies people. Type {_AGREED!r} to go on") != _AGREED:
        raise typer.Abort
    for shown in gateway.data.in_context(spec, ner=ner):
        found = shown.finding
        out.rule(f"line {found.line} · {found.field} · {found.type} {found.confidence:.2f}", align="left")
        out.print(Text.assemble(*(_styled(text, kind, unmask=unmask) for text, kind in shown.pieces)))


def _styled(text: str, kind: str | None, *, unmask: bool) -> tuple[str, str]:
    text = "".join(char if char.isprintable() or char == "\n" else "·" for char in text)  # no terminal codes
    if kind is None:
        return text, ""
    return (text if unmask else f"[{kind}]"), "black on yellow"


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
