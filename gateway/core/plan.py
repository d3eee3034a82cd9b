"""The plan: every candidate with its verdict, reasons, price, time and translation; and the choice.

Exchanged types are frozen; `Plan.to_json` is the stable, versioned JSON of `tunegate plan --json`:
money is a decimal string, unknown is null, times are ISO 8601 UTC.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from datetime import date
from decimal import Decimal
from enum import StrEnum
from typing import Any, Literal

from gateway.core.classes import DataClass
from gateway.core.estimate import Comparison, Estimate, Range
from gateway.core.facts import Confidence, Source
from gateway.core.gate import USUAL_SETS, Decision, Trust
from gateway.core.html import plan_html
from gateway.core.review import Lineage, Review
from gateway.core.rows import Split

PLAN_SCHEMA = "tunegate.plan/1"


class Verdict(StrEnum):
    """The first that applies, in this order; all reasons are listed whichever comes first."""

    UNSUPPORTED = "unsupported"
    DENIED = "denied"
    UNAVAILABLE = "unavailable"
    UNPRICED = "unpriced"
    ALLOWED = "allowed"


@dataclass(frozen=True, slots=True)
class CandidateKey:
    """Backend × model × region × offer."""

    backend: str
    model: str
    region: str
    offer: str

    def __str__(self) -> str:
        return f"{self.backend} {self.model} · {self.region} · {self.offer}"


@dataclass(frozen=True, slots=True)
class Reason:
    """Why a verdict holds. A reason whose `verdict` is `allowed` informs (a warning, a note)."""

    verdict: Verdict
    code: str
    text: str
    rule: str | None = None
    source: Source | None = None
    fix: str | None = None

    def to_json(self) -> dict[str, Any]:
        return {
            "verdict": str(self.verdict),
            "code": self.code,
            "text": self.text,
            "rule": self.rule,
            "source": _source(self.source),
            "fix": self.fix,
        }


@dataclass(frozen=True, slots=True)
class Machine:
    """A machine one could train on: this one, or one to rent. Memory in GiB."""

    name: str
    gpu: str | None
    gpus: int
    gpu_memory_gib: float
    cpu_cores: int
    memory_gib: float


@dataclass(frozen=True, slots=True)
class Fit:
    """How training fits on a machine, and what every `auto` became there, with the reason.

    `parts_gib` adds up to `memory_gib`. `choices` maps a setting to (value, why). `basis` says what was
    measured to know the time and the memory; None: nothing was, both are assumed from public figures.
    `fix` is the smallest change that would make it fit.
    """

    machine: Machine
    fits: bool
    memory_gib: float
    parts_gib: Mapping[str, float]
    hours: Range
    choices: Mapping[str, tuple[object, str]]
    why_not: str | None = None
    basis: str | None = None
    fix: str | None = None

    def choices_json(self) -> dict[str, dict[str, object]]:
        return {name: {"value": value, "why": why} for name, (value, why) in self.choices.items()}


FieldAction = Literal["kept", "changed", "refused"]


@dataclass(frozen=True, slots=True)
class FieldOutcome:
    """What became of one spec field in a translation. `before` and `after` are JSON values."""

    path: str
    action: FieldAction
    before: object
    after: object = None
    why: str | None = None

    def to_json(self) -> dict[str, Any]:
        return {
            "path": self.path,
            "action": self.action,
            "from": self.before,
            "to": self.after,
            "why": self.why,
        }


@dataclass(frozen=True, slots=True)
class ProviderRequest:
    """One exact call: the provider's operation name and its body."""

    operation: str
    body: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class ProviderFile:
    """One data file as the provider will get it. `rows_in == rows_out + sum(refused.values())`."""

    name: str
    split: Split
    format: str
    rows_in: int
    rows_out: int
    refused: Mapping[str, int]
    sha256: str | None


@dataclass(frozen=True, slots=True)
class Translation:
    """Exact provider requests, their files, and what became of every spec field. No row text."""

    requests: tuple[ProviderRequest, ...]
    files: tuple[ProviderFile, ...]
    fields: tuple[FieldOutcome, ...]

    @property
    def refused(self) -> tuple[FieldOutcome, ...]:
        return tuple(outcome for outcome in self.fields if outcome.action == "refused")

    def to_json(self) -> dict[str, Any]:
        return {
            "requests": [{"operation": r.operation, "body": dict(r.body)} for r in self.requests],
            "files": [
                {
                    "name": f.name,
                    "format": f.format,
                    "rows_in": f.rows_in,
                    "rows_out": f.rows_out,
                    "refused": dict(f.refused),
                    "sha256": f.sha256,
                }
                for f in self.files
            ],
            "fields": [outcome.to_json() for outcome in self.fields],
        }


