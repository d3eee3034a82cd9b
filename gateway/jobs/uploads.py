"""Files at a backend: sent for one job, shared by content, deleted when nobody needs them.

Staged files are content-addressed, so two jobs over the same bytes have one file there. It is deleted
only when no job that has not ended needs it. Who deletes claims the file first, in one transaction with
that check; a job that would use the same bytes meanwhile waits, and then sends them anew.

Every function works inside the caller's transaction.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, and_, case, exists, select, update

from gateway.core.job import JobState
from gateway.jobs.database import insert
from gateway.jobs.model import Job, Upload
from gateway.jobs.schema import jobs, uploads

_FINAL = [str(state) for state in JobState if state.final]


def intend(connection: Connection, job: Job, name: str, sha256: str, now: datetime) -> bool:
    """Note that a file is about to be sent; False while the same bytes are being deleted there."""
    claimed = select(uploads.c.name).where(
        uploads.c.sha256 == sha256,
        uploads.c.claimed_by.is_not(None),
        uploads.c.deleted_at.is_(None),
        uploads.c.job_id.in_(_jobs_at(job.backend)),
    )
    if connection.execute(claimed.limit(1)).one_or_none() is not None:
        return False
    row = insert(connection, uploads).values(job_id=job.id, name=name, sha256=sha256, at=now)
    again = {
        "uri": case((uploads.c.deleted_at.is_not(None), None), else_=uploads.c.uri),
        "claimed_by": None,
        "deleted_at": None,
    }
    connection.execute(row.on_conflict_do_update(index_elements=["job_id", "name", "sha256"], set_=again))
    return True


def sent(connection: Connection, job: Job, name: str, sha256: str, uri: str, now: datetime) -> None:
    mine = and_(uploads.c.job_id == job.id, uploads.c.name == name, uploads.c.sha256 == sha256)
    connection.execute(update(uploads).where(mine).values(uri=uri, at=now))


def of_job(connection: Connection, job_id: str) -> tuple[Upload, ...]:
    query = select(uploads).where(uploads.c.job_id == job_id).order_by(uploads.c.at)
    return tuple(
        Upload(row.name, row.sha256, row.uri, row.deleted_at, row.claimed_by)
        for row in connection.execute(query)
    )


def claim(connection: Connection, job: Job) -> tuple[Upload, ...]:
    """Claim the job's files that nobody else needs. Files that another job needs are left to it: the
    last one to end deletes them."""
    free = tuple(upload for upload in of_job(connection, job.id) if _free(connection, job, upload))
    for upload in free:
        connection.execute(update(uploads).where(_same(job, upload)).values(claimed_by=job.id))
    return free


def deleted(connection: Connection, job: Job, gone: Iterable[Upload], now: datetime) -> None:
    """Note what is gone, for every job that had it: an ended one that is tried again sends it anew."""
    for upload in gone:
        connection.execute(update(uploads).where(_same(job, upload)).values(deleted_at=now))


def unclaim(connection: Connection, job: Job) -> None:
    """End the job's claims, so that nobody waits for what was not deleted."""
    mine = uploads.c.claimed_by == job.id
    connection.execute(update(uploads).where(mine).values(claimed_by=None))


def _free(connection: Connection, job: Job, upload: Upload) -> bool:
    """Whether no other job that has not ended uses these bytes, or is about to."""
    if upload.deleted_at is not None:
        return False
    other = uploads.alias()
    needs = and_(
        other.c.job_id == jobs.c.id,
        other.c.job_id != job.id,
        other.c.sha256 == upload.sha256,
        other.c.deleted_at.is_(None),
        (other.c.uri == upload.uri) | other.c.uri.is_(None),
        jobs.c.backend == job.backend,
        jobs.c.state.notin_(_FINAL),
    )
    return not connection.execute(select(exists().where(needs))).scalar_one()


def _same(job: Job, upload: Upload) -> Any:
    """This file, whichever jobs had it. One whose place is not known is this job's alone."""
    left = and_(uploads.c.sha256 == upload.sha256, uploads.c.deleted_at.is_(None))
    if upload.uri is None:
        return and_(left, uploads.c.job_id == job.id, uploads.c.name == upload.name)
    return and_(left, uploads.c.uri == upload.uri, uploads.c.job_id.in_(_jobs_at(job.backend)))


def _jobs_at(backend: str) -> Any:
    return select(jobs.c.id).where(jobs.c.backend == backend)
