"""The smallest changes that would turn a deny into an allow, found by asking the same gate again."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import combinations

from gateway.core.gate import GateRequest
from gateway.policy.gate import CedarGate
from gateway.policy.steps import Step, in_words, take

_MOST_STEPS = 4


@dataclass(frozen=True, slots=True)
class Change:
    """What a person would do, and the question as it would then be asked (and allowed)."""

    text: str
    request: GateRequest


def smallest_changes(gate: CedarGate, request: GateRequest) -> tuple[Change, ...]:
    """Every way to be allowed that has no needless step, fewest steps first; at most four steps.

    Only what is in somebody's hands is tried: agreements, a scan, a region or offer, the data. What
    a provider does not state cannot be changed here, so no change may be found. Empty where the
    request is allowed already, or cannot be judged.
    """
    verdict = gate.verdict(request)
    if verdict.allowed or not verdict.judged:
        return ()
    found: list[tuple[Step, ...]] = []
    for chosen in _combinations([step for step in gate.steps(request) if step.kind != "fact"]):
        needless = any(set(smaller) <= set(chosen) for smaller in found)
        if not needless and gate.verdict(take(request, chosen)).allowed:
            found.append(chosen)
    return tuple(Change(in_words(chosen, gate.attested_in), take(request, chosen)) for chosen in found)


def _combinations(steps: list[Step]) -> Iterator[tuple[Step, ...]]:
    for size in range(1, _MOST_STEPS + 1):
        yield from combinations(steps, size)
