"""Approvals in this gateway: whose are missing, whose count, and how one is given."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from hashlib import sha256
from typing import TYPE_CHECKING

from gateway.core.errors import NotNow, PolicyDenied, RecordError, SettingsError, StoreConflict
from gateway.core.gate import Action
from gateway.core.job import Event, JobState
from gateway.jobs.approval import (
    EVENT,
    Terms,
    approval_event,
    is_own,
    sign_approval,
    terms_of,
    who_approved,
)
from gateway.jobs.model import Job
from gateway.policy import Approver

if TYPE_CHECKING:
    from gateway.sdk.rooms import Rooms

_LEAVES = (Action.UPLOAD, Action.TRAIN)
_TRIES = 5  # a write may lose against a step that is being taken


@dataclass(frozen=True, slots=True)
class Approval:
    """One approval that was given. `void` says why it does not count now; empty where it does."""

    name: str
    at: datetime
    void: str

    def to_json(self) -> dict[str, str | None]:
        return {"name": self.name, "at": self.at.isoformat(), "void": self.void or None}


class Approvals:
    """`rooms.approvals`: asked by the reconciler before a job begins, and for every question to the gate."""

    def __init__(self, rooms: Rooms) -> None:
        self._rooms = rooms

    def granted(self, job: Job) -> tuple[str, ...]:
        """Names and roles of those whose approval of exactly this job counts now. What the rules in force
        do not ask for is not looked up."""
        if not self._rooms.gate.book.approvals:
            return ()
        found: set[str] = set()
        for _, approver in self._judged(job):
            if isinstance(approver, Approver):
                found.update((approver.name, *approver.roles))
        return tuple(sorted(found))

    def awaiting(self, job: Job) -> tuple[str, ...]:
        """Whose approval alone stands between this job and its backend; empty where nobody's does, and
        where more than that is missing."""
        rooms = self._rooms
        if not rooms.gate.book.approvals:
            return ()
        answers = [rooms.gate.decide(rooms.dispatch.gate_request(job, action)) for action in _LEAVES]
        return tuple(sorted({name for answer in answers for name in answer.awaiting}))

    def given(self, job: Job) -> tuple[Approval, ...]:
        """Every approval of a job, oldest first, and whether it counts."""
        return tuple(
            Approval(event.text.removeprefix("approved by "), event.at, who if isinstance(who, str) else "")
            for event, who in self._judged(job)
        )

    def terms(self, job: Job) -> Terms:
        """What an approver of this job would sign, as of now."""
        from gateway.sdk.dispatch import spec_of

        return terms_of(
            job,
            self._rooms.store.plan(job.id),
            spec_sha256=spec_of(job).hash(),
            policy_sha256=self._rooms.gate.policy_hash,
        )

    def approve(self, job: Job, *, name: str, key: str) -> Job:
        """Sign a job as one of its approvers; it goes on with its next step.

        Args:
            name: the approver, as the trust bundle (or the settings, without one) names them.
            key: their private key, as `gateway.records.keys` names keys.

        Raises:
            SettingsError: nobody of that name may approve it.
            PolicyDenied: they asked for it themselves.
            RecordError: it is not their key, or the record cannot be written.
            NotNow: it waits for nobody's approval, or has ended.
        """
        rooms = self._rooms
        approver, terms = self.asked(job, name)
        signer = rooms.signer(key)
        if signer.id not in approver.keys:
            raise RecordError(
                f"this is not a key of {name}", place=key, fix="`tunegate policy trust` shows whose"
            )
        now = rooms.clock()
        envelope = sign_approval(terms, name, signer, now)
        event = approval_event(envelope, name, now)
        rooms.accounts.approved(
            job,
            approver=name,
            key_id=signer.id,
            policy_hash=terms.policy_sha256,
            requested_by=job.requested_by[0],
            document=sha256(envelope).hexdigest(),
        )
        return self._keep(job, event)

    def asked(self, job: Job, name: str) -> tuple[Approver, Terms]:
        """Who would approve a job, and what they would sign; raises as `approve` does before it signs."""
        approver, terms = self._approver(job, name), self.terms(job)
        if is_own(approver, terms):
            raise PolicyDenied(
                f"{name} asked for this job, and nobody approves their own", place=job.id, fix="ask another"
            )
        return approver, terms

    def _approver(self, job: Job, name: str) -> Approver:
        waits = self.awaiting(job)
        if job.state in (JobState.SUCCEEDED, JobState.CANCELLED) or not waits:
            raise NotNow(
                f"a job that is {job.state} waits for nobody's approval",
                place=job.id,
                fix=f"how it stands: `tunegate jobs show {job.id}`",
            )
        approvers = self._rooms.trust.approvers
        fit = [each for each in approvers if {each.name, *each.roles} & set(waits)]
        found = next((each for each in fit if each.name == name), None)
        if found is None:
            may = ", ".join(each.name for each in fit) or "nobody: name one in [[approvers]]"
            raise SettingsError(
                f"{name} may not approve as {' or '.join(waits)}", place=job.id, fix=f"may: {may}"
            )
        return found

    def _keep(self, job: Job, event: Event) -> Job:
        store = self._rooms.store
        for _ in range(_TRIES):
            try:
                if job.state.final:
                    return store.update(job, event=event)
                return store.update(job, event=event, next_due_at=self._rooms.clock())
            except StoreConflict:
                job = store.get(job.id)
        raise StoreConflict("somebody is at this job", place=job.id, fix="approve it again")

    def _judged(self, job: Job) -> Iterator[tuple[Event, Approver | str]]:
        events = self._rooms.store.events(job.id, kind=EVENT)
        if not events:  # of most jobs: then nothing is hashed
            return
        terms, approvers = self.terms(job), self._rooms.trust.approvers
        for event in events:
            yield event, who_approved(event, terms, approvers)
