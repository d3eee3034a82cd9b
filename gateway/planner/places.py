"""Which candidates there are: backend × model × region × offer, and where data would go in each."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from backends.base import Backend
from gateway.core.facts import Facts, ModelFacts, Offer
from gateway.core.plan import CandidateKey, Machine

# Regions whose names say Europe, in countries that are no members of the Union.
_NOT_IN_THE_UNION = frozenset({"eu-west-2", "eu-central-2", "europe-west2", "europe-west6"})
_US = re.compile(r"us(-.+)?|(north|south|west)?(east|west|central)us\d?")  # us, us-east-1, eastus2
_EU = re.compile(r"eu(-.+)?|europe-.+|(north|west)europe")


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
    if region in _NOT_IN_THE_UNION:
        return "global"
    if _US.fullmatch(region):
        return "us"
    return "eu" if _EU.fullmatch(region) else "global"


def offer_of(facts: Facts, name: str) -> Offer | None:
    """What is stated of an offer. A machine of one's own falls under the offer that bears its name,
    else under the only one."""
    named = facts.offer(name)
    if named is None and facts.kind == "local" and len(facts.offers) == 1:
        return facts.offers[0]
    return named
