"""What the stand-ins remember, and how time passes for their jobs.

State is one SQLite file, so that a sandbox that was killed goes on where it was. A job's phase is not
stored: it follows from when the job was made and the pace of its life, as seen by the clock.
"""

from __future__ import annotations

import json
import sqlite3
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from backends.sandbox.faults import Faults

Thing = dict[str, Any]
PhaseName = Literal[
    "validating", "queued", "running", "succeeded", "failed", "rejected", "cancelled", "paused"
]


@dataclass(frozen=True, slots=True)
class Life:
    """The pace of a job's life, in seconds, and how it ends.

    Attributes:
        rejected: the dataset is refused while it is validated.
        fails: training breaks off half-way.
    """

    validating_s: float = 2.0
    queued_s: float = 2.0
    running_s: float = 10.0
    steps: int = 20
    rejected: bool = False
    fails: bool = False


@dataclass(frozen=True, slots=True)
class Phase:
    """Where a rehearsed job stands: `share` of its training done (0 to 1), and since when (Unix time)."""

    name: PhaseName
    share: float
    since: float

    @property
    def ended(self) -> bool:
        return self.name in ("succeeded", "failed", "rejected", "cancelled")


class World:
    """State shared by the rooms of one sandbox. Handlers run in many threads: whatever reads and then
    writes does so under `lock`.

    Args:
        folder: where state is kept; made when missing.
        life: pace of jobs made from now on.
        clock: Unix time; tests may move it.
    """

    def __init__(
        self, folder: Path, *, life: Life | None = None, clock: Callable[[], float] = time.time
    ) -> None:
        self.folder = folder
        self.life = life or Life()
        self.now = clock
        self.faults = Faults()
        self.lock = threading.RLock()
        (folder / "blobs").mkdir(parents=True, exist_ok=True, mode=0o700)
        self._db = sqlite3.connect(folder / "state.db", check_same_thread=False, isolation_level=None)
        self._db.execute("PRAGMA journal_mode = WAL")
        self._db.execute(
            "CREATE TABLE IF NOT EXISTS things "
            "(seq INTEGER PRIMARY KEY, kind TEXT, id TEXT, body TEXT, UNIQUE (kind, id))"
        )

    # -- things: jobs, files, models, deployments, by kind and id --------------------------------------

    def put(self, kind: str, id: str, thing: Mapping[str, Any]) -> None:
        """Store a thing, in the place of the one with its id."""
        with self.lock:
            self._db.execute(
                "INSERT INTO things (kind, id, body) VALUES (?, ?, ?) "
                "ON CONFLICT (kind, id) DO UPDATE SET body = excluded.body",
                (kind, id, json.dumps(thing)),
            )

    def get(self, kind: str, id: str) -> Thing | None:
        with self.lock:
            row = self._db.execute("SELECT body FROM things WHERE kind = ? AND id = ?", (kind, id)).fetchone()
        return json.loads(row[0]) if row else None

    def all(self, kind: str) -> list[Thing]:
        """Every thing of a kind, oldest first."""
        with self.lock:
            rows = self._db.execute("SELECT body FROM things WHERE kind = ? ORDER BY seq", (kind,)).fetchall()
        return [json.loads(body) for (body,) in rows]

    def remove(self, kind: str, id: str) -> bool:
        with self.lock:
            return self._db.execute("DELETE FROM things WHERE kind = ? AND id = ?", (kind, id)).rowcount > 0

    def blob(self, id: str) -> Path:
        """Where the bytes of a file are kept; `id` is the stand-in's own, never a caller's path."""
        return self.folder / "blobs" / id

    def close(self) -> None:
        with self.lock:
            self._db.close()

    # -- the life of a job ---------------------------------------------------------------------------

    def born(self, operation: str) -> Thing:
        """What a new job keeps of its life: when it was made, its pace, and how it is to end."""
        life = asdict(self.life)
        life["rejected"] |= self.faults.take(operation, "reject_file") is not None
        life["fails"] |= self.faults.take(operation, "fail_job") is not None
        return {"born": self.now(), "life": life, "cancelled_at": None, "paused_at": None, "paused_s": 0.0}

    def phase(self, job: Mapping[str, Any]) -> Phase:
        """Where a job made with `born` stands now."""
        life = Life(**job["life"])
        stopped = job["paused_at"] or job["cancelled_at"]  # one cancelled while it paused lived till then
        lived = (stopped or self.now()) - job["born"] - job["paused_s"]
        phase = _phase(life, lived)
        if not phase.ended and job["cancelled_at"]:
            return Phase("cancelled", phase.share, job["cancelled_at"])
        if not phase.ended and job["paused_at"]:
            return Phase("paused", phase.share, job["paused_at"])
        return Phase(phase.name, phase.share, job["born"] + job["paused_s"] + phase.since)

    def cancel(self, job: Thing) -> bool:
        """Stop a job's life; False when it has ended, or was cancelled, before."""
        if self.phase(job).ended:
            return False
        job["cancelled_at"] = self.now()
        return True

    def pause(self, job: Thing) -> bool:
        if self.phase(job).name != "running":
            return False
        job["paused_at"] = self.now()
        return True

    def resume(self, job: Thing) -> bool:
        if self.phase(job).name != "paused":
            return False
        job["paused_s"] += self.now() - job["paused_at"]
        job["paused_at"] = None
        return True


def _phase(life: Life, lived: float) -> Phase:
    """The phase after so many seconds of life; `since` in seconds of life."""
    validated = life.validating_s
    started = validated + life.queued_s
    ended = started + life.running_s * (0.5 if life.fails else 1.0)
    if lived < validated:
        return Phase("validating", 0.0, 0.0)
    if life.rejected:
        return Phase("rejected", 0.0, validated)
    if lived < started:
        return Phase("queued", 0.0, validated)
    if lived < ended:
        return Phase("running", (lived - started) / life.running_s, started)
    return Phase("failed", 0.5, ended) if life.fails else Phase("succeeded", 1.0, ended)


def loss_at(step: int, steps: int) -> float:
    """The loss a rehearsal shows at a step (1 to `steps`): falls as a training loss does, the same
    every time. It is made up, and measures nothing."""
    return round(0.4 + 2.1 * (1 - step / (steps + 1)) ** 2, 4)
