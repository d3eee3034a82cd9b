"""One optimizer step: gradients made in passes, summed over the ranks, clipped, stepped along.

Nothing here waits for a GPU: a step is asked for as a whole, and its figures are read when the next one
has been asked for, so that the device always has something to do.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from backends.local import memory
from backends.local.setup import Setup
from backends.local.tokens import Item
from gateway.core.errors import BackendError

WARMUP_SHARE = 0.05
MAX_GRAD_NORM = 1.0


@dataclass(frozen=True, slots=True)
class Figures:
    """What was found over some rows, at all ranks, while the device may still be at it.

    Attributes:
        sums: the loss, how many rows more is told of, and that, summed over them; float64.
        names: of what more is told, in order.
    """

    sums: Tensor
    names: tuple[str, ...]

    @classmethod
    def of(cls, setup: Setup, loss: Tensor) -> Figures:
        """A loss of this rank's, and what the objective tells of the rows since it was last asked."""
        told = setup.objective.told()
        rows = torch.full((), told.rows, dtype=torch.float64, device=loss.device)
        sums = torch.stack([loss.detach().double(), rows, *(each.double() for each in told.sums.values())])
        return cls(setup.ranks.add_up(sums), tuple(told.sums))

    def read(self) -> tuple[float, dict[str, float]]:
        """The loss, and what more is told, by row. Waits for the device."""
        found: list[float] = self.sums.tolist()  # pyright: ignore[reportUnknownMemberType, reportUnknownVariableType]
        loss, rows, *told = found
        return loss, {name: value / max(1, rows) for name, value in zip(self.names, told, strict=True)}


@dataclass(frozen=True, slots=True)
class Taken:
    """A step that was asked for."""

    step: int
    rate: float
    norm: Tensor
    figures: Figures

    def read(self) -> dict[str, float]:
        """Its loss, rate and gradient norm, and what else the objective tells. Waits for the device.

        Raises:
            BackendError: the loss or the gradient is no number any more. The weights are none either
                by then, and must not be saved.
        """
        loss, told = self.figures.read()
        norm = float(self.norm)
        if not (math.isfinite(loss) and math.isfinite(norm)):
            raise diverged(self.step)
        return {"loss": loss, "lr": self.rate, "grad_norm": norm, **told}


def take_step(setup: Setup, step: int, items: Sequence[Item]) -> Taken:
    """One optimizer step over some rows, in as many passes as fit.

    Raises:
        BackendError: the optimizer itself has no room.
        RuntimeError, MemoryError: there was no room for a pass. Nothing has changed by then, and the
            same step can be begun again.
    """
    return apply_gradients(setup, step, make_gradients(setup, step, items))


def make_gradients(setup: Setup, step: int, items: Sequence[Item]) -> Tensor:
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


def apply_gradients(setup: Setup, step: int, loss: Tensor) -> Taken:
    """Gradients summed over the ranks, clipped and stepped along."""
    optimizer, ranks = setup.optimizer, setup.ranks
    parameters = list(setup.network.trainable().values())
    ranks.sum_gradients(parameters)
    norm = ranks.clip(parameters, MAX_GRAD_NORM)
    rate = _rate(setup.body["learning_rate"], step, setup.steps)
    for group in optimizer.param_groups:
        group["lr"] = rate
    try:
        optimizer.step()  # pyright: ignore[reportUnknownMemberType]
    except RuntimeError as error:
        raise (memory.not_enough() if memory.is_short(error) else error) from None
    return Taken(step, rate, norm, Figures.of(setup, loss))


def diverged(step: int) -> BackendError:
    """What ends a run whose loss is no number."""
    return BackendError(
        f"the loss is no number any more at step {step}",
        backend="local",
        place="training",
        fix="lower hyperparameters.learning_rate (a third of it is a good next try)",
    )


def _rate(peak: float, step: int, steps: int) -> float:
    """Linear warm-up, then a cosine down to nothing."""
    warmup = max(1, round(WARMUP_SHARE * steps))
    if step <= warmup:
        return peak * step / warmup
    return peak * 0.5 * (1 + math.cos(math.pi * (step - warmup) / max(1, steps - warmup + 1)))
