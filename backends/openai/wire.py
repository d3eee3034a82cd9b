"""Spec → the exact requests of OpenAI's fine-tuning protocol; rows → its training lines. Pure.

Three facts files speak it: OpenAI itself, Azure OpenAI (a training tier, stricter suffixes, and our key in
the suffix where OpenAI has metadata) and compatible endpoints. Shapes follow OpenAI's OpenAPI description.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from backends.ledger import KEY, Ledger, files_to_send, hashed_key, longest_row, staged_at
from gateway.core.facts import ModelFacts
from gateway.core.job import ChatMessage
from gateway.core.plan import CandidateKey, ProviderFile, ProviderRequest, Translation
from gateway.core.rows import Converted, DataProfile, Refusal, Row, TokenCounter
from gateway.core.spec import JobSpec

CHAT = "openai-chat"
PREFERENCE = "openai-preference"
METADATA_KEY = "tunegate_key"

MAX_BATCH = 256
MAX_FILE_BYTES = 512 * 2**20
_HASH_IN_NAME = 32  # hexadecimal digits of the content's hash that a file's name begins with

# Azure has no metadata; there a suffix ends with a hash of our key. 40 characters in all.
_KEY_DIGITS = 12
_MAX_AZURE_SUFFIX = 40 - _KEY_DIGITS - 1

# Azure's `trainingType`. The value that asks for a data zone is not published, so it is not guessed.
TRAINING_TYPES: Mapping[str, str] = {
    "standard": "Standard",
    "global": "GlobalStandard",
    "developer": "Developer",
}


# Encrypted, or this machine's own. A `compatible` server may stand in a private network without.
SAFE_URL = r"^(https://\S+|http://(127\.0\.0\.1|localhost|\[::1\])(:\d+)?(/\S*)?)$"


class OpenAIOptions(BaseModel):
    """`options.openai`; and what all three have."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    suffix: str | None = Field(None, min_length=1, max_length=64, description="ends the tuned model's name")
    endpoint: str | None = Field(None, pattern=SAFE_URL, description="address of the service")
    files_expire_after_days: int | None = Field(
        None, ge=1, le=30, description="uploaded files delete themselves after so many days"
    )


class AzureOptions(OpenAIOptions):
    """`options.azure`. Those after `base_deployment` are for deployments, which Azure's resource manager
    makes."""

    endpoint: str | None = Field(
        None, pattern=SAFE_URL, description="address of the resource, https://NAME.openai.azure.com"
    )
    base_deployment: str | None = Field(
        None, description="deployment that answers for the base model when base and tuned are compared"
    )
    subscription: str | None = Field(None, description="id of the subscription of the resource")
    resource_group: str | None = Field(None, description="resource group of the resource")
    account: str | None = Field(None, description="name of the resource")
    capacity: int = Field(50, ge=1, description="thousands of tokens a minute that a deployment may answer")
    management: str = Field(
        "https://management.azure.com", pattern=SAFE_URL, description="Azure's resource manager"
    )


class CompatibleOptions(OpenAIOptions):
    """`options.compatible`."""

    endpoint: str | None = Field(
        None, pattern=r"^https?://\S+$", description="address of the server, with its /v1"
    )
    models: list[str] = Field(
        default_factory=list[str], description="models the server tunes, by the names it calls them"
    )


OPTIONS: Mapping[str, type[OpenAIOptions]] = {
    "openai": OpenAIOptions,
    "azure": AzureOptions,
    "compatible": CompatibleOptions,
}


@dataclass(frozen=True, slots=True)
class _Job:
    """What every step of one translation looks at."""

    spec: JobSpec
    target: CandidateKey
    model: ModelFacts
    profile: DataProfile
    options: OpenAIOptions
    ledger: Ledger

    @property
    def azure(self) -> bool:
        return self.target.backend == "azure"


def translate(
    spec: JobSpec,
    target: CandidateKey,
    model: ModelFacts,
    profile: DataProfile,
    counter: TokenCounter,
) -> Translation:
    """The uploads and the one create call, with an outcome for every field of the spec."""
    options = OPTIONS[target.backend].model_validate(spec.options.get(target.backend, {}))
    job = _Job(spec, target, model, profile, options, Ledger(spec))
    files = files_to_send(profile, PREFERENCE if spec.task == "dpo" else CHAT)
    body: dict[str, Any] = {
        "model": model.id,
        "training_file": staged_at("train.jsonl"),
        "seed": spec.hyperparameters.seed,
        "suffix": _suffix(job),
        "method": _method(job),
    }
    if any(file.split == "validation" for file in files):
        body["validation_file"] = staged_at("validation.jsonl")
    if job.azure:
        _training_type(job, body)
    else:
        body["metadata"] = {METADATA_KEY: KEY}
    _sizes(job, files)
    _account(job, longest_row(profile, counter))
    uploads = (ProviderRequest("createFile", upload(file, options)) for file in files)
    requests = (*uploads, ProviderRequest("createFineTuningJob", body))
    return Translation(requests, files, job.ledger.close())


