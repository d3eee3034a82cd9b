"""A job that somebody named must agree to: it waits, it is signed, and a changed byte voids that."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from gateway import Gateway
from tests.stories.conftest import User, training_spec

RULE = """
@id("ours.approval")
@reason("Health data is trained on only with the approval of the `privacy-officer`.")
@fix("Have the privacy officer approve the job.")
forbid (principal, action in [Action::"upload", Action::"train"], resource)
when { context.data.class == Class::"phi" }
unless { context.approvals.contains("privacy-officer") };
"""
APPROVERS = """
[[approvers]]
name = "alice"
roles = ["privacy-officer"]
key = "alice.pub"

[[approvers]]
name = "bob"
roles = ["finance"]
key = "bob.pub"
"""


@pytest.fixture
def spec(user: User, tiny: Path) -> Path:
    """A job that needs the privacy officer, in a folder whose settings name her."""
    for name in ("alice", "bob"):
        user.tunegate("records", "key", "new", f"{name}.pem", "--no-passphrase")
    user.write("ours.cedar", RULE)
    user.write("tunegate.toml", f'user = "carol"\n[policy]\nfiles = ["ours.cedar"]\n{APPROVERS}')
    return training_spec(user, tiny, **{"class": "phi"})


@pytest.fixture
def job(user: User, spec: Path) -> str:
    """The job, waiting."""
    return json.loads(user.tunegate("run", spec, "--json").stdout)["id"]


def approve(user: User, job: str, name: str = "alice", *, code: int = 0) -> str:
    options = ("--as", name, "--key", f"{name}.pem", "--yes")
    return user.tunegate("jobs", "approve", job, *options, code=code).stderr


def shown(user: User, job: str) -> dict[str, Any]:
    return user.json("jobs", "show", job)


def started(user: User, job: str) -> bool:
    """Whether the backend ever saw the job."""
    return bool(list(user.home.glob(f"jobs/{job}/training-*"))) or shown(user, job)["remote_id"] is not None


def goes_on(user: User, job: str) -> None:
    """One step more, and the backend has it; the rest of its life is told elsewhere."""
    user.tunegate("jobs", "work", "--once")
    assert started(user, job)
    user.tunegate("jobs", "cancel", job)


def test_a_plan_says_who_must_agree_and_the_job_waits(user: User, spec: Path) -> None:
    plan = user.json("plan", spec)
    (local,) = [each for each in plan["candidates"] if each["backend"] == "local"]
    assert local["verdict"] == "allowed"
    assert local["decision"]["allowed"] is False  # nothing leaves on this answer
    assert local["decision"]["awaiting"] == ["privacy-officer"]
    assert any(reason["code"] == "needs_approval" for reason in local["reasons"])
    told = " ".join(user.tunegate("plan", spec).stdout.split())
    assert "waits for the approval of `privacy-officer`" in told
    ran = user.tunegate("run", spec)
    assert "waits for the approval of privacy-officer" in ran.stderr
    (row,) = user.json("jobs", "list")
    assert row["state"] == "awaiting_approval"
    assert row["requested_by"] == "carol"
    assert row["remote_id"] is None
    assert "awaiting_approval" in user.tunegate("jobs", "list").stdout
    assert "waits for the approval" in user.tunegate("jobs", "show", row["id"]).stdout
    assert not list(user.home.glob("jobs/*/data/*"))  # not even a file was written


def test_once_approved_it_goes_on(user: User, job: str) -> None:
    told = approve(user, job)
    assert "spec_sha256" in told  # what was signed is shown first
    goes_on(user, job)
    kinds = {line["kind"] for line in user.json("jobs", "events", job)}
    assert "approval" in kinds
    assert "approved by alice on" in user.tunegate("jobs", "show", job).stdout
    listed = user.tunegate("records", "show").stdout
    assert "approval" in listed
    user.tunegate("records", "verify")


def test_nobody_but_the_approver_approves(user: User, job: str) -> None:
    assert "bob may not approve as privacy-officer" in approve(user, job, "bob", code=2)
    assert "may: alice" in approve(user, job, "bob", code=2)
    theirs = ("jobs", "approve", job, "--as", "alice", "--key", "bob.pem", "--yes")
    told = user.tunegate(*theirs, code=2).stderr
    assert "not a key of alice" in told
    assert "['" not in told, "who asked is told in words"
    assert "nobody is here to ask" in user.tunegate(*theirs[:-1], code=2).stderr
    user.tunegate("jobs", "work", "--once")
    assert not started(user, job)


@pytest.mark.parametrize("who", ["settings", "account"])
def test_nobody_approves_their_own(user: User, spec: Path, who: str) -> None:
    from gateway.settings import account_name

    settings = (user.folder / "tunegate.toml").read_text()
    if who == "settings":
        settings = settings.replace('user = "carol"', 'user = "Alice"')
    else:  # another name in the settings hides nobody from the operating system
        settings = settings.replace('name = "alice"', f'name = "{account_name()}"')
    user.write("tunegate.toml", settings)
    name = "alice" if who == "settings" else account_name()
    job = json.loads(user.tunegate("run", spec, "--json").stdout)["id"]
    told = user.tunegate("jobs", "approve", job, "--as", name, "--key", "alice.pem", "--yes", code=3).stderr
    assert "nobody approves their own" in told


def test_a_waiting_job_can_be_cancelled(user: User, job: str) -> None:
    user.tunegate("jobs", "cancel", job)
    assert shown(user, job)["state"] == "cancelled"
    told = user.tunegate("jobs", "approve", job, "--as", "alice", "--key", "alice.pem", code=2).stderr
    assert "waits for nobody's approval" in told
    assert "sha256" not in told, "nothing is shown to be signed, and nobody is asked"


def test_a_job_that_waits_for_nobody_is_not_approved(user: User, spec: Path) -> None:
    user.write("tunegate.toml", 'user = "carol"\n' + APPROVERS)
    job = json.loads(user.tunegate("run", spec, "--json", "--detach").stdout)["id"]
    assert "waits for nobody's approval" in approve(user, job, code=2)
    user.tunegate("jobs", "cancel", job)


def in_store(user: User, statement: str, *values: Any) -> None:
    with sqlite3.connect(user.home / "jobs.db") as database:
        database.execute(statement, values)


def spec_changed(user: User, job: str) -> None:
    with sqlite3.connect(user.home / "jobs.db") as database:
        (text,) = database.execute("select spec from jobs where id = ?", (job,)).fetchone()
    changed = json.loads(text)
    changed["spec"]["hyperparameters"]["seed"] = 18
    in_store(user, "update jobs set spec = ? where id = ?", json.dumps(changed), job)


def data_changed(user: User, job: str) -> None:
    with sqlite3.connect(user.home / "jobs.db") as database:
        (text,) = database.execute("select plan from jobs where id = ?", (job,)).fetchone()
    changed = json.loads(text)
    changed["data"]["hash"] = "0" * 64
    in_store(user, "update jobs set plan = ? where id = ?", json.dumps(changed), job)


def requests_changed(user: User, job: str) -> None:
    with sqlite3.connect(user.home / "jobs.db") as database:
        (text,) = database.execute("select translation from jobs where id = ?", (job,)).fetchone()
    changed = json.loads(text)
    changed["requests"][0]["body"]["other"] = 1
    in_store(user, "update jobs set translation = ? where id = ?", json.dumps(changed), job)


def policy_changed(user: User, job: str) -> None:
    user.write("ours.cedar", RULE.replace("Health data", "All health data"))


def requester_changed(user: User, job: str) -> None:
    in_store(user, "update jobs set spec = replace(spec, 'carol', 'dave') where id = ?", job)


def approver_withdrawn(user: User, job: str) -> None:
    settings = (user.folder / "tunegate.toml").read_text()
    user.write("tunegate.toml", settings.replace('roles = ["privacy-officer"]', 'roles = ["reader"]'))


def envelope_changed(user: User, job: str) -> None:
    in_store(user, "update events set data = replace(data, 'sig', 'gis') where kind = 'approval'")


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (spec_changed, "spec changed since"),
        (data_changed, "data, plan changed since"),
        (requests_changed, "requests changed since"),
        (policy_changed, "policy changed since"),
        (requester_changed, "requested_by changed since"),
        (approver_withdrawn, ""),
        (envelope_changed, "is not an envelope"),
    ],
)
def test_a_changed_byte_voids_an_approval(
    user: User, job: str, change: Callable[[User, str], None], why: str
) -> None:
    approve(user, job)
    change(user, job)
    gateway = Gateway(config=user.folder / "tunegate.toml", home=user.home)
    held = gateway.jobs.get(job)
    (given,) = held.approvals()
    assert given.name == "alice"
    assert why in given.void
    (told,) = shown(user, job)["approvals"]
    assert (told["name"], told["void"] or "") == ("alice", given.void)
    user.tunegate("jobs", "work", "--once")
    assert not started(user, job)


def test_an_approval_that_lapses_on_the_way_stops_the_upload(user: User, job: str) -> None:
    """The gate hears of approvals at every upload and start, not when the job began to move."""
    from datetime import UTC, datetime

    from gateway.core.job import JobState
    from gateway.jobs.store import Store

    approve(user, job)
    store = Store(f"sqlite:///{user.home / 'jobs.db'}", clock=lambda: datetime.now(UTC))
    store.move(store.get(job), JobState.STAGING)
    store.close()
    policy_changed(user, job)
    user.tunegate("jobs", "work", "--once")
    ended = shown(user, job)
    assert ended["state"] == "failed"
    assert "ours.approval" in ended["error"]["message"]
    assert not started(user, job)
    user.tunegate("jobs", "resume", job, code=3)  # as long as nobody agrees to what it is now
    approve(user, job)
    user.tunegate("jobs", "resume", job)
    goes_on(user, job)


def test_an_approval_of_another_job_is_none(user: User, job: str, spec: Path) -> None:
    approve(user, job)
    other = json.loads(user.tunegate("run", spec, "--json").stdout)["id"]
    in_store(
        user,
        "insert into events (job_id, origin, id, at, level, kind, text, data)"
        " select ?, origin, id, at, level, kind, text, data from events where kind = 'approval'",
        other,
    )
    user.tunegate("jobs", "resume", other)  # look again
    assert shown(user, other)["state"] == "awaiting_approval"
    assert not started(user, other)


def test_with_a_bundle_only_its_approvers_count(user: User, spec: Path, job: str) -> None:
    user.tunegate("records", "key", "new", "officer.pem", "--no-passphrase")
    bob = '[[approvers]]\nname = "bob"\nroles = ["privacy-officer"]\nkey = "keys/bob.pub"\n'
    user.write("trust/trust.toml", bob)
    user.write("trust/keys/bob.pub", (user.folder / "bob.pub").read_bytes())
    user.write("trust/policies/ours.cedar", RULE)
    user.tunegate("policy", "sign", "trust", "--key", "officer.pem")
    user.tunegate("policy", "trust", "trust.bundle", "--key", "officer.pub")
    assert user.json("policy", "trust")["approvers"] == [{"name": "bob", "roles": ["privacy-officer"]}]
    assert "may: bob" in approve(user, job, "alice", code=2)
    approve(user, job, "bob")
    goes_on(user, job)
