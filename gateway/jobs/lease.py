"""Who holds a job just now: a token per step, kept alive while the step runs.

A lease lapses by time. One held by a process of this machine that is dead lapses at once, so that
a killed command does not keep its job waiting.
"""

from __future__ import annotations

import os
import threading
import time
import uuid
from collections.abc import Callable, Generator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
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
def kept_alive(renew: Callable[[], object], every_s: float = TTL.total_seconds() / 3) -> Generator[None]:
    """Renew in the background for as long as the block runs. A store that cannot be reached is
    tried again; if it stays away, the lease lapses, and the next write finds that out."""
    lease = _Held(renew, every_s, time.monotonic() + every_s)
    _HEART.add(lease)
    try:
        yield
    finally:
        _HEART.remove(lease)


@dataclass(eq=False, slots=True)
class _Held:
    renew: Callable[[], object]
    every_s: float
    due_at: float


class _Heart:
    """One thread that renews all leases of this process: most steps are over before theirs is due, and
    a thread each would cost more than the step."""

    def __init__(self) -> None:
        self.stop()

    def stop(self) -> None:
        """Begin anew, with no lease and no thread."""
        self._held: set[_Held] = set()
        self._changed = threading.Condition()
        self._beating = False

    def add(self, lease: _Held) -> None:
        with self._changed:
            self._held.add(lease)
            if not self._beating:
                self._beating = True
                threading.Thread(target=self._beat, name="tunegate-leases", daemon=True).start()
            elif lease.every_s < _SLEEPS_S:
                self._changed.notify()

    def remove(self, lease: _Held) -> None:
        with self._changed:
            self._held.discard(lease)

    def _beat(self) -> None:
        while True:
            with self._changed:
                now = time.monotonic()
                due = [lease for lease in self._held if lease.due_at <= now]
                soonest = min((lease.due_at - now for lease in self._held), default=_SLEEPS_S)
                if not due:
                    self._changed.wait(min(max(soonest, 0.0), _SLEEPS_S))
            for lease in due:
                with suppress(StoreError):
                    lease.renew()
                lease.due_at = time.monotonic() + lease.every_s


_SLEEPS_S = 5.0  # a lease taken meanwhile is not due before
_HEART = _Heart()
os.register_at_fork(after_in_child=_HEART.stop)  # a fork has none of our threads, and none of our leases


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
