"""The life of a job, step by step, and everything that may get in its way."""

from __future__ import annotations

import os
import threading
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from pathlib import Path

import pytest

from gateway.core.errors import (
    Auth,
    BackendError,
    NotFound,
    RateLimited,
    Rejected,
    StoreConflict,
    TunegateError,
    Unreachable,
    Unsupported,
)
from gateway.core.facts import LookupHow
from gateway.core.gate import Action
from gateway.core.job import JobState, RemoteRef
from gateway.jobs.model import Caps, Job
from gateway.jobs.store import Store
from gateway.jobs.waiting import poll_after
from tests.jobs.world import HAPPY, ContinuingBackend, FolderBackend, World, a_store_in, code_of, write_files

S = JobState
LOST = Unreachable("no answer", backend="folder", retryable=True)


def _world(
    tmp_path: Path,
    *,
    how: LookupHow = "token",
    script: tuple[str, ...] = HAPPY,
    kind: type[FolderBackend] = FolderBackend,
) -> World:
    return World(tmp_path, a_store_in(tmp_path), kind(tmp_path / "far", how=how, script=script))


def _until(world: World, job: Job, state: JobState) -> Job:
    """Step until the job is in that state."""
    reconciler = world.reconciler()
    for _ in range(50):
        job = reconciler.reconcile(job.id)
        if job.state is state:
            return job
        world.clock.sleep(15)
    raise AssertionError(f"still {job.state}: {job.error}")


# -- the good life ---------------------------------------------------------------------------------


def test_a_job_is_seen_through(world: World) -> None:
    states: list[JobState] = []
    job = world.new_job()
    done = world.reconciler().follow(job.id, lambda job: states.append(job.state))
    assert list(dict.fromkeys(states)) == [S.STAGING, S.SUBMITTING, S.QUEUED, S.RUNNING, S.SUCCEEDED]
    assert done.closed
    assert (done.evaluation, done.record) == ("done", "record-1")
    assert done.result == {"metrics": {"base": {}, "tuned": {}, "difference": {}}}
    assert done.to_json()["artifacts"][0]["callable_id"] == "tuned:ft-1"
    assert done.raw_state == "SUCCEEDED"
    assert (world.backend.uploads, len(world.backend.jobs), world.evaluated) == (2, 1, 1)
    assert world.backend.jobs[0]["when_done"] == ["tunegate", "jobs", "work", "--job", job.id]
    assert len(world.backend.jobs[0]["files"]) == 2
    assert world.reconciler().due() == ()


def test_one_call_takes_one_step_and_never_waits(world: World) -> None:
    reconciler, job = world.reconciler(), world.new_job()
    assert reconciler.reconcile(job.id).state is S.STAGING
    assert reconciler.reconcile(job.id).state is S.SUBMITTING
    submitted = reconciler.reconcile(job.id)
    assert (submitted.state, submitted.remote) == (S.QUEUED, RemoteRef("folder", "ft-1", {"region": "here"}))
    assert reconciler.reconcile(job.id).next_due_at == world.clock() + timedelta(seconds=1)
    polls = world.backend.calls.count("poll")
    reconciler.reconcile(job.id)
    assert world.backend.calls.count("poll") == polls, "what is not due is left alone"


@pytest.mark.parametrize(("age_s", "after_s"), [(0, 1), (100, 10), (100_000, 30)])
def test_an_old_job_is_looked_at_less_often_and_no_two_at_one_moment(age_s: int, after_s: int) -> None:
    age = timedelta(seconds=age_s)
    assert poll_after("managed", age, lambda: 1.0).total_seconds() == after_s
    assert poll_after("managed", age, lambda: 0.0).total_seconds() == pytest.approx(after_s * 0.8)
    assert poll_after("local", age, lambda: 0.5).total_seconds() == 1


def test_a_closed_job_is_left_alone(world: World) -> None:
    job = world.reconciler().follow(world.new_job().id)
    calls = len(world.backend.calls)
    world.clock.sleep(3600)
    assert world.reconciler().reconcile(job.id) == job
    assert len(world.backend.calls) == calls


def test_events_tell_the_story_once(world: World) -> None:
    job = world.reconciler().follow(world.new_job().id)
    stored = world.store.events(job.id)
    assert [event.id for event in stored] == [event.id for event in world.events]
    steps = [event.id for event in stored if event.kind == "step"]
    assert steps == ["0", "1", "2"]
    assert "planned → staging: preparing the data files" in [event.text for event in stored]


