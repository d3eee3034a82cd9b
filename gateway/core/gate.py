"""What the gate is asked, and what it answers.

One question for every action that lets data, or a model made of data, reach a backend. The policy
room answers it; planner, egress and records only carry question and answer.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from enum import StrEnum
from typing import Any, Literal, Protocol

from gateway.core.classes import DataClass

# verified: policies and attestations come from a signed bundle, by a key that is pinned ·
# unverified: from settings, as whoever runs jobs wrote them · broken: a key is pinned, and its bundle
# does not hold
Trust = Literal["verified", "unverified", "broken"]

# The shipped rule sets in force unless settings say otherwise; going without one is always said.
USUAL_SETS = ("baseline", "hipaa")


class Action(StrEnum):
    TRAIN = "train"
    UPLOAD = "upload"
    INFER = "infer"
    DEPLOY = "deploy"
    EXPORT = "export"


@dataclass(frozen=True, slots=True)
class Attestation:
    """What the operator vouches for. Outside its dates and its scope it does not exist.

    Attributes:
        kind: `baa`, `modified_retention`, `dpa`, `existing_account`, …
        backend: registry name it covers.
        signed: first day it holds.
        expires: last day it holds; None only where the agreement has no end.
        scope: what it covers, in words.
        evidence: link to, or file of, the signed document.
        account: the one account at the provider that it covers; empty where it covers any.
        services: the actions it covers; empty where it covers all.
        evidence_sha256: SHA-256 (hex) of the evidence file.
        void: why it does not count, whatever its dates; empty where nothing is wrong with it.
    """

    kind: str
    backend: str
    signed: date
    expires: date | None
    scope: str = ""
    evidence: str = ""
    account: str = ""
    services: tuple[Action, ...] = ()
    evidence_sha256: str = ""
    void: str = ""

    def in_force(self, on: date) -> bool:
        return not self.void and self.signed <= on and (self.expires is None or on <= self.expires)

    def covers(self, action: Action, account: str) -> bool:
        """Whether this action in this account is within its scope; an account not known is none."""
        return self.account in ("", account) and (not self.services or action in self.services)


@dataclass(frozen=True, slots=True)
class GateRequest:
    """One question. `handling` holds the backend's facts as plain values; absent means unsafe.

    `scanned` is True only when a complete scan of exactly this data was made.
    `residency` is where the data may go under the candidate's offer: `local`, a region's zone
    (`us`, `eu`, …) or `global`; `asked_residency` is what the spec demands.
    `account` is whose account at the provider would be used, where that is known.
    `approvals` holds names and roles of those whose signed approval of exactly this job is at hand.
    """

    action: Action
    team: str
    backend: str
    kind: Literal["managed", "local"]
    model: str
    region: str
    offer: str
    residency: str
    handling: Mapping[str, bool | str | tuple[str, ...]]
    data_class: DataClass
    scanned: bool
    tags: tuple[str, ...]
    purpose: str | None
    asked_residency: str
    attestations: tuple[Attestation, ...]
    as_of: date
    account: str = ""
    approvals: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Ground:
    """One rule that decided, in words a person can act on."""

    rule: str
    reason: str
    citation: str = ""
    fix: str = ""


@dataclass(frozen=True, slots=True)
class Decision:
    """The gate's answer. Anything but a clean allow is a deny.

    Attributes:
        grounds: for a deny, every rule that denied (or that an allow lacked); for an allow, the
            rules that permitted.
        policy_hash: SHA-256 over the policy set and schema that decided.
        trust: whether the policies and attestations came from a signed, pinned bundle.
        awaiting: for a deny that approvals alone would turn: by whom. It is a deny until they are there.
    """

    allowed: bool
    grounds: tuple[Ground, ...]
    policy_hash: str
    trust: Trust = "unverified"
    awaiting: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        told: dict[str, Any] = {
            "allowed": self.allowed,
            "grounds": [
                {"rule": g.rule, "reason": g.reason, "citation": g.citation, "fix": g.fix}
                for g in self.grounds
            ],
            "policy_hash": self.policy_hash,
            "trust": self.trust,
        }
        return {**told, "awaiting": list(self.awaiting)} if self.awaiting else told


class Gate(Protocol):
    """Anything that answers a `GateRequest`; must never raise for a well-typed request."""

    def decide(self, request: GateRequest) -> Decision: ...
