"""Prices of base models per token, from the `genai-prices` package: its data lie in the wheel, no
network is touched.

It knows what models cost to call, not to train; what it lacks is None, never a guess. Imported only when
a plan asks, since loading it takes a quarter of a second.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, time
from decimal import Decimal
from functools import lru_cache
from importlib.metadata import version

from gateway.core.facts import Confidence, PriceItem, PriceLine, Source

# The day on which version 0.2.3, the oldest we take, was the newest there was.
READ_ON = date(2026, 11, 22)
_FIELDS: Mapping[PriceItem, str] = {
    "input": "input_mtok",
    "cached_input": "cache_read_mtok",
    "output": "output_mtok",
}


@dataclass(frozen=True, slots=True)
class BasePrice:
    """What one provider asks for a model as it is. Lines are in USD per million tokens."""

    provider: str
    model: str
    lines: Mapping[PriceItem, PriceLine]

    def line(self, item: PriceItem) -> PriceLine | None:
        return self.lines.get(item)


@lru_cache(maxsize=256)
def base_price(model: str, on: date, provider: str | None = None) -> BasePrice | None:
    """What a model costs to call on a day; None where it is not known. Where long requests cost more, the
    price of the others is given.

    Args:
        model: as its vendor writes it.
        provider: the catalogue's name of who sells it (`openai`, `aws`, `google`, …); the model's own
            vendor where none is named.
    """
    from genai_prices.data_snapshot import get_snapshot

    try:
        seller, found = get_snapshot().find_provider_model(model, None, provider, None)
        asked = found.get_prices(datetime.combine(on, time(12), UTC))
    except LookupError:
        return None
    source = Source(
        "genai-prices",
        "https://pypi.org/project/genai-prices/",
        READ_ON,
        Confidence.MEDIUM,
        f"version {version('genai-prices')}, {seller.name}",
    )
    lines: dict[PriceItem, PriceLine] = {}
    for item, field in _FIELDS.items():
        value = getattr(asked, field, None)
        value = getattr(value, "base", value)  # of a price in tiers, what applies up to the first
        if isinstance(value, Decimal):
            lines[item] = PriceLine(item, (found.id,), ("*",), ("*",), value, "usd_per_1m_tokens", source)
    return BasePrice(seller.id, found.id, lines)
