"""`tunegate jobs …`: what was dispatched, how it goes, and how to end it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from gateway.cli import following, views
from gateway.cli.approvals import tell_given
from gateway.cli.console import JsonFlag, confirm, err, gateway_of, hint, out, print_json
from gateway.core.errors import SpecError

app = typer.Typer(help="jobs: list, follow, cancel, resume, and what they left", no_args_is_help=True)

JobId = Annotated[str, typer.Argument(help="the job's id", metavar="JOB", show_default=False)]


@app.command("list")
def list_jobs(context: typer.Context, as_json: JsonFlag = False) -> None:
    """Every job, newest first.

    Example: tunegate jobs list
    """
    jobs = gateway_of(context).jobs.list()
    if as_json:
        print_json([job.to_json() for job in jobs])
        return
    if not jobs:
        hint("no job has been dispatched yet: `tunegate run job.yaml` does")
        return
    rows = (
        (job.id, job.name, job.phase, str(job.key), job.created_at.strftime("%Y-%m-%d %H:%M")) for job in jobs
    )
    views.table(out, ("job", "name", "state", "where", "created (UTC)"), rows)


@app.command("show")
def show(
    context: typer.Context,
    job: JobId,
    as_json: JsonFlag = False,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="stay until the job ends")] = False,
    labels: Annotated[
        bool, typer.Option("--labels", help="name classes by their own words, which are text of the data")
    ] = False,
) -> None:
    """How a job stands: state, progress, base against tuned, artifacts, record.

    Examples:
      tunegate jobs show job_01j…
      tunegate jobs show job_01j… --follow
      tunegate jobs show job_01j… --labels
    """
    found = gateway_of(context).jobs.get(job)
    if follow:
        following.follow(found)
    if as_json:
        print_json(found.to_json())
        return
    views.result(out, found, found.class_labels() if labels else None)
    if not found.done:
        out.print(str(found.key), highlight=False, markup=False, soft_wrap=True)
        out.print(f"{found.doing}  {following.detail(found)}".rstrip(), highlight=False, markup=False)
    tell_given(found)
    if found.error:
        fix = found.error.get("fix") or f"see `tunegate jobs events {found.id}`"
        out.print(f"{found.error['message']}\n  → {fix}", markup=False, highlight=False, soft_wrap=True)
    if found.phase == "failed":
        hint(f"what happened: tunegate jobs events {found.id}; to try again: tunegate jobs resume {found.id}")


@app.command("events")
def events(context: typer.Context, job: JobId, as_json: JsonFlag = False) -> None:
    """What happened, in order.

    Example: tunegate jobs events job_01j…
    """
    happened = gateway_of(context).jobs.get(job).events()
    if as_json:
        print_json(
            [
                {
                    "id": e.id,
                    "at": e.at.isoformat(),
                    "level": e.level,
                    "kind": e.kind,
                    "text": e.text,
                    "data": dict(e.data),
                }
                for e in happened
            ]
        )
        return
    views.table(
        out,
        ("at (UTC)", "level", "event", ""),
        ((e.at.strftime("%Y-%m-%d %H:%M:%S"), e.level, e.kind, e.text) for e in happened),
    )


@app.command("logs")
def logs(
    context: typer.Context,
    job: JobId,
    lines: Annotated[int, typer.Option(help="how many, from the end", min=1)] = 100,
) -> None:
    """What the training process itself wrote (local jobs); mostly nothing. Progress is in `jobs events`.

    Example: tunegate jobs logs job_01j… --lines 20
    """
    found = gateway_of(context).jobs.get(job)
    written = list(found.logs(lines))
    for line in written:
        typer.echo(line)
    if not written:
        hint(f"the log is empty; what happened: tunegate jobs events {found.id}")


@app.command("cancel")
def cancel(context: typer.Context, job: JobId) -> None:
    """End a job. On one that has ended: no error.

    Example: tunegate jobs cancel job_01j…
    """
    found = gateway_of(context).jobs.get(job)
    found.cancel()
    err.print(f"{found.id}  {found.phase}", highlight=False)


@app.command("pause")
def pause(context: typer.Context, job: JobId) -> None:
    """Pause a job where its backend can.

    Example: tunegate jobs pause job_01j…
    """
    found = gateway_of(context).jobs.get(job)
    found.pause()
    err.print(f"{found.id}  {found.phase}", highlight=False)


@app.command("resume")
def resume(
    context: typer.Context,
    job: JobId,
    remote_id: Annotated[
        str | None, typer.Option(help="what a job that waits for you is called at its backend", metavar="ID")
    ] = None,
    not_there: Annotated[
        bool, typer.Option("--not-there", help="you looked, and the backend has no such job: submit it again")
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="pay for another attempt without asking")] = False,
) -> None:
    """Resume a paused job, try a failed one again, or answer what a job waits for you to say.

    A failed job goes on where it stopped if its backend can do that. Where it cannot, as at managed
    backends, another attempt is a new job that is paid for anew; its budget is reserved anew too.

    Examples:
      tunegate jobs resume job_01j…
      tunegate jobs resume job_01j… --yes
      tunegate jobs resume job_01j… --remote-id ftjob-abc123
      tunegate jobs resume job_01j… --not-there
    """
    if remote_id and not_there:
        raise SpecError("--remote-id and --not-there say opposite things", fix="give one of them")
    found = gateway_of(context).jobs.get(job)
    if remote_id or not_there:
        found.answer(remote_id)
    else:
        if found.phase == "failed" and found.starts_anew:
            confirm(f"{found.key} cannot go on with a failed job. Pay for a new one there?", yes=yes)
        found.resume()
    err.print(f"{found.id}  {found.phase}", highlight=False)
    found.raise_if_failed()


@app.command("deploy")
def deploy(
    context: typer.Context,
    job: JobId,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="deploy without asking")] = False,
    evaluate: Annotated[
        bool,
        typer.Option("--evaluate/--no-evaluate", help="compare base and tuned, if that waited for it"),
    ] = True,
) -> None:
    """Deploy the tuned model where it answers only then. Shows what that costs by the hour, and asks.

    Ctrl-C leaves it on its way; the same command goes on, and never makes a second deployment.

    Examples:
      tunegate jobs deploy job_01j…
      tunegate jobs deploy job_01j… --yes --no-evaluate
    """
    found = gateway_of(context).jobs.get(job)
    found.check_deployable()
    err.print(f"{found.key}: {found.idle_price}", highlight=False, markup=False, soft_wrap=True)
    confirm(f"Deploy the model of {found.id}, until you end that with `tunegate jobs undeploy`?", yes=yes)
    with following.watched() as show:
        found.deploy(evaluate=evaluate, on_update=show)
    views.result(out, found)


@app.command("undeploy")
def undeploy(context: typer.Context, job: JobId) -> None:
    """End the deployment of a tuned model, and its cost. Where there is none: no error.

    Example: tunegate jobs undeploy job_01j…
    """
    found = gateway_of(context).jobs.get(job).undeploy()
    err.print(f"{found.id}  its model is not deployed", highlight=False)


@app.command("purge")
def purge(
    context: typer.Context,
    job: JobId,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="delete without asking")] = False,
) -> None:
    """Delete what an ended job left, at its backend and here: data files, adapter, logs. Records stay.

    Example: tunegate jobs purge job_01j… --yes
    """
    found = gateway_of(context).jobs.get(job)
    confirm(f"Delete the data files, the model and the logs of {found.id} ({found.name})?", yes=yes)
    found.purge()
    err.print(f"{found.id}  what it left is deleted; its plan and records are kept", highlight=False)


@app.command("merge")
def merge(
    context: typer.Context,
    job: JobId,
    folder: Annotated[Path, typer.Option("--out", help="a folder that does not exist yet", metavar="DIR")],
) -> None:
    """Write base and adapter as one model: safetensors, config, tokenizer, model card. The gate is asked.

    Example: tunegate jobs merge job_01j… --out soap-notes-8b
    """
    merged = gateway_of(context).jobs.get(job).merge(folder)
    size = f"{merged.bytes / 2**20:,.0f} MiB, {merged.precision}"
    err.print(f"{merged.folder}  {size}", highlight=False, markup=False, soft_wrap=True)
    hint(f"its logits, read back, are {merged.deviation:.1e} of their length from base and adapter")


@app.command("artifacts")
def artifacts(context: typer.Context, job: JobId, as_json: JsonFlag = False) -> None:
    """What a job left: adapter, metrics, log, model card.

    Example: tunegate jobs artifacts job_01j…
    """
    left = gateway_of(context).jobs.get(job).artifacts()
    if as_json:
        print_json(
            [{"kind": a.kind, "uri": a.uri, "callable_id": a.callable_id, "sha256": a.sha256} for a in left]
        )
        return
    views.table(out, ("kind", "where", "call it as"), ((a.kind, a.uri, a.callable_id) for a in left))


@app.command("work")
def work(
    context: typer.Context,
    job: Annotated[str | None, typer.Option(help="only this job, to its end", metavar="JOB")] = None,
    once: Annotated[bool, typer.Option("--once", help="one pass over what is due")] = False,
    threads: Annotated[int, typer.Option(min=1, help="how many jobs may be waited for at once")] = 8,
) -> None:
    """Move jobs towards what is wanted, until stopped. Any number may run at once.

    Example: tunegate jobs work
    """
    jobs = gateway_of(context).jobs
    if job:
        jobs.get(job).wait()
        return
    jobs.work(threads=threads, once=once)
