"""Which rows make a step, in which passes, and as which tensors: the same for the same seed."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from backends.local.packing import Rows, sent
from backends.local.render import IGNORE
from backends.local.tokens import Example, Item

BUCKET_STEPS = 16  # where rows are padded, those of this many steps are sorted by length together


@dataclass(frozen=True, slots=True)
class Batch:
    """Chats for one forward pass: side by side, or end to end in a single row.

    Side by side, padding comes last, where a causal model cannot see it, so no attention mask is needed
    and the fast kernels stay open. Of each chat there is as much as its last trained token follows from.
    All of it is made on the host, so that a GPU is never asked, and waited for, where anything lies.

    Attributes:
        ids_B_T: tokens, int64.
        at_N: places in the flattened tokens after which a trained one follows, int64.
        labels_N: the token that follows there, int64.
        chat_N: which chat it is of, int64.
        rows: where chats lie that are packed end to end.
    """

    ids_B_T: Tensor
    at_N: Tensor
    labels_N: Tensor
    chat_N: Tensor
    rows: Rows | None = None


def steps(items: Sequence[Item], epochs: int, size: int, seed: int, *, packed: bool) -> Iterator[list[Item]]:
    """Rows of one optimizer step each, in a new order every epoch.

    Packed, that is a plain shuffle. Where rows are padded, those of similar length are brought together
    and the steps shuffled: little is padding then, and a little less is learnt by it.
    """
    for epoch in range(epochs):
        order = random.Random(f"{seed}:{epoch}")  # noqa: S311  not for secrets
        shuffled = order.sample(range(len(items)), len(items))
        if not packed:
            shuffled = _alike(items, shuffled, size)
        begins = list(range(0, len(shuffled), size))
        if not packed:
            order.shuffle(begins)
        for begin in begins:
            yield [items[index] for index in shuffled[begin : begin + size]]


def passes(step: Sequence[Item], tokens: int, *, packed: bool) -> Iterator[list[Item]]:
    """Parts of a step that fit one forward pass of so many tokens, padding included. Never fewer than one
    row, whose chats stay together."""
    part: list[Item] = []
    held = Held(packed)
    for item in step if packed else sorted(step, key=lambda item: item.length):
        if part and held.and_also(item).tokens > tokens:
            yield part
            part, held = [], Held(packed)
        part.append(item)
        held = held.and_also(item)
    if part:
        yield part


@dataclass(frozen=True, slots=True)
class Held:
    """What some rows take up in one pass, padding included where they are not packed."""

    packed: bool
    chats: int = 0
    longest: int = 0
    real: int = 0

    @property
    def tokens(self) -> int:
        return self.real if self.packed else self.chats * self.longest

    def and_also(self, *items: Item) -> Held:
        lengths = [chat.length for item in items for chat in item.chats]
        chats, longest = self.chats + len(lengths), max(self.longest, *lengths)
        return Held(self.packed, chats, longest, self.real + sum(lengths))


def _alike(items: Sequence[Item], order: Sequence[int], size: int) -> list[int]:
    """The same order, sorted by length within so many steps."""
    found: list[int] = []
    window = size * BUCKET_STEPS
    for begin in range(0, len(order), window):
        found += sorted(order[begin : begin + window], key=lambda index: items[index].length)
    return found


def collate(chats: Sequence[Example], device: torch.device, *, packed: bool = False) -> Batch:
    """Tensors of some chats: chats × longest, or where they are `packed` 1 × all of them."""
    nexts = [chat.labels_T.numpy()[1:] for chat in chats]
    trained = [np.flatnonzero(each != IGNORE) for each in nexts]
    lengths = [int(each[-1]) + 1 if len(each) else 1 for each in trained]
    ids = [chat.ids_T.numpy()[:length] for chat, length in zip(chats, lengths, strict=True)]
    longest = max(lengths)
    if packed:
        ids_B_T, begins = np.concatenate(ids)[None], np.cumsum([0, *lengths[:-1]])
    else:
        begins = np.arange(len(chats)) * longest
        ids_B_T = np.stack([np.pad(each, (0, longest - len(each))) for each in ids])
    at_N = np.concatenate([begin + each for begin, each in zip(begins, trained, strict=True)])
    labels_N = np.concatenate([each[at] for each, at in zip(nexts, trained, strict=True)])
    chat_N = np.repeat(np.arange(len(chats)), [len(each) for each in trained])
    at = sent(at_N, device)
    return Batch(
        sent(ids_B_T.astype(np.int64), device),
        at,
        sent(labels_N.astype(np.int64), device),
        sent(chat_N, device),
        Rows.of(lengths, device, at) if packed else None,
    )
