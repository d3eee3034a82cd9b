"""The database under the store: opened, migrated, and its failures in our own words.

SQLite (write-ahead log, full sync, writers begin IMMEDIATE) or PostgreSQL, by URL.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine, Table, create_engine, event, text
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError, DatabaseError, DBAPIError, NoSuchModuleError

from gateway.core.errors import StoreError
from gateway.jobs.schema import HEAD, VERSION_TABLE

BUSY_S = 30
_MIGRATION_LOCK = 0x74756E65  # any number of our own; PostgreSQL's advisory locks are named by one


class Database:
    """An open database at the newest version of the schema.

    Args:
        url: `sqlite:////path/jobs.db` or `postgresql+psycopg://…`.

    Raises:
        StoreError: it cannot be opened, is no database, or was written by a newer Tunegate.
    """

    def __init__(self, url: str) -> None:
        parsed = _parse(url)
        self.place = parsed.render_as_string(hide_password=True)
        with self._explained():
            if parsed.get_backend_name() == "sqlite":
                _make_private(parsed)
            self.engine = _engine(parsed)
            # SQLite's writers are alone. Those of one process queue here, where they are woken at once;
            # at the file's lock they would sleep and try again.
            sqlite = parsed.get_backend_name() == "sqlite"
            self._writing = threading.Lock() if sqlite else nullcontext()
            self._migrate()

    @contextmanager
    def read(self) -> Generator[Connection]:
        with self._explained(), self.engine.connect() as connection:
            yield connection

    @contextmanager
    def write(self, *, durable: bool = True) -> Generator[Connection]:
        """One transaction. On SQLite it has the write lock from its first statement on: a default
        transaction takes it at the first write, when what was read may already be stale.

        Args:
            durable: wait for the disk, so that what was written survives a power cut too. Leases need
                not: they end with the machine anyway.
        """
        with self._explained(), self._writing, self.engine.connect() as connection:
            writer = connection.execution_options(tunegate_write=True, tunegate_durable=durable)
            with writer.begin():
                yield writer

    def close(self) -> None:
        self.engine.dispose()

    def _migrate(self) -> None:
        if self._version() == HEAD:
            return
        from alembic import command
        from alembic.config import Config
        from alembic.util import CommandError

        config = Config()
        config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
        with self.write() as connection:
            if connection.dialect.name == "postgresql":
                connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": _MIGRATION_LOCK})
            config.attributes["connection"] = connection
            try:
                command.upgrade(config, "head")
            except CommandError:
                raise StoreError(
                    "this store was written by a newer Tunegate",
                    place=self.place,
                    fix="upgrade Tunegate, or point `store` at another database",
                ) from None

    def _version(self) -> str | None:
        with self.read() as connection:
            if not connection.dialect.has_table(connection, VERSION_TABLE):
                return None
            return connection.execute(text(f"SELECT version_num FROM {VERSION_TABLE}")).scalar()  # noqa: S608

    @contextmanager
    def _explained(self) -> Generator[None]:
        """The driver's errors as `StoreError`, without the values it was given."""
        try:
            yield
        except ModuleNotFoundError as error:
            raise StoreError(
                f"the driver {error.name} is not installed",
                place=self.place,
                fix="pip install 'tunegate[postgres]'",
            ) from None
        except DBAPIError as error:
            what, fix = _explain(error)
            raise StoreError(what, place=self.place, fix=fix) from None
        except OSError as error:
            raise StoreError(
                f"the job store cannot be written: {error.strerror}",
                place=self.place,
                fix="set `store` in tunegate.toml, or TUNEGATE_HOME, to a place you may write to",
            ) from None


def _parse(url: str) -> URL:
    try:
        parsed = make_url(url)
        parsed.get_dialect()
    except (ArgumentError, NoSuchModuleError):
        raise StoreError(
            "`store` is no database URL that can be used",
            fix="write sqlite:////path/jobs.db or postgresql+psycopg://user@host/name",
        ) from None
    if parsed.get_backend_name() not in ("sqlite", "postgresql"):
        raise StoreError(
            f"jobs cannot be kept in {parsed.get_backend_name()}",
            place=parsed.render_as_string(hide_password=True),
            fix="use SQLite or PostgreSQL",
        )
    return parsed


