"""Google's tuning job → our snapshot, events and artifacts. Pure.

What is kept of a reply is chosen field by field: states, codes, counts, times and resource names. Never
kept: `error.message`, `droppedExampleReasons` and `tuningDataStats.…userDatasetExamples`, which quote or
may quote rows.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Any

from backends.vertex.places import location_of
from gateway.core.job import Artifact, Event, ObservedState, RemoteRef, Snapshot

Job = Mapping[str, Any]

# JOB_STATE_… of the discovery document, all but UNSPECIFIED; any other is unknown.
_STATES: Mapping[str, ObservedState] = {
    "QUEUED": "queued",
    "PENDING": "queued",
    "RUNNING": "running",
    "UPDATING": "running",
    "PAUSED": "paused",
    "CANCELLING": "cancelling",
    "CANCELLED": "cancelled",
    "SUCCEEDED": "succeeded",
    "FAILED": "failed",
    "EXPIRED": "failed",
}
_PARTLY = "PARTIALLY_SUCCEEDED"
# Where below its output folder an open model's job leaves whole weights, as a custom deployment takes them.
_WEIGHTS = "postprocess/node-0/checkpoints/final"

_CODES: Mapping[int, str] = {
    1: "CANCELLED", 2: "UNKNOWN", 3: "INVALID_ARGUMENT", 4: "DEADLINE_EXCEEDED", 5: "NOT_FOUND",
    6: "ALREADY_EXISTS", 7: "PERMISSION_DENIED", 8: "RESOURCE_EXHAUSTED", 9: "FAILED_PRECONDITION",
    10: "ABORTED", 11: "OUT_OF_RANGE", 12: "UNIMPLEMENTED", 13: "INTERNAL", 14: "UNAVAILABLE",
    15: "DATA_LOSS", 16: "UNAUTHENTICATED",
}  # fmt: skip
_REFUSED = ("INVALID_ARGUMENT", "FAILED_PRECONDITION", "OUT_OF_RANGE")
_FIXES: Mapping[str, str] = {
    **dict.fromkeys(
        _REFUSED,
        "the dataset or a setting was refused; Google's own words are in its console, and are not copied "
        "here because they may quote rows",
    ),
    "PERMISSION_DENIED": "let Vertex AI's service agents read the bucket of the data, and write to the one "
    "of the weights",
    "NOT_FOUND": "see that the data is still in its bucket, and that the base model is still offered",
    "RESOURCE_EXHAUSTED": "ask Google for quota, or wait; then `tunegate run` again",
}


def ref_of(job: Job, backend: str, version: str, address: str) -> RemoteRef:
    """Where a job lives: its whole resource name, and what is needed to ask for it."""
    name = str(job["name"])
    return RemoteRef(backend, name, {"location": location_of(name), "version": version, "address": address})


def version_of(job: Job) -> str:
    """The version of the API that knows a listed job's settings: open models have `publisher/model@…`."""
    return "v1beta1" if "@" in str(job.get("baseModel", "")) else "v1"


def snapshot(job: Job, now: datetime) -> Snapshot:
    """One observation. Google tells no progress; billed tokens come with success."""
    raw = str(job.get("state", "JOB_STATE_UNSPECIFIED"))
    state = _state(job)
    message, detail = None, dict[str, Any]()
    if state == "failed":
        message, detail = _failure(job, raw)
    elif _name(raw) == _PARTLY:
        message = "it succeeded in part: some results may be missing"
    if stage := job.get("tuningJobState"):
        detail["stage"] = str(stage)
    billed = _billed(job) if state == "succeeded" else None
    return Snapshot(state, raw, now, message, billed_tokens=billed, detail=detail)


def gone(now: datetime) -> Snapshot:
    """What a job looks like that is no longer there."""
    return Snapshot("cancelled", "gone", now)


def _name(raw: str) -> str:
    return raw.removeprefix("JOB_STATE_")


def _state(job: Job) -> ObservedState:
    """A part success is one where there is a model to show for it, and a failure where there is none."""
    name = _name(str(job.get("state", "")))
    if name == _PARTLY:
        return "succeeded" if job.get("outputUri") or _tuned(job).get("endpoint") else "failed"
    return _STATES.get(name, "unknown")