def test_a_failed_training_is_a_failed_job(tmp_path: Path) -> None:
    world = _world(tmp_path, script=("running", "failed"))
    job = world.reconciler().follow(world.new_job().id)
    assert (job.state, code_of(job), job.evaluation) == (S.FAILED, "training_failed", "skipped")
    assert job.closed
    assert [recorded.state for recorded in world.recorded] == [S.FAILED]


def test_without_evaluation_or_record_a_job_still_closes(world: World) -> None:
    job = world.reconciler(evaluate=None, record=None).follow(world.new_job().id)
    assert (job.closed, job.evaluation, job.record) == (True, "skipped", None)


def test_work_sees_many_jobs_through(world: World) -> None:
    ids = [world.new_job().id for _ in range(5)]
    reconciler = world.reconciler()
    for _ in range(5):
        reconciler.work(once=True)
        world.clock.sleep(15)
    assert all(world.store.get(job_id).closed for job_id in ids)
    assert reconciler.work(once=True) == 0


def test_many_threads_see_every_job_through_once(tmp_path: Path) -> None:
    world = _world(tmp_path)
    ids = [world.new_job().id for _ in range(12)]
    reconciler = world.reconciler()
    for _ in range(5):
        reconciler.work(once=True, threads=4)
        world.clock.sleep(60)
    assert all(world.store.get(job_id).closed for job_id in ids)
    assert len(world.backend.jobs) == 12
    assert len({job["key"] for job in world.backend.jobs}) == 12


def test_a_light_pass_neither_uploads_nor_evaluates(world: World) -> None:
    job, reconciler = world.new_job(), world.reconciler()
    reconciler.work(once=True, light=True)
    assert world.store.get(job.id).state is S.STAGING
    assert world.backend.uploads == 0
    _until(world, job, S.SUCCEEDED)
    reconciler.work(once=True, light=True)
    assert world.evaluated == 0
    assert world.store.get(job.id).artifacts is not None
    reconciler.work(once=True)
    assert world.evaluated == 1


# -- states ----------------------------------------------------------------------------------------


def test_an_unknown_state_is_shown_and_never_advances(tmp_path: Path) -> None:
    world = _world(tmp_path, script=("queued", "transmogrifying"))
    job = _until(world, world.new_job(), S.QUEUED)
    reconciler = world.reconciler()
    for _ in range(5):
        world.clock.sleep(15)
        job = reconciler.reconcile(job.id)
    assert (job.state, job.raw_state) == (S.QUEUED, "TRANSMOGRIFYING")
    warnings = [event for event in world.events if event.level == "warning"]
    assert len(warnings) == 1, "said once, not at every look"


def test_cancelled_at_the_backend_is_cancelled_not_failed(tmp_path: Path) -> None:
    world = _world(tmp_path, script=("running", "cancelled"))
    job = world.reconciler().follow(world.new_job().id)
    assert (job.state, job.wanted) == (S.CANCELLED, "run")


def test_paused_at_the_backend_is_not_fought(tmp_path: Path) -> None:
    world = _world(tmp_path, script=("running", "paused"))
    job = _until(world, world.new_job(), S.PAUSED)
    world.clock.sleep(15)
    world.reconciler().reconcile(job.id)
    assert "resume" not in world.backend.calls
    assert world.store.get(job.id).state is S.PAUSED


def test_pause_and_resume(tmp_path: Path) -> None:
    world = _world(tmp_path, script=("running",) * 9 + ("succeeded",))
    job = _until(world, world.new_job(), S.RUNNING)
    world.reconciler().pause(job.id)
    assert world.reconciler().reconcile(job.id).state is S.PAUSED
    world.reconciler().resume(job.id)
    assert world.reconciler().reconcile(job.id).state is S.RUNNING
    assert [request.action for request in world.gate.asked][-1] is Action.TRAIN


def test_resuming_asks_the_gate_as_of_today(tmp_path: Path) -> None:
    world = _world(tmp_path, script=("running",) * 9)
    job = _until(world, world.new_job(), S.RUNNING)
    world.reconciler().pause(job.id)
    world.reconciler().reconcile(job.id)
    world.gate.denies = {Action.TRAIN}
    world.reconciler().resume(job.id)
    job = world.reconciler().reconcile(job.id)
    assert (job.state, job.wanted, code_of(job)) == (S.PAUSED, "pause", "denied")
    assert "resume" not in world.backend.calls


