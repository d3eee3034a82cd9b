"""Which one: budget, deadline and objective over the allowed; and what would open a cheaper door."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal

from cost import OWN_HARDWARE
from gateway.core.plan import Candidate, CandidateKey, Opening, Reason, Verdict
from gateway.core.spec import JobSpec
from gateway.planner.places import Place
from gateway.planner.request import ChangeLike, PlanRequest, gate_request

_MOST_OPENINGS = 3
_MOST_ASKED = 8  # doors that are tried for an opening
# Reasons that a person can remove by a line in the spec or in the settings.
_REMOVABLE = ("missing_options", "requires_")


def within_limits(candidate: Candidate, spec: JobSpec) -> Candidate:
    """The same candidate; not selectable where it is over budget or may end too late."""
    if candidate.verdict is not Verdict.ALLOWED:
        return candidate
    over = [*_over_budget(candidate, spec.route.budget_usd), *_too_late(candidate, spec.route.deadline)]
    if not over:
        return candidate
    return replace(candidate, selectable=False, reasons=(*candidate.reasons, *over))


def choose(candidates: Sequence[Candidate], spec: JobSpec) -> tuple[CandidateKey | None, str]:
    """The best selectable candidate by the spec's objective, and why, in one sentence."""
    open_doors = [each for each in candidates if each.verdict is Verdict.ALLOWED and each.selectable]
    if not open_doors:
        return None, _why_none(candidates)
    best = min(open_doors, key=lambda each: _rank(each, spec))
    return best.key, _why(best, len(open_doors), spec)


def openings(
    request: PlanRequest,
    candidates: Sequence[Candidate],
    places: Mapping[CandidateKey, Place],
    chosen: Candidate | None,
) -> Iterator[Opening]:
    """For the cheapest candidates that are only denied: the smallest change that would allow each,
    and what it would save. A door that is known to be dearer than the choice is left shut."""
    if request.changes is None:
        return
    found = 0
    for candidate in _cheapest_denied(candidates, chosen)[:_MOST_ASKED]:
        changes = request.changes(gate_request(request, places[candidate.key]))
        if changes:
            yield _opening(candidate, changes[0], places[candidate.key], chosen)
            found += 1
        if found == _MOST_OPENINGS:
            return


def _over_budget(candidate: Candidate, budget: Decimal | None) -> Iterator[Reason]:
    total = candidate.estimate.total_usd
    if budget is not None and total is not None and total.high > budget:
        text = f"may cost ${total.high:,}, above the budget of ${budget:,}"
        yield Reason(Verdict.ALLOWED, "over_budget", text, fix="raise route.budget_usd")


def _too_late(candidate: Candidate, deadline: timedelta | None) -> Iterator[Reason]:
    if deadline is None:
        return
    limit = Decimal(str(deadline.total_seconds())) / 3600
    hours = candidate.duration_h
    if hours is None:
        text = f"how long training takes there is not known, so {limit:.1f} h cannot be promised"
        fix = "remove route.deadline, or take a place whose time is known"
        yield Reason(Verdict.ALLOWED, "past_deadline", text, fix=fix)
    elif hours.high > limit:
        text = f"may take {hours.high:.1f} h, past the deadline of {limit:.1f} h"
        yield Reason(Verdict.ALLOWED, "past_deadline", text, fix="extend route.deadline")


def _cost(candidate: Candidate) -> Decimal | None:
    total = candidate.estimate.total_usd
    return None if total is None else total.likely


def _hours(candidate: Candidate) -> Decimal:
    return Decimal("Infinity") if candidate.duration_h is None else candidate.duration_h.likely


def _rank(candidate: Candidate, spec: JobSpec) -> tuple[Decimal, ...]:
    """Lower is better. What has no price ranks after all that have one, and among itself by time."""
    cost, hours = _cost(candidate), _hours(candidate)
    money = (Decimal(cost is None), cost or Decimal(0))
    match spec.route.objective:
        case "cheapest":
            return (*money, hours)
        case "fastest":
            return (hours, *money)
        case "order":
            return ()  # `min` keeps the first of equals, and candidates come in the route's order


def _why(best: Candidate, choices: int, spec: JobSpec) -> str:
    total = best.estimate.total_usd
    price = OWN_HARDWARE if total is None else f"about {best.estimate.told(total)}"
    if total is not None and spec.serving:
        price += f" over {spec.serving.months} months"
    time = "" if best.duration_h is None else f", about {_duration(best.duration_h.likely)}"
    if choices == 1:
        return f"the only one that may run: {price}{time}"
    rank = {"cheapest": "cheapest", "fastest": "fastest", "order": "first in your order"}
    word = rank[spec.route.objective]
    if spec.route.objective == "cheapest" and total is None:
        word = "fastest"  # what has no price is ranked by time
    return f"the {word} of {choices} that may run: {price}{time}"


def _why_none(candidates: Sequence[Candidate]) -> str:
    if not candidates:
        return "there is no candidate: no backend is configured"
    counts = Counter(
        "over budget or past the deadline" if each.verdict is Verdict.ALLOWED else str(each.verdict)
        for each in candidates
    )
    listed = ", ".join(f"{count} {word}" for word, count in counts.most_common())
    noun = "the only candidate" if len(candidates) == 1 else f"none of {len(candidates)} candidates"
    verb = "may not run" if len(candidates) == 1 else "may run"
    return f"{noun} {verb}: {listed}"


def _duration(hours: Decimal) -> str:
    minutes = hours * 60
    if minutes < 2:
        return f"{max(1, round(minutes * 60))} seconds"
    return f"{round(minutes)} minutes" if minutes < 120 else f"{hours:.1f} hours"


def _cheapest_denied(candidates: Sequence[Candidate], chosen: Candidate | None) -> list[Candidate]:
    """One per backend and model, cheapest first, those without a price last."""
    limit = None if chosen is None else _cost(chosen)
    best: dict[tuple[str, str], Candidate] = {}
    for candidate in candidates:
        cost = _cost(candidate)
        if not _only_denied(candidate) or (cost is not None and limit is not None and cost >= limit):
            continue
        same = (candidate.key.backend, candidate.key.model)
        known = best.get(same)
        if known is None or _by_cost(candidate) < _by_cost(known):
            best[same] = candidate
    return sorted(best.values(), key=_by_cost)


def _by_cost(candidate: Candidate) -> tuple[bool, Decimal]:
    cost = _cost(candidate)
    return cost is None, cost or Decimal(0)


def could_open(candidate: Candidate) -> bool:
    """Whether nothing but rules, and what a line in the spec or settings can change, stands in the way."""
    stays = (Verdict.UNSUPPORTED, Verdict.UNAVAILABLE, Verdict.UNPRICED)
    return not any(reason.verdict in stays and not _removable(reason) for reason in candidate.reasons)


def _removable(reason: Reason) -> bool:
    return reason.code.startswith(_REMOVABLE)


def _only_denied(candidate: Candidate) -> bool:
    return candidate.verdict is Verdict.DENIED and could_open(candidate)


def _opening(candidate: Candidate, change: ChangeLike, place: Place, chosen: Candidate | None) -> Opening:
    steps = [change.text, *(reason.fix or reason.text for reason in candidate.reasons if _removable(reason))]
    text = "; ".join(steps)
    if not place.backend.dispatches:
        text += " (Tunegate cannot dispatch to it yet)"
    now, then = (None if chosen is None else _cost(chosen)), _cost(candidate)
    saves = None if now is None or then is None else now - then
    return Opening(candidate.key, text, saves)
