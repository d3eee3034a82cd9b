"""`tunegate records …`: the signed account of what was decided and done."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from gateway.cli import views
from gateway.cli.console import JsonFlag, err, gateway_of, hint, out, print_json

app = typer.Typer(help="records: verify, show and export the signed account", no_args_is_help=True)


@app.command("verify")
def verify(
    context: typer.Context,
    head: Annotated[
        str | None, typer.Option(help="a head exported earlier, `SEQ:SHA256`: shows a cut tail")
    ] = None,
    as_json: JsonFlag = False,
) -> None:
    """Check every signature and the chain. Exit 1 when a record was edited, removed or reordered.

    Without --head, prints the head as it is now, to be kept elsewhere.

    Example: tunegate records verify
    """
    report = gateway_of(context).records.verify(head)
    if as_json:
        print_json(report.to_json())
    else:
        for problem in report.problems:
            out.print(str(problem), markup=False, highlight=False, soft_wrap=True)
        err.print(f"{report.records} records, {'all verify' if report.ok else 'NOT intact'}", highlight=False)
        if report.ok and report.head and not report.anchored:
            typer.echo(str(report.head))
            hint("a cut tail shows only against a head that was kept elsewhere: `--head SEQ:SHA256`")
    raise typer.Exit(0 if report.ok else 1)


@app.command("show")
def show(
    context: typer.Context,
    sequence: Annotated[int | None, typer.Argument(help="one record's number", metavar="SEQ")] = None,
) -> None:
    """List the records, or print one.

    Example: tunegate records show 3
    """
    records = gateway_of(context).records
    if sequence is not None:
        print_json(records.show(sequence))
        return
    views.table(out, ("seq", "at (UTC)", "kind", "subjects"), records.list())


@app.command("export")
def export(
    context: typer.Context,
    to: Annotated[Path, typer.Argument(help="file to write, JSON Lines", metavar="FILE")],
) -> None:
    """Write every envelope as JSON Lines, and print the head to anchor elsewhere.

    Example: tunegate records export records.jsonl
    """
    typer.echo(gateway_of(context).records.export(to))
