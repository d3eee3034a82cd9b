"""The gate's question for an action of a job, from facts and from what is held today."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date

from gateway.core.classes import DataClass
from gateway.core.facts import Facts
from gateway.core.gate import Action, Attestation, GateRequest
from gateway.planner import residency_of


def question(
    *,
    action: Action,
    facts: Facts,
    team: str,
    model: str,
    region: str,
    offer: str,
    data_class: DataClass,
    scanned: bool,
    attestations: Sequence[Attestation],
    as_of: date,
    tags: tuple[str, ...] = (),
    purpose: str | None = None,
    asked_residency: str = "any",
) -> GateRequest:
    """Facts that are not sure count as not stated; agreements are those in the settings today."""
    return GateRequest(
        action=action,
        team=team,
        backend=facts.backend,
        kind=facts.kind,
        model=model,
        region=region,
        offer=offer,
        residency=residency_of(facts.offer(offer), region),
        handling={fact.attribute: fact.value for fact in facts.handling if fact.source.confidence.usable},
        data_class=data_class,
        scanned=scanned,
        tags=tags,
        purpose=purpose,
        asked_residency=asked_residency,
        attestations=tuple(attestations),
        as_of=as_of,
    )
