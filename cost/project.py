"""What a project costs beyond the job itself: people's time, runs that fail, and where the weights are kept.

None of it is a provider's price, so all of it is entered, under `[project]` in `tunegate.toml`; what is not
entered is no line. It stands beside an estimate, not in it: budgets cap what a job spends, and ranking
compares what differs between candidates.

[project]
usd_per_hour = 95                        # of people's time
data_preparation_h = [20, 40, 80]        # low, likely, high; one number stands for all three
engineering_h = [10, 20, 60]
evaluation_h = 12
maintenance_h_per_month = [1, 2, 4]
failed_runs = [0, 1, 3]                  # whole training runs in vain, at the candidate's own price
weights_usd_per_gib_month = 0.023        # one's own store for the tuned weights; self-hosted alone
egress_usd_per_gib = 0.09                # the weights moved out once; likewise
source = "finance, 2026"
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from typing import Annotated, Any, Self, cast

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    model_validator,
)

from cost.estimate import cents
from gateway.core.errors import SettingsError
from gateway.core.estimate import LineItem, Range
from gateway.core.facts import Confidence, Source

_MOST_H = 100_000


_Hours = Annotated[Decimal, Field(ge=0, le=_MOST_H)]
_Three = tuple[_Hours, _Hours, _Hours]


def _three(value: object) -> object:
    """One number as low, likely and high."""
    return cast("object", value) if isinstance(value, list | tuple) else (value, value, value)


def _in_order(value: _Three) -> _Three:
    if list(value) != sorted(value):
        raise ValueError("low, likely and high are not in order")
    return value


_Spread = Annotated[_Three, BeforeValidator(_three), AfterValidator(_in_order)]


@dataclass(frozen=True, slots=True)
class Project:
    """What was entered; hours and runs as low, likely and high."""

    source: Source
    usd_per_hour: Decimal | None
    once_h: Mapping[str, Range]
    monthly_h: Range | None
    failed_runs: Range | None
    weights_usd_per_gib_month: Decimal | None
    egress_usd_per_gib: Decimal | None

    def lines(
        self, run_usd: Range | None, months: int | None, weights_gib: Decimal | None = None
    ) -> tuple[LineItem, ...]:
        """The lines beside one estimate, each rounded to the cent.

        Args:
            run_usd: what one training run costs there; None where it is not priced: then there is no
                line for runs that fail.
            months: the horizon; None where there is none: then nothing recurs.
            weights_gib: size of the weights where they are one's own to keep.
        """
        found = [*self._people(months), *self._failed(run_usd), *self._weights(weights_gib, months)]
        return tuple(found)

    def _people(self, months: int | None) -> Iterator[LineItem]:
        if self.usd_per_hour is None:
            return
        for name, hours in self.once_h.items():
            yield self._line(f"people: {name}", hours, "hour", self.usd_per_hour)
        if self.monthly_h is not None and months:
            hours = Range(*(each * months for each in _parts(self.monthly_h)))
            yield self._line("people: maintenance", hours, "hour", self.usd_per_hour)

    def _failed(self, run_usd: Range | None) -> Iterator[LineItem]:
        if self.failed_runs is None or run_usd is None:
            return
        low, likely, high = (
            cents(runs * usd) for runs, usd in zip(_parts(self.failed_runs), _parts(run_usd), strict=True)
        )
        usd = Range(low, likely, high)
        quantity = self.failed_runs.likely
        yield LineItem("experiments that fail", quantity, "run", run_usd.likely, usd, self.source)

    def _weights(self, gib: Decimal | None, months: int | None) -> Iterator[LineItem]:
        if gib is None:
            return
        if self.weights_usd_per_gib_month is not None and months:
            kept = Range.exactly(gib * months)
            yield self._line("weights kept", kept, "GiB-month", self.weights_usd_per_gib_month)
        if self.egress_usd_per_gib is not None:
            yield self._line("weights moved out", Range.exactly(gib), "GiB", self.egress_usd_per_gib)

    def _line(self, name: str, quantity: Range, unit: str, price: Decimal) -> LineItem:
        usd = Range(*(cents(each * price) for each in _parts(quantity)))
        return LineItem(name, quantity.likely, unit, price, usd, self.source)


def _parts(each: Range) -> tuple[Decimal, Decimal, Decimal]:
    return each.low, each.likely, each.high


class _Table(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    source: str = Field(min_length=1)
    usd_per_hour: Decimal | None = Field(default=None, gt=0, le=10_000)
    data_preparation_h: _Spread | None = None
    engineering_h: _Spread | None = None
    evaluation_h: _Spread | None = None
    maintenance_h_per_month: _Spread | None = None
    failed_runs: _Spread | None = None
    weights_usd_per_gib_month: Decimal | None = Field(default=None, ge=0, le=1000)
    egress_usd_per_gib: Decimal | None = Field(default=None, ge=0, le=1000)

    @model_validator(mode="after")
    def _has_a_rate(self) -> Self:
        hours = (self.data_preparation_h, self.engineering_h, self.evaluation_h, self.maintenance_h_per_month)
        if self.usd_per_hour is None and any(each is not None for each in hours):
            raise ValueError("hours are given without usd_per_hour")
        return self


def project_from(table: Mapping[str, Any], *, place: str, read_on: date) -> Project:
    """The `[project]` table of one settings file.

    Args:
        place: the file, for errors and as the figures' source.
        read_on: as of when they are true: the day the file was last changed.

    Raises:
        SettingsError: a key or value it may not have, hours without a rate, or a low above a high.
    """
    try:
        read = _Table.model_validate(table)
    except ValidationError as error:
        problems = [
            f"{'.'.join(map(str, item['loc']))}: {item['msg'].removeprefix('Value error, ')}".removeprefix(
                ": "
            )
            for item in error.errors(include_url=False, include_input=False)
        ]
        raise SettingsError(f"[project] is wrong: {'; '.join(problems)}", place=place) from None
    once = {
        "data preparation": read.data_preparation_h,
        "engineering": read.engineering_h,
        "evaluation": read.evaluation_h,
    }
    return Project(
        source=Source("entered", place, read_on, Confidence.HIGH, read.source),
        usd_per_hour=read.usd_per_hour,
        once_h={name: Range(*hours) for name, hours in once.items() if hours is not None},
        monthly_h=_range(read.maintenance_h_per_month),
        failed_runs=_range(read.failed_runs),
        weights_usd_per_gib_month=read.weights_usd_per_gib_month,
        egress_usd_per_gib=read.egress_usd_per_gib,
    )


def _range(spread: _Three | None) -> Range | None:
    return None if spread is None else Range(*spread)
