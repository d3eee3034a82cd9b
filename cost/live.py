"""Prices read where providers publish them for anybody, without a login: the only part here with a network.

    AWS Price List       one file a region: /offers/v1.0/aws/AmazonBedrock/current/REGION/index.json
    Azure Retail Prices  /api/retail/prices, page by page

Both lists know thousands of meters and name them for people. A meter is taken where its name says one model
of ours, one item and one tier, and its unit is one we know; every other is left alone, and one that
contradicts another is left out and named. What is read is kept with its day and shown beside the book: it
takes a shipped price's place only where the settings say so (`live_prices = true`) and it is the newer.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from typing import TYPE_CHECKING, NamedTuple

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from gateway.core.errors import Unreachable
from gateway.core.facts import Confidence, Facts, PriceItem, PriceLine, PriceUnit, Source

if TYPE_CHECKING:
    import httpx

TIMEOUT_S = 60.0
_MOST_PAGES = 200
_PER_MILLION: Mapping[str, int] = {"1k tokens": 1000, "1k": 1000, "1m tokens": 1, "1m": 1, "1k/token": 1000}
_PER_HOUR = frozenset(("1 hour", "hour", "hours", "hrs", "1/hour"))


@dataclass(frozen=True, slots=True)
class Lists:
    """Where the lists are."""

    aws: str = "https://pricing.us-east-1.amazonaws.com"
    azure: str = "https://prices.azure.com"


@dataclass(frozen=True, slots=True)
class Live:
    """What was read on a day: (backend, line) in no particular order, and what was left out, in words."""

    prices: tuple[tuple[str, PriceLine], ...]
    notes: tuple[str, ...] = ()


class _Meter(NamedTuple):
    """One meter of a list that means something here."""

    item: PriceItem
    model: str
    region: str
    offer: str
    value: Decimal
    unit: PriceUnit
    name: str


def read_live(facts: Mapping[str, Facts], on: date, *, lists: Lists | None = None) -> Live:
    """Read every list that has prices for one of these backends. Uses the network.

    Raises:
        Unreachable: a list does not answer, or answers what is no price list.
    """
    lists = lists or Lists()
    readers: Mapping[str, tuple[str, Callable[[str, httpx.Client, Facts], Iterator[_Meter]]]] = {
        "bedrock": (lists.aws, _aws),
        "azure": (lists.azure, _azure),
    }
    prices: list[tuple[str, PriceLine]] = []
    notes: list[str] = []
    for backend, (address, read) in readers.items():
        if backend in facts:
            meters = _asked(backend, address, read, facts[backend])
            kept, left_out = _agreeing(meters)
            prices += [(backend, _line(meter, address, on)) for meter in kept]
            notes += [f"{backend}: {note}" for note in left_out]
    return Live(tuple(prices), tuple(notes))


def _asked(
    backend: str,
    address: str,
    read: Callable[[str, httpx.Client, Facts], Iterator[_Meter]],
    facts: Facts,
) -> list[_Meter]:
    import httpx

    try:
        with httpx.Client(timeout=TIMEOUT_S) as client:
            return list(read(address, client, facts))
    except (httpx.HTTPError, ValidationError) as error:
        raise Unreachable(
            f"its price list could not be read ({type(error).__name__})",
            backend=backend,
            retryable=True,
            place=address,
            fix="try again later; plans go on with the prices in the book",
        ) from None


def _agreeing(meters: Iterable[_Meter]) -> tuple[list[_Meter], list[str]]:
    """One meter for each price; where two say different things, neither, and a note."""
    by_place: dict[tuple[str, str, str, str], list[_Meter]] = {}
    for meter in meters:
        by_place.setdefault((meter.item, meter.model, meter.region, meter.offer), []).append(meter)
    kept = [found[0] for found in by_place.values() if len({(m.value, m.unit) for m in found}) == 1]
    left_out = [
        f"two {item} prices for {model} in {region} ({offer}) were read: {found[0].name}, {found[1].name}"
        for (item, model, region, offer), found in by_place.items()
        if len({(m.value, m.unit) for m in found}) > 1
    ]
    return kept, left_out


def _line(meter: _Meter, address: str, on: date) -> PriceLine:
    source = Source("live", address, on, Confidence.HIGH, f"meter {meter.name}")
    place = ((meter.model,), (meter.region,), (meter.offer,))
    return PriceLine(meter.item, *place, meter.value, meter.unit, source)


def _plain(name: str) -> str:
    """A model's name without what writers add or leave out."""
    return re.sub(r"[^a-z0-9]", "", name.lower().removesuffix("-instruct"))


