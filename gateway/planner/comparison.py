"""Managed against self-hosted over the horizon, and both against the model in use today."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import date
from decimal import Decimal

from backends.base import Backend
from cost import (
    SelfHosted,
    base_price,
    break_even,
    cents,
    load_gpus,
    managed,
    self_hosted,
    sensitivity,
)
from cost.memory import GIB
from cost.serving import WIDTH
from gateway.core.estimate import Alternative, Comparison, Crossing, Incumbent
from gateway.core.facts import ModelFacts, ModelShape
from gateway.core.plan import Candidate, Verdict
from gateway.core.rows import TokenStats
from gateway.core.spec import Serving
from gateway.planner.choice import could_open
from gateway.planner.request import PlanRequest

# What is compared where the spec names no open model: the size that most published figures are about.
REFERENCE = "llama-3.1-8b-instruct"
_EPOCHS, _BATCH = 3, 8  # where the spec leaves them open
_MOST_SERVICES = 4
_MILLION = Decimal(1_000_000)


def compare(request: PlanRequest, candidates: Sequence[Candidate]) -> Comparison | None:
    """The comparison a manager asks for; None where the spec gives no traffic to compare over."""
    serving = request.spec.serving
    if serving is None:
        return None
    notes: list[str] = []
    options = _options(request, notes)
    services = _services(request, candidates)
    if not services:
        notes.append("no managed candidate has a price for the whole horizon, so there is no crossing")
    notes += [
        f"{each.key} is {each.verdict} today" for each in services if each.verdict is not Verdict.ALLOWED
    ]
    notes += _left_out(request, candidates)
    incumbent = _incumbent(serving, request.as_of)
    if serving.incumbent and incumbent is None:
        notes.append(f"what {serving.incumbent} costs to call is not known, so nothing is compared with it")
    return Comparison(
        managed=tuple(str(each.key) for each in services),
        alternatives=tuple(_alternative(option, services, serving) for option in options),
        incumbent=incumbent,
        notes=tuple(notes),
        months=serving.months,
    )


def _services(request: PlanRequest, candidates: Sequence[Candidate]) -> list[Candidate]:
    """The managed candidates that have a price for the horizon and could be opened: the cheapest of each
    backend and model, cheapest first. What retires within the horizon is none of them."""
    best: dict[tuple[str, str], Candidate] = {}
    for candidate in sorted(candidates, key=_cost):
        backend = request.backends.get(candidate.key.backend)
        priced = candidate.estimate.total_usd is not None
        if backend and backend.facts.kind == "managed" and priced and could_open(candidate):
            best.setdefault((candidate.key.backend, candidate.key.model), candidate)
    return list(best.values())[:_MOST_SERVICES]


def _left_out(request: PlanRequest, candidates: Sequence[Candidate]) -> list[str]:
    """Why a managed model with a price is not compared with: once for each."""
    found: dict[tuple[str, str], str] = {}
    for candidate in candidates:
        backend = request.backends.get(candidate.key.backend)
        if backend and backend.facts.kind == "managed" and candidate.estimate.total_usd:
            shut = [reason for reason in candidate.reasons if reason.verdict is Verdict.UNAVAILABLE]
            if shut and not could_open(candidate):
                name = f"{candidate.key.backend} {candidate.key.model}"
                text = f"{name} is not compared with: {shut[0].text}"
                found.setdefault((candidate.key.backend, candidate.key.model), text)
    return list(found.values())


def _cost(candidate: Candidate) -> Decimal:
    total = candidate.estimate.total_usd
    return total.likely if total else Decimal("Infinity")


def _options(request: PlanRequest, notes: list[str]) -> tuple[SelfHosted, ...]:
    """The open model of the spec, or the reference, on every kind of GPU that holds it."""
    found = _open_model(request)
    if found is None:
        return ()
    backend, model, shape = found
    stats = _tokens(request, backend, model, notes)
    if stats is None:
        notes.append("tokens were not counted, so self-hosting is not estimated")
        return ()
    if model.name not in request.spec.model:
        notes.append(f"the spec names no open model; {model.name} stands for one")
    hyper = request.spec.hyperparameters
    found = self_hosted(
        request.spec,
        model.name,
        shape,
        stats,
        load_gpus(),
        rows=request.profile.split_rows.get("train", 0),
        epochs=hyper.epochs if isinstance(hyper.epochs, int) else _EPOCHS,
        batch_size=hyper.batch_size if isinstance(hyper.batch_size, int) else _BATCH,
    )
    return tuple(_with_project(option, request, shape) for option in found)


def _with_project(option: SelfHosted, request: PlanRequest, shape: ModelShape) -> SelfHosted:
    """What the project costs beside the GPUs, as entered. Failed runs are among an option's own lines."""
    serving = request.spec.serving
    if request.project is None or serving is None:
        return option
    weights = Decimal(round(shape.parameters * WIDTH / GIB, 2)).quantize(Decimal("0.01"))
    beside = request.project.lines(None, serving.months, weights)
    return replace(
        option,
        loaded=replace(option.loaded, project=beside),
        marginal=replace(option.marginal, project=beside),
    )


