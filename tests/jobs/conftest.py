"""Where the store's tests keep their jobs: SQLite always, PostgreSQL where the harness names one."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import create_engine, text

from tests.jobs.world import FolderBackend, World, a_store_in

POSTGRES = "TUNEGATE_TEST_POSTGRES"
_MEMORY = Path("/dev/shm")


@pytest.fixture
def tmp_path(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder in memory where there is one: the store waits for the disk at every commit, and
    that wait is not what these tests are about."""
    if not os.access(_MEMORY, os.W_OK):
        yield tmp_path_factory.mktemp("jobs")
        return
    with tempfile.TemporaryDirectory(dir=_MEMORY) as folder:
        yield Path(folder)


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
    return World(tmp_path, a_store_in(tmp_path), FolderBackend(tmp_path / "far"))


def _empty(server: str) -> None:
    engine = create_engine(server, isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        connection.execute(text("DROP SCHEMA public CASCADE"))
        connection.execute(text("CREATE SCHEMA public"))
    engine.dispose()
