"""The flat loop: rows in, steps, a result out. Nothing here knows of processes or signals.

Killed at any moment and started again it goes on from its last checkpoint with the same batches, the
same dropout, and (on a CPU) the same bits.
"""

from __future__ import annotations

import math
import os
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from backends.local import batches, models
from backends.local.checkpoint import load_checkpoint, save_checkpoint
from backends.local.environment import cpu_threads
from backends.local.files import sha256_of
from backends.local.network import Network
from backends.local.objective import Objective, objective
from backends.local.render import Template
from backends.local.run import Run, append_json, read_jsonl, sync_folder, write_bytes, write_json
from backends.local.tokens import Item, tokenise
from gateway.core.errors import BackendError
from gateway.core.spec import canonical_sha256

WARMUP_SHARE = 0.05
MAX_GRAD_NORM = 1.0
CHECKPOINT_EVERY_S = 300.0


class Interrupted(Exception):
    """Asked to stop; everything needed to go on is on the disk."""


@dataclass(frozen=True, slots=True)
class Setup:
    """Everything the loop works with. `belongs_to` names configuration, data and base by hash."""

    body: Mapping[str, Any]
    items: Sequence[Item]
    validation: Sequence[Item]
    template: Template
    network: Network
    objective: Objective
    optimizer: torch.optim.Optimizer
    belongs_to: Mapping[str, str]

    @property
    def steps(self) -> int:
        return self.body["epochs"] * self.steps_an_epoch

    @property
    def steps_an_epoch(self) -> int:
        return math.ceil(len(self.items) / self.body["batch_size"])


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
    done = load_checkpoint(run, setup.network, setup.optimizer, setup.belongs_to)
    _forget_metrics_after(run, done)
    run.set_status("training")
    _tell_start(run, setup, done)
    every = body.get("checkpoint_steps") or max(20, steps // 10)
    clock = _Clock(done, steps)
    saved_at = time.monotonic()
    plan = batches.steps(setup.items, body["epochs"], body["batch_size"], body["seed"])
    for step, items in enumerate(plan, 1):
        if step <= done:
            continue
        figures = take_step(setup, step, items)
        clock.passed(step, sum(item.length for item in items))
        append_json(
            run.folder / "metrics.jsonl", {"step": step, "steps": steps, **figures, **clock.to_json()}
        )
        if setup.validation and step % setup.steps_an_epoch == 0:
            _validate(run, step, setup)
        stop = stop_asked()
        if stop or step % every == 0 or time.monotonic() - saved_at > CHECKPOINT_EVERY_S:
            save_checkpoint(run, step, setup.network, setup.optimizer, setup.belongs_to)
            saved_at = time.monotonic()
        if stop:
            raise Interrupted
    _save_result(run, setup)
    seconds = round(time.monotonic() - began, 1)
    run.event("info", "trained", "training has ended", steps=steps, seconds=seconds)
    run.set_status("succeeded")


def prepare(run: Run) -> Setup:
    """Rows, network, objective and optimizer, all seeded."""
    config = run.config
    body = config["body"]
    settle(body)
    folder = models.ensure(body["model"]["id"], Path(config["home"]), _tell_building(run))
    template = Template.load(folder, body["model"]["name"])
    items = tokenise(run, "train", template)
    validation = tokenise(run, "validation", template) if "validation" in config["files"] else ()

    belongs_to = {
        "configuration": canonical_sha256(body),
        "data": config["files"]["train"]["sha256"],
        "base": models.revision(folder),
    }
    return assemble(body, folder, template, items, validation, belongs_to)


def settle(body: Mapping[str, Any]) -> None:
    """This process computes with the body's threads, and the same twice."""
    torch.set_num_threads(body.get("threads") or cpu_threads())
    torch.use_deterministic_algorithms(True, warn_only=True)
    # Deterministic mode also fills every fresh tensor, to find bugs of torch's own: a tenth of a small step.
    torch.utils.deterministic.fill_uninitialized_memory = False  # pyright: ignore[reportAttributeAccessIssue]


def assemble(
    body: Mapping[str, Any],
    folder: Path,
    template: Template,
    items: Sequence[Item],
    validation: Sequence[Item] = (),
    belongs_to: Mapping[str, str] | None = None,
) -> Setup:
    """Network, objective and optimizer around some rows, seeded; `folder` holds the base."""
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    torch.manual_seed(body["seed"])  # pyright: ignore[reportUnknownMemberType]
    network = Network.load(folder, body, template.tokenizer, device)
    return Setup(
        body=body,
        items=items,
        validation=validation,
        template=template,
        network=network,
        objective=objective(body["task"], network),
        optimizer=torch.optim.AdamW(network.trainable().values(), lr=0.0, weight_decay=0.0),
        belongs_to=belongs_to or {},
    )


def take_step(setup: Setup, step: int, items: Sequence[Item]) -> dict[str, float]:
    """One optimizer step over some rows, in as many passes as fit; its loss, rate and gradient norm.

    Raises:
        BackendError: the loss or the gradient is no number any more.
    """
    body, optimizer = setup.body, setup.optimizer
    # Dropout follows from seed and step alone: a run that was killed draws the same numbers.
    torch.manual_seed(body["seed"] * 1_000_003 + step)  # pyright: ignore[reportUnknownMemberType]
    rate = _rate(body["learning_rate"], step, setup.steps)
    for group in optimizer.param_groups:
        group["lr"] = rate
    weight = setup.objective.weight(items)
    loss = 0.0
    for part in batches.passes(items, body["micro_batch_tokens"]):
        share = setup.objective.loss(part) / weight
        share.backward()  # pyright: ignore[reportUnknownMemberType]
        loss += share.item()
    norm = torch.nn.utils.clip_grad_norm_(setup.network.trainable().values(), MAX_GRAD_NORM).item()
    if not (math.isfinite(loss) and math.isfinite(norm)):
        raise _diverged(step)
    optimizer.step()  # pyright: ignore[reportUnknownMemberType]
    optimizer.zero_grad()
    return {"loss": loss, "lr": rate, "grad_norm": norm}


def _validate(run: Run, step: int, setup: Setup) -> None:
    setup.network.model.eval()
    with torch.no_grad():
        parts = batches.passes(setup.validation, setup.body["micro_batch_tokens"])
        total = sum(setup.objective.loss(part).item() for part in parts)
    setup.network.model.train()
    loss = total / setup.objective.weight(setup.validation)
    run.event("info", "validation", f"validation loss {loss:.4f}", step=step, loss=loss)


def _rate(peak: float, step: int, steps: int) -> float:
    """Linear warm-up, then a cosine down to nothing."""
    warmup = max(1, round(WARMUP_SHARE * steps))
    if step <= warmup:
        return peak * step / warmup
    return peak * 0.5 * (1 + math.cos(math.pi * (step - warmup) / max(1, steps - warmup + 1)))


def _save_result(run: Run, setup: Setup) -> None:
    """What was trained, with its tokenizer; complete when it appears."""
    unfinished, target = run.folder / ".adapter", run.folder / "adapter"
    shutil.rmtree(unfinished, ignore_errors=True)
    weights = setup.network.save(unfinished)
    setup.template.tokenizer.save_pretrained(str(unfinished))
    write_json(
        unfinished / "tunegate.json",
        {
            "model": run.config["body"]["model"],
            **setup.belongs_to,
            "adapter": sha256_of(unfinished / weights),
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
    parameters = setup.network.trainable().values()
    run.event(
        "info",
        "training",
        "training goes on" if done else "training begins",
        step=done,
        steps=setup.steps,
        rows=len(setup.items),
        tokens=sum(item.length for item in setup.items),
        trained_tokens=sum(item.trained for item in setup.items),
        device=str(setup.network.device),
        precision=str(setup.network.dtype).removeprefix("torch."),
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