def _priced(value: Decimal, unit: str) -> tuple[Decimal, PriceUnit] | None:
    """A price in a unit of ours; None in one that we do not know, or where it is none."""
    unit = unit.strip().lower()
    if value <= 0:
        return None
    if unit in _PER_MILLION:
        return value * _PER_MILLION[unit], "usd_per_1m_tokens"
    if unit in _PER_HOUR:
        return value, "usd_per_hour"
    return (value, "usd_per_month") if unit.endswith("month") else None


# -- AWS ----------------------------------------------------------------------------------------------------

_AWS_ITEMS: Mapping[str, tuple[PriceItem, str]] = {
    "Customization-Training": ("training", "*"),
    "Customization-Storage": ("storage", "*"),
    "input-tokens-custom-model": ("input", "on-demand"),
    "output-tokens-custom-model": ("output", "on-demand"),
}
_AWS_USAGE = re.compile(rf"[A-Z0-9]+-(?P<family>.+)-(?P<what>{'|'.join(_AWS_ITEMS)})")
_AWS_FAMILIES = {"nova20lite": "nova2lite"}  # written otherwise than the model's name


class _Loose(BaseModel):
    model_config = ConfigDict(extra="ignore", frozen=True)


class _AwsAttributes(_Loose):
    usagetype: str = ""


class _AwsProduct(_Loose):
    attributes: _AwsAttributes


class _AwsDimension(_Loose):
    unit: str
    price_per_unit: dict[str, Decimal] = Field(alias="pricePerUnit")


class _AwsTerm(_Loose):
    dimensions: dict[str, _AwsDimension] = Field(alias="priceDimensions")


class _AwsTerms(_Loose):
    on_demand: dict[str, dict[str, _AwsTerm]] = Field(default={}, alias="OnDemand")


class _AwsList(_Loose):
    products: dict[str, _AwsProduct]
    terms: _AwsTerms


def _aws(address: str, client: httpx.Client, facts: Facts) -> Iterator[_Meter]:
    """The regions in which something can be tuned, a file each."""
    for region in dict.fromkeys(region for model in facts.models for region in model.regions):
        url = f"{address}/offers/v1.0/aws/AmazonBedrock/current/{region}/index.json"
        answer = client.get(url).raise_for_status()
        yield from _aws_meters(_AwsList.model_validate_json(answer.content), region, facts)


def _aws_meters(read: _AwsList, region: str, facts: Facts) -> Iterator[_Meter]:
    models = {_plain(model.name): model.name for model in facts.models if region in model.regions}
    for sku, product in read.products.items():
        usage = product.attributes.usagetype
        found = _AWS_USAGE.fullmatch(usage)
        if found is None:
            continue
        family = _plain(found["family"])
        model = models.get(_AWS_FAMILIES.get(family, family))
        item, offer = _AWS_ITEMS[found["what"]]
        for term in read.terms.on_demand.get(sku, {}).values():
            for dimension in term.dimensions.values():
                price = _priced(dimension.price_per_unit.get("USD", Decimal(0)), dimension.unit)
                if model is not None and price is not None:
                    yield _Meter(item, model, region, offer, *price, usage)


# -- Azure --------------------------------------------------------------------------------------------------

_AZURE_FILTER = "productName eq 'Azure OpenAI' and priceType eq 'Consumption'"
_AZURE_ITEMS: Mapping[str, PriceItem] = {
    "training": "training",
    "trng": "training",
    "hosting": "hosting",
    "hstng": "hosting",
    "input": "input",
    "inp": "input",
    "output": "output",
    "outp": "output",
    "out": "output",
}
_AZURE_TIERS: Mapping[str, str] = {
    "global": "global",
    "glbl": "global",
    "gl": "global",
    "datazone": "datazone",
    "dzone": "datazone",
    "dz": "datazone",
    "developer": "developer",
    "dev": "developer",
    "regional": "standard",
    "regnl": "standard",
    "rgnl": "standard",
}
_AZURE_SAYS_NOTHING = frozenset(("tokens", "token", "deployment", "model", "unit", "azure", "openai"))


