"""Several processes train one network: two here, over gloo, and the loss is one process's."""

from __future__ import annotations

import signal
import subprocess
import sys
from typing import Any

import psutil
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load

from backends.local import launch, train
from backends.local.loop import train as train_alone
from backends.local.ranks import Ranks
from backends.local.run import Run, write_json
from backends.local.tokens import Example
from tests.local.conftest import Bench, rows, until
from tests.local.test_resume import METHODS, ROOT, lines, never, pairs, result, validated

PLAIN = {"lora": {"rank": 4, "alpha": 8, "dropout": 0.0}, "checkpoint_every": 3}
TWO = {**PLAIN, "processes": 2, "sharded": False}
PARTS = {**PLAIN, "processes": 2, "sharded": True}


def in_ranks(run: Run) -> Run:
    """In a process of its own: a signal that ends a rank ends the launcher, too."""
    done = launched(run)
    _, said = done.communicate()
    assert done.returncode == 0, said
    return run


def launched(run: Run) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "backends.local.train", str(run.folder)]
    return subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, text=True)


def close(run: Run, to: Run) -> None:
    ours, theirs = lines(run), lines(to)
    assert [line["step"] for line in ours] == [line["step"] for line in theirs]
    for name in ("loss", "grad_norm"):
        assert [line[name] for line in ours] == pytest.approx([line[name] for line in theirs], rel=2e-4)
    said = [
        [line["validation_loss"] for line in each if "validation_loss" in line] for each in (ours, theirs)
    ]
    assert said[0] == pytest.approx(said[1], rel=2e-4)


def similar(one: bytes, other: bytes) -> None:
    ours, theirs = load(one), load(other)
    assert ours.keys() == theirs.keys()
    for name, value in ours.items():
        torch.testing.assert_close(value, theirs[name], rtol=5e-3, atol=5e-4)


@pytest.mark.slow
@pytest.mark.parametrize(
    "body",
    [
        pytest.param(TWO, id="whole"),
        pytest.param(PARTS, id="in parts"),
        pytest.param({**PARTS, **METHODS["full"]}, id="all weights in parts"),
        pytest.param({**TWO, **METHODS["dpo"]}, id="preferences"),
        pytest.param({**PARTS, **METHODS["dpo full"]}, id="preferences in parts"),
    ],
)
def test_two_processes_learn_what_one_does(bench: Bench, body: dict[str, Any]) -> None:
    """Rows of a step that do not divide by two, fewer rows than processes, passes of unequal number."""
    shape: dict[str, Any] = {"epochs": 1, "batch_size": 5, "data": pairs if "task" in body else rows}
    body = {**body, "micro_batch_tokens": 30}
    alone = validated(bench, "alone", body={**body, "processes": 1, "sharded": False}, **shape)
    train_alone(alone, never)
    together = in_ranks(validated(bench, "together", body=body, **shape))
    assert together.status.state == "succeeded", together.status
    close(together, alone)
    similar(result(together), result(alone))
    begins = [event for event in together.events() if event.kind == "training"]
    assert [event.data["processes"] for event in begins] == [2]
    assert not list(together.folder.glob(".ranks*"))


@pytest.mark.slow
def test_stopped_lost_and_alone_again_it_is_one_run(bench: Bench) -> None:
    """Two with all the weights each, then two with a part each, then one: each goes on where the last
    was, however that one ended."""
    shape: dict[str, Any] = {"epochs": 6, "learning_rate": 1e-3}
    alone = validated(bench, "alone", body=PLAIN, **shape)
    train_alone(alone, never)
    run = validated(bench, "run", body=TWO, **shape)

    stopped = launched(run)
    until(lambda: _steps(run) >= 5)
    stopped.terminate()
    stopped.communicate()
    assert stopped.returncode == train.INTERRUPTED
    reached = _steps(run)
    assert (run.folder / "checkpoints" / f"step-{reached:06d}").is_dir()

    _change(run, PARTS)
    lost = launched(run)
    until(lambda: _steps(run) >= reached + 4)
    ranks = psutil.Process(lost.pid).children()
    ranks[1].kill()
    lost.communicate()
    assert lost.returncode == -signal.SIGKILL
    assert not any(rank.is_running() for rank in ranks)
    assert "rank_lost" in [event.kind for event in run.events()]

    _change(run, PLAIN)
    train_alone(run, never)
    assert [event.data["processes"] for event in run.events() if event.kind == "training"] == [2, 2, 1]
    close(run, alone)
    similar(result(run), result(alone))


@pytest.mark.slow
def test_ranks_end_with_whoever_started_them(bench: Bench) -> None:
    run = validated(bench, "run", body=TWO, epochs=50)
    launcher = launched(run)
    until(lambda: _steps(run) >= 1)
    ranks = psutil.Process(launcher.pid).children()
    assert len(ranks) == 2
    launcher.kill()
    launcher.communicate()
    _, alive = psutil.wait_procs(ranks, timeout=20)
    assert not alive


@pytest.mark.slow
def test_what_stops_all_is_told_once(bench: Bench) -> None:
    run = bench.prepare(rows(8), "run", body=TWO)
    with (bench.folder / "train.jsonl").open("a", encoding="utf-8") as file:
        file.write("{}\n")
    in_ranks(run)
    assert [event.kind for event in run.events()].count("failed") == 1
    assert "changed after" in (run.status.message or "")
    assert not list(run.folder.glob(".ranks*"))


def _steps(run: Run) -> int:
    path = run.folder / "metrics.jsonl"
    return path.read_bytes().count(b"\n") if path.exists() else 0


def _change(run: Run, body: dict[str, Any]) -> None:
    config = run.config
    ways = {"processes": 1, "sharded": False}
    write_json(run.folder / "run.json", {**config, "body": {**config["body"], **ways, **body}})


@given(lengths=st.lists(st.integers(1, 500), max_size=40), count=st.integers(1, 5))
def test_every_row_of_a_step_is_somebodys_and_nobody_has_much_more(lengths: list[int], count: int) -> None:
    items = [Example(torch.zeros(n, dtype=torch.int32), torch.zeros(n, dtype=torch.int32)) for n in lengths]
    shares = Ranks(0, count).shares(items)
    assert shares == Ranks(count - 1, count).shares(items)
    assert len(shares) == count
    assert sorted(id(item) for share in shares for item in share) == sorted(id(item) for item in items)
    tokens = [sum(item.length for item in share) for share in shares]
    assert max(tokens) - min(tokens) <= max(lengths, default=0)


def test_the_verdict_over_ends_of_ranks(bench: Bench) -> None:
    """A process that died has ended what the others say of it; a known reason goes before an unknown one."""
    run = bench.prepare(rows(8), "run", body=TWO)
    unknown = {"code": "backend", "message": "connection closed", "place": None, "fix": None}
    launch.leave_failure(run, 0, {**unknown, "foreseen": False})
    launch.leave_failure(run, 1, {**unknown, "message": "the disk is full", "foreseen": True})
    ends = {
        (0, 0): 0,
        (75, 75): 75,
        (70, 77): launch.AGAIN,
        (70, -9): -9,
        (70, 70): 0,
    }
    for codes, verdict in ends.items():
        assert launch.verdict(run, codes, never) == verdict
    assert launch.verdict(run, (-15, 70), lambda: True) == launch.INTERRUPTED
    assert run.status.message == "the disk is full"
