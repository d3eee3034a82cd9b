"""The process that trains: `python -m backends.local.train RUN_DIR`. The loop itself is `loop.train`.

Exit codes: 0, a final status was written; 75, stopped on request and able to go on; 76, another
process trains in this folder; anything else is a crash.
"""

from __future__ import annotations

import os
import signal
import sys
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from types import FrameType

import torch
from filelock import Timeout

from backends.local.loop import Interrupted, train
from backends.local.run import Run
from gateway.core.errors import BackendError, TunegateError

INTERRUPTED, IN_USE = 75, 76


def failure_of(error: Exception) -> TunegateError:
    """A typed error for what stops a training process. Messages of libraries may quote data, so
    none is repeated; the log has the places in the code."""
    if isinstance(error, TunegateError):
        return error
    if isinstance(error, OSError) and error.errno in (28, 122):  # ENOSPC, EDQUOT
        return BackendError(
            "the disk is full", backend="local", fix="free some space, then `tunegate jobs resume`"
        )
    # torch has a class for a GPU's memory only; on a CPU its allocator's name is all there is.
    no_memory = isinstance(error, (MemoryError, torch.OutOfMemoryError)) or "DefaultCPUAllocator" in str(
        error
    )
    if no_memory:
        return BackendError(
            "there is not enough memory",
            backend="local",
            fix="lower hyperparameters.max_length or batch_size, or take a smaller model",
        )
    return BackendError(
        f"training stopped with {type(error).__name__}", backend="local", fix="see the run's train.log"
    )


def main(arguments: Sequence[str]) -> int:
    run = Run(Path(arguments[0]))
    asked: list[int] = []

    def note(signum: int, frame: FrameType | None) -> None:
        asked.append(signum)

    before = signal.signal(signal.SIGTERM, note)
    try:
        with run.lock("train").acquire(timeout=0):
            run.started("train", os.getpid())
            return _guarded(run, lambda: bool(asked))
    except Timeout:
        return IN_USE
    finally:
        signal.signal(signal.SIGTERM, before)


def _guarded(run: Run, stop_asked: Callable[[], bool]) -> int:
    try:
        train(run, stop_asked)
    except Interrupted:
        return INTERRUPTED
    except Exception as error:
        traceback.print_tb(error.__traceback__)  # the places, not the message: it might quote a row
        failure = failure_of(error)
        run.event("error", "failed", failure.message, place=failure.place, fix=failure.fix)
        run.set_status("failed", code=failure.code, message=failure.message, fix=failure.fix)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
