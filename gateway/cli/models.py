"""`tunegate models …`: base models for the local runner."""

from __future__ import annotations

from typing import Annotated

import typer

from gateway.cli import views
from gateway.cli.console import JsonFlag, err, gateway_of, out, print_json

app = typer.Typer(help="models: which can be tuned where, and bring one here", no_args_is_help=True)


@app.command("list")
def list_models(context: typer.Context, as_json: JsonFlag = False) -> None:
    """Every model a registered backend can tune, by the name a spec uses.

    Example: tunegate models list
    """
    rows = gateway_of(context).models.list()
    if as_json:
        print_json(
            [{"name": name, "backend": backend, "id": id, "here": here} for name, backend, id, here in rows]
        )
        return
    views.table(out, ("model", "backend", "provider's id", "here"), rows)


@app.command("fetch")
def fetch(
    context: typer.Context,
    model: Annotated[str, typer.Argument(help="a name or a Hugging Face id", metavar="MODEL")],
) -> None:
    """Bring a base model here (safetensors only), for local runs without network.

    Example: tunegate models fetch Qwen/Qwen3-0.6B
    """
    err.print(f"fetching {model} …", highlight=False)
    typer.echo(str(gateway_of(context).models.fetch(model)))