def _open_model(request: PlanRequest) -> tuple[Backend, ModelFacts, ModelShape] | None:
    """The first model of the spec whose sizes are known and that is worth a GPU; else the reference."""
    for backend in request.backends.values():
        if backend.facts.kind != "local":
            continue
        for name in (*request.spec.model, REFERENCE):
            model = backend.facts.model(name)
            if model is not None and model.shape is not None:
                return backend, model, model.shape
    return None


def _tokens(request: PlanRequest, backend: Backend, model: ModelFacts, notes: list[str]) -> TokenStats | None:
    """Counts by the model's own counter; else by whichever counted, which is said."""
    own = request.profile.tokens.get(backend.counter(model).method)
    if own is not None:
        return own
    other = next(iter(request.profile.tokens.values()), None)
    if other is not None:
        notes.append(f"tokens for {model.name} are those of {other.method}")
    return other


def _alternative(option: SelfHosted, services: Sequence[Candidate], serving: Serving) -> Alternative:
    planned = serving.input_tokens_per_month + serving.output_tokens_per_month
    return Alternative(
        model=option.model,
        method=option.method,
        gpu=option.rental.gpu,
        unit=f"{option.rental.provider} {option.rental.unit}",
        hourly_usd=option.rental.usd_per_hour,
        units=option.units,
        tokens_per_unit=int(option.carries * planned),
        hours=option.lies.hours,
        memory_gib=option.lies.memory_gib,
        estimate=option.loaded,
        marginal=option.marginal,
        crossings=tuple(_crossing(option, each, serving) for each in services),
    )


def _crossing(option: SelfHosted, candidate: Candidate, serving: Serving) -> Crossing:
    service = managed(candidate.estimate, serving)
    found = break_even(service, option, serving)
    shaken = {name: each.tokens_per_month for name, each in sensitivity(service, option, serving)}
    return Crossing(
        str(candidate.key), found.cheaper_now, found.tokens_per_month, found.months, found.why, shaken
    )


def _incumbent(serving: Serving, on: date) -> Incumbent | None:
    """What the model in use costs at the planned traffic; None where none is named or its price unknown."""
    price = base_price(serving.incumbent, on) if serving.incumbent else None
    asked, told = (price.line("input"), price.line("output")) if price else (None, None)
    if price is None or asked is None or told is None:
        return None
    monthly = cents(
        serving.input_tokens_per_month / _MILLION * asked.value
        + serving.output_tokens_per_month / _MILLION * told.value
    )
    queries = serving.queries_per_month
    return Incumbent(
        model=price.model,
        provider=price.provider,
        monthly_usd=monthly,
        total_usd=monthly * serving.months,
        per_query_usd=(monthly / queries).quantize(Decimal("0.000001")) if queries else None,
        source=asked.source,
    )
