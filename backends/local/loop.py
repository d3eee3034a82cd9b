"""The flat loop: rows in, steps, a result out. Nothing here knows of processes or signals.

Killed at any moment and started again it goes on from its last checkpoint with the same batches, the
same dropout, and (on a CPU) the same bits. Where several ranks train together each walks through it.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import torch

from backends.local import memory, reference, result
from backends.local.checkpoint import Checkpoints, Reached
from backends.local.ranks import Ranks
from backends.local.run import Run, append_json, read_jsonl, write_bytes
from backends.local.setup import Setup, prepare
from backends.local.step import Figures, Taken, diverged, take_step
from backends.local.tokens import Item

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
    keep, ranks = setup.body.get("keep_checkpoints", 2), setup.ranks
    lines, saved_at = _Lines(run, setup, reached.step), time.monotonic()
    for step, items in enumerate(setup.plan, 1):
        if step <= reached.step:
            continue
        if _no_longer_better(run, setup, reached):
            break
        setup, taken = _step_in_memory(run, setup, step, items)
        lines.begin(taken, sum(item.length for item in items))
        validates, stop = _validates(setup, step), ranks.any(stop_asked())
        late = ranks.any(time.monotonic() - saved_at > CHECKPOINT_EVERY_S)
        saves = stop or late or validates or step % _checkpoint_every(setup) == 0
        if saves:
            taken.read()  # nothing is kept of weights that are no numbers
        validated = _validate(run, step, setup) if validates else {}
        reached = reached.after(step, validated.get("validation_loss"))
        if saves:
            lines.end(validated)
            checkpoints.save(reached, keep=keep)
            saved_at = time.monotonic()
        if stop:
            run.event(
                "info", "stopped", f"asked to stop; the next start goes on after step {step}", step=step
            )
            raise Interrupted
    lines.end()
    return reached


def _step_in_memory(run: Run, setup: Setup, step: int, items: Sequence[Item]) -> tuple[Setup, Taken]:
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
    mine = torch.zeros((), dtype=torch.float64, device=setup.network.device)
    with torch.no_grad():
        for part, counts in setup.passes(setup.validation):
            mine += setup.objective.loss(part) * counts
    setup.network.model.train()
    total, told = Figures.of(setup, mine).read()
    loss = total / setup.objective.weight(setup.validation)
    if not math.isfinite(loss):
        raise diverged(step)
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


class _Lines:
    """A line of metrics for each step, written when the device is through with it: a step's figures are
    read after the next one was asked for. With the speed since this process began, and the time to go."""

    def __init__(self, run: Run, setup: Setup, done: int) -> None:
        self._run, self._setup, self._done = run, setup, done
        self._taken: Taken | None = None
        self._tokens = 0
        self._began = time.monotonic()

    def begin(self, taken: Taken, tokens: int) -> None:
        """A step was asked for; the one before it is over, or will be by the time it is read."""
        self.end()
        self._taken, self._tokens = taken, self._tokens + tokens

    def end(self, more: Mapping[str, float] | None = None) -> None:
        """Write what is still to be written, and `more` of the same step.

        Raises:
            BackendError: the step diverged.
        """
        if self._taken is None:
            return
        step, steps, figures = self._taken.step, self._setup.steps, self._taken.read()
        self._taken = None
        if not self._setup.ranks.first:
            return
        seconds = max(time.monotonic() - self._began, 1e-9)
        line = {
            "step": step, "steps": steps, **figures, **(more or {}),
            "tokens_per_s": round(self._tokens / seconds, 1),
            "eta_s": round(seconds / (step - self._done) * (steps - step), 1),
            "memory_gib": memory.high_water_gib(),
        }  # fmt: skip
        append_json(self._run.folder / "metrics.jsonl", line)


def _forget_metrics_after(run: Run, step: int) -> None:
    """Steps after the checkpoint are done again; their first lines must not stay beside the second."""
    path = run.folder / "metrics.jsonl"
    if path.exists():
        lines = path.read_bytes().splitlines(keepends=True)
        kept = sum(line["step"] <= step for line in read_jsonl(path))
        write_bytes(path, b"".join(lines[:kept]))
