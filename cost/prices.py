"""The price in force for a backend, model, region, offer and day. Missing is `None`, never a guess.

Only prices with a source enter a sum. One that is known from memory, or not at all, is no price,
and the quote says so; one of low confidence, or read long ago, is used with a wider range.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, timedelta
from decimal import Decimal
from difflib import get_close_matches
from itertools import combinations

from cost.entered import OWN, Entered, Override
from gateway.core.errors import SettingsError
from gateway.core.facts import Confidence, Facts, PriceItem, PriceLine

STALE_AFTER = timedelta(days=180)
LOW_CONFIDENCE_BAND = Decimal("0.30")  # widening of a price whose source is weak
STALE_BAND = Decimal("0.10")  # and of one that nobody has read again for half a year


@dataclass(frozen=True, slots=True)
class Quote:
    """The answer to one look-up.

    Attributes:
        line: the price; None when there is none that may be used.
        why_not: why there is none, in words; None when `line` is set.
        stated: False when the book says nothing at all about this item there.
        band: relative half-width of the price's own uncertainty: 0.30 for ±30 %.
        weak: the source is of low confidence.
        stale_days: age of the price, where it is old enough to be doubted.
    """

    line: PriceLine | None
    why_not: str | None = None
    stated: bool = True
    band: Decimal = Decimal(0)
    weak: bool = False
    stale_days: int | None = None


class PriceBook:
    """Every price of the given backends, and the overrides that stand before them.

    Args:
        facts: registry name → facts.
        entered: the operator's own prices and discounts.
        live: prices read from providers' public lists; the newer of such a one and a shipped one holds.

    Raises:
        SettingsError: two lines of the same standing give different prices for one and the same
            item, model, region, offer and day; or an entered one is for what nobody offers.
    """

    def __init__(
        self,
        facts: Mapping[str, Facts],
        entered: Entered | None = None,
        live: Iterable[tuple[str, PriceLine]] = (),
    ) -> None:
        entered = entered or Entered()
        self._discounts = entered.discounts
        self._shipped = _by_item((name, line) for name, stated in facts.items() for line in stated.prices)
        self._entered = _by_item((override.backend, override.line) for override in entered.overrides)
        self._live = _by_item(live)
        for lines in (self._shipped, self._entered, self._live):
            for (backend, item), group in lines.items():
                _refuse_overlaps(backend, item, group)
        for override in entered.overrides:
            _refuse_unknown(override, facts)
        self._known: dict[tuple[str, PriceItem, str, date], tuple[tuple[PriceLine, Quote], ...]] = {}

    def line(
        self, backend: str, item: PriceItem, model: str, region: str, offer: str, on: date
    ) -> PriceLine | None:
        """The usable price in force that day; None when there is none."""
        return self.quote(backend, item, model, region, offer, on).line

    def quote(self, backend: str, item: PriceItem, model: str, region: str, offer: str, on: date) -> Quote:
        """The price in force that day with its uncertainty, or why there is none."""
        holding = [
            quote
            for line, quote in self._of_model(backend, item, model, on)
            if line.covers(model, region, offer, on)
        ]
        if not holding:
            return _UNSTATED[item]
        return next((quote for quote in holding if quote.line), holding[0])

    def lines(self, backend: str | None = None, on: date | None = None) -> tuple[tuple[str, PriceLine], ...]:
        """Every (backend, line) of the book, overrides first; with a day, less that day's discounts."""
        return tuple(
            (name, line if on is None or group is self._entered else self._reduced(name, line, on))
            for group in (self._entered, self._live, self._shipped)
            for (name, _), lines in group.items()
            for line in lines
            if backend in (None, name)
        )

    def _of_model(
        self, backend: str, item: PriceItem, model: str, on: date
    ) -> tuple[tuple[PriceLine, Quote], ...]:
        """The model's lines that day, overrides first, each as it would be quoted. Kept, because a
        plan asks for the same model in every region and offer."""
        key = (backend, item, model, on)
        if key not in self._known:
            listed = [*self._live.get((backend, item), ()), *self._shipped.get((backend, item), ())]
            if (backend, item) in self._live:
                listed.sort(key=lambda line: line.source.as_of, reverse=True)
            stated = (
                *self._entered.get((backend, item), ()),
                *(self._reduced(backend, line, on) for line in listed),
            )
            self._known[key] = tuple(
                (line, _quoted(line, on)) for line in stated if "*" in line.models or model in line.models
            )
        return self._known[key]

    def _reduced(self, backend: str, line: PriceLine, on: date) -> PriceLine:
        """A shipped price less the discounts that hold that day, one after the other; its source says so."""
        for discount in self._discounts:
            if discount.covers(backend, line, on):
                note = f"{line.source.note}; less {discount.percent} % ({discount.source})".lstrip("; ")
                value = line.value * (1 - discount.percent / 100)
                line = replace(line, value=value, source=replace(line.source, note=note))
        return line


