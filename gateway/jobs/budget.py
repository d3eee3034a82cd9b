"""Budget reservations: what running jobs may still cost, and what ended ones did.

Every function works inside the caller's transaction, so that a job and its reservation are made in
one. Racing reservations of one team and month queue at that month's row: SQLite's writers are alone
anyway, PostgreSQL locks the row.
"""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal

from sqlalchemy import Connection, func, select, update

from gateway.core.errors import OverBudget
from gateway.jobs.database import insert
from gateway.jobs.model import Caps
from gateway.jobs.schema import budgets, reservations

_ZERO = Decimal(0)


def month_of(moment: datetime) -> str:
    return f"{moment:%Y-%m}"


def reserve(
    connection: Connection, job_id: str, team: str, usd: Decimal, caps: Caps, *, now: datetime
) -> None:
    """Hold `usd` for a job.

    Raises:
        OverBudget: it is above the job's cap, or the team's month would be.
    """
    month = month_of(now)
    _check(connection, team, month, usd, caps)
    connection.execute(
        reservations.insert().values(
            job_id=job_id, team=team, month=month, state="held", reserved_usd=usd, counted_usd=usd
        )
    )


def hold_again(connection: Connection, job_id: str, caps: Caps) -> None:
    """Hold for a new attempt what the job had reserved; what the last one cost stays counted."""
    row = connection.execute(select(reservations).where(reservations.c.job_id == job_id)).one_or_none()
    if row is None or row.state == "held":
        return
    _check(connection, row.team, row.month, row.reserved_usd, caps)
    connection.execute(
        update(reservations)
        .where(reservations.c.job_id == job_id)
        .values(state="held", counted_usd=row.counted_usd + row.reserved_usd)
    )


def settle(connection: Connection, job_id: str, actual: Decimal | None) -> None:
    """The job has ended. Without an actual cost, of all its attempts, the reservation counts as spent:
    unknown is not zero."""
    values: dict[str, object] = {"state": "settled"}
    if actual is not None:
        values["counted_usd"] = actual
    connection.execute(update(reservations).where(reservations.c.job_id == job_id).values(values))


def release(connection: Connection, job_id: str) -> None:
    """The attempt ended before anything was started that could cost; earlier ones stay counted."""
    held = reservations.c.job_id == job_id, reservations.c.state == "held"
    left = reservations.c.counted_usd - reservations.c.reserved_usd
    connection.execute(update(reservations).where(*held).values(state="released", counted_usd=left))


def counted(connection: Connection, team: str, month: str) -> Decimal:
    """USD held, or spent, by a team's jobs of one month (`2026-11`, by creation, UTC)."""
    total = connection.execute(
        select(func.sum(reservations.c.counted_usd)).where(
            reservations.c.team == team, reservations.c.month == month
        )
    ).scalar()
    return total if total is not None else _ZERO


def _check(connection: Connection, team: str, month: str, usd: Decimal, caps: Caps) -> None:
    if usd < 0:
        raise ValueError("a reservation cannot be negative")
    if caps.job_usd is not None and usd > caps.job_usd:
        raise OverBudget(
            f"this job may cost {usd} USD; a job may cost {caps.job_usd}",
            place="budget per job",
            fix="make the job smaller, or raise `budget_usd` or `[budgets] job_usd`",
        )
    if caps.team_month_usd is None:
        return
    _lock(connection, team, month)
    spent = counted(connection, team, month)
    if spent + usd > caps.team_month_usd:
        raise OverBudget(
            f"this job may cost {usd} USD; team {team} has "
            f"{max(caps.team_month_usd - spent, _ZERO)} of {caps.team_month_usd} left this month",
            place=f"budget of {team} for {month}",
            fix="wait for running jobs to settle, or raise `[budgets] team_month_usd`",
        )


def _lock(connection: Connection, team: str, month: str) -> None:
    connection.execute(insert(connection, budgets).values(team=team, month=month).on_conflict_do_nothing())
    connection.execute(
        select(budgets).where(budgets.c.team == team, budgets.c.month == month).with_for_update()
    )
