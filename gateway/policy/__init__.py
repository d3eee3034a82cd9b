"""The gate: who may see which data, by rules a compliance officer can read.

    gate = load_gate(extra=[Path("policies/ours.cedar")], sets=("baseline", "hipaa"))
    decision = gate.decide(request)          # never raises; anything but a clean allow is a deny
    explain(gate, request).changes           # the smallest changes that would open the door

Rules are Cedar files (`sets/`, and an organisation's own), checked against `sets/schema.cedarschema`
when they are loaded. The engine is the only judge: explanations and changes are found by asking it
again with one thing changed.
"""

from __future__ import annotations

from gateway.policy.approvers import Approver, approvers_from
from gateway.policy.attestations import attestations_from, check_known, expiring
from gateway.policy.bundle import Bundle, Untrusted, sign_bundle
from gateway.policy.cases import CaseResult, try_cases
from gateway.policy.changes import Change, smallest_changes
from gateway.policy.explain import Explanation, explain
from gateway.policy.gate import CedarGate, load_gate
from gateway.policy.rules import PolicyProblem, Rule, RuleBook, check, shipped_sets
from gateway.policy.steps import known_agreements
from gateway.policy.trust import Pin, TrustState, find_pin, gate_of, open_state, pin_of, watched

__all__ = [
    "Approver",
    "Bundle",
    "CaseResult",
    "CedarGate",
    "Change",
    "Explanation",
    "Pin",
    "PolicyProblem",
    "Rule",
    "RuleBook",
    "TrustState",
    "Untrusted",
    "approvers_from",
    "attestations_from",
    "check",
    "check_known",
    "expiring",
    "explain",
    "find_pin",
    "gate_of",
    "known_agreements",
    "load_gate",
    "open_state",
    "pin_of",
    "shipped_sets",
    "sign_bundle",
    "smallest_changes",
    "try_cases",
    "watched",
]
