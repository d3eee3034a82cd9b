"""The steps of a job's life. Each is taken under a lease, may be cut off between any two lines, and
is then taken again by whoever comes next.

The order inside every step is the same: commit what is about to be done, do it, commit what came of
it. No database transaction is open while a backend is called.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any, Literal

from backends.base import Staged
from gateway.core import errors
from gateway.core.errors import BackendError, DataError, NotFound, TunegateError, Unsupported
from gateway.core.gate import Action
from gateway.core.job import Event, JobState, RemoteRef, Snapshot, may_move
from gateway.core.plan import ProviderFile
from gateway.jobs.acts import Acts, NeedsPerson, NotYet
from gateway.jobs.closing import Closing
from gateway.jobs.model import Changes, Intent, Job
from gateway.jobs.waiting import LOOKUP_SETTLES

# Answers after which a job surely does not exist. Any other end of a submit leaves it open.
_REFUSALS = frozenset({"backend_rejected", "backend_auth", "backend_rate_limited", "backend_not_found"})

# A failed run's own code is a name, and none of ours: it decides nothing here.
_NAME = re.compile(r"[\w.-]{1,64}", re.ASCII)
_OURS = frozenset(
    each.code for each in vars(errors).values() if isinstance(each, type) and issubclass(each, TunegateError)
)
_DELETION_TAKES = timedelta(seconds=5)


class Steps:
    """From the plan to the end of training; what follows is `Closing`'s."""

    def __init__(self, acts: Acts) -> None:
        self._acts = acts
        self._store = acts.store
        self._closing = Closing(acts)

    def take(self, job: Job) -> Job:
        """The one step that is next for this job."""
        if job.state.final:
            return self._closing.take(job)
        if job.wanted == "cancel" and job.state is not JobState.CANCELLING:
            return self._acts.move(job, JobState.CANCELLING, "the job is being cancelled")
        if job.state is JobState.CANCELLING:
            return self._cancel(job)
        if job.wanted == "pause" and job.state in (JobState.PLANNED, JobState.STAGING):
            return self._hold(job)
        match job.state:
            case JobState.PLANNED | JobState.AWAITING_APPROVAL:
                return self._begin(job)
            case JobState.STAGING:
                return self._stage(job)
            case JobState.SUBMITTING:
                return self._submit(job)
            case _:
                return self._watch(job)

    # -- dispatch ---------------------------------------------------------------------------------

    def _begin(self, job: Job) -> Job:
        """On to the data files, unless somebody must agree first: then it waits, for as long as it takes."""
        waits = job.state is JobState.AWAITING_APPROVAL
        try:
            names = self._acts.hooks.awaiting(job)
        except TunegateError:
            if waits:  # policies that cannot be read just now end nothing
                return self._hold(job)
            raise
        if not names:
            return self._acts.move(job, JobState.STAGING, "preparing the data files")
        if waits:
            return self._hold(job)
        text = f"waits for the approval of {' and '.join(names)}"
        return self._acts.move(job, JobState.AWAITING_APPROVAL, text)

    def _stage(self, job: Job) -> Job:
        uploads = self._store.uploads(job.id)
        if any(upload.claimed_by == job.id for upload in uploads):  # of an earlier attempt that was cut off
            self._store.uploads_deleted(job)
            uploads = self._store.uploads(job.id)
        sent = {(upload.name, upload.sha256) for upload in uploads if upload.kept}
        for file in job.translation.files:
            if (file.name, file.sha256) not in sent:
                self._send(job, file, sent)
        return self._acts.move(job, JobState.SUBMITTING, "the data files are in place")

    def _send(self, job: Job, file: ProviderFile, sent: set[tuple[str, str]]) -> None:
        """Write one file, hold it to the plan, and stage it if these bytes were not staged before."""
        try:
            path = self._acts.hooks.write_files(job, file)
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
        if not self._store.intend_upload(job, file.name, sha256):
            raise NotYet(self._acts.clock() + _DELETION_TAKES)
        request = self._acts.hooks.gate_request(job, Action.UPLOAD)
        staged = self._acts.egress.stage(
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
                return self._acts.fail(job, intent.error)
        if job.wanted == "pause":
            return self._hold(job)
        request = self._acts.hooks.gate_request(job, Action.TRAIN)
        handover = self._acts.hooks.handover(job)
        staged = self._staged(job)
        self._store.intend(job, "submit")
        ref = self._acts.egress.submit(
            request, job.translation, staged, key=job.key, handover=handover, options=job.site.options
        )
        return self._submitted(job, ref, "submitted")

    def _submitted(self, job: Job, ref: RemoteRef, text: str) -> Job:
        return self._acts.move(
            job, JobState.QUEUED, f"{text} as {ref.id}", remote=ref, error=None, failures=0
        )

    def _continue(self, job: Job, ref: RemoteRef) -> Job:
        """A new attempt of a job that its backend knows: go on there, never start from the beginning."""
        self._acts.egress.resume(
            self._acts.hooks.gate_request(job, Action.TRAIN), ref, options=job.site.options
        )
        return self._acts.move(
            job, JobState.QUEUED, "training goes on where it stopped", error=None, failures=0
        )

    def _look_up(self, job: Job, intent: Intent) -> RemoteRef | None:
        """The job that an earlier try may have made; None when there surely is none.

        Raises:
            NeedsPerson: the backend offers no way to tell.
            NotYet: it might be there and not be listed yet.
        """
        lookup = self._acts.backend(job.site).facts.lookup
        if lookup.how == "none":
            raise _ambiguous(job, intent)
        try:
            ref = self._acts.call(job, lambda backend: backend.find(intent.key))
        except Unsupported:
            raise _ambiguous(job, intent) from None
        settled_at = intent.last_at + LOOKUP_SETTLES
        if ref is None and lookup.how != "token" and self._acts.clock() < settled_at:
            raise NotYet(settled_at)
        return ref

    def _staged(self, job: Job) -> tuple[Staged, ...]:
        sent = {upload.name: upload for upload in self._store.uploads(job.id) if upload.kept}
        files = (replace(file, sha256=sent[file.name].sha256) for file in job.translation.files)
        return tuple(Staged(file, sent[file.name].uri or "") for file in files)

    # -- while it runs ----------------------------------------------------------------------------

    def _watch(self, job: Job) -> Job:
        ref = self._acts.remote_of(job)
        if job.wanted == "pause" and job.state is not JobState.PAUSED:
            snapshot = self._pause(job, ref)
        elif job.wanted == "run" and job.state is JobState.PAUSED:
            snapshot = self._acts.egress.resume(
                self._acts.hooks.gate_request(job, Action.TRAIN), ref, options=job.site.options
            )
        else:
            snapshot = self._acts.call(job, lambda backend: backend.poll(ref))
        self._acts.read_events(job, ref)
        return self._observe(job, snapshot)

    def _pause(self, job: Job, ref: RemoteRef) -> Snapshot:
        try:
            return self._acts.call(job, lambda backend: backend.pause(ref))
        except Unsupported as error:
            self._store.want(job.id, "run", was="pause")
            self._store.update(job, event=self._acts.event("warning", "pause", error.message))
            raise NotYet(self._acts.clock()) from None

    def _cancel(self, job: Job) -> Job:
        ref = job.remote
        if ref is None and (intent := self._store.intent(job, "submit")) and not _refused(intent):
            ref = self._look_up(job, intent)
            if ref is not None:
                job = self._store.update(job, remote=ref)
        if ref is None:
            return self._acts.move(job, JobState.CANCELLED, "cancelled before anything was started")
        known = ref
        try:
            snapshot = self._acts.call(job, lambda backend: backend.poll(known))
        except NotFound:
            return self._acts.move(job, JobState.CANCELLED, "it is gone at the backend")
        if snapshot.state not in ("succeeded", "failed", "cancelled", "cancelling"):
            snapshot = self._acts.call(job, lambda backend: backend.cancel(known))
        return self._observe(job, snapshot)

    def _observe(self, job: Job, snapshot: Snapshot) -> Job:
        """Keep what was seen, and move there if that is a move: an unknown state never is."""
        now = self._acts.clock()
        if snapshot.state == "cancelled" and job.state is not JobState.CANCELLING:
            job = self._acts.move(job, JobState.CANCELLING, "cancelled at the backend")
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
            "next_due_at": now if to.final else self._acts.next_look(job),
        }
        if to is JobState.RUNNING and job.started_at is None:
            seen["started_at"] = snapshot.observed_at
        if to.final:
            seen["ended_at"] = snapshot.observed_at
            seen["actual_usd"] = self._spent(job, snapshot)
        if to is JobState.FAILED:
            seen["error"] = _training_failed(job, snapshot, managed=self._acts.is_managed(job))
        changed = to is not job.state or snapshot.raw_state != job.raw_state
        return self._acts.tell(job, to, self._seen_event(job, to, snapshot) if changed else None, seen)

    def _spent(self, job: Job, snapshot: Snapshot) -> Decimal | None:
        """What the job did cost with all its attempts; None as long as that of one is not known."""
        actual = self._acts.hooks.actual_usd
        usd = actual(job, snapshot) if actual else None
        if usd is None or job.attempt == 1:
            return usd
        return None if job.actual_usd is None else job.actual_usd + usd

    def _seen_event(self, job: Job, to: JobState, snapshot: Snapshot) -> Event:
        data = {"state": str(to), "raw_state": snapshot.raw_state}
        if snapshot.state == "unknown":
            text = f"the backend says {snapshot.raw_state}, which is unknown here; still {job.state}"
            return self._acts.event("warning", "state", text, data)
        level: Literal["info", "error"] = "error" if to is JobState.FAILED else "info"
        return self._acts.event(
            level, "state", f"{job.state} → {to}" if to is not job.state else f"{to}", data
        )

    def _hold(self, job: Job) -> Job:
        """Nothing is started until somebody wants something else."""
        return self._store.update(job, next_due_at=None)


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


def _training_failed(job: Job, snapshot: Snapshot, *, managed: bool) -> dict[str, Any]:
    """What a failed run says of itself: its own code and fix where its backend tells them. Only a run on
    this machine, which is our own code, may fail with an error of ours."""
    again = f"see `tunegate jobs events {job.id}`; `tunegate jobs resume {job.id}` tries again"
    code = str(snapshot.detail.get("code") or "")
    if not _NAME.fullmatch(code) or (managed and code in _OURS):
        code = "training_failed"
    return {
        "code": code,
        "message": snapshot.message or f"training failed ({snapshot.raw_state})",
        "place": job.backend,
        "fix": str(snapshot.detail.get("fix") or again),
    }


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
