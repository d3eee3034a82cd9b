"""What a plan is made of, and the question that is put to the gate, for a plan and ever after."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from typing import Any, Protocol

from backends.base import Backend
from cost import PriceBook, Probes, Project
from gateway.core.classes import DataClass
from gateway.core.facts import Facts
from gateway.core.gate import Action, Attestation, Gate, GateRequest
from gateway.core.plan import CandidateKey
from gateway.core.rows import DataProfile
from gateway.core.spec import JobSpec
from gateway.planner.places import Place, offer_of, residency_of


class ChangeLike(Protocol):
    """A change that would turn a deny into an allow: what to do, and the question as it would be then."""

    @property
    def text(self) -> str: ...

    @property
    def request(self) -> GateRequest: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanRequest:
    """Everything a plan depends on.

    Attributes:
        profile: what the pass over the data learned.
        backends: registry name → backend, in order of preference; only pure methods are called.
        as_of: the day the plan is for.
        attestations: agreements the operator vouches for.
        options: per backend, settings' defaults under the spec's own; None means the spec's alone.
        not_installed: backend → how to install the package it needs, for those that lack it.
        changes: the smallest changes that would allow a question; None leaves openings out.
        past: backend → how far its last estimates were off, in a sentence.
        probes: backend → what was measured of the machines it trains on.
        project: what the project costs beside the job, as entered; None where nothing was.
        rules: where the gate's rules came from: shipped sets and an organisation's own files.
    """

    spec: JobSpec
    profile: DataProfile
    backends: Mapping[str, Backend]
    gate: Gate
    book: PriceBook
    as_of: date
    team: str = "default"
    attestations: Sequence[Attestation] = ()
    options: Mapping[str, Mapping[str, Any]] | None = None
    not_installed: Mapping[str, str] = field(default_factory=dict[str, str])
    changes: Callable[[GateRequest], Sequence[ChangeLike]] | None = None
    past: Mapping[str, str] = field(default_factory=dict[str, str])
    probes: Mapping[str, Probes] = field(default_factory=dict[str, Probes])
    rules: tuple[str, ...] = ()
    project: Project | None = None

    def options_of(self, backend: str) -> Mapping[str, Any]:
        options = self.spec.options if self.options is None else self.options
        return options.get(backend, {})


def gate_request(request: PlanRequest, place: Place) -> GateRequest:
    """May this data be used for training there?"""
    profile, spec = request.profile, request.spec
    return question(
        Action.TRAIN,
        place.backend.facts,
        place.key,
        team=spec.team or request.team,
        data_class=profile.effective,
        scanned=profile.scan is not None and profile.scan.complete,
        attestations=request.attestations,
        as_of=request.as_of,
        tags=tuple(dict.fromkeys((*spec.data.tags, *profile.tags))),
        purpose=profile.purpose or spec.data.purpose,
        asked_residency=spec.data.residency if profile.residency == "any" else profile.residency,
        account=place.backend.account(request.options_of(place.backend.name)),
    )


def question(
    action: Action,
    facts: Facts,
    key: CandidateKey,
    *,
    team: str,
    data_class: DataClass,
    scanned: bool,
    attestations: Sequence[Attestation],
    as_of: date,
    tags: tuple[str, ...] = (),
    purpose: str | None = None,
    asked_residency: str = "any",
    account: str = "",
    approvals: tuple[str, ...] = (),
) -> GateRequest:
    """The gate's question for any action at a candidate: the same when planned and when done.

    Facts that are not sure count as not stated. The provider's title goes along for its reasons.
    """
    sure = {fact.attribute: fact.value for fact in facts.handling if fact.source.confidence.usable}
    return GateRequest(
        action=action,
        team=team,
        backend=key.backend,
        kind=facts.kind,
        model=key.model,
        region=key.region,
        offer=key.offer,
        residency=residency_of(offer_of(facts, key.offer), key.region),
        handling={"title": facts.title, **sure},
        data_class=data_class,
        scanned=scanned,
        tags=tags,
        purpose=purpose,
        asked_residency=asked_residency,
        attestations=tuple(attestations),
        as_of=as_of,
        account=account,
        approvals=approvals,
    )
