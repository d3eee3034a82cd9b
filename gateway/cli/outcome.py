"""What a managed job adds to its result: that it was a rehearsal, what it did cost, why nothing was
compared, and which deployments go on costing."""

from __future__ import annotations

from collections.abc import Iterator

from rich.console import Console

from gateway import JobHandle


def more(console: Console, job: JobHandle) -> None:
    """Print those lines that there are."""
    for line in _lines(job):
        console.print(line, highlight=False, markup=False, soft_wrap=True)


def _lines(job: JobHandle) -> Iterator[str]:
    shown = job.to_json()
    if shown.get("rehearsal"):
        yield f"rehearsal ({shown['rehearsal']}): a local stand-in; nothing was trained or billed"
    if shown.get("actual_usd") is not None:
        planned = job.training_estimate
        beside = f", planned ${planned['low']} to ${planned['high']}" if planned else ""
        yield f"training cost ${shown['actual_usd']} ({shown['billed_tokens']:,} tokens billed{beside})"
    if job.evaluation.get("why"):
        yield f"base and tuned were not compared: {job.evaluation['why']}\n  → {job.evaluation['fix']}"
    for each in shown.get("deployments") or ():
        state = f"answers as {each['callable_id']}" if each["callable_id"] else "is on its way"
        yield f"deployment {state}; {job.idle_price}\n  → end it: `tunegate jobs undeploy {job.id}`"
