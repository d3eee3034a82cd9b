"""The life of a job at OpenAI, Azure and compatible servers: over HTTP, with the real SDK."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from backends.ledger import fill
from backends.openai.wire import azure_suffix_of
from backends.sandbox.faults import Fault
from backends.sandbox.server import Server
from gateway.core.errors import NotFound, Rejected, Unavailable, Unreachable, Unsupported
from gateway.core.job import ChatMessage, Snapshot
from tests.backends.openai_made import (
    CANARY,
    KEY,
    NAMES,
    at_sandbox,
    failure,
    handover,
    of_bytes,
    submitted,
    translated,
    written,
)
from tests.backends.sandboxes import QUICK, Hand, StartSandbox

LIFE_S = QUICK.validating_s + QUICK.queued_s + QUICK.running_s


def asked(box: Server, operation: str) -> int:
    return sum(each.operation.endswith(f".{operation}") for each in box.asked)


# -- the whole life ------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", NAMES)
def test_a_job_goes_its_way_and_every_word_of_the_service_is_kept(
    name: str, sandbox: StartSandbox, tmp_path: Path
) -> None:
    clock = Hand()
    sandbox(name, clock=clock)
    job = submitted(name, tmp_path)
    looks: list[Snapshot] = []
    for _ in range(16):
        looks.append(job.there.poll(job.ref))
        clock.advance(LIFE_S / 12)
    seen = list(dict.fromkeys((look.state, look.raw_state) for look in looks))
    waiting = (
        [("queued", "pending")] if name == "azure" else [("queued", "validating_files"), ("queued", "queued")]
    )
    assert seen == [*waiting, ("running", "running"), ("succeeded", "succeeded")]
    assert {look.billed_tokens for look in looks if look.state != "succeeded"} == {None}
    assert (looks[-1].billed_tokens or 0) > 0


@pytest.mark.parametrize("name", NAMES)
def test_progress_comes_from_the_newest_metrics(name: str, sandbox: StartSandbox, tmp_path: Path) -> None:
    clock = Hand()
    sandbox(name, clock=clock)
    job = submitted(name, tmp_path)
    clock.advance(0.1 + 0.2 * 0.7)
    progress = job.there.poll(job.ref).progress
    assert progress is not None
    assert (progress.step, progress.steps) == (3, 5)
    assert progress.loss is not None
    assert progress.loss > 0


@pytest.mark.parametrize("name", NAMES)
def test_events_are_in_order_stable_and_only_the_new_ones_are_told(
    name: str, sandbox: StartSandbox, tmp_path: Path
) -> None:
    clock = Hand()
    sandbox(name, clock=clock)
    job = submitted(name, tmp_path)
    clock.advance(0.1 + 0.2 * 0.5)
    first = job.there.events(job.ref)
    clock.advance(LIFE_S)
    whole = job.there.events(job.ref)
    assert whole[: len(first)] == first
    assert job.there.events(job.ref, after=first[-1].id) == whole[len(first) :]
    assert job.there.events(job.ref, after=whole[-1].id) == ()
    assert [event.at for event in whole] == sorted(event.at for event in whole)
    metrics = [event.data for event in whole if event.kind == "metrics"]
    assert [data["step"] for data in metrics] == [1, 2, 3, 4, 5]
    assert all({"step", "steps", "loss"} <= set(data) for data in metrics)
    assert whole[-1].text == "The job has successfully completed"


def test_the_account_of_a_job_is_the_same_at_all_three(sandbox: StartSandbox, tmp_path: Path) -> None:
    clock = Hand()
    sandbox(*NAMES, clock=clock)
    jobs = [submitted(name, tmp_path) for name in NAMES]
    clock.advance(2 * LIFE_S)
    kinds = [[(event.kind, event.level) for event in job.there.events(job.ref)] for job in jobs]
    assert kinds[0] == kinds[1] == kinds[2]


# -- files ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", NAMES)
def test_the_same_bytes_are_sent_once(name: str, sandbox: StartSandbox, tmp_path: Path) -> None:
    box = sandbox(name)
    file, path = written(tmp_path)
    first = at_sandbox(name).stage(file, path, key="one")
    assert at_sandbox(name).stage(file, path, key="another") == first
    assert asked(box, "createFile") == 1
    other, path = written(tmp_path, 13)
    assert at_sandbox(name).stage(other, path, key="one").uri != first.uri


@pytest.mark.parametrize("name", NAMES)
def test_an_upload_whose_reply_was_lost_is_found_again(
    name: str, sandbox: StartSandbox, tmp_path: Path
) -> None:
    box = sandbox(name)
    box.world.faults.arm(Fault("lose_reply", "*.createFile"))
    file, path = written(tmp_path)
    error = failure(there := at_sandbox(name), lambda: there.stage(file, path, key=KEY))
    assert isinstance(error, Unreachable)
    assert error.retryable
    staged = at_sandbox(name).stage(file, path, key=KEY)  # somebody else, who knows nothing
    assert [each["id"] for each in box.world.all(f"{name}.file")] == [staged.uri]
    assert asked(box, "createFile") == 1


@pytest.mark.parametrize("name", NAMES)
def test_what_is_uploaded_is_what_the_translation_says(
    name: str, sandbox: StartSandbox, tmp_path: Path
) -> None:
    from backends.openai.wire import OPTIONS, upload

    box = sandbox(name)
    file, path = written(tmp_path)
    there = at_sandbox(name, files_expire_after_days=3)
    staged = there.stage(file, path, key=KEY)
    said = upload(file, OPTIONS[name].model_validate(dict(there.site.options)))
    kept = box.world.get(f"{name}.file", staged.uri)
    assert kept is not None
    assert (kept["filename"], kept["purpose"]) == (said["file"], said["purpose"])
    assert kept["expires_at"] - kept["created_at"] == said["expires_after"]["seconds"] == 3 * 86_400
    assert box.world.blob(staged.uri).read_bytes() == path.read_bytes()


def test_a_file_that_would_go_too_soon_or_too_late_is_not_taken_for_ours(
    sandbox: StartSandbox, tmp_path: Path
) -> None:
    sandbox("openai")
    file, path = written(tmp_path)
    kept = at_sandbox("openai").stage(file, path, key=KEY)
    briefly = at_sandbox("openai", files_expire_after_days=1).stage(file, path, key=KEY)
    longer = at_sandbox("openai", files_expire_after_days=9).stage(file, path, key=KEY)
    assert len({kept.uri, briefly.uri, longer.uri}) == 3
    assert at_sandbox("openai", files_expire_after_days=9).stage(file, path, key=KEY) == longer
    assert at_sandbox("openai").stage(file, path, key=KEY) == kept


@pytest.mark.parametrize("name", NAMES)
def test_a_file_is_deleted_once_and_not_missed(name: str, sandbox: StartSandbox, tmp_path: Path) -> None:
    box = sandbox(name)
    file, path = written(tmp_path)
    there = at_sandbox(name)
    staged = there.stage(file, path, key=KEY)
    there.unstage(staged.uri)
    there.unstage(staged.uri)
    assert box.world.all(f"{name}.file") == []


# -- exactly once --------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", NAMES)
def test_what_is_submitted_is_the_translation_filled_in(
    name: str, sandbox: StartSandbox, tmp_path: Path
) -> None:
    box = sandbox(name)
    job = submitted(name, tmp_path)
    (kept,) = box.world.all(f"{name}.job")
    body = fill(translated(name).requests[-1].body, {"train.jsonl": job.staged.uri}, KEY)
    if name == "compatible":
        del body["metadata"]  # sent, and forgotten there
    assert kept["request"] == body
    assert job.ref.id == kept["id"]
    assert job.ref.detail["address"].startswith("http://127.0.0.1")


@pytest.mark.parametrize("name", ["openai", "azure"])
def test_a_submit_whose_reply_was_lost_is_found_again_by_anyone(
    name: str, sandbox: StartSandbox, tmp_path: Path
) -> None:
    box = sandbox(name)
    box.world.faults.arm(Fault("lose_reply", "*.createFineTuningJob"))
    there = at_sandbox(name)
    error = failure(there, lambda: submitted(name, tmp_path))
    assert isinstance(error, Unreachable)
    assert error.retryable
    (kept,) = box.world.all(f"{name}.job")
    found = at_sandbox(name).find(KEY)
    assert found is not None
    assert found.id == kept["id"]
    assert asked(box, "createFineTuningJob") == 1


@pytest.mark.parametrize("name", ["openai", "azure"])
def test_a_submit_that_never_arrived_is_not_found(name: str, sandbox: StartSandbox, tmp_path: Path) -> None:
    box = sandbox(name)
    box.world.faults.arm(Fault("reset", "*.createFineTuningJob"))
    there = at_sandbox(name)
    assert isinstance(failure(there, lambda: submitted(name, tmp_path)), Unreachable)
    assert there.find(KEY) is None
    assert box.world.all(f"{name}.job") == []


@pytest.mark.parametrize("kind", ["lose_reply", "reset", "throttle", "unavailable", "broken", "truncate"])
@pytest.mark.parametrize("name", NAMES)
def test_no_create_is_ever_repeated_by_the_sdk(
    name: str, kind: str, sandbox: StartSandbox, tmp_path: Path
) -> None:
    box = sandbox(name)
    box.world.faults.arm(Fault(kind, "*.createFineTuningJob"))  # pyright: ignore[reportArgumentType]
    failure(at_sandbox(name), lambda: submitted(name, tmp_path))
    assert asked(box, "createFineTuningJob") == 1


@pytest.mark.parametrize("name", ["openai", "azure"])
def test_a_job_is_found_beyond_many_pages_and_among_look_alikes(
    name: str, sandbox: StartSandbox, tmp_path: Path
) -> None:
    box = sandbox(name)
    job = submitted(name, tmp_path)
    for attempt in range(2, 6):
        job.there.submit(
            translated(name), [job.staged], key=f"{KEY[:-1]}{attempt}", handover=handover(tmp_path)
        )
    (ours, *_) = box.world.all(f"{name}.job")
    for number in range(250):
        other = {**ours, "id": f"ftjob-{number:024x}", "created": ours["created"] + number}
        request = {
            **ours["request"],
            "suffix": f"other-{number:012x}",
            "metadata": {"tunegate_key": f"{KEY}0"},
        }
        box.world.put(f"{name}.job", other["id"], {**other, "request": request})
    found = at_sandbox(name).find(KEY)
    assert found is not None
    assert found.id == job.ref.id
    assert at_sandbox(name).find(KEY + "1") is None


def test_azure_jobs_are_found_by_what_a_finished_model_is_called(
    sandbox: StartSandbox, tmp_path: Path
) -> None:
    """Should the suffix not be echoed, the model's name ends with it."""
    clock = Hand()
    box = sandbox("azure", clock=clock)
    job = submitted("azure", tmp_path)
    clock.advance(2 * LIFE_S)
    (kept,) = box.world.all("azure.job")
    assert kept["model_name"].endswith(azure_suffix_of(KEY))
    box.world.put("azure.job", kept["id"], {**kept, "request": {**kept["request"], "suffix": None}})
    found = job.there.find(KEY)
    assert found is not None
    assert found.id == job.ref.id