def upload(file: ProviderFile, options: OpenAIOptions) -> dict[str, Any]:
    """Body of the call that uploads a file. `file` stands for its bytes, and is the name they get: it
    begins with their hash, by which an upload whose reply was lost is found again."""
    name = f"{file.sha256[:_HASH_IN_NAME]}-{file.name}" if file.sha256 else file.name
    body: dict[str, Any] = {"purpose": "fine-tune", "file": name}
    if options.files_expire_after_days:
        seconds = options.files_expire_after_days * 86_400
        body["expires_after"] = {"anchor": "created_at", "seconds": seconds}
    return body


def azure_suffix_of(key: str) -> str:
    """What the suffix of a job submitted to Azure under this key ends with."""
    return f"-{hashed_key(key, _KEY_DIGITS)}"


def _sizes(job: _Job, files: tuple[ProviderFile, ...]) -> None:
    """Refuse a file that is larger than one upload may be. There is a way in parts; it is not built."""
    converted = job.profile.converted.get(files[0].format, ()) if files else ()
    sizes = {stats.split: stats.bytes for stats in converted}
    for file in files:
        if (size := sizes.get(file.split, 0)) > MAX_FILE_BYTES:
            why = f"{file.name} would have {size / 2**20:,.0f} MB, and one upload takes at most 512 MB"
            job.ledger.refused(f"data.{file.split}", why)


def _method(job: _Job) -> dict[str, Any]:
    """The `method` object: the task's type, its hyperparameters under the key of the same name."""
    hyper = job.spec.hyperparameters
    values: dict[str, Any] = {
        "n_epochs": _epochs(job),
        "batch_size": _batch_size(job),
        "learning_rate_multiplier": hyper.learning_rate_multiplier,
    }
    if job.model.family == "open":  # some open models refuse the word `auto`; absent means the same
        values = {name: value for name, value in values.items() if value != "auto"}
    if job.spec.task == "dpo":
        job.ledger.kept("hyperparameters.dpo.beta")
        return {"type": "dpo", "dpo": {"hyperparameters": {**values, "beta": hyper.dpo.beta}}}
    job.ledger.changed("hyperparameters.dpo.beta", None, "only dpo has a beta")
    return {"type": "supervised", "supervised": {"hyperparameters": values}}


def _epochs(job: _Job) -> int:
    """Epochs, decided here even for `auto`, so that what is billed is known beforehand."""
    asked = job.spec.hyperparameters.epochs
    if asked == "auto":
        epochs = auto_epochs(job.profile.split_rows.get("train", 0))
        why = "the service's own rule for this many rows, sent as a number so that the bill is known"
        job.ledger.changed("hyperparameters.epochs", epochs, why)
        return epochs
    job.ledger.kept("hyperparameters.epochs")
    return asked


