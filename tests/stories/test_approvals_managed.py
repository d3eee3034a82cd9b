"""The shipped set `approvals`, with a provider's stand-in at the other end: nothing reaches it unapproved."""

from __future__ import annotations

import pytest

from gateway import Gateway, JobSpec, PolicyDenied
from gateway.core.job import JobState
from gateway.records.keys import SigningKey, write_key
from tests.backends.sandboxes import StartSandbox, sandbox
from tests.backends.vertex_made import asked
from tests.stories.conftest import User, easy_rows

__all__ = ["sandbox"]

SETTINGS = """
user = "carol"

[policy]
sets = ["baseline", "hipaa", "approvals"]

[[approvers]]
name = "alice"
roles = ["privacy-officer"]
key = "alice.pub"

[[attestations]]
kind = "dpa"
backend = "vertex"
signed = 2026-01-01
"""


@pytest.fixture
def gateway(user: User) -> Gateway:
    write_key(user.folder / "alice.pem", SigningKey.generate())
    return Gateway(config=user.write("tunegate.toml", SETTINGS), home=user.home)


@pytest.fixture
def spec(user: User) -> JobSpec:
    user.chats("data.jsonl", easy_rows(60))
    route = "route: {backends: [vertex]}\n"
    return JobSpec.from_yaml(user.spec(route, model="gemini-3.5-flash", test=0.1, **{"class": "pii"}))


def test_personal_data_leaves_once_the_officer_has_agreed(
    sandbox: StartSandbox, gateway: Gateway, spec: JobSpec, user: User
) -> None:
    box = sandbox("vertex")
    job = gateway.run(spec)
    assert job.state is JobState.AWAITING_APPROVAL
    assert job.awaiting == ("privacy-officer",)
    assert job.wait().state is JobState.AWAITING_APPROVAL  # waiting for it returns at once
    assert not box.asked
    job.approve("alice", str(user.folder / "alice.pem"))
    job.wait()
    assert (job.state, job.evaluation["status"]) == ("succeeded", "done")
    assert asked(box, "storage.objects.insert") >= 1
    gateway.jobs.get(job.id)
    assert [each.void for each in job.approvals()] == [""]


def test_an_officer_who_is_one_no_more_stops_it_before_a_byte_is_sent(
    sandbox: StartSandbox, gateway: Gateway, spec: JobSpec, user: User
) -> None:
    box = sandbox("vertex")
    job = gateway.run(spec).approve("alice", str(user.folder / "alice.pem"))
    user.write("tunegate.toml", SETTINGS.replace('["privacy-officer"]', '["reader"]'))
    later = Gateway(config=user.folder / "tunegate.toml", home=user.home)
    assert later.jobs.get(job.id).wait().awaiting == ("privacy-officer",)
    assert not box.asked


def test_where_more_than_an_approval_is_missing_there_is_no_job(
    sandbox: StartSandbox, gateway: Gateway, spec: JobSpec, user: User
) -> None:
    box = sandbox("vertex")
    user.write("tunegate.toml", SETTINGS.replace("2026-01-01", "2020-01-01\nexpires = 2021-01-01"))
    other = Gateway(config=user.folder / "tunegate.toml", home=user.home)
    with pytest.raises(PolicyDenied):
        other.run(spec)
    (denied, *_) = other.policy.explain(other.plan(spec))
    assert {ground["rule"] for ground in denied["grounds"]} == {"baseline.pii", "approvals.personal"}
    assert not box.asked
