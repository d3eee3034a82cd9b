"""The job store: what is wanted of every job, and what was last seen of it.

Moves are compare-and-set: a write names the version it was decided on, and is refused when
somebody wrote in between. No method waits for a network; whoever calls a backend does so between
two calls of this store, never inside one.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any, Literal, Unpack

from sqlalchemy import Connection, and_, case, func, or_, select, update

from gateway.core.errors import JobNotFound, NotNow, StoreConflict
from gateway.core.job import Event, JobState, may_move
from gateway.jobs import budget, uploads
from gateway.jobs.codec import from_row, to_row
from gateway.jobs.database import Database, insert
from gateway.jobs.lease import holder_is_dead
from gateway.jobs.model import Caps, Changes, Intent, Job, NewJob, Upload, Wanted, idempotency_key
from gateway.jobs.schema import events, intents, jobs, reservations

_JOB_COLUMNS = tuple(column for column in jobs.c if column.name != "plan")
_JOB = select(*_JOB_COLUMNS)
_FINAL = [str(state) for state in JobState if state.final]

Clock = Callable[[], datetime]


class Store:
    """Jobs in SQLite or PostgreSQL. Safe to share between threads; open one per process.

    Args:
        url: `sqlite:////path/jobs.db` or `postgresql+psycopg://…`.
        clock: the time now, in UTC with a zone.

    Raises:
        StoreError: from every method, when the database cannot be opened, read or written.
    """

    def __init__(self, url: str, *, clock: Clock) -> None:
        self._database = Database(url)
        self._clock = clock

    @property
    def place(self) -> str:
        return self._database.place

    def close(self) -> None:
        self._database.close()

    # -- jobs -------------------------------------------------------------------------------------

    def create(self, new: NewJob, *, reserve_usd: Decimal | None, caps: Caps | None = None) -> Job:
        """Store a job and reserve its budget, both or neither.

        Args:
            reserve_usd: the high estimate of the total; None where nothing is to be reserved
                (one's own hardware, not priced).

        Raises:
            OverBudget: a cap would be exceeded; nothing was stored.
            StoreConflict: a job with this id is already there.
        """
        now = self._clock()
        with self._database.write() as connection:
            row = connection.execute(select(jobs.c.id).where(jobs.c.id == new.id)).one_or_none()
            if row is not None:
                raise StoreConflict("a job with this id exists already", place=new.id)
            connection.execute(jobs.insert().values(_first_row(new, now)))
            if reserve_usd is not None:
                budget.reserve(connection, new.id, new.team, reserve_usd, caps or Caps(), now=now)
            return _get(connection, new.id)

    def get(self, job_id: str) -> Job:
        """The job as it was last written.

        Raises:
            JobNotFound: no job has this id.
        """
        with self._database.read() as connection:
            return _get(connection, job_id)

    def plan(self, job_id: str) -> Mapping[str, Any]:
        """The whole plan the job was dispatched from, as `Plan.to_json()` gave it.

        Raises:
            JobNotFound: no job has this id.
        """
        with self._database.read() as connection:
            row = connection.execute(select(jobs.c.plan).where(jobs.c.id == job_id)).one_or_none()
        if row is None:
            raise _not_found(job_id)
        return row.plan

    def list(
        self, *, team: str | None = None, states: Sequence[JobState] = (), limit: int = 100
    ) -> tuple[Job, ...]:
        """Jobs, newest first."""
        query = _JOB.order_by(jobs.c.id.desc()).limit(limit)
        if team is not None:
            query = query.where(jobs.c.team == team)
        if states:
            query = query.where(jobs.c.state.in_([str(state) for state in states]))
        with self._database.read() as connection:
            return tuple(from_row(row) for row in connection.execute(query).mappings())

    def due(self, *, limit: int = 1000) -> tuple[str, ...]:
        """Ids of jobs whose next step may be taken now, the longest waiting first."""
        now = self._clock()
        waiting = (
            select(jobs.c.id, jobs.c.lease_owner)
            .where(jobs.c.closed_at.is_(None), jobs.c.next_due_at <= now)
            .order_by(jobs.c.next_due_at)
        )
        free = waiting.where(or_(jobs.c.lease_until.is_(None), jobs.c.lease_until <= now))
        with self._database.read() as connection:
            ids = [row.id for row in connection.execute(free.limit(limit))]
            held = connection.execute(waiting.where(jobs.c.lease_until > now)).all()
        return (*ids, *(row.id for row in held if holder_is_dead(row.lease_owner)))

    def move(self, job: Job, to: JobState, *, event: Event | None = None, **changes: Unpack[Changes]) -> Job:
        """Write a legal move, with what else changed, if nobody wrote since `job` was read.

        A move to a final state settles or releases the reservation in the same transaction.

        Raises:
            StoreConflict: somebody wrote in between, or the move is not legal.
        """
        if to is not job.state and not may_move(job.state, to):
            raise StoreConflict(f"a job that is {job.state} cannot become {to}", place=job.id)
        with self._database.write(durable=to is not job.state or event is not None) as connection:
            after = self._write(connection, job, {"state": to, **changes})
            if to.final and not job.state.final:
                started = job.remote is not None or changes.get("remote") is not None
                if started:
                    budget.settle(connection, job.id, changes.get("actual_usd", job.actual_usd))
                else:
                    budget.release(connection, job.id)
            if event is not None:
                _add_events(connection, job.id, "gateway", [event])
        return after

    def update(self, job: Job, *, event: Event | None = None, **changes: Unpack[Changes]) -> Job:
        """`move` without a change of state."""
        return self.move(job, job.state, event=event, **changes)

    def want(self, job_id: str, wanted: Wanted, *, was: Wanted | None = None) -> Job:
        """Say what is wanted of a job; the next step works towards it.

        No version is needed: the last word counts, except that a cancel is never taken back.

        Args:
            was: change it only where it is still this.
        """
        now = self._clock()
        change = (
            update(jobs)
            .where(jobs.c.id == job_id, jobs.c.state.notin_(_FINAL), jobs.c.wanted != "cancel")
            .values(wanted=wanted, next_due_at=now, updated_at=now)
        )
        if was is not None:
            change = change.where(jobs.c.wanted == was)
        with self._database.write() as connection:
            connection.execute(change)
            return _get(connection, job_id)

    def retry(
        self, job: Job, caps: Caps | None = None, *, anew: bool = False, event: Event | None = None
    ) -> Job:
        """A new attempt of a failed job: a new key, the same reservation, held again.

        Args:
            anew: start from the beginning, as a new job at the backend, instead of going on there.

        Raises:
            OverBudget: the money was meanwhile given to others.
            StoreConflict: the job has not failed, or somebody wrote in between.
        """
        if job.state is not JobState.FAILED:
            raise NotNow(f"a job that is {job.state} has nothing to try again", place=job.id)
        attempt = job.attempt + 1
        again: dict[str, Any] = {
            "state": JobState.STAGING,
            "attempt": attempt,
            "key": idempotency_key(job.id, attempt),
            "next_due_at": self._clock(),
            "evaluation": "pending",
        }
        if job.remote is None:
            again["actual_usd"] = Decimal(0)  # nothing was ever started
        cleared = ["raw_state", "error", "progress", "ended_at", "closed_at", "result", "record"]
        if anew:
            cleared += ["remote", "started_at", "billed_tokens", "artifacts"]
        with self._database.write() as connection:
            self._write(connection, job, {**again, **dict.fromkeys(cleared), "failures": 0})
            connection.execute(update(jobs).where(jobs.c.id == job.id).values(wanted="run"))
            budget.hold_again(connection, job.id, caps or Caps())
            if event is not None:
                _add_events(connection, job.id, "gateway", [event])
            return _get(connection, job.id)

    def _write(self, connection: Connection, job: Job, values: Mapping[str, Any]) -> Job:
        """Write against the version that was read; the job as it is then, without reading all of it."""
        row = to_row(values)
        now = self._clock()
        if "next_due_at" in row:  # a wish that arrived meanwhile must not wait for our next visit
            row["next_due_at"] = case((jobs.c.wanted != job.wanted, now), else_=row["next_due_at"])
        done = connection.execute(
            update(jobs)
            .where(jobs.c.id == job.id, jobs.c.version == job.version)
            .values(**row, version=job.version + 1, updated_at=now)
            .returning(jobs.c.wanted, jobs.c.next_due_at, jobs.c.lease_until)
        ).one_or_none()
        if done is None:
            _get(connection, job.id)  # JobNotFound says more than a conflict, where it is so
            raise StoreConflict("somebody else moved this job first", place=job.id, fix="read it again")
        seen = {"wanted": done.wanted, "next_due_at": done.next_due_at, "lease_until": done.lease_until}
        return replace(job, **{**values, **seen}, version=job.version + 1, updated_at=now)

    # -- leases -----------------------------------------------------------------------------------

    def lease(self, job_id: str, owner: str, ttl: timedelta) -> Job | None:
        """Take the job for one step; None while another holder lives.

        Taking it makes a new version, so that whatever an earlier holder still means to write is
        refused.

        Raises:
            JobNotFound: no job has this id.
        """
        now = self._clock()
        free = or_(jobs.c.lease_until.is_(None), jobs.c.lease_until <= now)
        taken = {"lease_owner": owner, "lease_until": now + ttl, "version": jobs.c.version + 1}
        with self._database.write(durable=False) as connection:
            take = update(jobs).where(jobs.c.id == job_id, free).values(taken).returning(*_JOB_COLUMNS)
            row = connection.execute(take).mappings().one_or_none()
            if row is not None:
                return from_row(row)
            query = select(jobs.c.lease_owner).where(jobs.c.id == job_id)
            held = connection.execute(query.with_for_update()).one_or_none()
            if held is None:
                raise _not_found(job_id)
            if not holder_is_dead(held.lease_owner):
                return None
            connection.execute(update(jobs).where(jobs.c.id == job_id).values(taken))
            return _get(connection, job_id)

    def renew(self, job_id: str, owner: str, ttl: timedelta) -> bool:
        """Hold the lease longer; False when it was lost."""
        mine = and_(jobs.c.id == job_id, jobs.c.lease_owner == owner)
        with self._database.write(durable=False) as connection:
            done = connection.execute(update(jobs).where(mine).values(lease_until=self._clock() + ttl))
            return done.rowcount == 1

    def release(self, job_id: str, owner: str) -> None:
        """Give the lease back; one that was lost meanwhile stays with its new holder."""
        mine = and_(jobs.c.id == job_id, jobs.c.lease_owner == owner)
        with self._database.write(durable=False) as connection:
            connection.execute(update(jobs).where(mine).values(lease_owner=None, lease_until=None))

    # -- intents ----------------------------------------------------------------------------------

    def intend(self, job: Job, name: str) -> Intent:
        """Commit that a call is about to be made under the job's key, and count the try."""
        now = self._clock()
        row = {"job_id": job.id, "attempt": job.attempt, "name": name, "key": job.key}
        with self._database.write() as connection:
            first = insert(connection, intents).values(**row, tries=1, last_at=now)
            connection.execute(
                first.on_conflict_do_update(
                    index_elements=["job_id", "attempt", "name"],
                    set_={"tries": intents.c.tries + 1, "last_at": now, "error": None},
                )
            )
            return _require(_intent(connection, job, name))

    def intent(self, job: Job, name: str) -> Intent | None:
        """What was committed under this name in this attempt; None when no call was ever near."""
        with self._database.read() as connection:
            return _intent(connection, job, name)

    def note(self, job: Job, name: str, error: Mapping[str, Any]) -> None:
        """Keep how the last try ended."""
        with self._database.write() as connection:
            connection.execute(update(intents).where(_named(job, name)).values(error=dict(error)))

    def forget(self, job: Job, name: str) -> None:
        """A person has looked: the call did not arrive, and may be made again."""
        with self._database.write() as connection:
            connection.execute(intents.delete().where(_named(job, name)))

    # -- uploads ----------------------------------------------------------------------------------

    def intend_upload(self, job: Job, name: str, sha256: str) -> bool:
        """Commit that a file is about to be sent; False while the same bytes are being deleted there."""
        with self._database.write() as connection:
            return uploads.intend(connection, job, name, sha256, self._clock())

    def record_upload(self, job: Job, name: str, sha256: str, uri: str) -> None:
        with self._database.write() as connection:
            uploads.sent(connection, job, name, sha256, uri, self._clock())

    def uploads(self, job_id: str) -> tuple[Upload, ...]:
        """Files sent for a job, or about to be, deleted ones too; the latest last."""
        with self._database.read() as connection:
            return uploads.of_job(connection, job_id)

    def claim_uploads(self, job: Job) -> tuple[Upload, ...]:
        """The files of an ended job that are to be deleted at its backend, claimed for that: nobody
        else needs them, and nobody begins to while they are claimed."""
        with self._database.write() as connection:
            return uploads.claim(connection, job)

    def uploads_deleted(
        self, job: Job, gone: Sequence[Upload] = (), events: Sequence[Event] = ()
    ) -> tuple[Event, ...]:
        """Commit that these are gone at the backend, with what is to be told of it, and end all claims
        of the job."""
        with self._database.write() as connection:
            uploads.deleted(connection, job, gone, self._clock())
            uploads.unclaim(connection, job)
            return _add_events(connection, job.id, "gateway", events)

    # -- events -----------------------------------------------------------------------------------

    def add_events(self, job_id: str, new: Sequence[Event]) -> tuple[Event, ...]:
        """Keep the backend's events; those that were there already are not kept twice. Returns the new."""
        if not new:
            return ()
        with self._database.write() as connection:
            return _add_events(connection, job_id, "backend", new)

    def tell(self, job_id: str, event: Event) -> None:
        """Keep one event of ours that goes with no move of the job."""
        with self._database.write() as connection:
            _add_events(connection, job_id, "gateway", [event])

    def events(
        self, job_id: str, *, after: str | None = None, kind: str | None = None, limit: int = 1000
    ) -> tuple[Event, ...]:
        """Events of a job in the order they were kept, all or of one kind; `after` is the id of the last
        one seen."""
        query = select(events).where(events.c.job_id == job_id).order_by(events.c.seq).limit(limit)
        if kind is not None:
            query = query.where(events.c.kind == kind)
        if after is not None:
            seen = select(func.max(events.c.seq)).where(events.c.job_id == job_id, events.c.id == after)
            query = query.where(events.c.seq > func.coalesce(seen.scalar_subquery(), 0))
        with self._database.read() as connection:
            return tuple(
                Event(row.id, row.at, row.level, row.kind, row.text, row.data)
                for row in connection.execute(query)
            )

    def last_event(self, job_id: str) -> str | None:
        """Id of the backend's last event that was kept: where to go on reading."""
        query = (
            select(events.c.id)
            .where(events.c.job_id == job_id, events.c.origin == "backend")
            .order_by(events.c.seq.desc())
            .limit(1)
        )
        with self._database.read() as connection:
            return connection.execute(query).scalar()

    # -- money ------------------------------------------------------------------------------------

    def settle(self, job_id: str, actual: Decimal) -> Job:
        """Replace what an ended job counts by what it did cost, once that is known."""
        with self._database.write() as connection:
            _get(connection, job_id)
            connection.execute(update(jobs).where(jobs.c.id == job_id).values(actual_usd=actual))
            budget.settle(connection, job_id, actual)
            return _get(connection, job_id)

    def counted_usd(self, team: str, month: str) -> Decimal:
        """USD held or spent by a team's jobs of one month, such as `2026-11`."""
        with self._database.read() as connection:
            return budget.counted(connection, team, month)

    def reservation(self, job_id: str) -> tuple[Literal["held", "settled", "released"], Decimal] | None:
        """State of a job's reservation, and what it counts; None when nothing was reserved."""
        query = select(reservations).where(reservations.c.job_id == job_id)
        with self._database.read() as connection:
            row = connection.execute(query).one_or_none()
        return None if row is None else (row.state, row.counted_usd)


def _first_row(new: NewJob, now: datetime) -> dict[str, Any]:
    given = ("id", "name", "team", "backend", "model", "region", "offer", "estimate_usd")
    return {
        **{name: getattr(new, name) for name in given},
        "spec": dict(new.spec),
        "plan": dict(new.plan),
        **to_row({"translation": new.translation, "folder": Path(new.folder).absolute()}),
        "state": str(JobState.PLANNED),
        "wanted": "run",
        "key": idempotency_key(new.id, 1),
        "created_at": now,
        "updated_at": now,
        "next_due_at": now,
        "attempt": 1,
        "failures": 0,
        "evaluation": "pending",
        "version": 1,
    }


def _get(connection: Connection, job_id: str) -> Job:
    row = connection.execute(_JOB.where(jobs.c.id == job_id)).mappings().one_or_none()
    if row is None:
        raise _not_found(job_id)
    return from_row(row)


def _not_found(job_id: str) -> JobNotFound:
    return JobNotFound("no job has this id", place=job_id, fix="list them with `tunegate jobs list`")


def _named(job: Job, name: str) -> Any:
    return and_(intents.c.job_id == job.id, intents.c.attempt == job.attempt, intents.c.name == name)


def _intent(connection: Connection, job: Job, name: str) -> Intent | None:
    row = connection.execute(select(intents).where(_named(job, name))).one_or_none()
    return None if row is None else Intent(row.name, row.key, row.tries, row.last_at, row.error)


def _require(intent: Intent | None) -> Intent:
    assert intent is not None, "it was written in this transaction"  # noqa: S101
    return intent


def _add_events(
    connection: Connection, job_id: str, origin: Literal["gateway", "backend"], new: Sequence[Event]
) -> tuple[Event, ...]:
    """One statement an event, since only that says on every database which were new."""
    kept: list[Event] = []
    for event in new:
        row = insert(connection, events).values(
            job_id=job_id,
            origin=origin,
            id=event.id,
            at=event.at,
            level=event.level,
            kind=event.kind,
            text=event.text,
            data=dict(event.data),
        )
        added = connection.execute(row.on_conflict_do_nothing().returning(events.c.seq))
        if added.one_or_none() is not None:
            kept.append(event)
    return tuple(kept)
