"""Several processes train one network: two here, over gloo, and the loss is one process's."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import psutil
import pytest

from backends.local import launch, train
from backends.local.loop import Interrupted
from backends.local.loop import train as train_alone
from backends.local.run import Run
from backends.local.tokens import Example
from tests.local.conftest import Bench, rows, until
from tests.local.test_resume import ROOT, after, lines, never, result, validated

PLAIN = {"lora": {"rank": 4, "alpha": 8, "dropout": 0.0}, "checkpoint_every": 3}
TWO = {**PLAIN, "processes": 2, "sharded": False}
PARTS = {**PLAIN, "processes": 2, "sharded": True}


def in_ranks(run: Run, expected: int = 0) -> Run:
    """In a process of its own: a signal that ends a rank ends the launcher, too."""
    done = launched(run)
    _, said = done.communicate()
    assert done.returncode == expected, said
    return run


def launched(run: Run) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "backends.local.train", str(run.folder)]
    return subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, text=True)


def close(run: Run, to: Run) -> None:
    ours, theirs = lines(run), lines(to)
    assert [line["step"] for line in ours] == [line["step"] for line in theirs]
    for name in ("loss", "grad_norm"):
        assert [line[name] for line in ours] == pytest.approx([line[name] for line in theirs], rel=2e-4)
    said = [[line["validation_loss"] for line in each if "validation_loss" in line] for each in (ours, theirs)]
    assert said[0] == pytest.approx(said[1], rel=2e-4)


def similar(one: bytes, other: bytes) -> None:
    import torch
    from safetensors.torch import load

    ours, theirs = load(one), load(other)
    assert ours.keys() == theirs.keys()
    for name, value in ours.items():
        torch.testing.assert_close(value, theirs[name], rtol=5e-3, atol=5e-4)


@pytest.mark.parametrize("body", [pytest.param(TWO, id="whole"), pytest.param(PARTS, id="in parts")])
def test_two_processes_learn_what_one_does(bench: Bench, body: dict[str, Any]) -> None:
    """Rows of a step that do not divide by two, fewer rows than processes, passes of unequal number."""
    shape: dict[str, Any] = {"epochs": 1, "batch_size": 5}
    small = {"micro_batch_tokens": 30}
    alone = validated(bench, "alone", body={**PLAIN, **small}, **shape)
    train_alone(alone, never)
    together = in_ranks(validated(bench, "together", body={**body, **small}, **shape))
    close(together, alone)
    similar(result(together), result(alone))
    begins = [event for event in together.events() if event.kind == "training"]
    assert [event.data["processes"] for event in begins] == [2]
    assert not list(together.folder.glob(".ranks*"))
