"""The gate: who may see which data, by rules a compliance officer can read.

    gate = load_gate(extra=[Path("policies/ours.cedar")], sets=("baseline", "hipaa"))
    decision = gate.decide(request)          # never raises; anything but a clean allow is a deny
    explain(gate, request).changes           # the smallest changes that would open the door

Rules are Cedar files (`sets/`, and an organisation's own), checked against `sets/schema.cedarschema`
when they are loaded. The engine is the only judge: explanations and changes are found by asking it
again with one thing changed.
"""

from __future__ import annotations

from gateway.policy.attestations import attestations_from, check_known
from gateway.policy.cases import CaseResult, try_cases
from gateway.policy.changes import Change, smallest_changes
from gateway.policy.explain import Explanation, explain
from gateway.policy.gate import CedarGate, load_gate
from gateway.policy.rules import PolicyProblem, Rule, check, shipped_sets
from gateway.policy.steps import known_agreements

__all__ = [
    "CaseResult",
    "CedarGate",
    "Change",
    "Explanation",
    "PolicyProblem",
    "Rule",
    "attestations_from",
    "check",
    "check_known",
    "explain",
    "known_agreements",
    "load_gate",
    "shipped_sets",
    "smallest_changes",
    "try_cases",
]
