"""The steps after the end of a job: what it left is collected, what was uploaded for it is deleted,
base and tuned are compared, and the end is recorded. Only then is it closed.

Each may be cut off anywhere and is taken again, like every step.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import timedelta

from gateway.core.errors import BackendError, NotFound, TunegateError, Unsupported
from gateway.core.job import Artifact, Event, JobState
from gateway.jobs.acts import Acts
from gateway.jobs.model import Changes, Deletion, Job, Upload

EVALUATION_TRIES = 3
DELETION_TRIES = 8  # with the waits between them, some minutes
DEPLOYMENT_TAKES = timedelta(hours=1)
DEPLOYMENT_EVERY = timedelta(seconds=5)
DEPLOYMENT = "deployment"

_DONE = {"code": "done"}


class Closing:
    def __init__(self, acts: Acts) -> None:
        self._acts = acts
        self._store = acts.store

    def take(self, job: Job) -> Job:
        """The one step that is next for a job that has ended."""
        if job.closed:
            return job
        if job.state is JobState.SUCCEEDED and job.artifacts is None:
            return self._collect(job)
        if left := self._to_delete(job):
            return self._delete(job, left)
        if job.evaluation in ("pending", "running"):
            return self._evaluate(job)
        record = self._acts.hooks.record
        closed = self._acts.event("info", "closed", f"nothing is left to do: {job.state}")
        changes: Changes = {
            "record": record(job) if record else None,
            "closed_at": self._acts.clock(),
            "next_due_at": None,
            "failures": 0,
        }
        return self._acts.tell(job, job.state, closed, changes)

    def _collect(self, job: Job) -> Job:
        ref = self._acts.remote_of(job)
        self._acts.read_events(job, ref)
        try:
            artifacts = self._acts.call(job, lambda backend: backend.artifacts(ref))
        except Unsupported:
            artifacts = ()
        return self._store.update(job, artifacts=artifacts, failures=0, next_due_at=self._acts.clock())

    # -- what was uploaded ------------------------------------------------------------------------

    def _to_delete(self, job: Job) -> tuple[Upload, ...]:
        """Files that are still at the backend, as long as it makes sense to try."""
        if self._acts.hooks.keeps_uploads or not self._acts.is_managed(job):
            return ()
        left = tuple(upload for upload in self._store.uploads(job.id) if upload.deleted_at is None)
        intent = self._store.intent(job, "delete") if left else None
        return () if intent is not None and intent.error == _DONE else left

    def _delete(self, job: Job, left: Sequence[Upload]) -> Job:
        """Delete the files that no other job needs. That it fails never fails the job: it is tried
        again for some minutes, and then told."""
        last = self._store.intend(job, "delete").tries >= DELETION_TRIES
        claimed = self._store.claim_uploads(job)
        again: BackendError | None = None
        settled: list[Deletion] = []
        for upload in claimed:
            error = self._unstage(job, upload)
            if error is not None and error.retryable and not last:
                again = error
            else:
                settled.append(Deletion(upload, error.code if error else ""))
        if settled and self._acts.hooks.on_deleted is not None:
            self._acts.hooks.on_deleted(job, settled)
        shared = [] if again else [each for each in left if each.name not in {mine.name for mine in claimed}]
        events = tuple(self._deletion_events(job, settled, shared))
        gone = [each.upload for each in settled if not each.code]
        self._acts.told(job, self._store.uploads_deleted(job, gone, events))
        if again is not None:
            raise again
        self._store.note(job, "delete", _DONE)
        return self._store.update(job, failures=0, next_due_at=self._acts.clock())

    def _unstage(self, job: Job, upload: Upload) -> BackendError | None:
        """Delete one file; the error that prevented it."""
        uri = upload.uri
        if uri is None:  # it was on its way when the job ended, and may have arrived
            return BackendError("where the file is was never told", backend=job.backend)
        try:
            self._acts.call(job, lambda backend: backend.unstage(uri))
        except (NotFound, BackendError) as error:
            return None if isinstance(error, NotFound) else error
        except Unsupported as error:
            return BackendError(error.message, backend=job.backend)
        return None

    def _deletion_events(
        self, job: Job, settled: Sequence[Deletion], shared: Sequence[Upload]
    ) -> Iterator[Event]:
        if gone := ", ".join(each.upload.name for each in settled if not each.code):
            text = f"deleted at {job.backend}, since training needs it no more: {gone}"
            yield self._acts.event("info", "deleted", text)
        for each in settled:
            if each.code:
                text = (
                    f"{each.upload.name} could not be deleted at {job.backend} ({each.code}): look there, or "
                    f"try again with `tunegate jobs purge {job.id}`"
                )
                yield self._acts.event("warning", "deleted", text)
        if names := ", ".join(each.name for each in shared):
            text = f"left at {job.backend} for another job, which deletes it when it ends: {names}"
            yield self._acts.event("info", "deleted", text)

    # -- base against tuned -----------------------------------------------------------------------

    def _evaluate(self, job: Job) -> Job:
        """Base against tuned, as a step with its own status: its failure never fails the job."""
        acts = self._acts
        if job.state is not JobState.SUCCEEDED or acts.hooks.evaluate is None:
            return self._store.update(job, evaluation="skipped", next_due_at=acts.clock())
        if not answers(job):
            return self._make_it_answer(job)
        if self._store.intend(job, "evaluate").tries > EVALUATION_TRIES:
            return self._evaluation_failed(job, TunegateError("evaluation was cut off every time"))
        started = acts.event("info", "evaluation", "base and tuned are being compared")
        job = acts.tell(job, job.state, started, {"evaluation": "running"})
        try:
            result = acts.hooks.evaluate(job)
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
            "next_due_at": acts.clock(),
        }
        return acts.tell(job, job.state, acts.event("info", "evaluation", text), changes)

    def _evaluation_failed(self, job: Job, error: TunegateError) -> Job:
        event = self._acts.event("error", "evaluation", f"evaluation failed: {error.message}")
        changes: Changes = {
            "evaluation": "failed",
            "result": {"error": error.to_json()},
            "next_due_at": self._acts.clock(),
        }
        return self._acts.tell(job, job.state, event, changes)

    def _make_it_answer(self, job: Job) -> Job:
        """A tuned model that must be deployed to answer is deployed by us only where that costs nothing
        while idle; whoever pays for it by the hour decides that."""
        acts = self._acts
        if (weights := weights_alone(job)) is not None:
            why = "the provider left weights and makes no endpoint of them"
            return self._not_compared(
                job, why, f"put them on an endpoint of your own, and ask that: {weights}"
            )
        if acts.hooks.deploys_freely is None or not acts.hooks.deploys_freely(job):
            return self._not_compared(job, "the tuned model answers only once it is deployed")
        intent = self._store.intent(job, "deploy") or self._store.intend(job, "deploy")
        if acts.clock() - intent.last_at > DEPLOYMENT_TAKES:
            return self._not_compared(job, "its deployment did not become ready within an hour")
        try:
            deployment = acts.deploy(job, acts.remote_of(job))
        except BackendError as error:
            if error.retryable:
                raise
            return self._not_compared(job, f"the tuned model could not be deployed: {error.message}")
        except TunegateError as error:
            return self._not_compared(job, f"the tuned model could not be deployed: {error.message}")
        soon = acts.clock() + DEPLOYMENT_EVERY
        job = self._store.update(
            job,
            artifacts=with_deployment(job.artifacts, deployment),
            failures=0,
            next_due_at=acts.clock() if deployment.callable_id else soon,
        )
        if deployment.callable_id:
            text = "deployed, which costs nothing while idle, so that it can be asked"
            job = acts.tell(job, job.state, acts.event("info", DEPLOYMENT, text), {})
        return job

    def _not_compared(self, job: Job, why: str, fix: str | None = None) -> Job:
        fix = fix or f"deploy it, and they are compared: `tunegate jobs deploy {job.id}`"
        changes: Changes = {
            "evaluation": "skipped",
            "result": {"why": why, "fix": fix},
            "next_due_at": self._acts.clock(),
        }
        event = self._acts.event("warning", "evaluation", f"base and tuned were not compared: {why}")
        return self._acts.tell(job, job.state, event, changes)


def weights_alone(job: Job) -> str | None:
    """Where the weights are of a job that left nothing else: no model that its provider could deploy."""
    left = {artifact.kind: artifact.uri for artifact in job.artifacts or ()}
    return None if "model" in left else left.get("merged_model")


def answers(job: Job) -> bool:
    """Whether the job left a model that answers as it is."""
    return any(artifact.callable_id for artifact in job.artifacts or ())


def deployment_of(job: Job) -> Artifact | None:
    """The deployment of the job's model, asked for or standing; None where there is none."""
    return next((each for each in job.artifacts or () if each.kind == DEPLOYMENT), None)


def with_deployment(
    artifacts: Sequence[Artifact] | None, deployment: Artifact | None
) -> tuple[Artifact, ...]:
    """The artifacts with this deployment in the place of any earlier."""
    others = tuple(each for each in artifacts or () if each.kind != DEPLOYMENT)
    return others if deployment is None else (*others, replace(deployment, kind=DEPLOYMENT))
