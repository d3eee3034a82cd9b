"""What an evaluation found: numbers, intervals, and plain words. Holds no row's text."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from gateway.evaluate.classes import Classes
from gateway.evaluate.intervals import Interval
from gateway.evaluate.metrics import Metric

EVALUATION_SCHEMA = "tunegate.evaluation/1"
Place = tuple[int, int]  # file, line


class Verdict(StrEnum):
    """What the paired difference says; `unclear` when its interval holds zero or is not known."""

    BETTER = "better"
    WORSE = "worse"
    UNCLEAR = "unclear"
    NEUTRAL = "neutral"  # neither way is better
    NO_BASELINE = "no_baseline"
    TOO_SMALL = "too_small"  # the base is at chance: nothing could be seen to be lost


@dataclass(frozen=True, slots=True)
class MetricResult:
    """One metric on the same rows for base and tuned, and the paired difference (tuned − base).
    `telling` is False where the base is at chance."""

    metric: Metric
    base: Interval | None
    tuned: Interval
    difference: Interval | None
    telling: bool = True

    @property
    def verdict(self) -> Verdict:
        if self.difference is None:
            return Verdict.NO_BASELINE
        if self.metric.better == "neither":
            return Verdict.NEUTRAL
        if not self.telling:
            return Verdict.TOO_SMALL
        low, high, margin = self.difference.low, self.difference.high, self.metric.margin
        if low is None or high is None or (low <= margin and high >= -margin):
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
    Verdict.TOO_SMALL: "the base is too small to tell",
}


class Conclusion(StrEnum):
    """All verdicts in one word; never better than the worst of them allows."""

    BETTER = "better"
    WORSE = "worse"
    MIXED = "mixed"  # better by one metric, worse by another
    UNCLEAR = "unclear"
    NO_BASELINE = "no_baseline"


@dataclass(frozen=True, slots=True)
class Evaluation:
    """Base against tuned on the held-out rows.

    Attributes:
        rows: rows answered.
        skipped: held-out rows with no text to compare with (an answer that only calls tools).
        classes: precision, recall and F1 by class, where the references are few distinct answers.
        worse_metric: the metric `worse_rows` is about: the first asked for that has a direction.
        worse_rows: (file, line) of held-out rows on which tuned did worse than base.
        unanswered: (file, line) of held-out rows that a model refused to answer; in no figure.
        cut: (file, line) of rows whose prompt was longer than a model takes, so that it saw a part.
        notes: what was asked and could not be measured, and why.
    """

    rows: int
    skipped: int
    results: tuple[MetricResult, ...]
    classes: Classes = field(default_factory=Classes)
    worse_metric: str | None = None
    worse_rows: tuple[Place, ...] = ()
    unanswered: tuple[Place, ...] = ()
    cut: tuple[Place, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def conclusion(self) -> Conclusion:
        """One word for all of it. Forgetting counts like any other loss; nobody tunes to be better at
        the general questions, so being better there alone is not better."""
        counted = [result for result in self.results if result.metric.unit != "s"]
        verdicts = {
            result.verdict
            for result in counted
            if not (result.metric.general and result.verdict is Verdict.BETTER)
        }
        if Verdict.WORSE in verdicts:
            return Conclusion.MIXED if Verdict.BETTER in verdicts else Conclusion.WORSE
        if Verdict.BETTER in verdicts:
            return Conclusion.BETTER
        return Conclusion.NO_BASELINE if Verdict.NO_BASELINE in verdicts else Conclusion.UNCLEAR

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
            "conclusion": str(self.conclusion),
            "verdicts": {result.metric.name: str(result.verdict) for result in self.results},
            "words": {result.metric.name: result.sentence for result in self.results},
            "how": {result.metric.name: result.metric.how for result in self.results},
            "classes": [found.to_json() for found in self.classes.results],
            "confusions": [found.to_json() for found in self.classes.confusions],
            "worse_rows": {"metric": self.worse_metric, "rows": _places(self.worse_rows)},
            "unanswered": _places(self.unanswered),
            "cut": _places(self.cut),
            "notes": list(self.notes),
        }


def _places(places: tuple[Place, ...]) -> list[dict[str, int]]:
    return [{"file": file, "line": line} for file, line in places]


def _number(value: float | None, *, sign: bool = False) -> str:
    return "unknown" if value is None else f"{value:{'+' if sign else ''}.3g}"


def _range(found: Interval) -> str:
    if found.low is None or found.high is None:
        return " (too few differing rows for an interval)"
    return f" ({_number(found.low, sign=True)} … {_number(found.high, sign=True)})"


def _rows(n: int) -> str:
    return "1 row" if n == 1 else f"{n} rows"
