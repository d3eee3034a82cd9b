"""Prices an organisation enters itself, in `tunegate.toml`: negotiated, corrected, or of its own machines.

[[prices]]                        # stands before every shipped price it covers
backend = "bedrock"
item = "training"                 # training | storage | hosting | input | cached_input | output
models = ["nova-micro"]           # regions and offers likewise; absent means all
value = 0.90
unit = "usd_per_1m_tokens"        # what the item is billed by
from = 2026-01-01                 # effective dates, both optional
until = 2026-12-31
source = "contract 4711"

[[discounts]]                     # off every shipped price it covers
backend = "bedrock"
percent = 12
items = ["training"]              # absent: all
source = "enterprise agreement"

[[machines]]                      # one's own: the hour as it is charged …
usd_per_hour = 1.20
source = "cloud team, 2026"

[[machines]]                      # … or as it follows from buying and running it
purchase_usd = 14000
lifetime_years = 4
power_w = 700
usd_per_kwh = 0.22
utilisation = 0.5                 # share of its life that it works: the rest is paid for, too
source = "invoice 2026-118"
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from decimal import ROUND_HALF_UP, Decimal
from typing import Any, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from gateway.core.errors import SettingsError
from gateway.core.facts import Confidence, PriceItem, PriceLine, PriceUnit, Source

HOURS_PER_YEAR = Decimal(8760)
ALL = ("*",)
OWN = "local"  # the backend that trains on machines of one's own
# What an item may be billed by. A price in another unit is an error, never converted in silence.
UNITS: Mapping[PriceItem, tuple[PriceUnit, ...]] = {
    "training": ("usd_per_1m_tokens",),
    "storage": ("usd_per_month", "usd_per_gib_month"),
    "hosting": ("usd_per_hour", "usd_per_month"),
    "input": ("usd_per_1m_tokens", "multiple_of_base"),
    "cached_input": ("usd_per_1m_tokens", "multiple_of_base"),
    "output": ("usd_per_1m_tokens", "multiple_of_base"),
    "machine": ("usd_per_hour",),
}


@dataclass(frozen=True, slots=True)
class Override:
    """A negotiated or corrected price: it replaces every shipped line it covers."""

    backend: str
    line: PriceLine


@dataclass(frozen=True, slots=True)
class Discount:
    """So many percent off the shipped prices of a backend."""

    backend: str
    percent: Decimal
    items: tuple[PriceItem, ...]
    models: tuple[str, ...]
    starts: date | None
    until: date | None
    source: str

    def covers(self, backend: str, line: PriceLine, on: date) -> bool:
        return (
            backend == self.backend
            and (not self.items or line.item in self.items)
            and ("*" in self.models or not set(self.models).isdisjoint(line.models))
            and (self.starts is None or self.starts <= on)
            and (self.until is None or on <= self.until)
        )


@dataclass(frozen=True, slots=True)
class Entered:
    """Everything entered, in the order it stands in the file."""

    overrides: tuple[Override, ...] = field(default=())
    discounts: tuple[Discount, ...] = field(default=())


class _Row(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)

    source: str = Field(min_length=1)
    starts: date | None = Field(default=None, alias="from")
    until: date | None = None

    @model_validator(mode="after")
    def _has_days(self) -> Self:
        if self.starts and self.until and self.until < self.starts:
            raise ValueError("`until` is before `from`: it never holds")
        return self


class _Price(_Row):
    backend: str
    item: PriceItem
    value: Decimal = Field(ge=0)
    unit: PriceUnit
    models: tuple[str, ...] = ALL
    regions: tuple[str, ...] = ALL
    offers: tuple[str, ...] = ALL
    currency: str = "USD"

    @model_validator(mode="after")
    def _means_something(self) -> Self:
        if self.unit not in UNITS[self.item]:
            raise ValueError(f"{self.item} is billed in {' or '.join(UNITS[self.item])}, not in {self.unit}")
        if self.currency != "USD":
            raise ValueError(
                f"prices are in USD; convert the {self.currency} yourself, and say so in `source`"
            )
        return self

    def override(self, source: Source) -> Override:
        line = PriceLine(
            self.item,
            self.models,
            self.regions,
            self.offers,
            self.value,
            self.unit,
            source,
            self.starts,
            self.until,
        )
        return Override(self.backend, line)


class _Discount(_Row):
    backend: str
    percent: Decimal = Field(gt=0, le=100)
    items: tuple[PriceItem, ...] = ()
    models: tuple[str, ...] = ALL


class _Machine(_Row):
    name: str = "*"
    usd_per_hour: Decimal | None = Field(default=None, gt=0)
    purchase_usd: Decimal | None = Field(default=None, gt=0)
    lifetime_years: Decimal | None = Field(default=None, gt=0, le=30)
    power_w: Decimal | None = Field(default=None, ge=0, le=100_000)
    usd_per_kwh: Decimal | None = Field(default=None, ge=0, le=10)
    utilisation: Decimal | None = Field(default=None, gt=0, le=1)

    @model_validator(mode="after")
    def _is_one_of_two(self) -> Self:
        parts = (self.purchase_usd, self.lifetime_years, self.power_w, self.usd_per_kwh, self.utilisation)
        whole = all(part is not None for part in parts)
        none = all(part is None for part in parts)
        if (self.usd_per_hour is None) == none or not (whole or none):
            raise ValueError(
                "give usd_per_hour, or all of purchase_usd, lifetime_years, power_w, usd_per_kwh, utilisation"
            )
        return self

    def override(self, source: Source) -> Override:
        offers, hourly = (self.name,), self.hourly()
        line = PriceLine("machine", ALL, ALL, offers, hourly, "usd_per_hour", source, self.starts, self.until)
        return Override(OWN, line)

    def hourly(self) -> Decimal:
        """USD for an hour of work: the purchase spread over the hours that are worked, and the power."""
        if self.usd_per_hour is not None:
            return self.usd_per_hour
        worked = (self.lifetime_years or 0) * HOURS_PER_YEAR * (self.utilisation or 0)  # all are given
        power = (self.power_w or 0) / Decimal(1000) * (self.usd_per_kwh or 0)
        return ((self.purchase_usd or 0) / worked + power).quantize(Decimal("0.0001"), ROUND_HALF_UP)


class _Tables(BaseModel):
    prices: tuple[_Price, ...] = ()
    discounts: tuple[_Discount, ...] = ()
    machines: tuple[_Machine, ...] = ()


def entered_from(
    prices: Sequence[Mapping[str, Any]],
    discounts: Sequence[Mapping[str, Any]],
    machines: Sequence[Mapping[str, Any]],
    *,
    place: str,
    read_on: date,
) -> Entered:
    """The entered prices of one settings file.

    Args:
        place: the file, for errors and as the prices' source.
        read_on: as of when they are true: the day the file was last changed.

    Raises:
        SettingsError: a row has a key or value it may not have, or an item in another's unit; all at once.
    """
    try:
        tables = _Tables.model_validate({"prices": prices, "discounts": discounts, "machines": machines})
    except ValidationError as error:
        where = "; ".join(
            f"{'.'.join(map(str, item['loc']))}: {item['msg'].removeprefix('Value error, ')}"
            for item in error.errors(include_url=False, include_input=False)
        )
        raise SettingsError(f"entered prices are wrong: {where}", place=place) from None

    def source(row: _Row) -> Source:
        return Source("entered", place, read_on, Confidence.HIGH, row.source)

    overrides = (row.override(source(row)) for row in (*tables.prices, *tables.machines))
    off = tuple(
        Discount(row.backend, row.percent, row.items, row.models, row.starts, row.until, row.source)
        for row in tables.discounts
    )
    return Entered(tuple(overrides), off)