def _failure(job: Job, raw: str) -> tuple[str, dict[str, Any]]:
    """Why a job failed, by its code alone."""
    if _name(raw) == "EXPIRED":
        return "the job waited or ran longer than Google allows", {
            "code": "expired",
            "fix": "`tunegate run` again, when there is capacity",
        }
    if _name(raw) == _PARTLY:
        return "it succeeded in part, and left no model", {"code": "no_model"}
    code = _CODES.get(int(job.get("error", {}).get("code", 2)), "UNKNOWN")
    detail: dict[str, Any] = {"code": "training_refused" if code in _REFUSED else "training_failed"}
    detail["provider_code"] = code
    if fix := _FIXES.get(code):
        detail["fix"] = fix
    return f"training failed at Google ({code})", detail


def _billed(job: Job) -> int | None:
    """Tokens billed. Google counts those of the dataset, and bills them for each epoch."""
    per_epoch = _count(_stats(job), "totalBillableTokenCount")
    hyper = job.get("supervisedTuningSpec", {}).get("hyperParameters", {})
    epochs = _count(hyper, "epochCount")
    return per_epoch * epochs if per_epoch is not None and epochs else None


# -- events ----------------------------------------------------------------------------------------


def events(job: Job, now: datetime) -> tuple[Event, ...]:
    """What can be told of a job so far. Google keeps no list of events: these follow from what the job
    says of itself, and their ids from what they are, so that each is told once."""
    return tuple(_events(job, now))


def _events(job: Job, now: datetime) -> Iterator[Event]:
    seen = _time(job.get("endTime")) or _time(job.get("updateTime")) or now
    if created := _time(job.get("createTime")):
        yield Event("1-created", created, "info", "created", "Google took the job")
    if started := _time(job.get("startTime")):
        yield Event("2-started", started, "info", "started", "training began")
    if stats := _stats(job):
        yield from _data_events(stats, seen)
    for place, checkpoint in enumerate(_tuned(job).get("checkpoints", ())):
        data = {name: _count(checkpoint, name) for name in ("epoch", "step")}
        text = f"checkpoint after epoch {data['epoch']}, step {data['step']}"
        yield Event(f"5-checkpoint-{place:04}", seen, "info", "checkpoint", text, data)
    if _name(str(job.get("state", ""))) == _PARTLY:
        text = "the job succeeded in part: some results may be missing"
        yield Event("6-partly", seen, "warning", "partly", text)


def _data_events(stats: Mapping[str, Any], at: datetime) -> Iterator[Event]:
    counts = {
        "rows": _count(stats, "tuningDatasetExampleCount"),
        "tokens": _count(stats, "totalBillableTokenCount"),
        "steps": _count(stats, "tuningStepCount"),
    }
    told = ", ".join(f"{value} {name}" for name, value in counts.items() if value is not None)
    yield Event("3-data", at, "info", "data", f"Google read the training data: {told}", counts)
    # By Google's own description these rows were left out; the field's name is older.
    if dropped := _count(stats, "totalTruncatedExampleCount"):
        text = f"Google left out {dropped} rows, which are too long or malformed"
        yield Event("4-dropped", at, "warning", "dropped_rows", text, {"rows": dropped})


# -- artifacts -------------------------------------------------------------------------------------


def artifacts(job: Job) -> tuple[Artifact, ...]:
    """The tuned model by its endpoint, which is what can be called; weights where there is none."""
    tuned, output = _tuned(job), job.get("outputUri")
    found: list[Artifact] = []
    if endpoint := tuned.get("endpoint"):
        found.append(Artifact("model", str(endpoint), callable_id=str(endpoint)))
    elif output:
        found.append(Artifact("merged_model", f"{str(output).rstrip('/')}/{_WEIGHTS}"))
    for checkpoint in tuned.get("checkpoints", ()):
        if (place := checkpoint.get("endpoint")) and place != endpoint:
            found.append(Artifact("checkpoint", str(place), callable_id=str(place)))
    if metrics := job.get("gcsMetricsUri"):
        found.append(Artifact("metrics", str(metrics)))
    return tuple(found)


# -- common ----------------------------------------------------------------------------------------


def _tuned(job: Job) -> Mapping[str, Any]:
    return job.get("tunedModel") or {}


def _stats(job: Job) -> Mapping[str, Any]:
    stats: Mapping[str, Any] = job.get("tuningDataStats") or {}
    return stats.get("supervisedTuningDataStats") or {}


def _count(of: Mapping[str, Any], name: str) -> int | None:
    """A 64-bit number, which is a string in Google's JSON; None when it is absent."""
    value = of.get(name)
    return int(value) if value is not None and str(value).isdigit() else None


def _time(value: object) -> datetime | None:
    return datetime.fromisoformat(value).astimezone(UTC) if isinstance(value, str) else None
