"""The store keeps what it is given, refuses what was overtaken, and explains when it cannot."""

from __future__ import annotations

import itertools
import os
import sqlite3
import stat
import threading
from collections.abc import Callable
from datetime import timedelta
from decimal import Decimal
from pathlib import Path

import pytest
from sqlalchemy import create_engine

from gateway.core.errors import JobNotFound, StoreConflict, StoreError
from gateway.core.job import Artifact, Event, JobState, Progress, RemoteRef, may_move
from gateway.jobs.lease import kept_alive, new_token
from gateway.jobs.model import Changes, idempotency_key, new_job_id
from gateway.jobs.schema import HEAD, VERSION_TABLE, metadata
from gateway.jobs.store import Store
from tests.jobs.world import START, Clock, a_new_job


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def store(url: str, clock: Clock) -> Store:
    return Store(url, clock=clock)


def test_a_job_comes_back_as_it_went_in(store: Store, tmp_path: Path, clock: Clock) -> None:
    new = a_new_job(tmp_path, clock())
    job = store.create(new, reserve_usd=None)
    changes: Changes = {
        "remote": RemoteRef("folder", "ft-1", {"region": "here"}),
        "progress": Progress(3, 10, 0.25, 1200.5, None),
        "artifacts": (Artifact("model", "remote:ft-1", "tuned:ft-1"),),
        "actual_usd": Decimal("12.34"),
        "started_at": START,
        "result": {"metrics": {"base": {"exact_match": 0.1}}},
    }
    store.move(job, JobState.FAILED, **changes)
    found = store.get(job.id)
    assert found.translation == new.translation
    assert found.state is JobState.FAILED
    assert found.remote == changes.get("remote")
    assert found.progress == changes.get("progress")
    assert found.artifacts == changes.get("artifacts")
    assert found.actual_usd == Decimal("12.34")
    assert (found.created_at, found.started_at) == (START, START)
    assert store.plan(job.id) == new.plan
    assert store.list() == (found,)


def test_json_is_what_others_rely_on(store: Store, tmp_path: Path, clock: Clock) -> None:
    shown = store.create(a_new_job(tmp_path, clock()), reserve_usd=None).to_json()
    promised = {
        "id", "state", "raw_state", "backend", "model", "region", "offer", "remote_id", "created_at",
        "updated_at", "estimate_usd", "actual_usd", "metrics", "evaluation", "artifacts", "record",
    }  # fmt: skip
    assert promised <= set(shown)
    assert shown["created_at"] == "2026-11-22T12:00:00+00:00"
    assert shown["estimate_usd"] is None
    assert shown["state"] == "planned"


def test_ids_sort_by_time_and_keys_suit_every_provider() -> None:
    ids = [new_job_id(START + timedelta(milliseconds=ms)) for ms in range(50)]
    assert ids == sorted(ids)
    assert len({new_job_id(START) for _ in range(200)}) == 200
    assert idempotency_key(ids[0], 2).replace("-", "").isalnum()


def test_a_write_that_was_overtaken_is_refused(store: Store, tmp_path: Path, clock: Clock) -> None:
    job = store.create(a_new_job(tmp_path, clock()), reserve_usd=None)
    store.move(job, JobState.STAGING)
    with pytest.raises(StoreConflict):
        store.move(job, JobState.STAGING)
    with pytest.raises(JobNotFound):
        store.get("job_none")


def test_only_legal_moves_are_written(tmp_path: Path, clock: Clock) -> None:
    store = Store(f"sqlite:///{tmp_path / 'jobs.db'}", clock=clock)
    job = store.create(a_new_job(tmp_path, clock()), reserve_usd=None)
    raw = sqlite3.connect(tmp_path / "jobs.db", isolation_level=None)
    for before, after in itertools.product(JobState, JobState):
        raw.execute("UPDATE jobs SET state = ?", (str(before),))
        job = store.get(job.id)
        if after is before or may_move(before, after):
            assert store.move(job, after).state is after
            continue
        with pytest.raises(StoreConflict, match="cannot become"):
            store.move(job, after)
        assert store.get(job.id) == job
    raw.close()


def test_one_of_many_racing_writers_wins(store: Store, tmp_path: Path, clock: Clock) -> None:
    job = store.create(a_new_job(tmp_path, clock()), reserve_usd=None)
    won: list[int] = []

    def race(n: int) -> None:
        try:
            store.move(job, JobState.STAGING)
            won.append(n)
        except StoreConflict:
            pass

    _at_once(race, 16)
    assert len(won) == 1