def test_a_backend_that_cannot_pause_goes_on(tmp_path: Path) -> None:
    world = _world(tmp_path, script=("running",) * 3 + ("succeeded",))
    world.backend.faults["pause"] = [Unsupported("Folder cannot `pause` through Tunegate yet")]
    job = _until(world, world.new_job(), S.RUNNING)
    world.reconciler().pause(job.id)
    done = world.reconciler().follow(job.id)
    assert (done.state, done.wanted) == (S.SUCCEEDED, "run")


def test_pausing_before_the_start_holds_the_start(world: World) -> None:
    job = world.new_job()
    world.reconciler().pause(job.id)
    held = world.reconciler().follow(job.id)
    assert (held.state, held.waits_for_a_person) == (S.PLANNED, True)
    world.reconciler().resume(job.id)
    assert world.reconciler().follow(job.id).state is S.SUCCEEDED


@pytest.mark.parametrize("state", [S.PLANNED, S.STAGING, S.SUBMITTING, S.QUEUED, S.RUNNING])
def test_cancel_from_anywhere(tmp_path: Path, state: JobState) -> None:
    world = _world(tmp_path, script=("queued", *("running",) * 9))
    job = world.new_job(reserve_usd=Decimal(5))
    if state is not S.PLANNED:
        _until(world, job, state)
    world.reconciler().cancel(job.id)
    done = world.reconciler().follow(job.id)
    assert (done.state, done.closed) == (S.CANCELLED, True)
    assert ("cancel" in world.backend.calls) == (state in (S.QUEUED, S.RUNNING))
    expected = ("settled", Decimal(5)) if done.remote else ("released", Decimal(0))
    assert world.store.reservation(job.id) == expected


def test_a_cancel_that_loses_against_success_ends_succeeded(tmp_path: Path) -> None:
    world = _world(tmp_path, script=("running", "succeeded"))
    job = _until(world, world.new_job(), S.RUNNING)
    world.reconciler().cancel(job.id)
    done = world.reconciler().follow(job.id)
    assert (done.state, done.wanted, done.evaluation) == (S.SUCCEEDED, "cancel", "done")


def test_cancelling_what_has_ended_is_no_error(world: World) -> None:
    job = world.reconciler().follow(world.new_job().id)
    assert world.reconciler().cancel(job.id).state is S.SUCCEEDED
    with pytest.raises(StoreConflict):
        world.reconciler().pause(job.id)
    with pytest.raises(StoreConflict):
        world.reconciler().resume(job.id)


# -- faults ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["token", "filter", "scan"])
def test_a_lost_reply_does_not_make_a_second_job(tmp_path: Path, how: LookupHow) -> None:
    world = _world(tmp_path, how=how)
    world.backend.faults["submit:lost"] = [LOST]
    job = world.reconciler().follow(world.new_job().id)
    assert (job.state, len(world.backend.jobs)) == (S.SUCCEEDED, 1)
    assert "find" in world.backend.calls


def test_a_request_that_never_arrived_is_made_again(world: World) -> None:
    world.backend.faults["submit"] = [LOST, LOST]
    job = world.reconciler().follow(world.new_job().id)
    assert (job.state, len(world.backend.jobs)) == (S.SUCCEEDED, 1)


@pytest.mark.parametrize("how", ["filter", "scan"])
def test_a_search_that_finds_nothing_is_believed_only_after_a_while(tmp_path: Path, how: LookupHow) -> None:
    world = _world(tmp_path, how=how)
    world.backend.faults["submit:lost"] = [LOST]
    world.backend.lists_late = True
    job = _until(world, world.new_job(), S.SUBMITTING)
    reconciler = world.reconciler()
    reconciler.reconcile(job.id)
    for _ in range(5):
        world.clock.sleep(4)
        assert reconciler.reconcile(job.id).state is S.SUBMITTING
    assert len(world.backend.jobs) == 1
    world.backend.lists_late = False
    assert reconciler.follow(job.id).state is S.SUCCEEDED
    assert len(world.backend.jobs) == 1


