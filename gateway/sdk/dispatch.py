"""What the other rooms do for a job while the reconciler sees it through."""

from __future__ import annotations

import importlib.metadata
import json
import threading
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gateway.core.classes import DataClass
from gateway.core.errors import Unsupported
from gateway.core.gate import Action, GateRequest
from gateway.core.job import ChatMessage, JobState
from gateway.core.plan import Candidate, CandidateKey, Plan, ProviderFile
from gateway.core.spec import JobSpec
from gateway.jobs.model import Job, NewJob, new_job_id
from gateway.planner import question
from gateway.sdk import files
from gateway.sdk.prompts import with_prompts
from gateway.sdk.sandbox import rehearsed_at
from gateway.sdk.scrubbing import as_used
from gateway.sdk.standing import still_determined
from gateway.sdk.talking import Talk, callable_id, callable_ids

if TYPE_CHECKING:
    from gateway.sdk.rooms import Rooms

OnProgress = Callable[[int, int], None]

_MOST_JOBS = 10_000  # looked through for the one a model came from
TUNED = ("adapter", "model")  # kinds of artifacts that are what a job made, each a folder
LIBRARIES = ("tunegate", "torch", "transformers", "peft", "tokenizers", "numpy")


class Dispatch:
    """The reconciler's hooks, over the rooms of one gateway."""

    def __init__(self, rooms: Rooms) -> None:
        self._rooms = rooms
        self._on_evaluating: dict[str, OnProgress] = {}
        self._one_at_a_time = threading.Lock()

    def create(self, spec: JobSpec, plan: Plan, chosen: Candidate) -> Job:
        """Record the decision, then store the job with its budget reserved, both before any call.

        Raises:
            OverBudget: a cap of the settings stands in the way; nothing was stored.
        """
        rooms, estimate = self._rooms, chosen.estimate
        job_id, shown = new_job_id(rooms.clock()), plan.to_json()
        if chosen.translation is None:
            raise Unsupported("this candidate has no translation", place=str(chosen.key))
        rooms.accounts.scanned(shown, job_id)
        rooms.accounts.decision(shown, job_id, requested_by=rooms.requester[0])
        return rooms.store.create(
            NewJob(
                id=job_id,
                name=spec.name,
                team=spec.team or rooms.settings.team,
                backend=chosen.key.backend,
                model=chosen.key.model,
                region=chosen.key.region,
                offer=chosen.key.offer,
                spec={"spec": spec.to_json(), "folder": str(spec.folder), "requested_by": rooms.requester},
                plan=shown,
                translation=chosen.translation,
                folder=rooms.home / "jobs" / job_id,
                estimate_usd=estimate.total_usd and estimate.total_usd.likely,
            ),
            reserve_usd=estimate.total_usd and estimate.total_usd.high,
            caps=rooms.caps,
        )

    def inference(
        self, model: str, backend: str, chats: Sequence[Sequence[ChatMessage]]
    ) -> tuple[GateRequest, str, Mapping[str, Any]]:
        """The gate's question for one answer of a model, what the backend calls that model, and the
        options it is asked with.

        A job's model inherits the class of the data it was trained on, however it is named, and what is
        in the prompts can only raise it. What is asked of any other model counts as PHI: nobody has
        said what class a prompt is of, and a scan that finds nothing lowers nothing.
        """
        job = self._trained_by(model)
        if job is not None:
            request = with_prompts(self.gate_request(job, Action.INFER), chats, self._rooms.ner)
            return request, callable_id(job), job.site.options
        request = question(
            Action.INFER,
            self._rooms.backend(backend).facts,
            CandidateKey(backend, model, region="", offer=""),
            team=self._rooms.settings.team,
            data_class=DataClass.PHI,
            scanned=True,  # nothing goes there but the prompts, and they are
            attestations=self._rooms.trust.attestations,
            as_of=self._rooms.clock().date(),
        )
        return with_prompts(request, chats, self._rooms.ner), model, self._rooms.options.get(backend, {})

    def _trained_by(self, model: str) -> Job | None:
        """The job a model came from, by the job's id or by what the backend calls the model."""
        if model.startswith("job_"):
            return self._rooms.store.get(model)
        succeeded = self._rooms.store.list(states=(JobState.SUCCEEDED,), limit=_MOST_JOBS)
        return next((job for job in succeeded if model in callable_ids(job)), None)

    def gate_request(self, job: Job, action: Action) -> GateRequest:
        """The question the gate is asked before an action of this job, on today's agreements.

        The data's scan is the plan's; what may have lapsed since, a determination too, is asked anew.
        """
        data, spec = self._rooms.store.plan(job.id)["data"], spec_of(job)
        return question(
            action,
            self._rooms.backend(job.backend).facts,
            CandidateKey(job.backend, job.model, job.region, job.offer),
            team=job.team,
            data_class=still_determined(self._rooms, data, self._rooms.clock().date()),
            scanned=data["scanned"],
            attestations=self._rooms.trust.attestations,
            as_of=self._rooms.clock().date(),
            tags=spec.data.tags,
            purpose=spec.data.purpose,
            asked_residency=spec.data.residency,
            account=self._rooms.backend(job.backend).account(job.site.options),
            approvals=self._rooms.approvals.granted(job),
        )

    def write_file(self, job: Job, file: ProviderFile) -> Path:
        """One provider file under the job's folder; and, beside it, the rows kept for evaluation."""
        return files.write_file(self._rooms, job, as_used(self._rooms, spec_of(job)), file)

    def evaluate(self, job: Job) -> Mapping[str, Any] | None:
        """Base against tuned on the held-out rows; None where the spec held none out."""
        from gateway.evaluate import MAX_OUTPUT_TOKENS, evaluate

        spec = spec_of(job)
        rows = files.held_out(self._rooms, job, spec.task)
        if not rows:
            return None
        local = self._rooms.facts[job.backend].kind == "local"
        asks_more = spec.evaluate.general is True or (spec.evaluate.general == "auto" and local)
        talk = Talk(self._rooms, job, self.gate_request(job, Action.INFER))
        # Models on this machine share its memory and its cores: one comparison at a time.
        with self._one_at_a_time if local else nullcontext():
            found = evaluate(
                spec.evaluate,
                rows,
                answer=talk.answering(spec.evaluate.max_output_tokens),
                score=talk.score,
                general=talk.answering(MAX_OUTPUT_TOKENS) if asks_more else None,
                folder=spec.folder,
                seed=spec.hyperparameters.seed,
                on_progress=self._on_evaluating.get(job.id),
            )
        return found.to_json()

    @contextmanager
    def telling(self, job_id: str, on_progress: OnProgress) -> Generator[None]:
        """While open, an evaluation of this job tells how far it is: (answers had, answers in all)."""
        self._on_evaluating[job_id] = on_progress
        try:
            yield
        finally:
            del self._on_evaluating[job_id]

    def record(self, job: Job) -> str:
        """The signed result, and beside the adapter a model card that points to it."""
        libraries = versions()
        reference = self._rooms.accounts.finished(job, base_revision=_base_revision(job), libraries=libraries)
        self._leave(job, reference, libraries)
        return reference

    def card(
        self, job: Job, reference: str | None, libraries: Mapping[str, str], *, merged: bool = False
    ) -> str:
        """The model card of what a job left: of the adapter, or of base and adapter as one model."""
        from gateway.records import model_card

        return model_card(
            {**job.to_json(), "rehearsal": rehearsed_at(self._rooms, job)},
            self._rooms.store.plan(job.id),
            job.result,
            spec={**spec_of(job).to_json(), "hyperparameters": _as_used(job)},
            libraries=libraries,
            record=reference,
            merged=merged,
        )

    def _leave(self, job: Job, reference: str, libraries: Mapping[str, str]) -> None:
        """The job's own account, in its folder: plan, model card, and copies of its signed records."""
        from gateway.data import write_atomically

        plan = self._rooms.store.plan(job.id)
        card = self.card(job, reference, libraries).encode()
        write_atomically(job.folder / "plan.json", [json.dumps(plan, indent=2).encode()])
        write_atomically(job.folder / "model-card.md", [card])
        for name, envelope in self._rooms.accounts.envelopes(job).items():
            write_atomically(job.folder / "records" / name, [envelope])
        for folder in _tuned_here(job):
            write_atomically(folder / "README.md", [card])


