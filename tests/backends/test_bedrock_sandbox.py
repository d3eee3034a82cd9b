"""Bedrock's stand-in: held to AWS's own description, stateful, and itself again after a restart."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from datetime import UTC, datetime
from importlib import import_module
from pathlib import Path
from typing import Any

import httpx
import pytest

from backends.sandbox.faults import Fault
from backends.sandbox.world import Life
from gateway.core.job import ChatMessage, RemoteRef
from tests.backends.bedrock_life import KEY, Planned, aws, bucket, planned, told
from tests.backends.made import create
from tests.backends.sandboxes import Hand, StartSandbox

pytest.importorskip("boto3")
SLOW = Life(validating_s=60, queued_s=60, running_s=600)


def altered(client: Any, changes: dict[str, Any]) -> Any:
    """A client whose create calls say something else on the wire: the SDK would not send what is wrong."""

    def alter(params: dict[str, Any], **_: Any) -> None:
        body = {**json.loads(params["body"]), **changes}
        params["body"] = json.dumps(
            {name: value for name, value in body.items() if value is not None}
        ).encode()

    client.meta.events.register("before-call.bedrock.CreateModelCustomizationJob", alter)
    return client


def refused(call: Any, **arguments: Any) -> str:
    with pytest.raises(import_module("botocore.exceptions").ClientError) as caught:
        call(**arguments)
    return f"{caught.value.response['Error']['Code']}: {caught.value.response['Error']['Message']}"


@pytest.fixture
def body(sandbox: StartSandbox, tmp_path: Path) -> dict[str, Any]:
    """A create call that would be taken, at a sandbox whose jobs are slow."""
    sandbox("bedrock", life=SLOW)
    job = planned(tmp_path)
    staged = job.stage()
    return {
        **create(job.translation),
        "jobName": "a-job", "customModelName": "a-model", "clientRequestToken": "a-token",
        "trainingDataConfig": {"s3Uri": staged.uri},
    }  # fmt: skip


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"jobName": "no spaces here"}, "pattern"),
        ({"customModelName": "two--dashes"}, "pattern"),
        ({"customizationType": "SFT"}, "none of its values"),
        ({"hyperParameters": {"epochCount": 2}}, "epochCount"),
        ({"validationDataConfig": {"s3Uri": "s3://bucket/x"}}, "validators"),
        ({"seed": 17}, "seed"),
        ({"roleArn": None}, "roleArn"),
        ({"hyperParameters": {"epochCount": "9"}}, "range"),
        ({"hyperParameters": {"batch_size": "1"}}, "Unknown"),
        ({"trainingDataConfig": {"s3Uri": "s3://nobody-has-this/x"}}, "S3 location"),
    ],
)
def test_what_aws_would_refuse_is_refused(body: dict[str, Any], wrong: dict[str, Any], said: str) -> None:
    control = altered(aws("bedrock"), wrong)
    answer = refused(control.create_model_customization_job, **body)
    assert answer.startswith("ValidationException")
    assert said in answer
    assert aws("bedrock").list_model_customization_jobs()["modelCustomizationJobSummaries"] == []


def test_a_token_seen_before_is_its_job_and_a_name_seen_before_is_refused(body: dict[str, Any]) -> None:
    control = aws("bedrock")
    first = control.create_model_customization_job(**body)["jobArn"]
    assert control.create_model_customization_job(**body)["jobArn"] == first
    other = {**body, "clientRequestToken": "another"}
    assert "jobName is currently in use" in refused(control.create_model_customization_job, **other)
    other["jobName"] = "another-job"
    assert "customModelName" in refused(control.create_model_customization_job, **other)
    assert len(control.list_model_customization_jobs()["modelCustomizationJobSummaries"]) == 1


def test_jobs_are_listed_by_page_filter_and_region(body: dict[str, Any]) -> None:
    control = aws("bedrock")
    for number in range(7):
        more = {
            name: f"{body[name]}-{number}" for name in ("jobName", "customModelName", "clientRequestToken")
        }
        control.create_model_customization_job(**{**body, **more})
    pages = list(control.get_paginator("list_model_customization_jobs").paginate(maxResults=3))
    names = [each["jobName"] for page in pages for each in page["modelCustomizationJobSummaries"]]
    assert (len(pages), names) == (3, [f"a-job-{number}" for number in reversed(range(7))])

    def found(**asked: Any) -> int:
        return len(control.list_model_customization_jobs(**asked)["modelCustomizationJobSummaries"])

    assert (found(nameContains="job-3"), found(statusEquals="Completed"), found(maxResults=2)) == (1, 0, 2)
    now = datetime.now(UTC)
    assert (found(creationTimeBefore=now), found(creationTimeAfter=now)) == (7, 0)
    assert aws("bedrock", "us-west-2").list_model_customization_jobs()["modelCustomizationJobSummaries"] == []
    assert "ResourceNotFound" in refused(
        aws("bedrock", "us-west-2").get_model_customization_job, jobIdentifier="a-job-1"
    )


def test_models_and_what_serves_them_parse_in_the_sdk(sandbox: StartSandbox, tmp_path: Path) -> None:
    hand = Hand()
    sandbox("bedrock", life=SLOW, clock=hand)
    job = planned(tmp_path)
    ref = job.submit()
    control = aws("bedrock")
    hand.advance(1000)
    about = control.get_model_customization_job(jobIdentifier=ref.id)
    model = control.get_custom_model(modelIdentifier=about["outputModelArn"])
    assert (model["jobArn"], model["modelStatus"]) == (ref.id, "Active")
    assert about["endTime"] > about["creationTime"]
    made = control.create_provisioned_model_throughput(
        modelUnits=1, provisionedModelName="served", modelId=model["modelArn"]
    )
    (listed,) = control.list_provisioned_model_throughputs()["provisionedModelSummaries"]
    assert (listed["provisionedModelArn"], listed["status"]) == (made["provisionedModelArn"], "Creating")
    job.backend.deploy(ref)
    (deployment,) = control.list_custom_model_deployments()["modelDeploymentSummaries"]
    assert deployment["customModelDeploymentName"] == KEY
    not_ready = {"modelId": deployment["customModelDeploymentArn"], "messages": [_user("hi")]}
    assert "not ready" in refused(aws("bedrock-runtime").converse, **not_ready)
    hand.advance(61)
    assert aws("bedrock-runtime").converse(**not_ready)["stopReason"] == "end_turn"


def _user(text: str) -> dict[str, Any]:
    return {"role": "user", "content": [{"text": text}]}


@pytest.mark.parametrize(
    "messages",
    [[], [_user("a"), _user("b")], [{"role": "assistant", "content": [{"text": "a"}]}], [_user(" ")]],
)
def test_a_chat_whose_sides_do_not_alternate_is_refused(sandbox: StartSandbox, messages: list[Any]) -> None:
    sandbox("bedrock")
    answer = refused(aws("bedrock-runtime").converse, modelId="amazon.nova-micro-v1:0", messages=messages)
    assert answer.startswith("ValidationException")


def test_a_model_of_another_region_does_not_answer(sandbox: StartSandbox) -> None:
    sandbox("bedrock")
    asked = {"modelId": "meta.llama3-1-8b-instruct-v1:0", "messages": [_user("hi")]}
    assert aws("bedrock-runtime", "us-west-2").converse(**asked)
    assert "identifier" in refused(aws("bedrock-runtime").converse, **asked)


def test_a_model_without_that_way_of_serving_is_not_served_so(sandbox: StartSandbox, tmp_path: Path) -> None:
    sandbox("bedrock")
    job = planned(tmp_path, model="llama-3.1-8b-instruct", region="us-west-2", offer="provisioned")
    ref = job.submit()
    job.ended(ref)
    (model, *_) = job.backend.artifacts(ref)
    asked = {"modelDeploymentName": "d", "modelArn": model.uri}
    assert "kind of serving" in refused(aws("bedrock", "us-west-2").create_custom_model_deployment, **asked)


def test_only_its_own_credential_opens_it(sandbox: StartSandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    box = sandbox("bedrock")
    path = f"{box.address}/bedrock/control/model-customization-jobs"
    unsigned = httpx.get(path)
    assert (unsigned.status_code, unsigned.headers["x-amzn-errortype"]) == (
        403, "MissingAuthenticationTokenException",
    )  # fmt: skip
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "another")
    assert "InvalidSignature" in refused(aws("bedrock").list_model_customization_jobs)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIAANOTHER")
    assert "UnrecognizedClient" in refused(aws("bedrock").list_model_customization_jobs)
    assert "InvalidAccessKeyId" in refused(aws("s3").list_objects_v2, Bucket=bucket())
    assert "UnrecognizedClient" in refused(aws("sts").get_caller_identity)


def test_each_service_says_its_faults_in_its_own_way(sandbox: StartSandbox) -> None:
    box = sandbox("bedrock")
    box.world.faults.arm(Fault("unauthorized", times=9))
    assert refused(aws("bedrock").list_model_customization_jobs).startswith("ExpiredTokenException")
    assert refused(aws("s3").list_objects_v2, Bucket=bucket()).startswith("ExpiredToken:")
    assert refused(aws("sts").get_caller_identity).startswith("ExpiredToken:")


def test_it_goes_on_where_it_was_after_a_restart(sandbox: StartSandbox, tmp_path: Path) -> None:
    hand = Hand()
    box = sandbox("bedrock", life=SLOW, clock=hand)
    job = planned(tmp_path)
    staged = job.stage()
    ref = job.submit([staged])
    port = int(box.address.rpartition(":")[2])
    before = dict(box.environment)
    box.stop()
    again = sandbox("bedrock", life=SLOW, clock=hand, port=port)
    assert again.environment == before
    assert job.backend.find(KEY) == ref
    assert job.again().stage() == staged
    assert all(each.operation != "bedrock.PutObject" for each in again.asked)
    hand.advance(1000)
    assert job.backend.poll(ref).state == "succeeded"
    job.backend.unstage(staged.uri)  # what is learned is kept: data files are deleted when a job ends
    job.backend.deploy(ref)
    hand.advance(61)
    callable_id = job.backend.deploy(ref).callable_id
    assert callable_id is not None
    again.stop()
    sandbox("bedrock", life=SLOW, clock=hand, port=port)
    question = [ChatMessage("user", "number 7")]
    assert job.backend.complete(callable_id, [question], max_output_tokens=9)[0].text == "number 7 it is"
    assert "Contents" not in aws("s3").list_objects_v2(Bucket=bucket(), Prefix="output/tunegate-data")


DYING = """
import json, sys
from pathlib import Path
from backends.bedrock.sandbox import BedrockRoom
from backends.sandbox.faults import Fault
from backends.sandbox.server import Server
from backends.sandbox.world import World

