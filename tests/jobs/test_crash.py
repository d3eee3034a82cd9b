"""Killed between any two lines, and run again by anyone: one upload of each file, one remote job.

A process is forked, runs a job, and is killed with SIGKILL at one point; then this process takes the
job up where it was left. Points are found by running once without a kill: before and after every
commit, and before and after every call of the backend takes effect.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from gateway.core.facts import LookupHow
from gateway.core.job import JobState
from gateway.jobs.model import Job
from gateway.jobs.store import Store
from tests.jobs.world import FolderBackend, World, a_store_in

Point = Callable[[str], None]

# What is done in the dispatch of a job with two files, in order; each is a point before and after.
DISPATCH = (
    "commit lease", "commit move", "commit release",  # planned → staging
    "commit lease",
    "commit intend_upload", "stage", "commit record_upload",
    "commit intend_upload", "stage", "commit record_upload",
    "commit move", "commit release",  # staging → submitting
    "commit lease", "commit intend", "submit", "commit move", "commit release",  # submitting → queued
)  # fmt: skip
POINTS = [f"{n:02d} {when} {what}" for n, what in enumerate(DISPATCH) for when in ("before", "after")]


def test_the_points_are_all_there_are(tmp_path: Path) -> None:
    seen: list[str] = []
    world = _world(tmp_path, "token", seen.append)
    job = world.new_job()
    world.reconciler(_watched(world, seen.append)).follow(job.id, until=_dispatched)
    assert [name.split(" ", 1)[1] for name in POINTS] == seen


@pytest.mark.parametrize("how", ["token", pytest.param("filter", marks=pytest.mark.slow)])
@pytest.mark.parametrize("point", POINTS)
def test_killed_at_any_point_a_job_is_dispatched_once(tmp_path: Path, point: str, how: LookupHow) -> None:
    world = _killed_at(tmp_path, point, how)
    [job] = world.store.list()
    done = world.reconciler().follow(job.id)
    assert (done.state, done.evaluation, done.closed) == (JobState.SUCCEEDED, "done", True)
    assert world.backend.uploads == 2
    assert len(world.backend.jobs) == 1
    assert len(world.recorded) == 1


@pytest.mark.parametrize("point", [point for point in POINTS if "submit" in point or "intend" in point[-6:]])
def test_where_nothing_can_be_looked_up_a_person_is_asked_rather_than_a_second_job_made(
    tmp_path: Path, point: str
) -> None:
    world = _killed_at(tmp_path, point, "none")
    [job] = world.store.list()
    left = world.reconciler().follow(job.id)
    assert len(world.backend.jobs) <= 1
    if point.endswith("before commit intend"):  # the one place where it is sure that nothing was sent
        assert left.state is JobState.SUCCEEDED
    else:
        assert (left.state, left.waits_for_a_person) == (JobState.SUBMITTING, True)


def test_killed_while_it_evaluates_a_job_is_evaluated_again(tmp_path: Path) -> None:
    world = _world(tmp_path, "token")
    job = world.new_job()

    def child(die: Point) -> None:
        world.at = die
        world.reconciler(world.again()).follow(job.id)

    _run_and_die(child)
    left = world.store.get(job.id)
    assert (left.state, left.evaluation) == (JobState.SUCCEEDED, "running")
    done = world.reconciler().follow(job.id)
    assert (done.evaluation, world.evaluated, done.closed) == ("done", 1, True)


def test_an_evaluation_that_kills_its_process_every_time_is_given_up(tmp_path: Path) -> None:
    world = _world(tmp_path, "token")
    job = world.new_job()

    def child(die: Point) -> None:
        world.at = die
        world.reconciler(world.again()).follow(job.id)

    for _ in range(3):
        _run_and_die(child)
    done = world.reconciler().follow(job.id)
    assert (done.evaluation, world.evaluated, done.state) == ("failed", 0, JobState.SUCCEEDED)


def _killed_at(tmp_path: Path, point: str, how: LookupHow) -> World:
    """A world in which a process died at that point of its job."""
    world = _world(tmp_path, how)
    job = world.new_job()
    names = iter(POINTS)

    def child(die: Point) -> None:
        def at(name: str) -> None:
            if next(names) == point:
                die(name)

        world.backend.reached = at
        world.reconciler(_watched(world, at)).follow(job.id, until=_dispatched)

    _run_and_die(child)
    return world


def _run_and_die(child: Callable[[Point], None]) -> None:
    pid = os.fork()
    if pid == 0:
        try:
            child(lambda name: os.kill(os.getpid(), signal.SIGKILL))
        finally:
            os._exit(1)  # it should never come here
    _, status = os.waitpid(pid, 0)
    assert os.WIFSIGNALED(status), "the point was never reached"
    assert os.WTERMSIG(status) == signal.SIGKILL


def _world(tmp_path: Path, how: LookupHow, at: Point = lambda name: None) -> World:
    far = FolderBackend(tmp_path / "far", how=how, at=at)
    return World(tmp_path, a_store_in(tmp_path), far)


def _dispatched(job: Job) -> bool:
    return job.state is JobState.QUEUED


def _watched(world: World, at: Point) -> Store:
    store = world.again()
    for name in ("lease", "move", "release", "intend", "intend_upload", "record_upload"):
        _tell_commits(store, name, at)
    return store


def _tell_commits(store: Store, name: str, at: Point) -> None:
    """Tell of a method's commit just before and after it is made, from inside the transaction."""
    method = getattr(store, name)
    engine = store._database.engine  # pyright: ignore[reportPrivateUsage]

    def told(*args: Any, **kwargs: Any) -> Any:
        commit = engine.dialect.do_commit

        def committing(connection: Any) -> None:
            at(f"before commit {name}")
            commit(connection)
            at(f"after commit {name}")

        engine.dialect.do_commit = committing  # pyright: ignore[reportAttributeAccessIssue]
        try:
            return method(*args, **kwargs)
        finally:
            engine.dialect.do_commit = commit

    setattr(store, name, told)
