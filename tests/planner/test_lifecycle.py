"""What ends, on the day of the plan and on the days of serving; and the real sunsets, pinned."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backends import registry
from gateway.core.facts import Facts, Lifecycle
from gateway.core.gate import Attestation
from gateway.core.plan import Reason, Verdict
from gateway.core.spec import Serving
from gateway.planner.lifecycle import horizon, lifecycle_reasons
from tests.cost.making import FRESH, TODAY
from tests.planner.making import model, shop

ACCOUNT = Attestation("existing_account", "cloud", date(2026, 1, 1), date(2026, 12, 31))


def reasons(
    *lifecycle: Lifecycle,
    as_of: date = TODAY,
    months: int | None = None,
    attestations: Sequence[Attestation] = (),
) -> list[Reason]:
    facts = shop(lifecycle=lifecycle).facts
    serving = None if months is None else Serving(months=months)
    return list(lifecycle_reasons(facts, model(), serving, as_of, attestations))


def training(**changes: object) -> Lifecycle:
    return Lifecycle("training", ("*",), "no new jobs", FRESH, **changes)  # pyright: ignore[reportArgumentType]


def serving(**changes: object) -> Lifecycle:
    return Lifecycle("serving", ("*",), "tuned models go", FRESH, **changes)  # pyright: ignore[reportArgumentType]


@pytest.mark.parametrize(
    ("as_of", "verdict", "words"),
    [
        (date(2026, 11, 22), Verdict.ALLOWED, "45 days from now"),
        (date(2027, 1, 6), Verdict.ALLOWED, "today is the last day"),
        (date(2027, 1, 7), Verdict.UNAVAILABLE, "yesterday was the last day"),
        (date(2027, 1, 15), Verdict.UNAVAILABLE, "9 days ago"),
    ],
)
def test_training_works_to_its_last_day(as_of: date, verdict: Verdict, words: str) -> None:
    (reason,) = reasons(training(until=date(2027, 1, 6)), as_of=as_of)
    assert reason.verdict is verdict
    assert words in reason.text


def test_serving_must_last_the_whole_horizon() -> None:
    sunset = serving(until=date(2027, 1, 14))
    (warned,) = reasons(sunset)
    assert (warned.verdict, warned.code) == (Verdict.ALLOWED, "serving_sunset")
    (short,) = reasons(sunset, months=1)
    assert short.verdict is Verdict.ALLOWED
    (long,) = reasons(sunset, months=12)
    assert (long.verdict, long.code) == (Verdict.UNAVAILABLE, "serving_ends")
    assert "53 days from now, and you need it until 22 November 2027" in long.text


def test_a_limit_that_only_begins_closes_from_that_day() -> None:
    closes = training(starts=date(2026, 12, 1))
    assert reasons(closes) == []
    (reason,) = reasons(closes, as_of=date(2026, 12, 1))
    assert reason.code == "training_closed"


def test_another_models_sunset_does_not_matter() -> None:
    elsewhere = Lifecycle("training", ("other",), "gone", FRESH, until=date(2020, 1, 1))
    assert reasons(elsewhere) == []


def test_an_agreement_that_is_needed_is_named_and_an_expired_one_says_when() -> None:
    needs = training(requires="existing_account")
    (none,) = reasons(needs)
    assert (none.verdict, none.code) == (Verdict.UNAVAILABLE, "requires_existing_account")
    assert reasons(needs, attestations=[ACCOUNT]) == []
    (lapsed,) = reasons(needs, attestations=[ACCOUNT], as_of=date(2027, 1, 1))
    assert "expired on 31 December 2026" in lapsed.text


def test_an_agreement_with_another_backend_does_not_count() -> None:
    other = Attestation("existing_account", "other", date(2026, 1, 1), None)
    assert len(reasons(training(requires="existing_account"), attestations=[other])) == 1


@given(day=st.dates(date(2024, 1, 1), date(2030, 12, 31)), months=st.integers(1, 120))
def test_a_horizon_is_that_many_months_ahead(day: date, months: int) -> None:
    end = horizon(day, months)
    assert (end.year * 12 + end.month) - (day.year * 12 + day.month) == months
    assert end.day == day.day or (end.day < day.day and (end + timedelta(days=1)).day == 1)


# -- the real world, pinned --------------------------------------------------------------------------


def _real(as_of: date, months: int | None) -> set[tuple[str, Verdict]]:
    facts: Facts = registry.facts("openai")
    tuned = facts.model("gpt-4.1-mini")
    assert tuned is not None
    account = Attestation("existing_account", "openai", date(2026, 1, 1), None)
    span = None if months is None else Serving(months=months)
    found = lifecycle_reasons(facts, tuned, span, as_of, [account])
    return {(reason.code, reason.verdict) for reason in found}


@pytest.mark.parametrize(
    ("as_of", "months", "expected"),
    [
        (
            date(2026, 11, 22),
            None,
            {("training_sunset", Verdict.ALLOWED), ("serving_sunset", Verdict.ALLOWED)},
        ),
        (
            date(2026, 11, 22),
            12,
            {("training_sunset", Verdict.ALLOWED), ("serving_ends", Verdict.UNAVAILABLE)},
        ),
        (
            date(2027, 1, 6),
            None,
            {("training_sunset", Verdict.ALLOWED), ("serving_sunset", Verdict.ALLOWED)},
        ),
        (
            date(2027, 1, 7),
            None,
            {("training_ended", Verdict.UNAVAILABLE), ("serving_sunset", Verdict.ALLOWED)},
        ),
        (
            date(2027, 1, 15),
            None,
            {("training_ended", Verdict.UNAVAILABLE), ("serving_ended", Verdict.UNAVAILABLE)},
        ),
    ],
)
def test_openai_closes_when_it_said_it_would(
    as_of: date, months: int | None, expected: set[tuple[str, Verdict]]
) -> None:
    assert _real(as_of, months) == expected


def test_a_model_that_ends_for_training_and_for_answers_on_one_day_is_one_warning() -> None:
    day = date(2027, 5, 19)
    (warned,) = reasons(serving(until=day), training(until=day))
    assert warned.code == "serving_sunset"
    apart = reasons(serving(until=day), training(until=day - timedelta(days=1)))
    assert {each.code for each in apart} == {"serving_sunset", "training_sunset"}
