"""Between a stored row and a `Job`. What comes back from storage is read leniently: fields that a
newer version added are passed over, fields it lacks take their defaults."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter
from sqlalchemy import RowMapping

from gateway.core.job import Artifact, JobState, Progress, RemoteRef
from gateway.core.plan import Translation
from gateway.jobs.model import Job

_TYPED: dict[str, TypeAdapter[Any]] = {
    "translation": TypeAdapter(Translation),
    "remote": TypeAdapter(RemoteRef | None),
    "progress": TypeAdapter(Progress | None),
    "artifacts": TypeAdapter(tuple[Artifact, ...] | None),
}
_NAMES = tuple(field.name for field in fields(Job))


def to_row(values: Mapping[str, Any]) -> dict[str, Any]:
    """Values of a job's fields as the columns hold them."""
    return {name: _encode(name, value) for name, value in values.items()}


def from_row(row: RowMapping) -> Job:
    """The job in a row of the `jobs` table."""
    values = {name: row[name] for name in _NAMES}
    for name, adapter in _TYPED.items():
        values[name] = adapter.validate_python(values[name])
    values["state"] = JobState(values["state"])
    values["folder"] = Path(values["folder"])
    return Job(**values)


def _encode(name: str, value: Any) -> Any:
    if name in _TYPED:
        return _TYPED[name].dump_python(value, mode="json")
    return str(value) if isinstance(value, JobState | Path) else value