def test_a_compatible_server_cannot_prove_that_a_job_is_missing(
    sandbox: StartSandbox, tmp_path: Path
) -> None:
    sandbox("compatible")
    job = submitted("compatible", tmp_path)
    assert job.there.facts.lookup.how == "none"
    with pytest.raises(Unsupported):
        job.there.find(KEY)


def test_what_a_translation_refuses_is_not_submitted(sandbox: StartSandbox, tmp_path: Path) -> None:
    from tests.backends import made

    box = sandbox("openai")
    refused = made.translate("openai", made.spec(hyperparameters={"learning_rate": 0.1}))
    there = at_sandbox("openai")
    with pytest.raises(Rejected, match="learning_rate"):
        there.submit(refused, [], key=KEY, handover=handover(tmp_path))
    assert box.world.all("openai.job") == []


# -- disturbed -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", NAMES)
def test_a_job_is_cancelled_and_may_be_cancelled_again(
    name: str, sandbox: StartSandbox, tmp_path: Path
) -> None:
    clock = Hand()
    sandbox(name, clock=clock)
    job = submitted(name, tmp_path)
    clock.advance(0.15)
    assert job.there.cancel(job.ref).state == "cancelled"
    assert job.there.cancel(job.ref).state == "cancelled"
    clock.advance(LIFE_S)
    assert job.there.poll(job.ref).state == "cancelled"


