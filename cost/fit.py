"""Will it fit, with which settings, and how long will it take: one answer per model and machine."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Literal

from cost.gpus import load_gpus
from cost.hours import Work, hours, mean_length
from cost.memory import Load, Precision, parts_gib
from gateway.core.facts import ModelShape
from gateway.core.plan import Fit, Machine
from gateway.core.rows import TokenStats
from gateway.core.spec import JobSpec

DEFAULT_LENGTH = 2048
SMALL = 100_000_000  # parameters; below, bf16 gains nothing on a CPU
TINY = 10_000_000  # parameters; below, one thread does the work
_USABLE = 0.92  # of a machine's memory: the rest belongs to the system and to others


def fit(
    spec: JobSpec,
    shape: ModelShape,
    machine: Machine,
    tokens: TokenStats,
    *,
    rows: int,
    epochs: int,
    batch_size: int,
) -> Fit:
    """How one training job lies on one machine.

    The largest number of full-length rows per pass that fits is taken, first without, then with
    activation checkpointing (which costs a third more time).

    Args:
        tokens: counts by this model's tokenizer.
        rows: rows of the training split.
        epochs: passes over them, as the backend will make them.
        batch_size: rows of one optimizer step, likewise.
    """
    method: Literal["lora", "qlora", "full"] = "lora" if spec.method == "auto" else spec.method
    precision, why_precision = _precision(shape, machine)
    length = _length(spec, shape)
    # A pass never holds more than one step's rows, and none is longer than the longest.
    most = batch_size * min(length, tokens.longest or length)

    def load(per_pass: int, checkpointing: bool) -> Load:
        lora = spec.hyperparameters.lora
        held = max(1, min(per_pass * length, most))
        return Load(
            shape, method, precision, lora.rank, lora.dropout > 0, held, checkpointing, bool(machine.gpu)
        )

    room = _room_gib(machine)
    per_pass, checkpointing = _choose(load, room, batch_size)
    chosen = load(per_pass, checkpointing)
    parts = parts_gib(chosen)
    memory = round(sum(parts.values()), 3)
    fits = memory <= room
    total = tokens.by_split.get("train", tokens.tokens) * epochs
    passes = _passes(rows, batch_size, epochs, total, chosen.tokens)
    threads, why_threads = _threads(shape, machine)
    work = Work(shape, method, checkpointing, total, mean_length(tokens.lengths), passes, threads)
    return Fit(
        machine=machine,
        fits=fits,
        memory_gib=memory,
        parts_gib=parts,
        hours=hours(work, machine),
        choices={
            "precision": why_precision,
            "micro_batch": (
                per_pass,
                f"{per_pass} × {length:,} tokens a pass, within {room:.1f} GiB",
            ),
            "checkpointing": (checkpointing, _why_checkpointing(checkpointing)),
            "threads": (threads, why_threads),
        },
        why_not=None if fits else _why_not(parts, memory, room, length, machine),
    )


def _choose(load: Callable[[int, bool], Load], room: float, batch: int) -> tuple[int, bool]:
    """Rows per pass, and whether to checkpoint. Where nothing fits: the smallest there is."""
    sizes = [2**power for power in range(int(math.log2(batch)), -1, -1)]
    for checkpointing in (False, True):
        for size in sizes:
            if sum(parts_gib(load(size, checkpointing)).values()) <= room:
                return size, checkpointing
    return 1, True


def _precision(shape: ModelShape, machine: Machine) -> tuple[Precision, tuple[str, str]]:
    """The precision memory is counted for, and the choice: `auto` leaves it to what the hardware has."""
    if not machine.gpu and shape.parameters < SMALL:
        return "fp32", ("fp32", "a small base on a CPU: bf16 would gain nothing")
    if not machine.gpu:
        return "fp32", ("auto", "bf16 if this CPU computes in it; memory is counted for fp32")
    gpu = load_gpus().gpu(machine.gpu)
    if gpu is not None and not gpu.bf16:
        return "fp32", ("fp32", f"{gpu.name} does not compute in bf16")
    return "bf16", ("auto", "bf16: half the memory of fp32, and the GPU's fast path")


def _length(spec: JobSpec, shape: ModelShape) -> int:
    asked = spec.hyperparameters.max_length
    return min(shape.max_positions, DEFAULT_LENGTH if asked == "auto" else asked)


def _threads(shape: ModelShape, machine: Machine) -> tuple[int, str]:
    """Measured at 0.9 M parameters on two cores: the second one takes a fifth off a step while the
    machine is idle, and makes it two to eight times as long while others use the cores."""
    if not machine.gpu and shape.parameters < TINY:
        return 1, "so small a base waits for a second thread more than it gains by it"
    return max(1, machine.cpu_cores), "every core this process may use"


def _passes(rows: int, batch: int, epochs: int, tokens: int, per_pass: int) -> int:
    """Forward-backward passes: one a step, more where a step's rows do not fit in one."""
    return max(math.ceil(rows / batch) * epochs, math.ceil(tokens / per_pass))


def _room_gib(machine: Machine) -> float:
    return _USABLE * (machine.gpu_memory_gib if machine.gpu else machine.memory_gib)


def _why_checkpointing(checkpointing: bool) -> str:
    if checkpointing:
        return "without it the activations do not fit; it costs about a third more time"
    return "the activations fit without it"


def _why_not(parts: Mapping[str, float], memory: float, room: float, length: int, machine: Machine) -> str:
    largest = max(parts, key=lambda name: parts[name])
    what = f"{machine.gpu} memory" if machine.gpu else "memory"
    return (
        f"needs about {memory:.1f} GiB for one row of {length:,} tokens, most of it {largest} "
        f"({parts[largest]:.1f} GiB); {machine.name} has {room:.1f} GiB of {what} to give"
    )
