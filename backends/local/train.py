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
import random
import shutil
import signal
import sys
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any

import torch
from filelock import Timeout
from torch import Tensor
from torch.nn.functional import cross_entropy

from backends.local import models
from backends.local.checkpoint import load_checkpoint, save_checkpoint, trainable
from backends.local.environment import cpu_threads
from backends.local.files import read_rows, sha256_of
from backends.local.render import IGNORE, Template, Unrenderable, shorten
from backends.local.run import Run, append_json, read_jsonl, sync_folder, write_bytes, write_json
from gateway.core.errors import BackendError, DataError, TunegateError
from gateway.core.spec import canonical_sha256

INTERRUPTED, IN_USE = 75, 76
WARMUP_SHARE = 0.05
MAX_GRAD_NORM = 1.0
CHECKPOINT_EVERY_S = 300.0
BUCKET_STEPS = 16  # rows of this many steps are sorted by length together
SMALL_ON_CPU = 100_000_000  # below, casting to bf16 and back costs a CPU more than it saves


class Interrupted(Exception):
    """Asked to stop; everything needed to go on is on the disk."""


@dataclass(frozen=True, slots=True)
class Example:
    """One row as int32 tensors of its length: tokens, and labels as `render` makes them."""

    ids_T: Tensor
    labels_T: Tensor

    @property
    def length(self) -> int:
        return len(self.ids_T)


