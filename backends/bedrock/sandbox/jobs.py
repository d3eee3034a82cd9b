"""Customization jobs and the models they leave."""

from __future__ import annotations

import json
import secrets
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from backends.bedrock import replies, wire
from backends.bedrock.sandbox.buckets import Buckets
from backends.bedrock.sandbox.protocol import Problem, absent, invalid
from backends.bedrock.sandbox.rows import learn
from backends.bedrock.storage import split
from backends.sandbox.world import Phase, Thing, World, loss_at
from gateway.core.facts import Facts, ModelFacts

Asked = Mapping[str, Any]
Reply = dict[str, Any]
_JOB = "bedrock.job"
_NAME, _MODEL, _TOKEN = "bedrock.job-name", "bedrock.model-name", "bedrock.job-token"  # each → a job
_DETAILS = ("validationDetails", "dataProcessingDetails", "trainingDetails")
# What stands in each detail, by the phase of the rehearsed life.
_PARTS: Mapping[str, tuple[str, str, str]] = {
    "validating": ("InProgress", "NotStarted", "NotStarted"),
    "queued": ("Completed", "InProgress", "NotStarted"),
    "running": ("Completed", "Completed", "InProgress"),
    "succeeded": ("Completed", "Completed", "Completed"),
    "rejected": ("Failed", "NotStarted", "NotStarted"),
    "failed": ("Completed", "Completed", "Failed"),
    "cancelled": ("Completed", "Completed", "Stopped"),
}
_STATUS = {"succeeded": "Completed", "rejected": "Failed", "failed": "Failed", "cancelled": "Stopped"}


