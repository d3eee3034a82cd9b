"""95 % intervals that do not lie.

Bootstrap over rows (seeded), paired for differences. Where every row gave the same value a
bootstrap has zero width, which 40 rows do not justify: there, the Wilson bound on how many unseen
rows may differ gives the width.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

LEVEL = 0.95
RESAMPLES = 9_999
_CELLS = 4_000_000  # resampled values held at once: 32 MB
_BCA_ROWS = 1_000  # BCa's jackknife is quadratic in rows, and no better than percentiles by then

Column = NDArray[np.float64]
Statistic = Callable[..., Any]


@dataclass(frozen=True, slots=True)
class Interval:
    """A value over `n` rows and its 95 % interval; None where it is not known."""

    value: float | None
    low: float | None
    high: float | None
    n: int

    def to_json(self) -> dict[str, float | int | None]:
        return {"value": self.value, "low": self.low, "high": self.high, "n": self.n}


def mean(values: Column, axis: int = -1) -> Any:
    return values.mean(axis=axis)


def difference_of(statistic: Statistic) -> Statistic:
    """The statistic of the second half of its columns, less that of the first half."""

    def difference(*columns: Column, axis: int = -1) -> Any:
        half = len(columns) // 2
        return statistic(*columns[half:], axis=axis) - statistic(*columns[:half], axis=axis)

    return difference


def interval(
    columns: Sequence[Column],
    statistic: Statistic,
    *,
    bounds: tuple[float, float] | None = None,
    smooth: bool = True,
    seed: int = 17,
) -> Interval:
    """A statistic of one or more columns with a row each, and its interval.

    Args:
        columns: arrays of one length; resampled together, row by row, so that pairs stay pairs.
        statistic: of the columns, along `axis`.
        bounds: smallest and largest possible value of a row, where there is such a limit.
        smooth: False for quantiles, for which BCa's acceleration means nothing.
        seed: of the resampling; the same rows always give the same interval.
    """
    n = len(columns[0])
    if n == 0:
        return Interval(None, None, None, 0)
    with np.errstate(over="ignore", invalid="ignore"):  # a perplexity may overflow: then it is unknown
        return _interval(columns, statistic, n, bounds, smooth, seed)


def _interval(
    columns: Sequence[Column],
    statistic: Statistic,
    n: int,
    bounds: tuple[float, float] | None,
    smooth: bool,
    seed: int,
) -> Interval:
    value = float(statistic(*columns))
    if _same_everywhere(columns, statistic):
        low, high = _degenerate(value, n, bounds)
    elif _is_share(columns, bounds):
        low, high = _wilson(int(columns[0].sum()), n)
    else:
        low, high = _bootstrap(columns, statistic, "BCa" if smooth and n <= _BCA_ROWS else "percentile", seed)
    return Interval(_finite(value), _finite(low), _finite(high), n)


def _same_everywhere(columns: Sequence[Column], statistic: Statistic) -> bool:
    """Whether every row alone gives the same value, so that resampling could show no spread."""
    by_row = statistic(*(column[:, None] for column in columns))
    return bool(np.ptp(by_row) < 1e-12)


def _is_share(columns: Sequence[Column], bounds: tuple[float, float] | None) -> bool:
    return len(columns) == 1 and bounds == (0.0, 1.0) and bool(np.isin(columns[0], (0.0, 1.0)).all())


def _degenerate(
    value: float, n: int, bounds: tuple[float, float] | None
) -> tuple[float | None, float | None]:
    """All `n` rows gave `value`. At least a share `alike` of all rows does; the rest lie in the bounds."""
    if bounds is None:
        return None, None
    alike = _wilson(n, n)[0]
    return tuple(alike * value + (1 - alike) * bound for bound in bounds)  # pyright: ignore[reportReturnType]


def _wilson(successes: int, n: int) -> tuple[float, float]:
    from scipy.stats import binomtest  # pyright: ignore[reportMissingTypeStubs, reportUnknownVariableType]

    found = cast("Any", binomtest(successes, n)).proportion_ci(LEVEL, method="wilson")
    return float(found.low), float(found.high)


def _bootstrap(
    columns: Sequence[Column], statistic: Statistic, method: str, seed: int
) -> tuple[float, float]:
    from scipy import stats  # pyright: ignore[reportMissingTypeStubs]

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # BCa says when it cannot; the percentiles below then answer
        found = cast("Any", stats).bootstrap(
            tuple(columns),
            statistic,
            paired=True,
            vectorized=True,
            n_resamples=RESAMPLES,
            batch=max(1, _CELLS // len(columns[0])),
            confidence_level=LEVEL,
            method=method,
            rng=np.random.default_rng(seed),
        )
    low, high = (float(end) for end in found.confidence_interval)
    if method == "BCa" and not (math.isfinite(low) and math.isfinite(high)):
        return _bootstrap(columns, statistic, "percentile", seed)
    return low, high


def _finite(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None
