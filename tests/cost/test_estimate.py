"""Line items: to the cent, and never a zero for what is not known."""

from __future__ import annotations

import json
import tomllib
from decimal import ROUND_HALF_UP, Decimal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backends import registry
from cost import OWN_HARDWARE, PriceBook, Usage, base_price, estimate
from gateway.core.facts import Confidence, PriceLine
from gateway.core.plan import CandidateKey, Estimate, Range
from gateway.core.spec import Serving
from tests.cost.making import TODAY, facts, line, source

GOLDEN = Path(__file__).parent / "golden"
KEY = CandidateKey("cloud", "m", "us", "std")
# 1,000 examples of 500 tokens, three times.
THOUSAND = Usage(train_tokens=500_000, epochs=3)
YEAR = Serving(input_tokens_per_month=30_000_000, output_tokens_per_month=5_000_000, months=12)
EVERYTHING = (
    line("training", "25.00"),
    line("storage", "1.95", unit="usd_per_month"),
    line("hosting", "1.70", unit="usd_per_hour"),
    line("input", "3.00"),
    line("output", "12.00"),
)


def priced(*lines: PriceLine, usage: Usage = THOUSAND, serving: Serving | None = None) -> Estimate:
    return estimate(PriceBook({"cloud": facts(*lines)}), KEY, "managed", usage, serving, TODAY).estimate


def test_the_golden_estimate() -> None:
    made = priced(*EVERYTHING, serving=YEAR).to_json()
    assert made == json.loads((GOLDEN / "thousand_examples_one_year.json").read_text())


def test_the_golden_figures_agree_with_paper() -> None:
    made = priced(*EVERYTHING, serving=YEAR)
    training = Decimal("37.50")  # 1.5 million tokens at 25.00
    serving = Decimal("23.40") + Decimal("14892.00") + Decimal("1080.00") + Decimal("720.00")
    assert made.training_usd == Range.exactly(training)
    assert made.total_usd == Range.exactly(training + serving)
    assert made.serving_usd_month == (serving / 12).quantize(Decimal("0.01"))


def _usable_training_prices() -> list[tuple[str, dict[str, Any], dict[str, Any]]]:
    """(backend, model, price) straight from the facts files, past our own loader and book."""
    found: list[tuple[str, dict[str, Any], dict[str, Any]]] = []
    for name in registry.BUILT_IN:
        path = registry.BUILT_IN[name].facts
        if not path.exists():
            continue
        stated = tomllib.loads(path.read_text(), parse_float=Decimal)
        for price in stated.get("prices", ()):
            sure = stated["sources"][price["source"]]["confidence"] in ("high", "medium")
            if price["item"] == "training" and sure and price["unit"] == "usd_per_1m_tokens":
                models = [m for m in stated["models"] if m["name"] in price["models"]]
                found += [(name, model, price) for model in models]
    return found


def test_a_thousand_examples_at_every_managed_model_to_the_cent() -> None:
    prices = _usable_training_prices()
    book = PriceBook({name: registry.facts(name) for name, _, _ in prices})
    for backend, model, price in prices:
        regions = model["regions"] if "*" in price.get("regions", ["*"]) else price["regions"]
        offers = model["offers"] if "*" in price.get("offers", ["*"]) else price["offers"]
        for region in regions:
            for offer in set(offers) & set(model["offers"]):
                if price.get("until", TODAY) < TODAY or price.get("from", TODAY) > TODAY:
                    continue
                key = CandidateKey(backend, model["name"], region, offer)
                made = estimate(book, key, "managed", THOUSAND, None, TODAY).estimate
                by_hand = (Decimal(price["value"]) * 3 / 2).quantize(Decimal("0.01"), ROUND_HALF_UP)
                assert made.training_usd is not None, key
                assert made.training_usd.likely == by_hand, key
    assert len(prices) > 10


@given(
    train=st.integers(1, 10**9),
    epochs=st.integers(1, 25),
    months=st.integers(1, 36),
    tokens=st.tuples(st.integers(0, 10**9), st.integers(0, 10**9)),
    values=st.lists(st.decimals("0", "99", places=3), min_size=5, max_size=5),
)
def test_sums_add_up_to_the_cent(
    train: int, epochs: int, months: int, tokens: tuple[int, int], values: list[Decimal]
) -> None:
    lines = [
        line(each.item, str(value), unit=each.unit, source=source(Confidence.LOW))
        for each, value in zip(EVERYTHING, values, strict=True)
    ]
    serving = Serving(input_tokens_per_month=tokens[0], output_tokens_per_month=tokens[1], months=months)
    made = priced(*lines, usage=Usage(train, epochs, token_band=0.15), serving=serving)
    assert made.total_usd is not None
    for part in ("low", "likely", "high"):
        amounts = [getattr(item.usd, part) for item in made.lines]
        assert all(amount == amount.quantize(Decimal("0.01")) for amount in amounts)
        assert getattr(made.total_usd, part) == sum(amounts, Decimal(0))
    assert made.total_usd.low <= made.total_usd.likely <= made.total_usd.high


