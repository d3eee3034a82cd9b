"""`plan`: judge every place where a job could run, collect all reasons, choose."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from difflib import get_close_matches
from functools import partial

from backends.base import Backend
from cost import OWN_HARDWARE, Priced, Probes, Together, Usage, estimate, fit, smallest_change
from gateway.core.errors import TunegateError
from gateway.core.facts import ModelFacts, ModelShape
from gateway.core.gate import Action, Decision
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
from gateway.core.spec import JobSpec
from gateway.planner.capability import cut_rows, field_reasons, left_out_rows, model_reasons
from gateway.planner.choice import choose, openings, within_limits
from gateway.planner.comparison import compare
from gateway.planner.lifecycle import lifecycle_reasons
from gateway.planner.places import Place, places
from gateway.planner.request import PlanRequest, gate_request

_NOT_PRICED = Estimate(None, None, None)
_BLOCKING = (Verdict.UNSUPPORTED, Verdict.DENIED, Verdict.UNAVAILABLE)


def plan(request: PlanRequest) -> Plan:
    """Every candidate with its verdict and all its reasons; the choice; what would open cheaper doors.

    Pure: the same request gives the same plan. Touches no network and imports no SDK.
    """
    judge = _Judge(request)
    candidates: list[Candidate] = []
    by_key: dict[CandidateKey, Place] = {}
    nowhere = _offered_nowhere(request)
    for name in request.spec.route.backends or tuple(request.backends):
        backend = request.backends.get(name)
        found = tuple(places(backend, request.spec.model)) if backend else ()
        by_key |= {place.key: place for place in found}
        judged = [within_limits(judge.candidate(place), request.spec) for place in found]
        candidates += judged or [_nothing_there(request, name, backend, request.spec.model)]
        candidates += [_nothing_there(request, name, backend, (model,)) for model in nowhere if judged]
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
        why=f"{why}{_why_nowhere(request, nowhere)}",
        openings=tuple(openings(request, candidates, by_key, best)),
        rules=request.rules,
        comparison=compare(request, candidates),
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
        self._fits: dict[tuple[str, str, str], Fit | None] = {}

    def candidate(self, place: Place) -> Candidate:
        view = self._view(place.backend, place.model)
        translation, refused = self._translate(place, None, view.capability)
        lies = self._fit(place, view.stats, translation)
        if lies:  # the fit follows from the epochs and the batch; what it chose goes into the request
            translation, refused = self._translate(place, lies, view.capability)
        capability = [*view.capability, *_does_not_fit(lies), *refused]
        if translation:
            capability += self._long_rows(place, view.stats, translation)
        decision = self._request.gate.decide(gate_request(self._request, place))
        priced, usage = self._price(place, view.stats, _number(translation, "epochs"), lies)
        about_price = _price_reasons(place, priced)
        reasons = [*capability, *_denied(decision), *view.others, *about_price, *_basis(lies)]
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

    def _long_rows(
        self, place: Place, stats: TokenStats | None, translation: Translation
    ) -> Iterator[Reason]:
        """Our own runs go by the length the translation settled on; a service goes by its model's limit."""
        request = self._request
        if place.backend.facts.kind == "local":
            limit = _number(translation, "max_length")
            return left_out_rows(request.spec, request.profile, stats, limit)
        return cut_rows(place.model, request.spec, stats, translation)

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
        account = backend.account(request.options_of(name))
        ours = [held for held in request.attestations if held.covers(Action.TRAIN, account)]
        yield from lifecycle_reasons(backend.facts, model, request.spec.serving, request.as_of, ours)
        if missing := backend.missing(request.options_of(name)):
            what = ", ".join(f"options.{name}.{option}" for option in missing)
            yield Reason(
                Verdict.UNAVAILABLE, "missing_options", f"the spec does not say {what}", fix=f"set {what}"
            )
        if absent := backend.absent(model):
            yield Reason(Verdict.UNAVAILABLE, "absent", f"{model.name}: {absent}")
        if past := request.past.get(name):
            yield Reason(Verdict.ALLOWED, "past_jobs", past)
        if hint := request.not_installed.get(name):
            text = f"the package {backend.facts.package} is not installed"
            yield Reason(Verdict.ALLOWED, "not_installed", text, fix=hint)

    def _fit(self, place: Place, stats: TokenStats | None, translation: Translation | None) -> Fit | None:
        """None where training is not on a machine of ours, or the model's sizes are not at hand."""
        if place.machine is None or stats is None:
            return None
        key = (place.key.backend, place.model.name, place.machine.name)
        if key not in self._fits:
            self._fits[key] = self._fit_of(place, place.machine, stats, translation)
        return self._fits[key]

    def _fit_of(
        self, place: Place, machine: Machine, stats: TokenStats, translation: Translation | None
    ) -> Fit | None:
        shape = place.backend.shape(place.model)
        epochs, batch_size = _number(translation, "epochs"), _number(translation, "batch_size")
        if shape is None or epochs is None or batch_size is None:
            return None
        backend, methods = place.backend, place.model.methods
        probes = self._request.probes.get(backend.name, Probes())
        together = Together.asked(self._request.spec.options.get(backend.name, {}))
        ask = partial(self._ask, stats, epochs, batch_size, methods, probes, together)
        lies = ask(self._request.spec, shape, machine)
        if lies.fits:
            return lies
        others = [(each.name, each.shape) for each in backend.facts.models if each.shape]
        change = smallest_change(
            ask, self._request.spec, shape, machine, stats, methods=methods, others=others
        )
        return replace(lies, fix=change)

    def _ask(
        self,
        stats: TokenStats,
        epochs: int,
        batch_size: int,
        methods: tuple[str, ...],
        probes: Probes,
        together: Together,
        spec: JobSpec,
        shape: ModelShape,
        machine: Machine,
    ) -> Fit:
        rows = self._request.profile.split_rows.get("train", 0)
        return fit(
            spec,
            shape,
            machine,
            stats,
            rows=rows,
            epochs=epochs,
            batch_size=batch_size,
            methods=methods,
            probes=probes,
            together=together,
        )

    def _translate(
        self, place: Place, lies: Fit | None, capability: Sequence[Reason]
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
        self, place: Place, stats: TokenStats | None, epochs: int | None, lies: Fit | None
    ) -> tuple[Priced, Usage]:
        billed = place.backend.facts.handles("bills_validation_tokens")
        usage = Usage(
            train_tokens=stats.by_split.get("train", 0) if stats else None,
            validation_tokens=stats.by_split.get("validation", 0) if stats and billed and billed.value else 0,
            epochs=epochs,
            token_band=stats.band if stats else 0.0,
            hours=lies.hours if lies else None,
        )
        request, kind, serving = self._request, place.backend.facts.kind, self._request.spec.serving
        priced = estimate(request.book, place.key, kind, usage, serving, request.as_of)
        if request.project is not None:
            beside = request.project.lines(priced.estimate.training_usd, serving and serving.months)
            priced = replace(priced, estimate=replace(priced.estimate, project=beside))
        return priced, usage


