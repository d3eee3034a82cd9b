"""Pure: a spec becomes the complete configuration of one training run, every `auto` decided.

The configuration says nothing about this machine's folders, so it can be shown, hashed and compared;
`run.json` adds the paths when a run is submitted.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from backends.ledger import Ledger
from backends.local import options
from gateway.core.facts import ModelFacts
from gateway.core.plan import CandidateKey, Fit, ProviderFile, ProviderRequest, Translation
from gateway.core.rows import Converted, DataProfile, Row
from gateway.core.spec import JobSpec

FORMAT = "canonical"
_Choices = Mapping[str, tuple[object, str]]  # a setting → what the fit chose, and why

SCHEMA = "tunegate.local.run/1"
DEFAULT_POSITIONS = 2048
DEFAULT_EPOCHS = 3
MOST_EPOCHS = 8
ENOUGH_STEPS = 300  # of the optimizer; a run of fewer has hardly left its warm-up and its base

_OURS = "read by Tunegate itself; training does not depend on it"
# Learning rates for LoRA by the base's parameters: small bases take, and need, larger steps.
# Below 10 M measured, on the demonstration base with LoRA of rank 16 and 380 rows: exact match 0.98
# at 2e-3 and 0.32 at 5e-4. QLoRA takes the same: what it trains is the same adapter.
_RATES = ((10_000_000, 2e-3), (200_000_000, 5e-4), (4_000_000_000, 3e-4), (15_000_000_000, 2e-4))
_RATE_ABOVE = 1e-4
# All the weights take a tenth of an adapter's rate: the ratio found over many bases and datasets by
# Schulman et al. 2025, "LoRA Without Regret", https://thinkingmachines.ai/blog/lora/
_FULL_SHARE = 0.1
# Preferences are learnt in smaller steps: the loss only ranks two answers, and large steps make both
# unlikely. A tenth is 1e-5 to 5e-5 for adapters from 70 B down to 200 M; recipes for 7 B lie at 5e-6 and
# above (https://github.com/huggingface/alignment-handbook, zephyr-7b-beta's for QLoRA).
_DPO_SHARE = 0.1
_EPOCHS = {
    "sft": (DEFAULT_EPOCHS, "three passes: enough for most tasks, few enough not to memorise"),
    "dpo": (1, "one pass: pairs seen again are soon told apart by heart"),
}
# Rows per step by rows in the training split: a few hundred steps an epoch at most, ten at least.
_BATCHES = ((2_000, 8), (20_000, 16))
_BATCH_ABOVE = 32


@dataclass(frozen=True, slots=True)
class Rate:
    """A learning rate, and why."""

    value: float
    why: str

    @classmethod
    def of(cls, task: str, method: str, parameters: int | None) -> Rate:
        """Ours for a task and method on a base of so many parameters; None when not known."""
        value = next((rate for limit, rate in _RATES if (parameters or 8e9) < limit), _RATE_ABOVE)
        size = f"{parameters / 1e6:,.0f} million parameters" if parameters else "a base of unknown size"
        name = {"lora": "LoRA", "qlora": "QLoRA", "full": "all weights"}[method]
        why = f"our rate for {name} on {size}"
        if method == "full":
            value, why = value * _FULL_SHARE, f"{why}: a tenth of LoRA's"
        if task == "dpo":
            value, why = value * _DPO_SHARE, f"{why}; a tenth of that for preferences"
        return cls(float(f"{value:.3g}"), why)


def convert(row: Row) -> Converted:
    """Canonical JSON: the local runner reads what the data room writes."""
    return Converted(row.to_json())


def translate(
    spec: JobSpec,
    target: CandidateKey,
    model: ModelFacts,
    profile: DataProfile,
    fit: Fit | None,
    *,
    max_positions: int | None,
    parameters: int | None,
) -> Translation:
    """One request, `train`, whose body is the whole run, and what became of every field.

    Args:
        max_positions: longest sequence of the base; None when not known.
        parameters: of the base; None when not known.
    """
    ledger = Ledger(spec)
    choices: _Choices = fit.choices if fit else {}
    training: dict[str, Any] = {
        "task": spec.task,
        "method": (method := _method(spec, choices, ledger)),
        **_numbers(spec, profile, ledger, max_positions, Rate.of(spec.task, method, parameters)),
    }
    if spec.task == "dpo":
        training["beta"] = spec.hyperparameters.dpo.beta
    body = {
        "schema": SCHEMA,
        "model": {"name": model.name, "id": model.id},
        **training,
        "too_long": spec.data.too_long,
        "seed": spec.hyperparameters.seed,
        "lora": spec.hyperparameters.lora.model_dump(mode="json"),
        "precision": _choice(choices, "precision", "auto"),
        "micro_batch_tokens": _micro_batch_tokens(choices, training["max_length"]),
        "checkpointing": bool(_choice(choices, "checkpointing", False)),
        "threads": _choice(choices, "threads", None),
        **_machine(spec, target, choices, ledger),
    }
    _rest(spec, target, model, ledger)
    return Translation((ProviderRequest("train", body),), _files(profile), ledger.close())


def _method(spec: JobSpec, choices: _Choices, ledger: Ledger) -> str:
    """The spec's, or what fits; and what that makes of the fields for other methods and tasks."""
    method = spec.method
    if method == "auto":
        found, why = choices.get("method", ("lora", "LoRA: the least memory, and an adapter anyone can load"))
        method = str(found)
        ledger.changed("method", method, why)
    else:
        ledger.kept("method")
    ledger.kept("task")
    if spec.task == "sft":
        ledger.kept("hyperparameters.dpo", "read for task: dpo alone")
    if method == "full":
        ledger.not_taken("hyperparameters.lora", "full tuning has no adapter")
    if method == "qlora" and spec.options.get("local", {}).get("sharded"):
        ledger.refused(
            "options.local.sharded", "weights in 4 bits are not shared out; each process holds all"
        )
    return method


