"""`tunegate sandbox`: local stand-ins for the managed backends, to rehearse without an account."""

from __future__ import annotations

import shlex
import signal
import sys
import threading
from collections.abc import Mapping
from pathlib import Path
from types import FrameType
from typing import Annotated

import typer

from gateway import Sandbox
from gateway.cli.console import gateway_of, hint

ALWAYS = 1_000_000_000
SIGNALLED = 128  # what shells add to the number of the signal that ended a command


def register(app: typer.Typer) -> None:
    app.command("sandbox")(sandbox)


def sandbox(
    context: typer.Context,
    command: Annotated[
        list[str] | None,
        typer.Argument(
            help="a command to run in it, after `--`", metavar="[-- COMMAND...]", show_default=False
        ),
    ] = None,
    port: Annotated[int, typer.Option(help="where it listens on 127.0.0.1; 0 takes a free one")] = 4141,
    folder: Annotated[
        Path | None, typer.Option(help="where it keeps its state; default: in the home folder", metavar="DIR")
    ] = None,
    only: Annotated[
        str | None, typer.Option(help="these backends alone, with commas between", metavar="NAMES")
    ] = None,
    pace: Annotated[
        str, typer.Option(help="how long a job lives: fast, calm, or seconds", metavar="PACE")
    ] = "calm",
    fail: Annotated[bool, typer.Option("--fail", help="training breaks off half-way")] = False,
    reject_file: Annotated[
        bool, typer.Option("--reject-file", help="datasets are refused while they are validated")
    ] = False,
    throttle: Annotated[int, typer.Option(help="answer so many requests with `slow down`")] = 0,
    slow: Annotated[float, typer.Option(help="take so many seconds longer for every answer")] = 0.0,
    lose_reply: Annotated[
        int, typer.Option(help="do what so many creating requests ask, and reset before answering")
    ] = 0,
    crash: Annotated[
        str | None,
        typer.Option(help="die once this operation is done, without an answer", metavar="NAME"),
    ] = None,
) -> None:
    """Stand-ins for the managed backends over real HTTP on this machine. Nothing is trained or billed.

    Prints the variables that point the vendors' SDKs here, and runs until Ctrl-C; or runs one command
    with them set, and ends with its exit code.

    Examples:
      tunegate sandbox
      tunegate sandbox --pace fast -- tunegate run job.yaml --yes
      tunegate sandbox --only openai --lose-reply 1 --throttle 5
      tunegate sandbox --crash 'bedrock.CreateModelCustomizationJob'
    """
    faults: list[Mapping[str, object]] = [
        {"kind": "throttle", "times": throttle},
        {"kind": "slow", "times": ALWAYS if slow else 0, "seconds": slow},
        {"kind": "lose_reply", "times": lose_reply, "operation": "*[cC]reate*"},
        {"kind": "crash_after", "times": 1 if crash else 0, "operation": crash or ""},
    ]
    box = Sandbox(
        only=[name.strip() for name in only.split(",")] if only else (),
        folder=folder or gateway_of(context).settings.home / "sandbox",
        port=port,
        pace=pace,
        fail=fail,
        reject_file=reject_file,
        faults=faults,
    )
    with box:
        hint(f"a sandbox for {', '.join(box.names)} listens at {box.address}: a rehearsal, nothing is billed")
        if command:
            raise typer.Exit(_run(command, box))
        done = _end_on_signal()
        _say(box)
        while not done.wait(1.0):
            pass
    hint("the sandbox has ended; its state is kept, and the next one goes on with it")


def _say(box: Sandbox) -> None:
    for name, value in sorted(box.environment.items()):
        typer.echo(f"export {name}={shlex.quote(value)}")
    sys.stdout.flush()
    hint("set these where you run `tunegate`, or run one command in it: `tunegate sandbox -- COMMAND`")
    hint("what plans there still ask for, agreements too: `tunegate backends doctor BACKEND`")
    hint("Ctrl-C ends it")


def _run(command: list[str], box: Sandbox) -> int:
    """A command's exit code, as a shell tells it. Ctrl-C is the command's to answer: we end after it.
    A handler of ours is not handed on to it, as ignoring would be."""
    before = signal.signal(signal.SIGINT, _nothing)
    try:
        code = box.run(command)
    finally:
        signal.signal(signal.SIGINT, before)
    return code if code >= 0 else SIGNALLED - code


def _end_on_signal() -> threading.Event:
    """Set once somebody ends this command: with Ctrl-C, or as a service manager does."""
    done = threading.Event()

    def end(_number: int, _frame: FrameType | None) -> None:
        done.set()

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, end)
    return done


def _nothing(_number: int, _frame: FrameType | None) -> None:
    """Let the command decide what an interruption means."""