world = World(Path(sys.argv[1]))
world.faults.arm(Fault("crash_after", sys.argv[2]))
with Server(world, [BedrockRoom(world)]) as box:
    print(json.dumps(box.environment), flush=True)
    sys.stdin.read()
"""


@pytest.mark.parametrize("operation", ["PutObject", "CreateModelCustomizationJob"])
def test_what_was_done_before_it_was_killed_is_there_after(
    sandbox: StartSandbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, operation: str
) -> None:
    folder = tmp_path / "box"
    command = [sys.executable, "-c", DYING, str(folder), f"bedrock.{operation}"]
    pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    with subprocess.Popen(command, cwd=Path(__file__).parents[2], **pipes) as dying:
        assert dying.stdout is not None
        for name, value in json.loads(dying.stdout.readline()).items():
            monkeypatch.setenv(name, value)
        job = planned(tmp_path)
        with pytest.raises(import_module("botocore.exceptions").BotoCoreError) as caught:
            job.submit()
        assert job.backend.classify(caught.value).retryable
        assert dying.wait(10) == 137
    box = sandbox("bedrock", folder=folder, life=SLOW)
    again = planned(tmp_path)
    found = again.backend.find(KEY)
    assert (found is None) == (operation == "PutObject")
    ref = again.submit()
    assert found in (None, ref)
    assert len(box.world.all("bedrock.job")) == 1
    assert all(each.operation != "bedrock.PutObject" for each in box.asked)


def test_objects_deleted_many_at_once_stay_deleted(sandbox: StartSandbox) -> None:
    hand = Hand()
    box = sandbox("bedrock", clock=hand)
    s3 = aws("s3")
    for name in ("a/1", "a/2 and more", "b"):
        s3.put_object(Bucket=bucket(), Key=name, Body=name.encode())
    s3.delete_objects(Bucket=bucket(), Delete={"Objects": [{"Key": "a/1"}]})
    port = int(box.address.rpartition(":")[2])
    box.stop()
    sandbox("bedrock", clock=hand, port=port)
    assert [each["Key"] for each in aws("s3").list_objects_v2(Bucket=bucket())["Contents"]] == [
        "a/2 and more",
        "b",
    ]
    assert aws("s3").get_object(Bucket=bucket(), Key="a/2 and more")["Body"].read() == b"a/2 and more"


def test_two_sandboxes_in_one_process_know_nothing_of_each_other(
    sandbox: StartSandbox, tmp_path: Path
) -> None:
    sandbox("bedrock", life=SLOW)
    first, where = bucket(), told()
    job = planned(tmp_path)
    ref = job.submit()
    seen = job.backend.poll(ref)
    sandbox("bedrock", life=SLOW, folder=tmp_path / "other")
    assert bucket() != first
    assert told()["role_arn"] != where["role_arn"]
    assert planned(tmp_path).backend.find(KEY) is None
    assert job.backend.poll(ref).raw_state == seen.raw_state


def test_failures_of_the_data_are_found_while_validating(sandbox: StartSandbox, tmp_path: Path) -> None:
    """Each file of lines that its family does not read fails the job, as it would there."""
    hand = Hand()
    sandbox("bedrock", life=SLOW, clock=hand)
    good = '{"schemaVersion": "bedrock-conversation-2024", "messages": [%s]}\n'
    turn = '{"role": "%s", "content": [{"text": "x"}]}'
    bad = {
        "not json": "{\n" * 12,
        "too few": (good % f"{turn % 'user'}, {turn % 'assistant'}") * 3,
        "ends with the user": (good % (turn % "user")) * 12,
        "openai's format": '{"messages": [{"role": "user", "content": "a"}]}\n' * 12,
        "prompts": '{"prompt": "a", "completion": "b"}\n' * 12,
    }
    refs: dict[str, tuple[Planned, RemoteRef]] = {}
    for number, (name, lines) in enumerate(bad.items()):
        job = replace(planned(tmp_path, lines=lines), key=f"tunegate-bad-{number}")
        refs[name] = (job, job.submit())
    hand.advance(30)
    assert {job.backend.poll(ref).raw_state for job, ref in refs.values()} == {"InProgress/validation"}
    hand.advance(31)
    assert {job.backend.poll(ref).detail["code"] for job, ref in refs.values()} == {"dataset_refused"}
