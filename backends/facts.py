"""Facts on the disk: the schema of a `facts.toml`, and its loader.

The file's shape, in full, is written down in `gateway.core.facts`.
"""

from __future__ import annotations

import tomllib
from dataclasses import replace
from datetime import date
from decimal import Decimal
from functools import cache
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from gateway.core.errors import SettingsError
from gateway.core.facts import (
    Confidence,
    Facts,
    Handling,
    Lifecycle,
    Lookup,
    LookupHow,
    ModelFacts,
    ModelShape,
    Offer,
    PriceItem,
    PriceLine,
    PriceUnit,
    Source,
)


class _Table(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class _Source(_Table):
    url: str
    as_of: date
    confidence: Confidence
    note: str = ""


class _Lookup(_Table):
    how: LookupHow
    text: str
    source: str


class _Shape(_Table):
    layers: int
    hidden: int
    heads: int
    kv_heads: int
    head_dim: int
    intermediate: int
    vocabulary: int
    max_positions: int
    tied_embeddings: bool = False
    experts: int = 1
    active_experts: int = 1


class _Model(_Table):
    name: str
    id: str
    family: str
    regions: tuple[str, ...]
    offers: tuple[str, ...]
    tasks: tuple[Literal["sft", "dpo"], ...]
    methods: tuple[Literal["lora", "qlora", "full"], ...]
    tokenizer: str
    source: str
    aliases: tuple[str, ...] = ()
    max_tokens_per_row: int | None = None
    min_rows: int = 1
    max_rows: int | None = None
    limits_include_validation: bool = False
    tools: bool = False
    inference_id: str | None = None
    parameters: int | None = None
    shape: _Shape | None = None

    @model_validator(mode="after")
    def _counts_what_it_shapes(self) -> Self:
        if self.shape and self.parameters is None:
            raise ValueError("a shape needs the number of parameters beside it")
        return self


class _Offer(_Table):
    name: str
    residency: str = Field(pattern=r"^(local|region|global|zone:[a-z]{2})$")
    text: str
    source: str


class _Lifecycle(_Table):
    what: Literal["training", "serving"]
    models: tuple[str, ...]
    text: str
    source: str
    starts: date | None = Field(None, alias="from")
    until: date | None = None
    requires: str | None = None


class _Handling(_Table):
    attribute: str
    value: bool | str | tuple[str, ...]
    text: str
    source: str


class _Price(_Table):
    item: PriceItem
    models: tuple[str, ...]
    regions: tuple[str, ...] = ("*",)
    offers: tuple[str, ...] = ("*",)
    value: Decimal = Field(ge=0)
    unit: PriceUnit
    source: str
    starts: date | None = Field(None, alias="from")
    until: date | None = None
    currency: str = "USD"


class _FactsFile(_Table):
    schema_: Literal[1] = Field(alias="schema")
    backend: str
    title: str
    kind: Literal["managed", "local"]
    package: str | None = None
    extra: str | None = None
    hosts: tuple[str, ...] = ()
    sources: dict[str, _Source]
    lookup: _Lookup
    models: tuple[_Model, ...] = ()
    offers: tuple[_Offer, ...] = ()
    lifecycle: tuple[_Lifecycle, ...] = ()
    handling: tuple[_Handling, ...] = ()
    prices: tuple[_Price, ...] = ()


@cache
def load_facts(path: Path) -> Facts:
    """Read one `facts.toml`; floats become `Decimal`, every source name is resolved.

    Raises:
        SettingsError: the file does not have the shape of `gateway.core.facts`, or names a source,
            model or offer that it does not define.
    """
    try:
        with path.open("rb") as file:
            table = _FactsFile.model_validate(tomllib.load(file, parse_float=Decimal))
        return _assemble(table)
    except (OSError, tomllib.TOMLDecodeError, KeyError) as error:
        raise SettingsError(f"these facts cannot be used: {error}", place=str(path)) from error
    except ValidationError as error:
        where = "; ".join(
            f"{'.'.join(str(part) for part in item['loc'])}: {item['msg']}"
            for item in error.errors(include_url=False, include_input=False)
        )
        raise SettingsError(f"these facts cannot be used: {where}", place=str(path)) from error


def _assemble(table: _FactsFile) -> Facts:
    sources = {name: Source(name=name, **dict(source)) for name, source in table.sources.items()}
    known = {model.name for model in table.models}

    def sourced(row: BaseModel) -> dict[str, Any]:
        values = dict(row)
        return {**values, "source": sources[values["source"]]}

    for row in (*table.lifecycle, *table.prices):
        if unknown := set(row.models) - known - {"*"}:
            raise KeyError(f"{sorted(unknown)} is no model of this file")
    for model in table.models:
        if unknown := set(model.offers) - {offer.name for offer in table.offers}:
            raise KeyError(f"{sorted(unknown)} is no offer of this file")
    return Facts(
        backend=table.backend,
        title=table.title,
        kind=table.kind,
        package=table.package,
        extra=table.extra,
        hosts=table.hosts,
        sources=tuple(sources.values()),
        lookup=Lookup(**sourced(table.lookup)),
        models=tuple(replace(ModelFacts(**sourced(row)), shape=_shape(row)) for row in table.models),
        offers=tuple(Offer(**sourced(row)) for row in table.offers),
        lifecycle=tuple(Lifecycle(**sourced(row)) for row in table.lifecycle),
        handling=tuple(Handling(**sourced(row)) for row in table.handling),
        prices=tuple(PriceLine(**sourced(row)) for row in table.prices),
    )


def _shape(model: _Model) -> ModelShape | None:
    if model.shape is None:
        return None
    return ModelShape(parameters=model.parameters or 0, **dict(model.shape))
