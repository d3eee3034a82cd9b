"""From a spec to a plan: what is asked of the data, then of every candidate."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import date
from typing import TYPE_CHECKING

from backends import registry
from backends.base import Backend
from gateway.core.errors import (
    NothingCanRun,
    OverBudget,
    PolicyDenied,
    Unavailable,
    Unpriced,
    Unsupported,
)
from gateway.core.facts import Facts
from gateway.core.job import Site
from gateway.core.plan import Candidate, Plan, Reason, Verdict
from gateway.core.spec import JobSpec
from gateway.sdk.costs import how_far_off
from gateway.sdk.options import check_spec_options, with_defaults
from gateway.sdk.probing import measured
from gateway.sdk.profiling import profile_data
from gateway.sdk.scrubbing import as_used
from gateway.sdk.standing import reviewed
from gateway.sdk.trust import warnings

if TYPE_CHECKING:
    from gateway.sdk.rooms import Rooms

OnProgress = Callable[[int, int], None]


def make_plan(rooms: Rooms, spec: JobSpec, *, as_of: date, on_progress: OnProgress | None = None) -> Plan:
    """Judge every candidate. Reads the data in one pass (and one to convert it); no network.

    Raises:
        SpecError: `options` a backend does not take, or a metric nobody has.
        DataError: the dataset cannot be used.
    """
    from gateway import evaluate
    from gateway.planner import PlanRequest, plan
    from gateway.policy import smallest_changes

    asked = with_defaults(spec, rooms.options)
    backends = chosen_backends(rooms, asked)
    check_spec_options(asked, {name: backend.options for name, backend in backends.items()})
    evaluate.check(asked.evaluate, asked.folder)
    used = as_used(rooms, asked, on_progress=on_progress)
    profile = reviewed(rooms, used, profile_data(rooms, used, backends, on_progress), as_of, name=asked.name)
    gate, attestations = rooms.gate, rooms.trust.attestations
    made = plan(
        PlanRequest(
            spec=asked,
            team=asked.team or rooms.settings.team,
            profile=profile,
            backends=backends,
            gate=gate,
            book=rooms.book,
            attestations=attestations,
            as_of=as_of,
            not_installed=not_installed(rooms.facts),
            changes=lambda question: smallest_changes(gate, question),
            rules=gate.rules,
            past=how_far_off(rooms),
            project=rooms.settings.project,
            probes=measured(rooms, backends),
        )
    )
    return replace(made, warnings=(*made.warnings, *warnings(rooms, as_of, backends)))


def not_installed(facts: Mapping[str, Facts]) -> dict[str, str]:
    """Backends whose package is missing here, and how to install it."""
    return {name: registry.install_hint(name) for name, each in facts.items() if not installed(each)}


def installed(facts: Facts) -> bool:
    """Whether the package a backend needs can be imported; it is not imported."""
    try:
        return facts.package is None or importlib.util.find_spec(facts.package) is not None
    except ModuleNotFoundError:
        return False


def chosen_backends(rooms: Rooms, spec: JobSpec) -> dict[str, Backend]:
    """The backends of the spec's route, in its order, with the spec's options; every registered one where
    it names none."""
    names = spec.route.backends or rooms.facts
    return {name: rooms.backend_at(Site(name, options=spec.options.get(name, {}))) for name in names}


def chosen_or_raise(plan: Plan) -> Candidate:
    """The chosen candidate; else the error that says why there is none, with `run`'s exit code.

    Raises:
        OverBudget: an allowed candidate exists, but every one costs more than may be spent.
        PolicyDenied: policy alone stands between the job and a candidate.
        NothingCanRun: no candidate is left, for other reasons.
    """
    chosen = plan.chosen_candidate
    if chosen is not None:
        return chosen
    allowed = [c for c in plan.candidates if c.verdict is Verdict.ALLOWED]
    reasons = [reason for c in allowed for reason in c.reasons]
    if any(reason.code == "over_budget" for reason in reasons):
        raise OverBudget(plan.why, fix="raise `route.budget_usd`, or choose smaller data or another model")
    verdicts = {candidate.verdict for candidate in plan.candidates}
    for verdict, error in _ERRORS.items():
        if verdict in verdicts:
            nearest = next(c for c in plan.candidates if c.verdict is verdict)
            raise error(plan.why, fix=_fix(nearest.reasons, verdict))
    raise NothingCanRun(plan.why, fix="see `tunegate plan SPEC` for every candidate's reasons")


_ERRORS: Mapping[Verdict, type[PolicyDenied | NothingCanRun]] = {
    Verdict.DENIED: PolicyDenied,
    Verdict.UNPRICED: Unpriced,
    Verdict.UNAVAILABLE: Unavailable,
    Verdict.UNSUPPORTED: Unsupported,
}


def _fix(reasons: tuple[Reason, ...], verdict: Verdict) -> str:
    fixes = [reason.fix for reason in reasons if reason.verdict is verdict and reason.fix]
    return "; ".join(dict.fromkeys(fixes)) or "see `tunegate plan SPEC` for every candidate's reasons"