def train(run: Run, stop_asked: Callable[[], bool]) -> None:
    """The whole run.

    Raises:
        Interrupted: `stop_asked` turned true; a checkpoint was written.
        TunegateError: training cannot go on; the error says why and what to do.
    """
    config = run.config
    body = config["body"]
    began = time.monotonic()
    torch.set_num_threads(cpu_threads())
    torch.use_deterministic_algorithms(True, warn_only=True)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")

    # -- base and rows ------------------------------------------------------------------------------
    run.set_status("preparing")
    folder = models.ensure(body["model"]["id"], Path(config["home"]), _tell_building(run))
    template = Template.load(folder, body["model"]["name"])
    rows = _tokenise(run, "train", template)
    validation = _tokenise(run, "validation", template) if "validation" in config["files"] else []
    belongs_to = {
        "configuration": canonical_sha256(body),
        "data": config["files"]["train"]["sha256"],
        "base": models.revision(folder),
    }

    # -- model, adapter, optimizer ------------------------------------------------------------------
    dtype = _precision(body["precision"], device, folder)
    torch.manual_seed(body["seed"])  # pyright: ignore[reportUnknownMemberType]
    model = _with_adapter(_load_base(folder, dtype, device), body, body["model"]["name"])
    parameters = list(trainable(model).values())
    optimizer = torch.optim.AdamW(parameters, lr=0.0, weight_decay=0.0)
    loss_of = _loss_function(model, rows[0], device, dtype)

    # -- steps --------------------------------------------------------------------------------------
    epochs, batch_size = body["epochs"], body["batch_size"]
    steps = epochs * math.ceil(len(rows) / batch_size)
    done = load_checkpoint(run, model, optimizer, belongs_to)
    _forget_metrics_after(run, done)
    run.set_status("training")
    run.event(
        "info", "training", "training goes on" if done else "training begins",
        step=done, steps=steps, rows=len(rows), tokens=sum(row.length for row in rows),
        trained_tokens=sum(_trained(row) for row in rows), device=str(device),
        precision=str(dtype).removeprefix("torch."), trainable_parameters=sum(p.numel() for p in parameters),
        threads=torch.get_num_threads(), base_revision=belongs_to["base"],
    )  # fmt: skip
    every = body.get("checkpoint_steps") or max(20, steps // 10)
    clock = _Clock(done, steps)
    saved_at = time.monotonic()
    model.train()
    for step, batch in enumerate(_batches(rows, epochs, batch_size, body["seed"]), 1):
        if step <= done:
            continue
        # Dropout follows from seed and step alone: a run that was killed draws the same numbers.
        torch.manual_seed(body["seed"] * 1_000_003 + step)  # pyright: ignore[reportUnknownMemberType]
        rate = _rate(body["learning_rate"], step, steps)
        for group in optimizer.param_groups:
            group["lr"] = rate
        trained = sum(_trained(row) for row in batch)
        loss = 0.0
        for micro in _micro_batches(batch, body["micro_batch_tokens"]):
            part = loss_of(micro) / trained
            part.backward()  # pyright: ignore[reportUnknownMemberType]
            loss += part.item()
        norm = torch.nn.utils.clip_grad_norm_(parameters, MAX_GRAD_NORM).item()
        if not (math.isfinite(loss) and math.isfinite(norm)):
            raise _diverged(step)
        optimizer.step()  # pyright: ignore[reportUnknownMemberType]
        optimizer.zero_grad()
        clock.passed(step, sum(row.length for row in batch))
        append_json(
            run.folder / "metrics.jsonl",
            {"step": step, "steps": steps, "loss": loss, "lr": rate, "grad_norm": norm, **clock.to_json()},
        )
        if validation and step % (steps // epochs) == 0:
            _validate(run, step, validation, loss_of, model, body["micro_batch_tokens"])
        stop = stop_asked()
        if stop or step % every == 0 or time.monotonic() - saved_at > CHECKPOINT_EVERY_S:
            save_checkpoint(run, step, model, optimizer, belongs_to)
            saved_at = time.monotonic()
        if stop:
            raise Interrupted

    # -- what is left behind ------------------------------------------------------------------------
    _save_adapter(run, model, template, belongs_to)
    run.event(
        "info", "trained", "training has ended", steps=steps, seconds=round(time.monotonic() - began, 1)
    )
    run.set_status("succeeded")


# -- rows ------------------------------------------------------------------------------------------


def _tokenise(run: Run, split: str, template: Template) -> list[Example]:
    """Every row of a split as tensors; rows that cannot be used are counted by reason.

    Raises:
        DataError: the file changed since it was staged, or no row can be used.
    """
    config = run.config
    file, body = config["files"][split], config["body"]
    path = Path(file["path"])
    if sha256_of(path) != file["sha256"]:
        raise DataError("the file changed after it was staged", place=str(path), fix="plan and run again")
    examples: list[Example] = []
    refused: Counter[str] = Counter()
    shortened = 0
    for row in read_rows(path):
        try:
            rendered = template.render(row)
            if len(rendered.input_ids) > body["max_length"] and body["too_long"] == "refuse":
                raise Unrenderable("too_long", "longer than max_length")
            cut = shorten(rendered, body["max_length"])
            if not cut.trained:
                raise Unrenderable("nothing_to_train", "no turn of the assistant is trained")
        except Unrenderable as reason:
            refused[reason.reason] += 1
            continue
        shortened += cut is not rendered
        ids, labels = (torch.tensor(part, dtype=torch.int32) for part in (cut.input_ids, cut.labels))
        examples.append(Example(ids, labels))
    level = "warning" if refused or shortened else "info"
    run.event(
        level, "rows",
        f"{split}: {len(examples)} rows used, {sum(refused.values())} refused, {shortened} shortened",
        split=split, used=len(examples), refused=dict(refused), shortened=shortened,
    )  # fmt: skip
    if not examples:
        reasons = ", ".join(f"{reason} × {count}" for reason, count in refused.items()) or "the file is empty"
        raise DataError(f"no row of the {split} split can be used: {reasons}", place=str(path))
    return examples


def _trained(row: Example) -> int:
    return int((row.labels_T[1:] != IGNORE).sum())


def _batches(rows: Sequence[Example], epochs: int, size: int, seed: int) -> Iterator[list[Example]]:
    """Rows of one optimizer step each, the same for the same seed: shuffled, then rows of similar
    length brought together so that little is padding, then the steps shuffled."""
    for epoch in range(epochs):
        order = random.Random(f"{seed}:{epoch}")  # noqa: S311  not for secrets
        shuffled = order.sample(range(len(rows)), len(rows))
        window = size * BUCKET_STEPS
        steps: list[list[Example]] = []
        by_length: list[int] = []
        for begin in range(0, len(shuffled), window):
            by_length += sorted(shuffled[begin : begin + window], key=lambda index: rows[index].length)
        for begin in range(0, len(by_length), size):
            steps.append([rows[index] for index in by_length[begin : begin + size]])
        order.shuffle(steps)
        yield from steps


def _micro_batches(batch: Sequence[Example], tokens: int) -> Iterator[list[Example]]:
    """Parts of a step that fit one forward pass: rows × longest row ≤ `tokens`."""
    part: list[Example] = []
    for row in sorted(batch, key=lambda row: row.length):
        if part and row.length * (len(part) + 1) > tokens:
            yield part
            part = []
        part.append(row)
    if part:
        yield part


def _padded(rows: Sequence[Example], device: torch.device) -> tuple[Tensor, Tensor]:
    """Tokens and labels, int64, rows × longest row. Padding comes last, where a causal model cannot
    see it, so no attention mask is needed and the fast kernels stay open."""
    ids = [row.ids_T for row in rows]
    labels = [row.labels_T for row in rows]
    pad = torch.nn.utils.rnn.pad_sequence
    return (
        pad(ids, batch_first=True, padding_value=0).long().to(device),
        pad(labels, batch_first=True, padding_value=IGNORE).long().to(device),
    )


# -- model -----------------------------------------------------------------------------------------


def _precision(asked: str, device: torch.device, folder: Path) -> torch.dtype:
    """bf16 where the hardware computes in it and the base is large enough to gain; else fp32."""
    if asked in ("fp32", "float32"):
        return torch.float32
    if device.type == "cuda":
        has_bf16 = torch.cuda.is_bf16_supported(including_emulation=False)
    else:
        shape = models.shape_of(models.text_config(folder))
        large = shape is not None and shape.parameters >= SMALL_ON_CPU
        has_bf16 = large and torch.cpu._is_avx512_bf16_supported()  # pyright: ignore[reportPrivateUsage]
    return torch.bfloat16 if has_bf16 else torch.float32


def _load_base(folder: Path, dtype: torch.dtype, device: torch.device) -> Any:
    """The base, frozen. No code that came with it is run, and no pickle is read."""
    from transformers import AutoModelForCausalLM

    model: Any = AutoModelForCausalLM.from_pretrained(  # pyright: ignore[reportUnknownMemberType]
        str(folder), dtype=dtype, use_safetensors=True, trust_remote_code=False, local_files_only=True
    )
    model.config.use_cache = False
    return model.to(device)


def _with_adapter(base: Any, body: Mapping[str, Any], name: str) -> Any:
    """LoRA on every linear layer but the output, in fp32 whatever the base has."""
    from peft import LoraConfig, get_peft_model

    if body["checkpointing"]:
        base.gradient_checkpointing_enable({"use_reentrant": False})
        base.enable_input_require_grads()
    lora = body["lora"]
    settings = LoraConfig(
        r=lora["rank"],
        lora_alpha=lora["alpha"],
        lora_dropout=lora["dropout"],
        target_modules="all-linear",
        task_type="CAUSAL_LM",
    )
    try:
        return get_peft_model(base, settings)
    except ValueError:
        raise BackendError(
            "this base has no linear layers that LoRA could be put on", backend="local", place=name
        ) from None


def _loss_function(
    model: Any, example: Example, device: torch.device, dtype: torch.dtype
) -> Callable[[Sequence[Example]], Tensor]:
    """Summed loss over the trained tokens of some rows.

    Logits are made only where a token is trained: for a vocabulary of 128,000 they would otherwise
    outweigh everything else. That is right for a model whose head is one plain layer on its last
    hidden state; the probe asks, and a model that does more (scales, caps) makes its own logits.
    """
    causal = model.get_base_model()
    decoder, head = causal.get_decoder(), causal.get_output_embeddings()

    def hidden_at(ids_B_T: Tensor, at: Tensor) -> Tensor:
        return head(decoder(input_ids=ids_B_T, use_cache=False).last_hidden_state[:, :-1][at])

    def logits_at(ids_B_T: Tensor, at: Tensor) -> Tensor:
        return model(input_ids=ids_B_T, use_cache=False).logits[:, :-1][at]

    def autocast() -> torch.autocast:
        return torch.autocast(device.type, dtype=torch.bfloat16, enabled=dtype == torch.bfloat16)

    ids, _ = _padded([Example(example.ids_T[:64], example.labels_T[:64])], device)
    everywhere = torch.ones_like(ids[:, 1:], dtype=torch.bool)
    model.eval()
    with torch.no_grad(), autocast():
        plain = torch.allclose(hidden_at(ids, everywhere), logits_at(ids, everywhere), atol=1e-4)
    trained_logits = hidden_at if plain else logits_at

    def loss(rows: Sequence[Example]) -> Tensor:
        ids_B_T, labels_B_T = _padded(rows, device)
        at = labels_B_T[:, 1:] != IGNORE
        with autocast():
            logits = trained_logits(ids_B_T, at)
        return cross_entropy(logits.float(), labels_B_T[:, 1:][at], reduction="sum")

    return loss


def _validate(
    run: Run,
    step: int,
    rows: Sequence[Example],
    loss_of: Callable[[Sequence[Example]], Tensor],
    model: Any,
    tokens: int,
) -> None:
    model.eval()
    with torch.no_grad():
        ordered = sorted(rows, key=lambda row: row.length)
        total = sum(loss_of(part).item() for part in _micro_batches(ordered, tokens))
    model.train()
    loss = total / sum(_trained(row) for row in rows)
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