def test_what_cannot_be_looked_up_stops_for_a_person(tmp_path: Path) -> None:
    world = _world(tmp_path, how="none")
    world.backend.faults["submit:lost"] = [LOST]
    job = world.reconciler().follow(world.new_job().id)
    assert (job.state, job.waits_for_a_person, code_of(job)) == (S.SUBMITTING, True, "needs_person")
    assert job.error is not None
    assert job.key in job.error["fix"]
    world.clock.sleep(86400)
    assert world.reconciler().due() == ()
    world.reconciler().answer(job.id, RemoteRef("folder", "ft-1"))
    assert world.reconciler().follow(job.id).state is S.SUCCEEDED
    assert len(world.backend.jobs) == 1


def test_a_person_may_find_that_nothing_is_there(tmp_path: Path) -> None:
    world = _world(tmp_path, how="none")
    world.backend.faults["submit"] = [LOST]
    job = world.reconciler().follow(world.new_job().id)
    assert job.waits_for_a_person
    world.reconciler().answer(job.id, None)
    assert world.reconciler().follow(job.id).state is S.SUCCEEDED
    assert len(world.backend.jobs) == 1
    with pytest.raises(StoreConflict):
        world.reconciler().answer(job.id, None)


def test_cancelling_an_unanswered_submit_looks_for_the_job_first(world: World) -> None:
    world.backend.script = ["running"] * 9
    world.backend.faults["submit:lost"] = [LOST]
    job = _until(world, world.new_job(), S.SUBMITTING)
    world.reconciler().reconcile(job.id)
    world.reconciler().cancel(job.id)
    done = world.reconciler().follow(job.id)
    assert done.state is S.CANCELLED
    assert world.backend.jobs[0]["state"] == "cancelled", "the job that did arrive is not left running"


def test_cancelling_what_cannot_be_looked_up_asks_too(tmp_path: Path) -> None:
    world = _world(tmp_path, how="none")
    world.backend.faults["submit:lost"] = [LOST]
    job = world.reconciler().follow(world.new_job().id)
    world.reconciler().cancel(job.id)
    job = world.reconciler().follow(job.id)
    assert (job.state, job.waits_for_a_person) == (S.CANCELLING, True)
    world.backend.script = ["running"]
    world.reconciler().answer(job.id, RemoteRef("folder", "ft-1"))
    assert world.reconciler().follow(job.id).state is S.CANCELLED
    assert world.backend.jobs[0]["state"] == "cancelled"


@pytest.mark.parametrize("how", ["token", "none"])
@pytest.mark.parametrize(
    "error",
    [
        Rejected("it was read and refused", backend="folder", status=400),
        Auth("the key has expired", backend="folder", status=401),
    ],
)
def test_a_refused_submit_fails_the_job(tmp_path: Path, how: LookupHow, error: BackendError) -> None:
    world = _world(tmp_path, how=how)
    world.backend.faults["submit"] = [error]
    job = world.reconciler().follow(world.new_job(reserve_usd=Decimal(5)).id)
    assert (job.state, code_of(job), job.closed) == (S.FAILED, error.code, True)
    assert world.store.reservation(job.id) == ("released", Decimal(0))


def test_a_throttled_submit_is_made_again_even_without_look_up(tmp_path: Path) -> None:
    world = _world(tmp_path, how="none")
    throttled = RateLimited("slow down", backend="folder", status=429, retryable=True, retry_after_s=120)
    world.backend.faults["submit"] = [throttled]
    job = _until(world, world.new_job(), S.SUBMITTING)
    waiting = world.reconciler().reconcile(job.id)
    assert waiting.next_due_at == world.clock() + timedelta(seconds=120), "as long as it asked"
    assert world.reconciler().follow(job.id).state is S.SUCCEEDED
    assert len(world.backend.jobs) == 1


def test_an_unreadable_reply_is_looked_up_before_it_fails_the_job(world: World) -> None:
    world.backend.faults["submit:lost"] = [KeyError("id")]
    job = world.reconciler().follow(world.new_job().id)
    assert (job.state, len(world.backend.jobs)) == (S.SUCCEEDED, 1)
    world.backend.faults["submit"] = [KeyError("id")]
    other = world.reconciler().follow(world.new_job().id)
    assert (other.state, len(world.backend.jobs)) == (S.FAILED, 1)


def test_what_is_denied_fails_the_job_and_nothing_is_sent(world: World) -> None:
    world.gate.denies = {Action.UPLOAD}
    job = world.reconciler().follow(world.new_job().id)
    assert (job.state, code_of(job)) == (S.FAILED, "denied")
    assert job.error is not None
    assert job.error["rules"] == ["baa-missing", "region-pinned"]
    assert world.backend.calls == []


