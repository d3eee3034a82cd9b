"""`tunegate policy explain`: the verdict, why, and what would change it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from gateway.core.gate import Decision, GateRequest, Ground
from gateway.policy.changes import Change, smallest_changes
from gateway.policy.gate import CedarGate


@dataclass(frozen=True, slots=True)
class Explanation:
    """A decision with the smallest changes that would turn it, where it is a deny."""

    decision: Decision
    changes: tuple[Change, ...]

    @property
    def allowed(self) -> bool:
        return self.decision.allowed

    @property
    def grounds(self) -> tuple[Ground, ...]:
        return self.decision.grounds

    def to_json(self) -> dict[str, Any]:
        return {**self.decision.to_json(), "changes": [change.text for change in self.changes]}


def explain(gate: CedarGate, request: GateRequest) -> Explanation:
    """Ask the gate, and ask it again for what would change its answer. Never raises."""
    return Explanation(gate.decide(request), smallest_changes(gate, request))
