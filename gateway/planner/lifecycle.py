"""What ends, and what needs an agreement: on the day of the plan and on the days of serving."""

from __future__ import annotations

import calendar
from collections.abc import Iterator, Sequence
from datetime import date

from gateway.core.facts import Facts, Lifecycle, ModelFacts
from gateway.core.gate import Attestation
from gateway.core.plan import Reason, Verdict
from gateway.core.spec import Serving


def lifecycle_reasons(
    facts: Facts,
    model: ModelFacts,
    serving: Serving | None,
    as_of: date,
    attestations: Sequence[Attestation],
) -> Iterator[Reason]:
    """Why this model is not, or will soon not be, available there; sunsets ahead are warnings."""
    for fact in facts.lifecycle:
        if not fact.concerns(model):
            continue
        last_needed = as_of if fact.what == "training" or serving is None else horizon(as_of, serving.months)
        if not _told_by_another(fact, facts, model, as_of):
            yield from _ends(fact, as_of, last_needed)
        if fact.requires and _holds(fact, as_of):
            yield from _requires(fact, fact.requires, facts, as_of, attestations)


def _told_by_another(fact: Lifecycle, facts: Facts, model: ModelFacts, as_of: date) -> bool:
    """Whether training ends on a day ahead on which the model itself does: that is one thing to say."""
    return (
        fact.what == "training"
        and fact.until is not None
        and fact.until >= as_of
        and any(
            each.what == "serving" and each.until == fact.until and each.concerns(model)
            for each in facts.lifecycle
        )
    )


def horizon(as_of: date, months: int) -> date:
    """The same day so many months later; the month's last where it has no such day."""
    years, month = divmod(as_of.month - 1 + months, 12)
    year, month = as_of.year + years, month + 1
    return date(year, month, min(as_of.day, calendar.monthrange(year, month)[1]))


def day(moment: date) -> str:
    """6 January 2027."""
    return f"{moment.day} {moment:%B %Y}"


def _holds(fact: Lifecycle, as_of: date) -> bool:
    return (fact.starts is None or fact.starts <= as_of) and (fact.until is None or as_of <= fact.until)


def _ends(fact: Lifecycle, as_of: date, last_needed: date) -> Iterator[Reason]:
    """A row with `until` works to that day; a row with nothing but `from` is closed from that day on."""
    until = fact.until
    if until is None:
        if fact.starts is not None and fact.requires is None and fact.starts <= last_needed:
            code = f"{fact.what}_closed"
            yield Reason(
                Verdict.UNAVAILABLE, code, f"{fact.text} (since {day(fact.starts)})", source=fact.source
            )
        return
    left = (until - as_of).days
    if until < as_of:
        since = "yesterday was the last day" if left == -1 else f"{-left} days ago"
        yield Reason(Verdict.UNAVAILABLE, f"{fact.what}_ended", f"{fact.text} ({since})", source=fact.source)
    elif until < last_needed:
        text = f"{fact.text}: {_from_now(left)}, and you need it until {day(last_needed)}"
        yield Reason(
            Verdict.UNAVAILABLE,
            f"{fact.what}_ends",
            text,
            source=fact.source,
            fix=f"serve until {day(until)} at most, or choose a model that lasts",
        )
    else:
        yield Reason(
            Verdict.ALLOWED, f"{fact.what}_sunset", f"{fact.text}: {_from_now(left)}", source=fact.source
        )


def _requires(
    fact: Lifecycle, kind: str, facts: Facts, as_of: date, attestations: Sequence[Attestation]
) -> Iterator[Reason]:
    held = [each for each in attestations if each.kind == kind and each.backend == facts.backend]
    if any(each.in_force(as_of) for each in held):
        return
    lapsed = [each.expires for each in held if each.expires is not None and each.expires < as_of]
    state = f"the one on file expired on {day(max(lapsed))}" if lapsed else "none is on file"
    yield Reason(
        Verdict.UNAVAILABLE,
        f"requires_{kind}",
        f"needs the attestation `{kind}`, and {state}: {fact.text}",
        source=fact.source,
        fix=f'attest `{kind}` for {facts.backend}: [[attestations]] kind = "{kind}"',
    )


def _from_now(days: int) -> str:
    return "today is the last day" if days == 0 else f"{days} day{'s' * (days != 1)} from now"
