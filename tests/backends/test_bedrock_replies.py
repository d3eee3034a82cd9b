"""Bedrock's pure parts: AWS's exceptions and replies in our words, chats in AWS's."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from importlib import import_module
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backends.bedrock import converse, replies
from backends.bedrock.failures import classify, is_absent, name_of
from gateway.core.errors import (
    Auth,
    BackendError,
    NotFound,
    RateLimited,
    Rejected,
    Unreachable,
)
from gateway.core.job import ChatMessage

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)
ROW = "Zebulon-Quartzman"
botocore: Any = pytest.importorskip("botocore.exceptions", reason="AWS's errors come with boto3")


def client_error(name: str, status: int, headers: Mapping[str, str] | None = None) -> Exception:
    about = {"HTTPStatusCode": status, "HTTPHeaders": dict(headers or {}), "RequestId": "req-1"}
    response = {"Error": {"Code": name, "Message": f"said of {ROW}"}, "ResponseMetadata": about}
    return botocore.ClientError(response, "CreateModelCustomizationJob")


def of(error: Exception, now: datetime = NOW) -> BackendError:
    return classify(error, backend="bedrock", now=now)


@pytest.mark.parametrize(
    ("name", "status", "error", "retryable"),
    [
        ("AccessDeniedException", 403, Auth, False),
        ("ExpiredTokenException", 403, Auth, False),
        ("ExpiredToken", 400, Auth, False),
        ("UnrecognizedClientException", 403, Auth, False),
        ("InvalidSignatureException", 403, Auth, False),
        ("RequestTimeTooSkewed", 403, Auth, False),
        ("MissingAuthenticationTokenException", 403, Auth, False),
        ("ResourceNotFoundException", 404, NotFound, False),
        ("NoSuchBucket", 404, NotFound, False),
        ("404", 404, NotFound, False),
        ("ValidationException", 400, Rejected, False),
        ("TooManyTagsException", 400, Rejected, False),
        ("ConflictException", 400, Rejected, True),
        ("PermanentRedirect", 301, Rejected, False),
        ("ServiceQuotaExceededException", 400, RateLimited, False),
        ("ThrottlingException", 429, RateLimited, True),
        ("SlowDown", 503, RateLimited, True),
        ("ModelNotReadyException", 429, RateLimited, True),
        ("InternalServerException", 500, BackendError, True),
        ("ServiceUnavailableException", 503, BackendError, True),
        ("ModelTimeoutException", 408, BackendError, True),
        # Names nobody has heard of go by their status, and never by their words.
        ("Novel", 401, Auth, False),
        ("Novel", 403, Auth, False),
        ("Novel", 404, NotFound, False),
        ("Novel", 409, Rejected, False),
        ("Novel", 429, RateLimited, True),
        ("Novel", 502, BackendError, True),
    ],
)
def test_replies_are_told_apart_by_name_then_by_status(
    name: str, status: int, error: type[BackendError], retryable: bool
) -> None:
    found = of(client_error(name, status))
    assert (type(found), found.retryable, found.status) == (error, retryable, status)
    assert (found.backend, found.place) == ("bedrock", "bedrock CreateModelCustomizationJob")
    assert "req-1" in found.message
    assert found.fix or retryable
    assert ROW not in str(found)


@pytest.mark.parametrize(
    ("error", "kind", "retryable"),
    [
        (lambda: botocore.NoCredentialsError(), Auth, False),
        (lambda: botocore.PartialCredentialsError(provider="env", cred_var="x"), Auth, False),
        (lambda: botocore.ProfileNotFound(profile="x"), Auth, False),
        (lambda: botocore.UnauthorizedSSOTokenError(), Auth, False),
        (lambda: botocore.EndpointConnectionError(endpoint_url="http://x"), Unreachable, True),
        (lambda: botocore.ConnectTimeoutError(endpoint_url="http://x"), Unreachable, True),
        (lambda: botocore.ReadTimeoutError(endpoint_url="http://x"), Unreachable, True),
        (lambda: botocore.ConnectionClosedError(endpoint_url="http://x"), Unreachable, True),
        (lambda: botocore.SSLError(endpoint_url="http://x", error=ROW), Unreachable, True),
        (lambda: botocore.ProxyConnectionError(proxy_url="http://x", error=ROW), Unreachable, True),
        (lambda: botocore.IncompleteReadError(actual_bytes=1, expected_bytes=2), Unreachable, True),
        (lambda: import_module("botocore.parsers").ResponseParserError(ROW), Unreachable, True),
        (lambda: ConnectionResetError(ROW), Unreachable, True),
        (lambda: botocore.NoRegionError(), Rejected, False),
        (lambda: botocore.InvalidEndpointConfigurationError(msg=ROW), Rejected, False),
        (lambda: botocore.ParamValidationError(report=ROW), Rejected, False),
    ],
)
def test_what_is_no_reply_is_told_apart_by_class(
    error: Any, kind: type[BackendError], retryable: bool
) -> None:
    found = of(error())
    assert (type(found), found.retryable, found.status) == (kind, retryable, None)
    assert ROW not in str(found)


def test_an_upload_that_failed_is_what_made_it_fail() -> None:
    """boto3 keeps the cause of a failed upload only in its text and its context."""
    upload_failed = import_module("boto3.exceptions").S3UploadFailedError
    failed = upload_failed(ROW)
    failed.__context__ = client_error("SlowDown", 503)
    assert isinstance(of(failed), RateLimited)
    assert ROW not in str(of(failed))


@pytest.mark.parametrize(
    ("ours", "clock_is_wrong"),
    [(timedelta(0), False), (timedelta(hours=2), True), (timedelta(hours=-2), True)],
)
def test_a_wrong_clock_is_seen_by_the_date_of_the_reply(ours: timedelta, clock_is_wrong: bool) -> None:
    error = client_error("InvalidSignatureException", 403, {"date": format_datetime(NOW, usegmt=True)})
    assert ("clock is wrong" in of(error, NOW + ours).message) is clock_is_wrong


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"retry-after": "7"}, 7.0),
        ({"x-amz-retry-after": "1500"}, 1.5),
        ({"retry-after": "soon"}, None),
        ({}, None),
    ],
)
def test_how_long_aws_asks_us_to_wait(headers: dict[str, str], seconds: float | None) -> None:
    assert of(client_error("ThrottlingException", 429, headers)).retry_after_s == seconds


def test_only_aws_saying_so_makes_a_thing_absent() -> None:
    assert is_absent(client_error("ResourceNotFoundException", 404))
    assert is_absent(client_error("404", 404))
    assert not is_absent(client_error("403", 403))
    assert not is_absent(botocore.EndpointConnectionError(endpoint_url="http://x"))
    assert name_of(ValueError()) == ""


# -- snapshots ---------------------------------------------------------------------------------------


def job(status: str, **parts: str) -> dict[str, Any]:
    details = {f"{part}Details": {"status": said} for part, said in parts.items()}
    arn = "arn:aws:bedrock:us-east-1:123456789012:model-customization-job/amazon.nova-micro-v1:0/abcdefghijkl"
    return {
        "status": status, "jobArn": arn, "jobName": "tunegate-x-1", "creationTime": NOW,
        "statusDetails": details, "failureMessage": f"line 3: {ROW}",
        "outputDataConfig": {"s3Uri": "s3://bucket/out/"},
    }  # fmt: skip


@pytest.mark.parametrize(
    ("reply", "state", "raw"),
    [
        (job("InProgress"), "queued", "InProgress"),
        (job("InProgress", validation="InProgress"), "queued", "InProgress/validation"),
        (job("InProgress", validation="Completed", dataProcessing="InProgress", training="NotStarted"),
         "queued", "InProgress/dataProcessing"),
        (job("InProgress", validation="Completed", dataProcessing="Completed", training="InProgress"),
         "running", "InProgress/training"),
        (job("Completed"), "succeeded", "Completed"),
        (job("Stopping", training="Stopping"), "cancelling", "Stopping"),
        (job("Stopped"), "cancelled", "Stopped"),
        (job("Failed", validation="Failed"), "failed", "Failed/validation"),
        (job("Failed"), "failed", "Failed"),
        (job("Hibernating"), "unknown", "Hibernating"),
        ({}, "unknown", ""),
    ],
)  # fmt: skip
def test_every_state_is_kept_and_none_is_guessed(reply: dict[str, Any], state: str, raw: str) -> None:
    seen = replies.snapshot(reply, NOW)
    assert (seen.state, seen.raw_state, seen.observed_at) == (state, raw, NOW)
    assert ROW not in f"{seen}"
    assert seen.billed_tokens is None


def test_what_a_job_writes_is_told_by_its_number() -> None:
    assert replies.output_of(job("Completed")) == ("bucket", "out/model-customization-job-abcdefghijkl/")
    bare = {**job("Completed"), "outputDataConfig": {"s3Uri": "s3://bucket"}}
    assert replies.output_of(bare) == ("bucket", "model-customization-job-abcdefghijkl/")


def test_of_a_table_of_metrics_only_numbers_are_read() -> None:
    table = (
        f"step_number,epoch_number,training_loss,perplexity\n0,0,2.5,1\n{ROW},0,{ROW},1\n1,0,1.5,1\nbroken\n"
    )
    found = replies.metric_events(table, NOW)
    assert [event.data for event in found] == [{"step": 0, "loss": 2.5}, {"step": 1, "loss": 1.5}]
    assert ROW not in f"{found}"
    assert replies.metric_events("", NOW) == ()


@given(st.integers(1, 5000))
def test_long_tables_are_thinned_evenly_and_keep_their_last_step(steps: int) -> None:
    lines = "".join(f"{step},0,1.0,1\n" for step in range(steps))
    told = replies.metric_events(f"step_number,epoch_number,training_loss,perplexity\n{lines}", NOW)
    seen = [event.data["step"] for event in told]
    assert len(seen) <= 500
    assert seen[-1] == steps - 1
    assert len({after - before for before, after in pairwise(seen)}) <= 1
    assert [event.id for event in told] == sorted(event.id for event in told)


# -- chats -------------------------------------------------------------------------------------------


def test_sides_alternate_and_the_system_stands_apart() -> None:
    chat = [
        ChatMessage("system", "be brief"),
        ChatMessage("user", "weather?"),
        ChatMessage("tool", "rain"),
        ChatMessage("assistant", "it rains"),
        ChatMessage("user", "thanks"),
    ]
    body = converse.request("model", chat, max_output_tokens=7)
    assert body["system"] == [{"text": "be brief"}]
    assert body["inferenceConfig"] == {"maxTokens": 7, "temperature": 0.0}
    assert [(turn["role"], len(turn["content"])) for turn in body["messages"]] == [
        ("user", 2), ("assistant", 1), ("user", 1),
    ]  # fmt: skip
    folded = converse.request("model", chat, max_output_tokens=7, folded=True)
    assert "system" not in folded
    assert folded["messages"][0]["content"][0]["text"] == "be brief\n\nweather?"


@pytest.mark.parametrize(
    ("reason", "finish"),
    [("end_turn", "stop"), ("max_tokens", "length"), ("guardrail_intervened", "other"), ("novel", "other")],
)
def test_why_an_answer_ended_is_kept(reason: str, finish: str) -> None:
    content: list[Any] = [{"reasoningContent": {}}, {"text": "a"}, {"text": "b"}]
    reply: dict[str, Any] = {
        "output": {"message": {"content": content}},
        "stopReason": reason,
        "usage": {"inputTokens": 3},
    }
    answer = converse.completion(reply, 0.5)
    assert (answer.text, answer.finish, answer.input_tokens, answer.output_tokens) == ("ab", finish, 3, None)