@dataclass(frozen=True, slots=True)
class Candidate:
    """One place that could run the job, judged.

    `selectable` is False for an allowed candidate that is over budget or past the deadline;
    its reasons say so.
    """

    key: CandidateKey
    verdict: Verdict
    reasons: tuple[Reason, ...]
    tokens: int | None
    tokens_method: str | None
    billed_tokens: int | None
    estimate: Estimate
    duration_h: Range | None
    memory_gib: float | None
    translation: Translation | None
    decision: Decision | None
    fit: Fit | None = None
    selectable: bool = True

    def to_json(self) -> dict[str, Any]:
        return {
            "backend": self.key.backend,
            "model": self.key.model,
            "region": self.key.region,
            "offer": self.key.offer,
            "verdict": str(self.verdict),
            "selectable": self.verdict is Verdict.ALLOWED and self.selectable,
            "reasons": [reason.to_json() for reason in self.reasons],
            "tokens": self.tokens,
            "tokens_method": self.tokens_method,
            "billed_tokens": self.billed_tokens,
            "estimate": self.estimate.to_json(),
            "duration_h": self.duration_h and self.duration_h.to_json(),
            "memory_gib": self.memory_gib,
            "choices": self.fit.choices_json() if self.fit else {},
            "translation": self.translation and self.translation.to_json(),
            "decision": self.decision and self.decision.to_json(),
        }


@dataclass(frozen=True, slots=True)
class Opening:
    """The smallest change that would allow a candidate that is denied today."""

    candidate: CandidateKey
    change: str
    saves_usd: Decimal | None

    def to_json(self) -> dict[str, Any]:
        return {
            "candidate": str(self.candidate),
            "change": self.change,
            "saves_usd": None if self.saves_usd is None else str(self.saves_usd),
        }


@dataclass(frozen=True, slots=True)
class DataSummary:
    """The dataset as the plan shows it: counts and classes, no text."""

    rows: int
    used: int
    refused: Mapping[str, int]
    split_rows: Mapping[Split, int]
    tokens: int | None
    tokens_method: str | None
    hash: str
    declared: DataClass
    detected: DataClass | None
    effective: DataClass
    scanned: bool
    findings: Mapping[str, int]
    undetermined: DataClass | None = None  # the class that counts once no determination does
    review: Review = field(default_factory=Review)
    lineage: Lineage | None = None

    def to_json(self) -> dict[str, Any]:
        determination = self.review.determination
        return {
            "rows": self.rows,
            "used": self.used,
            "refused": dict(self.refused),
            "splits": dict(self.split_rows),
            "tokens": self.tokens,
            "tokens_method": self.tokens_method,
            "hash": self.hash,
            "class": {
                "declared": str(self.declared),
                "detected": None if self.detected is None else str(self.detected),
                "effective": str(self.effective),
                "determination": determination and determination.document,
            },
            "undetermined": str(self.effective if self.undetermined is None else self.undetermined),
            "scanned": self.scanned,
            "findings": dict(self.findings),
            "review": self.review.to_json(),
            "lineage": self.lineage and self.lineage.to_json(),
        }


@dataclass(frozen=True, slots=True)
class Plan:
    """All candidates, and the choice. `chosen` is None when nothing may run; `why` says why.

    `rules` says whose rules decided: names of shipped sets, and file names of an organisation's own.
    `warnings` are about what the whole plan stands on: permissions that are ignored, or end soon.
    """

    spec_hash: str
    as_of: date
    trust: Trust
    policy_hash: str
    data: DataSummary
    candidates: tuple[Candidate, ...]
    chosen: CandidateKey | None
    why: str
    openings: tuple[Opening, ...] = field(default=())
    rules: tuple[str, ...] = ()
    comparison: Comparison | None = None
    warnings: tuple[str, ...] = ()

    def candidate(self, key: CandidateKey) -> Candidate:
        return next(candidate for candidate in self.candidates if candidate.key == key)

    @property
    def chosen_candidate(self) -> Candidate | None:
        return None if self.chosen is None else self.candidate(self.chosen)

    @property
    def rules_missing(self) -> str | None:
        """A sentence where a shipped rule set that usually holds was not in force; else None."""
        return rules_missing(self.rules)

    def _repr_html_(self) -> str:
        """How a notebook shows a plan."""
        return plan_html(self)

    def to_json(self) -> dict[str, Any]:
        return {
            "schema": PLAN_SCHEMA,
            "spec_hash": self.spec_hash,
            "as_of": self.as_of.isoformat(),
            "trust": self.trust,
            "policy_hash": self.policy_hash,
            "data": self.data.to_json(),
            "candidates": [candidate.to_json() for candidate in self.candidates],
            "chosen": None if self.chosen is None else str(self.chosen),
            "why": self.why,
            "openings": [opening.to_json() for opening in self.openings],
            "rules": list(self.rules),
            "warnings": list(self.warnings),
            "comparison": self.comparison and self.comparison.to_json(),
        }


def rules_missing(rules: Collection[str]) -> str | None:
    """What to say of rules that lack a usual shipped set; None where they lack none."""
    absent = [f"`{name}`" for name in USUAL_SETS if name not in rules]
    return f"the shipped {' and '.join(absent)} rules are not in force" if absent else None


def _source(source: Source | None) -> dict[str, str] | None:
    if source is None:
        return None
    return {
        "url": source.url,
        "as_of": source.as_of.isoformat(),
        "confidence": str(Confidence(source.confidence)),
    }