@pytest.mark.parametrize("missing", ["training", "hosting", "input", "output"])
def test_an_unknown_price_is_unknown_and_named(missing: str) -> None:
    made = priced(*(each for each in EVERYTHING if each.item != missing), serving=YEAR)
    assert made.total_usd is None
    assert len(made.unpriced) == 1
    assert (made.training_usd is None) == (missing == "training")
    assert (made.serving_usd_month is None) == (missing != "training")


def test_storage_that_nobody_mentions_is_not_billed_but_one_from_memory_is_unknown() -> None:
    without = tuple(each for each in EVERYTHING if each.item != "storage")
    assert priced(*without, serving=YEAR).total_usd is not None
    vague = line("storage", "1.95", unit="usd_per_month", source=source(Confidence.MEMORY))
    assert priced(*without, vague, serving=YEAR).total_usd is None


def test_a_multiple_of_a_price_we_do_not_have_is_unknown() -> None:
    lines = [each for each in EVERYTHING if each.item != "input"]
    made = priced(*lines, line("input", "1.5", unit="multiple_of_base"), serving=YEAR)
    assert made.total_usd is None
    assert "1.5 × the base model's price" in made.unpriced[0]


def test_uncounted_tokens_are_unknown_not_free() -> None:
    assert priced(*EVERYTHING, usage=Usage(train_tokens=None, epochs=3)).training_usd is None


def test_validation_tokens_are_billed_on_a_line_of_their_own() -> None:
    made = priced(*EVERYTHING, usage=Usage(400_000, 3, validation_tokens=100_000))
    assert [(item.name, item.usd.likely) for item in made.lines] == [
        ("training", Decimal("30.00")),
        ("validation", Decimal("7.50")),
    ]


def test_a_proxy_tokenizer_widens_the_range_by_its_band() -> None:
    made = priced(line("training", "10.00"), usage=Usage(1_000_000, 1, token_band=0.15))
    assert made.training_usd == Range(Decimal("8.50"), Decimal("10.00"), Decimal("11.50"))


def test_ones_own_machine_is_not_priced_until_its_owner_says_so() -> None:
    key = CandidateKey("local", "m", "local", "this-machine")
    usage = Usage(500_000, 3, hours=Range(Decimal("0.5"), Decimal(1), Decimal(2)))
    bare = estimate(PriceBook({}), key, "local", usage, None, TODAY).estimate
    assert (bare.training_usd, bare.total_usd, bare.unpriced) == (None, None, (OWN_HARDWARE,))
    entered = facts(line("machine", "1.20", unit="usd_per_hour"), backend="local")
    made = estimate(PriceBook({"local": entered}), key, "local", usage, None, TODAY).estimate
    assert made.training_usd == Range(Decimal("0.60"), Decimal("1.20"), Decimal("2.40"))


def test_doubts_are_said_once_each() -> None:
    lines = [line("training", "25.00", source=source(Confidence.LOW)), *EVERYTHING[1:]]
    made = estimate(PriceBook({"cloud": facts(*lines)}), KEY, "managed", THOUSAND, YEAR, TODAY)
    assert made.warnings == ("the price of training has a weak source; its range is 30 % wider",)


def test_what_is_not_free_is_never_shown_as_nothing() -> None:
    tiny = priced(line("training", "1.00"), usage=Usage(1_000, 1))
    free = priced(line("training", "0"), usage=Usage(1_000, 1))
    assert tiny.training_usd is not None
    assert free.training_usd is not None
    assert tiny.training_usd.likely == free.training_usd.likely == 0
    assert tiny.told(tiny.training_usd) == "under $0.01"
    assert free.told(free.training_usd) == "$0.00"


def test_a_price_told_as_a_multiple_is_so_many_times_what_the_base_costs_to_call() -> None:
    twice = line("input", "1.5", unit="multiple_of_base")
    key = CandidateKey("cloud", "gpt-4.1-mini", "us", "std")
    book = PriceBook({"cloud": facts(*EVERYTHING[:3], twice, line("output", "12.00"))})
    base = base_price("gpt-4.1-mini", TODAY)
    assert base is not None
    asked = base.line("input")
    assert asked is not None
    made = estimate(book, key, "managed", THOUSAND, YEAR, TODAY).estimate
    told = next(each for each in made.lines if each.name == "inference input")
    assert told.price == Decimal("1.5") * asked.value
    assert told.usd.likely == (360 * told.price).quantize(Decimal("0.01"), ROUND_HALF_UP)
    assert f"1.5 × the base's {asked.value}" in told.source.note


def test_a_multiple_of_what_nobody_knows_is_unpriced() -> None:
    made = priced(*EVERYTHING[:3], line("input", "1.5", unit="multiple_of_base"), serving=YEAR)
    assert made.total_usd is None
    assert any("1.5 × the base model's price, which is not known" in why for why in made.unpriced)
