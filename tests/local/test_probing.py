"""A probe's own part: which steps it takes, what it counts of them, and how it fails."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backends.base import Staged
from backends.local.probing import chosen, machine
from gateway.core.errors import BackendError
from gateway.core.probe import Probe
from tests.local.conftest import Bench, rows

CANARY = "zebrafinch-quartz-7731"


@given(st.lists(st.integers(1, 10_000), max_size=200), st.integers(4, 40))
def test_steps_are_taken_in_order_from_the_smallest_to_the_largest(sizes: list[int], count: int) -> None:
    places = chosen(sizes, count)
    assert places == sorted(set(places))
    assert len(places) == min(count, len(sizes))
    if sizes:
        taken = [sizes[place] for place in places]
        assert (min(taken), max(taken)) == (min(sizes), max(sizes))


def probe(bench: Bench, name: str, data: list[dict[str, object]], **hyperparameters: object) -> Probe:
    translation = bench.translation(data, **hyperparameters)
    staged = [Staged(replace(file, sha256=None), str(bench.folder / file.name)) for file in translation.files]
    return bench.backend.probe(translation, staged, folder=bench.folder / name, steps=4)


def test_it_counts_what_a_whole_run_would_send_through(bench: Bench) -> None:
    found = probe(bench, "probe", rows(40))
    assert found.run_steps == 20  # two epochs of forty rows, four at a time
    assert found.run.count == 20
    assert found.machine == machine()
    assert max(step.passes.tokens for step in found.steps) == found.run.largest
    assert 0 < found.run.trained < found.run.tokens
    assert Probe.from_json(found.to_json(), "here") == found
    folder = bench.folder / "probe"
    assert not (folder / "unwanted").exists()
    assert not (folder / "checkpoints").exists()


def test_a_probe_that_cannot_step_says_why_and_quotes_nothing(bench: Bench) -> None:
    data = rows(8)
    data[0]["messages"][1]["content"] = CANARY * 40
    with pytest.raises(BackendError) as caught:
        probe(bench, "probe", [data[0]], max_length=16)
    assert "no row of the train split can be used" in str(caught.value)
    assert CANARY not in str(caught.value)
    log = Path(bench.folder / "probe" / "probe.log").read_text(encoding="utf-8")
    assert CANARY not in log
