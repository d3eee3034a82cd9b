"""Spec → the exact Bedrock customization request. Pure; shapes follow AWS's own service model.

Families differ in what they take: Nova has no batch size, Llama 3.1 and 3.2 only a batch of one, and
for Nova 2 Lite and Llama 3.3 no hyperparameter is published, so none is sent.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from backends.bedrock.rows import format_of
from backends.ledger import KEY, Ledger, files_to_send, fill, longest_row, staged_at
from gateway.core.facts import ModelFacts
from gateway.core.plan import CandidateKey, ProviderFile, ProviderRequest, Translation
from gateway.core.rows import DataProfile, TokenCounter
from gateway.core.spec import JobSpec

# A bucket lies in one region, and a job reads only from its own: `{region}` names one for each.
_REGION = "{region}"
_S3_URI = r"^s3://([a-z0-9.-]|\{region\}){3,63}(/.*)?$"


class BedrockOptions(BaseModel):
    """`options.bedrock`."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    role_arn: str | None = Field(
        None,
        pattern=r"^arn:aws(-[^:]+)?:iam::\d{12}:role/.+$",
        description="role Bedrock reads and writes the buckets with",
    )
    output_uri: str | None = Field(
        None, pattern=_S3_URI, description="where the job leaves its metrics; {region} is the job's region"
    )
    data_uri: str | None = Field(
        None, pattern=_S3_URI, description="where rows are staged; else beside output_uri"
    )
    kms_key: str | None = Field(
        None,
        min_length=1,
        max_length=2048,
        description="key the staged rows and the tuned model are encrypted with",
    )
    subnet_ids: list[str] = Field(default_factory=list[str], max_length=16)
    security_group_ids: list[str] = Field(default_factory=list[str], max_length=5)

    @model_validator(mode="after")
    def _network_is_whole(self) -> Self:
        if bool(self.subnet_ids) != bool(self.security_group_ids):
            raise ValueError("a private network needs both subnet_ids and security_group_ids")
        return self


@dataclass(frozen=True, slots=True)
class Ranges:
    """What a family's `hyperParameters` accept; rates are the optimizer's own."""

    epochs: tuple[int, int]
    default_epochs: int
    rate: tuple[float, float]
    takes_batch_of_one: bool


_NOVA = Ranges(epochs=(1, 5), default_epochs=2, rate=(1e-6, 1e-4), takes_batch_of_one=False)
_LLAMA = Ranges(epochs=(1, 10), default_epochs=5, rate=(5e-6, 0.1), takes_batch_of_one=True)
# A family that is absent has no published hyperparameters.
RANGES: Mapping[str, Ranges] = {"nova": _NOVA, "llama-3.1": _LLAMA, "llama-3.2": _LLAMA}
_JOB_NAME = "{key:63}"
NOT_PUBLISHED = "the service publishes no such setting for this model, so none is sent"


def translate(
    spec: JobSpec,
    target: CandidateKey,
    model: ModelFacts,
    profile: DataProfile,
    counter: TokenCounter,
) -> Translation:
    """The uploads and the one create call, with an outcome for every field of the spec."""
    options = BedrockOptions.model_validate(spec.options.get("bedrock", {}))
    ledger = Ledger(spec)
    files = files_to_send(profile, format_of(model))
    if (
        model.family == "nova-2"
    ):  # it takes a validation set and does not use it: do not send rows for nothing
        files = tuple(file for file in files if file.split == "train")
    body = _job(spec, model, options, target.region)
    if hyper := _hyperparameters(spec, model, ledger):
        body["hyperParameters"] = hyper
    if any(file.split == "validation" for file in files):
        body["validationDataConfig"] = {"validators": [{"s3Uri": staged_at("validation.jsonl")}]}
    _account(spec, model, profile, longest_row(profile, counter), ledger)
    requests = (
        *(upload(file, options, target.region) for file in files),
        ProviderRequest("CreateModelCustomizationJob", body),
    )
    return Translation(requests, files, ledger.close())