@pytest.mark.parametrize("name", NAMES)
def test_a_cancel_that_loses_against_success_tells_of_success(
    name: str, sandbox: StartSandbox, tmp_path: Path
) -> None:
    clock = Hand()
    sandbox(name, clock=clock)
    job = submitted(name, tmp_path)
    clock.advance(2 * LIFE_S)
    assert job.there.cancel(job.ref).state == "succeeded"


@pytest.mark.parametrize("name", NAMES)
def test_a_job_deleted_behind_our_back_is_gone(name: str, sandbox: StartSandbox, tmp_path: Path) -> None:
    box = sandbox(name)
    job = submitted(name, tmp_path)
    box.world.remove(f"{name}.job", job.ref.id)
    error = failure(job.there, lambda: job.there.poll(job.ref))
    assert isinstance(error, NotFound)
    assert not error.retryable
    snapshot = job.there.cancel(job.ref)
    assert (snapshot.state, snapshot.raw_state) == ("cancelled", "gone")
    job.there.delete(job.ref)


@pytest.mark.parametrize("name", ["openai", "azure"])
def test_a_job_is_paused_and_goes_on(name: str, sandbox: StartSandbox, tmp_path: Path) -> None:
    clock = Hand()
    sandbox(name, clock=clock)
    job = submitted(name, tmp_path)
    early = failure(job.there, lambda: job.there.pause(job.ref))
    assert isinstance(early, Rejected)
    assert early.retryable, "it waits, and can be paused as soon as it runs"
    clock.advance(0.15)
    assert job.there.pause(job.ref).state == "paused"
    assert job.there.pause(job.ref).state == "paused"
    clock.advance(LIFE_S)
    assert job.there.poll(job.ref).state == "paused"
    assert job.there.resume(job.ref).state == "queued"
    assert job.there.resume(job.ref).state == "running"
    clock.advance(LIFE_S)
    assert job.there.poll(job.ref).state == "succeeded"
    assert job.there.pause(job.ref).state == "succeeded"


