"""The steps of a job's life. Each is taken under a lease, may be cut off between any two lines, and
is then taken again by whoever comes next.

The order inside every step is the same: commit what is about to be done, do it, commit what came of
it. No database transaction is open while a backend is called.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import Any, Literal, TypeVar

from backends.base import Backend, Handover, Staged
from gateway.core.errors import BackendError, DataError, NotFound, TunegateError, Unsupported
from gateway.core.gate import Action, GateRequest
from gateway.core.job import Event, JobState, RemoteRef, Site, Snapshot, may_move
from gateway.core.plan import ProviderFile
from gateway.egress import Egress, classified
from gateway.jobs.model import Changes, Intent, Job, time_ordered_id
from gateway.jobs.store import Store
from gateway.jobs.waiting import LOOKUP_SETTLES, poll_after

T = TypeVar("T")

EVALUATION_TRIES = 3

# Answers after which a job surely does not exist. Any other end of a submit leaves it open.
_REFUSALS = frozenset({"backend_rejected", "backend_auth", "backend_rate_limited", "backend_not_found"})


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
    when_done: Callable[[Job], tuple[str, ...]]
    actual_usd: Callable[[Job, Snapshot], Decimal | None] | None
    on_event: Callable[[Job, Event], None] | None


class Steps:
    def __init__(
        self,
        store: Store,
        egress: Egress,
        backend: Callable[[Site], Backend],
        hooks: Hooks,
        clock: Callable[[], datetime],
    ) -> None:
        self._store = store
        self._egress = egress
        self._backend = backend
        self._hooks = hooks
        self._clock = clock

    def take(self, job: Job) -> Job:
        """The one step that is next for this job."""
        if job.state.final:
            return self._close(job)
        if job.wanted == "cancel" and job.state is not JobState.CANCELLING:
            return self.move(job, JobState.CANCELLING, "the job is being cancelled")
        if job.state is JobState.CANCELLING:
            return self._cancel(job)
        if job.wanted == "pause" and job.state in (JobState.PLANNED, JobState.STAGING):
            return self._hold(job)
        match job.state:
            case JobState.PLANNED:
                return self.move(job, JobState.STAGING, "preparing the data files")
            case JobState.AWAITING_APPROVAL:
                return self._hold(job)
            case JobState.STAGING:
                return self._stage(job)
            case JobState.SUBMITTING:
                return self._submit(job)
            case _:
                return self._watch(job)

    # -- dispatch ---------------------------------------------------------------------------------

    def _stage(self, job: Job) -> Job:
        sent = {(upload.name, upload.sha256) for upload in self._store.uploads(job.id) if upload.uri}
        for file in job.translation.files:
            if (file.name, file.sha256) not in sent:
                self._send(job, file, sent)
        return self.move(job, JobState.SUBMITTING, "the data files are in place")

    def _send(self, job: Job, file: ProviderFile, sent: set[tuple[str, str]]) -> None:
        """Write one file, hold it to the plan, and stage it if these bytes were not staged before."""
        try:
            path = self._hooks.write_files(job, file)
            sha256 = _sha256(path)
        except OSError as error:
            raise DataError(
                f"{file.name} cannot be written: {error.strerror}",
                place=str(job.folder),
                fix="free some space, or make the folder writable; then `tunegate jobs resume`",
            ) from None
        if file.sha256 is not None and sha256 != file.sha256:
            raise DataError(
                f"{file.name} is no longer what was planned: the data or the spec changed since",
                place=str(path),
                fix="plan and run again",
            )
        if (file.name, sha256) in sent:
            return
        self._store.intend_upload(job, file.name, sha256)
        request = self._hooks.gate_request(job, Action.UPLOAD)
        staged = self._egress.stage(
            request, replace(file, sha256=sha256), path, key=job.key, options=job.site.options
        )
        self._store.record_upload(job, file.name, sha256, staged.uri)

    def _submit(self, job: Job) -> Job:
        if job.remote is not None:
            return self._hold(job) if job.wanted == "pause" else self._continue(job, job.remote)
        intent = self._store.intent(job, "submit")
        if intent is not None and not _refused(intent):
            ref = self._look_up(job, intent)
            if ref is not None:
                return self._submitted(job, ref, "found again at the backend")
            if intent.error is not None and not intent.error.get("retryable"):
                return self.fail(job, intent.error)
        if job.wanted == "pause":
            return self._hold(job)
        request = self._hooks.gate_request(job, Action.TRAIN)
        handover = Handover(job.id, job.folder, self._hooks.when_done(job))
        staged = self._staged(job)
        self._store.intend(job, "submit")
        ref = self._egress.submit(
            request, job.translation, staged, key=job.key, handover=handover, options=job.site.options
        )
        return self._submitted(job, ref, "submitted")

    def _submitted(self, job: Job, ref: RemoteRef, text: str) -> Job:
        return self.move(job, JobState.QUEUED, f"{text} as {ref.id}", remote=ref, error=None, failures=0)

    def _continue(self, job: Job, ref: RemoteRef) -> Job:
        """A new attempt of a job that its backend knows: go on there, never start from the beginning."""
        self._egress.resume(self._hooks.gate_request(job, Action.TRAIN), ref, options=job.site.options)
        return self.move(job, JobState.QUEUED, "training goes on where it stopped", error=None, failures=0)

    def _look_up(self, job: Job, intent: Intent) -> RemoteRef | None:
        """The job that an earlier try may have made; None when there surely is none.

        Raises:
            NeedsPerson: the backend offers no way to tell.
            NotYet: it might be there and not be listed yet.
        """
        lookup = self._backend(job.site).facts.lookup
        if lookup.how == "none":
            raise _ambiguous(job, intent)
        try:
            ref = self.call(job, lambda backend: backend.find(intent.key))
        except Unsupported:
            raise _ambiguous(job, intent) from None
        settled_at = intent.last_at + LOOKUP_SETTLES
        if ref is None and lookup.how != "token" and self._clock() < settled_at:
            raise NotYet(settled_at)
        return ref

    def _staged(self, job: Job) -> tuple[Staged, ...]:
        sent = {upload.name: upload for upload in self._store.uploads(job.id) if upload.uri}
        files = (replace(file, sha256=sent[file.name].sha256) for file in job.translation.files)
        return tuple(Staged(file, sent[file.name].uri or "") for file in files)

    # -- while it runs ----------------------------------------------------------------------------

    def _watch(self, job: Job) -> Job:
        ref = _remote(job)
        if job.wanted == "pause" and job.state is not JobState.PAUSED:
            snapshot = self._pause(job, ref)
        elif job.wanted == "run" and job.state is JobState.PAUSED:
            snapshot = self._egress.resume(
                self._hooks.gate_request(job, Action.TRAIN), ref, options=job.site.options
            )
        else:
            snapshot = self.call(job, lambda backend: backend.poll(ref))
        self._read_events(job, ref)
        return self._observe(job, snapshot)

    def _pause(self, job: Job, ref: RemoteRef) -> Snapshot:
        try:
            return self.call(job, lambda backend: backend.pause(ref))
        except Unsupported as error:
            self._store.want(job.id, "run", was="pause")
            self._store.update(job, event=self.event("warning", "pause", error.message))
            raise NotYet(self._clock()) from None

    def _cancel(self, job: Job) -> Job:
        ref = job.remote
        if ref is None and (intent := self._store.intent(job, "submit")) and not _refused(intent):
            ref = self._look_up(job, intent)
            if ref is not None:
                job = self._store.update(job, remote=ref)
        if ref is None:
            return self.move(job, JobState.CANCELLED, "cancelled before anything was started")
        known = ref
        try:
            snapshot = self.call(job, lambda backend: backend.poll(known))
        except NotFound:
            return self.move(job, JobState.CANCELLED, "it is gone at the backend")
        if snapshot.state not in ("succeeded", "failed", "cancelled", "cancelling"):
            snapshot = self.call(job, lambda backend: backend.cancel(known))
        return self._observe(job, snapshot)

    def _observe(self, job: Job, snapshot: Snapshot) -> Job:
        """Keep what was seen, and move there if that is a move: an unknown state never is."""
        now = self._clock()
        if snapshot.state == "cancelled" and job.state is not JobState.CANCELLING:
            job = self.move(job, JobState.CANCELLING, "cancelled at the backend")
        if snapshot.state == "paused" and job.state is not JobState.PAUSED and job.wanted == "run":
            self._store.want(job.id, "pause", was="run")  # somebody paused it there: do not fight them
        to = job.state if snapshot.state == "unknown" else JobState(snapshot.state)
        if not may_move(job.state, to):
            to = job.state
        seen: Changes = {
            "raw_state": snapshot.raw_state,
            "progress": snapshot.progress or job.progress,
            "billed_tokens": snapshot.billed_tokens or job.billed_tokens,
            "error": None,
            "failures": 0,
            "next_due_at": now if to.final else now + poll_after(self._backend(job.site).facts.kind),
        }
        if to is JobState.RUNNING and job.started_at is None:
            seen["started_at"] = snapshot.observed_at
        if to.final:
            seen["ended_at"] = snapshot.observed_at
            seen["actual_usd"] = self._hooks.actual_usd and self._hooks.actual_usd(job, snapshot)
        if to is JobState.FAILED:
            seen["error"] = _training_failed(job, snapshot)
        changed = to is not job.state or snapshot.raw_state != job.raw_state
        return self._tell(job, to, self._seen_event(job, to, snapshot) if changed else None, seen)

    def _seen_event(self, job: Job, to: JobState, snapshot: Snapshot) -> Event:
        data = {"state": str(to), "raw_state": snapshot.raw_state}
        if snapshot.state == "unknown":
            text = f"the backend says {snapshot.raw_state}, which is unknown here; still {job.state}"
            return self.event("warning", "state", text, data)
        level: Literal["info", "error"] = "error" if to is JobState.FAILED else "info"
        return self.event(level, "state", f"{job.state} → {to}" if to is not job.state else f"{to}", data)

    def _read_events(self, job: Job, ref: RemoteRef) -> None:
        """Events are an account, not a condition: where they cannot be read, the job goes on."""
        after = self._store.last_event(job.id)
        try:
            new = self.call(job, lambda backend: backend.events(ref, after=after))
        except (BackendError, Unsupported):
            return
        for event in self._store.add_events(job.id, new):
            if self._hooks.on_event is not None:
                self._hooks.on_event(job, event)

    # -- after the end ----------------------------------------------------------------------------

    def _close(self, job: Job) -> Job:
        if job.closed:
            return job
        if job.state is JobState.SUCCEEDED and job.artifacts is None:
            return self._collect(job, _remote(job))
        if job.evaluation in ("pending", "running"):
            return self._evaluate(job)
        record = self._hooks.record(job) if self._hooks.record else None
        return self._tell(
            job,
            job.state,
            self.event("info", "closed", f"nothing is left to do: {job.state}"),
            {"record": record, "closed_at": self._clock(), "next_due_at": None, "failures": 0},
        )

    def _collect(self, job: Job, ref: RemoteRef) -> Job:
        self._read_events(job, ref)
        try:
            artifacts = self.call(job, lambda backend: backend.artifacts(ref))
        except Unsupported:
            artifacts = ()
        return self._store.update(job, artifacts=artifacts, failures=0, next_due_at=self._clock())

    def _evaluate(self, job: Job) -> Job:
        """Base against tuned, as a step with its own status: its failure never fails the job."""
        if job.state is not JobState.SUCCEEDED or self._hooks.evaluate is None:
            return self._store.update(job, evaluation="skipped", next_due_at=self._clock())
        if self._store.intend(job, "evaluate").tries > EVALUATION_TRIES:
            return self._evaluation_failed(job, TunegateError("evaluation was cut off every time"))
        started = self.event("info", "evaluation", "base and tuned are being compared")
        job = self._tell(job, job.state, started, {"evaluation": "running"})
        try:
            result = self._hooks.evaluate(job)
        except BackendError as error:
            if error.retryable:
                raise
            return self._evaluation_failed(job, error)
        except TunegateError as error:
            return self._evaluation_failed(job, error)
        except Exception as error:  # its text may hold an answer, so only its type is kept
            return self._evaluation_failed(job, TunegateError(f"failed with {type(error).__name__}"))
        except BaseException:
            self._store.forget(job, "evaluate")  # interrupted by a person: that is no try
            raise
        text = "there is nothing to compare them on" if result is None else "base and tuned were compared"
        changes: Changes = {
            "evaluation": "skipped" if result is None else "done",
            "result": result,
            "next_due_at": self._clock(),
        }
        return self._tell(job, job.state, self.event("info", "evaluation", text), changes)

    def _evaluation_failed(self, job: Job, error: TunegateError) -> Job:
        event = self.event("error", "evaluation", f"evaluation failed: {error.message}")
        changes: Changes = {
            "evaluation": "failed",
            "result": {"error": error.to_json()},
            "next_due_at": self._clock(),
        }
        return self._tell(job, job.state, event, changes)

    # -- common -----------------------------------------------------------------------------------

    def _hold(self, job: Job) -> Job:
        """Nothing is started until somebody wants something else."""
        return self._store.update(job, next_due_at=None)

    def call(self, job: Job, what: Callable[[Backend], T]) -> T:
        """A call that carries no data; those that do go through egress."""
        backend = self._backend(job.site)
        with classified(backend):
            return what(backend)

    def event(
        self,
        level: Literal["info", "warning", "error"],
        kind: str,
        text: str,
        data: Mapping[str, Any] | None = None,
    ) -> Event:
        now = self._clock()
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
        changes: Changes = {"next_due_at": self._clock(), "error": error}
        if remote is not None:
            changes["remote"] = remote
        if failures is not None:
            changes["failures"] = failures
        if to.final:
            changes["ended_at"] = self._clock()
        return self._tell(job, to, self.event("info", "state", f"{job.state} → {to}: {text}"), changes)

    def fail(self, job: Job, error: Mapping[str, Any]) -> Job:
        event = self.event("error", "state", f"{job.state} → failed: {error['message']}")
        now = self._clock()
        changes: Changes = {"error": error, "ended_at": now, "next_due_at": now, "failures": 0}
        return self._tell(job, JobState.FAILED, event, changes)

    def _tell(self, job: Job, to: JobState, event: Event | None, changes: Changes) -> Job:
        after = self._store.move(job, to, event=event, **changes)
        if event is not None and self._hooks.on_event is not None:
            self._hooks.on_event(after, event)
        return after


def _remote(job: Job) -> RemoteRef:
    if job.remote is None:
        raise NeedsPerson(
            f"this job is {job.state}, but its remote id is not known",
            place=job.id,
            fix="look it up at the backend, and tell Tunegate with `tunegate jobs resume --remote-id`",
        )
    return job.remote


def _refused(intent: Intent) -> bool:
    return intent.error is not None and intent.error.get("code") in _REFUSALS


def leaves_open(error: TunegateError) -> bool:
    """Whether a submit that ended so may have made a job after all: then the backend is asked first."""
    defect = type(error) is TunegateError
    return defect or (isinstance(error, BackendError) and error.code not in _REFUSALS)


def _ambiguous(job: Job, intent: Intent) -> NeedsPerson:
    return NeedsPerson(
        f"the job may or may not have been started, and {job.backend} offers no way to look it up",
        place=job.id,
        fix=f"look at {job.backend} for a job of {intent.last_at:%Y-%m-%d %H:%M} UTC named or tagged "
        f"{intent.key}; then say what is there with `tunegate jobs resume {job.id} "
        "--remote-id ID`, or `--not-there` to submit it again",
    )


def _training_failed(job: Job, snapshot: Snapshot) -> dict[str, Any]:
    """What a failed run says of itself: its own code and fix where its backend tells them."""
    again = f"see `tunegate jobs events {job.id}`; `tunegate jobs resume {job.id}` tries again"
    return {
        "code": str(snapshot.detail.get("code") or "training_failed"),
        "message": snapshot.message or f"training failed ({snapshot.raw_state})",
        "place": job.backend,
        "fix": str(snapshot.detail.get("fix") or again),
    }


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
