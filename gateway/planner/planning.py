"""`plan`: judge every place where a job could run, collect all reasons, choose."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from backends.base import Backend
from cost import OWN_HARDWARE, Priced, Usage, estimate, fit
from gateway.core.errors import TunegateError
from gateway.core.facts import ModelFacts
from gateway.core.gate import Decision
from gateway.core.plan import (
    Candidate,
    CandidateKey,
    DataSummary,
    Estimate,
    Fit,
    Machine,
    Plan,
    Reason,
    Translation,
    Verdict,
)
from gateway.core.rows import TokenStats
from gateway.planner.capability import field_reasons, model_reasons
from gateway.planner.choice import choose, openings, within_limits
from gateway.planner.lifecycle import lifecycle_reasons
from gateway.planner.places import Place, places
from gateway.planner.request import PlanRequest, gate_request

_DEFAULT_EPOCHS = 3
_NOT_PRICED = Estimate(None, None, None)
_BLOCKING = (Verdict.UNSUPPORTED, Verdict.DENIED, Verdict.UNAVAILABLE)


def plan(request: PlanRequest) -> Plan:
    """Every candidate with its verdict and all its reasons; the choice; what would open cheaper doors.

    Pure: the same request gives the same plan. Touches no network and imports no SDK.
    """
    judge = _Judge(request)
    candidates: list[Candidate] = []
    by_key: dict[CandidateKey, Place] = {}
    for name in request.spec.route.backends or tuple(request.backends):
        backend = request.backends.get(name)
        found = tuple(places(backend, request.spec.model)) if backend else ()
        by_key |= {place.key: place for place in found}
        judged = [within_limits(judge.candidate(place), request.spec) for place in found]
        candidates += judged or [_nothing_there(request, name, backend)]
    chosen, why = choose(candidates, request.spec)
    best = next((candidate for candidate in candidates if candidate.key == chosen), None)
    decided = next((candidate.decision for candidate in candidates if candidate.decision), None)
    return Plan(
        spec_hash=request.spec.hash(),
        as_of=request.as_of,
        trust=decided.trust if decided else "unverified",
        policy_hash=decided.policy_hash if decided else "",
        data=_data_summary(request, candidates),
        candidates=tuple(candidates),
        chosen=chosen,
        why=f"{why}{_offered_nowhere(request)}",
        openings=tuple(openings(request, candidates, by_key, best)),
    )


@dataclass(frozen=True, slots=True)
class _ModelView:
    """What holds for a model at a backend in all its regions and offers."""

    stats: TokenStats | None
    capability: tuple[Reason, ...]
    others: tuple[Reason, ...]  # lifecycle, configuration, notes


class _Judge:
    """Judges places; what does not depend on region and offer is worked out once."""

    def __init__(self, request: PlanRequest) -> None:
        self._request = request
        self._views: dict[tuple[str, str], _ModelView] = {}
        self._fits: dict[tuple[str, str, str, int | None], Fit | None] = {}

    def candidate(self, place: Place) -> Candidate:
        view = self._view(place.backend, place.model)
        lies = self._fit(place, view.stats, None)
        capability = [*view.capability, *_does_not_fit(lies)]
        translation, refused = self._translate(place, lies, capability)
        capability += refused
        epochs = _epochs_of(self._request, translation)
        if lies and epochs != _epochs_of(self._request, None):
            lies = self._fit(place, view.stats, epochs)
        decision = self._request.gate.decide(gate_request(self._request, place))
        priced, usage = self._price(place, view.stats, epochs, lies)
        reasons = [*capability, *_denied(decision), *view.others, *_price_reasons(place, priced)]
        if not place.backend.dispatches and not any(reason.verdict in _BLOCKING for reason in reasons):
            reasons.append(_NOT_BUILT)
        verdict = _verdict(reasons)
        return Candidate(
            key=place.key,
            verdict=verdict,
            reasons=tuple(sorted(reasons, key=lambda reason: _ORDER[reason.verdict])),
            tokens=view.stats.tokens if view.stats else None,
            tokens_method=view.stats.method if view.stats else None,
            billed_tokens=usage.billed_tokens if place.backend.facts.kind == "managed" else None,
            estimate=priced.estimate,
            duration_h=lies.hours if lies and lies.fits else None,
            memory_gib=lies.memory_gib if lies else None,
            translation=None if verdict is Verdict.UNSUPPORTED else translation,
            decision=decision,
            fit=lies,
        )

    def _view(self, backend: Backend, model: ModelFacts) -> _ModelView:
        key = (backend.name, model.name)
        if key not in self._views:
            request = self._request
            stats, why_not = _token_stats(request, backend, model)
            capability = model_reasons(backend, model, request.spec, request.profile, stats)
            others = [*self._availability(backend, model), *why_not]
            self._views[key] = _ModelView(stats, tuple(capability), tuple(others))
        return self._views[key]

    def _availability(self, backend: Backend, model: ModelFacts) -> Iterator[Reason]:
        request, name = self._request, backend.name
        yield from lifecycle_reasons(
            backend.facts, model, request.spec.serving, request.as_of, request.attestations
        )
        if missing := backend.missing(request.options_of(name)):
            what = ", ".join(f"options.{name}.{option}" for option in missing)
            yield Reason(
                Verdict.UNAVAILABLE, "missing_options", f"the spec does not say {what}", fix=f"set {what}"
            )
        if absent := backend.absent(model):
            yield Reason(Verdict.UNAVAILABLE, "absent", f"{model.name}: {absent}")
        if hint := request.not_installed.get(name):
            text = f"the package {backend.facts.package} is not installed"
            yield Reason(Verdict.ALLOWED, "not_installed", text, fix=hint)

    def _fit(self, place: Place, stats: TokenStats | None, epochs: int | None) -> Fit | None:
        """None where training is not on a machine of ours, or the model's sizes are not at hand."""
        if place.machine is None or stats is None:
            return None
        key = (place.key.backend, place.model.name, place.machine.name, epochs)
        if key not in self._fits:
            self._fits[key] = self._fit_of(place, place.machine, stats, epochs)
        return self._fits[key]

    def _fit_of(self, place: Place, machine: Machine, stats: TokenStats, epochs: int | None) -> Fit | None:
        shape = place.backend.shape(place.model)
        rows = self._request.profile.split_rows.get("train", 0)
        return shape and fit(self._request.spec, shape, machine, stats, rows=rows, epochs=epochs)

    def _translate(
        self, place: Place, lies: Fit | None, capability: list[Reason]
    ) -> tuple[Translation | None, list[Reason]]:
        """The exact requests; None, with the reason, where the room cannot make them."""
        codes = frozenset(reason.code for reason in capability)
        if "task" in codes:
            return None, []
        request = self._request
        try:
            translation = place.backend.translate(request.spec, place.key, request.profile, lies)
        except TunegateError as error:
            return None, [Reason(Verdict.UNSUPPORTED, "translation", error.message, fix=error.fix)]
        return translation, list(field_reasons(request.spec, translation, codes & {"method"}))

    def _price(
        self, place: Place, stats: TokenStats | None, epochs: int, lies: Fit | None
    ) -> tuple[Priced, Usage]:
        billed = place.backend.facts.handles("bills_validation_tokens")
        usage = Usage(
            train_tokens=stats.by_split.get("train", 0) if stats else None,
            validation_tokens=stats.by_split.get("validation", 0) if stats and billed and billed.value else 0,
            epochs=epochs,
            token_band=stats.band if stats else 0.0,
            hours=lies.hours if lies else None,
        )
        request, kind = self._request, place.backend.facts.kind
        return estimate(request.book, place.key, kind, usage, request.spec.serving, request.as_of), usage


