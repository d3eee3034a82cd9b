"""Replies → snapshots, events, artifacts and answers. Pure.

A reply is JSON of somebody else's: unknown keys are ignored, and a value of another type than described
counts as absent. Its free text is never passed on, for it may quote a row: of an error its code and the
parameter it concerns, of an event its words where they are known to name only ids and numbers. An answer
of a model is what was asked for, and is passed on whole.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Literal

from gateway.core.job import Artifact, Completion, Event, ObservedState, Progress, Snapshot

Reply = Mapping[str, Any]

# `pending` is Azure's word for what comes before `running`; `paused` is in OpenAI's examples, not in its
# list. Whatever else turns up is `unknown`, which never advances a job.
STATES: Mapping[str, ObservedState] = {
    "validating_files": "queued",
    "queued": "queued",
    "pending": "queued",
    "running": "running",
    "paused": "paused",
    "succeeded": "succeeded",
    "failed": "failed",
    "cancelled": "cancelled",
}

_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_.\[\]-]{0,63}")  # a code's or a parameter's, never a sentence

_FIXES: Mapping[str, str] = {
    "training_file": "look at the rows with `tunegate data check`, and plan again",
    "validation_file": "look at the validation rows with `tunegate data check`, and plan again",
}
_WITHHELD = "the model did not pass the service's safety checks; its dashboard says which"


def text(reply: Reply, key: str) -> str | None:
    value = reply.get(key)
    return value if isinstance(value, str) else None


def number(reply: Reply, key: str) -> int | None:
    value = reply.get(key)
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        return None
    return int(value)


def part(reply: Reply, key: str) -> Reply:
    value = reply.get(key)
    return value if isinstance(value, Mapping) else {}  # pyright: ignore[reportUnknownVariableType]


def name(value: object) -> str | None:
    """A vendor's code or parameter name; None for anything that could be a sentence."""
    return value if isinstance(value, str) and _NAME.fullmatch(value) else None


# -- a job ----------------------------------------------------------------------------------------


def snapshot(job: Reply, now: datetime, events: Iterable[Reply] = ()) -> Snapshot:
    """One look at a job. `events` are its latest, for progress.

    A job that succeeded without a model was trained and then withheld; it failed, whatever its word.
    """
    raw = text(job, "status") or ""
    state = STATES.get(raw, "unknown")
    detail: dict[str, Any] = {}
    message = None
    if state == "failed":
        message, detail = _failure(part(job, "error"))
    elif state == "succeeded" and not text(job, "fine_tuned_model"):
        state, message = "failed", "training ended, and no model was released"
        detail = {"code": "model_withheld", "fix": _WITHHELD}
    return Snapshot(
        state=state,
        raw_state=name(raw) or "?",
        observed_at=now,
        message=message,
        progress=_progress(job, events, now) if state == "running" else None,
        billed_tokens=number(job, "trained_tokens"),
        detail=detail,
    )


def _failure(error: Reply) -> tuple[str, dict[str, Any]]:
    """What to say of a failed job. The service's own message may quote the row it stumbled over."""
    code, param = name(error.get("code")) or "training_failed", name(error.get("param"))
    about = f", about {param}" if param else ""
    detail = {"code": code, **({"fix": fix} if (fix := _FIXES.get(param or "")) else {})}
    return f"the service says {code}{about}", detail


def _progress(job: Reply, events: Iterable[Reply], now: datetime) -> Progress | None:
    """From the newest metrics; None until there are some that say of how many steps."""
    metrics = [part(event, "data") for event in events if event.get("type") == "metrics"]
    if not metrics:
        return None
    last = max(metrics, key=lambda data: number(data, "step") or 0)
    step, steps, loss = number(last, "step"), number(last, "total_steps"), last.get("train_loss")
    if step is None or steps is None:
        return None
    ends = number(job, "estimated_finish")
    eta = max(0.0, ends - now.timestamp()) if ends else None
    return Progress(step, steps, float(loss) if isinstance(loss, int | float) else None, eta_s=eta)


# -- events ---------------------------------------------------------------------------------------

