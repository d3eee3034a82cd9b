"""What the base thinks of every pair of answers, asked once before the first step.

DPO holds the network against the base it began as. Asking it anew at every step takes a forward pass
a step; a second copy takes its memory. Before the first step the network *is* the base, so one pass
over the rows is enough for every method, and the run's folder keeps the answers for when it goes on.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace

import torch

from backends.local.objective import preferences
from backends.local.run import Run, read_json, write_json
from backends.local.setup import Setup
from backends.local.tokens import Item, Pair
from gateway.core.spec import canonical_sha256


def asked(run: Run, setup: Setup) -> Setup:
    """The same setup, each pair of which knows what the base thinks of it. To be called before any weight
    is changed, or a checkpoint read."""
    if setup.body["task"] != "dpo":
        return setup
    return replace(
        setup,
        items=_known(run, setup, "train", setup.items),
        validation=_known(run, setup, "validation", setup.validation),
    )


def unasked(setup: Setup) -> Setup:
    """The same, with a base that finds all answers alike: for measuring steps, not for learning."""
    items = [replace(item, before=0.0) if isinstance(item, Pair) else item for item in setup.items]
    return replace(setup, items=items)


def _known(run: Run, setup: Setup, split: str, items: Sequence[Item]) -> Sequence[Item]:
    pairs = [item for item in items if isinstance(item, Pair)]
    path, of = run.folder / f"reference-{split}.json", _identity(setup)
    kept = read_json(path)
    if kept is None or kept["of"] != of:
        began = time.monotonic()
        kept = {"of": of, "before": _ask(setup, pairs)}
        if setup.ranks.first and pairs:
            write_json(path, kept)
            run.event(
                "info", "reference", f"{split}: the base was asked about {len(pairs)} pairs",
                split=split, pairs=len(pairs), seconds=round(time.monotonic() - began, 1),
            )  # fmt: skip
    return [replace(pair, before=before) for pair, before in zip(pairs, kept["before"], strict=True)]


def _ask(setup: Setup, pairs: Sequence[Pair]) -> list[float]:
    """Every rank asks about its share, and hears of the others'."""
    places = {id(pair): place for place, pair in enumerate(pairs)}
    before = torch.zeros(len(pairs), dtype=torch.float64)
    if pairs:
        with setup.network.untrained():
            for part, counts in setup.passes(pairs):
                mine = [pair for pair in part if isinstance(pair, Pair)]
                found = preferences(setup.network, mine).double().cpu()
                before[[places[id(pair)] for pair in mine]] += found * counts
    return [value.item() for value in setup.ranks.add_up(before)]


def _identity(setup: Setup) -> str:
    origin = setup.origin
    return canonical_sha256({"settings": origin.settings, "hashes": origin.hashes} if origin else {})