def test_a_lost_upload_is_not_repeated(world: World) -> None:
    world.backend.faults["stage:lost"] = [LOST]
    job = world.reconciler().follow(world.new_job().id)
    assert (job.state, world.backend.uploads) == (S.SUCCEEDED, 2)


def test_data_that_changed_since_the_plan_is_not_sent(world: World) -> None:
    job = world.new_job()
    planned = tuple(replace(file, sha256="0" * 64) for file in job.translation.files)
    changed = replace(job.translation, files=planned)

    def write(job: Job, file: object) -> Path:
        return write_files(job, planned[0])

    new = replace(job, translation=changed)
    assert new.translation.files[0].sha256 == "0" * 64
    with world.store._database.write() as connection:  # pyright: ignore[reportPrivateUsage]
        from gateway.jobs.codec import to_row
        from gateway.jobs.schema import jobs

        connection.execute(jobs.update().values(to_row({"translation": changed})))
    done = world.reconciler(write_files=write).follow(job.id)
    assert (done.state, code_of(done)) == (S.FAILED, "data")
    assert world.backend.calls == []


def test_a_full_disk_while_files_are_written_is_a_typed_failure(world: World) -> None:
    def write(job: Job, file: object) -> Path:
        raise OSError(28, os.strerror(28))

    job = world.reconciler(write_files=write).follow(world.new_job().id)
    assert (job.state, code_of(job)) == (S.FAILED, "data")
    assert job.error is not None
    assert "No space left" in job.error["message"]


def test_polling_that_fails_backs_off_and_the_job_stays_what_it_is(world: World) -> None:
    job = _until(world, world.new_job(), S.QUEUED)
    expired = Auth("the key has expired", backend="folder", status=401)
    world.backend.faults["poll"] = [expired] * 4
    waits: list[float] = []
    for _ in range(4):
        job = world.reconciler().reconcile(job.id)
        assert job.next_due_at is not None
        waits.append((job.next_due_at - world.clock()).total_seconds())
        world.clock.sleep(waits[-1])
    assert waits == [2, 4, 8, 16]
    assert (job.state, code_of(job), job.failures) == (S.QUEUED, "backend_auth", 4)
    job = world.reconciler().reconcile(job.id)
    assert (job.error, job.failures) == (None, 0)
    assert world.reconciler().follow(job.id).state is S.SUCCEEDED


def test_a_job_deleted_behind_our_back_fails_after_some_looks(world: World) -> None:
    job = _until(world, world.new_job(), S.QUEUED)
    world.backend.delete(RemoteRef("folder", "ft-1"))
    done = world.reconciler().follow(job.id)
    assert (done.state, code_of(done)) == (S.FAILED, NotFound.code)
    assert world.backend.calls.count("poll") == 3


def test_cancelling_a_job_that_is_gone_is_no_error(world: World) -> None:
    job = _until(world, world.new_job(), S.QUEUED)
    world.backend.delete(RemoteRef("folder", "ft-1"))
    world.reconciler().cancel(job.id)
    assert world.reconciler().follow(job.id).state is S.CANCELLED


def test_unreadable_events_do_not_hold_the_job_up(world: World) -> None:
    world.backend.faults["events"] = [LOST] * 99
    assert world.reconciler().follow(world.new_job().id).state is S.SUCCEEDED


def test_one_jobs_defect_does_not_stop_the_others_and_keeps_its_text(world: World) -> None:
    poisoned, healthy = world.new_job(), world.new_job()

    def write(job: Job, file: object) -> Path:
        if job.id == poisoned.id:
            raise ValueError("row 3: the patient's name is Ann")
        return write_files(job, file)  # pyright: ignore[reportArgumentType]

    reconciler = world.reconciler(write_files=write)
    for _ in range(5):
        reconciler.work(once=True)
        world.clock.sleep(15)
    assert world.store.get(healthy.id).state is S.SUCCEEDED
    failed = world.store.get(poisoned.id)
    assert failed.state is S.FAILED
    assert failed.error is not None
    assert "ValueError" in failed.error["message"]
    told = str(failed.error) + str(world.store.events(poisoned.id))
    assert "Ann" not in told


# -- another attempt -------------------------------------------------------------------------------


