"""Which candidates there are: backend × model × region × offer, and where data would go in each."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from backends.base import Backend
from gateway.core.facts import Facts, ModelFacts, Offer
from gateway.core.plan import CandidateKey, Machine

_US = re.compile(r"us(-.+)?|(north|south|west)?(east|west|central)us\d?")  # us, us-east-1, eastus2
# Regions in member states of the European Union, by the clouds' public lists of regions. A region that
# is not listed has no zone: London, Zürich and Oslo say Europe and lie outside the Union, and a new
# region is listed once somebody has looked where it is.
_EU = frozenset({
    "eu",
    # AWS: Ireland, Paris, Frankfurt, Stockholm, Milan, Aragón
    "eu-west-1", "eu-west-3", "eu-central-1", "eu-north-1", "eu-south-1", "eu-south-2",
    # Google: Belgium, Frankfurt, Eemshaven, Milan, Paris, Berlin, Turin; Warsaw, Finland, Sweden, Madrid
    "europe-west1", "europe-west3", "europe-west4", "europe-west8", "europe-west9", "europe-west10",
    "europe-west12", "europe-central2", "europe-north1", "europe-north2", "europe-southwest1",
    # Azure
    "westeurope", "northeurope", "swedencentral", "francecentral", "francesouth", "germanywestcentral",
    "germanynorth", "italynorth", "polandcentral", "spaincentral",
})  # fmt: skip


@dataclass(frozen=True, slots=True)
class Place:
    """One candidate before it is judged."""

    key: CandidateKey
    backend: Backend
    model: ModelFacts
    offer: Offer | None
    machine: Machine | None = None


def places(backend: Backend, names: tuple[str, ...]) -> Iterator[Place]:
    """Every place where this backend could train one of the models; the same model only once."""
    machines = backend.machines()
    for model in dict.fromkeys(found for name in names if (found := backend.resolve(name))):
        for region in model.regions or ("",):
            if machines:
                for machine in machines:
                    key = CandidateKey(backend.name, model.name, region, machine.name)
                    yield Place(key, backend, model, offer_of(backend.facts, machine.name), machine)
            else:
                for name in model.offers or ("",):
                    key = CandidateKey(backend.name, model.name, region, name)
                    yield Place(key, backend, model, backend.facts.offer(name))


def residency_of(offer: Offer | None, region: str) -> str:
    """Where data may go: `local`, a zone (`us`, `eu`, …) or `global`, which is also the answer where
    nothing is stated or the region's zone is not known."""
    if offer is None:
        return "global"
    if offer.residency.startswith("zone:"):
        return offer.residency.removeprefix("zone:")
    if offer.residency != "region":
        return offer.residency
    if _US.fullmatch(region):
        return "us"
    return "eu" if region in _EU else "global"


def offer_of(facts: Facts, name: str) -> Offer | None:
    """What is stated of an offer. A machine of one's own falls under the offer that bears its name,
    else under the only one."""
    named = facts.offer(name)
    if named is None and facts.kind == "local" and len(facts.offers) == 1:
        return facts.offers[0]
    return named
