"""Sees one run through, whoever started it may die: `python -m backends.local.supervisor RUN_DIR`.

Waits for its turn on this machine, starts training, starts it again after a crash, ends it when asked
to, and when a final status is there runs the command that was handed over (the gateway's evaluation
step). One per run: it holds the run's lock. It may itself be killed; the next look at the run starts
another, which waits for the training process that is still there.
"""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from types import FrameType

from filelock import Timeout

from backends.local.environment import for_supervisor, for_training, gpu_numbers
from backends.local.queue import Limits, Queue, Turn, Waiting
from backends.local.run import ADJUSTED, Run, read_json, write_json
from gateway.core.process import no_core_dumps

MAX_RESTARTS = 2
INTERRUPTED, IN_USE = 75, 76  # exit codes of `backends.local.train`
POLL_S = 0.1
GRACE_S = {"cancel": 5.0, "pause": 300.0, "shutdown": 20.0}


def start(run: Run) -> None:
    """Start a supervisor that outlives us: its own session, no terminal of ours, output to a log."""
    with (run.folder / "supervisor.log").open("ab") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "backends.local.supervisor", str(run.folder)],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
            env=for_supervisor(),
            cwd=run.folder,
        )
    run.started("supervisor", process.pid)


class Supervisor:
    """Watches one training process at a time."""

    def __init__(self, run: Run) -> None:
        self.run = run
        self._handed = read_json(run.folder / "handover.json") or {"when_done": ()}
        self._shutdown = False
        self._queue = Queue(Path(run.config["home"]))
        self._turn: Turn | None = None

    def see_through(self) -> None:
        """Until the run is final, paused, or this machine shuts down."""
        self._wait_for_orphan()
        restarts, killed = 0, 0
        while not (self.run.status.final or self._stopped()):
            if self._turn is None:
                self._turn = self._wait_for_turn()
                continue  # somebody may have asked for something meanwhile
            short_before = _ended_for_memory()
            code = self.train_once()
            if self.run.status.final or self._stopped():
                break
            if restarts == MAX_RESTARTS:
                self._give_up(code)
                break
            restarts += 1
            killed += code == -signal.SIGKILL
            if code == -signal.SIGKILL and (killed > 1 or _ended_for_memory() > short_before):
                self._take_less_memory()
            self.run.event(
                "warning",
                "restarted",
                f"training ended {_how(code)} and is started again from its last checkpoint",
                code=code,
                restart=restarts,
            )
        if self.run.status.final:
            self._hand_over()
            self._queue.leave(self.run)

    def train_once(self) -> int:
        """Start training and watch it; returns its exit code (negative: killed by that signal)."""
        with (self.run.folder / "train.log").open("ab") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", "backends.local.train", str(self.run.folder)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=for_training(self._gpus()),
                cwd=self.run.folder,
                pass_fds=self._turn.descriptors if self._turn else (),  # so that it holds them, too
            )
        asked_at: float | None = None
        while (code := process.poll()) is None:
            time.sleep(POLL_S)
            why = "shutdown" if self._shutdown else self.run.wanted
            if why is None:
                continue
            if asked_at is None:
                process.terminate()
                asked_at = time.monotonic()
            elif time.monotonic() - asked_at > GRACE_S[why]:
                process.kill()
        return code

    def _wait_for_orphan(self) -> None:
        """A training process may have outlived an earlier supervisor; it is left to do its work."""
        while self.run.alive("train"):
            time.sleep(POLL_S)
            if self.run.wanted and (process := self.run.process("train")):
                process.terminate()

    def _wait_for_turn(self) -> Turn | None:
        """Until this machine has room for the run; None when it is asked to end instead."""
        processes = self.run.config["body"].get("processes", 1)
        self._queue.enter(self.run, self._handed.get("team", "default"), processes)
        limits = Limits(_slots(self._handed.get("slots")), self._handed.get("per_team"))
        told: Waiting | None = None
        while not (self._shutdown or self.run.wanted):
            found = self._queue.take(self.run, limits)
            if isinstance(found, Turn):
                return found
            if found != told:
                self.run.set_status("queued", message=str(found))
                self.run.event("info", "waiting", str(found), ahead=found.ahead)
                told = found
            time.sleep(5 * POLL_S)
        return None

    def _stopped(self) -> bool:
        """Whether somebody asked this run to end or rest; what they asked is done."""
        if self._shutdown:
            return True  # unfinished; whoever looks next starts a supervisor again
        if self.run.wanted == "cancel":
            self.run.event("info", "cancelled", "training was cancelled")
            self.run.set_status("cancelled")
            return True
        if self.run.wanted == "pause":
            self._queue.leave(self.run)
            self.run.set_status("paused")
            self.run.event("info", "paused", "training is paused; `tunegate jobs resume` goes on")
            return True
        return False

    def _gpus(self) -> tuple[str, ...]:
        slots = self._turn.slots if self._turn else ()
        return tuple(slot.removeprefix("gpu-") for slot in slots if slot.startswith("gpu-"))

    def _take_less_memory(self) -> None:
        """Once: the next start goes through the rows in smaller parts."""
        if not (self.run.folder / ADJUSTED).exists():
            write_json(self.run.folder / ADJUSTED, {"ended_for_memory": True})

    def _give_up(self, code: int) -> None:
        memory = "; the machine may be short of memory" if code == -signal.SIGKILL else ""
        message = f"training ended {_how(code)}, {MAX_RESTARTS + 1} times{memory}"
        fix = "see the run's train.log; `tunegate jobs resume` goes on from the last checkpoint"
        self.run.event("error", "failed", message, fix=fix)
        self.run.set_status("failed", code="backend", message=message, fix=fix)

    def _hand_over(self) -> None:
        """Run what the gateway asked to be run at the end; how that goes is its own business."""
        if not self._handed["when_done"]:
            return
        with (self.run.folder / "handover.log").open("ab") as log:
            subprocess.run(
                self._handed["when_done"],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=self._handed["folder"],
                check=False,
            )

    def shut_down(self, signum: int, frame: FrameType | None) -> None:
        """The machine goes down: let training write a checkpoint, and leave the run unfinished."""
        self._shutdown = True


def _slots(asked: int | None) -> tuple[str, ...]:
    """One for each GPU; without any as many as were asked for, else one: two runs on the same cores
    each take twice as long."""
    gpus = tuple(f"gpu-{number}" for number in gpu_numbers())
    return gpus[:asked] if gpus else tuple(f"cpu-{number}" for number in range(asked or 1))


def _ended_for_memory() -> int:
    """How many processes this system has ended for want of memory; 0 where it does not say."""
    try:
        counters = Path("/proc/vmstat").read_text(encoding="ascii").splitlines()
    except OSError:
        return 0
    return sum(int(line.split()[1]) for line in counters if line.startswith("oom_kill "))


def _how(code: int) -> str:
    return f"by signal {-code}" if code < 0 else f"with code {code}"


def main(arguments: Sequence[str]) -> int:
    no_core_dumps()
    run = Run(Path(arguments[0]))
    try:
        # Not at once: a look at whether the lock is free holds it for a moment.
        with run.lock("supervisor").acquire(timeout=3):
            watching = Supervisor(run)
            signal.signal(signal.SIGTERM, watching.shut_down)
            watching.see_through()
    except Timeout:
        return IN_USE
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
