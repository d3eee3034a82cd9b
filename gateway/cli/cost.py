"""`tunegate cost …`: the price book."""

from __future__ import annotations

from typing import Annotated

import typer

from gateway.cli import views
from gateway.cli.console import AsOf, JsonFlag, gateway_of, hint, out, parse_day, print_json

app = typer.Typer(help="cost: the prices plans are made with", no_args_is_help=True)


@app.callback()
def root() -> None:
    """Prices, each with its source, date and confidence."""


@app.command("prices")
def prices(
    context: typer.Context,
    backend: Annotated[str | None, typer.Argument(help="only this backend", metavar="BACKEND")] = None,
    as_json: JsonFlag = False,
    as_of: AsOf = None,
) -> None:
    """Every price in the book: value, unit, age, confidence, source.

    Example: tunegate cost prices vertex
    """
    lines = gateway_of(context).costs.prices(backend, as_of=parse_day(as_of))
    if as_json:
        print_json(lines)
        return
    columns = ("backend", "item", "models", "value", "unit", "age_days", "confidence", "source")
    views.table(out, columns, ([line[column] for column in columns] for line in lines))


@app.command("accuracy")
def accuracy(
    context: typer.Context,
    as_json: JsonFlag = False,
    every: Annotated[bool, typer.Option("--all", help="one row per job")] = False,
) -> None:
    """How far estimates were off: actual over estimated cost and time, median over finished jobs.

    Example: tunegate cost accuracy
    """
    costs = gateway_of(context).costs
    backends = [each.to_json() for each in costs.accuracy()]
    jobs = [each.to_json() for each in costs.outcomes()] if as_json or every else []
    if as_json:
        print_json({"backends": backends, "jobs": jobs})
    elif rows := jobs if every else backends:
        views.table(out, list(rows[0]), (list(row.values()) for row in rows))
    else:
        hint("no finished job tells its cost or its time yet")
