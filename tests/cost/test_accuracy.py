"""How far estimates were off: worked on paper, and told to the next plan."""

from __future__ import annotations

from decimal import Decimal

import pytest

from cost import Accuracy, Outcome, accuracy
from gateway.core.estimate import Range


def span(low: str, likely: str, high: str) -> Range:
    return Range(Decimal(low), Decimal(likely), Decimal(high))


def outcome(backend: str = "cloud", *, usd: str | None = None, hours: str | None = None) -> Outcome:
    return Outcome(
        "job", backend, "m", span("8", "10", "12"), (usd and Decimal(usd)) or None,
        span("1", "2", "4"), (hours and Decimal(hours)) or None,
    )  # fmt: skip


def test_the_median_of_actual_over_estimated_and_how_many_lay_in_range() -> None:
    found = accuracy(
        [outcome(usd="11", hours="2"), outcome(usd="20", hours="6"), outcome(usd="9", hours="3")]
    )
    assert found == (Accuracy("cloud", 3, usd=1.1, hours=1.5, within=4 / 6),)


def test_backends_are_kept_apart_and_jobs_that_tell_nothing_do_not_count() -> None:
    found = accuracy([outcome("b", usd="10"), outcome("a", hours="1"), outcome("a")])
    assert [(each.backend, each.jobs, each.usd, each.hours) for each in found] == [
        ("a", 1, None, 0.5),
        ("b", 1, 1.0, None),
    ]


def test_an_estimate_of_nothing_has_no_ratio() -> None:
    free = Outcome("j", "b", "m", span("0", "0", "0"), Decimal(1), None, Decimal(1))
    assert free.usd_ratio is None
    assert accuracy([free]) == ()


@pytest.mark.parametrize(
    ("found", "said"),
    [
        (Accuracy("b", 1, 1.2, None, 1.0), "the one finished job here came to 1.20 × the estimated cost"),
        (
            Accuracy("b", 4, 1.2, 0.8, 0.5),
            "the last 4 finished jobs here came to 1.20 × the estimated cost and 0.80 × the estimated time",
        ),
        (Accuracy("b", 0, None, None, None), None),
    ],
)
def test_what_the_next_plan_is_told(found: Accuracy, said: str | None) -> None:
    assert found.sentence() == said
