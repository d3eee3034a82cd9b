"""Jobs, their events, intents, uploads and budget reservations."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

_TIME = sa.DateTime(timezone=True)
_JSON = sa.JSON(none_as_null=True)


def upgrade() -> None:
    op.create_table(
        "jobs",
        sa.Column("id", sa.String(64), primary_key=True),
        sa.Column("name", sa.String(64), nullable=False),
        sa.Column("team", sa.String(64), nullable=False),
        sa.Column("state", sa.String(24), nullable=False),
        sa.Column("raw_state", sa.String(255)),
        sa.Column("wanted", sa.String(8), nullable=False),
        sa.Column("backend", sa.String(64), nullable=False),
        sa.Column("model", sa.String(255), nullable=False),
        sa.Column("region", sa.String(64), nullable=False),
        sa.Column("offer", sa.String(64), nullable=False),
        sa.Column("remote", _JSON),
        sa.Column("key", sa.String(128), nullable=False, unique=True),
        sa.Column("spec", _JSON, nullable=False),
        sa.Column("plan", _JSON, nullable=False),
        sa.Column("translation", _JSON, nullable=False),
        sa.Column("estimate_usd", sa.BigInteger),
        sa.Column("actual_usd", sa.BigInteger),
        sa.Column("billed_tokens", sa.BigInteger),
        sa.Column("created_at", _TIME, nullable=False),
        sa.Column("updated_at", _TIME, nullable=False),
        sa.Column("started_at", _TIME),
        sa.Column("ended_at", _TIME),
        sa.Column("closed_at", _TIME),
        sa.Column("next_due_at", _TIME),
        sa.Column("attempt", sa.Integer, nullable=False),
        sa.Column("failures", sa.Integer, nullable=False),
        sa.Column("folder", sa.Text, nullable=False),
        sa.Column("error", _JSON),
        sa.Column("progress", _JSON),
        sa.Column("evaluation", sa.String(16), nullable=False),
        sa.Column("result", _JSON),
        sa.Column("record", sa.Text),
        sa.Column("artifacts", _JSON),
        sa.Column("lease_owner", sa.String(255)),
        sa.Column("lease_until", _TIME),
        sa.Column("version", sa.Integer, nullable=False),
    )
    op.create_index("jobs_due", "jobs", ["closed_at", "next_due_at"])
    op.create_table(
        "events",
        sa.Column("seq", sa.Integer, primary_key=True, autoincrement=True),
        sa.Column("job_id", sa.String(64), sa.ForeignKey("jobs.id"), nullable=False),
        sa.Column("origin", sa.String(16), nullable=False),
        sa.Column("id", sa.String(255), nullable=False),
        sa.Column("at", _TIME, nullable=False),
        sa.Column("level", sa.String(8), nullable=False),
        sa.Column("kind", sa.String(64), nullable=False),
        sa.Column("text", sa.Text, nullable=False),
        sa.Column("data", _JSON, nullable=False),
        sa.UniqueConstraint("job_id", "origin", "id", name="events_once"),
    )
    op.create_table(
        "intents",
        sa.Column("job_id", sa.String(64), sa.ForeignKey("jobs.id"), primary_key=True),
        sa.Column("attempt", sa.Integer, primary_key=True),
        sa.Column("name", sa.String(32), primary_key=True),
        sa.Column("key", sa.String(128), nullable=False),
        sa.Column("tries", sa.Integer, nullable=False),
        sa.Column("last_at", _TIME, nullable=False),
        sa.Column("error", _JSON),
    )
    op.create_table(
        "uploads",
        sa.Column("job_id", sa.String(64), sa.ForeignKey("jobs.id"), primary_key=True),
        sa.Column("name", sa.String(255), primary_key=True),
        sa.Column("sha256", sa.String(64), primary_key=True),
        sa.Column("uri", sa.Text),
        sa.Column("at", _TIME, nullable=False),
    )
    op.create_table(
        "budgets",
        sa.Column("team", sa.String(64), primary_key=True),
        sa.Column("month", sa.String(7), primary_key=True),
    )
    op.create_table(
        "reservations",
        sa.Column("job_id", sa.String(64), sa.ForeignKey("jobs.id"), primary_key=True),
        sa.Column("team", sa.String(64), nullable=False),
        sa.Column("month", sa.String(7), nullable=False),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("reserved_usd", sa.BigInteger, nullable=False),
        sa.Column("counted_usd", sa.BigInteger, nullable=False),
    )
    op.create_index("reservations_month", "reservations", ["team", "month"])


def downgrade() -> None:
    for table in ("reservations", "budgets", "uploads", "intents", "events", "jobs"):
        op.drop_table(table)