class Jobs:
    """Answers for the operations on jobs and custom models of one account."""

    def __init__(self, world: World, facts: Facts, account: str, buckets: Buckets) -> None:
        self._world, self._facts, self._account, self._buckets = world, facts, account, buckets

    # -- jobs -------------------------------------------------------------------------------------

    def create(self, region: str, asked: Asked) -> Reply:
        """A token that was seen is answered with its job; a name that was seen, with another, is refused."""
        token = asked.get("clientRequestToken", secrets.token_hex(16))
        if seen := self._find(region, token, _TOKEN):
            return {"jobArn": seen["arn"]}
        for name, kind in (("jobName", _NAME), ("customModelName", _MODEL)):
            if self._find(region, asked[name], kind):
                raise invalid(f"The provided {name} is currently in use.")
        model = self._base(region, asked)
        self._reaches(region, asked)
        job = self._world.born("bedrock.CreateModelCustomizationJob")
        number = secrets.token_hex(6)
        kind = f"arn:aws:bedrock:{region}:{self._account}"
        job |= {
            "number": number,
            "region": region,
            "model": model.name,
            "asked": dict(asked),
            "arn": f"{kind}:model-customization-job/{model.id}/{number}",
            "model_arn": f"{kind}:custom-model/{model.id}/{number}",
            "refused": self._learned(number, asked, model),
            "metrics_written": False,
        }
        job["life"]["rejected"] |= job["refused"] is not None
        for kind, name in ((_TOKEN, token), (_NAME, asked["jobName"]), (_MODEL, asked["customModelName"])):
            self._world.put(kind, f"{region}/{name}", {"number": number})
        self._world.put(_JOB, number, job)  # last: a name without its job is no job
        return {"jobArn": job["arn"]}

    def get(self, region: str, asked: Asked) -> Reply:
        return self._told(self._job(region, asked["jobIdentifier"]))

    def stop(self, region: str, asked: Asked) -> Reply:
        job = self._job(region, asked["jobIdentifier"])
        if not self._world.cancel(job):
            raise Problem("ConflictException", 400, "The job is not in progress.")
        self._world.put(_JOB, job["number"], job)
        return {}

    def all(self, region: str, asked: Asked) -> Reply:
        jobs = [self._told(job) for job in self._world.all(_JOB) if job["region"] == region]
        page, more = listed(jobs, asked, name="jobName", made="creationTime")
        kept = ("jobArn", "jobName", "baseModelArn", "status", "statusDetails", "creationTime")
        summaries = [{name: job[name] for name in kept} for job in page]
        return {"modelCustomizationJobSummaries": summaries, **more}

    # -- models -----------------------------------------------------------------------------------

    def model(self, region: str, identifier: str) -> Thing:
        """The job that left this custom model, named by its ARN or name."""
        job = self._find(region, identifier, _MODEL) or self._at_arn(identifier, "model_arn")
        if job and self._world.phase(job).name == "succeeded" and not job.get("model_deleted"):
            return job
        raise absent("The provided model identifier is not found.")

    def get_model(self, region: str, asked: Asked) -> Reply:
        job = self.model(region, asked["modelIdentifier"])
        told = self._told(job)
        kept = ("jobArn", "jobName", "baseModelArn", "creationTime", "trainingDataConfig", "outputDataConfig")
        about = {"modelArn": job["model_arn"], "modelName": job["asked"]["customModelName"]}
        about |= {"modelStatus": "Active"}
        return about | {name: told[name] for name in kept}

    def delete_model(self, region: str, asked: Asked) -> Reply:
        job = self.model(region, asked["modelIdentifier"])
        self._world.put(_JOB, job["number"], job | {"model_deleted": True})
        return {}

    def get_base(self, region: str, asked: Asked) -> Reply:
        """A base model, by the id it is tuned or called under. What the facts closed is Legacy."""
        identifier = asked["modelIdentifier"].rpartition("/")[2]
        for model in self._facts.models:
            if region in model.regions and identifier in {model.id, model.inference_id or model.id}:
                return {"modelDetails": self._base_details(region, model, identifier)}
        raise absent("Could not resolve the foundation model from the provided model identifier.")

    def rows(self, job: Thing) -> list[tuple[str, str]]:
        """The rows a tuned model was made of."""
        return [(prompt, answer) for prompt, answer in json.loads(self._rows(job["number"]).read_bytes())]

    # -- inside -----------------------------------------------------------------------------------

    def _base_details(self, region: str, model: ModelFacts, identifier: str) -> Reply:
        closed = any(end.concerns(model) for end in self._facts.lifecycle if end.what == "training")
        return {
            "modelArn": base_arn(region, identifier),
            "modelId": identifier,
            "modelName": model.name,
            "customizationsSupported": ["FINE_TUNING"] if identifier == model.id else [],
            "inferenceTypesSupported": ["PROVISIONED"] if identifier == model.id else ["ON_DEMAND"],
            "modelLifecycle": {"status": "LEGACY" if closed else "ACTIVE"},
        }

    def _base(self, region: str, asked: Asked) -> ModelFacts:
        model = self._facts.model(asked["baseModelIdentifier"])
        closed = model is None or any(end.concerns(model) for end in self._facts.lifecycle)
        if model is None or closed or model.id != asked["baseModelIdentifier"] or region not in model.regions:
            raise invalid("The provided model identifier is invalid.")
        _check_hyperparameters(model, dict(asked.get("hyperParameters", {})))
        return model

    def _reaches(self, region: str, asked: Asked) -> None:
        """The role is there, and all buckets are there and in the region."""
        if not self._buckets.has_role(asked["roleArn"]):
            raise invalid("The provided role cannot be assumed.")
        places = [asked["trainingDataConfig"].get("s3Uri"), asked["outputDataConfig"]["s3Uri"]]
        places += [each["s3Uri"] for each in asked.get("validationDataConfig", {}).get("validators", ())]
        for place in places:
            if place is None or self._buckets.region_of(split(place)[0]) != region:
                raise invalid("An S3 location cannot be reached from this region.")
        for place in (*places[:1], *places[2:]):
            if self._buckets.read(*split(str(place))) is None:
                raise invalid("A data file is not there.")

    def _learned(self, number: str, asked: Asked, model: ModelFacts) -> str | None:
        """Keep what the model would learn; why the file is refused, where it is."""
        data = self._buckets.read(*split(asked["trainingDataConfig"]["s3Uri"]))
        try:
            pairs = learn(data or b"", model)
        except ValueError as refused:
            return str(refused)
        self._rows(number).write_text(json.dumps(pairs))
        return None

    def _rows(self, number: str) -> Any:
        return self._world.blob(f"bedrock-{number}.json")

    def _job(self, region: str, identifier: str) -> Thing:
        if job := self._find(region, identifier, _NAME) or self._at_arn(identifier, "arn"):
            return job
        raise absent("The provided job identifier is not found.")

    def _find(self, region: str, name: str, kind: str) -> Thing | None:
        """The job with that name (of its own, of its model, or its token) in that region."""
        named = self._world.get(kind, f"{region}/{name}")
        return named and self._world.get(_JOB, named["number"])

    def _at_arn(self, arn: str, kind: str) -> Thing | None:
        """The job with that ARN, or whose model has it; an ARN names its region itself."""
        job = self._world.get(_JOB, arn.rpartition("/")[2])
        return job if job and job[kind] == arn else None

    def _told(self, job: Thing) -> Reply:
        """A job as AWS tells it; its metrics are written when it is first seen to have ended well."""
        phase, asked = self._world.phase(job), job["asked"]
        begun, since = _time(job["born"]), _time(phase.since)
        told: Reply = {
            "jobArn": job["arn"],
            "jobName": asked["jobName"],
            "outputModelName": asked["customModelName"],
            "roleArn": asked["roleArn"],
            "baseModelArn": base_arn(job["region"], asked["baseModelIdentifier"]),
            "status": self._status(job, phase),
            "statusDetails": _details(job, phase),
            "creationTime": begun,
            "lastModifiedTime": since,
            "trainingDataConfig": asked["trainingDataConfig"],
            "validationDataConfig": asked.get("validationDataConfig", {"validators": []}),
            "outputDataConfig": asked["outputDataConfig"],
            "customizationType": asked.get("customizationType", "FINE_TUNING"),
        }
        optional = ("clientRequestToken", "hyperParameters", "vpcConfig")
        told |= {name: asked[name] for name in optional if name in asked}
        if phase.ended:
            told["endTime"] = since
        if phase.name in ("failed", "rejected"):
            told["failureMessage"] = job["refused"] or "Training failed."
        if phase.name == "succeeded":
            self._write_metrics(job, told)
            loss = loss_at(job["life"]["steps"], job["life"]["steps"])
            validated = told["validationDataConfig"]["validators"]
            told |= {"outputModelArn": job["model_arn"], "trainingMetrics": {"trainingLoss": loss}}
            told |= {"validationMetrics": [{"validationLoss": loss} for _ in validated]}
        return told

    def _status(self, job: Thing, phase: Phase) -> str:
        if phase.name == "cancelled" and self._world.now() - phase.since < job["life"]["validating_s"]:
            return "Stopping"
        return _STATUS.get(phase.name, "InProgress")

    def _write_metrics(self, job: Thing, told: Reply) -> None:
        if job["metrics_written"]:
            return
        steps = job["life"]["steps"]
        lines = [f"{step},0,{loss_at(step + 1, steps)},1.0" for step in range(steps)]
        table = "\n".join(("step_number,epoch_number,training_loss,perplexity", *lines)) + "\n"
        bucket, prefix = replies.output_of(told)
        self._buckets.write(bucket, f"{prefix}{replies.METRICS}", table.encode())
        job["metrics_written"] = True
        self._world.put(_JOB, job["number"], job)


