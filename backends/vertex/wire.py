"""Spec → the exact Vertex tuning job. Pure; shapes follow Google's discovery document.

Gemini goes through v1: a multiplier, an adapter size, shared serving. Open models go through v1beta1: a
real learning rate, a batch size, full or PEFT tuning, and an output folder for the weights.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, field_validator

from backends.ledger import Ledger, files_to_send, longest_row, staged_at
from backends.vertex.places import is_loopback
from backends.vertex.rows import format_of
from gateway.core.facts import ModelFacts
from gateway.core.plan import CandidateKey, ProviderFile, ProviderRequest, Translation
from gateway.core.rows import DataProfile, TokenCounter
from gateway.core.spec import JobSpec

_BUCKET = r"^gs://[a-z0-9][a-z0-9._-]{1,61}[a-z0-9](/.*)?$"


class VertexOptions(BaseModel):
    """`options.vertex`."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    project: str | None = Field(None, pattern=r"^[a-z0-9][a-z0-9:.-]{3,62}$", description="id or number")
    location: str | None = Field(None, pattern=r"^[a-z0-9-]+$", description="only candidates of this region")
    data_uri: str | None = Field(None, pattern=_BUCKET, description="where rows are staged")
    output_uri: str | None = Field(None, pattern=_BUCKET, description="where weights of open models are left")
    kms_key: str | None = Field(
        None, pattern=r"^projects/[^/]+/locations/[^/]+/keyRings/[^/]+/cryptoKeys/[^/]+$"
    )
    service_account: str | None = Field(None, pattern=r"^[^@\s]+@[^@\s]+$")
    base_url: str | None = Field(None, pattern=r"^https?://[^\s?#@]+$", description="the API's address")

    @field_validator("base_url")
    @classmethod
    def _sealed(cls, base_url: str | None) -> str | None:
        """Without encryption only to this machine."""
        if base_url is not None and base_url.startswith("http:") and not is_loopback(base_url):
            raise ValueError("must be https, other than on this machine")
        return base_url


# Auto epochs are decided here: the service's own choice is not published, and the bill follows from it.
AUTO_EPOCHS = 3
ADAPTER_SIZES: Mapping[int, str] = {
    1: "ADAPTER_SIZE_ONE",
    2: "ADAPTER_SIZE_TWO",
    4: "ADAPTER_SIZE_FOUR",
    8: "ADAPTER_SIZE_EIGHT",
    16: "ADAPTER_SIZE_SIXTEEN",
    32: "ADAPTER_SIZE_THIRTY_TWO",
}
MAX_GEMINI_RANK = 16
MAX_VALIDATION_ROWS = 5_000
LABEL = "tunegate_key"  # no dash: filters of lists take names, and a dash begins a negation there
LABEL_LENGTH = 63


def translate(
    spec: JobSpec,
    target: CandidateKey,
    model: ModelFacts,
    profile: DataProfile,
    counter: TokenCounter,
) -> Translation:
    """The uploads and the one create call, with an outcome for every field of the spec."""
    options = VertexOptions.model_validate(spec.options.get("vertex", {}))
    ledger = Ledger(spec)
    files = files_to_send(profile, format_of(model))
    is_open = model.family == "open"
    tuning = _open_tuning(spec, model, ledger) if is_open else _gemini_tuning(spec, ledger)
    tuning["trainingDatasetUri"] = staged_at("train.jsonl")
    if any(file.split == "validation" for file in files):
        tuning["validationDatasetUri"] = staged_at("validation.jsonl")
    body: dict[str, Any] = {
        "parent": f"projects/{options.project or '{options.vertex.project}'}/locations/{target.region}",
        "tuningJob": _job(spec, target, model, options, tuning),
    }
    _account(spec, model, profile, longest_row(profile, counter), ledger)
    _options(options, target, model, ledger)
    ledger.ours()
    create = ProviderRequest(f"{version_of(model)}.projects.locations.tuningJobs.create", body)
    uploads = (upload(file, options, target.region) for file in files)
    return Translation((*uploads, create), files, ledger.close())


def version_of(model: ModelFacts) -> str:
    """The version of the API that knows this model's settings."""
    return "v1beta1" if model.family == "open" else "v1"


