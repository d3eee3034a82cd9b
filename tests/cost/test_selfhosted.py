"""Self-hosting: what GPUs can serve, what they cost in the units one can rent, where it breaks even."""

from __future__ import annotations

from dataclasses import replace
from datetime import date
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backends import registry
from cost import Managed, SelfHosted, break_even, capacity, load_gpus, managed, self_hosted, sensitivity
from cost.gpus import Catalogue, Gpu, Rental
from gateway.core.estimate import HOURS_PER_MONTH, Estimate, LineItem, Range
from gateway.core.facts import Confidence, ModelShape, Source
from gateway.core.rows import TokenStats
from gateway.core.spec import JobSpec, Serving

GPUS = load_gpus()
SOURCE = Source("page", "https://prices.example/", date(2026, 10, 1), Confidence.HIGH)


def shape(name: str) -> ModelShape:
    model = registry.facts("local").model(name)
    assert model is not None
    assert model.shape is not None
    return model.shape


EIGHT_B = shape("llama-3.1-8b-instruct")


def rental(gpu: str = "H100", gpus: int = 1, usd: str = "2.00", source: Source = SOURCE) -> Rental:
    return Rental("shop", f"{gpus}x{gpu}", gpu, gpus, "*", Decimal(usd), source)


def serving(tokens_in: int = 30_000_000, tokens_out: int = 5_000_000, months: int = 12) -> Serving:
    return Serving(input_tokens_per_month=tokens_in, output_tokens_per_month=tokens_out, months=months)


def spec(traffic: Serving | None, method: str = "lora") -> JobSpec:
    return JobSpec.model_validate({
        "name": "job", "model": "llama-3.1-8b-instruct", "method": method, "data": {"train": "x.jsonl"},
        "serving": None if traffic is None else traffic.model_dump(),
    })  # fmt: skip


def options(
    *rentals: Rental, traffic: Serving | None = None, name: str = "llama-3.1-8b-instruct"
) -> tuple[SelfHosted, ...]:
    stats = TokenStats(
        "counter", 0.0, 500_000, 900, (10, 200, 300, 500, 700, 800, 890, 900), {"train": 500_000}
    )
    catalogue = Catalogue(GPUS.gpus, rentals)
    asked = spec(traffic or serving())
    return self_hosted(asked, name, shape(name), stats, catalogue, rows=1000, epochs=3, batch_size=8)


def gpu(name: str) -> Gpu:
    found = GPUS.gpu(name)
    assert found is not None
    return found


def test_published_measurements_lie_within_the_band() -> None:
    """12,500 tokens a second of an 8B model on one H100, many at once; 75 for one answer on an A100 40 GB."""
    many = capacity(EIGHT_B, gpu("H100"), context=600)
    alone = capacity(EIGHT_B, gpu("A100-40GB"), context=1152, at_once=1)
    assert many is not None
    assert many.output_per_s[0] < 12_500 < many.output_per_s[2]
    assert abs(many.output_per_s[1] / 12_500 - 1) < 0.15
    assert alone is not None
    assert alone.output_per_s[0] < 75 < alone.output_per_s[2]


def test_a_model_that_does_not_fit_is_not_served_and_more_gpus_hold_it() -> None:
    assert capacity(shape("llama-3.3-70b-instruct"), gpu("L4")) is None
    assert capacity(shape("llama-3.3-70b-instruct"), gpu("H100")) is None
    assert capacity(shape("llama-3.3-70b-instruct"), gpu("H100"), 4) is not None


def test_the_cheapest_unit_of_every_kind_that_holds_the_model() -> None:
    found = options(
        rental(usd="3.00"), rental(usd="2.00"), rental("L4", usd="0.80"), rental("T4", usd="0.10")
    )
    assert [(each.rental.gpu, each.rental.usd_per_hour) for each in found] == [
        ("L4", Decimal("0.80")),
        ("H100", Decimal("2.00")),
    ]


def test_what_does_not_fit_as_asked_is_trained_on_a_base_of_four_bits() -> None:
    (found,) = options(rental("A6000", gpus=8), name="qwen3-32b")
    assert found.method == "qlora"


def test_an_instance_is_paid_whole_and_its_share_is_shown_beside() -> None:
    (found,) = options(rental("A100-80GB", gpus=8, usd="27.44705"))
    assert found.gpus == 1
    loaded, marginal = found.loaded.lines[-1], found.marginal.lines[-1]
    assert loaded.usd.likely == (Decimal("27.44705") * 730 * 12).quantize(Decimal("0.01"))
    assert abs(marginal.usd.likely * 8 - loaded.usd.likely) < Decimal("0.08")


def test_the_lines_add_up_to_the_cent_and_assumptions_are_named() -> None:
    for found in options(rental(), rental("L4", usd="0.80")):
        assert found.loaded.total_usd is not None
        assert sum(line.usd.likely for line in found.loaded.lines) == found.loaded.total_usd.likely
        names = [line.name for line in found.loaded.lines]
        assert names == [
            "training",
            "GPU start-up (assumed)",
            "failed runs (assumed)",
            "billed by the hour (assumed: not stated)",
            "serving, idle hours included",
        ]


