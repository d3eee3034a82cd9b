"""A job: its states, their legal moves, and what is observed of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any, Literal


class JobState(StrEnum):
    """Where a job stands. Cancelled and failed are different things, and neither is queued."""

    PLANNED = "planned"
    AWAITING_APPROVAL = "awaiting_approval"
    STAGING = "staging"
    SUBMITTING = "submitting"
    QUEUED = "queued"
    RUNNING = "running"
    PAUSED = "paused"
    CANCELLING = "cancelling"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"

    @property
    def final(self) -> bool:
        return self in (JobState.SUCCEEDED, JobState.FAILED, JobState.CANCELLED)


_S = JobState
_FORWARD: dict[JobState, set[JobState]] = {
    _S.PLANNED: {_S.AWAITING_APPROVAL, _S.STAGING},
    _S.AWAITING_APPROVAL: {_S.STAGING},
    _S.STAGING: {_S.SUBMITTING},
    _S.SUBMITTING: {_S.QUEUED, _S.RUNNING, _S.SUCCEEDED},
    _S.QUEUED: {_S.RUNNING, _S.PAUSED, _S.SUCCEEDED},
    _S.RUNNING: {_S.PAUSED, _S.QUEUED, _S.SUCCEEDED},
    _S.PAUSED: {_S.QUEUED, _S.RUNNING, _S.SUCCEEDED},
    _S.CANCELLING: {_S.CANCELLED, _S.SUCCEEDED},
    _S.FAILED: {_S.STAGING},  # `jobs resume`: a new attempt of the same job
    _S.SUCCEEDED: set(),
    _S.CANCELLED: set(),
}


def may_move(before: JobState, after: JobState) -> bool:
    """Whether a job may go from one state to the other.

    Any state that is not final may fail or begin to be cancelled; a cancel may lose the race
    against success, which is then the truth.
    """
    if before.final:
        return after in _FORWARD[before]
    return after in _FORWARD[before] or after in (JobState.FAILED, JobState.CANCELLING)


ObservedState = Literal[
    "queued", "running", "paused", "cancelling", "succeeded", "failed", "cancelled", "unknown"
]


@dataclass(frozen=True, slots=True)
class Site:
    """Where at a backend work is done: the region and offer of a candidate (empty where none is meant),
    and `options.<backend>` as the job has them: account, buckets, address."""

    backend: str
    region: str = ""
    offer: str = ""
    options: Mapping[str, Any] = field(default_factory=dict[str, Any])


@dataclass(frozen=True, slots=True)
class RemoteRef:
    """Where a job lives at its backend: the remote id, and what else is needed to find it."""

    backend: str
    id: str
    detail: Mapping[str, str] = field(default_factory=dict[str, str])


@dataclass(frozen=True, slots=True)
class Progress:
    """How far training is. Steps count optimizer steps; `eta_s` is None until it can be told."""

    step: int
    steps: int
    loss: float | None = None
    tokens_per_s: float | None = None
    eta_s: float | None = None


@dataclass(frozen=True, slots=True)
class Snapshot:
    """One observation. `raw_state` is the backend's own word; `unknown` never advances a job."""

    state: ObservedState
    raw_state: str
    observed_at: datetime
    message: str | None = None
    progress: Progress | None = None
    billed_tokens: int | None = None
    detail: Mapping[str, Any] = field(default_factory=dict[str, Any])


@dataclass(frozen=True, slots=True)
class Event:
    """Something that happened. `id` orders events of one job and is stable; no dataset text."""

    id: str
    at: datetime
    level: Literal["info", "warning", "error"]
    kind: str
    text: str
    data: Mapping[str, Any] = field(default_factory=dict[str, Any])


@dataclass(frozen=True, slots=True)
class Artifact:
    """What training left: `adapter`, `merged_model`, `model` (an id that can be called), `metrics`,
    `log`, `checkpoint`. `uri` is a path, a URL, or the callable id."""

    kind: str
    uri: str
    callable_id: str | None = None
    sha256: str | None = None


@dataclass(frozen=True, slots=True)
class ChatMessage:
    """A turn sent to, or got from, a model at inference."""

    role: Literal["system", "user", "assistant", "tool"]
    content: str


@dataclass(frozen=True, slots=True)
class Completion:
    """An answer. Tokens as the backend counted them (None when it did not). `latency_s` is the time to
    the whole answer; where answers are made in batches, its even share of its batch's time.
    `cut_tokens` is how many tokens of the prompt's middle were left out because the model takes no more."""

    text: str
    latency_s: float
    input_tokens: int | None = None
    output_tokens: int | None = None
    finish: Literal["stop", "length", "other"] = "stop"
    cut_tokens: int = 0


@dataclass(frozen=True, slots=True)
class Score:
    """Sum of log-probabilities (nats) of an answer's tokens given its prompt, and how many tokens."""

    log_probability: float
    tokens: int
