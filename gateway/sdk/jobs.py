"""Jobs as Python users hold them: a handle that looks again, waits, and ends a job."""

from __future__ import annotations

import builtins
import sys
from collections import deque
from collections.abc import Callable, Mapping
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gateway.core.errors import NotNow, Unsupported
from gateway.core.html import progress_html
from gateway.core.job import Artifact, Event, JobState, Progress, RemoteRef
from gateway.core.plan import CandidateKey
from gateway.jobs.model import Job
from gateway.sdk import deployments
from gateway.sdk.endings import failure, purge, training_estimate, training_time
from gateway.sdk.sandbox import rehearsed_at
from gateway.sdk.tuned import TunedModel

if TYPE_CHECKING:
    from gateway.sdk.approvals import Approval
    from gateway.sdk.rooms import Rooms

OnProgress = Callable[[int, int], None]
OnUpdate = Callable[["JobHandle"], None]

_OURS = {"plan": "plan.json", "model_card": "model-card.md"}  # kind → file in the job's folder
_NOT_STARTED = (JobState.PLANNED, JobState.STAGING, JobState.SUBMITTING)


class JobHandle(TunedModel):
    """One job. What it shows is what was last seen; `refresh`, `wait` and `cancel` look again."""

    def __init__(self, rooms: Rooms, job: Job) -> None:
        super().__init__(rooms, job)
        self._evaluated: Progress | None = None

    @property
    def id(self) -> str:
        return self._job.id

    @property
    def name(self) -> str:
        return self._job.name

    @property
    def state(self) -> JobState:
        return self._job.state

    @property
    def phase(self) -> str:
        """The state in words, with the evaluation that follows success."""
        if self._job.state is JobState.SUCCEEDED and self._job.evaluation in ("pending", "running"):
            return "evaluating"
        if self._job.closed and any(d["callable_id"] is None for d in self._deployments):
            return "deploying"
        return str(self._job.state)

    @property
    def _deployments(self) -> builtins.list[dict[str, str | None]]:
        return deployments.described(self._rooms, self._job)

    @property
    def doing(self) -> str:
        """The phase; while nothing is trained yet, what the run last told of its preparations."""
        if self.awaiting:
            return f"waits for the approval of {' and '.join(self.awaiting)}"
        event = self._preparing()
        return event.text if event else self.phase

    @property
    def awaiting(self) -> tuple[str, ...]:
        """Names or roles whose approval is missing, while the job waits for nothing else."""
        waits = self._job.state is JobState.AWAITING_APPROVAL
        return self._rooms.approvals.awaiting(self._job) if waits else ()

    def terms(self, name: str) -> Mapping[str, str | builtins.list[str]]:
        """What `name` would sign as an approver of this job: names, and hashes of all that may not change.
        Raises as `approve` does where they may not."""
        return self._rooms.approvals.asked(self._job, name)[1].to_json()

    def approvals(self) -> tuple[Approval, ...]:
        """Every approval given, oldest first, and why it does not count where it does not."""
        return self._rooms.approvals.given(self._job)

    def approve(self, name: str, key: str) -> JobHandle:
        """Sign this job as one of its approvers. Nothing is sent yet: `start` or `wait` goes on with it.

        Args:
            name: the approver, as the trust bundle names them.
            key: their private key: a file, `env:VARIABLE` or `signer:NAME:ARGUMENT`.

        Raises:
            SettingsError: nobody of that name may approve it.
            PolicyDenied: they asked for it themselves.
            RecordError: it is not their key.
            NotNow: it waits for nobody's approval.
        """
        self._job = self._rooms.approvals.approve(self._job, name=name, key=key)
        return self

    @property
    def started(self) -> bool:
        """The backend has the job: it goes on without us."""
        return self._job.state not in (*_NOT_STARTED, JobState.AWAITING_APPROVAL)

    @property
    def needs_person(self) -> bool:
        """Nothing goes on until somebody does what `error` says."""
        return self._job.waits_for_a_person and self._job.error is not None

    @property
    def done(self) -> bool:
        """Nothing is left to do: trained (or ended otherwise), evaluated, recorded."""
        return self._job.closed

    @property
    def key(self) -> CandidateKey:
        return CandidateKey(self._job.backend, self._job.model, self._job.region, self._job.offer)

    @property
    def progress(self) -> Progress | None:
        """How far it is: steps of training, answers of evaluation, hundredths of preparations."""
        if self.phase == "evaluating":
            return self._evaluated
        event = self._preparing()
        share = event.data.get("share") if event else None
        if isinstance(share, int | float):
            return Progress(step=round(100 * share), steps=100)
        return self._job.progress

    @property
    def metrics(self) -> Mapping[str, Any] | None:
        """{base, tuned, difference} → metric → {value, low, high, n}; None before evaluation."""
        return (self._job.result or {}).get("metrics")

    @property
    def evaluation(self) -> Mapping[str, Any]:
        """The whole evaluation, with its status: pending, running, done, failed or skipped."""
        return {**(self._job.result or {}), "status": self._job.evaluation}

    @property
    def error(self) -> Mapping[str, Any] | None:
        """What went wrong: code, message, place, fix."""
        return self._job.error

    @property
    def rehearsal(self) -> str | None:
        """`host:port` of the local stand-in a managed job ran at; None where it was the real thing."""
        return rehearsed_at(self._rooms, self._job)

    @property
    def starts_anew(self) -> bool:
        """Another attempt would be a new job at the backend, paid for anew."""
        return self._job.remote is not None and self._rooms.reconciler.starts_anew(self._job)

    @property
    def training_estimate(self) -> Mapping[str, str] | None:
        """{low, likely, high} in USD of the training alone, as planned; None where it was not priced."""
        return training_estimate(self._rooms, self._job)

    @property
    def training_time(self) -> Mapping[str, Any] | None:
        """Seconds it trained on a machine of ours (`actual_s`, and `gpu_s` over all its GPUs) beside those
        planned (`planned_s`: low, likely, high); None where it did not."""
        return training_time(self._rooms, self._job)

    @property
    def idle_price(self) -> deployments.IdlePrice:
        """What a deployment of the model costs while nobody asks it, as of today."""
        return deployments.idle_price(self._rooms, self._job)

    @property
    def folder(self) -> Path:
        return self._job.folder

    @property
    def created_at(self) -> datetime:
        return self._job.created_at

    def refresh(self) -> JobHandle:
        """Look at the job again: one bounded step, then what is stored."""
        self._job = self._rooms.reconciler.advance(self.id, light=True)
        return self

    def wait(self, on_update: OnUpdate | None = None) -> JobHandle:
        """See the job to its end, evaluation and record included. Interrupting leaves it running.

        Args:
            on_update: told at every look. Without one, a notebook shows a live bar.
        """
        tell = on_update or _notebook_bar()

        def seen(job: Job) -> None:
            self._job = job
            if tell is not None:
                tell(self)

        def evaluating(done: int, total: int) -> None:
            self._evaluated = Progress(step=done, steps=total)
            if tell is not None:
                tell(self)

        with self._rooms.dispatch.telling(self.id, evaluating):
            self._job = self._rooms.reconciler.follow(self.id, seen, longest_pause_s=1.0)
        return self

    def start(self) -> JobHandle:
        """Take the job to where its backend has it, and goes on without us; or to what prevents that."""
        self._job = self._rooms.reconciler.follow(
            self.id, until=lambda job: job.state not in _NOT_STARTED, longest_pause_s=1.0
        )
        return self

    def events(self, *, after: str | None = None) -> tuple[Event, ...]:
        """What happened, oldest first."""
        return self._rooms.store.events(self.id, after=after)

    def artifacts(self) -> tuple[Artifact, ...]:
        """What the job left, the plan and the model card among it; empty until it has succeeded."""
        if not self._job.artifacts:
            return ()
        ours = (Artifact(kind, str(self.folder / name)) for kind, name in _OURS.items())
        return (*self._job.artifacts, *(each for each in ours if Path(each.uri).is_file()))

    def cancel(self) -> JobHandle:
        """Ask for the end, and take what steps can be taken now."""
        self._rooms.reconciler.cancel(self.id)
        return self.refresh()

    def pause(self) -> JobHandle:
        self._rooms.reconciler.pause(self.id)
        return self.refresh()

    def resume(self) -> JobHandle:
        """Go on with a paused job, or try a failed one again, within the settings' budgets.

        Raises:
            OverBudget: the failed job's money was meanwhile given to others.
            NotNow: the job was cancelled or has succeeded.
        """
        self._rooms.reconciler.resume(self.id, self._rooms.caps)
        return self.start().refresh()

    def answer(self, remote_id: str | None) -> JobHandle:
        """Say what a look at the backend found, for a job that waits for it: its id there, or None
        where there is no such job and it is to be submitted again.

        Raises:
            NotNow: the job does not wait for an answer.
        """
        remote = RemoteRef(self._job.backend, remote_id) if remote_id else None
        self._rooms.reconciler.answer(self.id, remote)
        return self.start()

    def deploy(self, *, evaluate: bool = True, on_update: OnUpdate | None = None) -> JobHandle:
        """Deploy the tuned model where it answers only then, wait until it can be called, and compare base
        with tuned if that waited for it. It costs `idle_price` until `undeploy`. Interrupting leaves it on
        its way; the same call goes on from there, and never makes a second deployment.

        Args:
            evaluate: compare base with tuned, where they were not compared yet.
            on_update: told at every look.

        Raises:
            NotNow: the job has not succeeded.
            Unsupported: the model answers as it is, or cannot be deployed.
            PolicyDenied, BackendError: why it is not deployed.
        """

        def seen(job: Job) -> None:
            self._job = job
            if on_update is not None:
                on_update(self)

        self._job = deployments.deploy(self._rooms, self._job, seen)
        if evaluate and self._job.evaluation in ("skipped", "failed"):
            self._job = self._rooms.reconciler.compare(self.id)
            self.wait(on_update)
        return self

    def check_deployable(self) -> None:
        """Whether a deployment may be asked for at all: nothing is asked of the backend, nothing costs.

        Raises:
            Unsupported: the model answers as it is, or cannot be deployed.
        """
        deployments.refuse_at_once(self._rooms, self._job)

    def undeploy(self) -> JobHandle:
        """End the deployment of the tuned model, and its cost. Where there is none: no error."""
        self._job = deployments.undeploy(self._rooms, self._job)
        return self

    def purge(self) -> JobHandle:
        """Delete what the job left, at its backend and here. Its plan, events and records stay.

        Raises:
            NotNow: it has not ended yet.
            BackendError, Unsupported: the backend could not delete its part; nothing was deleted here.
        """
        if not self.done:
            raise NotNow(
                f"a job that is {self.phase} cannot be purged",
                place=self.id,
                fix=f"end it first: `tunegate jobs cancel {self.id}`",
            )
        self._job = purge(self._rooms, self._job)
        return self

    def logs(self, lines: int = 100) -> builtins.list[str]:
        """The last lines of the training process's log, where it runs on this machine."""
        path = next((Path(a.uri) for a in self.artifacts() if a.kind == "log"), None)
        if path is None and self._job.remote is not None:
            path = Path(self._job.remote.id) / "train.log"
        if path is None or not path.is_file():
            raise Unsupported("this job has no log here", place=self.id, fix="see `tunegate jobs events`")
        with path.open(encoding="utf-8", errors="replace") as file:
            return [line.rstrip("\n") for line in deque(file, maxlen=lines)]

    def raise_if_failed(self) -> None:
        """Raise what the job failed with, or waits for a person with; nothing where it went well.

        Raises:
            TunegateError: of the class its error had, so that exit code and meaning are the same.
        """
        if self.state is JobState.FAILED or self.needs_person:
            raise failure(self._job)

    def to_json(self) -> dict[str, Any]:
        """The stable JSON of `tunegate jobs show --json`."""
        return {
            **self._job.to_json(),
            "evaluation": dict(self.evaluation),
            "awaiting": list(self.awaiting),
            "approvals": [each.to_json() for each in self.approvals()],
            "rehearsal": self.rehearsal,
            "training_time": self.training_time,
            "deployments": self._deployments,
        }

    def __repr__(self) -> str:
        return f"<JobHandle {self.id} {self.phase}>"

    def _repr_html_(self) -> str:
        """How a notebook shows a job: a bar."""
        return progress_html(self.id, self.doing, self.progress)

    def _preparing(self) -> Event | None:
        """The run's last word before its first step; None once it trains."""
        if self.state is not JobState.RUNNING or self._job.progress is not None:
            return None
        return next((event for event in reversed(self.events()) if "share" in event.data), None)