def _job(spec: JobSpec, model: ModelFacts, options: BedrockOptions, region: str) -> dict[str, Any]:
    """The request without its hyperparameters. The name is made from the key, so that the job is
    found by name after a crash; the token makes a repeated request harmless."""
    body: dict[str, Any] = {
        "jobName": _JOB_NAME,
        "customModelName": f"{model_name(spec.name)}-{{key#12}}",
        "roleArn": options.role_arn or "{options.bedrock.role_arn}",
        "clientRequestToken": KEY,
        "baseModelIdentifier": model.id,
        "customizationType": "FINE_TUNING",
        "trainingDataConfig": {"s3Uri": staged_at("train.jsonl")},
        "outputDataConfig": {"s3Uri": at(options.output_uri, region) or "{options.bedrock.output_uri}"},
    }
    if options.kms_key:
        body["customModelKmsKeyId"] = options.kms_key
    if options.subnet_ids or options.security_group_ids:
        body["vpcConfig"] = {
            "subnetIds": options.subnet_ids,
            "securityGroupIds": options.security_group_ids,
        }
    return body


def model_name(name: str) -> str:
    """A spec's name as Bedrock takes it: letters and digits, single `-` between, at most 50 of the 63
    (the rest is the key's)."""
    return re.sub(r"[^a-z0-9]+", "-", name)[:50].strip("-")


def job_name(key: str) -> str:
    """The name of the job submitted under that key."""
    return str(fill(_JOB_NAME, {}, key))


def account_of(role_arn: str | None) -> str:
    """Twelve digits: the account a role belongs to; empty where none is named."""
    return (role_arn or "").partition(":iam::")[2].partition(":")[0]


def at(uri: str | None, region: str) -> str | None:
    """A place of the options as it is in that region."""
    return uri and uri.replace(_REGION, region)


def upload(file: ProviderFile, options: BedrockOptions, region: str) -> ProviderRequest:
    """Where the file will lie: named by its content, so that the same bytes are sent once."""
    output = at(options.output_uri, region)
    place = at(options.data_uri, region) or (output and f"{output.rstrip('/')}/tunegate-data")
    bucket, _, prefix = (place or "{options.bedrock.output_uri}").removeprefix("s3://").partition("/")
    content = file.sha256 or f"{{sha256:{file.name}}}"
    key = "/".join(part for part in (prefix.strip("/"), content, file.name) if part)
    body = {"Bucket": bucket, "Key": key}
    if account := account_of(options.role_arn):  # agreements cover an account: rows go to no other's bucket
        body["ExpectedBucketOwner"] = account
    if options.kms_key:  # else the bucket's own default encryption
        body |= {"ServerSideEncryption": "aws:kms", "SSEKMSKeyId": options.kms_key}
    return ProviderRequest("PutObject", body)


def _hyperparameters(spec: JobSpec, model: ModelFacts, ledger: Ledger) -> dict[str, str]:
    """`hyperParameters`, a map of strings to strings; empty where the family publishes none."""
    ranges = RANGES.get(model.family)
    if ranges is None:
        for name in ("epochs", "batch_size", "learning_rate"):
            ledger.not_taken(f"hyperparameters.{name}", NOT_PUBLISHED)
        return {}
    values = {"epochCount": _epochs(spec, ranges, ledger)}
    if ranges.takes_batch_of_one:
        values["batchSize"] = "1"
    if rate := _rate(spec, ranges, ledger):
        values["learningRate"] = rate
    _batch_size(spec, ranges, ledger)
    return values