_ORDER = {verdict: index for index, verdict in enumerate(Verdict)}
_NOT_BUILT = Reason(
    Verdict.UNAVAILABLE, "not_built", "Tunegate cannot dispatch to it yet; the plan is still exact"
)


def _verdict(reasons: list[Reason]) -> Verdict:
    """The first that applies; a candidate nothing speaks against is allowed."""
    return min((reason.verdict for reason in reasons), key=_ORDER.__getitem__, default=Verdict.ALLOWED)


def _does_not_fit(lies: Fit | None) -> Iterator[Reason]:
    if lies is not None and not lies.fits:
        yield Reason(Verdict.UNSUPPORTED, "does_not_fit", lies.why_not or "does not fit")


def _denied(decision: Decision) -> Iterator[Reason]:
    if decision.allowed:
        return
    for ground in decision.grounds:
        text = f"{ground.reason} ({ground.citation})" if ground.citation else ground.reason
        yield Reason(Verdict.DENIED, "policy", text, rule=ground.rule, fix=ground.fix or None)
    if not decision.grounds:
        yield Reason(Verdict.DENIED, "policy", "the gate denied it and gave no reason")


def _price_reasons(place: Place, priced: Priced) -> Iterator[Reason]:
    if OWN_HARDWARE in priced.estimate.unpriced:
        yield Reason(Verdict.ALLOWED, "own_hardware", OWN_HARDWARE)
    elif priced.estimate.unpriced:
        local = place.backend.facts.kind == "local"
        verdict = Verdict.ALLOWED if local else Verdict.UNPRICED
        yield Reason(verdict, "unpriced", "; ".join(priced.estimate.unpriced))
    for warning in priced.warnings:
        yield Reason(Verdict.ALLOWED, "price_doubt", warning)


