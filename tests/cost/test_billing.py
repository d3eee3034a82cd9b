"""What a rented hour is cut into: on the bill stands more than was used, and it is a line of its own."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import date
from decimal import Decimal
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cost import load_gpus
from cost.gpus import Billing, Rental
from cost.selfhosted import FAILED, START_UP
from gateway.core.estimate import LineItem
from gateway.core.facts import Confidence, Source
from tests.cost.test_selfhosted import options, rental

GOLDEN = Path(__file__).parent / "golden"
SAID = Source("billing", "https://billing.example/", date(2026, 10, 2), Confidence.HIGH)


def billed(step_s: int, least_s: int = 0) -> Rental:
    return replace(rental(usd="2.00"), billing=Billing(step_s, least_s, SAID))


def line_of(unit: Rental) -> LineItem:
    (found,) = options(unit)
    return next(line for line in found.loaded.lines if line.name.startswith("billed by"))


@pytest.mark.parametrize(
    ("step_s", "least_s", "used_s", "billed_s"),
    [
        (1, 60, "12", 60),
        (1, 60, "60", 60),
        (1, 60, "60.25", 61),
        (60, 0, "60", 60),
        (60, 0, "61", 120),
        (3600, 0, "1", 3600),
        (3600, 0, "3600", 3600),
        (3600, 0, "3601", 7200),
    ],
)
def test_worked_by_hand(step_s: int, least_s: int, used_s: str, billed_s: int) -> None:
    hours = Billing(step_s, least_s, SAID).billed_h(Decimal(used_s) / 3600)
    assert round(hours * 3600, 6) == billed_s


@given(
    hours=st.decimals(0, 500, places=4),
    step_s=st.sampled_from((1, 60, 900, 3600)),
    least_s=st.sampled_from((0, 60, 3600)),
)
def test_never_less_than_was_used_and_never_a_step_more(hours: Decimal, step_s: int, least_s: int) -> None:
    on_the_bill = Billing(step_s, least_s, SAID).billed_h(hours)
    tiny = Decimal("1e-15")
    assert on_the_bill >= hours - tiny
    assert on_the_bill * 3600 >= least_s - tiny
    assert on_the_bill * 3600 < max(hours * 3600, Decimal(least_s)) + step_s + tiny


def test_training_start_up_and_failed_runs_come_to_whole_steps() -> None:
    (found,) = options(billed(3600))
    hours = found.lies.hours.likely + START_UP.likely + found.lies.hours.likely * FAILED.likely
    line = line_of(billed(3600))
    assert 0 < hours < 1
    assert line.quantity == 1 - hours
    assert line.name == "billed by the hour"
    assert line.source == SAID
    assert line.usd.low <= line.usd.likely <= line.usd.high


def test_a_finer_step_costs_less_and_its_line_says_the_least() -> None:
    by_hour, by_minute, by_second = (line_of(billed(step)).usd.likely for step in (3600, 60, 1))
    assert by_hour > by_minute >= by_second
    assert line_of(billed(1, 60)).name == "billed by the second, at least 60 s"


def test_what_nobody_states_is_taken_for_whole_hours_and_says_so() -> None:
    line = line_of(rental(usd="2.00"))
    assert line.name == "billed by the hour (assumed: not stated)"
    assert line.usd.likely == line_of(billed(3600)).usd.likely


def test_the_catalogue_says_what_it_knows_and_no_more() -> None:
    steps = {
        unit.provider: unit.billing and (unit.billing.step_s, unit.billing.least_s)
        for unit in load_gpus().rentals
    }
    assert steps == {"aws": (1, 60), "runpod": (1, 0), "lambda": (60, 0), "hotaisle": None}
    assert all(unit.billing.source.confidence.usable for unit in load_gpus().rentals if unit.billing)


def test_the_golden_estimate() -> None:
    """The money of one L4 by the second and of one H100 whose step is not stated, line by line."""
    units = (replace(rental("L4", usd="0.80"), billing=Billing(1, 60, SAID)), rental(usd="2.00"))
    made = {found.name: found.loaded.to_json() for found in options(*units)}
    assert made == json.loads((GOLDEN / "self_hosted_one_year.json").read_text())
    for estimate in made.values():
        for bound in ("low", "likely", "high"):
            lines = sum(Decimal(line["usd"][bound]) for line in estimate["lines"])
            assert lines == Decimal(estimate["total_usd"][bound])
