"""`tunegate records key …`: the keys that sign, new ones, and one after another."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from gateway.cli.console import JsonFlag, ask_new_passphrase, err, gateway_of, hint, out, print_json

app = typer.Typer(help="keys that sign: show, make, replace", no_args_is_help=True)

Plain = Annotated[
    bool, typer.Option("--no-passphrase", help="the new key's file is protected by its mode alone")
]


@app.command("show")
def show(context: typer.Context, as_json: JsonFlag = False) -> None:
    """The key that signs records here: its id and public half.

    Example: tunegate records key show
    """
    shown = gateway_of(context).keys.show()
    if as_json:
        print_json(shown)
        return
    out.print(f"{shown['id']}  {shown['where']}", highlight=False, markup=False, soft_wrap=True)
    out.print(shown["public_pem"], highlight=False, markup=False, end="")


@app.command("new")
def new(
    context: typer.Context,
    file: Annotated[Path, typer.Argument(help="file to write: the private half", metavar="FILE")],
    plain: Plain = False,
    as_json: JsonFlag = False,
) -> None:
    """Make a key pair for an officer or approver: FILE, and the public half beside it (`.pub`).

    The passphrase is asked, or taken from $TUNEGATE_PASSPHRASE; `passphrase_env`, under `signing` in
    tunegate.toml, names another variable.

    Example: tunegate records key new officer.pem
    """
    gateway = gateway_of(context)
    made = gateway.keys.new(file, passphrase=None if plain else ask_new_passphrase)
    if as_json:
        print_json(made)
        return
    err.print(f"{made['id']}", highlight=False)
    hint(f"keep {made['where']} to yourself; {made['public']} is for everybody")


@app.command("rotate")
def rotate(
    context: typer.Context,
    why: Annotated[str, typer.Option(help="in a few words; recorded", metavar="TEXT")] = "rotation",
    to: Annotated[
        str | None, typer.Option(help="the next key, where the settings name the present one", metavar="KEY")
    ] = None,
    with_passphrase: Annotated[
        bool, typer.Option("--passphrase", help="the new key's file is encrypted")
    ] = False,
    as_json: JsonFlag = False,
) -> None:
    """Retire the key that signs records: its last record names the next one. Old records still verify.

    Example: tunegate records key rotate --why "yearly"
    """
    gateway = gateway_of(context)
    done = gateway.keys.rotate(why=why, to=to, passphrase=ask_new_passphrase if with_passphrase else None)
    if as_json:
        print_json(done)
        return
    err.print(
        f"{done['retired'][:12]}… is retired; {done['successor'][:12]}… signs from now on", highlight=False
    )
    if to is not None:
        hint(f'now let the settings name it: [signing] key = "{to}"')
