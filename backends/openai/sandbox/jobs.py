"""Fine-tuning jobs of the stand-ins: made, looked at, disturbed, and their account."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, ClassVar

from werkzeug.wrappers import Request, Response

from backends.openai.sandbox import described, story, training_file
from backends.openai.sandbox.desk import Arguments, Refused
from backends.openai.sandbox.files import Files
from backends.sandbox.server import answer
from backends.sandbox.world import PhaseName, Thing

STATUS: Mapping[PhaseName, str] = {
    "validating": "validating_files",
    "rejected": "failed",
}


class Jobs(Files):
    """The fine-tuning interface. A job's phase follows from the clock; its account is kept."""

    tunable: frozenset[str] = frozenset()  # ids of models; empty where any will do
    extra_job_fields: ClassVar[frozenset[str]] = frozenset()

    def create_job(self, request: Request, arguments: Arguments) -> Response:
        body = described.job_request(request.get_data(), extra=self.extra_job_fields)
        if self.tunable and body["model"] not in self.tunable:
            message = f"Model {body['model'][:80]} is not available for fine-tuning or does not exist."
            raise Refused(400, message, code="model_not_available")
        files = {name: self._file_of(body, name) for name in ("training_file", "validation_file")}
        wrong = [w for f in files.values() if f and (w := training_file.invalid(f, method_of(body)[0]))]
        id = f"ftjob-{secrets.token_hex(12)}"
        job: Thing = {
            "id": id,
            "request": self.kept_of(body),
            "created": self.world.now(),
            "model_name": self.model_name(id, body),
            "wrong": wrong[0] if wrong else None,
            "happened": [],
            **self.world.born(f"{self.name}.createFineTuningJob"),
        }
        job["life"]["rejected"] |= bool(wrong)
        self.put("job", job)
        return answer(self.described_job(job))

    def kept_of(self, body: Mapping[str, Any]) -> Mapping[str, Any]:
        """What the service remembers of a request."""
        return body

    def model_name(self, id: str, body: Mapping[str, Any]) -> str:
        return f"ft:{body['model']}:sandbox:{body.get('suffix') or ''}:{id.removeprefix('ftjob-')}"

    def _file_of(self, body: Mapping[str, Any], name: str) -> Path | None:
        if (id := body.get(name)) is None:
            return None
        if self.world.get(f"{self.name}.file", id) is None:
            raise Refused(400, f"No such file: {name}", code="invalid_file", param=name)
        return self.world.blob(id)

    def list_jobs(self, request: Request, arguments: Arguments) -> Response:
        wanted = {
            k[9:-1]: v for k, v in request.args.items() if k.startswith("metadata[") and k.endswith("]")
        }
        jobs = [job for job in self.world.all(f"{self.name}.job") if self.fits(job, wanted)]
        page, more = self.page(request, jobs, default=20)
        return answer({"object": "list", "data": [self.described_job(job) for job in page], "has_more": more})

    def fits(self, job: Thing, wanted: Mapping[str, str]) -> bool:
        """Whether a job's metadata is what the listing asks for."""
        return wanted.items() <= (job["request"].get("metadata") or {}).items()

    def retrieve_job(self, request: Request, arguments: Arguments) -> Response:
        return answer(self.described_job(self.get("job", arguments["id"])))

    def cancel_job(self, request: Request, arguments: Arguments) -> Response:
        return self._disturb(arguments["id"], self.world.cancel, "cancelled")

    def pause_job(self, request: Request, arguments: Arguments) -> Response:
        return self._disturb(arguments["id"], self.world.pause, "paused")

    def resume_job(self, request: Request, arguments: Arguments) -> Response:
        return self._disturb(arguments["id"], self.world.resume, "resumed", status="queued")

    def _disturb(
        self, id: str, change: Callable[[Thing], bool], word: str, *, status: str | None = None
    ) -> Response:
        job = self.get("job", id)
        self.happened(job)
        if not change(job):
            raise Refused(400, f"A job that is {self.world.phase(job).name} cannot be {word}")
        self._add(job, story.Happening(0, f"Fine-tuning job {word}"), self.world.now())
        self.put("job", job)
        body = self.described_job(job)
        return answer({**body, "status": status or body["status"]})

    def status(self, phase: PhaseName) -> str:
        return STATUS.get(phase, phase)

    def described_job(self, job: Thing) -> dict[str, Any]:
        """A job as the service tells it."""
        phase, request, life = self.world.phase(job), job["request"], job["life"]
        kind, hyper = method_of(request)
        ends = job["born"] + job["paused_s"] + life["validating_s"] + life["queued_s"] + life["running_s"]
        done = phase.name == "succeeded"
        return {
            "object": "fine_tuning.job",
            "id": job["id"],
            "model": request["model"],
            "created_at": int(job["created"]),
            "finished_at": int(phase.since) if phase.ended else None,
            "fine_tuned_model": job["model_name"] if done else None,
            "organization_id": "org-sandbox",
            "result_files": [],
            "status": self.status(phase.name),
            "validation_file": request.get("validation_file"),
            "training_file": request["training_file"],
            "hyperparameters": {n: v for n, v in self.echoed(hyper).items() if n != "beta"},
            "method": request.get("method") or {"type": kind},
            "trained_tokens": self._tokens(job) if done else None,
            "error": story.failure(job, phase),
            "user_provided_suffix": request.get("suffix"),
            "seed": request.get("seed") or 0,
            "estimated_finish": int(ends) if phase.name == "running" else None,
            "integrations": [],
            "metadata": request.get("metadata"),
            "usage_metrics": None,
            "shared_with_openai": False,
        }

    def echoed(self, hyper: Mapping[str, Any]) -> Mapping[str, Any]:
        return {"n_epochs": "auto", "batch_size": "auto", "learning_rate_multiplier": "auto", **hyper}

    def _tokens(self, job: Thing) -> int:
        """Billed tokens: a token for four characters and four for a turn, each epoch."""
        kind, hyper = method_of(job["request"])
        epochs = hyper.get("n_epochs")
        once = training_file.tokens(self.world.blob(job["request"]["training_file"]), kind)
        return once * (epochs if isinstance(epochs, int) else 3)

    # -- events and checkpoints ----------------------------------------------------------------------

    def list_events(self, request: Request, arguments: Arguments) -> Response:
        job = self.get("job", arguments["id"])
        self.happened(job)
        page, more = self.page(request, job["happened"], default=20)
        return answer({"object": "list", "data": page, "has_more": more})

    def happened(self, job: Thing) -> None:
        """Bring the account of a job up to now. It is kept, so that an event told once stays as it was."""
        phase = self.world.phase(job)
        told = job.setdefault("told", 0)
        lived = (job["paused_at"] or self.world.now()) - job["born"] - job["paused_s"]
        if phase.name == "cancelled":
            return
        due = [h for h in story.happenings(job) if h.at_s <= lived]
        for happening in due[told:]:
            self._add(job, happening, job["born"] + job["paused_s"] + happening.at_s)
        job["told"] = len(due)
        if len(due) > told:
            self.put("job", job)

    def _add(self, job: Thing, happening: story.Happening, at: float) -> None:
        event = {
            "object": "fine_tuning.job.event",
            "id": f"ftevent-{job['id'][6:]}-{len(job['happened']):05d}",
            "created_at": int(at),
            "level": happening.level,
            "message": happening.message,
            "type": happening.type,
        }
        job["happened"].append({**event, "data": dict(happening.data or {})})

    def list_checkpoints(self, request: Request, arguments: Arguments) -> Response:
        job = self.get("job", arguments["id"])
        made = self.world.phase(job).name == "succeeded"
        steps = story.checkpoint_steps(job["life"]["steps"]) if made else []
        checkpoints = [
            {
                "object": "fine_tuning.job.checkpoint",
                "id": f"ftckpt-{job['id'][6:]}-{step}",
                "created_at": int(job["created"]),
                "fine_tuned_model_checkpoint": f"{job['model_name']}:ckpt-step-{step}",
                "fine_tuning_job_id": job["id"],
                "metrics": {"step": step},
                "step_number": step,
            }
            for step in steps
        ]
        page, more = self.page(request, checkpoints, default=10)
        ends = {"first_id": page[0]["id"] if page else None, "last_id": page[-1]["id"] if page else None}
        return answer({"object": "list", "data": page, "has_more": more, **ends})


def method_of(body: Mapping[str, Any]) -> tuple[str, Mapping[str, Any]]:
    """The kind of tuning that a request asks for, and its hyperparameters."""
    method: dict[str, Any] = body.get("method") or {"type": "supervised"}
    part: dict[str, Any] = method.get(method["type"]) or {}
    return method["type"], part.get("hyperparameters") or {}
