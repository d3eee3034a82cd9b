"""Tables of the job store, and the two column types that SQLite lacks.

The migrations are the truth; these tables say the same in the form that queries use, and a test
compares the two.
"""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import ROUND_UP, Decimal
from typing import Any

from sqlalchemy import (
    JSON,
    BigInteger,
    Column,
    DateTime,
    Dialect,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    String,
    Table,
    Text,
    UniqueConstraint,
)
from sqlalchemy.types import TypeDecorator

VERSION_TABLE = "tunegate_version"
HEAD = "0002"

_CENT = Decimal("0.01")
_MICRO = Decimal("0.000001")


class Usd(TypeDecorator[Decimal]):
    """Dollars as whole micro-dollars, so that sums in SQL are exact on every database.

    Amounts finer than a micro-dollar round up: a reservation never counts less than it is.
    """

    impl = BigInteger
    cache_ok = True

    def process_bind_param(self, value: Decimal | None, dialect: Dialect) -> int | None:
        return None if value is None else int(value.quantize(_MICRO, rounding=ROUND_UP).scaleb(6))

    def process_result_value(self, value: Any, dialect: Dialect) -> Decimal | None:
        if value is None:
            return None
        usd = Decimal(int(value)).scaleb(-6)
        cents = usd.quantize(_CENT)
        return cents if cents == usd else usd.normalize()


class UtcTime(TypeDecorator[datetime]):
    """A time in UTC. SQLite keeps no zone, so it is taken off on the way in and put back on the way out."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError("a time without a zone")
        moment = value.astimezone(UTC)
        return moment.replace(tzinfo=None) if dialect.name == "sqlite" else moment

    def process_result_value(self, value: Any, dialect: Dialect) -> datetime | None:
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


def _json(name: str, *, nullable: bool = True) -> Column[Any]:
    return Column(name, JSON(none_as_null=True), nullable=nullable)


metadata = MetaData()

jobs = Table(
    "jobs",
    metadata,
    Column("id", String(64), primary_key=True),
    Column("name", String(64), nullable=False),
    Column("team", String(64), nullable=False),
    Column("state", String(24), nullable=False),
    Column("raw_state", String(255)),
    Column("wanted", String(8), nullable=False),
    Column("backend", String(64), nullable=False),
    Column("model", String(255), nullable=False),
    Column("region", String(64), nullable=False),
    Column("offer", String(64), nullable=False),
    _json("remote"),
    Column("key", String(128), nullable=False, unique=True),
    _json("spec", nullable=False),
    _json("plan", nullable=False),
    _json("translation", nullable=False),
    Column("estimate_usd", Usd),
    Column("actual_usd", Usd),
    Column("billed_tokens", BigInteger),
    Column("created_at", UtcTime, nullable=False),
    Column("updated_at", UtcTime, nullable=False),
    Column("started_at", UtcTime),
    Column("ended_at", UtcTime),
    Column("closed_at", UtcTime),
    Column("next_due_at", UtcTime),
    Column("attempt", Integer, nullable=False),
    Column("failures", Integer, nullable=False),
    Column("folder", Text, nullable=False),
    _json("error"),
    _json("progress"),
    Column("evaluation", String(16), nullable=False),
    _json("result"),
    Column("record", Text),
    _json("artifacts"),
    Column("lease_owner", String(255)),
    Column("lease_until", UtcTime),
    Column("version", Integer, nullable=False),
    Index("jobs_due", "closed_at", "next_due_at"),
)

events = Table(
    "events",
    metadata,
    Column("seq", Integer, primary_key=True, autoincrement=True),
    Column("job_id", String(64), ForeignKey("jobs.id"), nullable=False),
    Column("origin", String(16), nullable=False),  # gateway | backend
    Column("id", String(255), nullable=False),
    Column("at", UtcTime, nullable=False),
    Column("level", String(8), nullable=False),
    Column("kind", String(64), nullable=False),
    Column("text", Text, nullable=False),
    _json("data", nullable=False),
    UniqueConstraint("job_id", "origin", "id", name="events_once"),
)

intents = Table(
    "intents",
    metadata,
    Column("job_id", String(64), ForeignKey("jobs.id"), primary_key=True),
    Column("attempt", Integer, primary_key=True),
    Column("name", String(32), primary_key=True),
    Column("key", String(128), nullable=False),
    Column("tries", Integer, nullable=False),
    Column("last_at", UtcTime, nullable=False),
    _json("error"),
)

uploads = Table(
    "uploads",
    metadata,
    Column("job_id", String(64), ForeignKey("jobs.id"), primary_key=True),
    Column("name", String(255), primary_key=True),
    Column("sha256", String(64), primary_key=True),
    Column("uri", Text),  # null: about to be sent, or sent and the reply lost
    Column("at", UtcTime, nullable=False),
    Column("claimed_by", String(64)),  # the job that is deleting it: whoever needs these bytes waits
    Column("deleted_at", UtcTime),
    Index("uploads_content", "sha256"),
)

budgets = Table(  # one row per team and month: what racing reservations lock
    "budgets",
    metadata,
    Column("team", String(64), primary_key=True),
    Column("month", String(7), primary_key=True),
)

reservations = Table(
    "reservations",
    metadata,
    Column("job_id", String(64), ForeignKey("jobs.id"), primary_key=True),
    Column("team", String(64), nullable=False),
    Column("month", String(7), nullable=False),
    Column("state", String(16), nullable=False),  # held | settled | released
    Column("reserved_usd", Usd, nullable=False),
    Column("counted_usd", Usd, nullable=False),  # what counts against the month
    Index("reservations_month", "team", "month"),
)