class _AzureItem(_Loose):
    currency: str = Field(alias="currencyCode")
    price: Decimal = Field(alias="retailPrice")
    region: str = Field(default="", alias="armRegionName")
    meter: str = Field(alias="meterName")
    unit: str = Field(alias="unitOfMeasure")


class _AzurePage(_Loose):
    items: list[_AzureItem] = Field(alias="Items")
    following: str | None = Field(default=None, alias="NextPageLink")


def _azure(address: str, client: httpx.Client, facts: Facts) -> Iterator[_Meter]:
    path = f"{address}/api/retail/prices"
    answer = client.get(path, params={"api-version": "2023-01-01-preview", "$filter": _AZURE_FILTER})
    for _ in range(_MOST_PAGES):
        page = _AzurePage.model_validate_json(answer.raise_for_status().content)
        yield from (meter for item in page.items if (meter := _azure_meter(item, facts)))
        if not page.following or not page.following.replace(":443/", "/").startswith(f"{path}?"):
            return  # the last page, or one that would lead elsewhere
        answer = client.get(page.following)


def _azure_meter(item: _AzureItem, facts: Facts) -> _Meter | None:
    """What a meter's name says; None where it says less than all, or anything that we do not know."""
    words = re.sub(r"data ?zone", "datazone", item.meter.lower()).replace("-", " ").split()
    price = _priced(item.price, item.unit)
    if "ft" not in words or price is None or item.currency != "USD":
        return None
    items: set[PriceItem] = {_AZURE_ITEMS[word] for word in words if word in _AZURE_ITEMS}
    tiers = {_AZURE_TIERS[word] for word in words if word in _AZURE_TIERS} or {"standard"}
    known = {"ft", *_AZURE_ITEMS, *_AZURE_TIERS, *_AZURE_SAYS_NOTHING}
    name = "".join(word for word in words if word not in known and not re.fullmatch(r"\d{4}", word))
    model = next((model for model in facts.models if _plain(model.name) == _plain(name)), None)
    offer = next(iter(tiers))
    if model is None or len(items) != 1 or len(tiers) != 1 or item.region not in model.regions:
        return None
    return _Meter(next(iter(items)), model.name, item.region, offer, *price, item.meter)


# -- kept ---------------------------------------------------------------------------------------------------


class _Kept(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    backend: str
    item: PriceItem
    models: tuple[str, ...]
    regions: tuple[str, ...]
    offers: tuple[str, ...]
    value: Decimal
    unit: PriceUnit
    url: str
    as_of: date
    note: str


class _File(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    schema_: str = Field(default="tunegate.live-prices/1", alias="schema", pattern="^tunegate.live-prices/1$")
    prices: tuple[_Kept, ...]


def dump(live: Live) -> bytes:
    """What was read, as JSON to be kept."""
    rows = tuple(
        _Kept(
            backend=backend,
            item=line.item,
            models=line.models,
            regions=line.regions,
            offers=line.offers,
            value=line.value,
            unit=line.unit,
            url=line.source.url,
            as_of=line.source.as_of,
            note=line.source.note,
        )
        for backend, line in live.prices
    )
    return _File(schema="tunegate.live-prices/1", prices=rows).model_dump_json(by_alias=True).encode()


def load(content: bytes) -> Live:
    """What `dump` wrote.

    Raises:
        ValueError: it is something else.
    """
    return Live(
        tuple(
            (
                row.backend,
                PriceLine(
                    row.item,
                    row.models,
                    row.regions,
                    row.offers,
                    row.value,
                    row.unit,
                    Source("live", row.url, row.as_of, Confidence.HIGH, row.note),
                ),
            )
            for row in _File.model_validate_json(content).prices
        )
    )
