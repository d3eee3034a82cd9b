"""The process that trains: `python -m backends.local.train RUN_DIR`. The loop itself is `loop.train`.

Where several ranks train together this process starts them, `… RUN_DIR RANK` each, and trains nothing
itself (`launch`).

Exit codes: 0, a final status was written; 75, stopped on request and able to go on; 76, another
process trains in this folder; of a rank also 70, it failed and left why, and 77, all must begin again;
anything else is a crash.
"""

from __future__ import annotations

import errno
import os
import signal
import sys
import threading
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from types import FrameType
from typing import Any

from filelock import Timeout

from backends.local import launch
from backends.local.run import Run
from gateway.core.errors import BackendError, TunegateError

INTERRUPTED, IN_USE = launch.INTERRUPTED, 76


def failure_of(error: Exception) -> TunegateError:
    """A typed error for what stops a training process. Messages of libraries may quote data, so
    none is repeated; the log has the places in the code."""
    return _foreseen(error) or BackendError(
        f"training stopped with {type(error).__name__}", backend="local", fix="see the run's train.log"
    )


def _foreseen(error: Exception) -> TunegateError | None:
    from backends.local import memory

    if isinstance(error, TunegateError):
        return error
    if memory.is_short(error):
        return memory.not_enough()
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        return BackendError(
            "the disk is full", backend="local", fix="free some space, then `tunegate jobs resume`"
        )
    if isinstance(error, OSError) and error.errno == errno.EFBIG:
        return BackendError(
            "a file would be larger than this process may write",
            backend="local",
            fix="raise `ulimit -f`, then `tunegate jobs resume`",
        )
    return None


def main(arguments: Sequence[str]) -> int:
    run = Run(Path(arguments[0]))
    asked: list[int] = []

    def note(signum: int, frame: FrameType | None) -> None:
        asked.append(signum)

    def stop_asked() -> bool:
        return bool(asked)

    before = signal.signal(signal.SIGTERM, note)  # first: what is imported later takes seconds
    try:
        if len(arguments) > 1:
            return _rank(run, int(arguments[1]), stop_asked)
        with run.lock("train").acquire(timeout=0):
            run.started("train", os.getpid())
            launch.hold_reserve(run)
            several = run.config["body"].get("processes", 1) > 1
            code = (launch.launch if several else _alone)(run, stop_asked)
            launch.release_reserve(run)
            return code
    except Timeout:
        return IN_USE
    finally:
        signal.signal(signal.SIGTERM, before)


def _alone(run: Run, stop_asked: Callable[[], bool]) -> int:
    from backends.local.loop import Interrupted, train

    try:
        train(run, stop_asked)
    except Interrupted:
        return INTERRUPTED
    except Exception as error:
        launch.tell(run, _told(error))
    return 0


def _rank(run: Run, number: int, stop_asked: Callable[[], bool]) -> int:
    """One of several: the first speaks for all, and what went wrong is left for the launcher to tell."""
    threading.Thread(target=_end_with_launcher, daemon=True).start()
    from backends.local import ranks
    from backends.local.loop import Again, Interrupted, train

    body = run.config["body"]
    try:
        joined = ranks.join(number, body["processes"], launch.meeting(run), sharded=body["sharded"])
        train(run if number == 0 else launch.Silent(run.folder), stop_asked, joined)
        ranks.leave()
    except Interrupted:
        return INTERRUPTED
    except Again:
        return launch.AGAIN
    except Exception as error:
        launch.leave_failure(run, number, _told(error))
        return launch.FAILED
    return 0


def _told(error: Exception) -> dict[str, Any]:
    traceback.print_tb(error.__traceback__)  # the places, not the message: it might quote a row
    failure = failure_of(error)
    return {**failure.to_json(), "foreseen": _foreseen(error) is not None}


def _end_with_launcher() -> None:
    """Its end of our stdin closes when it is gone, however it went; nobody would see us through."""
    os.read(0, 1)
    os._exit(launch.FAILED)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
