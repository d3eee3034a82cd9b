"""Where output goes: data to stdout, progress and hints to stderr; and what every command shares."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date, datetime
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from gateway import Gateway, SpecError

out = Console()
err = Console(stderr=True)

JsonFlag = Annotated[bool, typer.Option("--json", help="print stable, versioned JSON on stdout")]
AsOf = Annotated[
    str | None, typer.Option("--as-of", help="judge as if today were this day", metavar="YYYY-MM-DD")
]


@dataclass
class Context:
    """What the root command was told; opens the gateway when a command needs it."""

    config: Path | None = None
    home: Path | None = None

    @cached_property
    def gateway(self) -> Gateway:
        return Gateway(config=self.config, home=self.home, passphrase=ask_passphrase)


def gateway_of(context: typer.Context) -> Gateway:
    told = context.find_object(Context)
    assert told is not None, "the root command makes it"  # noqa: S101
    return told.gateway


def print_json(value: Mapping[str, Any] | list[Any]) -> None:
    """JSON alone on stdout: no colour, no wrapping."""
    typer.echo(json.dumps(value, indent=2, ensure_ascii=False))


def hint(text: str) -> None:
    err.print(f"[dim]{text}[/dim]", highlight=False, soft_wrap=True)


def confirm(question: str, *, yes: bool) -> None:
    """Ask before something costs money or cannot be undone; without a terminal, `--yes` must say it."""
    if yes:
        return
    if not err.is_terminal:
        raise SpecError(f"nobody is here to ask: {question}", fix="add --yes to agree")
    if not typer.confirm(question, err=True):
        raise typer.Abort


def ask_passphrase(place: str) -> str | None:
    """The passphrase of an existing key; None where nobody is here to be asked."""
    if not (err.is_terminal and sys.stdin.isatty()):
        return None
    return typer.prompt(f"passphrase of {place}", hide_input=True, err=True)


def ask_new_passphrase(place: str) -> str | None:
    """A passphrase for a new key, typed twice; None where nobody is here to be asked."""
    if not (err.is_terminal and sys.stdin.isatty()):
        return None
    return typer.prompt(f"a passphrase for {place}", hide_input=True, confirmation_prompt=True, err=True)


def parse_day(text: str | None, option: str = "--as-of") -> date | None:
    if text is None:
        return None
    try:
        return datetime.strptime(text, "%Y-%m-%d").date()  # noqa: DTZ007 - a day has no zone
    except ValueError:
        raise SpecError(f"{text!r} is not a day", place=option, fix="write it as 2026-11-22") from None


@contextmanager
def working(title: str) -> Generator[Callable[[int, int], None]]:
    """A bar on stderr for work whose size is known in bytes or steps; silent without a terminal."""
    columns = (SpinnerColumn(), TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn())
    with Progress(*columns, console=err, transient=True, disable=not err.is_terminal) as bar:
        task = bar.add_task(title, total=None)

        def update(done: int, total: int) -> None:
            bar.update(task, completed=done, total=total or None)

        yield update
