"""`tunegate plan` and `tunegate run`: judge, choose, dispatch, follow."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from gateway import JobHandle, JobSpec, Plan
from gateway.cli import comparing, following, views
from gateway.cli.console import (
    AsOf,
    JsonFlag,
    confirm,
    err,
    gateway_of,
    hint,
    out,
    parse_day,
    print_json,
    working,
)
from gateway.core.errors import SpecError

SpecFile = Annotated[Path, typer.Argument(help="the job spec, YAML", metavar="SPEC", show_default=False)]


def register(app: typer.Typer) -> None:
    app.command("plan")(plan)
    app.command("run")(run)


def plan(
    context: typer.Context,
    spec: SpecFile,
    as_json: JsonFlag = False,
    as_of: AsOf = None,
    check: Annotated[bool, typer.Option("--check", help="exit as `run` would: 3, 4 or 5")] = False,
    every: Annotated[bool, typer.Option("--all", help="one row per region and offer")] = False,
    show_translation: Annotated[
        str | None, typer.Option(help="print the exact requests for this backend", metavar="BACKEND")
    ] = None,
    report: Annotated[
        Path | None, typer.Option(help="write a page with charts, for people who decide", metavar="FILE.html")
    ] = None,
    charts: Annotated[
        Path | None, typer.Option(help="write the charts as SVG and PNG files", metavar="FOLDER")
    ] = None,
    export: Annotated[
        Path | None, typer.Option(help="write the line items: .csv, .xlsx or .focus.csv", metavar="FILE")
    ] = None,
) -> None:
    """Judge every candidate: can it, may it, what does it cost, how long. Touches no network.

    Examples:
      tunegate plan job.yaml
      tunegate plan job.yaml --as-of 2027-01-07
      tunegate plan job.yaml --json | jq '.candidates[] | {backend, model, verdict}'
      tunegate plan job.yaml --show-translation bedrock
      tunegate plan job.yaml --report costs.html    # needs the extra `report`
      tunegate plan job.yaml --export costs.xlsx
    """
    gateway = gateway_of(context)
    with working("reading the data") as update:
        asked = JobSpec.from_yaml(spec)
        made = gateway.plan(asked, as_of=parse_day(as_of), on_progress=update)
    for path in gateway.report(asked, made, page=report, charts=charts, lines=export):
        hint(f"wrote {path}")
    if show_translation:
        _print_translation(made, show_translation)
    elif as_json:
        print_json(made.to_json())
    else:
        views.plan(out, made, every=every)
        comparing.comparison(out, made)
    if check:
        gateway.check(made)


def run(
    context: typer.Context,
    spec: SpecFile,
    as_json: JsonFlag = False,
    detach: Annotated[bool, typer.Option("--detach", help="return once the job is dispatched")] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="spend money without asking")] = False,
) -> None:
    """Plan, gate, dispatch once, follow to the end, evaluate base against tuned, record.

    Ctrl-C leaves the job running and says how to follow it.

    Examples:
      tunegate run job.yaml
      tunegate run job.yaml --detach
      tunegate run job.yaml --yes --json      # in CI: no questions, JSON on stdout
    """
    gateway = gateway_of(context)
    asked = JobSpec.from_yaml(spec)
    with working("reading the data") as update:
        made = gateway.plan(asked, on_progress=update)
    views.plan(err if as_json else out, made)
    chosen = gateway.check(made)
    if chosen.estimate.training_usd is not None:
        about = chosen.estimate.told(chosen.estimate.training_usd)
        confirm(f"Spend about {about} on training at {chosen.key}?", yes=yes)
    job = gateway.dispatch(asked, made)
    if detach:
        job.start()
        if job.started:
            _say_how_to_follow(job)
    else:
        _follow(job)
    if as_json:
        print_json(job.to_json())
    elif not detach:
        views.result(out, job)
    job.raise_if_failed()
    if job.phase == "cancelled":
        raise typer.Abort


def _follow(job: JobHandle) -> None:
    try:
        following.follow(job)
    except KeyboardInterrupt:
        _say_how_to_follow(job)
        raise


def _say_how_to_follow(job: JobHandle) -> None:
    if job.started:
        err.print(f"\nThe job goes on without this command: [bold]{job.id}[/bold]", highlight=False)
        hint(f"follow it with `tunegate jobs show {job.id} --follow`")
    else:
        err.print(f"\nThe job is kept, and not started yet: [bold]{job.id}[/bold]", highlight=False)
        hint(f"go on with `tunegate jobs work --job {job.id}`")
    hint(f"end it with `tunegate jobs cancel {job.id}`")


def _print_translation(made: Plan, backend: str) -> None:
    translations = {
        str(candidate.key): candidate.translation.to_json()
        for candidate in made.candidates
        if candidate.key.backend == backend and candidate.translation
    }
    if not translations:
        raise SpecError(
            f"no candidate of {backend!r} has a translation",
            fix="see which backends are candidates: `tunegate plan SPEC`",
        )
    print_json(translations)
