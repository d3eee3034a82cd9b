"""The flat loop: rows in, steps, a result out. Nothing here knows of processes or signals.

Killed at any moment and started again it goes on from its last checkpoint with the same batches, the
same dropout, and (on a CPU) the same bits. Where several ranks train together each walks through it.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import replace

import torch

from backends.local import memory, reference, result
from backends.local.checkpoint import Checkpoints, Reached
from backends.local.ranks import Ranks
from backends.local.run import Run, append_json, read_jsonl, write_bytes
from backends.local.setup import Setup, prepare
from backends.local.tokens import Item
from gateway.core.errors import BackendError

WARMUP_SHARE = 0.05
MAX_GRAD_NORM = 1.0
CHECKPOINT_EVERY_S = 300.0


class Interrupted(Exception):
    """Asked to stop; everything needed to go on is on the disk."""


class Again(Exception):
    """All ranks must begin again from the last checkpoint, with what this one has changed."""


def train(run: Run, stop_asked: Callable[[], bool], ranks: Ranks | None = None) -> None:
    """The whole run.

    Raises:
        Interrupted: `stop_asked` turned true; a checkpoint was written.
        TunegateError: training cannot go on; the error says why and what to do.
    """
    began = time.monotonic()
    run.set_status("preparing")
    setup = reference.asked(run, prepare(run, ranks or Ranks()))
    if setup.origin is None:
        raise AssertionError("a run's setup says what its checkpoints belong to")
    checkpoints = Checkpoints(run, setup.network, setup.optimizer, setup.origin, setup.ranks)
    reached = checkpoints.load()
    if setup.ranks.first:
        _forget_metrics_after(run, reached.step)
    run.set_status("training")
    _tell_start(run, setup, reached.step)
    reached = _steps(run, setup, checkpoints, reached, stop_asked)
    if setup.ranks.sharded:  # the result is made by one process, of weights that lie whole on the disk
        checkpoints.save(reached, keep=setup.body.get("keep_checkpoints", 2))
    result.save(run, setup, checkpoints, reached)
    seconds = round(time.monotonic() - began, 1)
    run.event("info", "trained", "training has ended", steps=reached.step, seconds=seconds)
    run.set_status("succeeded")


def _steps(
    run: Run, setup: Setup, checkpoints: Checkpoints, reached: Reached, stop_asked: Callable[[], bool]
) -> Reached:
    """Every step that is left, or as many as make the model better."""
    body, ranks = setup.body, setup.ranks
    clock, saved_at = _Clock(reached.step, setup.steps), time.monotonic()
    for step, items in enumerate(setup.plan, 1):
        if step <= reached.step:
            continue
        if _no_longer_better(run, setup, reached):
            break
        setup, figures = _step_in_memory(run, setup, step, items)
        clock.passed(step, sum(item.length for item in items))
        validated = _validate(run, step, setup) if _validates(setup, step) else {}
        reached = reached.after(step, validated.get("validation_loss"))
        if ranks.first:
            line = {"step": step, "steps": setup.steps, **figures, **validated, **clock.to_json()}
            append_json(run.folder / "metrics.jsonl", {**line, "memory_gib": memory.high_water_gib()})
        stop = ranks.any(stop_asked())
        late = ranks.any(time.monotonic() - saved_at > CHECKPOINT_EVERY_S)
        if stop or late or validated or step % _checkpoint_every(setup) == 0:
            checkpoints.save(reached, keep=body.get("keep_checkpoints", 2))
            saved_at = time.monotonic()
        if stop:
            run.event(
                "info", "stopped", f"asked to stop; the next start goes on after step {step}", step=step
            )
            raise Interrupted
    return reached


def take_step(setup: Setup, step: int, items: Sequence[Item]) -> dict[str, float]:
    """One optimizer step over some rows, in as many passes as fit; its loss, rate and gradient norm, and
    what else the objective tells.

    Raises:
        BackendError: the loss or the gradient is no number any more; the optimizer itself has no room.
        RuntimeError, MemoryError: there was no room for a pass. Nothing has changed by then, and the
            same step can be begun again.
    """
    figures = apply_gradients(setup, step, make_gradients(setup, step, items))
    return {**figures, **_told(setup)}


def make_gradients(setup: Setup, step: int, items: Sequence[Item]) -> torch.Tensor:
    """This rank's part of a step's gradients, and of its loss."""
    # Dropout follows from seed, step and rank alone: a run that was killed draws the same numbers.
    seed = (setup.body["seed"] * 1_000_003 + step) * setup.ranks.count + setup.ranks.number
    torch.manual_seed(seed)  # pyright: ignore[reportUnknownMemberType]
    setup.optimizer.zero_grad()
    weight = setup.objective.weight(items)
    loss = torch.zeros((), dtype=torch.float64, device=setup.network.device)
    for part, counts in setup.passes(items):
        share = setup.objective.loss(part) * (counts / weight)
        (share * setup.ranks.loss_scale).backward()  # pyright: ignore[reportUnknownMemberType]
        loss += share.detach()
    return loss


def apply_gradients(setup: Setup, step: int, loss: torch.Tensor) -> dict[str, float]:
    """Gradients summed over the ranks, clipped and stepped along."""
    optimizer, ranks = setup.optimizer, setup.ranks
    parameters = list(setup.network.trainable().values())
    ranks.sum_gradients(parameters)
    norm = ranks.clip(parameters, MAX_GRAD_NORM).item()
    total = ranks.sum(loss.item())
    if not (math.isfinite(total) and math.isfinite(norm)):
        raise _diverged(step)
    rate = _rate(setup.body["learning_rate"], step, setup.steps)
    for group in optimizer.param_groups:
        group["lr"] = rate
    try:
        optimizer.step()  # pyright: ignore[reportUnknownMemberType]
    except RuntimeError as error:
        raise (memory.not_enough() if memory.is_short(error) else error) from None
    return {"loss": total, "lr": rate, "grad_norm": norm}


def _told(setup: Setup) -> dict[str, float]:
    """What the objective tells of the rows since it was last asked, as means over all ranks."""
    told = setup.objective.told()
    rows = setup.ranks.sum(told.rows) if told.sums else 0
    return {name: setup.ranks.sum(value) / max(1, rows) for name, value in told.sums.items()}


def _step_in_memory(
    run: Run, setup: Setup, step: int, items: Sequence[Item]
) -> tuple[Setup, dict[str, float]]:
    """One step; where memory runs out, once more in smaller passes."""
    try:
        return setup, take_step(setup, step, items)
    except (RuntimeError, MemoryError) as error:
        if not memory.is_short(error):
            raise
        packed = setup.network.packs
        parts = [part for part, _ in setup.passes(items)]
        largest = max(parts, key=lambda part: memory.tokens_of(part, packed=packed))
    # Outside of the handler, whose traceback holds on to everything that was computed.
    tokens = memory.smaller(run, largest, setup.pass_tokens, packed=packed)
    if setup.ranks.sharded:
        raise Again  # the other ranks wait in the middle of this pass
    setup.objective.told()  # of the passes that did fit; their rows come again
    memory.release()
    setup = replace(setup, pass_tokens=tokens)
    return setup, take_step(setup, step, items)


# -- validation ------------------------------------------------------------------------------------


def _validates(setup: Setup, step: int) -> bool:
    every = setup.body.get("validate_every") or setup.steps_an_epoch
    return bool(setup.validation) and (step % every == 0 or step == setup.steps)


def _validate(run: Run, step: int, setup: Setup) -> dict[str, float]:
    setup.network.model.eval()
    with torch.no_grad():
        passes = setup.passes(setup.validation)
        mine = sum(setup.objective.loss(part).item() * counts for part, counts in passes)
    setup.network.model.train()
    loss = setup.ranks.sum(mine) / setup.objective.weight(setup.validation)
    told = _told(setup)
    if not math.isfinite(loss):
        raise _diverged(step)
    run.event("info", "validation", f"validation loss {loss:.4f}", step=step, loss=loss, **told)
    return {"validation_loss": loss, **{f"validation_{name}": value for name, value in told.items()}}


def _no_longer_better(run: Run, setup: Setup, reached: Reached) -> bool:
    patience = setup.body.get("early_stopping", 0)
    if not patience or reached.without_gain < patience:
        return False
    run.event(
        "info", "stopped_early",
        f"{patience} validations in a row were no better than that of step {reached.best}; "
        f"{setup.steps - reached.step} steps are not taken (options.local.early_stopping)",
        step=reached.step, best=reached.best,
    )  # fmt: skip
    return True


def _checkpoint_every(setup: Setup) -> int:
    return setup.body.get("checkpoint_every") or max(20, setup.steps // 10)


def _rate(peak: float, step: int, steps: int) -> float:
    """Linear warm-up, then a cosine down to nothing."""
    warmup = max(1, round(WARMUP_SHARE * steps))
    if step <= warmup:
        return peak * step / warmup
    return peak * 0.5 * (1 + math.cos(math.pi * (step - warmup) / max(1, steps - warmup + 1)))


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
        processes=setup.ranks.count,
        base_revision=setup.origin.hashes["base"] if setup.origin else None,
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
