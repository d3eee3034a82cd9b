"""`tunegate init`: a spec and settings to start from."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from gateway.cli.console import err, gateway_of, hint


def register(app: typer.Typer) -> None:
    app.command("init")(init)


def init(
    context: typer.Context,
    data: Annotated[str | None, typer.Option(help="the file with your rows", metavar="FILE")] = None,
    model: Annotated[
        str | None, typer.Option(help="base model, or a list with commas", metavar="MODEL")
    ] = None,
    prompt: Annotated[
        str | None, typer.Option(help="column with the input, for tables", metavar="COLUMN")
    ] = None,
    completion: Annotated[
        str | None, typer.Option(help="column with the answer, for tables", metavar="COLUMN")
    ] = None,
    data_class: Annotated[
        str | None,
        typer.Option("--class", help="public, internal, confidential, pii or phi (default)", metavar="CLASS"),
    ] = None,
    to: Annotated[Path, typer.Option(help="where to write", metavar="FOLDER")] = Path(),
    force: Annotated[bool, typer.Option("--force", help="replace what is there")] = False,
) -> None:
    """Write job.yaml and tunegate.toml to start from: asked on a terminal, or by flags.

    Examples:
      tunegate init
      tunegate init --data notes.csv --prompt dialogue --completion summary --class phi
    """
    asking = err.is_terminal and data is None
    if asking:
        data = _ask("File with your rows (jsonl, csv, parquet)", None)
    starter = gateway_of(context).starter(
        data=data or "data.jsonl",
        model=model,
        prompt=prompt,
        completion=completion,
        data_class=data_class,
        folder=to,
    )
    if asking and starter.columns and not (prompt and completion):
        err.print(f"columns found: {', '.join(starter.columns)}", highlight=False, markup=False)
        starter = starter.with_columns(
            _ask("Column with the input", starter.prompt), _ask("Column with the answer", starter.completion)
        )
    for path in starter.write(force=force):
        typer.echo(str(path))
    hint(f"next: tunegate plan {to / 'job.yaml'}")


def _ask(question: str, default: str | None) -> str:
    answer: str = typer.prompt(question, default=default, err=True)
    return answer
