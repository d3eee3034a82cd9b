"""`tunegate jobs approve`: somebody named agrees to exactly one job."""

from __future__ import annotations

from typing import Annotated

import typer

from gateway import JobHandle
from gateway.cli.console import JsonFlag, confirm, err, gateway_of, hint, out, print_json


def register(app: typer.Typer) -> None:
    app.command("approve")(approve)


def approve(
    context: typer.Context,
    job: Annotated[str, typer.Argument(help="the job's id", metavar="JOB", show_default=False)],
    name: Annotated[
        str,
        typer.Option(
            "--as",
            help="who approves, as the trust bundle or tunegate.toml names them",
            metavar="NAME",
            show_default=False,
        ),
    ],
    key: Annotated[
        str,
        typer.Option(
            help="their private key: a file, env:VARIABLE or signer:NAME:ARGUMENT",
            metavar="KEY",
            show_default=False,
        ),
    ],
    yes: Annotated[bool, typer.Option("--yes", "-y", help="sign without asking")] = False,
    as_json: JsonFlag = False,
) -> None:
    """Sign a job that waits for an approval: its spec, data, policies and requests, byte for byte.

    Nobody approves a job they asked for, and a changed byte voids the approval.

    Example: tunegate jobs approve job_01j… --as alice --key alice.pem
    """
    found = gateway_of(context).jobs.get(job)
    for part, value in found.terms(name).items():
        told = value if isinstance(value, str) else ", ".join(dict.fromkeys(value))
        err.print(f"{part}: {told}", highlight=False, markup=False, soft_wrap=True)
    confirm(f"Approve {found.id} ({found.name}) as {name}?", yes=yes)
    found.approve(name, key)
    if as_json:
        print_json(found.to_json())
        return
    err.print(f"{found.id}  approved by {name}", highlight=False)
    tell_waiting(found)
    if not found.awaiting:
        hint(f"it goes on with `tunegate jobs work --job {found.id}`, or with whoever works on jobs")


def tell_waiting(job: JobHandle) -> None:
    """What a job that waits for approvals waits for, and how one is given; nothing where it does not."""
    if not job.awaiting:
        return
    err.print(
        f"{job.id}  waits for the approval of {' and '.join(job.awaiting)}; nothing has left", highlight=False
    )
    hint(f"to approve it: tunegate jobs approve {job.id} --as NAME --key KEY")


def tell_given(job: JobHandle) -> None:
    """Every approval that was given, and why one does not count."""
    for given in job.approvals():
        void = f"; it does not count: {given.void}" if given.void else ""
        at = given.at.strftime("%Y-%m-%d %H:%M")
        out.print(f"approved by {given.name} on {at} (UTC){void}", highlight=False, markup=False)
