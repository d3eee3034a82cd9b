"""Managed against self-hosted: where one becomes cheaper than the other.

Both are looked at over the same horizon, as the traffic grows from nothing to many times what was
planned. A managed service costs by the token, and something by the month; self-hosted costs whole units,
so that its cost is a staircase. All in likely values: the ranges are in the estimates.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import Literal

from cost.estimate import cents
from cost.selfhosted import BUSY_SHARE, SelfHosted
from gateway.core.estimate import HOURS_PER_MONTH, Estimate
from gateway.core.spec import Serving

_BY_TOKEN = ("inference input", "inference output")  # lines of a managed estimate that follow traffic
_MOST_UNITS = 1_000


@dataclass(frozen=True, slots=True)
class Managed:
    """A managed candidate's cost as a function of traffic: USD once, a month, and a month per planned
    traffic."""

    once: Decimal
    monthly: Decimal
    by_traffic: Decimal

    def monthly_usd(self, traffic: float) -> Decimal:
        return self.monthly + self.by_traffic * Decimal(str(traffic))


def managed(estimate: Estimate, serving: Serving) -> Managed:
    """The estimate of a managed candidate taken apart.

    Raises:
        ValueError: a part of it is not priced.
    """
    if estimate.total_usd is None or estimate.training_usd is None:
        raise ValueError("an estimate that is not whole has no break-even")
    once = estimate.training_usd.likely
    serves = [line for line in estimate.lines if line.name not in ("training", "validation")]
    by_token = sum((line.usd.likely for line in serves if line.name in _BY_TOKEN), Decimal(0))
    other = sum((line.usd.likely for line in serves if line.name not in _BY_TOKEN), Decimal(0))
    return Managed(once, other / serving.months, by_token / serving.months)


@dataclass(frozen=True, slots=True)
class BreakEven:
    """Where self-hosting becomes the cheaper of two, over the horizon.

    Attributes:
        cheaper_now: which is, at the planned traffic.
        tokens_per_month: traffic from which on self-hosting is cheaper, in the planned mix of input and
            output; None where it never is.
        months: months at the planned traffic after which the dearer start has paid off; None where it
            never does, 0 where the cheaper start is the cheaper month, too.
        why: the sentence to print.
    """

    cheaper_now: Literal["managed", "self-hosted"]
    tokens_per_month: int | None
    months: Decimal | None
    why: str


def break_even(
    service: Managed, option: SelfHosted, serving: Serving, busy_share: float = BUSY_SHARE
) -> BreakEven:
    """Compare over `serving.months`; `busy_share` is how much of a unit's hours traffic can fill."""
    planned = serving.input_tokens_per_month + serving.output_tokens_per_month
    traffic = _crossing(service, option, serving.months, busy_share)
    tokens = None if traffic is None or not planned else math.ceil(traffic * planned)
    start = option.loaded.training_usd.likely if option.loaded.training_usd else Decimal(0)
    mine, theirs = option.monthly_usd(1.0, busy_share), service.monthly_usd(1.0)
    own, bought = start + serving.months * mine, service.once + serving.months * theirs
    now: Literal["managed", "self-hosted"] = "self-hosted" if own < bought else "managed"
    return BreakEven(now, tokens, _months(service.once - start, mine - theirs), _why(tokens, planned, option))


def sensitivity(service: Managed, option: SelfHosted, serving: Serving) -> Iterator[tuple[str, BreakEven]]:
    """The same comparison with one assumption changed at a time, named."""
    for share in (0.10, 0.60):
        yield f"units busy {share:.0%} of the time", break_even(service, option, serving, share)
    for percent in (-30, 30):
        hourly = option.rental.usd_per_hour * (1 + Decimal(percent) / 100)
        other = replace(option, rental=replace(option.rental, usd_per_hour=hourly))
        yield f"GPU price {percent:+d} %", break_even(service, other, serving)


def _crossing(service: Managed, option: SelfHosted, months: int, busy_share: float) -> float | None:
    """The least multiple of the planned traffic from which on self-hosting costs no more: looked for on
    each step of its staircase, since on one step only the managed cost moves."""
    if service.by_traffic <= 0 or option.busy_h <= 0:
        return None
    start = option.loaded.training_usd.likely if option.loaded.training_usd else Decimal(0)
    full = float(HOURS_PER_MONTH) * busy_share / option.busy_h  # planned traffics one unit can carry
    a_unit = HOURS_PER_MONTH * option.rental.usd_per_hour
    paid_anyway = service.monthly + (service.once - start) / months
    # Where a full unit costs more than the tokens it serves, every further one makes it worse.
    steps = 1 if a_unit >= service.by_traffic * Decimal(str(full)) else _MOST_UNITS
    for units in range(1, steps + 1):
        least = float((units * a_unit - paid_anyway) / service.by_traffic)
        if least <= units * full:
            return max(least, (units - 1) * full, 0.0)
    return None


def _months(saved_at_start: Decimal, more_a_month: Decimal) -> Decimal | None:
    """Months until what self-hosting costs more at the start is saved by its months."""
    if saved_at_start >= 0 and more_a_month <= 0:
        return Decimal(0)
    if more_a_month >= 0:
        return None
    return cents(saved_at_start / more_a_month)


def _why(tokens: int | None, planned: int, option: SelfHosted) -> str:
    if tokens is None:
        return f"{option.name} is never cheaper: its hours cost more than the tokens they serve"
    times = tokens / planned if planned else 0
    return f"{option.name} is cheaper from {tokens:,} tokens a month ({times:,.1f} × the planned traffic)"
