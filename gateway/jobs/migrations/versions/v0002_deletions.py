"""Which job is deleting an uploaded file at its backend, and when it was deleted."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("uploads", sa.Column("claimed_by", sa.String(64)))
    op.add_column("uploads", sa.Column("deleted_at", sa.DateTime(timezone=True)))
    op.create_index("uploads_content", "uploads", ["sha256"])


def downgrade() -> None:
    op.drop_index("uploads_content", "uploads")
    op.drop_column("uploads", "deleted_at")
    op.drop_column("uploads", "claimed_by")
