"""What a probe saw: some steps of real training, each with what went through it, how long it took, and
how much memory the process had by then. Counts and times only; no row, and no name of one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

from pydantic import TypeAdapter, ValidationError

from gateway.core.errors import SettingsError
from gateway.core.facts import ModelShape

SCHEMA = "tunegate.probe/1"


@dataclass(frozen=True, slots=True)
class Passes:
    """Forward-backward passes, added up.

    Attributes:
        tokens: that went through, with padding where there is some.
        squares: of the lengths of the rows in them, likewise: what attention grows with.
        trained: tokens that the loss was taken over.
        largest: tokens of the largest single pass.
    """

    count: int
    tokens: int
    squares: int
    trained: int
    largest: int

    def __add__(self, other: Passes) -> Passes:
        return Passes(
            self.count + other.count,
            self.tokens + other.tokens,
            self.squares + other.squares,
            self.trained + other.trained,
            max(self.largest, other.largest),
        )


@dataclass(frozen=True, slots=True)
class StepSeen:
    """One optimizer step. `processor_s` is processor time over the threads that worked: what the step
    takes on a machine that does nothing else."""

    passes: Passes
    seconds: float
    processor_s: float
    memory_gib: float


@dataclass(frozen=True, slots=True)
class Setting:
    """What was trained, and how. `precision` is what the trainer took. Two probes of one setting differ
    only by the machine's mood."""

    shape: ModelShape
    task: str
    method: str
    precision: str
    rank: int
    dropout: bool
    checkpointing: bool
    threads: int


@dataclass(frozen=True, slots=True)
class Probe:
    """One probe.

    Attributes:
        machine: what it was taken on, hardware and libraries: it says nothing about any other.
        device: `cpu`, or the GPU's name.
        start_s: around the steps: from the process's begin to its first one, what that one takes more than
            later ones, saving what was trained, and the process's end.
        idle_gib: held before the base was loaded; `loaded_gib`: when it was, adapter and all.
        peak_gib: the most the process ever held.
        run: all passes that the whole run would make: every epoch over every row.
        run_steps: optimizer steps of the whole run.
    """

    machine: str
    at: datetime
    model: str
    device: str
    setting: Setting
    start_s: float
    idle_gib: float
    loaded_gib: float
    peak_gib: float
    steps: tuple[StepSeen, ...]
    run: Passes
    run_steps: int

    @property
    def trained_share(self) -> float:
        """Of the tokens that went through."""
        return self.run.trained / self.run.tokens if self.run.tokens else 0.0

    def to_json(self) -> dict[str, Any]:
        return {"schema": SCHEMA, **asdict(self), "at": self.at.isoformat()}

    @classmethod
    def from_json(cls, content: Mapping[str, Any], place: str) -> Probe:
        """Raises:
        SettingsError: this is no probe, or one of another version.
        """
        values = dict(content)
        try:
            if values.pop("schema", None) == SCHEMA:
                return TypeAdapter(cls).validate_python(values)
        except ValidationError:
            pass
        raise SettingsError(
            "this measurement cannot be read", place=place, fix="delete it, then `tunegate cost probe`"
        )


def added(passes: Sequence[Passes]) -> Passes:
    """All of them together."""
    total = Passes(0, 0, 0, 0, 0)
    for each in passes:
        total += each
    return total
