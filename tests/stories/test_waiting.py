"""Jobs that are not simply running: being prepared, paused, or waiting for somebody to look."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path

import pytest

from backends.local.backend import LocalBackend
from gateway import Gateway, JobHandle, JobSpec, TunegateError
from gateway.core.errors import Unreachable, Unsupported
from gateway.core.job import Event, JobState, RemoteRef
from gateway.jobs.store import Store
from tests.stories.conftest import User, long_spec, training_spec, until

NOW = datetime(2026, 11, 22, tzinfo=UTC)


@pytest.fixture
def gateway(user: User) -> Gateway:
    return Gateway(home=user.home)


@pytest.fixture
def job(user: User, tiny: Path, gateway: Gateway) -> JobHandle:
    """A job that was made, and not started."""
    spec = JobSpec.from_yaml(training_spec(user, tiny))
    return gateway.dispatch(spec, gateway.plan(spec))


def store_of(gateway: Gateway) -> Store:
    return Store(gateway.settings.store_url, clock=lambda: datetime.now(UTC))


def brought_to(gateway: Gateway, job: JobHandle, *states: JobState) -> Store:
    """Write the job's state as if the steps before it had been taken; nobody is to take the next."""
    store = store_of(gateway)
    for state in states:
        store.move(store.get(job.id), state, next_due_at=None)
    return store


def test_a_run_that_is_being_prepared_says_what_it_does(gateway: Gateway, job: JobHandle) -> None:
    store = brought_to(gateway, job, JobState.STAGING, JobState.SUBMITTING, JobState.QUEUED, JobState.RUNNING)
    text = "building the base model: 40%"
    store.add_events(job.id, [Event("000001", NOW, "info", "building_base", text, {"share": 0.4})])
    found = gateway.jobs.get(job.id)
    assert found.doing == text
    assert found.progress is not None
    assert (found.progress.step, found.progress.steps) == (40, 100)
    assert found.phase == "running"


def waiting(gateway: Gateway, job: JobHandle) -> None:
    error = {
        "code": "needs_person",
        "message": "the job may or may not have been started",
        "place": job.id,
        "fix": f"tunegate jobs resume {job.id} --not-there",
    }
    store = brought_to(gateway, job, JobState.STAGING, JobState.SUBMITTING)
    store.update(store.get(job.id), error=error, next_due_at=None)


def test_waiting_for_a_person_ends_the_wait_with_what_to_do(
    user: User, gateway: Gateway, job: JobHandle
) -> None:
    waiting(gateway, job)
    assert job.wait().needs_person
    with pytest.raises(TunegateError, match="--not-there") as caught:
        job.raise_if_failed()
    assert caught.value.exit_code == 6
    shown = user.tunegate("jobs", "show", job.id, "--follow").stdout
    assert "may or may not have been started" in shown
    assert "--not-there" in shown


def test_a_person_says_what_was_found(user: User, gateway: Gateway, job: JobHandle) -> None:
    waiting(gateway, job)
    told = user.tunegate("jobs", "resume", job.id, "--not-there", "--remote-id", "x", code=2).stderr
    assert "opposite" in told
    user.tunegate("jobs", "resume", job.id, "--remote-id", "the-job-over-there")
    assert user.json("jobs", "show", job.id)["remote_id"] == "the-job-over-there"


def test_or_that_nothing_was_there_and_it_is_submitted_again(
    user: User, gateway: Gateway, job: JobHandle
) -> None:
    job.start()  # it is there: what was lost is only the answer
    remote = user.json("jobs", "show", job.id)["remote_id"]
    assert remote is not None
    assert "does not wait" in user.tunegate("jobs", "resume", job.id, "--not-there", code=2).stderr
    assert len(list(user.home.glob("jobs/*/training-*"))) == 1
    user.tunegate("jobs", "cancel", job.id)


def test_a_submit_that_nobody_can_look_up_is_made_again_once_a_person_has_looked(
    user: User, gateway: Gateway, job: JobHandle, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_answer(*_: object, **__: object) -> RemoteRef:
        raise Unreachable("no answer", backend="local")

    def no_look_up(*_: object) -> None:
        raise Unsupported("it cannot be looked up")

    with monkeypatch.context() as patch:
        patch.setattr(LocalBackend, "submit", no_answer)
        patch.setattr(LocalBackend, "find", no_look_up)
        assert job.wait().needs_person
        fix = str((job.error or {})["fix"])
        assert f"jobs resume {job.id}" in fix
        assert "--not-there" in fix
    assert not list(user.home.glob("jobs/*/training-*"))
    user.tunegate("jobs", "resume", job.id, "--not-there")
    job.refresh().start()
    assert job.error is None
    assert user.json("jobs", "show", job.id)["remote_id"] is not None
    assert len(list(user.home.glob("jobs/*/training-*"))) == 1
    user.tunegate("jobs", "cancel", job.id)


@pytest.mark.slow
def test_pause_and_resume(user: User, tiny: Path) -> None:
    started = json.loads(user.tunegate("run", long_spec(user, tiny), "--detach", "--json").stdout)["id"]
    until(lambda: user.json("jobs", "show", started)["progress"])
    user.tunegate("jobs", "pause", started)
    until(lambda: user.json("jobs", "show", started)["state"] == "paused")
    user.tunegate("jobs", "resume", started)
    until(lambda: user.json("jobs", "show", started)["state"] == "running")
    user.tunegate("jobs", "cancel", started)
    until(lambda: user.json("jobs", "show", started)["state"] == "cancelled")
