"""The price in force: by day, by place, by how sure it is."""

from __future__ import annotations

from datetime import date, timedelta
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cost import Entered, Override, PriceBook
from gateway.core.errors import SettingsError
from gateway.core.facts import Confidence, PriceLine
from tests.cost.making import TODAY, facts, line, source


def book(*lines: PriceLine) -> PriceBook:
    return PriceBook({"cloud": facts(*lines)})


def value(
    made: PriceBook, on: date = TODAY, model: str = "m", region: str = "r", offer: str = "o"
) -> Decimal:
    found = made.line("cloud", "training", model, region, offer, on)
    assert found is not None
    return found.value


def test_the_line_of_the_day_is_the_one_in_force_on_that_day() -> None:
    made = book(
        line("training", "2.00", until=date(2026, 12, 31)),
        line("training", "3.00", starts=date(2027, 1, 1)),
    )
    assert value(made, date(2026, 12, 31)) == Decimal("2.00")
    assert value(made, date(2027, 1, 1)) == Decimal("3.00")


def test_a_window_that_has_ended_leaves_no_price() -> None:
    made = book(line("training", "2.00", until=date(2026, 10, 31)))
    quote = made.quote("cloud", "training", "m", "r", "o", TODAY)
    assert quote.line is None
    assert quote.why_not == "no training price is known"


@pytest.mark.parametrize(
    ("model", "region", "offer"), [("x", "us", "std"), ("m", "eu", "std"), ("m", "us", "other")]
)
def test_a_price_for_elsewhere_is_no_price_here(model: str, region: str, offer: str) -> None:
    made = book(line("training", "2.00", models=("m",), regions=("us",), offers=("std",)))
    assert made.line("cloud", "training", model, region, offer, TODAY) is None
    assert made.line("cloud", "training", "m", "us", "std", TODAY) is not None


def test_two_prices_for_one_day_are_an_error_that_names_both() -> None:
    with pytest.raises(SettingsError, match=r"2\.00 and 3\.00") as caught:
        book(line("training", "2.00", models=("m",)), line("training", "3.00"))
    assert caught.value.place == "cloud prices"


def test_overlapping_lines_of_the_same_price_are_harmless() -> None:
    assert value(book(line("training", "2.00", models=("m",)), line("training", "2.00"))) == 2


@given(
    first=st.tuples(st.integers(0, 400), st.integers(0, 400)).map(sorted),
    second=st.tuples(st.integers(0, 400), st.integers(0, 400)).map(sorted),
)
def test_windows_conflict_exactly_when_they_share_a_day(first: list[int], second: list[int]) -> None:
    def window(days: list[int], price: str) -> PriceLine:
        starts, until = (TODAY + timedelta(days=day) for day in days)
        return line("training", price, starts=starts, until=until)

    share = set(range(first[0], first[1] + 1)) & set(range(second[0], second[1] + 1))
    if share:
        with pytest.raises(SettingsError):
            book(window(first, "2.00"), window(second, "3.00"))
    else:
        book(window(first, "2.00"), window(second, "3.00"))


@pytest.mark.parametrize(
    ("confidence", "why"),
    [
        (Confidence.MEMORY, "the training price is known only from memory"),
        (Confidence.UNKNOWN, "the training price is known to nobody yet"),
    ],
)
def test_what_nobody_can_show_is_no_price(confidence: Confidence, why: str) -> None:
    made = book(line("training", "2.00", source=source(confidence)))
    quote = made.quote("cloud", "training", "m", "r", "o", TODAY)
    assert (quote.line, quote.why_not, quote.stated) == (None, why, True)


def test_a_sure_price_stands_before_one_from_memory() -> None:
    made = book(
        line("training", "9.00", source=source(Confidence.MEMORY)), line("training", "2.00", models=("m",))
    )
    assert value(made) == 2


@pytest.mark.parametrize(
    ("confidence", "age_days", "band"),
    [
        (Confidence.HIGH, 180, "0"),
        (Confidence.HIGH, 181, "0.10"),
        (Confidence.LOW, 0, "0.30"),
        (Confidence.LOW, 400, "0.40"),
    ],
)
def test_doubt_widens(confidence: Confidence, age_days: int, band: str) -> None:
    made = book(line("training", "2.00", source=source(confidence, TODAY - timedelta(days=age_days))))
    assert made.quote("cloud", "training", "m", "r", "o", TODAY).band == Decimal(band)


def test_an_override_replaces_the_shipped_price_it_covers() -> None:
    shipped = facts(line("training", "2.00"))
    made = PriceBook(
        {"cloud": shipped}, Entered((Override("cloud", line("training", "1.50", models=("m",))),))
    )
    assert value(made) == Decimal("1.50")
    assert value(made, model="other") == Decimal("2.00")


def test_another_currency_is_not_taken_for_dollars() -> None:
    quote = book(line("training", "2.00", currency="EUR")).quote("cloud", "training", "m", "r", "o", TODAY)
    assert quote.line is None
    assert quote.why_not is not None
    assert "EUR" in quote.why_not
