"""The GPUs of `gpus.toml`: what each can do, and what renting it costs in the units one can buy."""

from __future__ import annotations

import math
import re
import tomllib
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from functools import cache
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from gateway.core.errors import SettingsError
from gateway.core.facts import Confidence, Source

FILE = Path(__file__).parent / "gpus.toml"


@dataclass(frozen=True, slots=True)
class Gpu:
    """One kind of GPU. Memory in GiB, its bandwidth in 10^9 bytes a second; `peak_tflops` is dense, in bf16
    where `bf16` is true, else fp32."""

    name: str
    match: tuple[str, ...]
    memory_gib: float
    peak_tflops: float
    bandwidth_gbs: float
    bf16: bool
    datasheet: str
    source: Source


@dataclass(frozen=True, slots=True)
class Billing:
    """What a rented hour is cut into: the time on the bill is a whole number of steps, and never under the
    least. Seconds."""

    step_s: int
    least_s: int
    source: Source

    @property
    def name(self) -> str:
        step = {1: "second", 60: "minute", 3600: "hour"}.get(self.step_s, f"{self.step_s} seconds")
        return f"by the {step}" + (f", at least {self.least_s} s" if self.least_s > self.step_s else "")

    def billed_h(self, hours: Decimal) -> Decimal:
        """Hours on the bill for so many hours of use."""
        seconds = max(round(hours * 3600, 6), Decimal(self.least_s))  # a third of an hour is 1,200 seconds
        return Decimal(math.ceil(seconds / self.step_s) * self.step_s) / 3600


@dataclass(frozen=True, slots=True)
class Rental:
    """One unit that can be rented: an instance with all its GPUs, priced by the hour.

    `billing` is None where the provider is not known to say what it bills by.
    """

    provider: str
    unit: str
    gpu: str
    gpus: int
    region: str
    usd_per_hour: Decimal
    source: Source
    billing: Billing | None = None


@dataclass(frozen=True, slots=True)
class Catalogue:
    gpus: tuple[Gpu, ...]
    rentals: tuple[Rental, ...]

    def gpu(self, name: str) -> Gpu | None:
        """The GPU a driver, or a person, calls `name`; the longest matching name wins."""
        found = [
            (len(match), gpu)
            for gpu in self.gpus
            for match in (*gpu.match, gpu.name)
            if re.search(rf"(?<!\w){re.escape(match)}(?!\w)", name, re.IGNORECASE)  # an L40 is no L4
        ]
        return max(found, key=lambda pair: pair[0])[1] if found else None


class _Table(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class _Source(_Table):
    url: str
    as_of: date
    confidence: Confidence
    note: str = ""


class _Gpu(_Table):
    name: str
    match: tuple[str, ...]
    memory_gib: float = Field(gt=0)
    peak_tflops: float = Field(gt=0)
    bandwidth_gbs: float = Field(gt=0)
    bf16: bool
    datasheet: str
    note: str = ""
    source: str


class _Rental(_Table):
    provider: str
    unit: str
    gpu: str
    gpus: int = Field(ge=1)
    region: str
    usd_per_hour: Decimal = Field(gt=0)
    source: str


class _Billing(_Table):
    provider: str
    step_s: int = Field(ge=1, le=3600)
    least_s: int = Field(ge=0, le=86_400)
    source: str


class _File(_Table):
    schema_: Literal[1] = Field(alias="schema")
    sources: dict[str, _Source]
    gpus: tuple[_Gpu, ...]
    rentals: tuple[_Rental, ...]
    billing: tuple[_Billing, ...] = ()


@cache
def load_gpus(path: Path = FILE) -> Catalogue:
    """Read the catalogue.

    Raises:
        SettingsError: the file has not the shape of `gpus.toml`, or names a GPU or source it lacks.
    """
    try:
        with path.open("rb") as file:
            table = _File.model_validate(tomllib.load(file, parse_float=Decimal))
        return _assemble(table)
    except (OSError, tomllib.TOMLDecodeError, KeyError) as error:
        raise SettingsError(f"these GPUs cannot be used: {error}", place=str(path)) from None
    except ValidationError as error:
        where = "; ".join(
            f"{'.'.join(map(str, item['loc']))}: {item['msg']}"
            for item in error.errors(include_url=False, include_input=False)
        )
        raise SettingsError(f"these GPUs cannot be used: {where}", place=str(path)) from None


def _assemble(table: _File) -> Catalogue:
    sources = {name: Source(name=name, **dict(source)) for name, source in table.sources.items()}
    known = {row.name for row in table.gpus}
    if unknown := {row.gpu for row in table.rentals} - known:
        raise KeyError(f"{sorted(unknown)} is no GPU of this file")
    gpus = tuple(
        Gpu(
            name=row.name,
            match=row.match,
            memory_gib=row.memory_gib,
            peak_tflops=row.peak_tflops,
            bandwidth_gbs=row.bandwidth_gbs,
            bf16=row.bf16,
            datasheet=row.datasheet,
            source=sources[row.source],
        )
        for row in table.gpus
    )
    billing = {row.provider: Billing(row.step_s, row.least_s, sources[row.source]) for row in table.billing}
    rentals = tuple(
        Rental(
            provider=row.provider,
            unit=row.unit,
            gpu=row.gpu,
            gpus=row.gpus,
            region=row.region,
            usd_per_hour=row.usd_per_hour,
            source=sources[row.source],
            billing=billing.get(row.provider),
        )
        for row in table.rentals
    )
    return Catalogue(gpus, rentals)