_ASSUMED = "time and memory are assumed from public figures: `tunegate cost probe SPEC` measures them"
_ORDER = {verdict: index for index, verdict in enumerate(Verdict)}
_NOT_BUILT = Reason(
    Verdict.UNAVAILABLE, "not_built", "Tunegate cannot dispatch to it yet; the plan is still exact"
)


def _verdict(reasons: list[Reason]) -> Verdict:
    """The first that applies; a candidate nothing speaks against is allowed."""
    return min((reason.verdict for reason in reasons), key=_ORDER.__getitem__, default=Verdict.ALLOWED)


def _does_not_fit(lies: Fit | None) -> Iterator[Reason]:
    if lies is not None and not lies.fits:
        change = f". The smallest change: {lies.fix}" if lies.fix else ""
        text = f"{lies.why_not or 'does not fit'}{change}"
        yield Reason(Verdict.UNSUPPORTED, "does_not_fit", text, fix=lies.fix)


def _basis(lies: Fit | None) -> Iterator[Reason]:
    """What time and memory rest on: it informs, after all that warns."""
    if lies is not None and lies.fits:
        told = f"time and memory: {lies.basis}" if lies.basis else _ASSUMED
        yield Reason(Verdict.ALLOWED, "measured" if lies.basis else "assumed", told)