_NAMES: Mapping[PriceItem, str] = {
    "training": "training",
    "storage": "storage",
    "hosting": "hosting",
    "input": "input-token",
    "cached_input": "cached-input-token",
    "output": "output-token",
    "machine": "machine",
}


_UNSTATED: Mapping[PriceItem, Quote] = {
    item: Quote(None, f"no {name} price is known", stated=False) for item, name in _NAMES.items()
}


def _quoted(line: PriceLine, on: date) -> Quote:
    confidence, name = line.source.confidence, _NAMES[line.item]
    if not confidence.usable:
        how = "only from memory" if confidence is Confidence.MEMORY else "to nobody yet"
        return Quote(None, f"the {name} price is known {how}")
    if line.currency != "USD":
        return Quote(None, f"the {name} price is in {line.currency}, and is not converted")
    weak = confidence is Confidence.LOW
    age = on - line.source.as_of
    stale = age > STALE_AFTER
    band = LOW_CONFIDENCE_BAND * weak + STALE_BAND * stale
    return Quote(line, band=band, weak=weak, stale_days=age.days if stale else None)


def _by_item(lines: Iterable[tuple[str, PriceLine]]) -> dict[tuple[str, PriceItem], list[PriceLine]]:
    grouped: dict[tuple[str, PriceItem], list[PriceLine]] = {}
    for backend, line in lines:
        grouped.setdefault((backend, line.item), []).append(line)
    return grouped


def _refuse_overlaps(backend: str, item: str, lines: Sequence[PriceLine]) -> None:
    usable = [line for line in lines if line.source.confidence.usable]
    for one, other in combinations(usable, 2):
        same = (one.value, one.unit, one.currency) == (other.value, other.unit, other.currency)
        if not same and _overlap(one, other):
            raise SettingsError(
                f"two {item} prices, {one.value} and {other.value}, hold for the same model, region, "
                "offer and day",
                place=f"{backend} prices",
                fix="give them effective dates that do not overlap, or name the models, regions and "
                "offers of each",
            )


def _refuse_unknown(override: Override, facts: Mapping[str, Facts]) -> None:
    """A price for a backend, model, region or offer that is spelled as nothing is would never hold."""
    line, of = override.line, facts.get(override.backend)
    if override.backend == OWN:
        return
    if of is None:
        raise _no_such("backend", override.backend, facts, line)
    if not of.models:  # they are stated elsewhere
        return
    known = (
        ("model", line.models, {model.name for model in of.models}),
        ("region", line.regions, {region for model in of.models for region in model.regions}),
        ("offer", line.offers, {offer.name for offer in of.offers}),
    )
    for what, named, there in known:
        for name in named:
            if name != "*" and name not in there:
                raise _no_such(what, name, there, line)


def _no_such(what: str, name: str, there: Iterable[str], line: PriceLine) -> SettingsError:
    near = get_close_matches(name, sorted(there), n=1)
    return SettingsError(
        f"a price is entered for the {what} {name!r}, which there is not",
        place=line.source.url,
        fix=f"did you mean {near[0]}?" if near else f"the {what}s are {', '.join(sorted(there))}",
    )


def _overlap(one: PriceLine, other: PriceLine) -> bool:
    def meet(left: tuple[str, ...], right: tuple[str, ...]) -> bool:
        return "*" in left or "*" in right or not set(left).isdisjoint(right)

    return (
        meet(one.models, other.models)
        and meet(one.regions, other.regions)
        and meet(one.offers, other.offers)
        and (one.starts or date.min) <= (other.until or date.max)
        and (other.starts or date.min) <= (one.until or date.max)
    )
