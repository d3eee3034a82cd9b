"""What a candidate costs, as named line items: quantity × price, rounded to the cent, then summed.

An unknown price makes the sum it belongs to `None` and is named in words; it is never taken as zero.
Storage that the book does not mention at all is not billed there; everything else must be stated,
a hosting fee of zero too.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import date
from decimal import ROUND_HALF_UP, Decimal
from functools import reduce
from operator import add

from cost.catalogue import base_price
from cost.prices import PriceBook, Quote
from gateway.core.estimate import HOURS_PER_MONTH, Estimate, LineItem, Range
from gateway.core.facts import Kind, PriceItem, PriceLine
from gateway.core.plan import CandidateKey
from gateway.core.spec import Serving

OWN_HARDWARE = "own hardware, not priced"

_CENT = Decimal("0.01")
_MILLION = Decimal(1_000_000)
_ZERO = Range.exactly(Decimal("0.00"))


@dataclass(frozen=True, slots=True)
class Usage:
    """What a job will use.

    Attributes:
        train_tokens: tokens of the training rows, once.
        validation_tokens: tokens of the validation rows, once; 0 where the backend does not bill them.
        epochs: passes over the rows that are billed; None where the service does not say how many.
        token_band: relative half-width of the token count's error: 0.15 for ±15 %.
        hours: machine time of training, where it runs on a machine with an hourly price.
    """

    train_tokens: int | None
    epochs: int | None
    validation_tokens: int = 0
    token_band: float = 0.0
    hours: Range | None = None

    @property
    def billed_tokens(self) -> int | None:
        """Tokens on the bill: training (and, where billed, validation) rows × epochs."""
        if self.train_tokens is None or self.epochs is None:
            return None
        return (self.train_tokens + self.validation_tokens) * self.epochs


@dataclass(frozen=True, slots=True)
class Priced:
    """An estimate, and what to know about the prices in it."""

    estimate: Estimate
    warnings: tuple[str, ...] = ()


def estimate(
    book: PriceBook, key: CandidateKey, kind: Kind, usage: Usage, serving: Serving | None, on: date
) -> Priced:
    """Training, storage, hosting and inference of one candidate over the horizon.

    Args:
        on: the day whose prices hold.
        serving: the traffic; None means no horizon, and the total is training alone.
    """
    sheet = _Sheet(book, key, on)
    if kind == "local":
        _own_machine(sheet, usage, serving)
    else:
        _managed(sheet, usage, serving)
    return sheet.close(serving)


def _managed(sheet: _Sheet, usage: Usage, serving: Serving | None) -> None:
    if usage.train_tokens is None:
        sheet.unknown("training", "the tokens of this data are not counted for this model")
    elif usage.train_tokens == 0:
        sheet.unknown("training", "there is no token to train on")
    elif usage.epochs is None:
        sheet.unknown("training", "how many epochs will be billed is not known: set hyperparameters.epochs")
    else:
        train = usage.train_tokens * usage.epochs
        sheet.tokens("training", "training", train, usage.token_band)
        if usage.validation_tokens:
            sheet.tokens("training", "validation", usage.validation_tokens * usage.epochs, usage.token_band)
    if serving:
        sheet.monthly("storage", serving.months)
        sheet.monthly("hosting", serving.months)
        sheet.tokens("input", "inference input", serving.input_tokens_per_month * serving.months)
        sheet.tokens("output", "inference output", serving.output_tokens_per_month * serving.months)


def _own_machine(sheet: _Sheet, usage: Usage, serving: Serving | None) -> None:
    quote = sheet.quote("machine")
    if quote.line is None:
        sheet.unknown("training", OWN_HARDWARE)
        return
    if usage.hours is None:
        sheet.unknown("training", "the machine has a price, but the training time is not known")
    elif quote.line.unit != "usd_per_hour":
        sheet.unknown("training", _other_unit("machine", quote.line))
    else:
        sheet.add("training", "training", usage.hours, "hour", quote, quote.line)
    if serving:
        sheet.unknown("serving", "serving on this machine is not priced")


class _Sheet:
    """Line items of one candidate while they are collected."""

    def __init__(self, book: PriceBook, key: CandidateKey, on: date) -> None:
        self._book, self._key, self._on = book, key, on
        self._lines: dict[str, list[LineItem]] = {"training": [], "serving": []}
        self._unknown: dict[str, list[str]] = {"training": [], "serving": []}
        self._weak: list[str] = []
        self._stale: dict[str, int] = {}

    def quote(self, item: PriceItem) -> Quote:
        key = self._key
        return self._book.quote(key.backend, item, key.model, key.region, key.offer, self._on)

    def unknown(self, part: str, why: str) -> None:
        if why not in self._unknown[part]:
            self._unknown[part].append(why)

    def tokens(self, item: PriceItem, name: str, tokens: int, band: float = 0.0) -> None:
        """A line billed by the token. No tokens, no line."""
        part = "training" if item == "training" else "serving"
        quote = self.quote(item)
        if not tokens:
            return
        if quote.line is None:
            self.unknown(part, quote.why_not or item)
        elif (line := self._by_token(item, quote.line)) is None:
            self.unknown(part, _other_unit(name, quote.line))
        else:
            self.add(part, name, _spread(Decimal(tokens) / _MILLION, band), "1M tokens", quote, line)

    def _by_token(self, item: PriceItem, line: PriceLine) -> PriceLine | None:
        """The line as a price by the token: as it is, or so many times what the base model costs to call;
        None where it is neither, or nobody says what the base costs."""
        if line.unit != "multiple_of_base":
            return line if line.unit == "usd_per_1m_tokens" else None
        found = base_price(self._key.model, self._on)
        base = found.line(item) if found else None
        if base is None:
            return None
        note = f"{line.value} × the base's {base.value} ({base.source.note}); {line.source.note}"
        source = replace(line.source, note=note.removesuffix("; "))
        return replace(line, value=line.value * base.value, unit="usd_per_1m_tokens", source=source)

    def monthly(self, item: PriceItem, months: int) -> None:
        """A line that recurs for the whole horizon, for one model kept and deployed all the time."""
        quote = self.quote(item)
        if quote.line is None:
            if quote.stated or item != "storage":
                self.unknown("serving", quote.why_not or item)
        elif quote.line.unit == "usd_per_hour":
            self.add("serving", item, Range.exactly(months * HOURS_PER_MONTH), "hour", quote, quote.line)
        elif quote.line.unit == "usd_per_month":
            self.add("serving", item, Range.exactly(Decimal(months)), "month", quote, quote.line)
        else:
            self.unknown("serving", _other_unit(item, quote.line))

    def add(self, part: str, name: str, quantity: Range, unit: str, quote: Quote, line: PriceLine) -> None:
        usd = Range(
            cents(quantity.low * line.value * (1 - quote.band)),
            cents(quantity.likely * line.value),
            cents(quantity.high * line.value * (1 + quote.band)),
        )
        self._lines[part].append(LineItem(name, quantity.likely, unit, line.value, usd, line.source))
        if quote.weak and usd.likely:
            self._weak.append(name)
        if quote.stale_days and usd.likely:
            self._stale[name] = quote.stale_days

    def close(self, serving: Serving | None) -> Priced:
        training = None if self._unknown["training"] else total(self._lines["training"])
        monthly, over_all = None, training
        if serving:
            over_horizon = None if self._unknown["serving"] else total(self._lines["serving"])
            over_all = training + over_horizon if training and over_horizon else None
            if over_horizon and (training or self._lines["serving"]):
                monthly = cents(over_horizon.likely / serving.months)
        lines = (*self._lines["training"], *self._lines["serving"])
        unpriced = (*self._unknown["training"], *self._unknown["serving"])
        return Priced(Estimate(training, monthly, over_all, lines, unpriced), tuple(self._warnings()))

    def _warnings(self) -> Iterator[str]:
        """One sentence per kind of doubt. What costs nothing today is not worth a warning."""
        if self._weak:
            yield f"the price of {', '.join(self._weak)} has a weak source; its range is 30 % wider"
        if self._stale:
            names, days = ", ".join(self._stale), max(self._stale.values())
            yield f"the price of {names} was read up to {days} days ago; its range is 10 % wider"


def total(lines: Sequence[LineItem]) -> Range:
    """The sum of lines, each already rounded: what adds up on paper."""
    return reduce(add, (line.usd for line in lines), _ZERO)


def cents(value: Decimal) -> Decimal:
    """To the cent, halves up."""
    return value.quantize(_CENT, ROUND_HALF_UP)


def _spread(value: Decimal, band: float) -> Range:
    half = value * Decimal(str(band))
    return Range(value - half, value, value + half)


def _other_unit(name: str, line: PriceLine) -> str:
    if line.unit == "multiple_of_base":
        return f"{name} is billed at {line.value} × the base model's price, which is not known"
    return f"the {name} price is in {line.unit}, for which no quantity is known"
