"""Tuning jobs: `projects.locations.tuningJobs` in v1 and v1beta1."""

from __future__ import annotations

import json
import math
import re
import secrets
from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

from werkzeug.wrappers import Request, Response

from backends.facts import load_facts
from backends.sandbox.server import Route, answer
from backends.sandbox.world import Phase, Thing, World
from backends.vertex.places import serving_location
from backends.vertex.sandbox.account import PROJECT_NUMBER
from backends.vertex.sandbox.described import Wrong, described
from backends.vertex.sandbox.learning import Read, read
from backends.vertex.sandbox.problems import missing, problem, refused
from backends.vertex.sandbox.storage import Storage
from gateway.core.facts import ModelFacts

JOB = "vertex.tuningJob"
ENDPOINT = "vertex.endpoint"
FACTS = load_facts(Path(__file__).parents[1] / "facts.toml")
_API = "projects.locations.tuningJobs"
_BATCH = 8
_PAGE = 100
_SHOWN_EXAMPLES = 3
_LABEL = re.compile(r"[a-z0-9_-]{0,63}")
_FILTER = re.compile(r'labels\.([a-z0-9_-]+)\s*=\s*"([^"]*)"')
_STATES: Mapping[str, tuple[str, str]] = {
    "validating": ("PENDING", "PROCESSING_DATASET"),
    "queued": ("PENDING", "WAITING_FOR_CAPACITY"),
    "running": ("RUNNING", "TUNING"),
    "succeeded": ("SUCCEEDED", ""),
    "failed": ("FAILED", ""),
    "rejected": ("FAILED", ""),
    "cancelled": ("CANCELLED", ""),
}