def base_arn(region: str, model_id: str) -> str:
    return f"arn:aws:bedrock:{region}::foundation-model/{model_id}"


def _check_hyperparameters(model: ModelFacts, given: dict[str, str]) -> None:
    """Names and ranges as published for the family; where none are published, none are taken."""
    if ranges := wire.RANGES.get(model.family):
        (low, high), (lowest, highest) = ranges.epochs, ranges.rate
        in_range = low <= int(given.pop("epochCount", low)) <= high
        in_range &= lowest <= float(given.pop("learningRate", lowest)) <= highest
        in_range &= not ranges.takes_batch_of_one or given.pop("batchSize", "1") == "1"
        if not in_range:
            raise invalid("A hyperparameter is out of its range.")
    if given:
        raise invalid(f"Unknown hyperparameters: {', '.join(sorted(given))}")


def listed(found: Sequence[Reply], asked: Asked, *, name: str, made: str) -> tuple[Sequence[Reply], Reply]:
    """What the filters let through, newest first as AWS lists; one page, and where there is a next one, its
    token. `name` and `made` are what these things call their name and their time of making."""
    after = asked.get("creationTimeAfter") or asked.get("createdAfter")
    before = asked.get("creationTimeBefore") or asked.get("createdBefore")
    wanted = [
        each
        for each in found
        if asked.get("nameContains", "") in each[name]
        and asked.get("statusEquals", each["status"]) == each["status"]
        and asked.get("modelArnEquals", each.get("modelArn")) == each.get("modelArn")
        and (after is None or each[made] >= after)
        and (before is None or each[made] <= before)
    ]
    ordered = wanted if asked.get("sortOrder") == "Ascending" else wanted[::-1]
    start = int(asked.get("nextToken", "0"))
    end = start + asked.get("maxResults", 100)
    return ordered[start:end], {"nextToken": str(end)} if end < len(ordered) else {}


def _details(job: Thing, phase: Phase) -> Reply:
    """Each part from its own beginning to its own end, or to the last change while it is at work."""
    life, born = job["life"], job["born"]
    begins = (born, born + life["validating_s"], born + life["validating_s"] + life["queued_s"])
    ends = (*begins[1:], phase.since)
    return {
        name: {
            "status": status,
            "creationTime": _time(begin),
            "lastModifiedTime": _time(min(end, phase.since) if status != "InProgress" else phase.since),
        }
        for name, status, begin, end in zip(_DETAILS, _PARTS[phase.name], begins, ends, strict=True)
    }


def _time(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)
