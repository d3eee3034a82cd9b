"""Many jobs at once: due jobs are advanced by a few threads, whose waits for the network overlap."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from typing import TYPE_CHECKING

from gateway.jobs.model import Job

if TYPE_CHECKING:
    from gateway.jobs.reconciler import Reconciler


def work(
    reconciler: Reconciler,
    *,
    once: bool,
    light: bool,
    threads: int,
    idle_s: float,
    sleep: Callable[[float], None],
) -> int:
    """See `Reconciler.work`."""
    if threads == 1:
        return _alone(reconciler, once, light, idle_s, sleep)
    pool = ThreadPoolExecutor(threads, thread_name_prefix="tunegate-work")
    try:
        return _together(reconciler, pool, threads, once, light, idle_s, sleep)
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _alone(
    reconciler: Reconciler, once: bool, light: bool, idle_s: float, sleep: Callable[[float], None]
) -> int:
    looked_at = 0
    while True:
        due = reconciler.due()
        for job_id in due:
            reconciler.advance(job_id, light=light)
        looked_at += len(due)
        if once:
            return looked_at
        if not due:
            sleep(idle_s)


def _together(
    reconciler: Reconciler,
    pool: ThreadPoolExecutor,
    threads: int,
    once: bool,
    light: bool,
    idle_s: float,
    sleep: Callable[[float], None],
) -> int:
    """What is due is asked for again as soon as every thread has work but none waits for one: a job that
    takes long holds up none of the others."""
    looked_at = 0
    advancing: dict[Future[Job], str] = {}
    while True:
        busy = set(advancing.values())
        new = [job_id for job_id in reconciler.due() if job_id not in busy]
        for job_id in new:
            advancing[pool.submit(reconciler.advance, job_id, light=light)] = job_id
        looked_at += len(new)
        while len(advancing) > (0 if once else threads):
            _collect(advancing, None)
        if once:
            return looked_at
        if advancing:
            _collect(advancing, idle_s)
        elif not new:
            sleep(idle_s)


def _collect(advancing: dict[Future[Job], str], timeout_s: float | None) -> None:
    """Wait for one to end. A store that fails ends the work."""
    ended, _ = wait(advancing, timeout_s, FIRST_COMPLETED)
    for each in ended:
        del advancing[each]
        each.result()
