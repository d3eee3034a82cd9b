"""Prices read live: what is taken, what is left alone, and that the book is never replaced in silence."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path

import pytest
from typer.testing import CliRunner

from backends import registry
from cost import PriceBook
from cost.live import Lists, Live, dump, load, read_live
from gateway import Gateway
from gateway.cli.main import app
from gateway.core.errors import Unreachable
from gateway.core.facts import PriceLine
from tests.cost.making import TODAY, facts, line, source
from tests.cost.price_lists import Published, meter, serving, usage

FACTS = {name: registry.facts(name) for name in ("bedrock", "azure")}
AWS = {
    "us-east-1": [
        usage("USE1-NovaMicro-Customization-Training", "0.0012"),
        usage("USE1-Nova2.0Lite-Customization-Training", "0.0038"),
        usage("USE1-NovaMicro-Customization-Storage", "1.95", "Model-Month"),
        usage("USE1-NovaMicro-input-tokens-custom-model", "0.000035"),
        usage("USE1-NovaMicro-input-tokens", "0.9"),  # the base model's, not the tuned one's
        usage("USE1-NovaCanvas-Customization-Training", "0.005", "image"),
        usage("USE1-Mystery-Customization-Training", "0.1"),
    ],
    "us-west-2": [usage("USW2-Llama3-3-70B-Customization-Training", "0.00799")],
}
AZURE = [
    [
        meter("gpt-4.1-mini FT Training glbl Tokens", 0.0051),
        meter("gpt 4.1 mini FT Training regnl Tokens", 0.0061),
        meter("gpt-4.1-mini FT hosting regnl", 1.7, "1 Hour"),
        meter("gpt-4.1-mini Inp glbl Tokens", 0.0004),  # not tuned
    ],
    [
        meter("gpt-4.1 FT Training Data Zone Tokens", 0.03),
        meter("gpt-4.1-nano FT Training glbl Tokens", 0.002, currency="EUR"),
        meter("gpt-9 FT Training glbl Tokens", 0.002),
        meter("gpt-4.1-mini FT grader glbl Tokens", 0.002),
        meter("gpt-4.1-nano FT Training glbl Tokens", 0.0, region="swedencentral"),
    ],
]


def found(live: Live) -> dict[tuple[str, str, str, str, str], tuple[Decimal, str]]:
    return {
        (name, each.item, each.models[0], each.regions[0], each.offers[0]): (each.value, each.unit)
        for name, each in live.prices
    }


def test_meters_that_say_model_item_and_tier_are_taken_and_no_other() -> None:
    published = Published(aws=AWS, azure=AZURE)
    with serving(published) as lists:
        live = read_live(FACTS, TODAY, lists=lists)
    million = "usd_per_1m_tokens"
    assert found(live) == {
        ("bedrock", "training", "nova-micro", "us-east-1", "*"): (Decimal("1.2000"), million),
        ("bedrock", "training", "nova-2-lite", "us-east-1", "*"): (Decimal("3.8000"), million),
        ("bedrock", "storage", "nova-micro", "us-east-1", "*"): (Decimal("1.95"), "usd_per_month"),
        ("bedrock", "input", "nova-micro", "us-east-1", "on-demand"): (Decimal("0.035"), million),
        ("bedrock", "training", "llama-3.3-70b-instruct", "us-west-2", "*"): (Decimal("7.99"), million),
        ("azure", "training", "gpt-4.1-mini", "swedencentral", "global"): (Decimal("5.1"), million),
        ("azure", "training", "gpt-4.1-mini", "swedencentral", "standard"): (Decimal("6.1"), million),
        ("azure", "hosting", "gpt-4.1-mini", "swedencentral", "standard"): (Decimal("1.7"), "usd_per_hour"),
        ("azure", "training", "gpt-4.1", "swedencentral", "datazone"): (Decimal("30"), million),
    }
    assert live.notes == ()
    assert {each.source.as_of for _, each in live.prices} == {TODAY}
    assert all("meter" in each.source.note for _, each in live.prices)


def test_two_meters_that_contradict_each_other_are_both_left_out_and_named() -> None:
    twice = [meter("gpt-4.1-mini FT Training glbl Tokens", price) for price in (0.005, 0.006)]
    with serving(Published(azure=[twice])) as lists:
        live = read_live({"azure": FACTS["azure"]}, TODAY, lists=lists)
    assert live.prices == ()
    assert "two training prices for gpt-4.1-mini in swedencentral" in live.notes[0]


def test_a_next_page_elsewhere_is_not_asked_for() -> None:
    published = Published(azure=AZURE[:1], following="http://127.0.0.1:1/api/retail/prices?page=2")
    with serving(published) as lists:
        assert len(read_live({"azure": FACTS["azure"]}, TODAY, lists=lists).prices) == 3
    assert len(published.asked) == 1


@pytest.mark.parametrize("published", [Published(status=503), Published(azure=[[{"oops": 1}]])])
def test_a_list_that_fails_or_makes_no_sense_is_an_error_with_a_way_on(published: Published) -> None:
    with serving(published) as lists, pytest.raises(Unreachable, match="price list") as caught:
        read_live({"azure": FACTS["azure"]}, TODAY, lists=lists)
    assert caught.value.retryable
    assert "oops" not in str(caught.value)


def test_what_is_kept_is_what_was_read() -> None:
    with serving(Published(aws=AWS, azure=AZURE)) as lists:
        live = read_live(FACTS, TODAY, lists=lists)
    assert load(dump(live)) == Live(live.prices)


def _book(shipped: PriceLine, live: PriceLine) -> PriceBook:
    return PriceBook({"cloud": facts(shipped)}, live=[("cloud", live)])


def test_the_newer_of_a_live_and_a_shipped_price_holds() -> None:
    old, new = source(as_of=date(2026, 8, 1)), source(as_of=date(2026, 11, 1))
    for shipped, live in ((old, new), (new, old)):
        book = _book(line("training", "2.00", source=shipped), line("training", "3.00", source=live))
        held = book.line("cloud", "training", "m", "r", "o", TODAY)
        assert held is not None
        assert held.source.as_of == new.as_of
        assert held.value == (Decimal("3.00") if live is new else Decimal("2.00"))


def test_a_live_price_for_one_place_changes_no_other() -> None:
    live = line("training", "3.00", regions=("eu",), source=source(as_of=TODAY))
    book = _book(line("training", "2.00"), live)
    held = {region: book.line("cloud", "training", "m", region, "o", TODAY) for region in ("eu", "us")}
    assert {name: each and each.value for name, each in held.items()} == {
        "eu": Decimal("3.00"),
        "us": Decimal("2.00"),
    }


@pytest.fixture
def opened(tmp_path: Path) -> Callable[[str], Gateway]:
    def gateway(settings: str) -> Gateway:
        config = tmp_path / "tunegate.toml"
        config.write_text(settings)
        now = datetime(2026, 11, 22, 9, tzinfo=UTC)
        return Gateway(config=config, home=tmp_path / "home", clock=lambda: now)

    return gateway


def _trains(gateway: Gateway) -> set[str]:
    rows = gateway.costs.prices("bedrock")
    return {row["value"] for row in rows if row["item"] == "training" and "nova-micro" in row["models"]}


def test_live_prices_are_shown_beside_the_book_and_used_when_the_settings_say_so(
    opened: Callable[[str], Gateway],
) -> None:
    with serving(Published(aws=AWS, azure=AZURE)) as lists:
        read = opened("").costs.live(lists=lists)
    row = next(row for row in read.rows if (row["model"], row["item"]) == ("nova-micro", "training"))
    assert (row["live"], row["book"], row["difference"]) == ("1.20", "1.00", "+20.0 %")
    assert _trains(opened("")) == {"1.00"}
    assert {"1.00", "1.2000"} == _trains(opened("live_prices = true\n"))
    quoted = opened("live_prices = true\n")._rooms.book.line(  # pyright: ignore[reportPrivateUsage]
        "bedrock", "training", "nova-micro", "us-east-1", "on-demand", TODAY
    )
    assert quoted is not None
    assert quoted.value == Decimal("1.2000")
    assert "USE1-NovaMicro-Customization-Training" in quoted.source.note


def test_the_command_prints_both_and_says_what_plans_use(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with serving(Published(aws=AWS, azure=AZURE)) as lists:
        monkeypatch.setattr("cost.live.Lists", lambda: lists)
        home = ["--home", str(tmp_path / "home")]
        shown = CliRunner().invoke(app, [*home, "cost", "prices", "--live"])
        told = CliRunner().invoke(app, [*home, "cost", "prices", "--live", "--json"])
    assert shown.exit_code == 0, shown.output
    assert "nova-micro" in shown.output
    assert "plans use the book" in shown.output
    assert json.loads(told.stdout)["used"] is False


def test_no_list_is_asked_for_without_the_flag(tmp_path: Path) -> None:
    published = Published(aws=AWS, azure=AZURE)
    with serving(published):
        assert CliRunner().invoke(app, ["--home", str(tmp_path), "cost", "prices"]).exit_code == 0
    assert published.asked == []
    assert Lists().aws.startswith("https://")
