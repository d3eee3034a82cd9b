"""What happens to a rehearsed job, and when: its events, checkpoints and what is said of it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from backends.sandbox.world import Life, Phase, Thing, loss_at


@dataclass(frozen=True, slots=True)
class Happening:
    """An event `at_s` seconds into the job's life."""

    at_s: float
    message: str
    level: str = "info"
    data: Mapping[str, Any] | None = None

    @property
    def type(self) -> str:
        return "metrics" if self.data else "message"


def happenings(job: Thing) -> Iterator[Happening]:
    """Everything that will happen to a job that nobody disturbs, in order."""
    life = Life(**job["life"])
    request = job["request"]
    started = life.validating_s + life.queued_s
    yield Happening(0, f"Created fine-tuning job: {job['id']}")
    yield Happening(0, f"Validating training file: {request['training_file']}")
    if life.rejected:
        yield Happening(life.validating_s, job["wrong"] or REFUSED, "error")
        return
    yield Happening(life.validating_s, "Files validated, moving job to queued state")
    yield Happening(started, "Fine-tuning job started")
    for step in range(1, life.steps + 1):
        at_s = started + life.running_s * step / life.steps
        if life.fails and at_s > started + life.running_s / 2:
            yield Happening(started + life.running_s / 2, BROKE_OFF, "error")
            return
        yield Happening(
            at_s,
            f"Step {step}/{life.steps}: training loss={loss_at(step, life.steps)}",
            data={"step": step, "total_steps": life.steps, "train_loss": loss_at(step, life.steps)},
        )
    ended = started + life.running_s
    for step in checkpoint_steps(life.steps):
        yield Happening(ended, f"Checkpoint created at step {step}")
    yield Happening(ended, f"New fine-tuned model created: {job['model_name']}")
    yield Happening(ended, "The job has successfully completed")


REFUSED = "The training file was refused"
BROKE_OFF = "The job failed due to an internal error while it trained"


def checkpoint_steps(steps: int) -> list[int]:
    """One after each of the last three epochs, of three; the last is the model itself."""
    return sorted({max(1, steps // 3), max(1, 2 * steps // 3), steps})[:-1]


def failure(job: Thing, phase: Phase) -> dict[str, Any] | None:
    """`error` of a job's reply."""
    if phase.name == "rejected":
        message = job["wrong"] or REFUSED
        return {"code": "invalid_training_file", "message": message, "param": "training_file"}
    if phase.name == "failed":
        return {"code": "server_error", "message": BROKE_OFF, "param": None}
    return None
