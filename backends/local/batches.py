"""Which rows make a step, in which passes, and as which tensors: the same for the same seed."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from backends.local.packing import Rows
from backends.local.render import IGNORE
from backends.local.tokens import Example, Item

BUCKET_STEPS = 16  # where rows are padded, those of this many steps are sorted by length together


@dataclass(frozen=True, slots=True)
class Batch:
    """Chats for one forward pass: side by side, or end to end in a single row.

    Side by side, padding comes last, where a causal model cannot see it, so no attention mask is needed
    and the fast kernels stay open.

    Attributes:
        ids_B_T: tokens, int64.
        labels_B_T: what is to be predicted *at* each position, int64, `IGNORE` where nothing is: the
            chat's labels moved one to the left.
        rows: where chats lie that are packed end to end.
    """

    ids_B_T: Tensor
    labels_B_T: Tensor
    rows: Rows | None = None

    @property
    def chat_N(self) -> Tensor:
        """For each trained position, in the order of `labels_B_T[trained]`, which chat it is of."""
        row_N, position_N = (self.labels_B_T != IGNORE).nonzero().unbind(1)
        if self.rows is None:
            return row_N
        return torch.bucketize(position_N, self.rows.bounds[1:], right=True)


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
    nothing = torch.tensor([IGNORE], dtype=torch.int32)
    ids = [chat.ids_T for chat in chats]
    labels = [torch.cat((chat.labels_T[1:], nothing)) for chat in chats]
    if packed:
        lengths = [chat.length for chat in chats]
        both = torch.cat(ids)[None], torch.cat(labels)[None]
        rows = Rows.of(lengths, device)
    else:
        pad = torch.nn.utils.rnn.pad_sequence
        both = pad(ids, batch_first=True), pad(labels, batch_first=True, padding_value=IGNORE)
        rows = None
    ids_B_T, labels_B_T = (each.long().to(device) for each in both)
    return Batch(ids_B_T, labels_B_T, rows)
