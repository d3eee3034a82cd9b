"""Which rows make a step, in which passes, and as which tensors."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import torch
from hypothesis import given
from hypothesis import strategies as st

from backends.local.batches import collate, passes, steps
from backends.local.render import IGNORE
from backends.local.tokens import Example, Item, Pair

CPU = torch.device("cpu")


def _list(tensor: Any) -> list[Any]:
    return tensor.tolist()


def _chat(length: int, number: int = 0) -> Example:
    ids = torch.full((length,), number + 1, dtype=torch.int32)
    labels = ids.clone()
    labels[: length // 2] = IGNORE
    return Example(ids, labels)


def _items(lengths: Sequence[int]) -> list[Item]:
    return [_chat(length, number) for number, length in enumerate(lengths)]


lengths = st.lists(st.integers(1, 60), min_size=1, max_size=80)


@given(lengths, st.integers(1, 9), st.integers(1, 3), st.integers(0, 99), st.booleans())
def test_every_epoch_has_every_row_once(
    found: list[int], size: int, epochs: int, seed: int, packed: bool
) -> None:
    items = _items(found)
    plan = list(steps(items, epochs, size, seed, packed=packed))
    an_epoch = -(-len(items) // size)
    assert len(plan) == epochs * an_epoch
    for begin in range(0, len(plan), an_epoch):
        seen = [id(item) for step in plan[begin : begin + an_epoch] for item in step]
        assert sorted(seen) == sorted(map(id, items))
    assert [[id(item) for item in step] for step in plan] == [
        [id(item) for item in step] for step in steps(items, epochs, size, seed, packed=packed)
    ]


@given(lengths, st.integers(1, 9), st.integers(0, 99))
def test_the_order_of_packed_rows_asks_nothing_of_their_length(
    found: list[int], size: int, seed: int
) -> None:
    """Rows that are alike in a step teach less; nothing is won by it where nothing is padded."""
    one, other = (
        [places[id(item)] for step in steps(items, 1, size, seed, packed=True) for item in step]
        for items in (_items(found), _items([7] * len(found)))
        for places in ({id(item): place for place, item in enumerate(items)},)
    )
    assert one == other


@given(lengths, st.integers(1, 9))
def test_padded_rows_lie_beside_others_of_their_length(found: list[int], size: int) -> None:
    plan = list(steps(_items(found), 1, size, 3, packed=False))
    if len(found) <= size * 16:  # all of them are sorted together
        spans = sorted((min(each), max(each)) for each in ([item.length for item in step] for step in plan))
        assert all(before[1] <= after[0] for before, after in pairwise(spans))


@given(lengths, st.integers(1, 200), st.booleans())
def test_passes_hold_every_row_and_no_more_than_fits(found: list[int], tokens: int, packed: bool) -> None:
    items = _items(found)
    parts = list(passes(items, tokens, packed=packed))
    assert sorted(id(item) for part in parts for item in part) == sorted(map(id, items))
    for part in parts:
        held = [item.length for item in part]
        assert len(part) == 1 or (sum(held) if packed else len(held) * max(held)) <= tokens


def test_a_pair_is_never_divided() -> None:
    pairs = [Pair(_chat(9), _chat(30)) for _ in range(3)]
    for packed in (True, False):
        assert [len(part) for part in passes(pairs, 10, packed=packed)] == [1, 1, 1]


@given(lengths)
def test_labels_stand_one_before_their_token_packed_or_not(found: list[int]) -> None:
    chats = [_chat(length, number) for number, length in enumerate(found)]
    packed, padded = collate(chats, CPU, packed=True), collate(chats, CPU)
    needed = [max(1, length - 1) for length in found]  # nothing follows on the last token
    assert packed.ids_B_T.shape == (1, sum(needed))
    assert padded.ids_B_T.shape == (len(found), max(needed))
    for batch in (packed, padded):
        expected = [number + 1 for number, chat in enumerate(chats) for _ in range(chat.trained)]
        assert _list(batch.labels_N) == expected
        assert _list(batch.ids_B_T.flatten()[batch.at_N]) == expected
        assert _list(batch.chat_N + 1) == expected


def test_what_comes_after_the_last_trained_token_is_left_out() -> None:
    ids = torch.arange(10, dtype=torch.int32)
    labels = torch.full_like(ids, IGNORE)
    labels[[3, 6]] = ids[[3, 6]]
    for packed in (True, False):
        batch = collate([Example(ids, labels)], CPU, packed=packed)
        assert _list(batch.ids_B_T) == [[0, 1, 2, 3, 4, 5]]
        assert (_list(batch.at_N), _list(batch.labels_N)) == ([2, 5], [3, 6])


@given(lengths)
def test_packed_positions_count_from_nought_in_every_row(found: list[int]) -> None:
    rows = collate([_chat(length) for length in found], CPU, packed=True).rows
    assert rows is not None
    assert _list(rows.positions_1_T) == [[at for length in rows.lengths for at in range(length)]]