def test_more_traffic_needs_more_units() -> None:
    (little,) = options(rental("L4", usd="0.80"))
    (much,) = options(rental("L4", usd="0.80"), traffic=serving(30_000_000_000, 5_000_000_000))
    assert little.units == 1
    assert much.units > 10


def test_a_weak_price_has_a_wider_range() -> None:
    (sure,) = options(rental())
    (weak,) = options(rental(source=replace(SOURCE, confidence=Confidence.LOW)))
    assert sure.loaded.total_usd is not None
    assert weak.loaded.total_usd is not None
    assert weak.loaded.total_usd.high > sure.loaded.total_usd.high * Decimal("1.29")


def test_without_traffic_there_is_nothing_to_compare() -> None:
    stats = TokenStats("counter", 0.0, 1, 1, (), {})
    asked = spec(None)
    assert self_hosted(asked, "m", EIGHT_B, stats, GPUS, rows=1, epochs=1, batch_size=1) == ()


def line(name: str, usd: str) -> LineItem:
    return LineItem(name, Decimal(1), "x", Decimal(usd), Range.exactly(Decimal(usd)), SOURCE)


def bill(training: str, monthly: str, tokens: str, months: int = 12) -> Estimate:
    lines = (
        line("training", training),
        line("hosting", str(Decimal(monthly) * months)),
        line("inference input", str(Decimal(tokens) * months)),
    )
    total = sum((each.usd.likely for each in lines), Decimal(0))
    return Estimate(Range.exactly(Decimal(training)), None, Range.exactly(total), lines)


def test_an_estimate_is_taken_apart_by_what_follows_the_traffic() -> None:
    assert managed(bill("10", "5", "100"), serving()) == Managed(Decimal(10), Decimal(5), Decimal(100))


def test_worked_on_paper() -> None:
    """A unit at $1.00 an hour costs $730 a month. A service at $3,650 for the planned 35 M tokens is as dear
    at a fifth of that, 7 M; and a hundred dollars more at the start come back in the first month."""
    (option,) = options(rental(usd="1.00"))
    start = option.loaded.training_usd
    assert start is not None
    service = Managed(start.likely, Decimal(0), Decimal(3650))
    found = break_even(service, option, serving())
    assert found.cheaper_now == "self-hosted"
    assert found.tokens_per_month == 7_000_000
    assert found.months == 0
    dearer = replace(service, once=start.likely - 100)
    assert break_even(dearer, option, serving()).months == Decimal("0.03")  # 100 / 2,920


def test_hours_that_cost_more_than_the_tokens_they_serve_never_break_even() -> None:
    (option,) = options(rental("L4", usd="5.00"))
    found = break_even(Managed(Decimal(1), Decimal(0), Decimal("1.75")), option, serving())
    assert (found.cheaper_now, found.tokens_per_month, found.months) == ("managed", None, None)
    assert "never cheaper" in found.why


def test_one_assumption_is_changed_at_a_time() -> None:
    (option,) = options(rental(usd="1.00"))
    service = Managed(Decimal(0), Decimal(0), Decimal(365))
    shaken = {name: each.tokens_per_month for name, each in sensitivity(service, option, serving())}
    usual = break_even(service, option, serving()).tokens_per_month
    assert list(shaken) == [
        "units busy 10% of the time", "units busy 60% of the time", "GPU price -30 %", "GPU price +30 %",
    ]  # fmt: skip
    assert usual is not None
    low, high = shaken["GPU price -30 %"], shaken["GPU price +30 %"]
    assert low is not None
    assert high is not None
    assert low < usual < high


@given(
    hourly=st.decimals("0.10", "20", places=2),
    once=st.decimals("0", "500", places=2),
    monthly=st.decimals("0", "2000", places=2),
    by_traffic=st.decimals("1", "5000", places=2),
)
def test_the_crossing_is_the_first_traffic_at_which_self_hosting_costs_no_more(
    hourly: Decimal, once: Decimal, monthly: Decimal, by_traffic: Decimal
) -> None:
    (option,) = options(rental("L4", usd=str(hourly)))
    service = Managed(once, monthly, by_traffic)
    planned = 35_000_000
    found = break_even(service, option, serving()).tokens_per_month
    start = option.loaded.training_usd.likely if option.loaded.training_usd else Decimal(0)

    def saved(traffic: float) -> Decimal:
        mine = start + 12 * option.monthly_usd(traffic)
        return once + 12 * service.monthly_usd(traffic) - mine

    cent = Decimal("0.5")
    if found is None:
        assert all(saved(step * 1.7) <= cent for step in range(1, 200))
        return
    at = found / planned
    assert saved(at) >= -cent or option.monthly_usd(at) > option.monthly_usd(max(0.0, at - 1e-6))
    assert found == 0 or all(saved(at * share) <= cent for share in (0.0, 0.25, 0.5, 0.9, 0.99))


@pytest.mark.parametrize("months", [1, 12, 36])
def test_a_month_has_730_hours(months: int) -> None:
    (option,) = options(rental(usd="1.00"), traffic=serving(months=months))
    assert option.loaded.lines[-1].quantity == months * HOURS_PER_MONTH
