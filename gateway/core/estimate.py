"""What a candidate costs: ranges, named line items, their sums; and managed against self-hosted.

Money is `Decimal` in USD; in JSON it is a decimal string, and unknown is null.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from functools import reduce
from operator import add
from typing import Any

from gateway.core.facts import Source

HOURS_PER_MONTH = Decimal(730)  # 365 days × 24 hours / 12


@dataclass(frozen=True, slots=True)
class Range:
    """Low, likely and high of one quantity."""

    low: Decimal
    likely: Decimal
    high: Decimal

    def __add__(self, other: Range) -> Range:
        return Range(self.low + other.low, self.likely + other.likely, self.high + other.high)

    @classmethod
    def exactly(cls, value: Decimal) -> Range:
        return cls(value, value, value)

    def to_json(self) -> dict[str, str]:
        return {"low": str(self.low), "likely": str(self.likely), "high": str(self.high)}


@dataclass(frozen=True, slots=True)
class LineItem:
    """One named cost: quantity × price = usd. `usd` is rounded to the cent; quantity is not."""

    name: str
    quantity: Decimal
    unit: str
    price: Decimal
    usd: Range
    source: Source

    def to_json(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "quantity": str(self.quantity),
            "unit": self.unit,
            "price": str(self.price),
            "usd": self.usd.to_json(),
            **sourced(self.source),
        }


@dataclass(frozen=True, slots=True)
class Estimate:
    """Named line items and their sums. `None` means not priced, never zero.

    `lines` that recur monthly carry the whole horizon in `usd`. `project` is what the project costs beside
    the job (people, runs that fail), as entered: in none of the sums above it, and in no budget.
    """

    training_usd: Range | None
    serving_usd_month: Decimal | None
    total_usd: Range | None
    lines: tuple[LineItem, ...] = ()
    unpriced: tuple[str, ...] = ()  # what has no price, in words
    project: tuple[LineItem, ...] = ()

    @property
    def project_usd(self) -> Range | None:
        """The sum of `project`; None where nothing was entered."""
        return reduce(add, (line.usd for line in self.project)) if self.project else None

    def told(self, usd: Range) -> str:
        """One of its sums as people read it: what is not free is never shown as $0.00."""
        tiny = usd.likely == 0 and any(line.price and line.quantity for line in self.lines)
        return "under $0.01" if tiny else f"${usd.likely:,.2f}"

    def to_json(self) -> dict[str, Any]:
        return {
            "training_usd": self.training_usd and self.training_usd.to_json(),
            "serving_usd_month": None if self.serving_usd_month is None else str(self.serving_usd_month),
            "total_usd": self.total_usd and self.total_usd.to_json(),
            "lines": [line.to_json() for line in self.lines],
            "unpriced": list(self.unpriced),
            "project": [line.to_json() for line in self.project],
            "project_usd": self.project_usd and self.project_usd.to_json(),
        }


@dataclass(frozen=True, slots=True)
class Incumbent:
    """The model that does this work today, and what it costs at the planned traffic.

    `per_query_usd` is None where `serving.queries_per_month` is not given.
    """

    model: str
    provider: str
    monthly_usd: Decimal
    total_usd: Decimal
    per_query_usd: Decimal | None
    source: Source

    def to_json(self) -> dict[str, Any]:
        return {
            "model": self.model,
            "provider": self.provider,
            "monthly_usd": str(self.monthly_usd),
            "total_usd": str(self.total_usd),
            "per_query_usd": None if self.per_query_usd is None else str(self.per_query_usd),
            **sourced(self.source),
        }


@dataclass(frozen=True, slots=True)
class Crossing:
    """One self-hosted alternative against one managed candidate, over the horizon.

    Attributes:
        cheaper_now: `managed` or `self-hosted`, at the planned traffic.
        tokens_per_month: traffic from which on self-hosting is cheaper; None: never.
        months: at the planned traffic, until a dearer start has paid off; None: never.
        why: the sentence to print.
        sensitivity: one assumption changed at a time → `tokens_per_month` then.
    """

    managed: str
    cheaper_now: str
    tokens_per_month: int | None
    months: Decimal | None
    why: str
    sensitivity: Mapping[str, int | None]

    def to_json(self) -> dict[str, Any]:
        return {
            "managed": self.managed,
            "cheaper_now": self.cheaper_now,
            "tokens_per_month": self.tokens_per_month,
            "months": None if self.months is None else str(self.months),
            "why": self.why,
            "sensitivity": dict(self.sensitivity),
        }


@dataclass(frozen=True, slots=True)
class Alternative:
    """An open model trained and served on one kind of GPU one can rent.

    Attributes:
        unit: what is rented, with all its GPUs; `units` of it run for the traffic.
        tokens_per_unit: what one unit serves in a month, in the planned mix, idle hours counted.
        estimate: the whole unit paid; `marginal` counts the used share of its GPUs.
    """

    model: str
    method: str
    gpu: str
    unit: str
    hourly_usd: Decimal
    units: int
    tokens_per_unit: int
    hours: Range
    memory_gib: float
    estimate: Estimate
    marginal: Estimate
    crossings: tuple[Crossing, ...] = ()

    def monthly_usd(self, tokens: float) -> Decimal:
        """A month of serving so many tokens, in the planned mix: whole units, each for every hour."""
        units = max(1, math.ceil(tokens / self.tokens_per_unit)) if self.tokens_per_unit else self.units
        return units * HOURS_PER_MONTH * self.hourly_usd

    def to_json(self) -> dict[str, Any]:
        return {
            "model": self.model,
            "method": self.method,
            "gpu": self.gpu,
            "unit": self.unit,
            "hourly_usd": str(self.hourly_usd),
            "units": self.units,
            "tokens_per_unit": self.tokens_per_unit,
            "hours": self.hours.to_json(),
            "memory_gib": self.memory_gib,
            "estimate": self.estimate.to_json(),
            "marginal": self.marginal.to_json(),
            "break_even": [crossing.to_json() for crossing in self.crossings],
        }


@dataclass(frozen=True, slots=True)
class Comparison:
    """Managed against self-hosted over the spec's horizon, and both against what is in use today.

    `managed` names the managed candidates compared with, cheapest first: one per backend and model;
    `months` is the horizon.
    """

    managed: tuple[str, ...]
    alternatives: tuple[Alternative, ...]
    incumbent: Incumbent | None
    notes: tuple[str, ...] = ()
    months: int = 0

    def to_json(self) -> dict[str, Any]:
        return {
            "months": self.months,
            "managed": list(self.managed),
            "self_hosted": [each.to_json() for each in self.alternatives],
            "incumbent": self.incumbent and self.incumbent.to_json(),
            "notes": list(self.notes),
        }


def sourced(source: Source) -> dict[str, str]:
    """A source as it stands beside a figure in JSON."""
    return {
        "source": source.url,
        "as_of": source.as_of.isoformat(),
        "confidence": str(source.confidence),
    }
