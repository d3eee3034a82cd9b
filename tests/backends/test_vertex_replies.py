"""Google's tuning job as our snapshot: each of its states, and one that is none."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from backends.vertex import replies
from tests.backends.vertex_made import CANARY

NOW = datetime(2026, 11, 22, tzinfo=UTC)


@pytest.mark.parametrize(
    ("raw", "state"),
    [
        ("QUEUED", "queued"), ("PENDING", "queued"), ("RUNNING", "running"), ("UPDATING", "running"),
        ("PAUSED", "paused"), ("CANCELLING", "cancelling"), ("CANCELLED", "cancelled"),
        ("SUCCEEDED", "succeeded"), ("FAILED", "failed"), ("EXPIRED", "failed"),
        ("PARTIALLY_SUCCEEDED", "failed"), ("UNSPECIFIED", "unknown"), ("HIBERNATING", "unknown"),
    ],
)  # fmt: skip
def test_states(raw: str, state: str) -> None:
    job = {"name": "projects/1/locations/l/tuningJobs/2", "state": f"JOB_STATE_{raw}"}
    found = replies.snapshot(job, NOW)
    assert (found.state, found.raw_state, found.observed_at) == (state, f"JOB_STATE_{raw}", NOW)
    if state == "failed":
        assert found.message
        assert found.detail["code"]


def test_a_state_that_is_missing_is_unknown() -> None:
    assert replies.snapshot({}, NOW).state == "unknown"


@pytest.mark.parametrize(
    "left", [{"tunedModel": {"endpoint": "projects/1/locations/us/endpoints/3"}}, {"outputUri": "gs://b/x"}]
)
def test_a_part_success_is_one_where_there_is_a_model_and_says_so(left: dict[str, Any]) -> None:
    job = {"state": "JOB_STATE_PARTIALLY_SUCCEEDED", "endTime": "2026-11-22T10:00:00.123456789Z", **left}
    found = replies.snapshot(job, NOW)
    assert found.state == "succeeded"
    assert "in part" in str(found.message)
    (event,) = replies.events(job, NOW)
    assert (event.level, event.at.isoformat()) == ("warning", "2026-11-22T10:00:00.123456+00:00")
    assert replies.artifacts(job)


@pytest.mark.parametrize(
    ("error", "code"),
    [
        ({"code": 3, "message": CANARY}, "training_refused"),
        ({"code": 9}, "training_refused"),
        ({"code": 13, "message": CANARY}, "training_failed"),
        ({"code": 4711}, "training_failed"),
        ({}, "training_failed"),
    ],
)
def test_a_failure_keeps_its_code_and_not_its_words(error: dict[str, Any], code: str) -> None:
    found = replies.snapshot({"state": "JOB_STATE_FAILED", "error": error}, NOW)
    assert found.detail["code"] == code
    assert CANARY not in repr(found)
