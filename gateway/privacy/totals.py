"""A scan's totals as JSON: what scanning processes answer, and what the cache keeps."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict, NonNegativeInt

from gateway.core.classes import DataClass
from gateway.core.rows import ScanSummary
from gateway.privacy.classes import TYPES


class _Totals(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)

    complete: bool
    records: NonNegativeInt
    flagged: NonNegativeInt
    health: NonNegativeInt
    detected: str
    findings: dict[str, NonNegativeInt]


def to_json(totals: ScanSummary) -> dict[str, Any]:
    return {
        "complete": totals.complete,
        "records": totals.records,
        "flagged": totals.flagged,
        "health": totals.health,
        "detected": str(totals.detected),
        "findings": dict(totals.findings),
    }


def from_json(value: object) -> ScanSummary:
    """Totals as they were written.

    Raises:
        ValueError: they are not.
    """
    read = _Totals.model_validate(value)
    if not set(read.findings) <= set(TYPES) or max(read.flagged, read.health) > read.records:
        raise ValueError("these totals contradict themselves")
    return ScanSummary(
        complete=read.complete,
        records=read.records,
        flagged=read.flagged,
        health=read.health,
        detected=DataClass.parse(read.detected),
        findings=read.findings,
    )
