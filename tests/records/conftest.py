"""A log with a pinned clock and a real key."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from gateway.records import RecordLog, RecordRef, SigningKey

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)
DIGEST = "ab" * 32


def clock() -> datetime:
    return NOW


def told(job: str) -> dict[str, Any]:
    """A small record that is whole: an approval of that job."""
    return {
        "job": job,
        "approver": "Ana Ortiz",
        "requested_by": "sam",
        "key_id": "k1",
        "spec_hash": DIGEST,
        "data_hash": DIGEST,
        "policy_hash": DIGEST,
    }


def fill(log: RecordLog, n: int) -> list[RecordRef]:
    return [log.append("approval", [("plan", DIGEST)], told(f"job-{i}")) for i in range(n)]


@pytest.fixture
def log(tmp_path: Path) -> RecordLog:
    return RecordLog(tmp_path / "records", SigningKey.generate(), clock)