def test_a_failed_job_goes_on_where_it_stopped(tmp_path: Path) -> None:
    world = _world(tmp_path, script=("running", "failed"), kind=ContinuingBackend)
    job = world.reconciler().follow(world.new_job(reserve_usd=Decimal(5)).id)
    world.backend.script = ["running", "failed", "running", "succeeded"]
    again = world.reconciler().resume(job.id, Caps())
    assert (again.state, again.attempt, again.error) == (S.STAGING, 2, None)
    done = world.reconciler().follow(job.id)
    assert (done.state, done.attempt, done.evaluation) == (S.SUCCEEDED, 2, "done")
    assert (world.backend.calls.count("submit"), world.backend.calls.count("resume")) == (1, 1)


def test_where_a_failed_job_cannot_go_on_another_attempt_is_a_new_job_and_says_so(tmp_path: Path) -> None:
    world = _world(tmp_path, script=("running", "failed"))
    job = world.reconciler().follow(world.new_job(reserve_usd=Decimal(5)).id)
    world.backend.script = list(HAPPY)
    assert world.reconciler().starts_anew(job)
    again = world.reconciler().resume(job.id, Caps())
    assert (again.remote, again.key, again.attempt) == (None, job.key[:-1] + "2", 2)
    assert world.store.reservation(job.id) == ("held", Decimal(10)), "the first one counts, and a second"
    done = world.reconciler().follow(job.id)
    assert (done.state, done.remote and done.remote.id) == (S.SUCCEEDED, "ft-2")
    assert (world.backend.calls.count("submit"), world.backend.calls.count("resume")) == (2, 0)
    assert world.backend.uploads == 4, "what was deleted after the first attempt is sent again"
    assert any("a new job at folder, paid for anew" in e.text for e in world.store.events(job.id))


def test_what_attempts_did_cost_adds_up_and_unknown_stays_unknown(tmp_path: Path) -> None:
    costs: list[Decimal | None] = [Decimal(2), Decimal(3), None]
    world = _world(tmp_path, script=("running", "failed"))
    reconciler = world.reconciler(actual_usd=lambda job, seen: costs[job.attempt - 1])  # pyright: ignore[reportUnknownLambdaType, reportUnknownArgumentType, reportUnknownMemberType]
    job = reconciler.follow(world.new_job(reserve_usd=Decimal(5)).id)
    assert (job.actual_usd, world.store.reservation(job.id)) == (Decimal(2), ("settled", Decimal(2)))
    reconciler.resume(job.id, Caps())
    assert world.store.reservation(job.id) == ("held", Decimal(7))
    job = reconciler.follow(job.id)
    assert (job.actual_usd, world.store.reservation(job.id)) == (Decimal(5), ("settled", Decimal(5)))
    reconciler.resume(job.id, Caps())
    job = reconciler.follow(job.id)
    assert (job.actual_usd, world.store.reservation(job.id)) == (None, ("settled", Decimal(10)))


def test_a_second_attempt_that_never_starts_leaves_the_first_one_counted(tmp_path: Path) -> None:
    world = _world(tmp_path, script=("running", "failed"))
    job = world.reconciler().follow(world.new_job(reserve_usd=Decimal(5)).id)
    world.gate.denies = {Action.TRAIN}
    world.reconciler().resume(job.id, Caps())
    assert world.reconciler().follow(job.id).state is S.FAILED
    assert world.store.reservation(job.id) == ("released", Decimal(5))


@pytest.mark.parametrize(
    ("code", "kept"), [("bad_file", "bad_file"), ("denied", ""), ("over_budget", ""), ("a b\nc", "")]
)
def test_a_failed_run_names_its_reason_and_never_in_our_own_words(
    tmp_path: Path, code: str, kept: str
) -> None:
    world = _world(tmp_path, script=("failed",))
    said = world.backend._snapshot  # pyright: ignore[reportPrivateUsage]
    world.backend._snapshot = lambda state, polls: replace(said(state, polls), detail={"code": code})  # pyright: ignore[reportPrivateUsage]
    job = world.reconciler().follow(world.new_job().id)
    assert code_of(job) == (kept or "training_failed")


def test_a_backend_that_cannot_go_on_says_so_and_never_restarts(tmp_path: Path) -> None:
    world = _world(tmp_path, script=("running", "failed"), kind=ContinuingBackend)
    job = world.reconciler().follow(world.new_job().id)
    world.backend.faults["resume"] = [Unsupported("Folder cannot `resume` through Tunegate yet")]
    world.reconciler().resume(job.id)
    done = world.reconciler().follow(job.id)
    assert (done.state, code_of(done)) == (S.FAILED, "unsupported")
    assert len(world.backend.jobs) == 1