class Tuning:
    """Jobs, and what they leave: endpoints that answer, or weights in a bucket."""

    def __init__(self, world: World, storage: Storage) -> None:
        self._world = world
        self._storage = storage

    def routes(self) -> Sequence[Route]:
        here = "/<any(v1,v1beta1):version>/projects/<project>/locations/<location>/tuningJobs"
        return (
            Route("POST", here, "tuningJobs.create", self._create),
            Route("GET", here, "tuningJobs.list", self._list),
            Route("GET", f"{here}/<id>", "tuningJobs.get", self._get),
            Route("POST", f"{here}/<id>:cancel", "tuningJobs.cancel", self._cancel),
        )

    # -- operations --------------------------------------------------------------------------------

    def _create(self, request: Request, names: Mapping[str, str]) -> Response:
        try:
            body: Thing = json.loads(request.get_data())
        except ValueError:
            return refused([Wrong("", "the payload is no JSON")])
        api = described(f"aiplatform.{names['version']}")
        if wrong := [*api.wrong_body(f"{_API}.create", body), *_wrong_labels(body)]:
            return refused(wrong)
        if (no := self._not_tunable(body, names)) is not None:
            return no
        model = _model_of(body)
        training = body.get("supervisedTuningSpec", {}).get("trainingDatasetUri", "")
        content = self._storage.read(training)
        if model is None or content is None:
            return problem("NOT_FOUND", f"The dataset {training} is not found, or cannot be read.")
        found = read(content, "messages" if model.family == "open" else "contents")
        with self._world.lock:
            job = self._born(body, names, model, found)
            self._world.put(JOB, job["id"], job)
        return answer(self.shown(job, names["version"]))

    def _list(self, request: Request, names: Mapping[str, str]) -> Response:
        api = described(f"aiplatform.{names['version']}")
        if wrong := api.wrong_query(f"{_API}.list", request.args.keys()):
            return refused(wrong)
        asked = request.args.get("filter", "")
        wanted = _FILTER.fullmatch(asked)
        if asked and not wanted:
            return problem("INVALID_ARGUMENT", "The filter is not supported.")
        here = [job for job in reversed(self._world.all(JOB)) if job["location"] == names["location"]]
        found = [
            job for job in here if not wanted or job["body"].get("labels", {}).get(wanted[1]) == wanted[2]
        ]
        start = int(request.args.get("pageToken") or 0)
        size = min(int(request.args.get("pageSize") or _PAGE), _PAGE)
        jobs = [self.shown(job, names["version"]) for job in found[start : start + size]]
        page: dict[str, Any] = {"tuningJobs": jobs} if jobs else {}
        if start + size < len(found):
            page["nextPageToken"] = str(start + size)
        return answer(page)

    def _get(self, request: Request, names: Mapping[str, str]) -> Response:
        job = self._found(names)
        return missing("The TuningJob") if job is None else answer(self.shown(job, names["version"]))

    def _cancel(self, request: Request, names: Mapping[str, str]) -> Response:
        with self._world.lock:
            job = self._found(names)
            if job is None:
                return missing("The TuningJob")
            if not self._world.cancel(job):
                return problem("FAILED_PRECONDITION", "The TuningJob has ended and cannot be cancelled.")
            self._world.put(JOB, job["id"], job)
        return answer({})

    def _found(self, names: Mapping[str, str]) -> Thing | None:
        job = self._world.get(JOB, names["id"])
        return job if job is not None and job["location"] == names["location"] else None

    # -- a new job ---------------------------------------------------------------------------------

    def _not_tunable(self, body: Mapping[str, Any], names: Mapping[str, str]) -> Response | None:
        model = _model_of(body)
        if model is None:
            return refused([Wrong("tuning_job.base_model", "Base model is not supported for tuning")])
        today = datetime.fromtimestamp(self._world.now(), UTC).date()
        if _has_ended(model, today):
            return missing(f"The model {model.id}")
        if names["location"] not in model.regions:
            text = f"Tuning {model.id} is not supported in {names['location']}."
            return problem("FAILED_PRECONDITION", text)
        if model.family == "open" and not body.get("outputUri"):
            return refused([Wrong("tuning_job.output_uri", "required for open models")])
        return None

    def _born(
        self, body: Mapping[str, Any], names: Mapping[str, str], model: ModelFacts, found: Read
    ) -> Thing:
        """What is kept of a new job; its rows are kept apart, because files are deleted when it ends."""
        job = self._world.born("vertex.tuningJobs.create")
        job["life"]["rejected"] |= found.broken is not None
        id = str(secrets.randbelow(9 * 10**18) + 10**18)
        self._world.blob(f"rows-{id}").write_text(json.dumps(found.rows), "utf-8")
        epochs = _epochs(body)
        checkpoints = [] if model.family == "open" else [f"{id[:12]}{n:07}" for n in range(1, epochs + 1)]
        for endpoint in checkpoints:
            at = {"job": id, "location": serving_location(names["location"], model.family), "deployed": True}
            self._world.put(ENDPOINT, endpoint, at)
        refusal = found.broken or "Dataset format error: " + json.dumps(found.examples[:1])
        return job | {
            "id": id,
            "location": names["location"],
            "serves": serving_location(names["location"], model.family),
            "body": dict(body),
            "endpoints": checkpoints,
            "refusal": refusal,
            "stats": _stats(found, epochs),
            "steps": epochs * math.ceil(len(found.rows) / _BATCH),
        }

    # -- how a job stands --------------------------------------------------------------------------

    def shown(self, job: Mapping[str, Any], version: str) -> dict[str, Any]:
        """A job as Google shows it."""
        phase = self._world.phase(job)
        state, stage = _STATES[phase.name]
        name = f"projects/{PROJECT_NUMBER}/locations/{job['location']}/tuningJobs/{job['id']}"
        shown = {
            **job["body"],
            "name": name,
            "state": f"JOB_STATE_{state}",
            "createTime": _time(job["born"]),
            "updateTime": _time(phase.since),
        }
        if version == "v1beta1" and stage:
            shown["tuningJobState"] = f"TUNING_JOB_STATE_{stage}"
        life = job["life"]
        started = job["born"] + life["validating_s"] + life["queued_s"]
        if phase.share > 0 or phase.name == "running":
            shown["startTime"] = _time(started)
            shown["tuningDataStats"] = {"supervisedTuningDataStats": job["stats"]}
        if phase.ended:
            shown["endTime"] = _time(phase.since)
            shown |= self._ended(job, phase)
        return shown

    def _ended(self, job: Mapping[str, Any], phase: Phase) -> dict[str, Any]:
        """What an ended job has: a model, or an error that may quote rows as Google's may."""
        if phase.name == "rejected":
            return {"error": {"code": 3, "message": job["refusal"]}}
        if phase.name == "failed":
            return {"error": {"code": 13, "message": "Internal error encountered."}}
        if phase.name == "cancelled":
            return {"error": {"code": 1, "message": "The TuningJob was cancelled."}}
        if not job["endpoints"]:
            self._storage.leave(f"{job['body']['outputUri']}/postprocess/node-0/checkpoints/final/README")
            return {}
        root = f"projects/{PROJECT_NUMBER}/locations/{job['serves']}"
        last = len(job["endpoints"])
        checkpoints = [
            {
                "checkpointId": str(epoch),
                "epoch": str(epoch),
                "step": str(job["steps"] * epoch // last),
                "endpoint": f"{root}/endpoints/{endpoint}",
            }
            for epoch, endpoint in enumerate(job["endpoints"], start=1)
        ]
        tuned: dict[str, Any] = {"model": f"{root}/models/{job['id']}@1"}
        tuned["endpoint"] = checkpoints[-1]["endpoint"]
        if not job["body"]["supervisedTuningSpec"].get("exportLastCheckpointOnly"):
            tuned["checkpoints"] = checkpoints
        return {"tunedModel": tuned}


def _model_of(body: Mapping[str, Any]) -> ModelFacts | None:
    return next((model for model in FACTS.models if model.id == body.get("baseModel")), None)


def _has_ended(model: ModelFacts, today: date) -> bool:
    rules = (rule for rule in FACTS.lifecycle if rule.what == "training" and rule.concerns(model))
    return any(rule.until and rule.until < today for rule in rules)


def _wrong_labels(body: Mapping[str, Any]) -> list[Wrong]:
    """Google's rule of labels, which its description has in words only."""
    return [
        Wrong(f"tuning_job.labels.{name}", "lower case letters, digits, _ and -, at most 63")
        for name, value in body.get("labels", {}).items()
        if not (_LABEL.fullmatch(name) and _LABEL.fullmatch(value))
    ]


def _epochs(body: Mapping[str, Any]) -> int:
    hyper: Mapping[str, Any] = body.get("supervisedTuningSpec", {}).get("hyperParameters", {})
    return int(hyper.get("epochCount", 3))


def _stats(found: Read, epochs: int) -> dict[str, Any]:
    """Google's account of the data. It shows some of it, as Google's does."""
    return {
        "tuningDatasetExampleCount": str(len(found.rows)),
        "totalBillableTokenCount": str(found.tokens),
        "tuningStepCount": str(epochs * math.ceil(len(found.rows) / _BATCH)),
        "totalTruncatedExampleCount": str(len(found.dropped)),
        "truncatedExampleIndices": [str(number) for number, _ in found.dropped],
        "droppedExampleReasons": [reason for _, reason in found.dropped],
        "userDatasetExamples": found.examples[:_SHOWN_EXAMPLES],
    }


def _time(unix: float) -> str:
    return datetime.fromtimestamp(unix, UTC).isoformat().replace("+00:00", "Z")
