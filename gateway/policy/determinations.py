"""What an officer signs about a dataset: the class it has, and findings that are none.

Each is an in-toto Statement in a DSSE envelope, bound to the hash of exactly one dataset, and holds only
while all of this is true: an approver with the role `privacy-officer` signed it under their own name, not
a byte was changed, it is about this data, the day is within its dates. Anything else is absent, with a
reason. Of several determinations about the same data the latest counts, so that signing anew revokes.

Where the files lie grants nothing, so they may lie anywhere: in the trust bundle, in the home folder.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError, field_validator

from gateway.core.classes import DataClass
from gateway.core.review import Determination, Lineage, Review
from gateway.policy.approvers import Approver
from gateway.records.envelope import STATEMENT_TYPE, Unverified, seal, signed_payload
from gateway.records.keys import Signer

ROLE = "privacy-officer"
_BASE = "https://tunegate.example/predicate"
_DETERMINATION = f"{_BASE}/data-determination/v1"
_DISMISSALS = f"{_BASE}/data-dismissals/v1"

Digest = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
Count = Annotated[int, Field(ge=0)]
Text = Annotated[str, StringConstraints(max_length=200)]


class Signed(BaseModel):
    """What both kinds of document say.

    Attributes:
        name: the spec's or file's name, for people; what it is about is the hash.
        source_hash: of the files the data was scrubbed from, where it was.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: Text
    data_hash: Digest
    source_hash: Digest | None = None
    officer: Text
    signed: date
    expires: date


class Determined(Signed):
    """The class of a dataset, and what an officer saw of it."""

    method: Text
    before: str
    to: str
    rows: Count
    sampled: Count
    leaks: Count
    upper_bound: Annotated[float, Field(ge=0, le=1)] | None
    seed: Text

    @field_validator("before", "to")
    @classmethod
    def _a_class(cls, value: str) -> str:
        return str(DataClass.parse(value))


class Place(BaseModel):
    """A finding, as `data scan --json` shows it: where, and of which type."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    line: Count
    field: Text
    type: Text
    file: Count = 0


class Dismissed(Signed):
    """Findings that an officer looked at and that identify nobody."""

    findings: tuple[Place, ...]


def sign(document: Determined | Dismissed, key: Signer) -> bytes:
    """The signed file.

    Raises:
        RecordError: the key cannot sign.
    """
    kind = _DETERMINATION if isinstance(document, Determined) else _DISMISSALS
    return seal(
        {
            "_type": STATEMENT_TYPE,
            "subject": [{"name": "data", "digest": {"sha256": document.data_hash}}],
            "predicateType": kind,
            "predicate": document.model_dump(mode="json"),
        },
        key,
    )


@dataclass(frozen=True, slots=True)
class About:
    """The dataset that is asked about: its hash, what people call it, and where it came from."""

    data_hash: str
    name: str = ""
    lineage: Lineage | None = None

    def concerns(self, said: Mapping[str, Any]) -> bool:
        """Whether a document, believed or not, means this data or another state of it."""
        source = self.lineage.source_hash if self.lineage else None
        return (
            said.get("data_hash") == self.data_hash
            or (source is not None and said.get("source_hash") == source)
            or bool(self.name and said.get("name") == self.name)
        )


def review(
    documents: Mapping[str, bytes], approvers: Sequence[Approver], about: About, on: date
) -> tuple[Review, frozenset[Place]]:
    """What of these documents holds for a dataset on a day; and the findings that are dismissed.

    Args:
        documents: the signed files, by name.
        approvers: whose signature counts.
    """
    absent: list[tuple[bool, str]] = []  # whether it is about exactly this data, and why it is none
    determined: list[Determination] = []
    dismissed: set[Place] = set()
    for name, content in sorted(documents.items()):
        said = claims(content)
        if said is not None and not about.concerns(said):
            continue
        found = _standing(content, approvers, about, on)
        if isinstance(found, str):
            exact = said is None or said.get("data_hash") == about.data_hash
            absent.append((exact, f"{name}: {found}"))
        elif isinstance(found, Dismissed):
            dismissed |= set(found.findings)
        else:
            determined.append(found)
    # Signed on one day, the stricter counts.
    latest = max(determined, key=lambda each: (each.signed, each.to), default=None)
    # Once one holds, what was signed about earlier states of the data is of no interest.
    told = tuple(text for exact, text in absent if exact or latest is None)
    return Review(latest, absent=told), frozenset(dismissed)


def _standing(
    content: bytes, approvers: Sequence[Approver], about: About, on: date
) -> Determination | Dismissed | str:
    """The document as it holds, or why it does not."""
    keys = {id: key for approver in approvers for id, key in approver.keys.items()}
    opened = signed_payload(content, keys)
    if isinstance(opened, Unverified):
        return opened.text
    payload, key_id = opened
    document = _document(payload)
    if document is None:
        return "is signed, and is neither a determination nor dismissals"
    if (why := _why_not(document, approvers, key_id, about, on)) is not None:
        return why
    if isinstance(document, Dismissed):
        return document
    return Determination(
        data_hash=document.data_hash,
        method=document.method,
        to=DataClass.parse(document.to),
        sampled=document.sampled,
        leaks=document.leaks,
        upper_bound=document.upper_bound,
        officer=document.officer,
        key_id=key_id,
        signed=document.signed,
        expires=document.expires,
        document=hashlib.sha256(content).hexdigest(),
    )


def _why_not(
    document: Determined | Dismissed, approvers: Sequence[Approver], key_id: str, about: About, on: date
) -> str | None:
    who = next(approver for approver in approvers if key_id in approver.keys)
    if who.name != document.officer:
        return f"{document.officer!a} is named, and {who.name} signed"
    if ROLE not in who.roles:
        return f"{who.name} does not have the role {ROLE}"
    if document.data_hash != about.data_hash:
        return "is about other data: what is planned now has changed since, or is another part of it"
    if isinstance(document, Determined) and (method := _method(about)) != document.method:
        return f"is about data scrubbed by {document.method}, and this is {method}"
    if on < document.signed:
        return f"holds only from {document.signed}"
    return f"expired on {document.expires}" if on > document.expires else None


def _method(about: About) -> str:
    return about.lineage.method if about.lineage else "none"


def _document(payload: bytes) -> Determined | Dismissed | None:
    shapes: Mapping[str, type[Determined | Dismissed]] = {_DETERMINATION: Determined, _DISMISSALS: Dismissed}
    try:
        statement = json.loads(payload)
        document = shapes[statement["predicateType"]].model_validate(statement["predicate"])
        (subject,) = statement["subject"]
        matches = subject["digest"]["sha256"] == document.data_hash
    except (ValueError, KeyError, TypeError, ValidationError, RecursionError):
        return None
    return document if matches and statement.get("_type") == STATEMENT_TYPE else None


def claims(content: bytes) -> Mapping[str, Any] | None:
    """What a file says, believed by nobody: only to tell whether it concerns a dataset. None where
    it says nothing that can be read."""
    try:
        predicate = json.loads(base64.b64decode(json.loads(content)["payload"]))["predicate"]
    except (ValueError, KeyError, TypeError, RecursionError):
        return None
    return predicate if isinstance(predicate, dict) else None  # pyright: ignore[reportUnknownVariableType]
