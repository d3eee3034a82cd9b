"""From probes to estimates: what the machine at hand was measured to take replaces what is assumed of it.

Four speeds are found by least squares over the steps that were seen, none of them negative, every step
weighing alike in proportion to its time. A probe of the very setting decides alone; where there is none,
all probes of this machine with the same device are taken together.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from hashlib import sha256
from itertools import combinations
from pathlib import Path
from statistics import median

from cost.hours import Speed, Work, effort, seconds
from cost.memory import GIB, Load, parts_gib, passing_bytes
from gateway.core.errors import SettingsError
from gateway.core.probe import Passes, Probe, Setting, StepSeen

_LEAST_SPREAD = 0.05  # no probe of twenty steps says it closer than this
_OTHER_SPREAD = 0.20  # what another setting's probe says of this one
_SAME_JOB = 0.03  # how far a run's tokens, drawn from quantiles, may lie off those of the same rows
_FEATURES = 4
_WORTH = 0.98  # a further speed must take this much off what is unexplained


@dataclass(frozen=True, slots=True)
class Measured:
    """What probes say about one setting on one machine.

    Attributes:
        exact: it was this very setting that was probed.
        spread: share by which the steps seen lay off the line through them, at least 5 %.
        busy: how many times longer a step took than it would have on an idle machine.
        slack: share that came on top of what one pass was counted to allocate.
        process_gib: of the process beside its model; None on a GPU, whose counter does not know it.
        run: all passes of the run that was probed last, in so many steps.
    """

    at: datetime
    exact: bool
    model: str
    precision: str
    speed: Speed
    spread: float
    busy: float
    slack: float
    process_gib: float | None
    trained_share: float
    run: Passes
    run_steps: int

    def of_this(self, made: Passes, steps: int) -> bool:
        """Whether it was this very job that was probed, so that its passes are known and not drawn."""
        same = abs(made.tokens / self.run.tokens - 1) < _SAME_JOB if self.run.tokens else False
        return self.exact and steps == self.run_steps and same

    def speeds(self) -> tuple[Speed, Speed, Speed]:
        """Low, likely and high."""
        spread = self.spread if self.exact else max(self.spread, _OTHER_SPREAD)
        return (
            _times(self.speed, 1 - spread),
            self.speed,
            _times(self.speed, max(1 + spread, min(self.busy, 4.0))),
        )

    def sentence(self) -> str:
        """For the plan."""
        what = "" if self.exact else f", with {self.model}"
        return f"measured on this machine on {self.at:%Y-%m-%d}{what}"


class Probes:
    """The probes of one machine; those of other machines or libraries are left out."""

    def __init__(self, probes: Iterable[Probe] = (), machine: str = "") -> None:
        self._probes = tuple(probe for probe in probes if probe.machine == machine)

    def __bool__(self) -> bool:
        return bool(self._probes)

    def measured(self, setting: Setting, *, on_gpu: bool) -> Measured | None:
        """What they say about a setting, whatever precision it would take; None where none can."""
        fitting = [probe for probe in self._probes if (probe.device != "cpu") == on_gpu and probe.steps]
        same = [probe for probe in fitting if _same(probe.setting, setting)]
        if same:
            return _of(same, exact=True)
        alike = [probe for probe in fitting if probe.setting.threads == setting.threads]
        return _of(alike, exact=False) if alike else None


def calibrated(probes: Sequence[Probe]) -> Speed:
    """The speeds that come closest to all steps seen."""
    seen = [(probe, step) for probe in probes for step in probe.steps]
    rows = [effort(probe.setting, step.passes, 1) for probe, step in seen]
    took = [alone_s(probe, step) for probe, step in seen]
    found = _least_squares(rows, took)
    return Speed(*found, start_s=median(probe.start_s for probe in probes))


def alone_s(probe: Probe, step: StepSeen) -> float:
    """What a step takes on a machine that does nothing else. One thread's processor time says it; the
    time of several, or of a GPU, is only seen on the clock."""
    one = probe.device == "cpu" and probe.setting.threads == 1
    return min(step.seconds, step.processor_s) if one else step.seconds


def read(folder: Path, machine: str) -> Probes:
    """What was measured; a file that cannot be read counts for nothing."""
    found: list[Probe] = []
    for path in sorted(folder.glob("*.json")):
        try:
            found.append(Probe.from_json(json.loads(path.read_bytes()), str(path)))
        except (OSError, ValueError, SettingsError):
            continue
    return Probes(found, machine)


def keep(probe: Probe, folder: Path) -> Path:
    """Write a probe; it takes the place of an earlier one of the same setting on the same machine."""
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    name = sha256(f"{probe.machine}|{probe.device}|{probe.setting}".encode()).hexdigest()[:16]
    path = folder / f"{name}.json"
    unfinished = path.with_suffix(".part")
    unfinished.write_text(json.dumps(probe.to_json(), indent=1) + "\n", encoding="utf-8")
    unfinished.replace(path)
    return path


def _of(probes: Sequence[Probe], *, exact: bool) -> Measured:
    last = max(probes, key=lambda probe: probe.at)
    used = [last] if exact else list(probes)
    speed = calibrated(used)
    seen = [(probe, step, alone_s(probe, step)) for probe in used for step in probe.steps]
    off = [abs(_told(probe, step, speed) / alone - 1) for probe, step, alone in seen]
    return Measured(
        at=last.at,
        exact=exact,
        model=last.model,
        precision=last.setting.precision,
        speed=speed,
        spread=max(_LEAST_SPREAD, median(off)),
        busy=median(step.seconds / alone for _, step, alone in seen),
        slack=median(_slack(probe) for probe in used),
        process_gib=None if last.device != "cpu" else median(_process_gib(probe) for probe in used),
        trained_share=last.trained_share,
        run=last.run,
        run_steps=last.run_steps,
    )


def load_of(probe: Probe, tokens: int, *, slack: float = 0.0) -> Load:
    """What a probe held at once in a pass of so many tokens, by our count."""
    setting = probe.setting
    return Load(
        setting.shape,
        "full" if setting.method == "full" else "qlora" if setting.method == "qlora" else "lora",
        "bf16" if setting.precision == "bf16" else "fp32",
        setting.rank,
        setting.dropout,
        tokens,
        setting.checkpointing,
        probe.device != "cpu",
        trained_share=probe.trained_share,
        slack=slack,
        process_gib=0.0,
    )


def _slack(probe: Probe) -> float:
    """What came on top of the counted, over what one pass was counted to allocate."""
    largest = max(step.passes.largest for step in probe.steps)
    load = load_of(probe, largest)
    counted = sum(parts_gib(load).values()) + _process_gib(probe)
    return max(-0.9, (probe.peak_gib - counted) * GIB / passing_bytes(load))


def _process_gib(probe: Probe) -> float:
    """What the process held beside base and adapter once both were loaded. A GPU's counter knows of no
    process, and what its driver takes is assumed."""
    if probe.device != "cpu":
        return 0.0
    parts = parts_gib(load_of(probe, 1))
    return max(0.0, probe.loaded_gib - parts["weights"] - parts.get("adapter", 0.0))


def _told(probe: Probe, step: StepSeen, speed: Speed) -> float:
    return seconds(Work(probe.setting, step.passes, 1), replace(speed, start_s=0.0))


def _same(one: Setting, other: Setting) -> bool:
    return replace(one, precision="") == replace(other, precision="")


def _times(speed: Speed, share: float) -> Speed:
    return Speed(
        speed.operation_s * share,
        speed.byte_s * share,
        speed.layer_s * share,
        speed.number_s * share,
        speed.start_s * share,
    )


def _least_squares(rows: Sequence[Sequence[float]], took: Sequence[float]) -> tuple[float, ...]:
    """Non-negative least squares by trying every set of features: there are fifteen.

    Each row is divided by its time, so that long steps do not drown short ones.
    """
    import numpy as np

    scaled = np.array(rows, dtype=np.float64) / np.array(took, dtype=np.float64)[:, None]
    scale = np.where(scaled.max(axis=0) > 0, scaled.max(axis=0), 1.0)
    scaled = scaled / scale
    best, units = float("inf"), [0.0] * _FEATURES
    for count in range(1, _FEATURES + 1):
        for chosen in combinations(range(_FEATURES), count):
            part = scaled[:, list(chosen)]
            found: list[float] = np.linalg.pinv(part, rcond=1e-6).sum(axis=1).tolist()
            off = float(np.square(part @ np.array(found) - 1).sum())
            if min(found) >= 0 and off < best * _WORTH:
                best = off
                units = [0.0] * _FEATURES
                for place, value in zip(chosen, found, strict=True):
                    units[place] = value
    return tuple(unit / float(size) for unit, size in zip(units, scale, strict=True))
