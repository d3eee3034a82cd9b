"""The vocabulary of change: what could be otherwise about a question. No rules.

Which step matters is for the engine to say, by being asked again with the step taken.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from gateway.core.classes import DataClass
from gateway.core.gate import Attestation, GateRequest
from gateway.policy.question import UNSAFE, in_force, lapsed, stated
from gateway.policy.rules import RuleBook

# fact: what the provider states · agreement: what the operator signs · scan: what is known of the
# data · place: where it may go · approval: who agrees to this job · data: another dataset altogether
Kind = Literal["fact", "agreement", "scan", "place", "approval", "data"]

_ELSEWHERE = "choose a provider that states it, or train on your own machine"

# kind of agreement → its name, and what a person does to have it
_AGREEMENTS: Mapping[str, tuple[str, str]] = {
    "baa": ("BAA", "sign a BAA with"),
    "modified_retention": ("Modified Retention approval", "obtain Modified Retention from"),
    "dpa": ("data processing agreement", "sign a data processing agreement with"),
    "qsoa": ("qualified service organization agreement", "sign a QSOA with"),
    "scc": ("standard contractual clauses", "sign standard contractual clauses with"),
}

# attribute → its safe value, and what is missing where it is not stated
_FACTS: Mapping[str, tuple[bool | tuple[str, ...], str]] = {
    "business_associate": (False, "nothing states that {provider} is your own machine"),
    "hipaa_eligible": (True, "nothing states that {provider} is HIPAA-eligible"),
    "hipaa_requires": (("baa",), "nothing states which agreements {provider} requires for PHI"),
    "trains_on_data": (False, "nothing states that {provider} does not train on customers' data"),
    "zero_retention": (True, "nothing states that {provider} retains nothing"),
    "deletes_training_data": (True, "nothing states that {provider} deletes training data"),
    "residency_pinned": (True, "nothing states that {provider} keeps data in its region"),
    "customer_keys": (True, "nothing states that {provider} takes your own encryption keys"),
    "private_network": (True, "nothing states that {provider} can be reached over a private network"),
}


@dataclass(frozen=True, slots=True)
class Step:
    """One thing that could be otherwise.

    Attributes:
        reason: what stands in the way while it is not.
        deed: what a person would do about it.
        apply: the question as it would then be asked.
    """

    kind: Kind
    reason: str
    deed: str
    apply: Callable[[GateRequest], GateRequest]


def known_agreements(book: RuleBook) -> frozenset[str]:
    """Kinds of agreement that have a meaning here: those the rules in force ask for, and those of the
    shipped sets, which keep their meaning while their set is switched off."""
    return book.agreements | frozenset(_AGREEMENTS)


def steps(request: GateRequest, book: RuleBook) -> tuple[Step, ...]:
    """Every step that changes this question and that these rules may care about; what is out of
    the operator's hands comes first."""
    return (
        *_facts(request, book.words),
        *_places(request, book.places),
        *_scan(request),
        *_agreements(request, book.agreements),
        *_approvals(request, book.approvals),
        *_data(request),
    )


def take(request: GateRequest, chosen: Iterable[Step]) -> GateRequest:
    """The question after all these steps."""
    for step in chosen:
        request = step.apply(request)
    return request


def in_words(chosen: Sequence[Step], attested_in: str) -> str:
    """What to do, in one line: agreements together, then the rest.

    Args:
        attested_in: where agreements are written down.
    """
    attest = f"(`[[attestations]]` in {attested_in})"
    signed = [step.deed for step in chosen if step.kind == "agreement"]
    others = [step.deed for step in chosen if step.kind != "agreement"]
    if len(signed) == 1:
        others.insert(0, f"{signed[0]} and attest it {attest}")
    elif signed:
        others.insert(0, f"{' and '.join(signed)}, and attest them {attest}")
    return "; ".join(others)


def provider(request: GateRequest) -> str:
    """What people call the provider: its title where the facts hand one over, else its registry name."""
    title = request.handling.get("title")
    return title if isinstance(title, str) and title else request.backend