def _denied(decision: Decision) -> Iterator[Reason]:
    if decision.allowed:
        return
    if decision.awaiting:  # the job may be made, and waits: nothing leaves before they have agreed
        who = " and ".join(f"`{name}`" for name in decision.awaiting)
        rule = decision.grounds[0].rule if decision.grounds else None
        fix = "once the job is made: `tunegate jobs approve JOB --as NAME --key KEY`"
        yield Reason(Verdict.ALLOWED, "needs_approval", f"waits for the approval of {who}", rule, fix=fix)
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


def _number(translation: Translation | None, name: str) -> int | None:
    """A hyperparameter as the backend will use it: what the translation made of the field. None where
    the service decides it and does not say how."""
    for outcome in translation.fields if translation else ():
        if outcome.path == f"hyperparameters.{name}" and isinstance(outcome.after, int):
            return outcome.after
    return None


def _nothing_there(
    request: PlanRequest, name: str, backend: Backend | None, models: Sequence[str]
) -> Candidate:
    """The one row of a backend that offers none of these models."""
    asked = ", ".join(models)
    if backend is None:
        reason = Reason(
            Verdict.UNSUPPORTED,
            "unknown_backend",
            f"no backend is called {name}",
            fix=f"the registered ones are {', '.join(request.backends)}",
        )
    else:
        near = " or ".join(filter(None, (_nearest(model, [backend]) for model in models)))
        meant = f"perhaps {near} is meant; " if near else ""
        offers = f"see what it offers: `tunegate backends facts {name}`"
        if not backend.facts.models and "models" in backend.options.model_fields:
            offers = f"say which models it tunes: `options.{name}.models`"
        reason = Reason(
            Verdict.UNSUPPORTED,
            "model_not_offered",
            f"{backend.facts.title} does not offer {asked} for tuning",
            fix=f"{meant}{offers}",
        )
    key = CandidateKey(name, asked, "", "")
    return Candidate(
        key, Verdict.UNSUPPORTED, (reason,), None, None, None, _NOT_PRICED, None, None, None, None
    )


def _routed(request: PlanRequest) -> list[Backend]:
    names = request.spec.route.backends or tuple(request.backends)
    return [request.backends[name] for name in names if name in request.backends]


def _offered_nowhere(request: PlanRequest) -> tuple[str, ...]:
    """The models asked for that no backend of the route offers."""
    backends = _routed(request)
    return tuple(name for name in request.spec.model if not any(each.resolve(name) for each in backends))


def _why_nowhere(request: PlanRequest, names: Sequence[str]) -> str:
    if not names:
        return ""
    near = {name: _nearest(name, _routed(request)) for name in names}
    told = (f"{name} (the nearest name is {near[name]})" if near[name] else name for name in names)
    return f"; no backend offers {', '.join(told)}"


def _nearest(name: str, backends: Sequence[Backend]) -> str | None:
    """The offered model whose name, or another name of it, looks most like this one."""
    names = {
        known: model.name
        for backend in backends
        for model in backend.facts.models
        for known in (model.name, model.id, *model.aliases)
    }
    close = get_close_matches(name, names, n=1)
    return names[close[0]] if close else None


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
        undetermined=profile.undetermined,
        review=profile.review,
        lineage=profile.lineage,
    )
