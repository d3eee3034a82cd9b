"""The kinds of record, and the only shape each may have.

A record holds hashes, counts, codes, names, numbers, times and the gate's own words: never a row.
That is held on the way into the account (`allowed`): fields are an allow-list at every depth, and text
longer than a rule's reason is refused. `docs/records.md` says the same for people.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, JsonValue, StringConstraints

LONGEST_TEXT = 1_000
_BASE = "https://tunegate.example/predicate"
EXPORTED = f"{_BASE}/export/v1"  # the manifest of an export; no record of the account

Digest = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
Text = Annotated[str, StringConstraints(max_length=LONGEST_TEXT)]
Count = Annotated[int, Field(ge=0)]


class Shape(BaseModel):
    """A part of a record: no other field, no conversion of types. Built when first used, since every
    command imports this and few write a record."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, defer_build=True)


class Candidate(Shape):
    """Backend × model × region × offer."""

    backend: Text
    model: Text
    region: Text
    offer: Text


class Place(Candidate):
    """Where data, or a model made of it, goes: and how far it may travel under that offer."""

    kind: Literal["managed", "local"]
    residency: Text


class Agreement(Shape):
    """An agreement attested for a backend and in force on the day."""

    kind: Text
    signed: Text
    expires: Text | None
    scope: Text = ""
    evidence: Text = ""
    evidence_sha256: Text = ""
    account: Text = ""


class Class(Shape):
    declared: Text
    detected: Text | None
    effective: Text
    determination: Text | None = None


class Ground(Shape):
    rule: Text
    reason: Text
    citation: Text
    fix: Text


class Answer(Shape):
    """What the gate said, by which rules, and whether those came from a signed bundle."""

    allowed: bool
    grounds: list[Ground]
    policy_hash: Text
    trust: Text
    awaiting: list[Text] = Field(default_factory=list[Text])


class Reason(Shape):
    verdict: Text
    code: Text
    rule: Text | None


class Judged(Candidate):
    verdict: Text
    selectable: bool
    reasons: list[Reason]
    gate: Answer | None


class Data(Shape):
    hash: Text
    rows: Count
    used: Count
    refused: dict[Text, Count]
    class_: Class = Field(alias="class")
    scanned: bool
    findings: dict[Text, Count]


class File(Shape):
    name: Text
    format: Text
    rows: Count
    sha256: Digest | None


class Request(Shape):
    operation: Text
    sha256: Digest


class Remote(Shape):
    """Where a job lives; `address` is where it was really called, which tells a rehearsal on loopback."""

    backend: Text
    id: Text
    address: Text | None = None


class Artifact(Shape):
    """What training left; `id` is what its backend calls it, where it can be asked there."""

    kind: Text
    sha256: Digest | None
    id: Text | None = None


class Deleted(Shape):
    """One thing that was to be deleted at a provider: what the provider calls it, and whether it is gone."""

    name: Text
    uri: Text
    sha256: Digest | None
    deleted: bool
    code: Text = ""


class Scan(Shape):
    """What was looked for in a dataset, and how much was found: types and counts."""

    data_hash: Text
    engine: Text
    complete: bool
    records: Count
    flagged: Count | None = None
    findings: dict[Text, Count]
    detected: Text | None
    job: Text | None = None


class Decision(Shape):
    """A plan that became a job: every candidate's verdict, the choice, and what the gate stood on."""

    job: Text
    requested_by: Text | None = None
    spec_hash: Text
    plan_hash: Digest
    as_of: Text
    policy_hash: Text
    rules: list[Text]
    trust: Text
    data: Data
    candidates: list[Judged]
    chosen: Text | None
    why: Text


class Approval(Shape):
    """Somebody named agreed to a job: bound to the hashes of what they agreed to."""

    job: Text
    approver: Text
    requested_by: Text | None
    key_id: Text
    spec_hash: Text
    data_hash: Text
    policy_hash: Text
    document: Digest | None = None


class Action(Shape):
    """What a record about an action has in common: where, under which class and answer."""

    job: Text | None = None
    attempt: Count | None = None
    place: Place
    data_hash: Text | None = None
    data_class: Text
    scanned: bool
    agreements: list[Agreement]
    approvals: list[Text] = Field(default_factory=list[Text])
    account: Text = ""
    hosts: list[Text] = Field(default_factory=list[Text])  # where the calls really go
    gate: Answer


