"""Starts the ranks of a run, one process each, and sees that they live and end together."""

from __future__ import annotations

import math
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Literal

from backends.local.environment import for_ranks
from backends.local.run import Run, State, read_json, write_json

FAILED, INTERRUPTED, AGAIN = 70, 75, 77
POLL_S = 0.05
RESERVE, RESERVE_BYTES = ".reserve", 64 * 1024
GRACE_S = 2.0  # for the others, after one has ended: they may be about to say why


class Silent(Run):
    """A run as every rank but the first sees it: what happens is told once."""

    def event(self, level: Literal["info", "warning", "error"], kind: str, text: str, **data: Any) -> None:
        pass

    def set_status(
        self, state: State, *, code: str | None = None, message: str | None = None, fix: str | None = None
    ) -> None:
        pass


def launch(run: Run, stop_asked: Callable[[], bool]) -> int:
    """Train with as many ranks as the run's body says.

    Returns:
        An exit code of `backends.local.train`. A signal that ended a rank ends this process, too.
    """
    code = AGAIN
    while code == AGAIN:
        code = verdict(run, _together(run, stop_asked), stop_asked)
    if code < 0:
        if -code != signal.SIGKILL:
            signal.signal(-code, signal.SIG_DFL)
        os.kill(os.getpid(), -code)
    return code


def hold_reserve(run: Run) -> None:
    """Bytes that are given back to a full disk, so that what happened can be written."""
    with suppress(OSError):  # a disk that is full by now will be said to be, soon
        (run.folder / RESERVE).write_bytes(os.urandom(RESERVE_BYTES))


def release_reserve(run: Run) -> None:
    (run.folder / RESERVE).unlink(missing_ok=True)


def tell(run: Run, failure: Mapping[str, Any]) -> None:
    """The end of a run that failed, as event and status."""
    release_reserve(run)
    run.event("error", "failed", failure["message"], place=failure["place"], fix=failure["fix"])
    run.set_status("failed", code=failure["code"], message=failure["message"], fix=failure["fix"])


def meeting(run: Run) -> Path:
    """The file over which ranks find each other; of one launch alone."""
    return run.folder / ".ranks"


def leave_failure(run: Run, number: int, failure: Mapping[str, Any]) -> None:
    """From a rank, for the launcher to tell."""
    release_reserve(run)
    write_json(run.folder / f".failure-{number}.json", failure)


def _together(run: Run, stop_asked: Callable[[], bool]) -> list[int]:
    """Start every rank, hand on a request to stop, and end the others when one has ended wrongly.

    Returns:
        Exit codes of those that ended by themselves.
    """
    for path in (meeting(run), *run.folder.glob(".failure-*.json")):
        path.unlink(missing_ok=True)
    ranks = [_start(run, number) for number in range(run.config["body"]["processes"])]
    try:
        _wait(ranks, stop_asked)
        return [rank.returncode for rank in ranks if rank.poll() is not None]
    finally:
        for rank in ranks:
            rank.kill()
            rank.wait()
            if rank.stdin:
                rank.stdin.close()
        meeting(run).unlink(missing_ok=True)


def _start(run: Run, number: int) -> subprocess.Popen[bytes]:
    """Its stdin is a pipe that nobody else holds: it reads there that this process is gone."""
    command = [sys.executable, "-m", "backends.local.train", str(run.folder), str(number)]
    return subprocess.Popen(command, stdin=subprocess.PIPE, env=for_ranks())


def _wait(ranks: Sequence[subprocess.Popen[bytes]], stop_asked: Callable[[], bool]) -> None:
    """Until all have ended, or one has ended wrongly and the others had time to."""
    handed_on, until = False, math.inf
    while any(rank.poll() is None for rank in ranks) and time.monotonic() < until:
        if stop_asked() and not handed_on:
            handed_on = True
            for rank in ranks:
                rank.terminate()
        if until == math.inf and any(rank.returncode not in (None, 0, INTERRUPTED) for rank in ranks):
            until = time.monotonic() + GRACE_S
        time.sleep(POLL_S)


def verdict(run: Run, codes: Sequence[int], stop_asked: Callable[[], bool]) -> int:
    """What the ends of the ranks come to: a process that died has ended what others say of it."""
    wrong = [code for code in codes if code not in (0, INTERRUPTED)]
    if not wrong:
        return max(codes)
    if AGAIN in wrong:
        return AGAIN
    if stop_asked() and -signal.SIGTERM in wrong:  # asked before it could listen
        return INTERRUPTED
    if died := min(code for code in (0, *wrong)):
        text = f"one of {run.config['body']['processes']} processes was ended by signal {-died}"
        run.event("warning", "rank_lost", text, signal=-died)
        return died
    failures = [found for path in sorted(run.folder.glob(".failure-*.json")) if (found := read_json(path))]
    if failures:
        tell(run, min(failures, key=lambda failure: not failure["foreseen"]))
        return 0
    return wrong[0]
