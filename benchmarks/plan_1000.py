"""Planning speed: 1,000 candidates judged, priced and ranked, once the data is known.

    python benchmarks/plan_1000.py

Five made-up backends × 10 models × 10 regions × 2 offers with the real gate, the real price book and
a full translation each. Prints versions and the median of seven plans, each over fresh objects.
"""

from __future__ import annotations

import platform
import statistics
import time
from collections.abc import Mapping
from datetime import date
from decimal import Decimal
from importlib.metadata import version
from pathlib import Path

from backends.base import Backend, ProxyCounter
from backends.ledger import Ledger, files_to_send
from cost import PriceBook
from gateway.core.classes import DataClass
from gateway.core.facts import Confidence, Facts, Handling, Lookup, ModelFacts, Offer, PriceLine, Source
from gateway.core.plan import CandidateKey, Fit, ProviderRequest, Translation
from gateway.core.rows import Convert, Converted, DataProfile, Row, ScanSummary, TokenCounter, TokenStats
from gateway.core.spec import JobSpec
from gateway.planner import PlanRequest, plan
from gateway.policy import load_gate, smallest_changes

AS_OF = date(2026, 11, 22)
SOURCE = Source("made-up", "https://example.com/", AS_OF, Confidence.HIGH)
MODELS = tuple(f"model-{number}" for number in range(10))
REGIONS = tuple(f"{zone}-{number}" for zone in ("us-east", "eu-west") for number in range(10, 15))
OFFERS = ("standard", "reserved")
RUNS = 7


class Shop(Backend):
    """A managed backend with facts of its own and the ledger every room uses."""

    def translate(
        self, spec: JobSpec, target: CandidateKey, profile: DataProfile, fit: Fit | None
    ) -> Translation:
        ledger = Ledger(spec)
        ledger.changed("hyperparameters.epochs", 3, "default")
        ledger.ours()
        for path in ("task", "model", "method", "hyperparameters"):
            ledger.kept(path)
        request = ProviderRequest("train", {"model": target.model, "region": target.region})
        return Translation((request,), files_to_send(profile, "chat"), ledger.close())

    def format(self, model: ModelFacts, task: str) -> str:
        return "chat"

    def convert(self, format: str) -> Convert:
        def as_it_is(row: Row) -> Converted:
            return Converted(row.to_json())

        return as_it_is

    def counter(self, model: ModelFacts) -> TokenCounter:
        return ProxyCounter("words", bytes_per_token=4, per_message=0, band=0.1)


def shop(name: str) -> Shop:
    def price(item: str, model: str, value: str, unit: str = "usd_per_1m_tokens") -> PriceLine:
        return PriceLine(item, (model,), ("*",), ("*",), Decimal(value), unit, SOURCE)  # pyright: ignore[reportArgumentType]

    models = tuple(
        ModelFacts(each, each, "f", REGIONS, OFFERS, ("sft",), ("lora",), "proxy:words", SOURCE)
        for each in MODELS
    )
    prices = [
        price(item, each, f"{number + 1}.00")
        for number, each in enumerate(MODELS)
        for item in ("training", "input", "output")
    ]
    prices += [price("hosting", each, "1.70", "usd_per_hour") for each in MODELS]
    handling: Mapping[str, bool | tuple[str, ...]] = {
        "business_associate": True,
        "hipaa_eligible": True,
        "hipaa_requires": ("baa",),
        "trains_on_data": False,
    }
    stated = Facts(
        backend=name,
        title=name,
        kind="managed",
        lookup=Lookup("token", "", SOURCE),
        models=models,
        offers=tuple(Offer(each, "region", "", SOURCE) for each in OFFERS),
        handling=tuple(Handling(key, value, "", SOURCE) for key, value in handling.items()),
        prices=tuple(prices),
    )
    return Shop(stated, Path("unused"))


def request() -> PlanRequest:
    backends: Mapping[str, Backend] = {name: shop(name) for name in ("a", "b", "c", "d", "e")}
    lengths = (100, 200, 300, 500, 600, 800, 1000, 1200)
    counts = TokenStats("words (proxy, ±10%)", 0.1, 500_000, 1200, lengths, {"train": 500_000})
    profile = DataProfile(
        hash="hash",
        files=("x.jsonl",),
        bytes=1,
        rows=1000,
        used=1000,
        refused={},
        split_rows={"train": 1000},
        declared=DataClass.PHI,
        scan=ScanSummary(True, 1000, 10, {"NAME": 10}, 5, DataClass.PHI),
        tokens={counts.method: counts},
        converted={},
    )
    spec = JobSpec.model_validate(
        {
            "name": "bench",
            "model": list(MODELS),
            "data": {"train": ["x.jsonl"]},
            "serving": {"input_tokens_per_month": 30_000_000, "output_tokens_per_month": 5_000_000},
        }
    )
    gate = load_gate()
    return PlanRequest(
        spec=spec,
        profile=profile,
        backends=backends,
        gate=gate,
        book=PriceBook({name: backend.facts for name, backend in backends.items()}),
        as_of=AS_OF,
        changes=lambda asked: smallest_changes(gate, asked),
    )


def main() -> None:
    wall_s: list[float] = []
    cpu_s: list[float] = []
    count = 0
    for _ in range(RUNS):
        fresh = request()
        began, began_cpu = time.perf_counter(), time.process_time()
        made = plan(fresh)
        wall_s.append(time.perf_counter() - began)
        cpu_s.append(time.process_time() - began_cpu)
        count = len(made.candidates)
    print(f"python {platform.python_version()}, {platform.machine()}, cedarpy {version('cedarpy')}")
    print(
        f"{count:,} candidates, {RUNS} plans: median {statistics.median(wall_s) * 1000:.0f} ms "
        f"({statistics.median(cpu_s) * 1000:.0f} ms of processor time)"
    )


if __name__ == "__main__":
    main()
