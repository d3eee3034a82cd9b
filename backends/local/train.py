"""One training run, from top to bottom: `python -m backends.local.train RUN_DIR`.

Reads `run.json`, tokenises once, trains a LoRA adapter on the assistants' tokens, leaves the adapter
in PEFT's format. Offline. Killed at any moment and started again it goes on from its last checkpoint
with the same batches, the same dropout, and (on a CPU) the same bits.

Exit codes: 0, a final status was written; 75, stopped on request and able to go on; 76, another
process trains in this folder; anything else is a crash.
"""

from __future__ import annotations

import math
import os
import shutil
import signal
import sys
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any

import torch
from filelock import Timeout

from backends.local import models
from backends.local.checkpoint import load_checkpoint, save_checkpoint, trainable
from backends.local.environment import cpu_threads
from backends.local.examples import Example, batches, micro_batches, tokenise, trained_tokens
from backends.local.files import sha256_of
from backends.local.network import (
    Loss,
    load_base,
    loss_function,
    precision,
    refuse_foreign_tokenizer,
    with_adapter,
)
from backends.local.render import Template
from backends.local.run import Run, append_json, read_jsonl, sync_folder, write_bytes, write_json
from gateway.core.errors import BackendError, TunegateError
from gateway.core.spec import canonical_sha256

INTERRUPTED, IN_USE = 75, 76
WARMUP_SHARE = 0.05
MAX_GRAD_NORM = 1.0
CHECKPOINT_EVERY_S = 300.0


class Interrupted(Exception):
    """Asked to stop; everything needed to go on is on the disk."""


@dataclass(frozen=True, slots=True)
class Setup:
    """Everything the loop works with. `belongs_to` names configuration, data and base by hash."""

    body: Mapping[str, Any]
    rows: Sequence[Example]
    validation: Sequence[Example]
    template: Template
    model: Any
    optimizer: torch.optim.Optimizer
    loss_of: Loss
    precision: str
    belongs_to: Mapping[str, str]

    @property
    def steps(self) -> int:
        return self.body["epochs"] * self.steps_an_epoch

    @property
    def steps_an_epoch(self) -> int:
        return math.ceil(len(self.rows) / self.body["batch_size"])