def test_a_cancel_is_never_taken_back(store: Store, tmp_path: Path, clock: Clock) -> None:
    job = store.create(a_new_job(tmp_path, clock()), reserve_usd=None)
    assert store.want(job.id, "cancel").wanted == "cancel"
    assert store.want(job.id, "run").wanted == "cancel"


def test_a_wish_is_not_put_off_by_a_step_in_progress(store: Store, tmp_path: Path, clock: Clock) -> None:
    job = store.create(a_new_job(tmp_path, clock()), reserve_usd=None)
    store.want(job.id, "cancel")
    store.update(job, next_due_at=clock() + timedelta(minutes=5))
    assert store.due() == (job.id,)
    store.update(store.get(job.id), next_due_at=clock() + timedelta(minutes=5))
    assert store.due() == ()


def test_a_lease_is_held_by_one_and_lapses(store: Store, tmp_path: Path, clock: Clock) -> None:
    job = store.create(a_new_job(tmp_path, clock()), reserve_usd=None)
    first, second = new_token(), new_token()
    assert store.lease(job.id, first, timedelta(seconds=60)) is not None
    assert store.lease(job.id, second, timedelta(seconds=60)) is None
    assert store.due() == ()
    clock.sleep(30)
    assert store.renew(job.id, first, timedelta(seconds=60))
    clock.sleep(40)
    assert store.lease(job.id, second, timedelta(seconds=60)) is None
    clock.sleep(21)
    taken = store.lease(job.id, second, timedelta(seconds=60))
    assert taken is not None
    assert not store.renew(job.id, first, timedelta(seconds=60))
    store.release(job.id, first)
    assert store.get(job.id).lease_owner == second
    with pytest.raises(JobNotFound):
        store.lease("job_none", first, timedelta(seconds=1))


def test_what_an_earlier_holder_still_writes_is_refused(store: Store, tmp_path: Path, clock: Clock) -> None:
    job = store.create(a_new_job(tmp_path, clock()), reserve_usd=None)
    stalled = store.lease(job.id, new_token(), timedelta(seconds=60))
    assert stalled is not None
    clock.sleep(61)
    assert store.lease(job.id, new_token(), timedelta(seconds=60)) is not None
    with pytest.raises(StoreConflict):
        store.move(stalled, JobState.STAGING)


def test_a_dead_holder_of_this_machine_is_not_waited_for(store: Store, tmp_path: Path, clock: Clock) -> None:
    job = store.create(a_new_job(tmp_path, clock()), reserve_usd=None)
    store.lease(job.id, _token_of_a_dead_process(), timedelta(hours=1))
    assert store.due() == (job.id,)
    assert store.lease(job.id, new_token(), timedelta(seconds=60)) is not None


def _token_of_a_dead_process() -> str:
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        os.write(writer, new_token().encode())
        os._exit(0)
    os.waitpid(child, 0)
    return os.read(reader, 1000).decode()


def test_events_are_kept_once_and_read_from_where_one_was(store: Store, tmp_path: Path, clock: Clock) -> None:
    job = store.create(a_new_job(tmp_path, clock()), reserve_usd=None)
    first = Event("1", START, "info", "step", "step 1", {"loss": 0.5})
    second = Event("2", START, "info", "step", "step 2")
    assert store.last_event(job.id) is None
    assert store.add_events(job.id, [first]) == (first,)
    assert store.add_events(job.id, [first, second]) == (second,)
    assert store.events(job.id) == (first, second)
    assert store.events(job.id, after="1") == (second,)
    assert store.last_event(job.id) == "2"


def test_intents_count_their_tries_and_belong_to_an_attempt(
    store: Store, tmp_path: Path, clock: Clock
) -> None:
    job = store.create(a_new_job(tmp_path, clock()), reserve_usd=None)
    assert store.intent(job, "submit") is None
    assert store.intend(job, "submit").tries == 1
    store.note(job, "submit", {"code": "backend"})
    intent = store.intent(job, "submit")
    assert intent is not None
    assert (intent.key, intent.error) == (job.key, {"code": "backend"})
    again = store.intend(job, "submit")
    assert (again.tries, again.error) == (2, None)
    retried = store.retry(store.move(job, JobState.FAILED))
    assert store.intent(retried, "submit") is None
    assert retried.key != job.key


