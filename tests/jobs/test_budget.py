"""Budgets hold, whoever races for them; a job and its reservation are made together or not at all."""

from __future__ import annotations

import multiprocessing
from contextlib import suppress
from decimal import Decimal
from multiprocessing.synchronize import Barrier
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.core.errors import OverBudget
from gateway.core.job import JobState, RemoteRef
from gateway.jobs.model import Caps
from gateway.jobs.schema import Usd
from gateway.jobs.store import Store
from tests.jobs.world import Clock, a_new_job

CAPS = Caps(team_month_usd=Decimal(100))


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def store(url: str, clock: Clock) -> Store:
    return Store(url, clock=clock)


def _dispatch(url: str, folder: Path, count: int, caps: Caps, start: Barrier) -> None:
    """In a process of its own: try `count` dispatches of 10 USD each, at the same time as others."""
    store = Store(url, clock=Clock())
    start.wait()
    for _ in range(count):
        with suppress(OverBudget):
            store.create(a_new_job(folder, Clock()()), reserve_usd=Decimal(10), caps=caps)
    store.close()


def _race(url: str, folder: Path, *, processes: int, each: int, fits: int) -> int:
    """How many dispatches passed."""
    Store(url, clock=Clock()).close()
    context = multiprocessing.get_context("fork")
    start = context.Barrier(processes)
    caps = Caps(team_month_usd=Decimal(10 * fits))
    racers = [
        context.Process(target=_dispatch, args=(url, folder, each, caps, start)) for _ in range(processes)
    ]
    for racer in racers:
        racer.start()
    for racer in racers:
        racer.join()
    assert [racer.exitcode for racer in racers] == [0] * processes
    return len(Store(url, clock=Clock()).list(limit=1000))


def test_sixty_race_for_a_budget_that_fits_eleven(url: str, tmp_path: Path) -> None:
    assert _race(url, tmp_path, processes=6, each=10, fits=11) == 11
    assert Store(url, clock=Clock()).counted_usd("notes", "2026-11") == Decimal(110)


@pytest.mark.slow
def test_two_hundred_race_for_a_budget_that_fits_thirty_seven(url: str, tmp_path: Path) -> None:
    assert _race(url, tmp_path, processes=20, each=10, fits=37) == 37


def test_over_budget_stores_nothing(store: Store, tmp_path: Path, clock: Clock) -> None:
    with pytest.raises(OverBudget, match="a job may cost 5"):
        store.create(a_new_job(tmp_path, clock()), reserve_usd=Decimal(6), caps=Caps(job_usd=Decimal(5)))
    store.create(a_new_job(tmp_path, clock()), reserve_usd=Decimal(60), caps=CAPS)
    with pytest.raises(OverBudget, match=r"40\.00 of 100"):
        store.create(a_new_job(tmp_path, clock()), reserve_usd=Decimal("40.01"), caps=CAPS)
    assert len(store.list()) == 1
    store.create(a_new_job(tmp_path, clock()), reserve_usd=Decimal(40), caps=CAPS)


def test_teams_and_months_are_counted_apart(store: Store, tmp_path: Path, clock: Clock) -> None:
    store.create(a_new_job(tmp_path, clock()), reserve_usd=Decimal(100), caps=CAPS)
    store.create(a_new_job(tmp_path, clock(), team="other"), reserve_usd=Decimal(100), caps=CAPS)
    clock.sleep(10 * 86400)
    store.create(a_new_job(tmp_path, clock()), reserve_usd=Decimal(100), caps=CAPS)
    assert store.counted_usd("notes", "2026-11") == store.counted_usd("notes", "2026-12") == Decimal(100)


def test_a_job_that_never_started_gives_its_money_back(store: Store, tmp_path: Path, clock: Clock) -> None:
    job = store.create(a_new_job(tmp_path, clock()), reserve_usd=Decimal(100), caps=CAPS)
    store.move(job, JobState.FAILED)
    assert store.reservation(job.id) == ("released", Decimal(0))
    store.create(a_new_job(tmp_path, clock()), reserve_usd=Decimal(100), caps=CAPS)


def test_a_job_that_started_counts_what_it_cost(store: Store, tmp_path: Path, clock: Clock) -> None:
    job = store.create(a_new_job(tmp_path, clock()), reserve_usd=Decimal(100), caps=CAPS)
    job = store.update(job, remote=RemoteRef("folder", "ft-1"))
    store.move(job, JobState.FAILED)
    assert store.reservation(job.id) == ("settled", Decimal(100)), "an unknown cost is not zero"
    assert store.settle(job.id, Decimal("12.345678")).actual_usd == Decimal("12.345678")
    assert store.reservation(job.id) == ("settled", Decimal("12.345678"))


def test_a_new_attempt_needs_the_money_again(store: Store, tmp_path: Path, clock: Clock) -> None:
    job = store.create(a_new_job(tmp_path, clock()), reserve_usd=Decimal(60), caps=CAPS)
    failed = store.move(job, JobState.FAILED)
    other = store.create(a_new_job(tmp_path, clock()), reserve_usd=Decimal(60), caps=CAPS)
    with pytest.raises(OverBudget):
        store.retry(failed, CAPS)
    assert store.get(job.id) == failed, "a retry that is over budget changes nothing"
    store.move(other, JobState.FAILED)
    assert store.retry(failed, CAPS).attempt == 2
    assert store.reservation(job.id) == ("held", Decimal(60))


@given(st.decimals(min_value=0, max_value=10**9, places=9, allow_nan=False))
def test_stored_dollars_are_exact_to_a_millionth_and_never_less(usd: Decimal) -> None:
    column = Usd()
    from sqlalchemy.dialects import sqlite

    dialect = sqlite.dialect()
    stored = column.process_bind_param(usd, dialect)
    back = column.process_result_value(stored, dialect)
    assert isinstance(stored, int)
    assert back is not None
    assert Decimal(0) <= back - usd < Decimal("0.000001")
