"""`tunegate advise`: should this be fine-tuned at all?"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape

from gateway import JobSpec
from gateway.cli.console import JsonFlag, gateway_of, out, print_json, working

_MARKS = {
    "good": "[green]✓[/green]",
    "mind": "[yellow]![/yellow]",
    "stop": "[red]✗[/red]",
    "ask": "[cyan]?[/cyan]",
}
_COLOURS = {"worth trying": "green", "not yet": "yellow", "rather not": "red"}


def register(app: typer.Typer) -> None:
    app.command("advise")(advise)


def advise(
    context: typer.Context,
    spec: Annotated[Path, typer.Argument(help="the job spec, YAML", metavar="SPEC", show_default=False)],
    as_json: JsonFlag = False,
) -> None:
    """Whether the data and the money speak for fine-tuning: short, sourced, never in the way.

    Example: tunegate advise job.yaml
    """
    with working("reading the data") as update:
        found = gateway_of(context).advise(JobSpec.from_yaml(spec), on_progress=update)
    if as_json:
        print_json(found.to_json())
        return
    colour = _COLOURS[found.verdict]
    out.print(f"[bold {colour}]{found.verdict}[/bold {colour}], by what can be counted\n", highlight=False)
    for finding in found.findings:
        mark = f"{_MARKS[finding.level]} [bold]{finding.about}[/bold]"
        out.print(f"{mark}: {escape(finding.text)}", highlight=False)
        if finding.do:
            out.print(f"    {escape(finding.do)}", highlight=False)
        out.print(f"    [dim]{escape(finding.source)}[/dim]", highlight=False)
