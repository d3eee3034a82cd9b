"""Commands that end too early: the job goes on, once, and is found again."""

from __future__ import annotations

import signal
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.stories.conftest import User, easy_rows, long_spec, training_spec, until


def state_of(user: User) -> str:
    jobs: list[dict[str, Any]] = user.json("jobs", "list")
    return jobs[0]["state"] if jobs else "none"


def started(user: User, spec: Path) -> subprocess.Popen[str]:
    """`tunegate run`, as far as a job that trains."""
    process = user.start("run", spec)
    until(lambda: list(user.home.glob("jobs/*/training-*/metrics.jsonl")))
    return process


def test_ctrl_c_leaves_the_job_running_and_says_how_to_follow_it(user: User, tiny: Path) -> None:
    process = started(user, long_spec(user, tiny))
    process.send_signal(signal.SIGINT)
    _, told = process.communicate(timeout=60)
    assert process.returncode == 130
    job = user.json("jobs", "list")[0]
    assert f"tunegate jobs show {job['id']}" in told
    assert f"tunegate jobs cancel {job['id']}" in told
    assert "Traceback" not in told
    assert state_of(user) == "running"
    shown = user.tunegate("jobs", "show", job["id"]).stdout
    assert "running" in shown
    assert f"local {tiny}" in shown


@pytest.mark.slow
def test_killed_during_training_it_is_trained_evaluated_and_found_again(user: User, tiny: Path) -> None:
    user.chats("data.jsonl", easy_rows(400))
    spec = training_spec(user, tiny)
    spec.write_text(spec.read_text().replace("epochs: 1", "epochs: 3"))
    process = started(user, spec)
    process.kill()
    process.communicate(timeout=60)
    # Nobody of ours looks until the hand-over has written the last record.
    until(lambda: "training_result" in user.tunegate("records", "show").stdout, timeout_s=120)
    until(lambda: user.json("jobs", "list")[0]["record"], timeout_s=60)
    jobs = user.json("jobs", "list")
    assert len(jobs) == 1
    shown = user.json("jobs", "show", jobs[0]["id"])
    assert (shown["state"], shown["evaluation"]["status"]) == ("succeeded", "done")
    assert shown["metrics"]["tuned"]["exact_match"]["n"] > 0
    assert len(list(user.home.glob("jobs/*/training-*"))) == 1
    assert user.json("records", "verify")["ok"] is True
