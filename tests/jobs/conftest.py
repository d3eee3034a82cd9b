"""Where the store's tests keep their jobs: SQLite always, PostgreSQL where the harness names one."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import create_engine, text

from tests.jobs.world import FolderBackend, World

POSTGRES = "TUNEGATE_TEST_POSTGRES"


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path / 'jobs.db'}"
        return
    server = os.environ.get(POSTGRES)
    if not server:
        pytest.skip(f"{POSTGRES} names no server (postgresql+psycopg://user@127.0.0.1/name)")
    _empty(server)
    yield server


@pytest.fixture
def world(tmp_path: Path) -> World:
    """A world on SQLite with a backend that can be looked up by token."""
    return World(tmp_path, f"sqlite:///{tmp_path / 'jobs.db'}", FolderBackend(tmp_path / "far"))


def _empty(server: str) -> None:
    engine = create_engine(server, isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        connection.execute(text("DROP SCHEMA public CASCADE"))
        connection.execute(text("CREATE SCHEMA public"))
    engine.dispose()
