"""Who holds a job just now: a token per step, kept alive while the step runs.

A lease lapses by time. One held by a process of this machine that is dead lapses at once, so that
a killed command does not keep its job waiting.
"""

from __future__ import annotations

import os
import threading
import uuid
from collections.abc import Callable, Generator
from contextlib import contextmanager
from datetime import timedelta
from functools import cache
from pathlib import Path

from gateway.core.errors import StoreError

TTL = timedelta(seconds=60)


def new_token() -> str:
    """`machine/pid/start/random`: one per step, and enough to tell later whether its holder lives."""
    machine, pid = _machine(), os.getpid()
    return f"{machine}/{pid}/{_started(pid) if machine else ''}/{uuid.uuid4().hex[:12]}"


def holder_is_dead(token: str | None) -> bool:
    """True only when the holder was a process of this machine and is surely gone."""
    if token is None or token.count("/") != 3:
        return False
    machine, pid, started, _ = token.split("/")
    if not machine or machine != _machine() or not pid.isdigit():
        return False
    return _started(int(pid)) != started


@contextmanager
def kept_alive(renew: Callable[[], None], every_s: float = TTL.total_seconds() / 3) -> Generator[None]:
    """Renew in the background for as long as the block runs. A store that cannot be reached is
    tried again; if it stays away, the lease lapses, and the next write finds that out."""
    done = threading.Event()

    def beat() -> None:
        while not done.wait(every_s):
            try:
                renew()
            except StoreError:
                continue

    thread = threading.Thread(target=beat, name="tunegate-lease", daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()


def _started(pid: int) -> str:
    """When a process began, in clock ticks since boot, which no change of the clock moves; empty
    when there is none. A zombie counts as none: it will never do anything again."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return ""
    state, *rest = stat.rpartition(")")[2].split()
    return "" if state in ("Z", "X") else rest[18]


@cache
def _machine() -> str:
    """This boot of this machine and this space of process ids; empty where that cannot be told, and
    then no holder is ever thought dead."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return f"{boot}-{Path('/proc/self/ns/pid').stat().st_ino}"
    except OSError:
        return ""
