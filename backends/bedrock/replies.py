"""Bedrock's replies → snapshots, events and artifacts. Pure.

Fields of a reply that may quote rows (`failureMessage`) are never passed on: which part of the job failed
is told by `statusDetails`, and the command that shows AWS's own words goes with it.
"""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any, Literal

from gateway.core.job import Event, ObservedState, Snapshot

Reply = Mapping[str, Any]

# The parts of a job, in the order they are done: their names in `statusDetails`, and in words.
_PARTS = (
    ("validationDetails", "validation", "the data files are being checked"),
    ("dataProcessingDetails", "dataProcessing", "the data is being prepared"),
    ("trainingDetails", "training", "training begins"),
)
_FINAL: Mapping[str, ObservedState] = {
    "Completed": "succeeded",
    "Failed": "failed",
    "Stopping": "cancelling",
    "Stopped": "cancelled",
}
_MOST_STEPS = 500
METRICS = "training_artifacts/step_wise_training_metrics.csv"


def snapshot(job: Reply, now: datetime) -> Snapshot:
    """What a job's reply says. All waiting is inside `InProgress`: the part that is at work tells it from
    training, and stands beside AWS's word in the raw state."""
    status = str(job.get("status", ""))
    if status == "InProgress":
        part = _at_work(job)
        state: ObservedState = "running" if part == "training" else "queued"
        return Snapshot(state, f"{status}/{part}" if part else status, now)
    state = _FINAL.get(status, "unknown")
    if state != "failed":
        return Snapshot(state, status, now)
    part = next((part for field, part, _ in _PARTS if _status(job, field) == "Failed"), None)
    detail = {"code": "dataset_refused" if part == "validation" else "training_failed", "fix": _ask(job)}
    return Snapshot("failed", f"{status}/{part}" if part else status, now, _FAILED[part], detail=detail)


_FAILED: Mapping[str | None, str] = {
    "validation": "Bedrock refused the data files",
    "dataProcessing": "Bedrock could not prepare the data",
    "training": "training broke off at Bedrock",
    None: "the job failed at Bedrock",
}


def gone(now: datetime) -> Snapshot:
    """A job that is no longer there: as good as cancelled."""
    return Snapshot("cancelled", "gone", now)


def events(job: Reply, metrics: Sequence[Event]) -> tuple[Event, ...]:
    """What has happened, oldest first: each part's begin and end, then the steps of training.

    Bedrock keeps no list of events. They are read off the job, and their ids sort in this order."""
    told = [*_part_events(job), *metrics, *_validation_events(job)]
    return tuple(sorted(told, key=lambda event: event.id))


def _part_events(job: Reply) -> Iterator[Event]:
    for number, (field, part, text) in enumerate(_PARTS):
        about: Reply = job.get("statusDetails", {}).get(field) or {}
        status = str(about.get("status", "NotStarted"))
        if status == "NotStarted":
            continue
        begun = about.get("creationTime") or job["creationTime"]
        yield Event(f"{number}0-{part}", begun, "info", part, text)
        if status in ("Completed", "Failed", "Stopped"):
            level: Literal["info", "error"] = "error" if status == "Failed" else "info"
            ended = about.get("lastModifiedTime") or begun
            yield Event(f"{number}9-{part}", ended, level, part, f"{part}: {status.lower()}")


def _validation_events(job: Reply) -> Iterator[Event]:
    ended = job.get("endTime")
    for number, metric in enumerate(job.get("validationMetrics") or ()):
        if ended is not None and (loss := metric.get("validationLoss")) is not None:
            text = f"validation loss {loss:.4f}"
            yield Event(
                f"40-validation-{number:02d}", ended, "info", "validation", text, {"loss": float(loss)}
            )


def metric_events(table: str, ended: datetime) -> tuple[Event, ...]:
    """Losses by step from Bedrock's own table, which is there when training has ended: at most 500,
    evenly spread, the last among them. Only numbers are read; a line that has none is left out."""
    found: list[Event] = []
    for row in csv.DictReader(io.StringIO(table)):
        try:
            step, loss = int(row["step_number"]), float(row["training_loss"])
        except (KeyError, TypeError, ValueError):
            continue
        found.append(_step(step, loss, ended))
    apart = -(-len(found) // _MOST_STEPS) or 1
    return tuple(found[::-1][::apart][::-1])


def _step(step: int, loss: float, at: datetime) -> Event:
    id = f"30-step-{step:09d}"
    if not math.isfinite(loss):
        return Event(id, at, "warning", "metrics", f"step {step}: the loss is no number", {"step": step})
    return Event(id, at, "info", "metrics", f"step {step}: loss {loss:.4f}", {"step": step, "loss": loss})


def after(told: Sequence[Event], last: str | None) -> tuple[Event, ...]:
    """Those that come after the event with id `last`."""
    return tuple(event for event in told if last is None or event.id > last)


def output_of(job: Reply) -> tuple[str, str]:
    """Bucket and prefix, with a `/` at its end, of what this job writes and no other does."""
    bucket, _, prefix = str(job["outputDataConfig"]["s3Uri"]).removeprefix("s3://").partition("/")
    number = str(job["jobArn"]).rpartition("/")[2]
    return bucket, f"{prefix.rstrip('/')}/model-customization-job-{number}/".lstrip("/")


def _at_work(job: Reply) -> str | None:
    """The last part that has begun; None where the reply does not tell."""
    begun = [part for field, part, _ in _PARTS if _status(job, field) not in (None, "NotStarted")]
    return begun[-1] if begun else None


def _status(job: Reply, field: str) -> str | None:
    about: Reply = job.get("statusDetails", {}).get(field) or {}
    return None if "status" not in about else str(about["status"])


def _ask(job: Reply) -> str:
    """AWS's own words may quote rows, so they stay there; this shows them to whoever may see them."""
    region = str(job["jobArn"]).split(":")[3]
    return (
        "read why: aws bedrock get-model-customization-job --query failureMessage "
        f"--region {region} --job-identifier {job['jobName']}"
    )
