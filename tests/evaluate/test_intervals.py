"""Intervals: known answers, honest width where rows agree, and coverage of the truth."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.evaluate.intervals import Interval, difference_of, interval, mean

SHARE = (0.0, 1.0)


def _mean(values: list[float], bounds: tuple[float, float] | None = SHARE) -> Interval:
    return interval([np.array(values)], mean, bounds=bounds)


@pytest.mark.parametrize(("value", "low", "high"), [(0.0, 0.0, 0.0876), (1.0, 0.9124, 1.0)])
def test_forty_equal_rows_still_have_a_width(value: float, low: float, high: float) -> None:
    """Wilson for 0/40 and 40/40: 1.96² / (40 + 1.96²) = 0.0876."""
    found = _mean([value] * 40)
    assert (found.value, found.n) == (value, 40)
    assert found.low == pytest.approx(low, abs=1e-4)
    assert found.high == pytest.approx(high, abs=1e-4)


def test_equal_rows_without_bounds_have_no_known_interval() -> None:
    assert _mean([3.0, 3.0, 3.0], bounds=None) == Interval(3.0, None, None, 3)


def test_no_rows_is_not_zero() -> None:
    assert _mean([]) == Interval(None, None, None, 0)


def test_a_share_gets_wilsons_interval() -> None:
    found = _mean([1.0] * 30 + [0.0] * 10)
    assert found.low == pytest.approx(0.5980, abs=1e-3)
    assert found.high == pytest.approx(0.8581, abs=1e-3)


def test_pairs_stay_pairs() -> None:
    """A steady gain over rows of very different difficulty: sure when paired, lost when not."""
    base = np.linspace(0, 100, 50)
    tuned = base + np.tile([0.9, 1.1], 25)
    paired = interval([base, tuned], difference_of(mean))
    assert paired.value == pytest.approx(1.0)
    assert paired.low is not None
    assert paired.high is not None
    assert 0.9 < paired.low < paired.high < 1.1


def test_the_same_rows_give_the_same_interval() -> None:
    values = [0.1, 0.5, 0.7, 0.2, 0.9, 0.4]
    assert _mean(values) == _mean(values)


@given(st.lists(st.floats(0, 1), min_size=1, max_size=30))
@settings(max_examples=40, deadline=None)
def test_the_value_lies_within_its_interval_and_bounds(values: list[float]) -> None:
    found = _mean(values)
    assert found.value is not None
    if found.low is not None and found.high is not None:
        assert -1e-9 <= found.low <= found.value + 1e-9
        assert found.value - 1e-9 <= found.high <= 1 + 1e-9


def test_intervals_cover_the_truth_about_as_often_as_they_say() -> None:
    rng = np.random.default_rng(3)
    truth, covered, trials = 0.4, 0, 120
    for _ in range(trials):
        found = interval([rng.beta(2, 3, size=60)], mean, bounds=SHARE)
        assert found.low is not None
        assert found.high is not None
        covered += found.low <= truth <= found.high
    assert covered / trials > 0.88