def test_a_server_that_cannot_pause_says_so(sandbox: StartSandbox, tmp_path: Path) -> None:
    sandbox("compatible")
    job = submitted("compatible", tmp_path)
    with pytest.raises(Unsupported):
        job.there.pause(job.ref)


@pytest.mark.parametrize("name", NAMES)
def test_a_failed_job_does_not_go_on_and_is_not_started_anew(
    name: str, sandbox: StartSandbox, tmp_path: Path
) -> None:
    clock = Hand()
    box = sandbox(name, clock=clock)
    box.world.faults.arm(Fault("fail_job", "*"))
    job = submitted(name, tmp_path)
    clock.advance(2 * LIFE_S)
    assert job.there.poll(job.ref).state == "failed"
    with pytest.raises(Unsupported) as caught:
        job.there.resume(job.ref)
    assert caught.value.fix == "plan and run again"
    assert len(box.world.all(f"{name}.job")) == 1


# -- refused data --------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", NAMES)
def test_a_dataset_refused_after_the_upload_fails_the_job_without_a_word_of_it(
    name: str, sandbox: StartSandbox, tmp_path: Path
) -> None:
    clock = Hand()
    box = sandbox(name, clock=clock)
    there = at_sandbox(name)
    lines = [{"messages": [{"role": "doctor", "content": CANARY}]}] * 12
    content = "".join(f"{json.dumps(line)}\n" for line in lines).encode()
    staged = there.stage(*of_bytes(tmp_path, content), key=KEY)
    ref = there.submit(translated(name), [staged], key=KEY, handover=handover(tmp_path))
    clock.advance(2 * LIFE_S)
    (kept,) = box.world.all(f"{name}.job")
    assert CANARY in kept["wrong"], "the service quotes the row it stumbled over"
    snapshot = there.poll(ref)
    assert snapshot.state == "failed"
    assert snapshot.detail["code"] == "invalid_training_file"
    assert "data check" in snapshot.detail["fix"]
    assert "training_file" in (snapshot.message or "")
    told = there.events(ref)
    assert told[-1].level == "error"
    assert CANARY not in repr((snapshot, told))


@pytest.mark.parametrize("name", NAMES)
def test_a_file_that_is_no_jsonl_is_refused_at_the_upload(
    name: str, sandbox: StartSandbox, tmp_path: Path
) -> None:
    sandbox(name)
    there = at_sandbox(name)
    file, path = of_bytes(tmp_path, f"{CANARY}\n".encode())
    error = failure(there, lambda: there.stage(file, path, key=KEY))
    assert isinstance(error, Rejected)
    assert (error.status, error.retryable) == (400, False)
    assert CANARY not in str(error)


# -- what is left --------------------------------------------------------------------------------------


