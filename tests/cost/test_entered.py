"""Prices an organisation enters itself: what they replace, what they are taken off, what is refused."""

from __future__ import annotations

from datetime import date
from decimal import Decimal
from typing import Any

import pytest

from cost import Entered, PriceBook, Usage, entered_from, estimate
from gateway.core.errors import SettingsError
from gateway.core.plan import CandidateKey, Range
from tests.cost.making import TODAY, facts, line

KEY = CandidateKey("cloud", "m", "r", "o")


def entered(
    prices: list[dict[str, Any]] | None = None,
    discounts: list[dict[str, Any]] | None = None,
    machines: list[dict[str, Any]] | None = None,
) -> Entered:
    return entered_from(
        prices or [], discounts or [], machines or [], place="tunegate.toml", read_on=date(2026, 11, 1)
    )


TRAINING = {"backend": "cloud", "item": "training", "unit": "usd_per_1m_tokens", "source": "contract"}


def test_an_entered_price_stands_before_the_shipped_one_while_it_holds() -> None:
    own = entered(prices=[{**TRAINING, "value": Decimal("0.90"), "until": date(2026, 12, 31)}])
    book = PriceBook({"cloud": facts(line("training", "2.00"))}, own)
    now = book.line("cloud", "training", "m", "r", "o", TODAY)
    then = book.line("cloud", "training", "m", "r", "o", date(2027, 1, 1))
    assert now is not None
    assert (now.value, now.source.note, now.source.url) == (Decimal("0.90"), "contract", "tunegate.toml")
    assert then is not None
    assert then.value == Decimal("2.00")


def test_a_discount_is_taken_off_what_it_covers_and_the_source_says_so() -> None:
    off = {"backend": "cloud", "percent": 12, "items": ["training"], "source": "agreement"}
    book = PriceBook(
        {"cloud": facts(line("training", "2.00"), line("storage", "1", unit="usd_per_month"))},
        entered(discounts=[off]),
    )
    training = book.line("cloud", "training", "m", "r", "o", TODAY)
    storage = book.line("cloud", "storage", "m", "r", "o", TODAY)
    assert training is not None
    assert training.value == Decimal("1.76")
    assert "less 12 % (agreement)" in training.source.note
    assert storage is not None
    assert storage.value == 1


def test_a_discount_leaves_an_entered_price_alone() -> None:
    own = entered(
        prices=[{**TRAINING, "value": 1}], discounts=[{"backend": "cloud", "percent": 50, "source": "x"}]
    )
    found = PriceBook({"cloud": facts()}, own).line("cloud", "training", "m", "r", "o", TODAY)
    assert found is not None
    assert found.value == 1


BOUGHT = {
    "purchase_usd": 14_000, "lifetime_years": 4, "power_w": 700, "usd_per_kwh": Decimal("0.22"),
    "utilisation": Decimal("0.5"), "source": "invoice",
}  # fmt: skip


def test_a_machine_of_ones_own_costs_its_purchase_over_the_hours_it_works_and_its_power() -> None:
    own = entered(machines=[BOUGHT])
    key = CandidateKey("local", "m", "this-machine", "this-machine")
    usage = Usage(train_tokens=1, epochs=1, hours=Range.exactly(Decimal(10)))
    made = estimate(PriceBook({}, own), key, "local", usage, None, TODAY).estimate
    # 14,000 / (4 × 8,760 × 0.5) + 0.7 kW × 0.22 = 0.7991 + 0.154
    assert own.overrides[0].line.value == Decimal("0.9531")
    assert made.training_usd is not None
    assert made.training_usd.likely == Decimal("9.53")


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ({"prices": [{**TRAINING, "value": -1}]}, "prices.0.value"),
        ({"prices": [{**TRAINING, "value": 1, "unit": "usd_per_hour"}]}, "not in usd_per_hour"),
        ({"prices": [{**TRAINING, "value": 1, "currency": "EUR"}]}, "convert the EUR yourself"),
        ({"prices": [{**TRAINING, "value": 1, "colour": "red"}]}, "prices.0.colour"),
        (
            {"prices": [{**TRAINING, "value": 1, "from": date(2027, 1, 1), "until": date(2026, 1, 1)}]},
            "never holds",
        ),
        ({"prices": [{**TRAINING, "value": 1, "source": ""}]}, "prices.0.source"),
        ({"discounts": [{"backend": "cloud", "percent": 120, "source": "x"}]}, "discounts.0.percent"),
        ({"machines": [{"source": "x"}]}, "give usd_per_hour, or all of"),
        ({"machines": [{**BOUGHT, "usd_per_hour": 1}]}, "give usd_per_hour, or all of"),
        ({"machines": [{"purchase_usd": 1, "source": "x"}]}, "give usd_per_hour, or all of"),
    ],
)
def test_what_is_entered_wrongly_is_refused_with_its_place(wrong: dict[str, Any], told: str) -> None:
    with pytest.raises(SettingsError) as caught:
        entered(**wrong)
    assert told in caught.value.message
    assert caught.value.place == "tunegate.toml"


def test_two_entered_prices_for_one_day_are_refused() -> None:
    own = entered(prices=[{**TRAINING, "value": 1}, {**TRAINING, "value": 2}])
    with pytest.raises(SettingsError, match="two training prices"):
        PriceBook({"cloud": facts()}, own)
