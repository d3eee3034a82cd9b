"""What a job adds to its result: that it was a rehearsal, what it did cost and how long it trained beside
what was planned, why nothing was compared, and which deployments go on costing."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

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
    if took := shown.get("training_time"):
        yield _took(took)
    if job.evaluation.get("why"):
        yield f"base and tuned were not compared: {job.evaluation['why']}\n  → {job.evaluation['fix']}"
    for each in shown.get("deployments") or ():
        state = f"answers as {each['callable_id']}" if each["callable_id"] else "is on its way"
        yield f"deployment {state}; {job.idle_price}\n  → end it: `tunegate jobs undeploy {job.id}`"


def _took(time: Mapping[str, Any]) -> str:
    """How long training took, beside the plan."""
    planned: Mapping[str, float] | None = time["planned_s"]
    beside = f" (planned {_long(planned['low'])} to {_long(planned['high'])})" if planned else ""
    gpus = f", {time['gpu_s']:,.0f} GPU-seconds in all" if time["gpu_s"] is not None else ""
    return f"training took {_long(time['actual_s'])}{gpus}{beside}"


def _long(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"
