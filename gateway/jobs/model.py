"""A job as it is stored, and what is needed to make one."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import Any, Literal, TypedDict

from gateway.core.job import Artifact, JobState, Progress, RemoteRef, Site
from gateway.core.plan import Translation

JOB_SCHEMA = "tunegate.job/1"

Wanted = Literal["run", "pause", "cancel"]
EvaluationStatus = Literal["pending", "running", "done", "failed", "skipped"]

_BASE32 = "0123456789abcdefghjkmnpqrstvwxyz"  # Crockford's: no i, l, o, u


def time_ordered_id(prefix: str, now: datetime) -> str:
    """A short id that sorts by time: 45 bits of milliseconds, then 35 random bits, in base 32."""
    number = (int(now.timestamp() * 1000) << 35) | secrets.randbits(35)
    return prefix + "".join(_BASE32[(number >> shift) & 31] for shift in range(75, -1, -5))


def new_job_id(now: datetime) -> str:
    return time_ordered_id("job_", now)


def idempotency_key(job_id: str, attempt: int) -> str:
    """The key a job is submitted under, in the letters every provider takes: a-z, 0-9 and `-`."""
    return f"tunegate-{job_id.removeprefix('job_')}-{attempt}"


def attempt_of(key: str) -> tuple[str, int]:
    """The job and the attempt that a key was made for: the other way round from `idempotency_key`."""
    job, _, attempt = key.removeprefix("tunegate-").rpartition("-")
    return f"job_{job}", int(attempt)


@dataclass(frozen=True, slots=True)
class Caps:
    """What may be spent, in USD on high estimates; None means no cap."""

    job_usd: Decimal | None = None
    team_month_usd: Decimal | None = None


@dataclass(frozen=True, slots=True)
class NewJob:
    """A dispatched plan, about to be stored. `plan` is `Plan.to_json()`, whole; `id` is `new_job_id()`."""

    id: str
    name: str
    team: str
    backend: str
    model: str
    region: str
    offer: str
    spec: Mapping[str, Any]
    plan: Mapping[str, Any]
    translation: Translation
    folder: Path
    estimate_usd: Decimal | None = None


@dataclass(frozen=True, slots=True)
class Job:
    """What is wanted of a job, and what was last seen of it. Its plan, which is large and never
    changes, is read with `Store.plan`.

    Attributes:
        raw_state: the backend's own word for the state last seen.
        key: idempotency key of this attempt.
        next_due_at: when the next step may be taken; None while a person is needed, or when closed.
        closed_at: when nothing was left to do: final, evaluated, recorded.
        failures: failed calls in a row since the last that worked.
        result: what evaluation gave.
        artifacts: None until they were collected.
        version: goes up with every write and every lease; a write against an older one is refused.
    """

    id: str
    name: str
    team: str
    state: JobState
    raw_state: str | None
    wanted: Wanted
    backend: str
    model: str
    region: str
    offer: str
    remote: RemoteRef | None
    key: str
    spec: Mapping[str, Any]
    translation: Translation
    estimate_usd: Decimal | None
    actual_usd: Decimal | None
    billed_tokens: int | None
    created_at: datetime
    updated_at: datetime
    started_at: datetime | None
    ended_at: datetime | None
    closed_at: datetime | None
    next_due_at: datetime | None
    attempt: int
    failures: int
    folder: Path
    error: Mapping[str, Any] | None
    progress: Progress | None
    evaluation: EvaluationStatus
    result: Mapping[str, Any] | None
    record: str | None
    artifacts: tuple[Artifact, ...] | None
    lease_owner: str | None
    lease_until: datetime | None
    version: int

    @property
    def site(self) -> Site:
        """Where at the backend this job lives."""
        options = self.spec.get("spec", {}).get("options", {}).get(self.backend, {})
        return Site(self.backend, self.region, self.offer, options)

    @property
    def requested_by(self) -> tuple[str, ...]:
        """Who asked for the job: as the settings name them, and as the operating system does."""
        return tuple(self.spec.get("requested_by", ()))

    @property
    def closed(self) -> bool:
        """Nothing is left to do."""
        return self.closed_at is not None

    @property
    def waits_for_a_person(self) -> bool:
        """No step can be taken until somebody approves, or answers what `error` asks."""
        return self.next_due_at is None and not self.closed

    def to_json(self) -> dict[str, Any]:
        """The stable JSON of `jobs show --json`. Money is a decimal string, times are ISO 8601 UTC."""
        return {
            "schema": JOB_SCHEMA,
            "id": self.id,
            "name": self.name,
            "team": self.team,
            "state": str(self.state),
            "raw_state": self.raw_state,
            "wanted": self.wanted,
            "requested_by": self.requested_by[0] if self.requested_by else None,
            "backend": self.backend,
            "model": self.model,
            "region": self.region,
            "offer": self.offer,
            "remote_id": self.remote.id if self.remote else None,
            "attempt": self.attempt,
            "created_at": _iso(self.created_at),
            "updated_at": _iso(self.updated_at),
            "started_at": _iso(self.started_at),
            "ended_at": _iso(self.ended_at),
            "estimate_usd": None if self.estimate_usd is None else str(self.estimate_usd),
            "actual_usd": None if self.actual_usd is None else str(self.actual_usd),
            "billed_tokens": self.billed_tokens,
            "progress": _progress_json(self.progress),
            "error": None if self.error is None else dict(self.error),
            "metrics": (self.result or {}).get("metrics"),
            "evaluation": self.evaluation,
            "artifacts": [_artifact_json(artifact) for artifact in self.artifacts or ()],
            "record": self.record,
            "folder": str(self.folder),
        }


class Changes(TypedDict, total=False):
    """The fields of a job that a write may change; `wanted` is changed by `Store.want` alone."""

    raw_state: str | None
    remote: RemoteRef | None
    key: str
    attempt: int
    actual_usd: Decimal | None
    billed_tokens: int | None
    started_at: datetime | None
    ended_at: datetime | None
    closed_at: datetime | None
    next_due_at: datetime | None
    failures: int
    error: Mapping[str, Any] | None
    progress: Progress | None
    evaluation: EvaluationStatus
    result: Mapping[str, Any] | None
    record: str | None
    artifacts: tuple[Artifact, ...]


@dataclass(frozen=True, slots=True)
class Intent:
    """A call that is about to be made, or was: committed before it, so that a crash leaves a trace.

    `error` is how the last try ended, where it ended with an answer.
    """

    name: str
    key: str
    tries: int
    last_at: datetime
    error: Mapping[str, Any] | None


@dataclass(frozen=True, slots=True)
class Upload:
    """A file sent, or about to be (`uri` None), for one job. Content-addressed; `claimed_by` is the job
    that is deleting it."""

    name: str
    sha256: str
    uri: str | None
    deleted_at: datetime | None = None
    claimed_by: str | None = None

    @property
    def kept(self) -> bool:
        """The backend has it, and goes on having it: it was sent, and nobody deletes it."""
        return self.uri is not None and self.deleted_at is None and self.claimed_by is None


@dataclass(frozen=True, slots=True)
class Deletion:
    """What became of a file that was to be deleted at its backend. `code` is the error's, where it
    could not be."""

    upload: Upload
    code: str = ""


def _iso(moment: datetime | None) -> str | None:
    return None if moment is None else moment.isoformat()


def _artifact_json(artifact: Artifact) -> dict[str, Any]:
    return {
        "kind": artifact.kind,
        "uri": artifact.uri,
        "callable_id": artifact.callable_id,
        "sha256": artifact.sha256,
    }


def _progress_json(progress: Progress | None) -> dict[str, Any] | None:
    if progress is None:
        return None
    return {
        "step": progress.step,
        "steps": progress.steps,
        "loss": progress.loss,
        "tokens_per_s": progress.tokens_per_s,
        "eta_s": progress.eta_s,
    }