def _numbers(
    spec: JobSpec,
    profile: DataProfile,
    ledger: Ledger,
    max_positions: int | None,
    rate: Rate,
) -> dict[str, Any]:
    """Epochs, batch, rate and length, every `auto` decided."""
    asked = spec.hyperparameters
    rows = profile.split_rows.get("train", 0)
    longest = min(max_positions or DEFAULT_POSITIONS, DEFAULT_POSITIONS)
    batch = next((size for limit, size in _BATCHES if rows < limit), _BATCH_ABOVE)
    multiplier = asked.learning_rate_multiplier
    if multiplier != "auto" and asked.learning_rate == "auto":
        rate = Rate(rate.value * multiplier, f"{rate.why}, times the multiplier {multiplier:g}")
    autos: dict[str, tuple[object, str]] = {
        "epochs": _auto_epochs(spec.task, rows, batch if asked.batch_size == "auto" else asked.batch_size),
        "batch_size": (batch, f"{rows:,} rows to train on"),
        "learning_rate": (rate.value, rate.why),
        "max_length": (longest, f"the base has {max_positions or 'unknown'} positions; never above "
                                f"{DEFAULT_POSITIONS:,} unless asked"),
    }  # fmt: skip
    chosen: dict[str, Any] = {}
    for name, default in autos.items():
        value = getattr(asked, name)
        path = f"hyperparameters.{name}"
        if value == "auto":
            chosen[name], why = default
            ledger.changed(path, chosen[name], why)
        else:
            chosen[name] = value
    _multiplier(spec, ledger)
    if max_positions and chosen["max_length"] > max_positions:
        ledger.refused("hyperparameters.max_length", f"the base has {max_positions:,} positions")
    ledger.kept("hyperparameters")
    return chosen


def _multiplier(spec: JobSpec, ledger: Ledger) -> None:
    path, asked = "hyperparameters.learning_rate_multiplier", spec.hyperparameters
    if asked.learning_rate_multiplier == "auto":
        ledger.kept(path, "the rate itself is set here")
    elif asked.learning_rate == "auto":
        ledger.kept(path, "multiplies the default rate; see learning_rate")
    else:
        ledger.refused(path, "learning_rate is given too; which of them is meant?")


def _auto_epochs(task: str, rows: int, batch: int) -> tuple[int, str]:
    """Few passes; more over few rows, until there are steps enough to learn in.

    Returns:
        The epochs, and why.
    """
    steps, (few, why) = math.ceil(rows / batch), _EPOCHS[task]
    if not steps or few * steps >= ENOUGH_STEPS:
        return few, why
    epochs = min(MOST_EPOCHS, math.ceil(ENOUGH_STEPS / steps))
    return epochs, (
        f"{rows:,} rows are {steps:,} steps a pass; so many passes make {epochs * steps:,} steps "
        f"(we aim for {ENOUGH_STEPS}, in {MOST_EPOCHS} passes at most)"
    )


def _choice(choices: _Choices, name: str, default: Any) -> Any:
    return choices[name][0] if name in choices else default


def _micro_batch_tokens(choices: _Choices, max_length: int) -> int:
    """Tokens in one forward pass: what fits, and never less than one row of full length."""
    rows = _choice(choices, "micro_batch", None)
    asked = rows * max_length if isinstance(rows, int) else 2048
    return max(asked, max_length)


def _machine(spec: JobSpec, target: CandidateKey, choices: _Choices, ledger: Ledger) -> dict[str, Any]:
    """How the machine sees the run through: what was asked for, else what fits."""
    asked = options.read(spec, target.backend, ledger)
    return {
        **asked.model_dump(),
        "processes": asked.processes or _choice(choices, "processes", 1),
        "sharded": bool(_choice(choices, "sharded", False) if asked.sharded is None else asked.sharded),
    }


def _rest(spec: JobSpec, target: CandidateKey, model: ModelFacts, ledger: Ledger) -> None:
    """The fields that decide where and whether, not how."""
    if len(spec.model) == 1:
        ledger.kept("model", f"{model.id}, from this machine")
    else:
        ledger.changed("model", target.model, "this candidate of those named")
    ledger.kept("data.train", "as canonical JSON Lines, on this machine")
    ledger.kept("data.too_long", "the longest untrained stretch loses its middle, or the row is refused")
    for path in ("version", "name", "team", "data", "evaluate", "route", "serving"):
        ledger.kept(path, _OURS)
    ledger.kept("options", "for other backends")


def _files(profile: DataProfile) -> tuple[ProviderFile, ...]:
    """The splits that training reads; the held-out rows are not among them."""
    return tuple(
        ProviderFile(
            name=f"{stats.split}.jsonl",
            split=stats.split,
            format=FORMAT,
            rows_in=stats.rows_in,
            rows_out=stats.rows_out,
            refused=stats.refused,
            sha256=stats.sha256,
        )
        for stats in profile.converted.get(FORMAT, ())
        if stats.split in ("train", "validation") and stats.rows_out
    )