class Jobs:
    """`gw.jobs`: every job of this gateway's store."""

    def __init__(self, rooms: Rooms) -> None:
        self._rooms = rooms

    def get(self, job_id: str) -> JobHandle:
        """The job, after one bounded look at what is due.

        Raises:
            JobNotFound: no job has this id.
        """
        self._rooms.store.get(job_id)
        self._rooms.reconciler.advance(job_id, light=True)
        return JobHandle(self._rooms, self._rooms.store.get(job_id))

    def list(self, *, team: str | None = None) -> builtins.list[JobHandle]:
        """Jobs, newest first, after one bounded pass over what is due."""
        self.work(light=True)
        return [JobHandle(self._rooms, job) for job in self._rooms.store.list(team=team)]

    def work(self, *, light: bool = False, threads: int = 1, once: bool = True) -> int:
        """One pass over every job that is due, or for ever; the number of jobs looked at.

        Args:
            light: leave steps that may take long, uploads and comparisons, to somebody with more time.
            threads: how many jobs may wait for their backends at once.
        """
        return self._rooms.reconciler.work(once=once, light=light, threads=threads)


def _notebook_bar() -> OnUpdate | None:
    """A live bar in a notebook; None elsewhere."""
    if "ipykernel" not in sys.modules:
        return None
    from IPython.display import HTML, display  # pyright: ignore  # in a notebook it is there

    shown: Any = display(HTML(""), display_id=True)  # pyright: ignore

    def show(job: JobHandle) -> None:
        shown.update(HTML(job._repr_html_()))  # pyright: ignore  # what the notebook would call itself

    return show