def _make_private(url: URL) -> None:
    """The file exists before SQLite makes it, so that it is never readable by others; its log and
    shared-memory files take its mode."""
    if not url.database or url.database == ":memory:":
        raise StoreError(
            "a job store must outlive its process; this one is in memory",
            fix="write sqlite:////path/jobs.db",
        )
    path = Path(url.database)
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    os.close(os.open(path, os.O_CREAT | os.O_RDWR, 0o600))
    if path.stat().st_uid == os.getuid():
        path.chmod(0o600)


def _engine(url: URL) -> Engine:
    if url.get_backend_name() == "postgresql":
        return create_engine(url, hide_parameters=True, pool_pre_ping=True)
    engine = create_engine(
        url,
        hide_parameters=True,  # an exception must not quote a spec or a plan
        max_overflow=-1,
        connect_args={"timeout": BUSY_S},
    )
    event.listen(engine, "connect", _prepare_sqlite)
    event.listen(engine, "begin", _begin_sqlite)
    return engine


def _prepare_sqlite(connection: Any, _record: object) -> None:
    connection.isolation_level = None  # the driver starts no transaction of its own: `_begin_sqlite` does
    # Two first openers may collide while the log is switched on; SQLite does not wait there by itself.
    _patiently(lambda: connection.execute("PRAGMA journal_mode = WAL"))
    connection.execute("PRAGMA foreign_keys = ON")


def _begin_sqlite(connection: Connection) -> None:
    options = connection.get_execution_options()
    if not options.get("tunegate_write", False):
        connection.exec_driver_sql("BEGIN")
        return
    durable = options.get("tunegate_durable", True)
    connection.exec_driver_sql(f"PRAGMA synchronous = {'FULL' if durable else 'NORMAL'}")
    connection.exec_driver_sql("BEGIN IMMEDIATE")


def _patiently(action: Callable[[], object], *, tries: int = 100) -> None:
    import sqlite3

    for left in reversed(range(tries)):
        try:
            action()
            return
        except sqlite3.OperationalError as error:
            if left == 0 or error.sqlite_errorcode != sqlite3.SQLITE_BUSY:
                raise
            time.sleep(0.05)


def insert(connection: Connection, table: Table) -> Any:
    """`INSERT … ON CONFLICT` is written alike in both databases, but by each dialect's own `insert`."""
    dialect = postgresql if connection.dialect.name == "postgresql" else sqlite
    return dialect.insert(table)


def _explain(error: DBAPIError) -> tuple[str, str]:
    """What happened and what to do, by the driver's code; its message may quote stored values."""
    code = getattr(error.orig, "sqlite_errorname", None) or getattr(error.orig, "sqlstate", None)
    known = {
        "SQLITE_NOTADB": ("this file is not a job store", "move it away, or point `store` elsewhere"),
        "SQLITE_CORRUPT": (
            "the job store is damaged",
            "restore it from a backup; `sqlite3 FILE .recover` may save what is left",
        ),
        "SQLITE_READONLY": ("the job store may not be written", "make the file and its folder writable"),
        "SQLITE_CANTOPEN": ("the job store cannot be opened", "check the path and its permissions"),
        "SQLITE_FULL": ("the disk under the job store is full", "free some space and run it again"),
        "SQLITE_BUSY": ("the job store stayed locked", f"another process held it for {BUSY_S} s; try again"),
        "SQLITE_IOERR": ("the job store cannot be read or written", "check the disk"),
    }
    for name, words in known.items():
        if str(code).startswith(name):
            return words
    if error.connection_invalidated or (code is None and not isinstance(error, DatabaseError)):
        return "the connection to the job store was lost", "check that the database is up; try again"
    kind = type(error.orig).__name__
    return f"the job store failed ({kind}{f', {code}' if code else ''})", "check that the database is up"
