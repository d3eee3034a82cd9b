"""What training minimises over some rows: the answers' tokens, or the preference between two answers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from torch import Tensor

from backends.local.batches import collate
from backends.local.network import Network
from backends.local.tokens import Item


class Objective(Protocol):
    """A loss that adds up: a step's loss is the sum over its rows divided by the sum of their weights,
    however the rows are divided into passes, or over processes."""

    def loss(self, items: Sequence[Item]) -> Tensor:
        """Summed over the rows; a scalar with a gradient."""
        ...

    def weight(self, items: Sequence[Item]) -> int:
        """What the sum is divided by."""
        ...


class AnswerTokens:
    """Supervised fine-tuning: cross-entropy over the trained tokens, each token alike."""

    def __init__(self, network: Network) -> None:
        self._network = network

    def loss(self, items: Sequence[Item]) -> Tensor:
        chats = [chat for item in items for chat in item.chats]
        return self._network.token_losses(collate(chats, self._network.device)).sum()

    def weight(self, items: Sequence[Item]) -> int:
        return sum(item.trained for item in items)


def objective(task: str, network: Network) -> Objective:
    """The objective of a task."""
    return AnswerTokens(network)
