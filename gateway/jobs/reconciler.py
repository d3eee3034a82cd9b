"""The reconciler: takes a job one legal step at a time towards what is wanted.

Level-triggered and idempotent, in the manner of a Kubernetes controller: it looks at what is stored
and what the backend says, not at what it did before. It may be killed between any two lines and run
again by anyone; several processes on one store share the work.
"""

from __future__ import annotations

import random
import time
import traceback
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

from backends.base import Backend, Handover
from gateway.core.errors import (
    Auth,
    BackendError,
    NotFound,
    NotNow,
    PolicyDenied,
    Rejected,
    StoreConflict,
    StoreError,
    TunegateError,
    Unsupported,
)
from gateway.core.gate import Action, GateRequest
from gateway.core.job import Artifact, Event, JobState, RemoteRef, Site, Snapshot
from gateway.core.plan import ProviderFile
from gateway.egress import Egress
from gateway.jobs import lease
from gateway.jobs.acts import Acts, Hooks, NeedsPerson, NotYet
from gateway.jobs.closing import DEPLOYMENT, deployment_of, with_deployment
from gateway.jobs.model import Caps, Deletion, Job
from gateway.jobs.steps import Steps, leaves_open
from gateway.jobs.store import Store
from gateway.jobs.waiting import backoff
from gateway.jobs.working import work

_BEFORE_START = (JobState.PLANNED, JobState.AWAITING_APPROVAL, JobState.STAGING, JobState.SUBMITTING)
_GONE_AFTER = 3  # looks in a row; a job that was just made may not be listed at once
_STEPS_AT_ONCE = 20


