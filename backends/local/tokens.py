"""Rows as training takes them: tokens, and which of them are trained."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from torch import Tensor

from backends.local.render import IGNORE


@dataclass(frozen=True, slots=True)
class Example:
    """One chat as int32 tensors of its length: tokens, and labels as `render` makes them."""

    ids_T: Tensor
    labels_T: Tensor

    @property
    def length(self) -> int:
        return len(self.ids_T)

    @property
    def chats(self) -> tuple[Example, ...]:
        return (self,)

    @property
    def trained(self) -> int:
        """Tokens that the loss is taken over; the first token of a chat has none before it."""
        return int(np.count_nonzero(self.labels_T.numpy()[1:] != IGNORE))


@dataclass(frozen=True, slots=True)
class Pair:
    """Two answers to one prompt, each as a whole chat; `chosen` is the one people preferred.

    Attributes:
        before: how much likelier the base finds the chosen answer, in nats; None until it is asked.
    """

    chosen: Example
    rejected: Example
    before: float | None = None

    @property
    def length(self) -> int:
        return self.chosen.length + self.rejected.length

    @property
    def chats(self) -> tuple[Example, ...]:
        return (self.chosen, self.rejected)

    @property
    def trained(self) -> int:
        return self.chosen.trained + self.rejected.trained


Item = Example | Pair  # what one row of the dataset becomes
