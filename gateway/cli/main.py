"""`tunegate`: the commands, and what becomes of an error."""

from __future__ import annotations

import errno
import os
import sys
import traceback
import warnings
from contextlib import suppress
from pathlib import Path
from typing import Annotated

import typer

from gateway.cli import (
    advise,
    approvals,
    backends,
    chat,
    cost,
    data,
    init,
    jobs,
    keys,
    later,
    models,
    plan,
    policy,
    records,
    sandbox,
    spec,
)
from gateway.cli.console import Context, err
from gateway.core.errors import TunegateError
from gateway.core.process import no_core_dumps

EXIT_INTERRUPTED = 130
EXIT_BUG = 70
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO)

app = typer.Typer(
    name="tunegate",
    help="One fine-tuning spec, every place that could run it: judged, priced, gated, trained once.",
    no_args_is_help=True,
    add_completion=True,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,  # a traceback could show values; see `main`
    epilog="Start with [bold]tunegate init[/bold], then [bold]tunegate plan job.yaml[/bold].",
)
for module in (init, advise, plan, spec, sandbox):
    module.register(app)
for name, group in {
    "jobs": jobs.app,
    "data": data.app,
    "models": models.app,
    "policy": policy.app,
    "cost": cost.app,
    "records": records.app,
    "backends": backends.app,
}.items():
    app.add_typer(group, name=name)
records.app.add_typer(keys.app, name="key")
approvals.register(jobs.app)
chat.register(jobs.app)
later.register(app)


def _version(asked: bool) -> None:
    if asked:
        from gateway import __version__

        typer.echo(f"tunegate {__version__}")
        raise typer.Exit


@app.callback()
def root(
    context: typer.Context,
    config: Annotated[
        Path | None, typer.Option(help="settings file; default: tunegate.toml, found upwards", metavar="FILE")
    ] = None,
    home: Annotated[
        Path | None, typer.Option(help="state, keys and caches; default: $TUNEGATE_HOME", metavar="FOLDER")
    ] = None,
    version: Annotated[
        bool,
        typer.Option("--version", help="print the version and stop", callback=_version, is_eager=True),
    ] = False,
) -> None:
    context.obj = Context(config=config, home=home)


def main() -> int:
    """Run a command and turn its end into an exit code.

    An error raised on purpose prints what happened, where and what to do next. Anything else is a
    bug: its place is printed, its values are not, since they may be somebody's data.
    """
    no_core_dumps()
    if not sys.warnoptions:
        warnings.simplefilter("ignore")  # libraries warn their own developers; `-W` brings them back
    try:
        code = app(standalone_mode=False)
        sys.stdout.flush()  # what cannot be written is said here, not at the interpreter's end
    except TunegateError as error:
        err.print(f"[red]error:[/red] {_escaped(str(error))}", highlight=False, soft_wrap=True)
        return error.exit_code
    except KeyboardInterrupt:
        return EXIT_INTERRUPTED
    except BrokenPipeError:
        _drop_output()
        return 0
    except typer.Abort:
        return EXIT_INTERRUPTED
    except Exception as error:
        return _unexpected(error)
    return code if isinstance(code, int) else 0


def _unexpected(error: Exception) -> int:
    if hasattr(error, "exit_code") and hasattr(error, "format_message"):  # click's usage errors
        error.show()  # pyright: ignore[reportAttributeAccessIssue, reportUnknownMemberType]
        return 2
    if isinstance(error, OSError) and error.errno in _FULL:  # files of ours have errors of their own
        _drop_output()
        text = f"what was printed is not all there: {os.strerror(error.errno or 0)}"
        fix = "make room where the output goes; what runs goes on"
        err.print(f"[red]error:[/red] {text}\n  → {fix}", highlight=False, soft_wrap=True)
        return 2
    _report_bug(error)
    return EXIT_BUG


def _drop_output() -> None:
    """What is still to be printed goes nowhere, so that the interpreter does not try it again at its end."""
    with suppress(OSError):  # not a file, where somebody else catches what is printed
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _report_bug(error: Exception) -> None:
    frames = traceback.extract_tb(error.__traceback__)
    err.print(f"[red]bug:[/red] {type(error).__name__}; this should not happen. Where:", highlight=False)
    for frame in frames[-8:]:
        err.print(f"  {frame.filename}:{frame.lineno} in {frame.name}", highlight=False, soft_wrap=True)
    err.print("Please report these lines; they hold none of your data.", highlight=False)


def _escaped(text: str) -> str:
    return text.replace("[", r"\[")
