"""`tunegate backends …`: what could run a job, what is known of it, and what is missing."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Annotated, Any

import typer

from gateway.cli import views
from gateway.cli.console import JsonFlag, gateway_of, out, print_json

app = typer.Typer(help="backends: list them, their facts, and what is missing", no_args_is_help=True)

Name = Annotated[str | None, typer.Argument(help="only this backend", metavar="BACKEND")]


@app.command("list")
def list_backends(context: typer.Context, as_json: JsonFlag = False) -> None:
    """Every registered backend.

    Example: tunegate backends list
    """
    rows = gateway_of(context).backends.list()
    if as_json:
        print_json(rows)
        return
    columns = ("name", "title", "kind", "models", "dispatch", "installed")
    views.table(out, columns, ([row[column] for column in columns] for row in rows))


@app.command("facts")
def facts(context: typer.Context, backend: Name = None, as_json: JsonFlag = False) -> None:
    """Everything stated about a backend, each with source, age and confidence.

    Example: tunegate backends facts bedrock
    """
    rows = gateway_of(context).backends.facts(backend)
    if as_json:
        print_json(rows)
        return
    columns = ("backend", "fact", "about", "statement", "age_days", "confidence", "source")
    views.table(out, columns, ([row[column] for column in columns] for row in rows))


@app.command("doctor")
def doctor(
    context: typer.Context,
    backend: Name = None,
    as_json: JsonFlag = False,
    live: Annotated[
        bool, typer.Option("--live", help="ask the backends too: credential, account, role, bucket")
    ] = False,
) -> None:
    """What is missing to use a backend, and how to get it. Shows no secret. Exit 1 when something is.

    Examples:
      tunegate backends doctor local
      tunegate backends doctor bedrock --live
    """
    rows = gateway_of(context).backends.doctor(backend, live=live)
    if as_json:
        print_json(rows)
    else:
        columns = ("backend", "check", "state", "fix")
        views.table(out, columns, ([row[column] for column in columns] for row in _told_once(rows)))
    raise typer.Exit(1 if any(row["state"] in ("missing", "broken") for row in rows) else 0)


def _told_once(rows: Iterable[Mapping[str, Any]]) -> Iterator[Mapping[str, Any]]:
    """How to write an attestation down takes a long sentence: the first has it, the others what differs."""
    told = False
    for row in rows:
        kind = row["check"].removeprefix("attestation ")
        again = told and row["fix"] and kind != row["check"]
        told = told or bool(row["fix"] and kind != row["check"])
        yield {**row, "fix": f'likewise: kind = "{kind}", backend = "{row["backend"]}"'} if again else row