def _token_stats(
    request: PlanRequest, backend: Backend, model: ModelFacts
) -> tuple[TokenStats | None, list[Reason]]:
    """The counts by this model's own counter, or why there are none."""
    try:
        method = backend.counter(model).method
    except TunegateError as error:
        return None, [Reason(Verdict.ALLOWED, "tokens_unknown", f"tokens are not counted: {error.message}")]
    stats = request.profile.tokens.get(method)
    if stats is None:
        return None, [Reason(Verdict.ALLOWED, "tokens_unknown", f"tokens were not counted by {method}")]
    if stats.band:
        text = f"tokens are estimated: {stats.method}"
        return stats, [Reason(Verdict.ALLOWED, "tokens_estimated", text)]
    return stats, []


def _epochs_of(request: PlanRequest, translation: Translation | None) -> int:
    """Epochs as the backend will train them: what the translation made of the field."""
    for outcome in translation.fields if translation else ():
        if outcome.path == "hyperparameters.epochs" and isinstance(outcome.after, int):
            return outcome.after
    asked = request.spec.hyperparameters.epochs
    return _DEFAULT_EPOCHS if asked == "auto" else asked


def _nothing_there(request: PlanRequest, name: str, backend: Backend | None) -> Candidate:
    """The one row of a backend that offers none of the models."""
    asked = ", ".join(request.spec.model)
    if backend is None:
        reason = Reason(
            Verdict.UNSUPPORTED,
            "unknown_backend",
            f"no backend is called {name}",
            fix=f"the registered ones are {', '.join(request.backends)}",
        )
    else:
        title = backend.facts.title
        reason = Reason(
            Verdict.UNSUPPORTED,
            "model_not_offered",
            f"{title} does not offer {asked} for tuning",
            fix=f"see what it offers: `tunegate backends facts {name}`",
        )
    key = CandidateKey(name, asked, "", "")
    return Candidate(
        key, Verdict.UNSUPPORTED, (reason,), None, None, None, _NOT_PRICED, None, None, None, None
    )


def _offered_nowhere(request: PlanRequest) -> str:
    route = request.spec.route.backends or tuple(request.backends)
    backends = [request.backends[name] for name in route if name in request.backends]
    missing = [name for name in request.spec.model if not any(each.resolve(name) for each in backends)]
    return f"; no backend offers {', '.join(missing)}" if missing else ""


def _data_summary(request: PlanRequest, candidates: list[Candidate]) -> DataSummary:
    profile = request.profile
    counted = next((each for each in candidates if each.tokens is not None), None)
    return DataSummary(
        rows=profile.rows,
        used=profile.used,
        refused=profile.refused,
        split_rows=profile.split_rows,
        tokens=counted.tokens if counted else None,
        tokens_method=counted.tokens_method if counted else None,
        hash=profile.hash,
        declared=profile.declared,
        detected=profile.detected,
        effective=profile.effective,
        scanned=profile.scan is not None and profile.scan.complete,
        findings=profile.scan.findings if profile.scan else {},
    )
