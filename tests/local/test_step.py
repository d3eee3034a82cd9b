"""A step is asked of the device as a whole: in none of its operations the host waits for what was found."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from backends.local import reference
from backends.local.ranks import Ranks
from backends.local.setup import Setup, prepare
from backends.local.step import take_step
from backends.local.tokens import Example, Item, Pair
from tests.local.conftest import Bench, rows

WAITING = {
    "_local_scalar_dense",
    "nonzero",
    "nonzero_static",
    "masked_select",
    "_unique2",
    "is_nonzero",
    "equal",
}


class Unasked(TorchDispatchMode):
    """Refuses what would make the host wait for a GPU, on a CPU as well."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = func.overloadpacket.__name__
        by_mask = name in ("index", "index_put", "index_put_") and any(
            each is not None and each.dtype is torch.bool for each in args[1]
        )
        if name in WAITING or by_mask:
            raise AssertionError(f"{name} waits for the device")
        return func(*args, **(kwargs or {}))


def ready(bench: Bench, name: str, **body: Any) -> Setup:
    run = bench.prepare(rows(12), name, body={"max_length": 64, **body})
    return reference.unasked(prepare(run, Ranks()))


@pytest.mark.parametrize(
    "body",
    [{}, {"method": "full"}, {"checkpointing": True}, {"precision": "bf16"}, {"micro_batch_tokens": 30}],
    ids=["lora", "full", "checkpointing", "bf16", "several passes"],
)
def test_no_step_waits_for_the_device(bench: Bench, body: dict[str, Any]) -> None:
    setup = ready(bench, "one", **body)
    items = next(iter(setup.plan))
    with Unasked():
        taken = [take_step(setup, step, items) for step in (1, 2)]
    assert taken[1].read()["loss"] < taken[0].read()["loss"]


def test_what_waits_is_seen(bench: Bench) -> None:
    taken = take_step(setup := ready(bench, "one"), 1, next(iter(setup.plan)))
    with pytest.raises(AssertionError, match="_local_scalar_dense"), Unasked():
        taken.read()


def test_padded_rows_and_preferences_do_not_wait_either(bench: Bench) -> None:
    setup = ready(bench, "padded")
    setup.network.packs = False
    with Unasked():
        take_step(setup, 1, next(iter(setup.plan)))
    examples = [item for item in setup.items if isinstance(item, Example)]
    pairs: list[Item] = [Pair(*examples[:2], before=0.5), Pair(*examples[2:4], before=0.0)]
    from backends.local.objective import Preference

    preferring = Preference(setup.network, 0.1)
    with Unasked():
        preferring.loss(pairs).backward()  # pyright: ignore[reportUnknownMemberType]
        told = preferring.told()
    assert told.rows == 2
    assert set(told.sums) == {"accuracy", "margin"}
