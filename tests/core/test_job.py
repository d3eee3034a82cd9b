"""The legal moves of a job."""

from __future__ import annotations

from itertools import pairwise

import pytest

from gateway.core.job import JobState, may_move


def test_the_main_road() -> None:
    road = [
        JobState.PLANNED, JobState.STAGING, JobState.SUBMITTING,
        JobState.QUEUED, JobState.RUNNING, JobState.SUCCEEDED,
    ]  # fmt: skip
    assert all(may_move(before, after) for before, after in pairwise(road))


@pytest.mark.parametrize("state", [state for state in JobState if not state.final])
def test_whatever_is_not_final_may_fail_or_be_cancelled(state: JobState) -> None:
    assert may_move(state, JobState.FAILED)
    assert may_move(state, JobState.CANCELLING)


@pytest.mark.parametrize("state", [state for state in JobState if state.final])
def test_a_final_state_stays_but_a_failed_job_may_be_tried_again(state: JobState) -> None:
    onward = {after for after in JobState if may_move(state, after)}
    assert onward == ({JobState.STAGING} if state is JobState.FAILED else set())


def test_a_cancel_may_lose_against_success() -> None:
    assert may_move(JobState.CANCELLING, JobState.SUCCEEDED)


def test_dispatch_is_never_skipped() -> None:
    assert not may_move(JobState.PLANNED, JobState.RUNNING)
    assert not may_move(JobState.STAGING, JobState.RUNNING)