def _job(
    spec: JobSpec, target: CandidateKey, model: ModelFacts, options: VertexOptions, tuning: Mapping[str, Any]
) -> dict[str, Any]:
    """The tuning job. There is no request id: our key is a label, by which the job is found again. The
    weights of an open model get a folder of their own, so that no two jobs write to one place."""
    job: dict[str, Any] = {
        "baseModel": model.id,
        "supervisedTuningSpec": dict(tuning),
        "tunedModelDisplayName": spec.name,
        "labels": {LABEL: f"{{key:{LABEL_LENGTH}}}"},
    }
    if model.family == "open":
        output = options.output_uri or f"{_bucket(options, target.region)}/tunegate-models"
        job["outputUri"] = f"{output.rstrip('/')}/{{key#16}}"
    if options.kms_key:
        job["encryptionSpec"] = {"kmsKeyName": options.kms_key}
    if options.service_account:
        job["serviceAccount"] = options.service_account
    return job


def _bucket(options: VertexOptions, region: str) -> str:
    """The bucket used where the options name none: the project's, one for each region, because a bucket
    lies in one place and a job's data must not leave its own."""
    project = options.project and re.sub(r"[^a-z0-9-]", "-", options.project)
    return f"gs://{project or '{options.vertex.project}'}-tunegate-{region}"


def upload(file: ProviderFile, options: VertexOptions, region: str) -> ProviderRequest:
    """Where the file will lie: named by its content, so that the same bytes are sent once."""
    bucket, _, prefix = _staging(options, region).partition("/")
    content = file.sha256 or f"{{sha256:{file.name}}}"
    name = "/".join(part for part in (prefix.strip("/"), content, file.name) if part)
    return ProviderRequest("storage.objects.insert", {"bucket": bucket, "name": name})


def bucket_of(options: VertexOptions, region: str) -> str:
    """The bucket training files are staged in."""
    return _staging(options, region).partition("/")[0]


def bucket_in(uri: str) -> str:
    """The bucket of a `gs://` URI."""
    return uri.removeprefix("gs://").partition("/")[0]


def _staging(options: VertexOptions, region: str) -> str:
    """Bucket and folder of training files."""
    output = options.output_uri and f"{options.output_uri.rstrip('/')}/tunegate-data"
    place = options.data_uri or output or f"{_bucket(options, region)}/tunegate-data"
    return place.removeprefix("gs://")


# -- hyperparameters ------------------------------------------------------------------------------


def _gemini_tuning(spec: JobSpec, ledger: Ledger) -> dict[str, Any]:
    hyper, values = spec.hyperparameters, _epoch_count(spec, ledger)
    if hyper.learning_rate_multiplier != "auto":
        values["learningRateMultiplier"] = hyper.learning_rate_multiplier
    ledger.kept("hyperparameters.learning_rate_multiplier")
    why = "takes a multiplier of its own rate, which is another unit; `bedrock` and `local` take a rate"
    ledger.not_taken("hyperparameters.learning_rate", why)
    why = "Gemini tuning has no batch size; `openai`, `azure` and `local` take one"
    ledger.not_taken("hyperparameters.batch_size", why)
    if spec.method in ("full", "qlora"):
        ledger.refused("method", "Gemini is tuned with an adapter; `local` lets you choose")
    elif spec.method == "auto":
        ledger.changed("method", "lora", "Gemini is tuned with an adapter")
    ledger.kept("method", "Gemini is tuned with an adapter; nothing is sent")
    values |= _adapter_size(spec, MAX_GEMINI_RANK, ledger)
    return {"hyperParameters": values}


def _open_tuning(spec: JobSpec, model: ModelFacts, ledger: Ledger) -> dict[str, Any]:
    hyper, values = spec.hyperparameters, _epoch_count(spec, ledger)
    if hyper.learning_rate != "auto":
        values["learningRate"] = hyper.learning_rate
    if hyper.batch_size != "auto":
        values["batchSize"] = str(hyper.batch_size)
    ledger.kept("hyperparameters.learning_rate")
    ledger.kept("hyperparameters.batch_size")
    why = "open models take a learning rate, which is another unit; `openai` and `azure` take a multiplier"
    ledger.not_taken("hyperparameters.learning_rate_multiplier", why)
    if _mode(spec, model, ledger) == "full":
        ledger.not_taken("hyperparameters.lora", "full tuning has no adapter")
        return {"hyperParameters": values, "tuningMode": "TUNING_MODE_FULL"}
    values |= _adapter_size(spec, max(ADAPTER_SIZES), ledger)
    return {"hyperParameters": values, "tuningMode": "TUNING_MODE_PEFT_ADAPTER"}


