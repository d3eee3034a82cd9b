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

BUCKET_STEPS = 16  # rows of this many steps are sorted by length together


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


def steps(items: Sequence[Item], epochs: int, size: int, seed: int) -> Iterator[list[Item]]:
    """Rows of one optimizer step each: shuffled, then rows of similar length brought together so that
    little is padding, then the steps shuffled."""
    for epoch in range(epochs):
        order = random.Random(f"{seed}:{epoch}")  # noqa: S311  not for secrets
        shuffled = order.sample(range(len(items)), len(items))
        window = size * BUCKET_STEPS
        found: list[list[Item]] = []
        by_length: list[int] = []
        for begin in range(0, len(shuffled), window):
            by_length += sorted(shuffled[begin : begin + window], key=lambda index: items[index].length)
        for begin in range(0, len(by_length), size):
            found.append([items[index] for index in by_length[begin : begin + size]])
        order.shuffle(found)
        yield from found


def passes(step: Sequence[Item], tokens: int) -> Iterator[list[Item]]:
    """Parts of a step that fit one forward pass: chats × longest chat ≤ `tokens`. Never fewer than one
    row, whose chats stay together."""
    part: list[Item] = []
    for item in sorted(step, key=lambda item: item.length):
        chats = [chat for other in (*part, item) for chat in other.chats]
        if part and len(chats) * max(chat.length for chat in chats) > tokens:
            yield part
            part = []
        part.append(item)
    if part:
        yield part


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
