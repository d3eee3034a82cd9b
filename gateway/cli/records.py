"""`tunegate records …`: the signed account of what was decided and done."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from gateway.cli import views
from gateway.cli.console import JsonFlag, confirm, err, gateway_of, hint, out, parse_day, print_json

app = typer.Typer(help="records: verify, show and export the signed account", no_args_is_help=True)


@app.command("verify")
def verify(
    context: typer.Context,
    export: Annotated[
        Path | None,
        typer.Argument(help="an export, from any machine; default: this home's account", metavar="EXPORT"),
    ] = None,
    against: Annotated[
        str | None, typer.Option(help="a head kept elsewhere: shows a cut tail", metavar="SEQ:SHA256")
    ] = None,
    key: Annotated[
        list[str] | None,
        typer.Option(
            help="believe this key alone, and those it named: its id, or a file with its public half",
            metavar="KEY",
        ),
    ] = None,
    as_json: JsonFlag = False,
) -> None:
    """Check every signature and the chain. Exit 1 when a record was edited, removed, reordered or cut off.

    Without --against, prints the head as it is now, to be kept elsewhere.

    Example: tunegate records verify
    """
    report = gateway_of(context).records.verify(export, against=against, keys=key or ())
    if as_json:
        print_json(report.to_json())
        raise typer.Exit(0 if report.ok else 1)
    for problem in report.problems:
        out.print(str(problem), markup=False, highlight=False, soft_wrap=True)
    for note in report.notes:
        hint(f"note: {note}")
    err.print(f"{report.records} records, {'all verify' if report.ok else 'NOT intact'}", highlight=False)
    if report.ok and report.head and not report.anchored:
        typer.echo(str(report.head))
        hint("a cut tail shows only against a head that was kept elsewhere: `--against SEQ:SHA256`")
    if export is not None and not key:
        hint("an export vouches for itself: `--key ID` says whose it must be")
    raise typer.Exit(0 if report.ok else 1)


@app.command("head")
def head(context: typer.Context) -> None:
    """Print the last record's number and hash, to be kept where nobody here can change it.

    Example: tunegate records head
    """
    records = gateway_of(context).records
    found = records.head()
    if not found:
        hint("there is no record yet")
        return
    key = records.show(int(found.partition(":")[0]))["key_id"]
    typer.echo(found)
    hint(f"signed with key {key}: keep its id, too, for `tunegate records verify --key`")


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
    views.table(
        out,
        ("seq", "at (UTC)", "kind", "subjects"),
        ((number, at[:19].replace("T", " "), *rest) for number, at, *rest in records.list()),
    )


@app.command("export")
def export(
    context: typer.Context,
    to: Annotated[
        Path,
        typer.Option("--out", help="file to write: .zip, or .jsonl for the records alone", metavar="FILE"),
    ],
    start: Annotated[
        str | None, typer.Option("--from", help="first day of the summary", metavar="YYYY-MM-DD")
    ] = None,
    end: Annotated[
        str | None, typer.Option("--to", help="last day of the summary", metavar="YYYY-MM-DD")
    ] = None,
    data_class: Annotated[
        str | None, typer.Option("--class", help="summarise datasets of this class alone", metavar="CLASS")
    ] = None,
) -> None:
    """Write the account, a summary of a period and what an auditor needs to check it on another machine.
    Prints the head, to be kept apart from it.

    Example: tunegate records export --from 2026-07-01 --to 2026-09-30 --class phi --out q3.zip
    """
    first, last = parse_day(start, "--from"), parse_day(end, "--to")
    records = gateway_of(context).records
    typer.echo(records.export(to, start=first, end=last, data_class=data_class))
    hint("keep this head apart from the file: it shows a tail that was cut")


@app.command("prune")
def prune(
    context: typer.Context,
    before: Annotated[
        str | None, typer.Option(help="an earlier day than the settings' `keep_years`", metavar="YYYY-MM-DD")
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="remove without asking")] = False,
) -> None:
    """Remove records older than they must be kept. A signed record stays in their stead, so that the
    account still verifies; nothing younger is ever removed.

    Example: tunegate records prune
    """
    records, day = gateway_of(context).records, parse_day(before, "--before")
    number = records.prunable(day)
    if not number:
        hint("no record is old enough to be removed")
        return
    confirm(f"Remove {number} records for good?", yes=yes)
    typer.echo(f"{records.prune(day)} records removed")
