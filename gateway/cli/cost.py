"""`tunegate cost …`: the price book."""

from __future__ import annotations

from typing import Annotated

import typer

from gateway.cli import views
from gateway.cli.console import AsOf, JsonFlag, gateway_of, out, parse_day, print_json

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
