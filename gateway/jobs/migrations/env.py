"""Where Alembic starts: it is handed an open connection, inside the opener's own transaction."""

from __future__ import annotations

from alembic import context

from gateway.jobs.schema import VERSION_TABLE, metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    version_table=VERSION_TABLE,
)
context.run_migrations()
