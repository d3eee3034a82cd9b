"""How far estimates were off: what jobs did cost and take, beside what their plans said."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from decimal import Decimal
from statistics import median
from typing import Any

from gateway.core.estimate import Range


@dataclass(frozen=True, slots=True)
class Outcome:
    """One finished job: its plan's estimates of training, and what it came to. None: not known."""

    job: str
    backend: str
    model: str
    planned_usd: Range | None
    actual_usd: Decimal | None
    planned_h: Range | None
    actual_h: Decimal | None

    @property
    def usd_ratio(self) -> float | None:
        """Actual over likely estimate; None where one of them is unknown or nothing."""
        return _ratio(self.actual_usd, self.planned_usd)

    @property
    def hours_ratio(self) -> float | None:
        return _ratio(self.actual_h, self.planned_h)

    def to_json(self) -> dict[str, Any]:
        return {
            "job": self.job,
            "backend": self.backend,
            "model": self.model,
            "estimated_usd": self.planned_usd and str(self.planned_usd.likely),
            "actual_usd": None if self.actual_usd is None else str(self.actual_usd),
            "estimated_h": self.planned_h and str(self.planned_h.likely),
            "actual_h": None if self.actual_h is None else str(round(self.actual_h, 6)),
        }


@dataclass(frozen=True, slots=True)
class Accuracy:
    """How far the estimates for one backend were off, over its finished jobs.

    Attributes:
        usd: median of actual over estimated cost; None where no job tells.
        hours: likewise of training time.
        within: share of the comparable figures that lay between their low and their high.
    """

    backend: str
    jobs: int
    usd: float | None
    hours: float | None
    within: float | None

    def to_json(self) -> dict[str, Any]:
        return {
            "backend": self.backend,
            "jobs": self.jobs,
            "cost_ratio": self.usd and round(self.usd, 3),
            "time_ratio": self.hours and round(self.hours, 3),
            "within_range": self.within and round(self.within, 3),
        }

    def sentence(self) -> str | None:
        """For the next plan: how far the last ones were off; None where nothing can be said."""
        parts = [
            f"{ratio:.2f} × the estimated {what}"
            for ratio, what in ((self.usd, "cost"), (self.hours, "time"))
            if ratio is not None
        ]
        if not parts:
            return None
        jobs = "the one finished job" if self.jobs == 1 else f"the last {self.jobs} finished jobs"
        return f"{jobs} here came to {' and '.join(parts)}"


def accuracy(outcomes: Iterable[Outcome]) -> tuple[Accuracy, ...]:
    """One entry per backend that has finished jobs to compare, by name."""
    by_backend: dict[str, list[Outcome]] = {}
    for outcome in outcomes:
        if outcome.usd_ratio is not None or outcome.hours_ratio is not None:
            by_backend.setdefault(outcome.backend, []).append(outcome)
    return tuple(_of(name, found) for name, found in sorted(by_backend.items()))


def _of(backend: str, outcomes: list[Outcome]) -> Accuracy:
    hits = [hit for outcome in outcomes for hit in _hits(outcome)]
    return Accuracy(
        backend=backend,
        jobs=len(outcomes),
        usd=_median(outcome.usd_ratio for outcome in outcomes),
        hours=_median(outcome.hours_ratio for outcome in outcomes),
        within=sum(hits) / len(hits) if hits else None,
    )


def _hits(outcome: Outcome) -> Iterable[bool]:
    pairs = ((outcome.actual_usd, outcome.planned_usd), (outcome.actual_h, outcome.planned_h))
    for actual, planned in pairs:
        if actual is not None and planned is not None:
            yield planned.low <= actual <= planned.high


def _ratio(actual: Decimal | None, planned: Range | None) -> float | None:
    if actual is None or planned is None or planned.likely <= 0:
        return None
    return float(actual / planned.likely)


def _median(ratios: Iterable[float | None]) -> float | None:
    known = [ratio for ratio in ratios if ratio is not None]
    return median(known) if known else None
