"""After the end of a job: what it did cost, what its failure means, and deleting what it left."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from contextlib import suppress
from datetime import datetime
from decimal import ROUND_HALF_UP, Decimal
from typing import TYPE_CHECKING, Any

from gateway.core.errors import (
    BackendError,
    DataError,
    NotFound,
    NothingCanRun,
    NotNow,
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
from gateway.core.job import Event, Snapshot
from gateway.egress import classified
from gateway.jobs.closing import deployment_of
from gateway.jobs.model import Deletion, Job, Upload, time_ordered_id
from gateway.sdk.accounts import Gone

if TYPE_CHECKING:
    from gateway.sdk.rooms import Rooms

_CENT = Decimal("0.01")
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


def actual_usd(rooms: Rooms, job: Job, snapshot: Snapshot) -> Decimal | None:
    """What an attempt's training did cost: the tokens its backend says it billed, at the plan's price.
    None where either is not known; unknown is not zero."""
    tokens = snapshot.billed_tokens if snapshot.billed_tokens is not None else job.billed_tokens
    price = next((line["price"] for line in _lines(rooms, job) if line["name"] == "training"), None)
    if tokens is None or price is None or rooms.facts[job.backend].kind == "local":
        return None
    return (Decimal(tokens) / 1_000_000 * Decimal(price)).quantize(_CENT, ROUND_HALF_UP)


def training_estimate(rooms: Rooms, job: Job) -> Mapping[str, str] | None:
    """{low, likely, high} in USD of the training alone, as planned; None where it was not priced."""
    return _candidate(rooms, job).get("estimate", {}).get("training_usd")


def training_time(rooms: Rooms, job: Job) -> dict[str, Any] | None:
    """How long a job trained on a machine of ours, in seconds, beside what was planned; None while it
    trains, and where somebody else's machine did. On GPUs their seconds are told too: of all of them."""
    candidate = _candidate(rooms, job)
    planned: Mapping[str, str] | None = candidate.get("duration_h")
    local = rooms.facts[job.backend].kind == "local" if job.backend in rooms.facts else False
    if not local or job.started_at is None or job.ended_at is None:
        return None
    seconds = (job.ended_at - job.started_at).total_seconds()
    processes = candidate.get("choices", {}).get("processes", {}).get("value", 1)
    on_gpu = any(machine.gpu for machine in rooms.backend(job.backend).machines())
    return {
        "actual_s": round(seconds, 1),
        "planned_s": planned and {case: round(float(hours) * 3600, 1) for case, hours in planned.items()},
        "gpu_s": round(seconds * processes, 1) if on_gpu else None,
    }


def _lines(rooms: Rooms, job: Job) -> list[Mapping[str, Any]]:
    lines = _candidate(rooms, job).get("estimate", {}).get("lines", [])
    return [line for line in lines if line["unit"] == "1M tokens"]


def _candidate(rooms: Rooms, job: Job) -> Mapping[str, Any]:
    """The chosen candidate, as the stored plan has it."""
    wanted = (job.backend, job.model, job.region, job.offer)
    for candidate in rooms.store.plan(job.id).get("candidates", ()):
        if tuple(candidate[part] for part in ("backend", "model", "region", "offer")) == wanted:
            return candidate
    return {}


def deleted(rooms: Rooms, job: Job, deletions: Sequence[Deletion], *, why: str = "the job ended") -> None:
    """The receipt for uploads that were to be deleted."""
    gone = [
        Gone(each.upload.name, each.upload.uri or "", each.upload.sha256, not each.code, each.code)
        for each in deletions
    ]
    rooms.accounts.deleted(job, gone, why=why)


def purge(rooms: Rooms, job: Job) -> Job:
    """Delete what an ended job left: at its backend first, then its folder. The account stays.

    Raises:
        BackendError, Unsupported: the backend could not; nothing was deleted here.
        NotNow: a deployment of the model stands, or may.
        SettingsError: the folder cannot be deleted.
    """
    if deployment_of(job) is not None:
        raise NotNow(
            "the model of this job is deployed",
            place=job.id,
            fix=f"end that first: `tunegate jobs undeploy {job.id}`",
        )
    if job.folder.is_dir() and job.folder.resolve().parent != rooms.settings.jobs_folder.resolve():
        raise NotNow(  # a copied store names the files of the home it was copied from
            "what this job left lies in another home",
            place=str(job.folder),
            fix="purge it there: `tunegate --home FOLDER jobs purge …`",
        )
    if job.remote is not None:
        backend = rooms.backend_at(job.site)
        with classified(backend):
            backend.delete(job.remote)
    if rooms.facts[job.backend].kind == "managed":
        _purge_uploads(rooms, job)
    if job.folder.name == job.id and job.folder.is_dir():  # never another folder, whatever a row says
        try:
            shutil.rmtree(job.folder)
        except OSError as error:
            raise SettingsError(f"cannot be deleted: {error.strerror}", place=str(job.folder)) from None
    return rooms.store.update(job, event=_purged(rooms.clock()), artifacts=())


def _purge_uploads(rooms: Rooms, job: Job) -> None:
    """Uploads that were kept, or could not be deleted; not those that another job needs."""
    backend = rooms.backend_at(job.site)
    claimed = [upload for upload in rooms.store.claim_uploads(job) if upload.uri]
    gone: list[Upload] = []
    try:
        for upload in claimed:
            with classified(backend), suppress(NotFound):
                backend.unstage(upload.uri or "")
            gone.append(upload)
    finally:
        if gone:
            deleted(rooms, job, [Deletion(upload) for upload in gone], why="purged")
        rooms.store.uploads_deleted(job, gone)


def _purged(now: datetime) -> Event:
    text = "what it left was deleted, here and at its backend"
    return Event(time_ordered_id("evt_", now), now, "info", "purged", text)