def test_migrations_and_tables_say_the_same(url: str, clock: Clock) -> None:
    from alembic.autogenerate import compare_metadata
    from alembic.migration import MigrationContext

    Store(url, clock=clock).close()
    engine = create_engine(url)
    with engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"version_table": VERSION_TABLE})
        assert compare_metadata(context, metadata) == []
        assert context.get_current_revision() == HEAD


def test_many_may_open_a_new_store_at_once(url: str, clock: Clock) -> None:
    errors: list[BaseException] = []

    def open_it(_: int) -> None:
        try:
            Store(url, clock=clock).list()
        except BaseException as error:
            errors.append(error)

    _at_once(open_it, 8)
    assert errors == []


def test_a_store_is_its_owners_alone(tmp_path: Path, clock: Clock) -> None:
    path = tmp_path / "new" / "jobs.db"
    store = Store(f"sqlite:///{path}", clock=clock)
    store.create(a_new_job(tmp_path, clock()), reserve_usd=None)
    modes = {file.name: stat.S_IMODE(file.stat().st_mode) for file in path.parent.iterdir()}
    assert set(modes.values()) == {0o600}, modes
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700


def test_a_file_that_is_no_store_is_refused_and_left_alone(tmp_path: Path, clock: Clock) -> None:
    path = tmp_path / "jobs.db"
    path.write_bytes(b"these are the notes of last Tuesday" * 100)
    with pytest.raises(StoreError) as caught:
        Store(f"sqlite:///{path}", clock=clock)
    assert caught.value.message == "this file is not a job store"
    assert str(path) in str(caught.value.place)
    assert caught.value.fix
    assert path.read_bytes().startswith(b"these are the notes")


def test_a_damaged_store_says_so(tmp_path: Path, clock: Clock) -> None:
    path = tmp_path / "jobs.db"
    store = Store(f"sqlite:///{path}", clock=clock)
    for _ in range(20):
        store.create(a_new_job(tmp_path, clock()), reserve_usd=None)
    store.close()
    content = bytearray(path.read_bytes())
    content[8192:] = b"\xff" * (len(content) - 8192)
    path.write_bytes(content)
    with pytest.raises(StoreError, match="damaged"):
        Store(f"sqlite:///{path}", clock=clock).list()


@pytest.mark.parametrize(
    ("bad", "says"),
    [
        ("not a url", "no database URL"),
        ("mysql+pymysql://root@localhost/x", "mysql"),
        ("sqlite://", "outlive"),
        ("sqlite:////proc/none/jobs.db", "cannot be written"),
    ],
)
def test_a_place_that_cannot_be_used_is_refused(bad: str, says: str, clock: Clock) -> None:
    with pytest.raises(StoreError, match=says) as caught:
        Store(bad, clock=clock)
    assert caught.value.fix


def test_a_store_of_a_newer_version_is_refused(tmp_path: Path, clock: Clock) -> None:
    path = tmp_path / "jobs.db"
    Store(f"sqlite:///{path}", clock=clock).close()
    with sqlite3.connect(path) as raw:
        raw.execute(f"UPDATE {VERSION_TABLE} SET version_num = '9999'")
    with pytest.raises(StoreError, match="newer"):
        Store(f"sqlite:///{path}", clock=clock)


def test_no_password_is_ever_shown(clock: Clock) -> None:
    with pytest.raises(StoreError) as caught:
        Store("postgresql+psycopg://ann:s3cret@127.0.0.1:1/x", clock=clock)
    assert "s3cret" not in str(caught.value)


def _at_once(action: Callable[[int], None], count: int) -> None:
    gate = threading.Barrier(count)

    def wait_and_act(n: int) -> None:
        gate.wait()
        action(n)

    threads = [threading.Thread(target=wait_and_act, args=(n,)) for n in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def test_a_lease_is_renewed_for_as_long_as_it_is_held_and_no_longer() -> None:
    """One thread renews all of a process; a store that fails is tried again."""
    renewed: dict[str, int] = {"one": 0, "other": 0}
    both = threading.Event()

    def renew(name: str) -> None:
        renewed[name] += 1
        if min(renewed.values()) >= 2:
            both.set()
        if name == "other":
            raise StoreError("the disk is away")

    with kept_alive(lambda: renew("one"), 0.01), kept_alive(lambda: renew("other"), 0.01):
        assert both.wait(30)
    threads = [thread.name for thread in threading.enumerate()]
    assert threads.count("tunegate-leases") == 1
    seen = dict(renewed)
    with kept_alive(lambda: renew("one"), 60):
        threading.Event().wait(0.1)
    assert renewed["other"] <= seen["other"] + 1