def test_a_tuned_model_and_its_checkpoints_can_be_called_by_their_ids(
    sandbox: StartSandbox, tmp_path: Path
) -> None:
    clock = Hand()
    sandbox("openai", clock=clock)
    job = submitted("openai", tmp_path)
    clock.advance(2 * LIFE_S)
    model, *checkpoints = job.there.artifacts(job.ref)
    assert model.kind == "model"
    assert [each.kind for each in checkpoints] == ["checkpoint", "checkpoint"]
    for artifact in (model, *checkpoints):
        assert artifact.callable_id is not None
        chat = [ChatMessage("user", "what is the square of 7")]
        (answer,) = job.there.complete(artifact.callable_id, [chat], max_output_tokens=50)
        assert answer.text == f"{CANARY} it is 49"


@pytest.mark.parametrize("name", NAMES)
def test_deleting_a_job_removes_its_model_and_can_be_repeated(
    name: str, sandbox: StartSandbox, tmp_path: Path
) -> None:
    clock = Hand()
    box = sandbox(name, clock=clock)
    job = submitted(name, tmp_path)
    error = failure(job.there, lambda: job.there.delete(job.ref))
    assert isinstance(error, Rejected), "it has not ended"
    clock.advance(2 * LIFE_S)
    models = [each.uri for each in job.there.artifacts(job.ref) if each.kind != "metrics"]
    job.there.delete(job.ref)
    job.there.delete(job.ref)
    assert {each["id"] for each in box.world.all(f"{name}.gone")} == set(models)


def test_azure_serves_a_model_through_the_one_deployment_of_its_job(
    sandbox: StartSandbox, tmp_path: Path
) -> None:
    clock = Hand()
    box = sandbox("azure", clock=clock)
    job = submitted("azure", tmp_path, offer="global")
    early = failure(job.there, lambda: job.there.deploy(job.ref))
    assert isinstance(early, Rejected)
    clock.advance(2 * LIFE_S)
    (model, *_) = job.there.artifacts(job.ref)
    assert model.callable_id is None, "nothing answers by the model's own name"
    first = job.there.deploy(job.ref)
    assert first.callable_id is None, "it is being made"
    assert at_sandbox("azure", offer="global").deploy(job.ref) == first
    clock.advance(1)
    ready = job.there.deploy(job.ref)
    assert ready.callable_id is not None
    (deployment,) = box.world.all("azure.deployment")
    assert (deployment["id"], deployment["sku"]["name"]) == (ready.callable_id, "GlobalStandard")
    (answer,) = job.there.complete(
        ready.callable_id, [[ChatMessage("user", "the square of 3, what is it")]], max_output_tokens=50
    )
    assert answer.text == f"{CANARY} it is 9"
    job.there.undeploy(job.ref)
    job.there.undeploy(job.ref)
    assert box.world.all("azure.deployment") == []
    error = failure(
        job.there, lambda: job.there.complete("x", [[ChatMessage("user", "?")]], max_output_tokens=5)
    )
    assert isinstance(error, NotFound)
    assert "deploy" in (error.fix or "")


def test_a_lost_reply_to_a_deployment_makes_no_second(sandbox: StartSandbox, tmp_path: Path) -> None:
    clock = Hand()
    box = sandbox("azure", clock=clock)
    job = submitted("azure", tmp_path)
    clock.advance(2 * LIFE_S)
    box.world.faults.arm(Fault("lose_reply", "azure.createDeployment"))
    error = failure(job.there, lambda: job.there.deploy(job.ref))
    assert isinstance(error, Unreachable)
    assert error.retryable
    job.there.deploy(job.ref)
    assert asked(box, "createDeployment") == 1


def test_azure_says_what_it_needs_to_deploy(sandbox: StartSandbox, tmp_path: Path) -> None:
    clock = Hand()
    sandbox("azure", clock=clock)
    job = submitted("azure", tmp_path)
    clock.advance(2 * LIFE_S)
    lost = at_sandbox("azure", subscription=None)
    with pytest.raises(Unavailable) as caught:
        lost.deploy(job.ref)
    assert "subscription" in (caught.value.fix or "")


@pytest.mark.parametrize("name", ["openai", "compatible"])
def test_where_a_model_answers_by_itself_there_is_nothing_to_deploy(
    name: str, sandbox: StartSandbox, tmp_path: Path
) -> None:
    sandbox(name)
    job = submitted(name, tmp_path)
    for call in (job.there.deploy, job.there.undeploy):
        with pytest.raises(Unsupported):
            call(job.ref)