def _epochs(spec: JobSpec, ranges: Ranges, ledger: Ledger) -> str:
    path, asked, (low, high) = "hyperparameters.epochs", spec.hyperparameters.epochs, ranges.epochs
    if asked == "auto":
        why = "the service's default, sent as a number so that the bill is known"
        ledger.changed(path, ranges.default_epochs, why)
        return str(ranges.default_epochs)
    if low <= asked <= high:
        ledger.kept(path)
        return str(asked)
    ledger.refused(path, f"{low} to {high} there; `local` takes more")
    return str(ranges.default_epochs)


def _rate(spec: JobSpec, ranges: Ranges, ledger: Ledger) -> str | None:
    path, asked, (low, high) = (
        "hyperparameters.learning_rate",
        spec.hyperparameters.learning_rate,
        ranges.rate,
    )
    if asked == "auto":
        ledger.kept(path, "the service's default for this model")
        return None
    if low <= asked <= high:
        ledger.kept(path)
        return plain(asked)
    ledger.refused(path, f"{plain(low)} to {plain(high)} there; `local` takes any")
    return None


def plain(number: float) -> str:
    """A number as a decimal without an exponent: 0.00001."""
    return f"{Decimal(str(number)):f}"


def _batch_size(spec: JobSpec, ranges: Ranges, ledger: Ledger) -> None:
    path, asked = "hyperparameters.batch_size", spec.hyperparameters.batch_size
    if not ranges.takes_batch_of_one:
        ledger.not_taken(path, "Nova has no batch size; `openai`, `azure` and `local` take one")
    elif asked == "auto":
        ledger.changed(path, 1, "the only value the service takes for this model")
    elif asked == 1:
        ledger.kept(path)
    else:
        ledger.refused(path, "only 1 there; `openai`, `azure` and `local` take more")


def _account(
    spec: JobSpec, model: ModelFacts, profile: DataProfile, longest: int | None, ledger: Ledger
) -> None:
    """Outcomes of the fields that the requests above did not already settle."""
    ledger.changed("model", model.id, "the service's own id of this model")
    if spec.task == "sft":
        ledger.kept("task")
    else:
        ledger.refused("task", "no preference tuning there; `openai` and `azure` have it")
    _adaptation(spec, ledger)
    why = "takes a learning rate, which is another unit; `openai`, `azure` and `vertex` take a multiplier"
    ledger.not_taken("hyperparameters.learning_rate_multiplier", why)
    ledger.not_taken("hyperparameters.seed", "no seed there; `openai`, `azure` and `local` take one")
    ledger.changed("hyperparameters.dpo.beta", None, "no preference tuning there")
    ledger.row_length(longest, model.max_tokens_per_row, cuts=False)
    _data(spec, model, profile, ledger)
    _name(spec, ledger)
    ledger.kept("options.bedrock")
    ledger.ours()


def _name(spec: JobSpec, ledger: Ledger) -> None:
    if (name := model_name(spec.name)) == spec.name:
        ledger.kept("name", "begins the tuned model's name")
    else:
        ledger.changed("name", name, "begins the tuned model's name: 50 characters, single dashes, no dots")


def _adaptation(spec: JobSpec, ledger: Ledger) -> None:
    if spec.method == "lora":
        ledger.kept("method", "tuning there is parameter-efficient; nothing is sent")
    elif spec.method == "auto":
        ledger.changed("method", "lora", "tuning there is parameter-efficient")
    else:
        ledger.refused("method", "tuning there is parameter-efficient only; `local` and `vertex` differ")
    ledger.not_taken("hyperparameters.lora", "the service decides the adapter's shape; `local` takes it")


def _data(spec: JobSpec, model: ModelFacts, profile: DataProfile, ledger: Ledger) -> None:
    if spec.data.system and model.family == "llama-3.1":
        ledger.changed(
            "data.system", "(start of the prompt)", "lines there have a prompt and no system field"
        )
    if model.family == "nova-2" and profile.split_rows.get("validation"):
        ledger.changed("data.validation", None, "the service does not use it, so these rows stay here")
    elif profile.split_rows.get("validation"):
        ledger.kept("data.validation", "these rows are sent as the validation file")
