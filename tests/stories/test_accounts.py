"""The signed account of a job that needed two attempts: one decision, a dispatch and a result each."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from gateway.core.job import JobState, RemoteRef
from gateway.core.plan import Translation
from gateway.jobs.model import NewJob
from gateway.jobs.store import Store
from gateway.records import RecordLog, load_or_create_key
from gateway.sdk.accounts import Accounts

PLAN: dict[str, Any] = {
    "spec_hash": "a" * 64,
    "policy_hash": "b" * 64,
    "trust": "unverified",
    "rules": ["baseline", "hipaa"],
    "as_of": "2026-11-22",
    "data": {
        "hash": "c" * 64,
        "rows": 1,
        "used": 1,
        "refused": {},
        "class": {"declared": "phi", "detected": None, "effective": "phi"},
        "scanned": True,
        "findings": {},
    },
    "candidates": [],
    "chosen": None,
    "why": "the only one",
}


def clock() -> datetime:
    return datetime.now(UTC)


def test_each_attempt_has_its_own_dispatch_and_result(tmp_path: Path) -> None:
    store = Store(f"sqlite:///{tmp_path / 'jobs.db'}", clock=clock)
    log = RecordLog(tmp_path / "records", load_or_create_key(tmp_path / "keys"), clock)
    accounts = Accounts(log, store.plan)
    new = NewJob(
        id="job_1",
        name="a",
        team="t",
        backend="local",
        model="m",
        region="local",
        offer="this-machine",
        spec={},
        plan=PLAN,
        translation=Translation((), (), ()),
        folder=tmp_path / "job",
    )
    accounts.decision(PLAN, new.id)
    first = replace(
        store.create(new, reserve_usd=None),
        remote=RemoteRef("local", "run"),
        state=JobState.FAILED,
        raw_state="failed",
    )
    failed = accounts.finished(first, base_revision=None, libraries={})
    assert accounts.finished(first, base_revision=None, libraries={}) == failed  # a crash between: once

    second = replace(first, attempt=2, state=JobState.SUCCEEDED, raw_state="succeeded")
    succeeded = accounts.finished(second, base_revision=None, libraries={})

    assert succeeded != failed
    kinds = [(entry.kind, entry.attempt) for entry in log.of_job("job_1")]
    assert kinds == [
        ("decision", None),
        ("dispatch", 1),
        ("training_result", 1),
        ("dispatch", 2),
        ("training_result", 2),
    ]
    assert log.verify().ok
    assert len(accounts.envelopes(second)) == 5