def _as_used(job: Job) -> dict[str, Any]:
    """The hyperparameters as the backend got them, every `auto` resolved, by dotted name."""
    prefix = "hyperparameters."
    return {
        outcome.path.removeprefix(prefix): outcome.after
        for outcome in job.translation.fields
        if outcome.path.startswith(prefix) and outcome.after is not None
    }


def _base_revision(job: Job) -> str | None:
    """What names exactly the weights the tuning began from, where the backend left word of it."""
    for folder in _tuned_here(job):
        if (note := folder / "tunegate.json").is_file():
            return json.loads(note.read_bytes()).get("base")
    return None


def _tuned_here(job: Job) -> list[Path]:
    """Folders of what was trained on this machine. A managed backend's names are no paths."""
    folders = [Path(artifact.uri) for artifact in job.artifacts or () if artifact.kind in TUNED]
    return [folder for folder in folders if folder.is_relative_to(job.folder)]


def spec_of(job: Job) -> JobSpec:
    """The spec a job was dispatched from, its relative paths meant from where they were."""
    spec = JobSpec.model_validate(job.spec["spec"])
    return spec.at(Path(job.spec["folder"]))


def versions() -> dict[str, str]:
    """Versions of what trains and measures, as far as they are installed."""
    found: dict[str, str] = {}
    for name in LIBRARIES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found
