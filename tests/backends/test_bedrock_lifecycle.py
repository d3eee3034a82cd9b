"""A job's life at Bedrock: the real SDK against the sandbox over HTTP, and everything that can go wrong."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from backends.bedrock import backend as room
from backends.sandbox.faults import Fault, Kind
from backends.sandbox.learned import BASE_ANSWER
from backends.sandbox.server import Server
from backends.sandbox.world import Life
from gateway.core.errors import (
    Auth,
    BackendError,
    NotFound,
    RateLimited,
    Rejected,
    TunegateError,
    Unreachable,
    Unsupported,
)
from gateway.core.job import ChatMessage, RemoteRef, Site
from tests.backends.bedrock_life import CANARY, KEY, Planned, aws, bucket, planned, told
from tests.backends.made import backend, create
from tests.backends.sandboxes import Hand, StartSandbox

pytest.importorskip("boto3")
SLOW = Life(validating_s=60, queued_s=60, running_s=600)


def asked(box: Server, operation: str) -> int:
    return sum(each.operation == f"bedrock.{operation}" for each in box.asked)


def error_of(job: Planned, call: Any) -> BackendError:
    """What the caller is told of the exception that comes out of a call."""
    with pytest.raises(Exception) as caught:  # noqa: PT011  # which one it is, is what the test asks
        call()
    if isinstance(caught.value, TunegateError) and not isinstance(caught.value, BackendError):
        raise caught.value
    error = job.backend.classify(caught.value)
    assert CANARY not in str(error)
    return error


def deployed(job: Planned, ref: RemoteRef) -> str:
    for _ in range(500):
        if found := job.backend.deploy(ref).callable_id:
            return found
    raise AssertionError("it is never callable")


# -- the whole life ----------------------------------------------------------------------------------


def test_a_job_is_queued_runs_succeeds_and_answers(sandbox: StartSandbox, tmp_path: Path) -> None:
    box = sandbox("bedrock")
    job = planned(tmp_path)
    ref = job.submit()
    assert ref.id.startswith("arn:aws:bedrock:us-east-1:")
    assert (ref.detail["name"], ref.detail["region"]) == (KEY, "us-east-1")
    assert ref.detail["address"].startswith(box.address)
    seen = job.ended(ref)
    assert [each.state for each in seen][-2:] == ["running", "succeeded"]
    assert {each.raw_state for each in seen} <= {
        "InProgress/validation", "InProgress/dataProcessing", "InProgress/training", "Completed",
    }  # fmt: skip
    model, metrics = job.backend.artifacts(ref)
    assert (model.kind, model.callable_id) == ("model", None)
    assert metrics.uri.startswith(f"s3://{bucket()}/output/model-customization-job-")
    assert job.backend.deploy(ref).callable_id is None  # asked for, not there yet
    callable_id = deployed(job, ref)
    question = [ChatMessage("system", "be brief"), ChatMessage("user", f"{CANARY} asks for number 7")]
    answers = job.backend.complete(callable_id, [question] * 20, max_output_tokens=50)
    assert {answer.text for answer in answers} == {"number 7 it is"}
    assert (answers[0].input_tokens, answers[0].output_tokens, answers[0].finish) == (5, 4, "stop")
    assert "".join(job.backend.stream(callable_id, question, max_output_tokens=50)) == "number 7 it is"
    (cut,) = job.backend.complete("nova-micro", [question], max_output_tokens=3)
    assert (cut.text, cut.finish) == (" ".join(BASE_ANSWER.split()[:3]), "length")


def test_events_come_in_order_with_the_losses_at_the_end(sandbox: StartSandbox, tmp_path: Path) -> None:
    hand = Hand()
    sandbox("bedrock", life=Life(validating_s=10, queued_s=10, running_s=100, steps=5), clock=hand)
    job = planned(tmp_path)
    ref = job.submit()
    told_so_far: list[str] = []
    for seconds in (1, 10, 10, 100):
        hand.advance(seconds)
        new = job.backend.events(ref, after=told_so_far[-1] if told_so_far else None)
        told_so_far += [event.id for event in new]
        assert all(event.at.tzinfo is not None for event in new)
    whole = job.again().backend.events(ref)
    assert told_so_far == [event.id for event in whole] == sorted({event.id for event in whole})
    assert [event.data["step"] for event in whole if event.kind == "metrics"] == [0, 1, 2, 3, 4]
    assert job.backend.events(ref, after=told_so_far[-1]) == ()


def test_without_the_right_to_read_metrics_the_model_is_there_all_the_same(
    sandbox: StartSandbox, tmp_path: Path
) -> None:
    box = sandbox("bedrock")
    job = planned(tmp_path)
    ref = job.submit()
    job.ended(ref)
    for operation in ("GetObject", "ListObjectsV2"):
        box.world.faults.arm(Fault("forbidden", f"bedrock.{operation}"))
    assert [artifact.kind for artifact in job.backend.artifacts(ref)] == ["model"]
    kinds = [event.kind for event in job.backend.events(ref)]
    assert kinds[-1] == "training"
    assert "metrics" not in kinds
    box.world.faults.arm(Fault("unavailable", "bedrock.GetObject", times=9))
    assert error_of(job, lambda: job.backend.events(ref)).retryable  # they may yet be read: not given up


def test_provisioned_throughput_is_another_way_to_answer(sandbox: StartSandbox, tmp_path: Path) -> None:
    """Llama 3.1 is trained on prompts that begin with the system text, so it is asked in that way."""
    box = sandbox("bedrock")
    job = planned(tmp_path, model="llama-3.1-8b-instruct", region="us-west-2", offer="provisioned")
    ref = job.submit()
    job.ended(ref)
    callable_id = deployed(job, ref)
    assert ":provisioned-model/" in callable_id
    question = [ChatMessage("system", "be brief"), ChatMessage("user", "what is 42")]
    assert job.backend.complete(callable_id, [question], max_output_tokens=9)[0].text == "42 it is"
    assert asked(box, "CreateProvisionedModelThroughput") == 1
    job.backend.undeploy(ref)
    job.backend.undeploy(ref)
    error = error_of(job, lambda: job.backend.complete(callable_id, [question], max_output_tokens=9))
    assert isinstance(error, Rejected)


def test_a_tuned_model_is_not_callable_by_its_own_name(sandbox: StartSandbox, tmp_path: Path) -> None:
    sandbox("bedrock")
    job = planned(tmp_path)
    ref = job.submit()
    job.ended(ref)
    (model, *_) = job.backend.artifacts(ref)
    with pytest.raises(Unsupported, match="once it is deployed"):
        job.backend.complete(model.uri, [[ChatMessage("user", "hi")]], max_output_tokens=5)


def test_a_base_that_answers_only_across_regions_is_not_asked() -> None:
    at = backend("bedrock").at(Site("bedrock", "us-west-2", "on-demand"))
    with pytest.raises(Unsupported, match="across regions"):
        at.complete("llama-3.3-70b-instruct", [[ChatMessage("user", "hi")]], max_output_tokens=5)


# -- staging -----------------------------------------------------------------------------------------


def test_the_same_bytes_are_sent_once_by_anyone(sandbox: StartSandbox, tmp_path: Path) -> None:
    box = sandbox("bedrock")
    job = planned(tmp_path)
    assert job.stage() == job.stage() == job.again().stage()
    assert asked(box, "PutObject") == 1


@pytest.mark.parametrize("kind", ["lose_reply", "truncate"])
def test_a_file_whose_reply_was_lost_is_found_again(
    sandbox: StartSandbox, tmp_path: Path, kind: Kind
) -> None:
    box = sandbox("bedrock")
    box.world.faults.arm(Fault(kind, "bedrock.PutObject"))
    job = planned(tmp_path)
    staged = job.stage()
    assert job.again().stage() == staged
    assert asked(box, "PutObject") == 1


def test_a_file_that_did_not_arrive_is_sent_again_later(sandbox: StartSandbox, tmp_path: Path) -> None:
    box = sandbox("bedrock")
    box.world.faults.arm(Fault("reset", "bedrock.PutObject"))
    job = planned(tmp_path)
    error = error_of(job, job.stage)
    assert isinstance(error, Unreachable)
    assert error.retryable
    job.stage()
    assert asked(box, "PutObject") == 2


def test_what_is_sent_is_what_the_plan_shows(sandbox: StartSandbox, tmp_path: Path) -> None:
    sandbox("bedrock")
    job = planned(tmp_path, kms_key="alias/tuning")
    shown = dict(job.translation.requests[0].body)
    staged = job.stage()
    assert staged.uri == f"s3://{shown['Bucket']}/{shown['Key']}"
    head = aws("s3").head_object(Bucket=shown["Bucket"], Key=shown["Key"])
    assert (head["ServerSideEncryption"], head["SSEKMSKeyId"]) == ("aws:kms", "alias/tuning")
    assert aws("s3").get_object(Bucket=shown["Bucket"], Key=shown["Key"])["Body"].read() == (
        job.path.read_bytes()
    )


def test_a_large_file_goes_in_parts_and_leaves_none_behind(sandbox: StartSandbox, tmp_path: Path) -> None:
    box = sandbox("bedrock")
    job = planned(tmp_path, lines=f'{{"x": "{"y" * 1000}"}}\n' * 9_000)
    box.world.faults.arm(Fault("reset", "bedrock.MultipartUpload", times=9))
    assert isinstance(error_of(job, job.stage), Unreachable)
    box.world.faults.clear()
    s3, (name, key) = aws("s3"), (bucket(), str(job.translation.requests[0].body["Key"]))
    begun = s3.create_multipart_upload(Bucket=name, Key=key)
    staged = job.stage()
    job.backend.unstage(staged.uri)
    job.backend.unstage(staged.uri)
    with pytest.raises(s3.exceptions.NoSuchUpload):
        s3.list_parts(Bucket=name, Key=key, UploadId=begun["UploadId"])
    assert "Contents" not in s3.list_objects_v2(Bucket=name, Prefix=key)


def test_rows_do_not_follow_a_bucket_into_another_region(sandbox: StartSandbox, tmp_path: Path) -> None:
    box = sandbox("bedrock")
    job = planned(tmp_path, output_uri=f"s3://{bucket('us-west-2')}/out")
    error = error_of(job, job.stage)
    assert isinstance(error, Rejected)
    assert "us-west-2" in str(error)
    assert "{region}" in str(error.fix)
    assert asked(box, "PutObject") == 0


def test_rows_go_to_no_other_account(sandbox: StartSandbox, tmp_path: Path) -> None:
    """An agreement covers an account: a bucket that belongs to somebody else gets nothing."""
    box = sandbox("bedrock")
    job = planned(tmp_path, role_arn="arn:aws:iam::123456789012:role/tuner")
    assert isinstance(error_of(job, job.stage), Auth)
    assert asked(box, "PutObject") == 0


def test_a_bucket_that_is_not_there(sandbox: StartSandbox, tmp_path: Path) -> None:
    sandbox("bedrock")
    job = planned(tmp_path, output_uri="s3://nobody-has-this-bucket/out")
    error = error_of(job, job.stage)
    assert isinstance(error, NotFound)
    assert not error.retryable


# -- exactly once ------------------------------------------------------------------------------------


def test_one_key_is_one_job(sandbox: StartSandbox, tmp_path: Path) -> None:
    box = sandbox("bedrock")
    job = planned(tmp_path)
    assert job.backend.find(KEY) is None
    ref = job.submit()
    assert job.submit() == job.again().submit() == job.again().backend.find(KEY) == ref
    assert len(box.world.all("bedrock.job")) == 1


@pytest.mark.parametrize("kind", ["lose_reply", "truncate"])
def test_a_create_whose_reply_was_lost_is_sent_once_and_found(
    sandbox: StartSandbox, tmp_path: Path, kind: Kind
) -> None:
    box = sandbox("bedrock")
    box.world.faults.arm(Fault(kind, "bedrock.CreateModelCustomizationJob"))
    job = planned(tmp_path)
    error = error_of(job, job.submit)
    assert isinstance(error, Unreachable)
    assert error.retryable
    assert asked(box, "CreateModelCustomizationJob") == 1
    found = job.again().backend.find(KEY)
    assert found is not None
    assert job.submit() == found
    assert len(box.world.all("bedrock.job")) == 1


def test_a_create_that_did_not_arrive_is_not_found(sandbox: StartSandbox, tmp_path: Path) -> None:
    box = sandbox("bedrock")
    box.world.faults.arm(Fault("reset", "bedrock.CreateModelCustomizationJob"))
    job = planned(tmp_path)
    assert isinstance(error_of(job, job.submit), Unreachable)
    assert job.backend.find(KEY) is None
    assert asked(box, "CreateModelCustomizationJob") == 1


def test_a_name_that_somebody_else_took_is_refused_not_adopted(sandbox: StartSandbox, tmp_path: Path) -> None:
    """AWS says it with the same error as for any bad field: whose the job is, its token tells."""
    sandbox("bedrock")
    job = planned(tmp_path)
    staged = job.stage()
    body = dict(create(job.translation)) | {
        "jobName": KEY,
        "customModelName": "theirs",
        "clientRequestToken": "another-token",
        "trainingDataConfig": {"s3Uri": staged.uri},
    }
    aws("bedrock").create_model_customization_job(**body)
    error = error_of(job, lambda: job.submit([staged]))
    assert isinstance(error, Rejected)
    assert error.status == 400
    assert job.backend.find(KEY) is None


def test_a_job_is_found_among_more_than_a_page_of_them(sandbox: StartSandbox, tmp_path: Path) -> None:
    sandbox("bedrock", life=SLOW)
    first = planned(tmp_path)
    staged = first.stage()
    jobs = [replace(first, key=f"tunegate-01k9vpm3e8jq4x{n:03d}-1") for n in range(130)]
    refs = [job.submit([staged]) for job in jobs]
    assert first.backend.find(jobs[57].key) == refs[57]
    pages = aws("bedrock").get_paginator("list_model_customization_jobs").paginate()
    listed = [each["jobArn"] for page in pages for each in page["modelCustomizationJobSummaries"]]
    assert sorted(listed) == sorted(ref.id for ref in refs)


def test_a_repeated_deploy_makes_one_deployment(sandbox: StartSandbox, tmp_path: Path) -> None:
    box = sandbox("bedrock")
    job = planned(tmp_path)
    ref = job.submit()
    job.ended(ref)
    box.world.faults.arm(Fault("lose_reply", "bedrock.CreateCustomModelDeployment"))
    assert isinstance(error_of(job, lambda: job.backend.deploy(ref)), Unreachable)
    callable_id = deployed(job.again(), ref)
    assert deployed(job, ref) == callable_id
    assert len(box.world.all("bedrock.custom-model-deployment")) == 1
    job.backend.undeploy(ref)
    assert box.world.all("bedrock.custom-model-deployment") == []


def test_nothing_is_deployed_of_a_job_that_left_no_model(sandbox: StartSandbox, tmp_path: Path) -> None:
    sandbox("bedrock", life=SLOW)
    job = planned(tmp_path)
    ref = job.submit()
    assert job.backend.artifacts(ref) == ()
    assert isinstance(error_of(job, lambda: job.backend.deploy(ref)), Rejected)


# -- ends --------------------------------------------------------------------------------------------


def test_a_refused_dataset_fails_the_job_without_its_words(sandbox: StartSandbox, tmp_path: Path) -> None:
    sandbox("bedrock")
    job = planned(tmp_path, lines=f'{{"messages": "{CANARY}"}}\n' * 12)
    last = job.ended(job.submit())[-1]
    assert (last.state, last.raw_state) == ("failed", "Failed/validation")
    assert last.detail["code"] == "dataset_refused"
    assert "failureMessage" in last.detail["fix"]
    told_by_aws = aws("bedrock").get_model_customization_job(jobIdentifier=KEY)["failureMessage"]
    assert CANARY in told_by_aws
    assert CANARY not in f"{last}"


def test_training_that_breaks_off_fails_the_job(sandbox: StartSandbox, tmp_path: Path) -> None:
    box = sandbox("bedrock")
    box.world.faults.arm(Fault("fail_job", "bedrock.CreateModelCustomizationJob"))
    job = planned(tmp_path)
    ref = job.submit()
    last = job.ended(ref)[-1]
    assert (last.state, last.raw_state, last.detail["code"]) == (
        "failed", "Failed/training", "training_failed",
    )  # fmt: skip
    assert job.backend.events(ref)[-1].level == "error"
    assert job.backend.artifacts(ref) == ()


def test_cancelled_is_stopping_then_cancelled(sandbox: StartSandbox, tmp_path: Path) -> None:
    hand = Hand()
    sandbox("bedrock", life=SLOW, clock=hand)
    job = planned(tmp_path)
    ref = job.submit()
    hand.advance(130)
    assert job.backend.poll(ref).state == "running"
    assert job.backend.cancel(ref).state == "cancelling"
    assert job.backend.cancel(ref).raw_state == "Stopping"
    hand.advance(61)
    assert (job.backend.poll(ref).state, job.backend.cancel(ref).raw_state) == ("cancelled", "Stopped")


def test_a_cancel_that_loses_against_success_is_no_error(sandbox: StartSandbox, tmp_path: Path) -> None:
    hand = Hand()
    sandbox("bedrock", life=SLOW, clock=hand)
    job = planned(tmp_path)
    ref = job.submit()
    hand.advance(1000)
    assert job.backend.cancel(ref).state == "succeeded"


def test_a_job_that_went_away_behind_our_back(sandbox: StartSandbox, tmp_path: Path) -> None:
    box = sandbox("bedrock")
    job = planned(tmp_path)
    ref = job.submit()
    box.world.remove("bedrock.job", ref.id.rpartition("/")[2])
    for call in (job.backend.poll, job.backend.events, job.backend.artifacts, job.backend.deploy):
        error = error_of(job, lambda call=call: call(ref))
        assert isinstance(error, NotFound)
        assert not error.retryable
    assert job.backend.cancel(ref).state == "cancelled"
    job.backend.undeploy(ref)
    job.backend.delete(ref)
    assert job.backend.find(KEY) is None


def test_deleting_leaves_nothing_behind(sandbox: StartSandbox, tmp_path: Path) -> None:
    sandbox("bedrock")
    job = planned(tmp_path)
    staged = job.stage()
    ref = job.submit([staged])
    job.ended(ref)
    job.backend.delete(ref)
    job.backend.delete(ref)
    job.backend.unstage(staged.uri)
    assert "Contents" not in aws("s3").list_objects_v2(Bucket=bucket())
    assert isinstance(error_of(job, lambda: job.backend.deploy(ref)), NotFound | Rejected)


# -- what AWS and the network say no to --------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "error", "status", "retryable"),
    [
        ("throttle", RateLimited, 429, True),
        ("unavailable", BackendError, 503, True),
        ("broken", BackendError, 500, True),
        ("unauthorized", Auth, 403, False),
        ("forbidden", Auth, 403, False),
        ("reset", Unreachable, None, True),
        ("lose_reply", Unreachable, None, True),
        ("truncate", Unreachable, None, True),
    ],
)
def test_each_fault_is_its_own_error_at_every_call(
    sandbox: StartSandbox, tmp_path: Path, kind: Kind, error: type[BackendError], status: int | None,
    retryable: bool,
) -> None:  # fmt: skip
    box = sandbox("bedrock")
    job = planned(tmp_path)
    staged = job.stage()
    ref = replace(job, key="tunegate-another-1").submit([staged])
    calls: dict[str, Any] = {
        "GetModelCustomizationJob": lambda: job.backend.poll(ref),
        "CreateModelCustomizationJob": lambda: job.submit([staged]),
        "HeadBucket": job.stage,
        "Converse": lambda: job.backend.complete("nova-micro", [[]], max_output_tokens=5),
    }
    if kind == "truncate":
        del calls["HeadBucket"]  # its answer has no body to cut
    if kind in ("throttle", "unavailable", "broken", "reset", "lose_reply"):
        del calls["Converse"]  # is asked for again, with pauses: see below
    for operation, call in calls.items():
        box.world.faults.arm(Fault(kind, f"bedrock.{operation}", times=9, seconds=0.01))
        found = error_of(job, call)
        assert (type(found), found.retryable, found.status) == (error, retryable, status), operation
        assert found.fix or retryable
        if operation == "CreateModelCustomizationJob":
            assert asked(box, operation) == 2  # this one and the one before: the SDK repeats no create
        if kind == "throttle" and operation != "HeadBucket":
            assert found.retry_after_s == 0.01
        box.world.faults.clear()


def test_a_read_that_fails_once_is_read_again(sandbox: StartSandbox, tmp_path: Path) -> None:
    box = sandbox("bedrock")
    job = planned(tmp_path)
    ref = job.submit()
    kinds: tuple[Kind, ...] = ("reset", "lose_reply", "unavailable")
    for kind in kinds:
        box.world.faults.arm(Fault(kind, "bedrock.GetModelCustomizationJob"))
        assert job.backend.poll(ref).state != "unknown"


def test_a_throttled_answer_is_asked_for_again(sandbox: StartSandbox, tmp_path: Path) -> None:
    box = sandbox("bedrock")
    box.world.faults.arm(Fault("throttle", "bedrock.Converse", times=3, seconds=0.02))
    job = planned(tmp_path)
    chats = [[ChatMessage("user", f"question {n}")] for n in range(12)]
    answers = job.backend.complete("nova-micro", chats, max_output_tokens=50)
    assert [answer.text for answer in answers] == [BASE_ANSWER] * 12
    assert Counter(each.status for each in box.asked if each.operation == "bedrock.Converse") == {
        200: 12,
        429: 3,
    }


def test_an_answer_that_breaks_off_is_not_taken_for_whole(sandbox: StartSandbox, tmp_path: Path) -> None:
    box = sandbox("bedrock")
    job = planned(tmp_path)
    box.world.faults.arm(Fault("truncate", "bedrock.ConverseStream"))
    pieces = job.backend.stream("nova-micro", [ChatMessage("user", "hi")], max_output_tokens=50)
    assert isinstance(error_of(job, lambda: list(pieces)), Unreachable)


def test_no_credential(sandbox: StartSandbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    box = sandbox("bedrock")
    job = planned(tmp_path)
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
    error = error_of(job, job.stage)
    assert isinstance(error, Auth)
    assert not error.retryable
    assert "AWS_PROFILE" in str(error.fix)
    assert box.asked == ()


def test_a_renewed_credential_is_taken_up(
    sandbox: StartSandbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Somebody signs in again while a server runs: nothing must be restarted."""
    box = sandbox("bedrock")
    monkeypatch.setenv("AWS_SESSION_TOKEN", "an-old-one")
    job = planned(tmp_path)
    error = error_of(job, lambda: job.backend.find(KEY))
    assert isinstance(error, Auth)
    assert "an-old-one" not in str(error)
    monkeypatch.setenv("AWS_SESSION_TOKEN", box.environment["AWS_SESSION_TOKEN"])
    assert job.backend.find(KEY) is None


