"""What an evaluation found: numbers, intervals, and plain words. Holds no row's text."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from gateway.evaluate.intervals import Interval
from gateway.evaluate.metrics import Metric

EVALUATION_SCHEMA = "tunegate.evaluation/1"


class Verdict(StrEnum):
    """What the paired difference says; `unclear` when its interval holds zero or is not known."""

    BETTER = "better"
    WORSE = "worse"
    UNCLEAR = "unclear"
    NEUTRAL = "neutral"  # neither way is better
    NO_BASELINE = "no_baseline"


@dataclass(frozen=True, slots=True)
class MetricResult:
    """One metric on the same rows for base and tuned, and the paired difference (tuned − base)."""

    metric: Metric
    base: Interval | None
    tuned: Interval
    difference: Interval | None

    @property
    def verdict(self) -> Verdict:
        if self.difference is None:
            return Verdict.NO_BASELINE
        if self.metric.better == "neither":
            return Verdict.NEUTRAL
        low, high = self.difference.low, self.difference.high
        if low is None or high is None or low <= 0 <= high:
            return Verdict.UNCLEAR
        return Verdict.BETTER if (low > 0) == (self.metric.better == "higher") else Verdict.WORSE

    @property
    def sentence(self) -> str:
        """What was found, in words for people; worse is said as plainly as better."""
        name, unit = self.metric.name, f" {self.metric.unit}" if self.metric.unit else ""
        tuned = _number(self.tuned.value)
        if self.base is None or self.difference is None:
            return f"{name}: {tuned}{unit} tuned, on {_rows(self.tuned.n)}; the base model was not scored"
        return (
            f"{name}: {_PHRASES[self.verdict]}: {_number(self.base.value)} → {tuned}{unit}, "
            f"difference {_number(self.difference.value, sign=True)}{_range(self.difference)} "
            f"on {_rows(self.difference.n)}"
        )


_PHRASES = {
    Verdict.BETTER: "tuned is better than base",
    Verdict.WORSE: "tuned is WORSE than base",
    Verdict.UNCLEAR: "no clear difference from base",
    Verdict.NEUTRAL: "base and tuned compared, neither way being better",
}


@dataclass(frozen=True, slots=True)
class ClassResult:
    """Exact match on the rows of one reference value. The value itself may be personal, so the class
    is named by the line it first stands on."""

    file: int
    line: int
    n: int
    base: Interval | None
    tuned: Interval

    def to_json(self) -> dict[str, Any]:
        return {
            "file": self.file,
            "line": self.line,
            "n": self.n,
            "base": self.base and self.base.to_json(),
            "tuned": self.tuned.to_json(),
        }


@dataclass(frozen=True, slots=True)
class Evaluation:
    """Base against tuned on the held-out rows.

    Attributes:
        rows: rows answered.
        skipped: held-out rows with no text to compare with (an answer that only calls tools).
        classes: exact match per reference value, where the references are few distinct values.
        worse_metric: the metric `worse_rows` is about: the first asked for that has a direction.
        worse_rows: (file, line) of rows on which tuned did worse than base.
        notes: what was asked and could not be measured, and why.
    """

    rows: int
    skipped: int
    results: tuple[MetricResult, ...]
    classes: tuple[ClassResult, ...] = ()
    worse_metric: str | None = None
    worse_rows: tuple[tuple[int, int], ...] = ()
    notes: tuple[str, ...] = ()

    def result(self, name: str) -> MetricResult:
        return next(result for result in self.results if result.metric.name == name)

    def summary(self) -> tuple[str, ...]:
        """One sentence per metric, then the notes."""
        return (*(result.sentence for result in self.results), *self.notes)

    def metrics_json(self) -> dict[str, dict[str, Any]]:
        """`metrics` of a job: {base, tuned, difference} → name → {value, low, high, n}."""
        return {
            part: {
                result.metric.name: found.to_json()
                for result in self.results
                if (found := getattr(result, part)) is not None
            }
            for part in ("base", "tuned", "difference")
        }

    def to_json(self) -> dict[str, Any]:
        """Stable, versioned JSON; not a word of any row in it."""
        return {
            "schema": EVALUATION_SCHEMA,
            "status": "done",
            "rows": self.rows,
            "skipped": self.skipped,
            "metrics": self.metrics_json(),
            "verdicts": {result.metric.name: str(result.verdict) for result in self.results},
            "words": {result.metric.name: result.sentence for result in self.results},
            "how": {result.metric.name: result.metric.how for result in self.results},
            "classes": [found.to_json() for found in self.classes],
            "worse_rows": {
                "metric": self.worse_metric,
                "rows": [{"file": file, "line": line} for file, line in self.worse_rows],
            },
            "notes": list(self.notes),
        }


def _number(value: float | None, *, sign: bool = False) -> str:
    return "unknown" if value is None else f"{value:{'+' if sign else ''}.3g}"


def _range(found: Interval) -> str:
    if found.low is None or found.high is None:
        return " (too few differing rows for an interval)"
    return f" ({_number(found.low, sign=True)} … {_number(found.high, sign=True)})"


def _rows(n: int) -> str:
    return "1 row" if n == 1 else f"{n} rows"
