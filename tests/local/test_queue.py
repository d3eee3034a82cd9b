"""Runs take turns on a machine: in order, within limits, and whatever dies."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from backends.local.queue import Limits, Queue, Turn, Waiting
from backends.local.run import Run
from tests.local.conftest import Bench, metrics, rows, until

ONE = Limits(("cpu-0",))


@pytest.fixture
def queue(tmp_path: Path) -> Queue:
    return Queue(tmp_path)


def _run(queue: Queue, tmp_path: Path, name: str, team: str = "a", needs: int = 1) -> Run:
    """A run that has a ticket and a living supervisor: this process."""
    run = Run(tmp_path / name)
    run.folder.mkdir()
    run.started("supervisor", os.getpid())
    queue.enter(run, team, needs)
    return run


def _took(found: Turn | Waiting) -> Turn:
    assert isinstance(found, Turn), found
    return found


def test_first_come_first_served(queue: Queue, tmp_path: Path) -> None:
    first, second, third = (_run(queue, tmp_path, name) for name in ("1", "2", "3"))
    assert queue.take(second, ONE) == Waiting(1, team_full=False)
    turn = _took(queue.take(first, ONE))
    assert queue.take(second, ONE) == Waiting(0, team_full=False)
    assert queue.take(third, ONE) == Waiting(1, team_full=False)
    turn.release()
    queue.leave(first)
    assert queue.take(third, ONE) == Waiting(1, team_full=False)
    assert _took(queue.take(second, ONE)).slots == ("cpu-0",)


def test_a_team_at_its_limit_holds_up_nobody(queue: Queue, tmp_path: Path) -> None:
    limits = Limits(("gpu-0", "gpu-1"), per_team=1)
    one, two = (_run(queue, tmp_path, name, "a") for name in ("a1", "a2"))
    other = _run(queue, tmp_path, "b1", "b")
    turn = _took(queue.take(one, limits))
    assert queue.take(two, limits) == Waiting(0, team_full=True)
    assert _took(queue.take(other, limits)).slots == ("gpu-1",)
    turn.release()
    queue.leave(one)
    assert _took(queue.take(two, limits)).slots == ("gpu-0",)


def test_one_that_needs_two_is_not_starved_by_those_that_need_one(queue: Queue, tmp_path: Path) -> None:
    limits = Limits(("gpu-0", "gpu-1"))
    small = _run(queue, tmp_path, "small")
    turn = _took(queue.take(small, limits))
    large = _run(queue, tmp_path, "large", needs=2)
    later = _run(queue, tmp_path, "later")
    assert queue.take(large, limits) == Waiting(0, team_full=False)
    assert queue.take(later, limits) == Waiting(1, team_full=False)  # though a slot is free
    turn.release()
    queue.leave(small)
    assert _took(queue.take(large, limits)).slots == ("gpu-0", "gpu-1")


def test_a_run_that_needs_more_than_there_is_takes_all(queue: Queue, tmp_path: Path) -> None:
    assert _took(queue.take(_run(queue, tmp_path, "1", needs=8), ONE)).slots == ("cpu-0",)


def test_a_ticket_without_a_living_supervisor_is_passed_over_and_kept(queue: Queue, tmp_path: Path) -> None:
    dead = Run(tmp_path / "dead")
    dead.folder.mkdir()
    queue.enter(dead, "a")
    living = _run(queue, tmp_path, "living")
    turn = _took(queue.take(living, ONE))
    turn.release()
    dead.started("supervisor", os.getpid())  # somebody looked at it again
    assert queue.take(living, ONE) == Waiting(1, team_full=False)
    _took(queue.take(dead, ONE))


def test_a_slot_is_held_until_the_last_process_that_works_on_it_is_gone(queue: Queue, tmp_path: Path) -> None:
    first, second = (_run(queue, tmp_path, name) for name in ("1", "2"))
    turn = _took(queue.take(first, ONE))
    training = subprocess.Popen(
        [sys.executable, "-c", "import sys; sys.stdin.read()"],
        stdin=subprocess.PIPE,
        pass_fds=turn.descriptors,
    )
    turn.release()  # as when the supervisor is killed
    queue.leave(first)
    assert isinstance(queue.take(second, ONE), Waiting)
    training.kill()
    training.communicate()
    _took(queue.take(second, ONE))


def test_a_run_that_ended_or_is_gone_waits_for_nothing(queue: Queue, tmp_path: Path) -> None:
    ended, gone, last = (_run(queue, tmp_path, name) for name in ("ended", "gone", "last"))
    ended.set_status("cancelled")
    for path in gone.folder.iterdir():
        path.unlink()
    gone.folder.rmdir()
    _took(queue.take(last, ONE))


def test_the_second_run_says_that_it_waits_and_begins_when_the_first_makes_room(bench: Bench) -> None:
    first = bench.submit(rows(), key="first", epochs=50)
    until(lambda: metrics(first))
    second = bench.submit(rows(), key="second", epochs=1)
    until(lambda: "waiting" in [event.kind for event in bench.backend.events(second)])
    found = bench.backend.poll(second)
    assert (found.state, found.message) == ("queued", "waiting for this machine: next")
    bench.backend.pause(first)
    assert bench.wait(second).state == "succeeded"
    assert bench.backend.poll(first).state == "paused"
    reached = metrics(first)[-1]["step"]
    bench.backend.resume(first)
    until(lambda: metrics(first)[-1]["step"] > reached)