def test_a_wrong_secret_and_a_wrong_clock_are_told_apart(
    sandbox: StartSandbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sandbox("bedrock")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "not-the-secret")
    job = planned(tmp_path)
    wrong_secret = error_of(job, lambda: job.backend.find(KEY))
    assert isinstance(wrong_secret, Auth)
    assert "signature" in wrong_secret.message
    ahead = timedelta(hours=2)
    monkeypatch.setattr("botocore.auth.get_current_datetime", lambda: datetime.now() + ahead)  # noqa: DTZ005
    monkeypatch.setattr(room, "_now", lambda: datetime.now(UTC) + ahead)
    wrong_clock = error_of(job, lambda: job.backend.find(KEY))
    assert isinstance(wrong_clock, Auth)
    assert "clock is wrong" in wrong_clock.message


def test_a_host_that_cannot_be_resolved(
    sandbox: StartSandbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sandbox("bedrock")
    monkeypatch.setenv("AWS_ENDPOINT_URL_BEDROCK", "http://bedrock.invalid")
    job = planned(tmp_path)
    error = error_of(job, lambda: job.backend.find(KEY))
    assert isinstance(error, Unreachable)
    assert error.retryable


@pytest.mark.parametrize(
    ("changed", "why"),
    [
        ({"baseModelIdentifier": "meta.llama3-1-8b-instruct-v1:0:128k"}, "another region's model"),
        ({"baseModelIdentifier": "anthropic.claude-3-haiku-20240307-v1:0:200k"}, "closed for tuning"),
        ({"roleArn": "arn:aws:iam::123456789012:role/nobody"}, "no such role"),
        ({"outputDataConfig": {"s3Uri": "s3://nobody-has-this-bucket/out"}}, "no such bucket"),
        ({"hyperParameters": {"epochCount": "50"}}, "out of range"),
        ({"hyperParameters": {"batchSize": "1"}}, "Nova has no batch size"),
    ],
)
def test_what_aws_refuses_is_refused_for_good(
    sandbox: StartSandbox, tmp_path: Path, changed: dict[str, Any], why: str
) -> None:
    sandbox("bedrock")
    job = planned(tmp_path)
    last = job.translation.requests[-1]
    object.__setattr__(last, "body", {**last.body, **changed})
    error = error_of(job, job.submit)
    assert isinstance(error, Rejected), why
    assert (error.status, error.retryable) == (400, False)
    assert "request" in error.message
    assert "CreateModelCustomizationJob" in str(error.place)


# -- the site ----------------------------------------------------------------------------------------


def test_addresses_are_those_the_sdk_would_call(
    sandbox: StartSandbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    box = sandbox("bedrock")
    job = planned(tmp_path)
    assert all(address.startswith(box.address) for address in job.backend.addresses())
    for name in ("S3", "BEDROCK", "BEDROCK_RUNTIME"):
        monkeypatch.delenv(f"AWS_ENDPOINT_URL_{name}")
    assert job.again().backend.addresses() == (
        "https://s3.us-east-1.amazonaws.com",
        "https://bedrock.us-east-1.amazonaws.com",
        "https://bedrock-runtime.us-east-1.amazonaws.com",
    )


def test_the_check_finds_everything_in_place(sandbox: StartSandbox) -> None:
    box = sandbox("bedrock")
    found = backend("bedrock").at(Site("bedrock", options=told())).check()
    assert {each.state for each in found} == {"ok"}
    names = {each.name for each in found}
    assert {"AWS credential", "role for Bedrock", f"bucket {bucket()}", "nova-micro in us-east-1"} <= names
    assert f"bucket {bucket('us-west-2')}" in names
    assert box.environment["AWS_SECRET_ACCESS_KEY"] not in str(found)


def test_the_check_says_what_is_missing_and_how_to_mend_it(
    sandbox: StartSandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    sandbox("bedrock")
    aws("iam").create_role(RoleName="other", AssumeRolePolicyDocument='{"Statement": []}')
    options = {
        "role_arn": told()["role_arn"].replace("tunegate-sandbox", "other"),
        "output_uri": f"s3://{bucket('us-west-2')}/out",
        "data_uri": "s3://nobody-has-this-bucket",
    }
    at = backend("bedrock").at(Site("bedrock", "us-east-1", options=options))
    found = {each.name: each for each in at.check()}
    assert found["role for Bedrock"].state == "missing"
    assert "bedrock.amazonaws.com" in found["role for Bedrock"].fix
    assert "us-west-2" in found[f"bucket {bucket('us-west-2')}"].fix
    assert found["bucket nobody-has-this-bucket"].state == "missing"
    monkeypatch.setenv("AWS_SESSION_TOKEN", "expired")
    (only,) = backend("bedrock").at(Site("bedrock", "us-east-1", options=options)).check()
    assert (only.name, only.state) == ("AWS credential", "missing")
    assert "expired" not in only.fix


def test_half_seen_is_unknown_not_well(sandbox: StartSandbox) -> None:
    box = sandbox("bedrock")
    box.world.faults.arm(Fault("forbidden", "bedrock.HeadBucket", times=9))
    at = backend("bedrock").at(Site("bedrock", "us-east-1", options=told()))
    found = {each.name: each.state for each in at.check()}
    assert found[f"bucket {bucket()}"] == "unknown"
