"""Approvals: somebody named signs that exactly this job may go ahead.

An approval is an in-toto statement in a DSSE envelope, kept among the job's events. It holds for the
terms it names and no others: when a byte of the spec, the data, the policies, the requests or the
choice has changed, the terms have, and it counts no more.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

from gateway.core.job import Event
from gateway.core.spec import canonical_sha256
from gateway.jobs.model import Job
from gateway.policy import Approver
from gateway.records.envelope import STATEMENT_TYPE, Unverified, seal, sha256, signed_payload
from gateway.records.keys import Signer

PREDICATE = "https://tunegate.example/predicate/approval/v1"
EVENT = "approval"


@dataclass(frozen=True, slots=True)
class Terms:
    """What an approver agrees to. Hashes are SHA-256, hex."""

    job: str
    requested_by: tuple[str, ...]
    candidate: str
    data_class: str
    spec_sha256: str
    data_sha256: str
    policy_sha256: str
    plan_sha256: str
    requests_sha256: str

    def to_json(self) -> dict[str, Any]:
        return {**asdict(self), "requested_by": list(self.requested_by)}


def terms_of(job: Job, plan: Mapping[str, Any], *, spec_sha256: str, policy_sha256: str) -> Terms:
    """The terms as they are now.

    Args:
        plan: the stored plan, as `Plan.to_json()` gave it.
        spec_sha256: of the spec as it is stored now, not as the plan says it was.
        policy_sha256: of the policies in force now.
    """
    return Terms(
        job=job.id,
        requested_by=job.requested_by,
        candidate=f"{job.backend} {job.model} · {job.region} · {job.offer}",
        data_class=plan["data"]["class"]["effective"],
        spec_sha256=spec_sha256,
        data_sha256=plan["data"]["hash"],
        policy_sha256=policy_sha256,
        plan_sha256=canonical_sha256(plan),
        requests_sha256=canonical_sha256(job.translation.to_json()),
    )


def sign_approval(terms: Terms, name: str, key: Signer, at: datetime) -> bytes:
    """The approver's signed statement, one line of JSON.

    Raises:
        RecordError: the key cannot sign.
    """
    hashes = {"spec": terms.spec_sha256, "data": terms.data_sha256, "policy": terms.policy_sha256}
    return seal(
        {
            "_type": STATEMENT_TYPE,
            "subject": [{"name": name, "digest": {"sha256": digest}} for name, digest in hashes.items()],
            "predicateType": PREDICATE,
            "predicate": {"approver": name, "at": at.isoformat(), "terms": terms.to_json()},
        },
        key,
    )


def approval_event(envelope: bytes, name: str, at: datetime) -> Event:
    """How an approval is kept: signed, and in plain sight."""
    text = envelope.decode("ascii")
    return Event(
        f"approval-{sha256(envelope)[:32]}", at, "info", EVENT, f"approved by {name}", {"envelope": text}
    )


def who_approved(event: Event, terms: Terms, approvers: Sequence[Approver]) -> Approver | str:
    """The approver whose approval this is, or why it does not count. Never raises.

    Args:
        terms: as they are now.
        approvers: those whose keys count now.
    """
    keys = {id: key for approver in approvers for id, key in approver.keys.items()}
    opened = signed_payload(str(event.data.get("envelope", "")).encode(), keys)
    if isinstance(opened, Unverified):
        return f"it {opened.text}"
    payload, key = opened
    try:
        statement = json.loads(payload)
        said: dict[str, Any] = statement["predicate"]
        name, agreed = str(said["approver"]), dict(said["terms"])
        well_made = statement["_type"] == STATEMENT_TYPE and statement["predicateType"] == PREDICATE
    except (ValueError, KeyError, TypeError, RecursionError):
        return "it is no approval"
    approver = next((each for each in approvers if each.name == name and key in each.keys), None)
    if not well_made or approver is None:
        return "it is signed with a key that is not its approver's"
    if is_own(approver, terms):
        return "nobody approves a job they asked for"
    now = terms.to_json()
    if changed := sorted(part for part in now if agreed.get(part) != now[part]):
        return f"{', '.join(part.removesuffix('_sha256') for part in changed)} changed since"
    return approver


def is_own(approver: Approver, terms: Terms) -> bool:
    """Whether the approver asked for the job; an unknown requester could be anybody."""
    asked = {name.casefold() for name in terms.requested_by}
    return not asked or approver.name.casefold() in asked
