"""`tunegate cost …`: the price book, what this machine takes, and what fits where."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from gateway.cli import fitting, views
from gateway.cli.console import AsOf, JsonFlag, gateway_of, hint, out, parse_day, print_json, working

app = typer.Typer(help="cost: prices, this machine's speed, and what fits where", no_args_is_help=True)


@app.callback()
def root() -> None:
    """Prices with their sources; measurements of this machine; how far estimates were off."""


@app.command("prices")
def prices(
    context: typer.Context,
    backend: Annotated[str | None, typer.Argument(help="only this backend", metavar="BACKEND")] = None,
    as_json: JsonFlag = False,
    as_of: AsOf = None,
    live: Annotated[
        bool, typer.Option("--live", help="read the public lists of AWS and Azure; uses the network")
    ] = False,
) -> None:
    """Every price in the book: value, unit, age, confidence, source.

    With --live, what providers publish today, beside the book's. It is kept with its date, and plans
    use it where it is newer than the book if `tunegate.toml` says `live_prices = true`.

    Examples:
      tunegate cost prices vertex
      tunegate cost prices --live
    """
    if live:
        _live(context, backend, as_json)
        return
    lines = gateway_of(context).costs.prices(backend, as_of=parse_day(as_of))
    if as_json:
        print_json(lines)
        return
    fitting.prices(out, lines)


def _live(context: typer.Context, backend: str | None, as_json: bool) -> None:
    with working("reading the price lists"):
        read = gateway_of(context).costs.live()
    if as_json:
        print_json(read.to_json())
        return
    columns = ("backend", "item", "model", "region", "offer", "live", "book", "difference", "unit")
    rows = ([row[column] for column in columns] for row in read.rows if backend in (None, row["backend"]))
    views.table(out, columns, rows)
    for note in read.notes:
        hint(note)
    told = "plans use these where they are newer than the book's"
    hint(
        told if read.used else "plans use the book; `live_prices = true` in tunegate.toml lets them use these"
    )


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


@app.command("probe")
def probe(
    context: typer.Context,
    spec: Annotated[
        Path | None, typer.Argument(help="the job to measure with; default: made rows", metavar="SPEC")
    ] = None,
    steps: Annotated[int, typer.Option(min=4, max=200, help="real steps to take")] = 20,
    as_json: JsonFlag = False,
) -> None:
    """Take some real steps on this machine and keep what they took, for the next plans. Trains nothing.

    Examples:
      tunegate cost probe job.yaml
      tunegate cost probe --json
    """
    costs = gateway_of(context).costs
    with working("making ready, then measuring") as update:
        probed = costs.probe(spec, steps=steps, on_progress=update)
    if as_json:
        print_json(probed.to_json())
    else:
        fitting.probed(out, probed.to_json())


@app.command("fit")
def fit(
    context: typer.Context,
    spec: Annotated[Path, typer.Argument(help="the job spec, YAML", metavar="SPEC", show_default=False)],
    as_json: JsonFlag = False,
) -> None:
    """What fits where: every method on this machine and on every GPU in the catalogue.

    Example: tunegate cost fit job.yaml
    """
    with working("reading the data"):
        found = gateway_of(context).costs.fits(spec)
    rows = [each.to_json() for each in found]
    if as_json:
        print_json(rows)
    else:
        fitting.fits(out, rows)