class Upload(Action):
    """A data file that is about to leave. Written before its first byte does: it may have arrived
    wholly, in part, or, where the sending failed, not at all."""

    file: File


class Denial(Action):
    """The gate said no at the door, and nothing was sent."""

    action: Text


class Inference(Action):
    """The first question of a day to a managed model, under one class and one answer of the gate."""

    model: Text


class Deployment(Action):
    """A tuned model is about to be deployed or to leave its job's folder, or a deployment was ended."""

    what: Literal["deploy", "undeploy", "export"]
    remote: Remote


class Dispatch(Shape):
    """A backend has the job: what was sent, by hash, under which answer of the gate."""

    job: Text
    attempt: Count
    decision: Digest
    plan_hash: Digest
    data_hash: Text
    data_class: Text | None = None
    candidate: Candidate
    place: Place | None = None
    agreements: list[Agreement] = Field(default_factory=list[Agreement])
    hosts: list[Text] = Field(default_factory=list[Text])
    remote: Remote
    gate: Answer | None
    files: list[File]
    requests: list[Request]


class TrainingResult(Shape):
    """How a job ended and what it left."""

    job: Text
    attempt: Count
    decision: Digest
    dispatch: Digest | None
    state: Text
    raw_state: Text
    candidate: Candidate
    data_hash: Text
    data_class: Text
    base_revision: Text | None
    libraries: dict[Text, Text]
    hyperparameters: dict[Text, JsonValue]
    evaluation: Text | None = None
    metrics: dict[Text, JsonValue]
    artifacts: list[Artifact]
    estimate: dict[Text, JsonValue]
    actual: dict[Text, JsonValue]


class Deletion(Shape):
    """A receipt: what was asked to be deleted at a provider, and what is gone."""

    job: Text
    backend: Text
    data_hash: Text
    why: Text
    items: list[Deleted]


class Determination(Shape):
    """An officer's signed finding that lowers the class of exactly one dataset."""

    data_hash: Text
    source_hash: Text | None
    method: Text
    before: Text
    to: Text
    sampled: Count
    leaks: Count
    upper_bound: float | None
    officer: Text
    key_id: Text
    expires: Text | None
    document: Digest


class Dismissal(Shape):
    """Findings that an officer looked at and dismissed, by type."""

    data_hash: Text
    dismissed: dict[Text, Count]
    officer: Text
    key_id: Text
    document: Digest


class KeyRotation(Shape):
    """The last record of one key: it names its successor, and retires."""

    retired: Digest
    successor: Digest
    public_pem: Text
    why: Text


class Pruned(Shape):
    """What stood here was older than must be kept: every record up to `through` was removed, and
    `sha256` is the hash of the last of them, so that the chain goes on."""

    through: Annotated[int, Field(ge=1)]
    sha256: Digest
    removed: Count
    oldest: Text
    newest: Text
    keep_years: Annotated[int, Field(ge=0)]


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of record: its predicate type, and its shape."""

    uri: str
    shape: type[Shape]

    @property
    def fields(self) -> frozenset[str]:
        return frozenset(info.alias or name for name, info in self.shape.model_fields.items())


def _kind(name: str, shape: type[Shape]) -> Kind:
    return Kind(f"{_BASE}/{name.replace('_', '-')}/v1", shape)


KINDS: Mapping[str, Kind] = {
    name: _kind(name, shape)
    for name, shape in {
        "scan": Scan,
        "decision": Decision,
        "approval": Approval,
        "upload": Upload,
        "dispatch": Dispatch,
        "denial": Denial,
        "inference": Inference,
        "deployment": Deployment,
        "training_result": TrainingResult,
        "deletion": Deletion,
        "determination": Determination,
        "dismissal": Dismissal,
        "key_rotation": KeyRotation,
        "pruned": Pruned,
    }.items()
}


def kind_of(uri: str) -> str:
    """The name of a predicate type; the type itself where it is none of ours."""
    return next((name for name, kind in KINDS.items() if kind.uri == uri), uri)