def test_a_job_that_failed_before_it_started_starts_anew(world: World) -> None:
    world.gate.denies = {Action.TRAIN}
    job = world.reconciler().follow(world.new_job().id)
    assert job.state is S.FAILED
    world.gate.denies = set()
    world.reconciler().resume(job.id)
    done = world.reconciler().follow(job.id)
    assert (done.state, done.key.endswith("-2")) == (S.SUCCEEDED, True)
    assert world.backend.uploads == 4, "what was uploaded for the first attempt was deleted with it"


# -- evaluation and record -------------------------------------------------------------------------


def test_a_failed_evaluation_never_fails_the_job(world: World) -> None:
    def broken(job: Job) -> dict[str, object]:
        raise RuntimeError("the answer was: Ann has asthma")

    job = world.reconciler(evaluate=broken).follow(world.new_job().id)
    assert (job.state, job.evaluation, job.closed) == (S.SUCCEEDED, "failed", True)
    assert "RuntimeError" in str(job.result)
    assert "Ann" not in str(job.result) + str(world.store.events(job.id))


def test_nothing_held_out_is_skipped_not_failed(world: World) -> None:
    job = world.reconciler(evaluate=lambda job: None).follow(world.new_job().id)  # pyright: ignore[reportUnknownLambdaType, reportUnknownArgumentType]
    assert (job.evaluation, job.result, job.closed) == ("skipped", None, True)


def test_throttled_evaluation_is_tried_again_but_not_for_ever(world: World) -> None:
    tries: list[int] = []

    def throttled(job: Job) -> dict[str, object]:
        tries.append(1)
        raise RateLimited("slow down", backend="folder", retryable=True)

    job = world.reconciler(evaluate=throttled).follow(world.new_job().id)
    assert (job.evaluation, len(tries), job.error) == ("failed", 3, None)


def test_an_interrupted_evaluation_is_no_try_and_is_taken_up_again(world: World) -> None:
    def interrupted(job: Job) -> dict[str, object]:
        raise KeyboardInterrupt

    job = world.new_job()
    for _ in range(5):
        with pytest.raises(KeyboardInterrupt):
            world.reconciler(evaluate=interrupted).follow(job.id)
    assert world.store.get(job.id).lease_owner is None
    done = world.reconciler().follow(job.id)
    assert (done.evaluation, world.evaluated) == ("done", 1)


def test_a_record_that_cannot_be_written_is_tried_again(world: World) -> None:
    answers: list[object] = [TunegateError("the disk is full"), "record-7"]

    def record(job: Job) -> str:
        answer = answers.pop(0)
        if isinstance(answer, TunegateError):
            raise answer
        return str(answer)

    job = world.reconciler(record=record).follow(world.new_job().id)
    assert (job.record, job.closed, job.error) == ("record-7", True, None)


def test_two_processes_at_one_job_evaluate_it_once(world: World) -> None:
    job = _until(world, world.new_job(), S.SUCCEEDED)
    inside, leave = threading.Event(), threading.Event()
    count: list[int] = []

    def slow(job: Job) -> dict[str, object]:
        count.append(1)
        inside.set()
        leave.wait(10)
        return {"metrics": {}}

    first = threading.Thread(target=lambda: world.reconciler(world.again(), evaluate=slow).advance(job.id))
    first.start()
    assert inside.wait(10)
    other = world.reconciler(world.again(), evaluate=slow)
    seen = other.reconcile(job.id)
    assert (seen.evaluation, seen.lease_owner is not None) == ("running", True)
    leave.set()
    first.join()
    assert other.follow(job.id).evaluation == "done"
    assert count == [1]


def test_many_workers_on_one_job_submit_it_once(tmp_path: Path) -> None:
    world = _world(tmp_path)
    job = world.new_job()

    def work(store: Store) -> None:
        world.reconciler(store).advance(job.id)

    workers = [threading.Thread(target=work, args=(world.again(),)) for _ in range(6)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert world.reconciler().follow(job.id).state is S.SUCCEEDED
    assert (world.backend.uploads, len(world.backend.jobs), world.evaluated) == (2, 1, 1)
