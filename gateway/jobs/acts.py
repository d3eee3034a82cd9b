"""What every step does: call a backend, say what happened, write down what came of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import Any, Literal, TypeVar

from backends.base import Backend, Handover
from gateway.core.errors import BackendError, TunegateError, Unsupported
from gateway.core.gate import Action, GateRequest
from gateway.core.job import Artifact, Event, JobState, RemoteRef, Site, Snapshot
from gateway.core.plan import ProviderFile
from gateway.egress import Egress, classified
from gateway.jobs.model import Changes, Deletion, Job, time_ordered_id
from gateway.jobs.store import Store
from gateway.jobs.waiting import poll_after

T = TypeVar("T")
Level = Literal["info", "warning", "error"]


class NeedsPerson(TunegateError):
    """What the backend cannot tell us, somebody must look up."""

    code = "needs_person"
    exit_code = 6


class NotYet(Exception):
    """Nothing to do before `until`."""

    def __init__(self, until: datetime) -> None:
        super().__init__(until)
        self.until = until


@dataclass(frozen=True, slots=True)
class Hooks:
    """What the other rooms do for a job; see `Reconciler` for each."""

    gate_request: Callable[[Job, Action], GateRequest]
    write_files: Callable[[Job, ProviderFile], Path]
    evaluate: Callable[[Job], Mapping[str, Any] | None] | None
    record: Callable[[Job], str | None] | None
    handover: Callable[[Job], Handover]
    actual_usd: Callable[[Job, Snapshot], Decimal | None] | None
    on_event: Callable[[Job, Event], None] | None
    keeps_uploads: bool
    on_deleted: Callable[[Job, Sequence[Deletion]], None] | None
    deploys_freely: Callable[[Job], bool] | None
    awaiting: Callable[[Job], tuple[str, ...]]


class Acts:
    def __init__(
        self,
        store: Store,
        egress: Egress,
        backend: Callable[[Site], Backend],
        hooks: Hooks,
        clock: Callable[[], datetime],
        jitter: Callable[[], float],
    ) -> None:
        self.store = store
        self.egress = egress
        self.backend = backend
        self.hooks = hooks
        self.clock = clock
        self.jitter = jitter

    def call(self, job: Job, what: Callable[[Backend], T]) -> T:
        """A call that carries no data; those that do go through egress."""
        backend = self.backend(job.site)
        with classified(backend):
            return what(backend)

    def is_managed(self, job: Job) -> bool:
        return self.backend(job.site).facts.kind == "managed"

    def next_look(self, job: Job) -> datetime:
        """When to look at the job at its backend again."""
        now = self.clock()
        return now + poll_after(self.backend(job.site).facts.kind, now - job.created_at, self.jitter)

    def deploy(self, job: Job, ref: RemoteRef) -> Artifact:
        """Ask for the deployment, once more if need be, and say how it stands."""
        return self.egress.deploy(self.hooks.gate_request(job, Action.DEPLOY), ref, options=job.site.options)

    def event(self, level: Level, kind: str, text: str, data: Mapping[str, Any] | None = None) -> Event:
        now = self.clock()
        return Event(time_ordered_id("evt_", now), now, level, kind, text, data or {})

    def move(
        self,
        job: Job,
        to: JobState,
        text: str,
        *,
        remote: RemoteRef | None = None,
        error: Mapping[str, Any] | None = None,
        failures: int | None = None,
    ) -> Job:
        """A move whose next step may be taken at once."""
        changes: Changes = {"next_due_at": self.clock(), "error": error}
        if remote is not None:
            changes["remote"] = remote
        if failures is not None:
            changes["failures"] = failures
        if to.final:
            changes["ended_at"] = self.clock()
        return self.tell(job, to, self.event("info", "state", f"{job.state} → {to}: {text}"), changes)

    def fail(self, job: Job, error: Mapping[str, Any]) -> Job:
        event = self.event("error", "state", f"{job.state} → failed: {error['message']}")
        now = self.clock()
        changes: Changes = {"error": error, "ended_at": now, "next_due_at": now, "failures": 0}
        return self.tell(job, JobState.FAILED, event, changes)

    def tell(self, job: Job, to: JobState, event: Event | None, changes: Changes) -> Job:
        """Write a move, and tell its event once it is written."""
        after = self.store.move(job, to, event=event, **changes)
        if event is not None and self.hooks.on_event is not None:
            self.hooks.on_event(after, event)
        return after

    def read_events(self, job: Job, ref: RemoteRef) -> None:
        """Events are an account, not a condition: where they cannot be read, the job goes on."""
        after = self.store.last_event(job.id)
        try:
            new = self.call(job, lambda backend: backend.events(ref, after=after))
        except (BackendError, Unsupported):
            return
        self.told(job, self.store.add_events(job.id, new))

    def told(self, job: Job, events: Sequence[Event]) -> None:
        """Tell of events that are stored."""
        for event in events:
            if self.hooks.on_event is not None:
                self.hooks.on_event(job, event)

    def remote_of(self, job: Job) -> RemoteRef:
        """Where the job lives at its backend.

        Raises:
            NeedsPerson: that is not known.
        """
        if job.remote is None:
            raise NeedsPerson(
                f"this job is {job.state}, but its remote id is not known",
                place=job.id,
                fix="look it up at the backend, and tell Tunegate with `tunegate jobs resume --remote-id`",
            )
        return job.remote
