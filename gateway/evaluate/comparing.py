"""One metric on the same rows: base, tuned, and their paired difference."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from gateway.evaluate.intervals import Column, Statistic, difference_of, interval, mean
from gateway.evaluate.metrics import Metric
from gateway.evaluate.report import MetricResult


def compare(
    metric: Metric,
    base: tuple[Column, ...] | None,
    tuned: tuple[Column, ...],
    seed: int,
    *,
    telling: bool = True,
) -> MetricResult:
    """Base, tuned and their difference over the rows for which both have a value.

    Args:
        base: what the metric's statistic is made of, an entry per row; NaN where it does not apply.
        telling: False where the base is at chance, so that no difference says anything.
    """
    statistic = STATISTICS.get(metric.name, mean)
    smooth = metric.unit != "s"
    kept = np.isfinite(np.stack([*(base or ()), *tuned])).all(axis=0)
    after = [column[kept] for column in tuned]
    one = interval(after, statistic, bounds=metric.bounds, smooth=smooth, seed=seed)
    if base is None:
        return MetricResult(metric, None, one, None)
    before = [column[kept] for column in base]
    span = None if metric.bounds is None else metric.bounds[1] - metric.bounds[0]
    return MetricResult(
        metric,
        interval(before, statistic, bounds=metric.bounds, smooth=smooth, seed=seed),
        one,
        interval(
            [*before, *after],
            difference_of(statistic),
            bounds=None if span is None else (-span, span),
            smooth=smooth,
            seed=seed,
        ),
        telling,
    )


def _loss(log_probabilities: Column, tokens: Column, axis: int = -1) -> Any:
    return -log_probabilities.sum(axis=axis) / tokens.sum(axis=axis)


def _perplexity(log_probabilities: Column, tokens: Column, axis: int = -1) -> Any:
    return np.exp(_loss(log_probabilities, tokens, axis=axis))


def _median(values: Column, axis: int = -1) -> Any:
    return np.median(values, axis=axis)


def _p90(values: Column, axis: int = -1) -> Any:
    return np.quantile(values, 0.9, axis=axis)


STATISTICS: Mapping[str, Statistic] = {
    "loss": _loss,
    "general_loss": _loss,
    "perplexity": _perplexity,
    "latency_median_s": _median,
    "latency_p90_s": _p90,
}