def train(run: Run, stop_asked: Callable[[], bool]) -> None:
    """The whole run.

    Raises:
        Interrupted: `stop_asked` turned true; a checkpoint was written.
        TunegateError: training cannot go on; the error says why and what to do.
    """
    began = time.monotonic()
    run.set_status("preparing")
    setup = prepare(run)
    body, steps = setup.body, setup.steps
    done = load_checkpoint(run, setup.model, setup.optimizer, setup.belongs_to)
    _forget_metrics_after(run, done)
    run.set_status("training")
    _tell_start(run, setup, done)
    every = body.get("checkpoint_steps") or max(20, steps // 10)
    clock = _Clock(done, steps)
    saved_at = time.monotonic()
    for step, batch in enumerate(batches(setup.rows, body["epochs"], body["batch_size"], body["seed"]), 1):
        if step <= done:
            continue
        figures = take_step(setup, step, batch)
        clock.passed(step, sum(row.length for row in batch))
        append_json(
            run.folder / "metrics.jsonl", {"step": step, "steps": steps, **figures, **clock.to_json()}
        )
        if setup.validation and step % setup.steps_an_epoch == 0:
            _validate(run, step, setup)
        stop = stop_asked()
        if stop or step % every == 0 or time.monotonic() - saved_at > CHECKPOINT_EVERY_S:
            save_checkpoint(run, step, setup.model, setup.optimizer, setup.belongs_to)
            saved_at = time.monotonic()
        if stop:
            raise Interrupted
    _save_adapter(run, setup.model, setup.template, setup.belongs_to)
    seconds = round(time.monotonic() - began, 1)
    run.event("info", "trained", "training has ended", steps=steps, seconds=seconds)
    run.set_status("succeeded")


def prepare(run: Run) -> Setup:
    """Base and rows, then model, adapter, optimizer and loss, all seeded."""
    config = run.config
    body = config["body"]
    torch.set_num_threads(body.get("threads") or cpu_threads())
    torch.use_deterministic_algorithms(True, warn_only=True)
    # Deterministic mode also fills every fresh tensor, to find bugs of torch's own: a tenth of a small step.
    torch.utils.deterministic.fill_uninitialized_memory = False  # pyright: ignore[reportAttributeAccessIssue]
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")

    name = body["model"]["name"]
    folder = models.ensure(body["model"]["id"], Path(config["home"]), _tell_building(run))
    template = Template.load(folder, name)
    rows = tokenise(run, "train", template)
    validation = tokenise(run, "validation", template) if "validation" in config["files"] else []

    dtype = precision(body["precision"], device, folder)
    torch.manual_seed(body["seed"])  # pyright: ignore[reportUnknownMemberType]
    base = load_base(folder, dtype, device)
    refuse_foreign_tokenizer(base, template.tokenizer, name)
    model = with_adapter(base, body, name)
    loss_of = loss_function(model, rows[0], device, dtype)
    model.train()
    return Setup(
        body=body,
        rows=rows,
        validation=validation,
        template=template,
        model=model,
        optimizer=torch.optim.AdamW(trainable(model).values(), lr=0.0, weight_decay=0.0),
        loss_of=loss_of,
        precision=str(dtype).removeprefix("torch."),
        belongs_to={
            "configuration": canonical_sha256(body),
            "data": config["files"]["train"]["sha256"],
            "base": models.revision(folder),
        },
    )


def take_step(setup: Setup, step: int, batch: Sequence[Example]) -> dict[str, float]:
    """One optimizer step over the batch, in as many passes as fit; its loss, rate and gradient norm.

    Raises:
        BackendError: the loss or the gradient is no number any more.
    """
    body, optimizer = setup.body, setup.optimizer
    # Dropout follows from seed and step alone: a run that was killed draws the same numbers.
    torch.manual_seed(body["seed"] * 1_000_003 + step)  # pyright: ignore[reportUnknownMemberType]
    rate = _rate(body["learning_rate"], step, setup.steps)
    for group in optimizer.param_groups:
        group["lr"] = rate
    trained = sum(trained_tokens(row) for row in batch)
    loss = 0.0
    for micro in micro_batches(batch, body["micro_batch_tokens"]):
        part = setup.loss_of(micro) / trained
        part.backward()  # pyright: ignore[reportUnknownMemberType]
        loss += part.item()
    norm = torch.nn.utils.clip_grad_norm_(trainable(setup.model).values(), MAX_GRAD_NORM).item()
    if not (math.isfinite(loss) and math.isfinite(norm)):
        raise _diverged(step)
    optimizer.step()  # pyright: ignore[reportUnknownMemberType]
    optimizer.zero_grad()
    return {"loss": loss, "lr": rate, "grad_norm": norm}


def _validate(run: Run, step: int, setup: Setup) -> None:
    setup.model.eval()
    with torch.no_grad():
        parts = micro_batches(setup.validation, setup.body["micro_batch_tokens"])
        total = sum(setup.loss_of(part).item() for part in parts)
    setup.model.train()
    loss = total / sum(trained_tokens(row) for row in setup.validation)
    run.event("info", "validation", f"validation loss {loss:.4f}", step=step, loss=loss)


def _rate(peak: float, step: int, steps: int) -> float:
    """Linear warm-up, then a cosine down to nothing."""
    warmup = max(1, round(WARMUP_SHARE * steps))
    if step <= warmup:
        return peak * step / warmup
    return peak * 0.5 * (1 + math.cos(math.pi * (step - warmup) / max(1, steps - warmup + 1)))


def _save_adapter(run: Run, model: Any, template: Template, belongs_to: Mapping[str, str]) -> None:
    """The adapter in PEFT's format with its tokenizer, complete when it appears."""
    unfinished, target = run.folder / ".adapter", run.folder / "adapter"
    shutil.rmtree(unfinished, ignore_errors=True)
    model.save_pretrained(str(unfinished), safe_serialization=True, save_embedding_layers=False)
    template.tokenizer.save_pretrained(str(unfinished))
    write_json(
        unfinished / "tunegate.json",
        {
            "model": run.config["body"]["model"],
            **belongs_to,
            "adapter": sha256_of(unfinished / "adapter_model.safetensors"),
        },
    )
    for path in unfinished.iterdir():
        with path.open("rb") as file:
            os.fsync(file.fileno())
    shutil.rmtree(target, ignore_errors=True)
    unfinished.rename(target)
    sync_folder(run.folder)


# -- telling ---------------------------------------------------------------------------------------


def _tell_start(run: Run, setup: Setup, done: int) -> None:
    parameters = list(trainable(setup.model).values())
    run.event(
        "info",
        "training",
        "training goes on" if done else "training begins",
        step=done,
        steps=setup.steps,
        rows=len(setup.rows),
        tokens=sum(row.length for row in setup.rows),
        trained_tokens=sum(trained_tokens(row) for row in setup.rows),
        device=str(parameters[0].device),
        precision=setup.precision,
        trainable_parameters=sum(each.numel() for each in parameters),
        threads=torch.get_num_threads(),
        base_revision=setup.belongs_to["base"],
    )


class _Clock:
    """Speed since this process began to step, and from it the time to go."""

    def __init__(self, done: int, steps: int) -> None:
        self._first, self._steps, self._step = done, steps, done
        self._tokens = 0
        self._began = time.monotonic()

    def passed(self, step: int, tokens: int) -> None:
        self._step, self._tokens = step, self._tokens + tokens

    def to_json(self) -> dict[str, float]:
        seconds = max(time.monotonic() - self._began, 1e-9)
        each = seconds / (self._step - self._first)
        return {
            "tokens_per_s": round(self._tokens / seconds, 1),
            "eta_s": round(each * (self._steps - self._step), 1),
        }


def _tell_building(run: Run) -> Callable[[float], None]:
    told = -1

    def tell(share: float) -> None:
        nonlocal told
        if (tenth := int(share * 10)) > told:
            told = tenth
            run.event("info", "building_base", f"building the base model: {share:.0%}", share=round(share, 3))

    return tell


def _forget_metrics_after(run: Run, step: int) -> None:
    """Steps after the checkpoint are done again; their first lines must not stay beside the second."""
    path = run.folder / "metrics.jsonl"
    if path.exists():
        lines = path.read_bytes().splitlines(keepends=True)
        kept = sum(line["step"] <= step for line in read_jsonl(path))
        write_bytes(path, b"".join(lines[:kept]))


def _diverged(step: int) -> BackendError:
    return BackendError(
        f"the loss is no number any more at step {step}",
        backend="local",
        place="training",
        fix="lower hyperparameters.learning_rate (a third of it is a good next try)",
    )


# -- the process -----------------------------------------------------------------------------------


def failure_of(error: Exception) -> TunegateError:
    """A typed error for what stops a training process. Messages of libraries may quote data, so
    none is repeated; the log has the places in the code."""
    if isinstance(error, TunegateError):
        return error
    if isinstance(error, OSError) and error.errno in (28, 122):  # ENOSPC, EDQUOT
        return BackendError(
            "the disk is full", backend="local", fix="free some space, then `tunegate jobs resume`"
        )
    # torch has a class for a GPU's memory only; on a CPU its allocator's name is all there is.
    no_memory = isinstance(error, (MemoryError, torch.OutOfMemoryError)) or "DefaultCPUAllocator" in str(
        error
    )
    if no_memory:
        return BackendError(
            "there is not enough memory",
            backend="local",
            fix="lower hyperparameters.max_length or batch_size, or take a smaller model",
        )
    return BackendError(
        f"training stopped with {type(error).__name__}", backend="local", fix="see the run's train.log"
    )


def main(arguments: Sequence[str]) -> int:
    run = Run(Path(arguments[0]))
    asked: list[int] = []

    def note(signum: int, frame: FrameType | None) -> None:
        asked.append(signum)

    before = signal.signal(signal.SIGTERM, note)
    try:
        with run.lock("train").acquire(timeout=0):
            run.started("train", os.getpid())
            return _guarded(run, lambda: bool(asked))
    except Timeout:
        return IN_USE
    finally:
        signal.signal(signal.SIGTERM, before)


def _guarded(run: Run, stop_asked: Callable[[], bool]) -> int:
    try:
        train(run, stop_asked)
    except Interrupted:
        return INTERRUPTED
    except Exception as error:
        traceback.print_tb(error.__traceback__)  # the places, not the message: it might quote a row
        failure = failure_of(error)
        run.event("error", "failed", failure.message, place=failure.place, fix=failure.fix)
        run.set_status("failed", code=failure.code, message=failure.message, fix=failure.fix)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
