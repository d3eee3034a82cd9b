"""`tunegate data …`: look at a dataset before anything is done with it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.text import Text

from gateway import JobSpec
from gateway.cli import review, scanning, views
from gateway.cli.console import JsonFlag, err, gateway_of, hint, out, print_json, working

app = typer.Typer(help="datasets: check, show, scan, scrub, review, convert, fetch", no_args_is_help=True)

SpecFile = Annotated[
    Path, typer.Argument(help="the job spec that names the data", metavar="SPEC", show_default=False)
]


@app.command("check")
def check(context: typer.Context, spec: SpecFile, as_json: JsonFlag = False) -> None:
    """Read every row and say which cannot be used, where and why. Exit 1 when one cannot.

    Example: tunegate data check job.yaml
    """
    with working("reading") as update:
        report = gateway_of(context).data.check(JobSpec.from_yaml(spec), on_progress=update)
    if as_json:
        print_json(report.to_json())
    else:
        out.print(f"{report.used:,} of {report.rows:,} rows can be used", highlight=False)
        views.problems(out, report)
    raise typer.Exit(0 if report.ok else 1)


@app.command("show")
def show(
    context: typer.Context,
    spec: SpecFile,
    number: Annotated[int, typer.Option("-n", help="how many examples")] = 2,
    backend: Annotated[str, typer.Option(help="whose template", metavar="BACKEND")] = "local",
) -> None:
    """Examples exactly as the model will see them; the tokens it is trained on are highlighted.

    Prints data on purpose: only where you may look at it.

    Example: tunegate data show job.yaml -n 1
    """
    for line, pieces in gateway_of(context).data.show(
        JobSpec.from_yaml(spec), backend=backend, number=number
    ):
        out.rule(f"line {line}", align="left", style="dim")
        out.print(Text.assemble(*((text, "black on green" if trained else "") for text, trained in pieces)))
    hint("highlighted: the tokens the model is trained to write")


@app.command("scan")
def scan(
    context: typer.Context,
    spec: SpecFile,
    as_json: JsonFlag = False,
    every: Annotated[bool, typer.Option("--all", help="findings below the threshold too, in JSON")] = False,
    report_file: Annotated[
        Path | None,
        typer.Option("--report", help="write a page for an officer; holds no text", metavar="FILE.html"),
    ] = None,
    show_context: Annotated[
        bool, typer.Option("--show-context", help="findings with the text around them, masked; terminal only")
    ] = False,
    unmask: Annotated[bool, typer.Option("--unmask", help="with --show-context: what was found too")] = False,
    ner: Annotated[
        Path | None,
        typer.Option(help="a model that reads beside the rules; default: the settings'", metavar="FOLDER"),
    ] = None,
) -> None:
    """Look for personal and health data. Prints types, places and counts, never the text.

    Only --show-context prints text, and only to a terminal.

    Examples:
      tunegate data scan job.yaml
      tunegate data scan job.yaml --json --all
      tunegate data scan job.yaml --report scan.html
      tunegate data scan job.yaml --ner models/deid
    """
    asked = JobSpec.from_yaml(spec)
    if show_context or unmask:
        scanning.show_in_context(gateway_of(context), asked, unmask=unmask, ner=ner)
        return
    if as_json:
        scanning.print_as_found(gateway_of(context), asked, every=every, ner=ner)
        return
    with working("scanning") as update:
        if report_file is not None:
            report = gateway_of(context).data.scan_report(asked, report_file, ner=ner, on_progress=update)
        else:
            report, _ = gateway_of(context).data.scan(asked, ner=ner, on_progress=update)
    out.print(
        f"class found: [bold]{report.detected}[/bold]; "
        f"{report.flagged:,} of {report.records:,} records flagged",
        highlight=False,
    )
    views.table(out, ("type", "findings"), sorted(report.findings.items()))
    if report_file is not None:
        hint(f"wrote {report_file}")
    if not report.complete:
        err.print("part of it could not be read: all of it counts as not scanned", highlight=False)
    hint("a scan that finds nothing never lowers a class")


@app.command("convert")
def convert(
    context: typer.Context,
    spec: SpecFile,
    backend: Annotated[str, typer.Option(help="whose format", metavar="BACKEND")],
    to: Annotated[Path, typer.Option(help="folder to write into", metavar="FOLDER")],
) -> None:
    """Write the files a backend would get, without sending them.

    Example: tunegate data convert job.yaml --backend bedrock --to out/
    """
    for path, stats in gateway_of(context).data.convert(JobSpec.from_yaml(spec), backend=backend, folder=to):
        err.print(
            f"{path}: {stats.rows_out} of {stats.rows_in} rows, sha256 {stats.sha256[:12]}", highlight=False
        )


@app.command("fetch")
def fetch(
    context: typer.Context,
    url: Annotated[str, typer.Argument(help="https address of a data file", metavar="URL")],
    to: Annotated[Path, typer.Option(help="folder to put it into", metavar="FOLDER")] = Path(),
) -> None:
    """Bring a data file here. The only `data` command that uses the network.

    Example: tunegate data fetch https://example.org/notes.jsonl --to data/
    """
    with working("fetching") as update:
        path = gateway_of(context).data.fetch(url, to, on_progress=update)
    typer.echo(str(path))


review.register(app)
