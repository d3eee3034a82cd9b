"""Whose turn it is: runs of one home wait for this machine in the order they came.

A run draws a ticket when it is submitted and holds a *slot* while it works: one for each GPU, or a
number of its owner's choice on a machine without. A slot is a file that is locked by the supervisor
and by the training process it starts (which inherits the lock), so that a slot is free when both are
gone, however they went; nothing has to be tidied up after a crash. A ticket whose run has no living
supervisor is passed over, and keeps its place for when somebody looks at that run again.

    queue/000007.json   a ticket: run, team, slots it needs, and those it was given
    queue/gpu-0.slot    locked by who works on it
    queue/lock          held while tickets and slots are looked at together

Homes know nothing of each other: two homes on one machine share it without taking turns.
"""

from __future__ import annotations

import fcntl
import os
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from filelock import FileLock

from backends.local.run import Run, read_json, write_json


@dataclass(frozen=True, slots=True)
class Limits:
    """How many runs may work at once.

    Attributes:
        slots: names of what one run works on, `gpu-0` or `cpu-0`; never empty.
        per_team: runs of one team at once; None for any number.
    """

    slots: tuple[str, ...]
    per_team: int | None = None


@dataclass(frozen=True, slots=True)
class Waiting:
    """Not yet: so many runs go first, or (`team_full`) the team has as many at work as it may."""

    ahead: int
    team_full: bool

    def __str__(self) -> str:
        if self.team_full:
            return "waiting: this team has as many runs at work as it may"
        if self.ahead:
            return (
                f"waiting for this machine: {self.ahead} {'run is' if self.ahead == 1 else 'runs are'} first"
            )
        return "waiting for this machine: next"


class Turn:
    """Slots that are held until `release`, or until every process that has `descriptors` is gone."""

    def __init__(self, slots: Sequence[str], descriptors: Sequence[int]) -> None:
        self.slots = tuple(slots)
        self.descriptors = tuple(descriptors)

    def release(self) -> None:
        for descriptor in self.descriptors:
            os.close(descriptor)


@dataclass(frozen=True, slots=True)
class _Ticket:
    path: Path
    run: Path
    team: str
    needs: int
    slots: tuple[str, ...]

    @classmethod
    def read(cls, path: Path) -> _Ticket | None:
        values: dict[str, Any] | None = read_json(path)
        if values is None:
            return None
        return cls(path, Path(values["run"]), values["team"], values["needs"], tuple(values["slots"]))

    def write(self, slots: Sequence[str]) -> None:
        write_json(
            self.path,
            {"run": str(self.run), "team": self.team, "needs": self.needs, "slots": list(slots)},
        )


class Queue:
    """The turns of one home."""

    def __init__(self, home: Path) -> None:
        self._folder = home / "queue"
        self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._lock = FileLock(self._folder / "lock", mode=0o600)

    def enter(self, run: Run, team: str, needs: int = 1) -> None:
        """Draw a ticket; a run that has one keeps it."""
        with self._lock:
            tickets = list(self._tickets())
            if all(ticket.run != run.folder for ticket in tickets):
                number = max((int(ticket.path.stem) for ticket in tickets), default=0) + 1
                _Ticket(self._folder / f"{number:06d}.json", run.folder, team, needs, ()).write(())

    def leave(self, run: Run) -> None:
        """Give the ticket back: the run has ended, or is paused."""
        with self._lock:
            for ticket in self._tickets():
                if ticket.run == run.folder:
                    ticket.path.unlink(missing_ok=True)

    def take(self, run: Run, limits: Limits) -> Turn | Waiting:
        """The slots of a run that has a ticket, if it is its turn.

        Those that came earlier and could work are served first, with slots kept free for one that
        needs several, so that nobody starves; one whose team is at its limit holds up nobody.
        """
        with self._lock:
            free = [slot for slot in limits.slots if not self._held(slot)]
            tickets = list(self._tickets())
            working = [ticket for ticket in tickets if any(self._held(slot) for slot in ticket.slots)]
            at_work = Counter(ticket.team for ticket in working)
            ahead = 0
            for ticket in tickets:
                needs = min(ticket.needs, len(limits.slots))
                full = limits.per_team is not None and at_work[ticket.team] >= limits.per_team
                if ticket.run == run.folder:
                    if full or len(free) < needs:
                        return Waiting(ahead, full)
                    return self._give(ticket, free[:needs])
                if ticket in working or full or not Run(ticket.run).alive("supervisor"):
                    continue
                ahead += 1
                at_work[ticket.team] += 1
                free = free[needs:]
        raise LookupError("this run has no ticket")

    # -- inside ------------------------------------------------------------------------------------

    def _tickets(self) -> Iterator[_Ticket]:
        """In the order they were drawn; those of runs that have ended or are gone are thrown away."""
        for path in sorted(self._folder.glob("*.json")):
            ticket = _Ticket.read(path)
            if ticket is None:
                continue
            if not ticket.run.is_dir() or Run(ticket.run).status.final:
                path.unlink(missing_ok=True)
            else:
                yield ticket

    def _give(self, ticket: _Ticket, slots: Sequence[str]) -> Turn:
        for other in self._tickets():  # of a run that died at work: these slots are no longer its own
            if set(other.slots) & set(slots):
                other.write(())
        descriptors: list[int] = []
        for slot in slots:
            descriptor = self._open(slot)
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            descriptors.append(descriptor)
        ticket.write(slots)
        return Turn(slots, descriptors)

    def _held(self, slot: str) -> bool:
        descriptor = self._open(slot)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        finally:
            os.close(descriptor)
        return False

    def _open(self, slot: str) -> int:
        return os.open(self._folder / f"{slot}.slot", os.O_RDWR | os.O_CREAT, 0o600)
