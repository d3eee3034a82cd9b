"""What is known of a backend: dated statements, each with a source.

The shape of every `backends/<room>/facts.toml` (loaded by `backends.facts.load_facts`). Facts are
allow-lists: what is not stated is not so. Expired or unknown means the unsafe value.

A facts file, in full:

    schema = 1
    backend = "bedrock"                  # registry name
    title = "Amazon Bedrock"
    kind = "managed"                     # managed | local
    package = "boto3"                    # what must be importable; extra = the pip extra that brings it
    extra = "bedrock"
    hosts = ["s3.{region}.amazonaws.com"]  # where these facts hold; data goes to no other host but loopback

    [sources.aws-ft]                     # every fact names one
    url = "https://docs.aws.amazon.com/…"
    as_of = 2026-10-15                   # the day the statement was true by that source
    confidence = "high"                  # high | medium | low | memory | unknown
    note = "copy of …"

    [lookup]                             # how a job is found again after a crash
    how = "token"                        # token | filter | scan | none
    text = "GetModelCustomizationJob accepts the job name"
    source = "aws-ft"

    [[models]]
    name = "nova-micro"                  # the name users write; the same model has one name everywhere
    id = "amazon.nova-micro-v1:0:128k"   # the provider's id (local: hub id or path)
    aliases = ["amazon.nova-micro-v1:0"]
    family = "nova"                      # picks data format, limits and translation in wire.py
    regions = ["us-east-1"]
    offers = ["on-demand", "provisioned"]
    tasks = ["sft"]
    methods = ["lora"]
    max_tokens_per_row = 32768
    min_rows = 8
    max_rows = 20000                     # absent: no stated limit
    limits_include_validation = false    # are min_rows and max_rows of both files together
    tokenizer = "proxy:nova"             # o200k_base | cl100k_base | hf | proxy:<name>
    tools = false                        # may rows carry tools
    inference_id = "amazon.nova-micro-v1:0"  # what the base is called as to answer; absent: see the room
    parameters = 8030261248              # count, where known
    shape = {layers = 32, hidden = 4096, …}  # see `ModelShape`, without parameters; open models only
    source = "aws-ft"

    [[offers]]                           # a tier, serving mode or machine
    name = "on-demand"
    residency = "region"                 # region | zone:us | zone:eu | global: where data may go
    text = "no idle cost"
    source = "aws-ft"

    [[lifecycle]]                        # what ends, opens or needs an agreement
    what = "training"                    # training | serving
    models = ["*"]                       # names, or * for all
    from = 2026-05-07                    # first day the limit holds; absent: always
    until = 2027-01-06                   # last day it still works; absent: no known end
    requires = "existing_account"        # attestation kind needed, or absent
    text = "OpenAI takes no new fine-tuning jobs after 6 January 2027"
    source = "openai-deprecations"

    [[handling]]                         # data handling; attribute names are listed below
    attribute = "hipaa_eligible"
    value = true                         # bool, string or list of strings
    text = "eligible with a BAA in AWS Artifact"
    source = "aws-hipaa"

    [[prices]]
    item = "training"                    # see PriceItem
    models = ["nova-micro"]
    regions = ["*"]
    offers = ["*"]
    value = 1.00                         # a decimal, exactly as written
    unit = "usd_per_1m_tokens"           # see PriceUnit
    from = 2026-08-01                    # effective dates, both optional
    until = 2027-01-14
    source = "aws-prices"

Attributes of `handling` that the shipped policies read (absent means the unsafe value):
    hipaa_eligible (bool), hipaa_requires (list of attestation kinds, all needed),
    trains_on_data (bool; unknown counts as true), zero_retention (bool), deletes_training_data (bool),
    residency_pinned (bool), regions_zone (string: us, eu, …), customer_keys (bool),
    private_network (bool), business_associate (bool: false only for one's own machine)
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import date
from decimal import Decimal
from enum import StrEnum
from typing import Literal

Kind = Literal["managed", "local"]
LookupHow = Literal["token", "filter", "scan", "none"]
Residency = str
PriceItem = Literal["training", "storage", "hosting", "input", "cached_input", "output", "machine"]
PriceUnit = Literal[
    "usd_per_1m_tokens", "usd_per_hour", "usd_per_month", "usd_per_gib_month", "multiple_of_base"
]


class Confidence(StrEnum):
    """How sure a statement is. `high` and `medium` are used; `low` widens and warns;
    `memory` and `unknown` never enter a sum."""

    HIGH = "high"
    MEDIUM = "medium"
    LOW = "low"
    MEMORY = "memory"
    UNKNOWN = "unknown"

    @property
    def usable(self) -> bool:
        return self in (Confidence.HIGH, Confidence.MEDIUM, Confidence.LOW)


@dataclass(frozen=True, slots=True)
class Source:
    """Where a fact comes from, as of which day, and how sure it is."""

    name: str
    url: str
    as_of: date
    confidence: Confidence
    note: str = ""


@dataclass(frozen=True, slots=True)
class Lookup:
    """How a submitted job is found again after a crash."""

    how: LookupHow
    text: str
    source: Source


@dataclass(frozen=True, slots=True)
class ModelShape:
    """The sizes of a decoder that memory and time follow from. Counts, not bytes.

    `experts` and `active_experts` are 1 for dense models; `intermediate` is one expert's width.
    """

    parameters: int
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


@dataclass(frozen=True, slots=True)
class ModelFacts:
    """A model that a backend can tune."""

    name: str
    id: str
    family: str
    regions: tuple[str, ...]
    offers: tuple[str, ...]
    tasks: tuple[str, ...]
    methods: tuple[str, ...]
    tokenizer: str
    source: Source
    aliases: tuple[str, ...] = ()
    max_tokens_per_row: int | None = None
    min_rows: int = 1
    max_rows: int | None = None
    limits_include_validation: bool = False
    tools: bool = False
    inference_id: str | None = None
    parameters: int | None = None
    shape: ModelShape | None = None

    def answers_to(self, name: str) -> bool:
        return name in (self.name, self.id) or name in self.aliases


@dataclass(frozen=True, slots=True)
class Offer:
    """A tier, serving mode or machine; `residency` says where data may go under it."""

    name: str
    residency: Residency
    text: str
    source: Source


@dataclass(frozen=True, slots=True)
class Lifecycle:
    """Something that ends, opens, or needs an agreement. Dates are inclusive."""

    what: Literal["training", "serving"]
    models: tuple[str, ...]
    text: str
    source: Source
    starts: date | None = None
    until: date | None = None
    requires: str | None = None

    def concerns(self, model: ModelFacts) -> bool:
        return "*" in self.models or model.name in self.models


@dataclass(frozen=True, slots=True)
class Handling:
    """One statement about what a backend does with data."""

    attribute: str
    value: bool | str | tuple[str, ...]
    text: str
    source: Source


@dataclass(frozen=True, slots=True)
class PriceLine:
    """One price, in force for some models, regions and offers between two dates (inclusive)."""

    item: PriceItem
    models: tuple[str, ...]
    regions: tuple[str, ...]
    offers: tuple[str, ...]
    value: Decimal
    unit: PriceUnit
    source: Source
    starts: date | None = None
    until: date | None = None
    currency: str = "USD"

    def covers(self, model: str, region: str, offer: str, on: date) -> bool:
        """Whether this line holds for that model, region and offer on that day."""
        return (
            ("*" in self.models or model in self.models)
            and ("*" in self.regions or region in self.regions)
            and ("*" in self.offers or offer in self.offers)
            and (self.starts is None or self.starts <= on)
            and (self.until is None or on <= self.until)
        )


@dataclass(frozen=True, slots=True)
class Facts:
    """Everything stated about one backend."""

    backend: str
    title: str
    kind: Kind
    lookup: Lookup
    package: str | None = None
    extra: str | None = None
    hosts: tuple[str, ...] = ()
    sources: tuple[Source, ...] = ()
    models: tuple[ModelFacts, ...] = ()
    offers: tuple[Offer, ...] = ()
    lifecycle: tuple[Lifecycle, ...] = ()
    handling: tuple[Handling, ...] = ()
    prices: tuple[PriceLine, ...] = field(default=())

    def model(self, name: str) -> ModelFacts | None:
        """The model users call `name`, by name, id or alias; None when it is not offered."""
        return next((model for model in self.models if model.answers_to(name)), None)

    def offer(self, name: str) -> Offer | None:
        return next((offer for offer in self.offers if offer.name == name), None)

    def handles(self, attribute: str) -> Handling | None:
        """The statement about that attribute; None when nothing is stated (the unsafe value)."""
        return next((fact for fact in self.handling if fact.attribute == attribute), None)