def _facts(request: GateRequest, words: Container[str]) -> Iterator[Step]:
    for attribute, (safe, text) in _FACTS.items():
        if attribute not in words or stated(request, attribute) != UNSAFE[attribute]:
            continue

        def apply(
            asked: GateRequest, name: str = attribute, value: bool | tuple[str, ...] = safe
        ) -> GateRequest:
            return replace(asked, handling={**asked.handling, name: value})

        yield Step("fact", text.format(provider=provider(request)), _ELSEWHERE, apply)


def _agreements(request: GateRequest, kinds: Iterable[str]) -> Iterator[Step]:
    required = stated(request, "hipaa_requires")
    wanted = {*kinds, *(required if isinstance(required, tuple) else ())} - in_force(request)
    for kind in sorted(wanted, key=lambda kind: (kind != "baa", kind)):
        name, deed = _AGREEMENTS.get(kind, (f"`{kind}`", f"obtain `{kind}` from"))

        def apply(asked: GateRequest, kind: str = kind) -> GateRequest:
            signed = Attestation(kind, asked.backend, asked.as_of, asked.as_of)
            return replace(asked, attestations=(*asked.attestations, signed))

        yield Step("agreement", _missing(request, kind, name), f"{deed} {provider(request)}", apply)


def _missing(request: GateRequest, kind: str, name: str) -> str:
    on_file = lapsed(request, kind)
    if on_file is None:
        return f"no {name} with {provider(request)} on file"
    known = f"the {name} with {provider(request)}"
    if on_file.void:
        return f"{known} does not count: {on_file.void}"
    if on_file.expires and on_file.expires < request.as_of:
        return f"{known} expired on {on_file.expires}"
    if on_file.signed > request.as_of:
        return f"{known} holds only from {on_file.signed}"
    if on_file.account not in ("", request.account):
        asked = f"would use `{request.account}`" if request.account else "does not say whose it would use"
        return f"{known} covers the account `{on_file.account}`, and the job {asked}"
    return f"{known} covers {', '.join(on_file.services)}, not {request.action}"


def _approvals(request: GateRequest, names: Iterable[str]) -> Iterator[Step]:
    for name in sorted(set(names) - set(request.approvals)):

        def apply(asked: GateRequest, name: str = name) -> GateRequest:
            return replace(asked, approvals=(*asked.approvals, name))

        yield Step(
            "approval",
            f"the approval of `{name}` is not at hand",
            f"have `{name}` approve the job (`tunegate jobs approve JOB`)",
            apply,
        )


def _scan(request: GateRequest) -> Iterator[Step]:
    if request.scanned is not True:
        yield Step(
            "scan",
            "nobody has looked at what is in this data",
            "scan the data (`tunegate data scan`)",
            lambda asked: replace(asked, scanned=True),
        )


def _places(request: GateRequest, named: Iterable[str]) -> Iterator[Step]:
    zones = set(named)
    if request.asked_residency != "any":
        zones.add(request.asked_residency)
    if request.kind == "local":
        return
    for zone in sorted(zones - {request.residency}):

        def apply(asked: GateRequest, zone: str = zone) -> GateRequest:
            return replace(asked, residency=zone)

        yield Step(
            "place",
            f"under this offer data may go to `{request.residency}`",
            f"choose a region or offer of {provider(request)} that keeps data in `{zone}`",
            apply,
        )


def _data(request: GateRequest) -> Iterator[Step]:
    if request.data_class >= DataClass.PII:
        yield Step(
            "data",
            f"the data is of class `{request.data_class}`",
            "scrub the data (`tunegate data scrub`, or `data.deidentify: scrub`) and have an officer"
            " look at a sample and sign that it is `internal` (`tunegate data review`)",
            lambda asked: replace(asked, data_class=DataClass.INTERNAL),
        )
    for tag in sorted(set(request.tags)):

        def apply(asked: GateRequest, tag: str = tag) -> GateRequest:
            return replace(asked, tags=tuple(kept for kept in asked.tags if kept != tag))

        yield Step(
            "data",
            f"the data is tagged `{tag}`",
            f"leave out the rows and columns that make the data `{tag}`, and drop the tag",
            apply,
        )