def _mode(spec: JobSpec, model: ModelFacts, ledger: Ledger) -> str:
    """`lora` or `full`, whichever was asked for and the model has."""
    first = model.methods[0]
    if spec.method == "auto":
        ledger.changed("method", first, "the first of what this model is tuned with there")
        return first
    if spec.method in model.methods:
        ledger.kept("method", "sent as the tuning mode")
        return spec.method
    ledger.refused("method", f"this model is tuned there with {' or '.join(model.methods)}")
    return first


def _epoch_count(spec: JobSpec, ledger: Ledger) -> dict[str, Any]:
    """Epochs; a JSON string, as all 64-bit integers are there."""
    asked = spec.hyperparameters.epochs
    if asked == "auto":
        why = "a usual number, sent so that the bill is known; the service's own choice is not published"
        ledger.changed("hyperparameters.epochs", AUTO_EPOCHS, why)
        return {"epochCount": str(AUTO_EPOCHS)}
    ledger.kept("hyperparameters.epochs")
    return {"epochCount": str(asked)}


def _adapter_size(spec: JobSpec, largest: int, ledger: Ledger) -> dict[str, Any]:
    rank = spec.hyperparameters.lora.rank
    sizes = [size for size in ADAPTER_SIZES if size <= largest]
    taken = rank in sizes
    if taken:
        ledger.kept("hyperparameters.lora.rank", ADAPTER_SIZES[rank])
    else:
        ledger.refused(
            "hyperparameters.lora.rank", f"one of {', '.join(map(str, sizes))} there; `local` takes any"
        )
    ledger.not_taken("hyperparameters.lora", "no such setting there; `local` takes it")
    return {"adapterSize": ADAPTER_SIZES[rank]} if taken else {}


# -- the other fields -----------------------------------------------------------------------------


def _account(
    spec: JobSpec,
    model: ModelFacts,
    profile: DataProfile,
    longest: int | None,
    ledger: Ledger,
) -> None:
    """Outcomes of the fields that the request did not already settle."""
    if spec.model == (model.id,):
        ledger.kept("model")
    else:
        ledger.changed("model", model.id, "the service's own id of this model")
    if spec.task == "sft":
        ledger.kept("task")
    else:
        ledger.refused(
            "task", "no model there is confirmed for preference tuning; `openai` and `azure` have it"
        )
    ledger.not_taken("hyperparameters.seed", "no seed there; `openai`, `azure` and `local` take one")
    ledger.changed("hyperparameters.dpo.beta", None, "no preference tuning there")
    ledger.row_length(longest, model.max_tokens_per_row, cuts=False)
    _validation(profile, model, ledger)
    ledger.kept("name", "shown as the tuned model's name")


def _options(options: VertexOptions, target: CandidateKey, model: ModelFacts, ledger: Ledger) -> None:
    """Options this candidate cannot honour; the others are kept."""
    if options.location not in (None, target.region):
        ledger.refused("options.vertex.location", f"this candidate is in {target.region}")
    if options.kms_key and target.region == "global":
        ledger.refused("options.vertex.kms_key", "a key needs a region; `global` has none")
    elif options.kms_key and model.family == "gemini-3":
        ledger.refused("options.vertex.kms_key", "tuned Gemini 3 takes no key of yours; open models do")
    elif options.kms_key and f"/locations/{target.region}/" not in options.kms_key:
        ledger.refused("options.vertex.kms_key", f"the key must be in {target.region}")
    ledger.kept("options.vertex")


def _validation(profile: DataProfile, model: ModelFacts, ledger: Ledger) -> None:
    """The service's limits on validation data, which it checks against training data."""
    rows, train = profile.split_rows.get("validation", 0), profile.split_rows.get("train", 0)
    if rows > MAX_VALIDATION_ROWS:
        ledger.refused("data.validation", f"{rows} rows; at most {MAX_VALIDATION_ROWS} there")
    elif model.family == "open" and 4 * _bytes(profile, model, "validation") > _bytes(
        profile, model, "train"
    ):
        ledger.refused("data.validation", "at most a quarter of the training data's bytes there")
    elif model.family != "open" and rows > 1_000 and 10 * rows > 3 * train:
        ledger.refused(
            "data.validation", f"{rows} rows; above 1,000, at most 30 % of the training rows there"
        )
    elif rows:
        ledger.kept("data.validation", "these rows are sent as the validation file")


def _bytes(profile: DataProfile, model: ModelFacts, split: str) -> int:
    """Size of a converted split; 0 before conversion, when nothing can be said yet."""
    stats = profile.converted.get(format_of(model), ())
    return sum(file.bytes for file in stats if file.split == split)