_ID = r"[A-Za-z0-9:._/-]+"
_FIGURE = r"[0-9][0-9.,e%+-]*"
_LOSS = r"(train|training|valid|validation|full valid|full validation) (loss|mean token accuracy)"
_KNOWN_TEXT = tuple(
    re.compile(pattern)
    for pattern in (
        rf"Created fine-tuning job:? {_ID}",
        rf"Validating (training|validation) file:? {_ID}( and (training|validation) file:? {_ID})?",
        r"Files validated, moving job to queued state",
        r"Fine-tuning job (started|successfully completed|cancelled|paused|resumed)",
        rf"Step {_FIGURE}(/{_FIGURE})?:( {_LOSS}={_FIGURE},?)+",
        rf"Checkpoint created at step {_FIGURE}",
        rf"New fine-tuned model created(:? {_ID})?",
        r"The job has successfully completed",
        r"Evaluating model against our usage policies( before enabling)?",
        r"Moderation checks for snapshot .{0,3}[A-Za-z0-9:._/-]+ (passed|failed)",
        r"Usage policy evaluations completed, model is now enabled for sampling",
        r"Job (enqueued|started|succeeded|canceled|cancelled|failed|paused|resumed)\.?",
        r"Job enqueued\. Waiting for jobs ahead to complete\.",
        r"(Preprocessing|Training|Postprocessing|Evaluation) (started|completed)\.?",
        rf"Training tokens billed: {_FIGURE}",
        rf"Completed results file: {_ID}",
        r"Model Evaluation Passed\.?",
    )
)
# Event data holds these as numbers; whatever else is in it stays there.
_METRICS: Mapping[str, str] = {
    "step": "step",
    "total_steps": "steps",
    "train_loss": "loss",
    "train_mean_token_accuracy": "token_accuracy",
    "valid_loss": "validation_loss",
    "valid_mean_token_accuracy": "validation_token_accuracy",
    "full_valid_loss": "full_validation_loss",
    "full_valid_mean_token_accuracy": "full_validation_token_accuracy",
}
_LEVELS: Mapping[str, Literal["info", "warning", "error"]] = {"warn": "warning", "error": "error"}
NOT_SHOWN = "the service said something that is not shown, for it may quote a row"


def events(newest_first: Sequence[Reply]) -> tuple[Event, ...]:
    """Events, oldest first. Of one second, in the order in which the service lists them."""
    listed = list(reversed(newest_first))
    listed.sort(key=lambda reply: number(reply, "created_at") or 0)
    return tuple(event(reply) for reply in listed if text(reply, "id"))


def event(reply: Reply) -> Event:
    kind = name(reply.get("type")) or "message"
    said = text(reply, "message") or ""
    known = any(pattern.fullmatch(said.strip()) for pattern in _KNOWN_TEXT)
    return Event(
        id=text(reply, "id") or "",
        at=datetime.fromtimestamp(min(max(number(reply, "created_at") or 0, 0), 2**33), UTC),
        level=_LEVELS.get(text(reply, "level") or "", "info"),
        kind=kind,
        text=said.strip() if known else NOT_SHOWN,
        data=_metrics(part(reply, "data")),
    )


def _metrics(data: Reply) -> dict[str, Any]:
    return {
        ours: value
        for theirs, ours in _METRICS.items()
        if isinstance(value := data.get(theirs), int | float)
        and not isinstance(value, bool)
        and math.isfinite(value)
    }


# -- artifacts ------------------------------------------------------------------------------------


def artifacts(
    job: Reply, checkpoints: Iterable[Reply], *, base_url: str, callable: bool
) -> tuple[Artifact, ...]:
    """The tuned model first, then its checkpoints, then result files as addresses.

    Args:
        callable: whether a model answers by its name; else it needs a deployment first.
    """
    names = [text(job, "fine_tuned_model"), *(text(c, "fine_tuned_model_checkpoint") for c in checkpoints)]
    found = [
        Artifact("checkpoint" if place else "model", model, model if callable else None)
        for place, model in enumerate(names)
        if model
    ]
    listed = job.get("result_files")
    files: list[object] = listed if isinstance(listed, list) else []  # pyright: ignore[reportUnknownVariableType]
    urls = (f"{base_url.rstrip('/')}/files/{file}/content" for file in files if isinstance(file, str))
    return (*found, *(Artifact("metrics", url) for url in urls))


# -- answers of a model -----------------------------------------------------------------------------


def completion(reply: Reply, latency_s: float) -> Completion:
    """The answer, and the tokens as the service counted them. A refusal to answer is an answer, too."""
    choice = first(reply)
    usage, finish = part(reply, "usage"), text(choice, "finish_reason")
    said = part(choice, "message")
    return Completion(
        text=text(said, "content") or text(said, "refusal") or "",
        latency_s=latency_s,
        input_tokens=number(usage, "prompt_tokens"),
        output_tokens=number(usage, "completion_tokens"),
        finish="stop" if finish == "stop" else "length" if finish == "length" else "other",
    )


def delta(chunk: Reply) -> str:
    """The piece of text in one event of a streamed answer; empty where it has none."""
    return text(part(first(chunk), "delta"), "content") or ""


def first(reply: Reply) -> Reply:
    choices = reply.get("choices")
    return part({"choice": choices[0]}, "choice") if isinstance(choices, list) and choices else {}  # pyright: ignore[reportUnknownVariableType]
