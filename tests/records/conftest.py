"""A log with a pinned clock and a real key."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest

from gateway.records import RecordLog, RecordRef, SigningKey

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)
DIGEST = "ab" * 32


def clock() -> datetime:
    return NOW


def fill(log: RecordLog, n: int) -> list[RecordRef]:
    return [log.append("decision", [("plan", DIGEST)], {"job": f"job-{i}"}) for i in range(n)]


@pytest.fixture
def log(tmp_path: Path) -> RecordLog:
    return RecordLog(tmp_path / "records", SigningKey.generate(), clock)
