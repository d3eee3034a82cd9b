"""What training minimises over some rows: the answers' tokens, or the preference between two answers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

from backends.local.network import Network
from backends.local.packing import sent
from backends.local.tokens import Item, Pair


@dataclass(frozen=True, slots=True)
class Told:
    """Figures beside the loss, summed over so many rows."""

    rows: int
    sums: Mapping[str, Tensor]


class Objective(Protocol):
    """A loss that adds up: a step's loss is the sum over its rows divided by the sum of their weights,
    however the rows are divided into passes, or over processes."""

    def loss(self, items: Sequence[Item]) -> Tensor:
        """Summed over the rows; a scalar with a gradient."""
        ...

    def weight(self, items: Sequence[Item]) -> int:
        """What the sum is divided by."""
        ...

    def told(self) -> Told:
        """Of all rows whose loss was asked for since this was last called."""
        ...


class AnswerTokens:
    """Supervised fine-tuning: cross-entropy over the trained tokens, each token alike."""

    def __init__(self, network: Network) -> None:
        self._network = network

    def loss(self, items: Sequence[Item]) -> Tensor:
        chats = [chat for item in items for chat in item.chats]
        return self._network.token_losses(self._network.batch(chats)).sum()

    def weight(self, items: Sequence[Item]) -> int:
        return sum(item.trained for item in items)

    def told(self) -> Told:
        return Told(0, {})


class Preference:
    """Direct preference optimisation (Rafailov et al. 2023, https://arxiv.org/abs/2305.18290), each pair
    alike: how much more the network prefers the chosen answer than its base did, through a sigmoid.

    Args:
        beta: how dear it is to move away from the base.
    """

    def __init__(self, network: Network, beta: float) -> None:
        self._network, self._beta = network, beta
        self._rewards: list[Tensor] = []

    def loss(self, items: Sequence[Item]) -> Tensor:
        pairs = [item for item in items if isinstance(item, Pair)]
        before = sent(np.array([_before(pair) for pair in pairs], np.float32), self._network.device)
        margins_B = self._beta * (preferences(self._network, pairs) - before)
        self._rewards.append(margins_B.detach())
        return -logsigmoid(margins_B).sum()

    def weight(self, items: Sequence[Item]) -> int:
        return len(items)

    def told(self) -> Told:
        """`accuracy`: share of pairs whose chosen answer gained more than the other; `margin`: by how much,
        times beta, in nats."""
        rewards = torch.cat([torch.zeros(0, device=self._network.device), *self._rewards])
        self._rewards.clear()
        return Told(len(rewards), {"accuracy": (rewards > 0).sum(), "margin": rewards.double().sum()})


def preferences(network: Network, pairs: Sequence[Pair]) -> Tensor:
    """How much likelier than the rejected the chosen answer is to a network, in nats, shape B."""
    batch = network.batch([chat for pair in pairs for chat in pair.chats])
    losses_N = network.token_losses(batch)
    zeros = torch.zeros(2 * len(pairs), dtype=losses_N.dtype, device=losses_N.device)
    chosen_B, rejected_B = zeros.index_add(0, batch.chat_N, losses_N).view(-1, 2).unbind(1)
    return rejected_B - chosen_B


def objective(body: Mapping[str, Any], network: Network) -> Objective:
    """The objective of a run's body."""
    return AnswerTokens(network) if body["task"] == "sft" else Preference(network, body["beta"])


def _before(pair: Pair) -> float:
    if pair.before is None:
        raise AssertionError("the base is asked about every pair before the first step")
    return pair.before