class Reconciler:
    """Sees jobs through.

    Args:
        store: where jobs are kept.
        egress: the gated door to the backends.
        backend: a backend at a site, for calls that carry no data.
        gate_request: what the gate must be asked before an action of this job.
        write_files: writes one provider file under the job's folder and says where; called again
            after a crash, and then gives the same bytes.
        evaluate: compares base and tuned of a succeeded job; its result holds `metrics`, and is
            None where nothing was held out. Without it, evaluation is skipped.
        record: writes the signed record of a job that has ended; its reference. Called again if the
            process dies before the reference is stored.
        handover: what a job that outlives us is told.
        actual_usd: what an ended job did cost, where that is known.
        on_event: told of every event, after it was stored.
        keeps_uploads: leave uploaded files at the backend when their job has ended.
        on_deleted: told what became of uploaded files that were to be deleted, before that is stored;
            told again if the process dies in between.
        deploys_freely: whether a tuned model that must be deployed to answer may be deployed for its
            evaluation without asking anybody: it costs nothing while idle, and there is something to
            ask it. Without it, never.
        awaiting: whose approval is missing before anything of this job may leave; empty when nobody's.
        clock: the time now, in UTC with a zone.
        sleep, jitter: `time.sleep` and `random.random`, to be replaced in tests.
    """

    def __init__(
        self,
        store: Store,
        egress: Egress,
        backend: Callable[[Site], Backend],
        *,
        gate_request: Callable[[Job, Action], GateRequest],
        write_files: Callable[[Job, ProviderFile], Path],
        clock: Callable[[], datetime],
        evaluate: Callable[[Job], Mapping[str, Any] | None] | None = None,
        record: Callable[[Job], str | None] | None = None,
        handover: Callable[[Job], Handover] = lambda job: Handover(job.id, job.folder),
        actual_usd: Callable[[Job, Snapshot], Decimal | None] | None = None,
        on_event: Callable[[Job, Event], None] | None = None,
        keeps_uploads: bool = False,
        on_deleted: Callable[[Job, Sequence[Deletion]], None] | None = None,
        deploys_freely: Callable[[Job], bool] | None = None,
        awaiting: Callable[[Job], tuple[str, ...]] = lambda job: (),
        sleep: Callable[[float], None] = time.sleep,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        hooks = Hooks(
            gate_request,
            write_files,
            evaluate,
            record,
            handover,
            actual_usd,
            on_event,
            keeps_uploads,
            on_deleted,
            deploys_freely,
            awaiting,
        )
        self._store = store
        self._acts = Acts(store, egress, backend, hooks, clock, jitter)
        self._steps = Steps(self._acts)
        self._clock = clock
        self._sleep = sleep
        self._jitter = jitter

    # -- working ----------------------------------------------------------------------------------

    def reconcile(self, job_id: str, *, light: bool = False) -> Job:
        """Take the job's next step, if it is due and nobody else is at it; the job as it is then.

        What goes wrong is written to the job, not raised.

        Args:
            light: leave steps that may take long (uploads, evaluation) to somebody with more time.

        Raises:
            JobNotFound: no job has this id.
            StoreError: the store cannot be read or written.
        """
        return self._steps_of(job_id, light=light, most=1)

    def advance(self, job_id: str, *, light: bool = False) -> Job:
        """Steps for as long as the next may be taken at once: to the first wait, or the end."""
        return self._steps_of(job_id, light=light, most=_STEPS_AT_ONCE)

    def _steps_of(self, job_id: str, *, light: bool, most: int) -> Job:
        job = self._store.get(job_id)
        if not self._may_step(job, light):
            return job
        token = lease.new_token()
        held = self._store.lease(job_id, token, lease.TTL)
        if held is None:
            return job
        try:
            with lease.kept_alive(lambda: self._renew(job_id, token)):
                for _ in range(most):  # somebody may have taken the first before we had the lease
                    if not self._may_step(held, light):
                        break
                    after = self._step(held, token)
                    if after is None:
                        return self._store.get(job_id)
                    held = after
        finally:
            self._store.release(job_id, token)
        return replace(held, lease_owner=None, lease_until=None)

    def follow(
        self,
        job_id: str,
        on_update: Callable[[Job], None] | None = None,
        *,
        until: Callable[[Job], bool] = lambda job: job.closed,
        longest_pause_s: float = 5.0,
    ) -> Job:
        """Step, tell and sleep until the job is closed (or `until` holds), or a person is needed.

        Interrupting it leaves the job as it is, for anyone to go on with.
        """
        while True:
            job = self.reconcile(job_id)
            if on_update is not None:
                on_update(job)
            if until(job) or job.closed or job.waits_for_a_person:
                return job
            self._sleep(self._pause_s(job, longest_pause_s))

    def due(self) -> tuple[str, ...]:
        """Jobs whose next step may be taken now."""
        return self._store.due()

    def work(self, *, once: bool = False, light: bool = False, threads: int = 1, idle_s: float = 2.0) -> int:
        """Advance every due job; again and again, unless `once`. The number of jobs looked at.

        Any number of processes may do this on one store.

        Args:
            threads: how many jobs may wait for their backends at once. One job's long step, an upload or
                a comparison, holds up none but its own thread.
        """
        return work(self, once=once, light=light, threads=threads, idle_s=idle_s, sleep=self._sleep)

    # -- wishes -----------------------------------------------------------------------------------

    def cancel(self, job_id: str) -> Job:
        """Ask for the end. On a job that has ended: no error."""
        return self._store.want(job_id, "cancel")

    def pause(self, job_id: str) -> Job:
        job = self._store.get(job_id)
        if job.state.final:
            raise _ended(job, "paused")
        return self._store.want(job_id, "pause")

    def resume(self, job_id: str, caps: Caps | None = None) -> Job:
        """Go on with a paused job, or try a failed one again: where it stopped, if its backend can do
        that; else as a new job there, which is paid for anew (`starts_anew` tells).

        Raises:
            OverBudget: the failed job's reservation was given back, and the money is spent.
            NotNow: the job was cancelled or has succeeded.
        """
        job = self._store.get(job_id)
        if job.state is JobState.FAILED:
            anew = self.starts_anew(job)
            text = f"attempt {job.attempt + 1}"
            if anew and job.remote is not None:
                text += (
                    f": a new job at {job.backend}, paid for anew; the one that failed was {job.remote.id}"
                )
            event = self._acts.event("info", "state", text)
            return self._store.retry(job, caps, anew=anew, event=event)
        if job.state.final or job.wanted == "cancel":
            raise _ended(job, "resumed")
        return self._store.want(job_id, "run")

    def starts_anew(self, job: Job) -> bool:
        """Whether another attempt of this job is a new job at its backend."""
        return job.remote is None or not self._acts.backend(job.site).continues

    def answer(self, job_id: str, remote: RemoteRef | None) -> Job:
        """What a person found where the backend could not be asked: the job, or that there is none.

        Raises:
            NotNow: nothing was asked.
        """
        job = self._store.get(job_id)
        if job.remote is not None or not job.waits_for_a_person:
            raise NotNow("this job does not wait for an answer", place=job_id)
        if remote is None:
            self._store.forget(job, "submit")
            return self._store.update(job, error=None, next_due_at=self._clock())
        if job.state is JobState.SUBMITTING:
            return self._acts.move(job, JobState.QUEUED, f"a person found it as {remote.id}", remote=remote)
        return self._store.update(job, remote=remote, error=None, next_due_at=self._clock())

    # -- deployments of a model ---------------------------------------------------------------------

    def deploy(self, job_id: str) -> Job:
        """Ask for the deployment of a succeeded job's model, and note how it stands. Call it again until
        the job's artifact `deployment` has a `callable_id`.

        It is on file before it is asked for: what costs by the hour must be seen, whatever becomes of
        the answer.

        Raises:
            StoreConflict: the job has not succeeded, or somebody else is at it.
            PolicyDenied, BackendError, Unsupported: it is not deployed, and why.
        """
        with self._held(job_id) as job:
            if job.state is not JobState.SUCCEEDED:
                raise NotNow(f"a job that is {job.state} has no model to deploy", place=job_id)
            if (asked := deployment_of(job)) is None:
                event = self._acts.event("info", DEPLOYMENT, "a deployment of the tuned model is asked for")
                wanted = Artifact(DEPLOYMENT, "asked for")
                job = self._store.update(job, event=event, artifacts=with_deployment(job.artifacts, wanted))
            try:
                found = self._acts.deploy(job, self._acts.remote_of(job))
            except (PolicyDenied, Unsupported, Rejected, Auth):  # surely not made by this call
                if asked is None:
                    self._store.update(job, artifacts=with_deployment(job.artifacts, None))
                raise
            return self._store.update(job, artifacts=with_deployment(job.artifacts, found))

    def undeploy(self, job_id: str) -> Job:
        """End the deployment of a job's model, and its cost. Where there is none: no error."""
        with self._held(job_id) as job:
            ref = self._acts.remote_of(job)
            self._acts.call(job, lambda backend: backend.undeploy(ref))
            event = self._acts.event("info", DEPLOYMENT, "the deployment of the tuned model was ended")
            return self._store.update(job, event=event, artifacts=with_deployment(job.artifacts, None))

    def compare(self, job_id: str) -> Job:
        """Let base and tuned be compared (again), as the job's next step."""
        with self._held(job_id) as job:
            if job.state is not JobState.SUCCEEDED:
                raise NotNow(f"a job that is {job.state} has nothing to compare", place=job_id)
            self._store.forget(job, "evaluate")
            now = self._clock()
            return self._store.update(job, evaluation="pending", result=None, closed_at=None, next_due_at=now)

    @contextmanager
    def _held(self, job_id: str) -> Generator[Job]:
        """The job, ours alone for as long as the block runs."""
        token = lease.new_token()
        job = self._store.lease(job_id, token, lease.TTL)
        if job is None:
            raise StoreConflict("another process is at this job just now", place=job_id, fix="try again")
        try:
            with lease.kept_alive(lambda: self._renew(job_id, token)):
                yield job
        finally:
            self._store.release(job_id, token)

    # -- one step, whatever comes of it -----------------------------------------------------------

    def _step(self, job: Job, token: str) -> Job | None:
        """One step, whatever comes of it; None where the lease was lost."""
        try:
            return self._steps.take(job)
        except StoreError:
            raise
        except StoreConflict:
            return None  # whoever has the lease goes on from what is stored
        except (NotYet, TunegateError) as problem:
            return self._write_down(job.id, token, problem)
        except Exception as defect:  # one job's defect must not stop the others; its text may hold data
            return self._write_down(job.id, token, _defect(defect))

    def _write_down(self, job_id: str, token: str, problem: NotYet | TunegateError) -> Job | None:
        job = self._store.get(job_id)
        if job.lease_owner != token:
            return None
        try:
            if isinstance(problem, NotYet):
                return self._store.update(job, next_due_at=problem.until)
            if isinstance(problem, NeedsPerson):
                return self._stop(job, problem)
            return self._went_wrong(job, problem)
        except StoreConflict:
            return None

    def _went_wrong(self, job: Job, error: TunegateError) -> Job:
        """Fail what has not started; keep looking at what has, since its state is the backend's to say."""
        if job.state in _BEFORE_START:
            if job.state is JobState.SUBMITTING and self._store.intent(job, "submit") is not None:
                self._store.note(job, "submit", error.to_json())
                if leaves_open(error):
                    return self._later(job, error)
            if isinstance(error, BackendError) and error.retryable:
                return self._later(job, error)
            return self._acts.fail(job, error.to_json())
        if isinstance(error, NotFound) and not job.state.final and job.failures + 1 >= _GONE_AFTER:
            return self._acts.fail(job, error.to_json())
        if isinstance(error, PolicyDenied):  # on `resume` of a paused job: it stays paused
            self._store.want(job.id, "pause", was="run")
        return self._later(job, error)

    def _later(self, job: Job, error: TunegateError) -> Job:
        failures = job.failures + 1
        wait = backoff(failures, error, self._jitter)
        event = None
        if failures == 1:  # told once, not at every look
            event = self._acts.event("warning", "backend", f"{error.message}; trying again")
        shown = job.error if job.state.final else error.to_json()  # why it ended stays what it was
        due_at = self._clock() + wait
        return self._store.update(job, event=event, failures=failures, error=shown, next_due_at=due_at)

    def _stop(self, job: Job, error: TunegateError) -> Job:
        event = self._acts.event("error", "needs_person", f"{error.message}. {error.fix or ''}".strip())
        return self._store.update(job, event=event, error=error.to_json(), next_due_at=None)

    # -- time -------------------------------------------------------------------------------------

    def _may_step(self, job: Job, light: bool) -> bool:
        return self._is_due(job) and not (light and _takes_long(job))

    def _is_due(self, job: Job) -> bool:
        return not job.closed and job.next_due_at is not None and job.next_due_at <= self._clock()

    def _pause_s(self, job: Job, longest_s: float) -> float:
        if self._is_due(job):  # the next step may be taken at once, unless somebody else is at it
            return 0.0 if job.lease_owner is None else min(1.0, longest_s)
        wait = (job.next_due_at or self._clock()) - self._clock()
        return min(max(wait / timedelta(seconds=1), 0.0), longest_s)

    def _renew(self, job_id: str, token: str) -> None:
        self._store.renew(job_id, token, lease.TTL)


def _takes_long(job: Job) -> bool:
    comparing = job.state is JobState.SUCCEEDED and job.artifacts is not None
    return job.state is JobState.STAGING or (comparing and job.evaluation in ("pending", "running"))


def _defect(error: Exception) -> TunegateError:
    """An exception nobody expected, by its type and place alone."""
    frames = traceback.extract_tb(error.__traceback__)
    place = f"{Path(frames[-1].filename).name}:{frames[-1].lineno}" if frames else None
    return TunegateError(
        f"a step failed with {type(error).__name__}", place=place, fix="this is a defect: please report it"
    )


def _ended(job: Job, wish: str) -> NotNow:
    fix = f"what came of it: `tunegate jobs show {job.id}`"
    return NotNow(f"a job that is {job.state} cannot be {wish}", place=job.id, fix=fix)
