"""Pure: a spec becomes the complete configuration of one training run, every `auto` decided.

The configuration says nothing about this machine's folders, so it can be shown, hashed and compared;
`run.json` adds the paths when a run is submitted.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
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
# at 2e-3 and 0.32 at 5e-4.
_RATES = ((10_000_000, 2e-3), (200_000_000, 5e-4), (4_000_000_000, 3e-4), (15_000_000_000, 2e-4))
_RATE_ABOVE = 1e-4
# Rows per step by rows in the training split: a few hundred steps an epoch at most, ten at least.
_BATCHES = ((2_000, 8), (20_000, 16))
_BATCH_ABOVE = 32


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
        "task": _task(spec, ledger),
        "method": _method(spec, ledger),
        **_numbers(spec, profile, ledger, max_positions, parameters),
    }
    body = {
        "schema": SCHEMA,
        "model": {"name": model.name, "id": model.id},
        **training,
        "too_long": spec.data.too_long,
        "seed": spec.hyperparameters.seed,
        "lora": spec.hyperparameters.lora.model_dump(),
        "precision": _choice(choices, "precision", "auto"),
        "micro_batch_tokens": _micro_batch_tokens(choices, training["max_length"]),
        "checkpointing": bool(_choice(choices, "checkpointing", False)),
        "threads": _choice(choices, "threads", None),
        **_machine(spec, target, choices, ledger),
    }
    _rest(spec, target, model, ledger)
    return Translation((ProviderRequest("train", body),), _files(profile), ledger.close())


def _task(spec: JobSpec, ledger: Ledger) -> str:
    if spec.task == "sft":
        ledger.kept("task")
        ledger.kept("hyperparameters.dpo", "read for task: dpo alone")
    else:
        ledger.refused("task", "the local runner does not train on preferences yet")
        ledger.refused("hyperparameters.dpo", "the local runner does not train on preferences yet")
    return spec.task


def _method(spec: JobSpec, ledger: Ledger) -> str:
    if spec.method == "auto":
        ledger.changed("method", "lora", "LoRA: the least memory, and an adapter anyone can load")
    elif spec.method == "lora":
        ledger.kept("method")
    else:
        ledger.refused("method", f"the local runner trains LoRA; {spec.method} is not built yet")
    return "lora"


def _numbers(
    spec: JobSpec,
    profile: DataProfile,
    ledger: Ledger,
    max_positions: int | None,
    parameters: int | None,
) -> dict[str, Any]:
    """Epochs, batch, rate and length, every `auto` decided."""
    asked = spec.hyperparameters
    rows = profile.split_rows.get("train", 0)
    longest = min(max_positions or DEFAULT_POSITIONS, DEFAULT_POSITIONS)
    size = f"{parameters / 1e6:,.0f} million parameters" if parameters else "a base of unknown size"
    batch = next((size for limit, size in _BATCHES if rows < limit), _BATCH_ABOVE)
    multiplier = asked.learning_rate_multiplier
    rate, why_rate = _default_rate(parameters), f"our rate for LoRA on {size}"
    if multiplier != "auto" and asked.learning_rate == "auto":
        rate, why_rate = rate * multiplier, f"{why_rate}, times the multiplier {multiplier:g}"
    autos: dict[str, tuple[object, str]] = {
        "epochs": _auto_epochs(rows, batch if asked.batch_size == "auto" else asked.batch_size),
        "batch_size": (batch, f"{rows:,} rows to train on"),
        "learning_rate": (rate, why_rate),
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


def _auto_epochs(rows: int, batch: int) -> tuple[int, str]:
    """Three passes; more over few rows, until there are steps enough to learn in.

    Returns:
        The epochs, and why.
    """
    steps = math.ceil(rows / batch)
    if not steps or DEFAULT_EPOCHS * steps >= ENOUGH_STEPS:
        return DEFAULT_EPOCHS, "three passes: enough for most tasks, few enough not to memorise"
    epochs = min(MOST_EPOCHS, math.ceil(ENOUGH_STEPS / steps))
    return epochs, (
        f"{rows:,} rows are {steps:,} steps a pass; so many passes make {epochs * steps:,} steps "
        f"(we aim for {ENOUGH_STEPS}, in {MOST_EPOCHS} passes at most)"
    )


def _default_rate(parameters: int | None) -> float:
    return next((rate for limit, rate in _RATES if (parameters or 8e9) < limit), _RATE_ABOVE)


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
