"""Small hand-made facts: prices one can check on paper."""

from __future__ import annotations

from datetime import date
from decimal import Decimal

from gateway.core.facts import Confidence, Facts, Lookup, PriceItem, PriceLine, PriceUnit, Source

TODAY = date(2026, 11, 22)
FRESH = Source("page", "https://prices.example/", date(2026, 10, 1), Confidence.HIGH)


def source(confidence: Confidence = Confidence.HIGH, as_of: date = FRESH.as_of) -> Source:
    return Source("page", "https://prices.example/", as_of, confidence)


def line(
    item: PriceItem,
    value: str,
    *,
    unit: PriceUnit = "usd_per_1m_tokens",
    models: tuple[str, ...] = ("*",),
    regions: tuple[str, ...] = ("*",),
    offers: tuple[str, ...] = ("*",),
    starts: date | None = None,
    until: date | None = None,
    source: Source = FRESH,
    currency: str = "USD",
) -> PriceLine:
    return PriceLine(item, models, regions, offers, Decimal(value), unit, source, starts, until, currency)


def facts(*prices: PriceLine, backend: str = "cloud") -> Facts:
    return Facts(backend, backend.title(), "managed", Lookup("none", "", FRESH), prices=prices)
