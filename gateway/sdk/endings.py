"""After the end of a job: what its failure means, and deleting what it left."""

from __future__ import annotations

import shutil
from datetime import datetime
from typing import TYPE_CHECKING

from gateway.core.errors import (
    BackendError,
    DataError,
    NothingCanRun,
    OverBudget,
    PolicyDenied,
    RecordError,
    SettingsError,
    SpecError,
    TunegateError,
    Unavailable,
    Unpriced,
    Unsupported,
)
from gateway.core.job import Event
from gateway.egress import classified
from gateway.jobs.model import Job, time_ordered_id

if TYPE_CHECKING:
    from gateway.sdk.rooms import Rooms

_CLASSES: dict[str, type[TunegateError]] = {
    each.code: each
    for each in (
        SpecError, DataError, SettingsError, RecordError, PolicyDenied, OverBudget,
        NothingCanRun, Unsupported, Unavailable, Unpriced,
    )
}  # fmt: skip


def failure(job: Job) -> TunegateError:
    """What a job's stored error says, as the class it was raised as; else a failure of its backend."""
    error = job.error or {}
    message = str(error.get("message") or "the job failed")
    place = str(error.get("place") or job.id)
    fix = str(error.get("fix") or f"see `tunegate jobs events {job.id}`")
    cls = _CLASSES.get(str(error.get("code")))
    if cls is None:
        return BackendError(message, backend=job.backend, place=place, fix=fix)
    return cls(message, place=place, fix=fix)


def purge(rooms: Rooms, job: Job) -> Job:
    """Delete what an ended job left: at its backend first, then its folder. The account stays.

    Raises:
        BackendError, Unsupported: the backend could not; nothing was deleted here.
        SettingsError: the folder cannot be deleted.
    """
    if job.remote is not None:
        backend = rooms.backend_at(job.site)
        with classified(backend):
            backend.delete(job.remote)
    if job.folder.name == job.id and job.folder.is_dir():  # never another folder, whatever a row says
        try:
            shutil.rmtree(job.folder)
        except OSError as error:
            raise SettingsError(f"cannot be deleted: {error.strerror}", place=str(job.folder)) from None
    return rooms.store.update(job, event=_purged(rooms.clock()), artifacts=())


def _purged(now: datetime) -> Event:
    text = "what it left was deleted, here and at its backend"
    return Event(time_ordered_id("evt_", now), now, "info", "purged", text)
