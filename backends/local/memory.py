"""When memory runs out: how that is recognised, what is tried, and how much was used."""

from __future__ import annotations

import gc
import resource
import sys
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import torch

from backends.local.batches import Held
from backends.local.run import ADJUSTED, Run, read_json, write_json
from backends.local.tokens import Item
from gateway.core.errors import BackendError

_SHORT = ("DefaultCPUAllocator", "CUBLAS_STATUS_ALLOC_FAILED", "CUDNN_STATUS_ALLOC_FAILED")


def is_short(error: BaseException) -> bool:
    """Whether an error says that there is not enough memory."""
    if isinstance(error, (MemoryError, torch.OutOfMemoryError)):
        return True
    # torch has a class for what its own allocator lacks on a GPU; of all else there are only names.
    return isinstance(error, RuntimeError) and any(name in str(error) for name in _SHORT)


def tokens_of(part: Sequence[Item], *, packed: bool) -> int:
    """What one pass holds, padding included."""
    return Held(packed).and_also(*part).tokens


def smaller(run: Run, part: Sequence[Item], before: int, *, packed: bool) -> int:
    """Tokens that go through at once from now on, half of what did not fit; kept in the run's folder,
    so that more is not tried again, and said.

    Args:
        part: the largest pass of the step that did not fit.
        before: tokens that might have gone through at once.

    Raises:
        BackendError: there is no smaller pass, or smaller ones were tried already.
    """
    if len(part) < 2 or "micro_batch_tokens" in (read_json(run.folder / ADJUSTED) or {}):
        raise not_enough()
    held = tokens_of(part, packed=packed)
    write_json(run.folder / ADJUSTED, {"micro_batch_tokens": held // 2})
    run.event(
        "warning", "smaller_passes",
        f"memory ran out with {held:,} tokens at once; training goes on with {held // 2:,}, "
        "and the same rows in each step",
        before=before, micro_batch_tokens=held // 2,
    )  # fmt: skip
    return held // 2


def not_enough() -> BackendError:
    return BackendError(
        "there is not enough memory",
        backend="local",
        place="training",
        fix="lower hyperparameters.max_length, or take a smaller model or `method: qlora`; "
        "`tunegate plan` says what fits",
    )


def release() -> None:
    """Give back what nobody holds any more."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def high_water_gib() -> float:
    """The most memory this process has held: the GPU's where it trains on one, else the machine's."""
    if torch.cuda.is_available():
        return round(torch.cuda.max_memory_allocated() / 2**30, 3)
    return round(_resident_bytes() / 2**30, 3)


def _resident_bytes() -> int:
    """Linux tells `getrusage` of a process that another one started what that other one held, too: there
    its own status says it."""
    try:
        for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    except OSError:
        pass
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def adjusted(run: Run, tokens: int, passes: Callable[[], Iterable[Sequence[Item]]], *, packed: bool) -> int:
    """Tokens at once as a run was found to need it; never more than it was configured with.

    Args:
        passes: all the passes of the run, asked for where the system has ended an earlier process for
            want of memory.
    """
    found = read_json(run.folder / ADJUSTED)
    if found is None:
        return tokens
    if "micro_batch_tokens" not in found:
        largest = max(passes(), key=lambda part: tokens_of(part, packed=packed))
        return smaller(run, largest, tokens, packed=packed)
    return min(found["micro_batch_tokens"], tokens)
