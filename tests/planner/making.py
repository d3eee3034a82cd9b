"""A small shop of a backend with hand-made facts, and data nobody needs to read."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date
from pathlib import Path
from typing import Any

from backends.base import Backend, ProxyCounter
from backends.ledger import Ledger, files_to_send
from cost import PriceBook
from gateway.core.classes import DataClass
from gateway.core.facts import Facts, Handling, Lifecycle, Lookup, ModelFacts, ModelShape, Offer, PriceLine
from gateway.core.gate import Attestation
from gateway.core.plan import CandidateKey, Fit, Machine, ProviderRequest, Translation
from gateway.core.rows import Convert, Converted, DataProfile, Row, ScanSummary, TokenCounter, TokenStats
from gateway.core.spec import JobSpec
from gateway.planner import PlanRequest
from gateway.policy import load_gate, smallest_changes
from tests.cost.making import FRESH, TODAY, line

GATE = load_gate()
SHAPE = ModelShape(905_088, 3, 128, 4, 4, 32, 344, 2432, 8192, tied_embeddings=True)
GIANT = ModelShape(8_030_261_248, 32, 4096, 32, 8, 128, 14_336, 128_256, 131_072)
SAFE: Mapping[str, bool | tuple[str, ...]] = {
    "business_associate": True,
    "hipaa_eligible": True,
    "hipaa_requires": ("baa",),
    "trains_on_data": False,
}


class Shop(Backend):
    """A backend whose every answer is set by the test."""

    seed_refused: bool = False
    lacks: tuple[str, ...] = ()
    weights_absent: str | None = None
    own: tuple[Machine, ...] = ()
    sizes: ModelShape | None = None
    auto_epochs: int | None = 3
    auto_length: int | None = None
    cuts_refused: bool = False

    def __init__(self, facts: Facts, **answers: Any) -> None:
        super().__init__(facts, Path("unused"))
        self.dispatches = answers.pop("dispatches", True)  # pyright: ignore[reportAttributeAccessIssue]
        for name, answer in answers.items():
            setattr(self, name, answer)

    def translate(
        self, spec: JobSpec, target: CandidateKey, profile: DataProfile, fit: Fit | None
    ) -> Translation:
        ledger = Ledger(spec)
        if self.seed_refused:
            ledger.refused("hyperparameters.seed", "no seed can be set there")
        if spec.hyperparameters.epochs == "auto":
            ledger.changed("hyperparameters.epochs", self.auto_epochs, "the shop's default")
        if self.cuts_refused:
            ledger.refused("data.too_long", "long rows are not cut there")
        if self.own and spec.hyperparameters.batch_size == "auto":
            ledger.changed("hyperparameters.batch_size", 8, "the shop's default")
        if self.auto_length and spec.hyperparameters.max_length == "auto":
            ledger.changed("hyperparameters.max_length", self.auto_length, "the shop's default")
        ledger.ours()
        for path in ("task", "model", "method", "hyperparameters"):
            ledger.kept(path)
        request = ProviderRequest("train", {"model": target.model})
        return Translation((request,), files_to_send(profile, "chat"), ledger.close())

    def format(self, model: ModelFacts, task: str) -> str:
        return "chat"

    def convert(self, format: str) -> Convert:
        def as_it_is(row: Row) -> Converted:
            return Converted(row.to_json())

        return as_it_is

    def counter(self, model: ModelFacts) -> TokenCounter:
        return ProxyCounter("words", bytes_per_token=4, per_message=0, band=0.0)

    def missing(self, options: Mapping[str, Any]) -> tuple[str, ...]:
        return tuple(name for name in self.lacks if name not in options)

    def absent(self, model: ModelFacts) -> str | None:
        return self.weights_absent

    def machines(self) -> tuple[Machine, ...]:
        return self.own

    def shape(self, model: ModelFacts) -> ModelShape | None:
        return self.sizes


def model(name: str = "m", **changes: Any) -> ModelFacts:
    values: dict[str, Any] = {
        "name": name,
        "id": f"id-{name}",
        "family": "f",
        "regions": ("us-east-1",),
        "offers": ("std",),
        "tasks": ("sft",),
        "methods": ("lora",),
        "tokenizer": "proxy:words",
        "source": FRESH,
    }
    return ModelFacts(**{**values, **changes})


def shop(
    name: str = "cloud",
    *,
    price: str = "10.00",
    models: tuple[ModelFacts, ...] = (),
    lifecycle: tuple[Lifecycle, ...] = (),
    prices: tuple[PriceLine, ...] | None = None,
    handling: Mapping[str, bool | tuple[str, ...]] = SAFE,
    residency: str = "region",
    **answers: Any,
) -> Shop:
    """A managed backend; allowed for everything that its agreements cover."""
    stated = Facts(
        backend=name,
        title=name.title(),
        kind="managed",
        lookup=Lookup("token", "", FRESH),
        models=models or (model(),),
        offers=(Offer("std", residency, "", FRESH),),
        lifecycle=lifecycle,
        handling=tuple(Handling(attribute, value, "", FRESH) for attribute, value in handling.items()),
        prices=(line("training", price), *SERVING_PRICES) if prices is None else prices,
    )
    return Shop(stated, **answers)


SERVING_PRICES = (
    line("hosting", "0.00", unit="usd_per_hour"),
    line("input", "1.00"),
    line("output", "2.00"),
)


def own_machine(**answers: Any) -> Shop:
    """A local backend on one machine with two cores."""
    stated = Facts(
        backend="here",
        title="This machine",
        kind="local",
        lookup=Lookup("token", "", FRESH),
        models=(model(regions=("local",), offers=("this-machine",)),),
        offers=(Offer("this-machine", "local", "", FRESH),),
        handling=(Handling("business_associate", False, "", FRESH),),
    )
    machine = Machine("this-machine", None, 0, 0, 2, 23)
    return Shop(stated, **{"own": (machine,), "sizes": SHAPE, **answers})


def profile(**changes: Any) -> DataProfile:
    """1,000 rows of 500 tokens to train on; scanned, clean, public."""
    lengths = (100, 200, 300, 500, 600, 800, 1000, 1200)
    counts = TokenStats("words (proxy, ±0%)", 0.0, 500_000, 1200, lengths, {"train": 500_000}, {1000: 7})
    values: dict[str, Any] = {
        "hash": "hash",
        "files": ("x.jsonl",),
        "bytes": 1,
        "rows": 1000,
        "used": 1000,
        "refused": {},
        "split_rows": {"train": 1000},
        "declared": DataClass.PUBLIC,
        "scan": ScanSummary(True, 1000, 0, {}, 0, DataClass.PUBLIC),
        "tokens": {counts.method: counts},
        "converted": {},
    }
    return DataProfile(**{**values, **changes})


def spec(**changes: Any) -> JobSpec:
    values: dict[str, Any] = {"name": "job", "model": ("m",), "data": {"train": ("x.jsonl",)}}
    return JobSpec.model_validate({**values, **changes})


def asked(
    *shops: Backend,
    as_of: date = TODAY,
    data: DataProfile | None = None,
    attestations: tuple[Attestation, ...] = (),
    **changes: Any,
) -> PlanRequest:
    """A request to plan over these backends, with the real gate; `changes` are spec fields."""
    return PlanRequest(
        spec=spec(**changes),
        profile=data or profile(),
        backends={each.name: each for each in shops},
        gate=GATE,
        book=PriceBook({each.name: each.facts for each in shops}),
        as_of=as_of,
        attestations=attestations,
        changes=lambda request: smallest_changes(GATE, request),
    )