def auto_epochs(rows: int) -> int:
    """What `auto` means to the service for a training file of so many rows: 3, more for tiny files and
    fewer for huge ones, by its published cookbook."""
    if rows and 3 * rows < 100:
        return min(25, 100 // rows)
    if 3 * rows > 25_000:
        return max(1, 25_000 // rows)
    return 3


def _batch_size(job: _Job) -> int | str:
    asked = job.spec.hyperparameters.batch_size
    if isinstance(asked, int) and asked > MAX_BATCH:
        why = f"at most {MAX_BATCH} rows per step there; `local` takes more"
        job.ledger.refused("hyperparameters.batch_size", why)
        return "auto"
    job.ledger.kept("hyperparameters.batch_size")
    return asked


def _suffix(job: _Job) -> str:
    """The suffix of the tuned model's name: the option, else the spec's name. On Azure it also carries
    our key, for there is no other place for it that a listing of jobs shows."""
    asked, ledger = job.options.suffix, job.ledger
    path = f"options.{job.target.backend}.suffix"
    if not job.azure:
        ledger.kept("name", "used by Tunegate itself" if asked else "ends the tuned model's name")
        return asked or job.spec.name
    if asked and not re.fullmatch(rf"[A-Za-z0-9_-]{{1,{_MAX_AZURE_SUFFIX}}}", asked):
        why = f"at most {_MAX_AZURE_SUFFIX} letters, digits, - and _ there; no dot; a key is added to them"
        ledger.refused(path, why)
    suffix = re.sub(r"[^A-Za-z0-9_-]", "-", asked or job.spec.name)[:_MAX_AZURE_SUFFIX]
    suffix = f"{suffix}-{{key#{_KEY_DIGITS}}}"
    if not asked:
        why = "ends the tuned model's name, without dots; the job's key is added, by which it is found again"
        ledger.changed("name", suffix, why)
    return suffix


def _training_type(job: _Job, body: dict[str, Any]) -> None:
    if kind := TRAINING_TYPES.get(job.target.offer):
        body["trainingType"] = kind
    else:
        why = f"the request that asks for `{job.target.offer}` training is not published; take another tier"
        job.ledger.refused("model", why)


def _account(job: _Job, longest: int | None) -> None:
    """Outcomes of the fields that the requests above did not already settle."""
    ledger, hyper = job.ledger, job.spec.hyperparameters
    if job.spec.model == (job.model.id,):
        ledger.kept("model")
    else:
        ledger.changed("model", job.model.id, "the service's own id of this model")
    ledger.kept("task")
    _adaptation(job)
    if hyper.learning_rate == "auto":
        ledger.kept("hyperparameters.learning_rate", "left to the service, which has no such setting")
    else:
        why = "takes a multiplier of its own rate, which is another unit; `bedrock` and `local` take a rate"
        ledger.refused("hyperparameters.learning_rate", why)
    ledger.kept("hyperparameters.learning_rate_multiplier")
    ledger.kept("hyperparameters.seed")
    # 65,536 tokens or the model's own limit: the tail of a longer row is cut.
    ledger.row_length(longest, job.model.max_tokens_per_row, cuts=job.model.max_tokens_per_row is not None)
    ledger.kept("data.validation", "these rows are sent as the validation file")
    if job.target.backend in job.spec.options:
        ledger.kept(f"options.{job.target.backend}")
    ledger.ours()


def _adaptation(job: _Job) -> None:
    """`method` and the adapter's shape, which the service decides."""
    ledger = job.ledger
    if job.spec.method in ("full", "qlora"):
        ledger.refused("method", "the service decides how weights are adapted; `local` lets you choose")
    elif job.azure and job.spec.method == "lora":
        ledger.kept("method", "training there is LoRA; nothing is sent")
    else:
        ledger.changed("method", None, "the service decides how weights are adapted")
    ledger.not_taken("hyperparameters.lora", "the service decides the adapter's shape; `local` takes it")


# -- rows -----------------------------------------------------------------------------------------

_REFUSALS: Mapping[str, tuple[str, str]] = {
    "not_a_chat": ("a preference pair in a dataset for sft", "use task: dpo, or remove the row"),
    "not_a_preference": ("no pair of answers in a dataset for dpo", "use task: sft, or remove the row"),
    "no_assistant": ("the row does not end with the assistant's turn", "end it with the answer to learn"),
    "one_turn_only": ("preference tuning compares one assistant turn", "keep one turn per answer"),
    "prompt_order": ("the prompt of a preference must not end with the assistant", "end it with the user"),
}


def _refuse(row: Row, code: str, path: str) -> Refusal:
    text, fix = _REFUSALS[code]
    return Refusal(row.line, code, path, text, fix, row.file)


def chat_line(row: Row) -> Converted | Refusal:
    """One line of supervised tuning: `messages`, and `tools` where there are any."""
    if row.is_preference:
        return _refuse(row, "not_a_chat", "chosen")
    if not row.messages or row.messages[-1].role != "assistant":
        return _refuse(row, "no_assistant", f"messages[{max(len(row.messages) - 1, 0)}]")
    line: dict[str, Any] = {"messages": [turn.to_json() for turn in row.messages]}
    if row.tools:
        line["tools"] = [dict(tool) for tool in row.tools]
    return Converted(line)


def preference_line(row: Row) -> Converted | Refusal:
    """One line of preference tuning: `input`, `preferred_output`, `non_preferred_output`."""
    if not row.is_preference:
        return _refuse(row, "not_a_preference", "chosen")
    if not row.messages or row.messages[-1].role == "assistant":
        return _refuse(row, "prompt_order", "messages")
    for path, answer in (("chosen", row.chosen), ("rejected", row.rejected)):
        if [turn.role for turn in answer] != ["assistant"]:
            return _refuse(row, "one_turn_only", path)
    prompt: dict[str, Any] = {"messages": [turn.to_json() for turn in row.messages]}
    if row.tools:
        prompt["tools"] = [dict(tool) for tool in row.tools]
    return Converted(
        {
            "input": prompt,
            "preferred_output": [turn.to_json() for turn in row.chosen],
            "non_preferred_output": [turn.to_json() for turn in row.rejected],
        }
    )


# -- inference ------------------------------------------------------------------------------------


def turns(chat: Sequence[ChatMessage]) -> Any:
    """Messages of a chat completion. What a tool said goes as the user's: a `tool` turn must answer a call
    by its id, and neither is part of a question."""
    return [{"role": "user" if t.role == "tool" else t.role, "content": t.content} for t in chat]
