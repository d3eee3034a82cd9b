"""After the end of a job: uploads are deleted, models that must be deployed are deployed where that is
free, and what could not be compared says why."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from decimal import Decimal
from pathlib import Path

import pytest

from gateway.core.errors import Auth, NotFound, Unreachable, Unsupported
from gateway.core.gate import Action
from gateway.core.job import Artifact, JobState, RemoteRef, Snapshot
from gateway.jobs.closing import deployment_of
from gateway.jobs.model import Deletion, Job
from tests.jobs.world import FolderBackend, World, a_store_in

S = JobState
LOST = Unreachable("no answer", backend="folder", retryable=True)
REFUSED = Auth("not yours", backend="folder", status=403)


class MustDeploy(FolderBackend):
    """Its tuned models answer only once they are deployed."""

    def artifacts(self, ref: RemoteRef) -> tuple[Artifact, ...]:
        return (Artifact("model", f"remote:{ref.id}"),)


def _told(world: World, job: Job, kind: str) -> list[str]:
    return [f"{e.level}: {e.text}" for e in world.store.events(job.id) if e.kind == kind]


# -- deletion --------------------------------------------------------------------------------------


@pytest.mark.parametrize("end", ["succeeded", "failed", "cancelled"])
def test_uploads_are_deleted_when_the_job_ends_however_it_ends(tmp_path: Path, end: str) -> None:
    world = World(tmp_path, a_store_in(tmp_path), FolderBackend(tmp_path / "far", script=("running", end)))
    receipts: list[Sequence[Deletion]] = []
    reconciler = world.reconciler(on_deleted=lambda job, gone: receipts.append(gone))  # pyright: ignore[reportUnknownLambdaType, reportUnknownArgumentType]
    job = reconciler.follow(world.new_job().id)
    assert (job.state, job.closed) == (S(end), True)
    assert world.backend.files == []
    assert [[(each.upload.name, each.code) for each in gone] for gone in receipts] == [
        [("train.jsonl", ""), ("validation.jsonl", "")]
    ]
    assert all(upload.deleted_at for upload in world.store.uploads(job.id))
    assert len(_told(world, job, "deleted")) == 1


def test_a_setting_keeps_them(world: World) -> None:
    job = world.reconciler(keeps_uploads=True).follow(world.new_job().id)
    assert (job.closed, world.backend.files) == (True, ["train.jsonl", "validation.jsonl"])


def test_files_of_ones_own_machine_are_left_alone(tmp_path: Path) -> None:
    world = World(tmp_path, a_store_in(tmp_path), FolderBackend(tmp_path / "far", kind="local"))
    world.reconciler().follow(world.new_job().id)
    assert "unstage" not in world.backend.calls


def test_what_another_job_needs_goes_with_the_last_that_needs_it(world: World) -> None:
    first, second = world.new_job(), world.new_job()
    reconciler = world.reconciler()
    reconciler.follow(second.id, until=lambda job: job.state is S.QUEUED)
    done = reconciler.follow(first.id)
    assert done.closed
    assert world.backend.files == ["train.jsonl", "validation.jsonl"]
    assert "another job" in _told(world, done, "deleted")[0]
    reconciler.follow(second.id)
    assert world.backend.files == []
    assert world.backend.uploads == 2, "the second job found them there"
    assert all(upload.deleted_at for upload in world.store.uploads(first.id)), "gone for both"


def test_a_job_that_needs_the_bytes_while_they_are_deleted_waits_and_sends_them_anew(world: World) -> None:
    first, second = world.new_job(), world.new_job()
    met: list[str] = []

    def at(point: str) -> None:
        if point == "before unstage" and not met:
            met.append(point)
            other = world.reconciler(world.again())
            waiting = other.follow(second.id, until=lambda job: job.state is S.STAGING)
            waiting = other.reconcile(second.id)
            assert (waiting.state, waiting.error) == (S.STAGING, None)

    world.backend.reached = at
    reconciler = world.reconciler()
    reconciler.follow(first.id)
    assert met
    done = reconciler.follow(second.id)
    assert (done.state, world.backend.uploads) == (S.SUCCEEDED, 4)
    assert world.backend.files == []


def test_a_deletion_that_fails_for_a_while_is_tried_again(world: World) -> None:
    world.backend.faults["unstage"] = [LOST] * 3
    job = world.reconciler().follow(world.new_job().id)
    assert (job.closed, job.error, world.backend.files) == (True, None, [])


@pytest.mark.parametrize("error", [REFUSED, Unsupported("no")])
def test_a_deletion_that_cannot_be_made_is_told_and_fails_nothing(world: World, error: Exception) -> None:
    world.backend.faults["unstage"] = [error, NotFound("gone", backend="folder")]
    job = world.reconciler().follow(world.new_job().id)
    assert (job.state, job.closed, job.error) == (S.SUCCEEDED, True, None)
    warning = next(text for text in _told(world, job, "deleted") if text.startswith("warning"))
    assert "train.jsonl" in warning
    assert f"tunegate jobs purge {job.id}" in warning
    assert [bool(upload.deleted_at) for upload in world.store.uploads(job.id)] == [False, True]
    assert not any(upload.claimed_by for upload in world.store.uploads(job.id)), "nobody waits for it"


def test_a_deletion_that_never_works_ends_and_is_told(world: World) -> None:
    world.backend.faults["unstage"] = [LOST] * 99
    job = world.reconciler().follow(world.new_job().id)
    assert (job.state, job.closed) == (S.SUCCEEDED, True)
    assert sum("could not be deleted" in text for text in _told(world, job, "deleted")) == 2


def test_a_file_whose_place_was_never_told_is_not_called_deleted(world: World) -> None:
    world.backend.faults["stage:lost"] = [LOST]
    job = world.new_job()
    reconciler = world.reconciler()
    reconciler.reconcile(job.id)
    reconciler.reconcile(job.id)
    reconciler.cancel(job.id)
    done = reconciler.follow(job.id)
    assert (done.state, done.closed) == (S.CANCELLED, True)
    assert ["warning" in text for text in _told(world, done, "deleted")] == [True]


# -- models that must be deployed ------------------------------------------------------------------


def _must_deploy(tmp_path: Path) -> World:
    return World(tmp_path, a_store_in(tmp_path), MustDeploy(tmp_path / "far"))


def test_a_model_that_does_not_answer_is_not_compared_and_says_what_would_help(tmp_path: Path) -> None:
    world = _must_deploy(tmp_path)
    job = world.reconciler().follow(world.new_job().id)
    assert (job.evaluation, job.closed, world.evaluated) == ("skipped", True, 0)
    assert f"tunegate jobs deploy {job.id}" in (job.result or {})["fix"]
    assert "deploy" not in world.backend.calls


def test_weights_that_nobody_there_deploys_are_said_to_be_ones_own_to_deploy(tmp_path: Path) -> None:
    class LeavesWeights(FolderBackend):
        def artifacts(self, ref: RemoteRef) -> tuple[Artifact, ...]:
            return (Artifact("merged_model", "far://bucket/weights"),)

    world = World(tmp_path, a_store_in(tmp_path), LeavesWeights(tmp_path / "far"))
    job = world.reconciler(deploys_freely=lambda job: True).follow(world.new_job().id)  # pyright: ignore[reportUnknownLambdaType, reportUnknownArgumentType]
    told = job.result or {}
    assert (job.evaluation, job.closed, world.evaluated) == ("skipped", True, 0)
    assert "far://bucket/weights" in told["fix"]
    assert "jobs deploy" not in told["fix"]
    assert "deploy" not in world.backend.calls


def test_where_it_costs_nothing_it_is_deployed_and_compared(tmp_path: Path) -> None:
    world = _must_deploy(tmp_path)
    job = world.reconciler(deploys_freely=lambda job: True).follow(world.new_job().id)  # pyright: ignore[reportUnknownLambdaType, reportUnknownArgumentType]
    assert (job.evaluation, world.evaluated) == ("done", 1)
    assert deployment_of(job) == Artifact("deployment", "deployment:ft-1", "deployed:ft-1")
    assert Action.DEPLOY in [question.action for question in world.gate.asked]


@pytest.mark.parametrize("why", ["denied", "refused", "unsupported", "never ready"])
def test_a_free_deployment_that_fails_leaves_the_job_as_it_is(tmp_path: Path, why: str) -> None:
    world = _must_deploy(tmp_path)
    if why == "denied":
        world.gate.denies = {Action.DEPLOY}
    elif why == "refused":
        world.backend.faults["deploy"] = [REFUSED]
    elif why == "unsupported":
        world.backend.faults["deploy"] = [Unsupported("no")]
    else:
        world.backend.faults["deploy"] = [LOST] * 999
    job = world.reconciler(deploys_freely=lambda job: True).follow(world.new_job().id)  # pyright: ignore[reportUnknownLambdaType, reportUnknownArgumentType]
    assert (job.state, job.evaluation, job.closed) == (S.SUCCEEDED, "skipped", True)
    assert (job.result or {})["why"]


def test_a_closed_job_is_deployed_compared_and_undeployed(tmp_path: Path) -> None:
    world = _must_deploy(tmp_path)
    reconciler = world.reconciler()
    job = reconciler.follow(world.new_job().id)
    first = reconciler.deploy(job.id)
    assert deployment_of(first) == Artifact("deployment", "deployment:ft-1", None)
    ready = reconciler.deploy(reconciler.deploy(job.id).id)
    assert (deployment_of(ready) or Artifact("", "")).callable_id == "deployed:ft-1"
    again = reconciler.compare(job.id)
    assert (again.closed, again.evaluation) == (False, "pending")
    done = reconciler.follow(job.id)
    assert (done.evaluation, done.closed, len(world.recorded)) == ("done", True, 2)
    gone = reconciler.undeploy(job.id)
    assert (deployment_of(gone), world.backend.jobs[0]["deployed"]) == (None, False)


def test_a_deployment_is_on_file_before_it_is_asked_for(tmp_path: Path) -> None:
    """It costs by the hour: one that may stand must be seen, whatever became of the answer."""
    world = _must_deploy(tmp_path)
    reconciler = world.reconciler()
    job = reconciler.follow(world.new_job().id)
    world.backend.faults["deploy:lost"] = [LOST]
    with pytest.raises(Unreachable):
        reconciler.deploy(job.id)
    assert deployment_of(world.store.get(job.id)) is not None
    world.gate.denies = {Action.DEPLOY}
    reconciler.undeploy(job.id)
    with pytest.raises(Exception, match="denied"):
        reconciler.deploy(job.id)
    assert deployment_of(world.store.get(job.id)) is None, "what was denied was never asked for"


def _a_dollar_and_a_quarter(job: Job, seen: Snapshot) -> Decimal:
    return Decimal("1.25")


def test_actual_cost_and_reservation_are_untouched_by_a_later_comparison(tmp_path: Path) -> None:
    world = _must_deploy(tmp_path)
    reconciler = world.reconciler(actual_usd=_a_dollar_and_a_quarter)
    job = reconciler.follow(world.new_job(reserve_usd=Decimal(5)).id)
    world.clock.sleep(timedelta(days=3).total_seconds())
    for _ in range(3):
        reconciler.deploy(job.id)
    reconciler.compare(job.id)
    done = reconciler.follow(job.id)
    assert (done.actual_usd, world.store.reservation(job.id)) == (
        Decimal("1.25"),
        ("settled", Decimal("1.25")),
    )
    assert done.ended_at == job.ended_at
