"""Spec → the exact requests of OpenAI's fine-tuning protocol; rows → its training lines. Pure.

Three facts files speak it: OpenAI itself, Azure OpenAI (a training tier instead of metadata, stricter
suffixes) and compatible endpoints. Shapes follow OpenAI's OpenAPI description.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from backends.ledger import KEY, Ledger, files_to_send, longest_row, staged_at
from gateway.core.facts import ModelFacts
from gateway.core.plan import CandidateKey, ProviderFile, ProviderRequest, Translation
from gateway.core.rows import Converted, DataProfile, Refusal, Row, TokenCounter
from gateway.core.spec import JobSpec

CHAT = "openai-chat"
PREFERENCE = "openai-preference"
METADATA_KEY = "tunegate_key"

MAX_BATCH = 256

# Azure's `trainingType`. The value that asks for a data zone is not published, so it is not guessed.
TRAINING_TYPES: Mapping[str, str] = {
    "standard": "Standard",
    "global": "GlobalStandard",
    "developer": "Developer",
}


class OpenAIOptions(BaseModel):
    """`options.openai`, `options.azure` and `options.compatible`."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    suffix: str | None = Field(None, min_length=1, max_length=64, description="ends the tuned model's name")
    endpoint: str | None = Field(
        None, pattern=r"^https?://\S+$", description="address of the Azure resource or compatible server"
    )
    files_expire_after_days: int | None = Field(
        None, ge=1, le=30, description="uploaded files delete themselves after so many days"
    )


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
    options = OpenAIOptions.model_validate(spec.options.get(target.backend, {}))
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
    _account(job, longest_row(profile, counter))
    requests = (*(_upload(file, options) for file in files), ProviderRequest("createFineTuningJob", body))
    return Translation(requests, files, job.ledger.close())


def _upload(file: ProviderFile, options: OpenAIOptions) -> ProviderRequest:
    body: dict[str, Any] = {"purpose": "fine-tune", "file": file.name}
    if options.files_expire_after_days:
        seconds = options.files_expire_after_days * 86_400
        body["expires_after"] = {"anchor": "created_at", "seconds": seconds}
    return ProviderRequest("createFile", body)


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
    """The suffix of the tuned model's name: the option, else the spec's name."""
    asked, ledger = job.options.suffix, job.ledger
    path = f"options.{job.target.backend}.suffix"
    if not job.azure:
        ledger.kept("name", "used by Tunegate itself" if asked else "ends the tuned model's name")
        return asked or job.spec.name
    if asked and not re.fullmatch(r"[A-Za-z0-9_-]{1,40}", asked):
        ledger.refused(path, "at most 40 letters, digits, - and _ there; no dot")
    suffix = re.sub(r"[^A-Za-z0-9_-]", "-", asked or job.spec.name)[:40]
    if not asked and suffix != job.spec.name:
        ledger.changed("name", suffix, "ends the tuned model's name: 40 characters there, without dots")
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
