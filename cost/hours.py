"""Training time from what is computed: operations over the speed, bytes over theirs, and what every pass
through a layer costs however small it is.

Unmeasured, the speed is a share of the machine's peak, and a band rather than a number: public results for
GPUs lie between 13 and 57 % of the dense bf16 peak, by model, packing and kernels. For CPUs the peak itself
is derived, and the band is wider still: a base of 0.9 M parameters was measured at 0.44 of it on one core.
A probe of the machine at hand (`cost.probing`) replaces all of it.
"""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal

from cost.gpus import load_gpus
from cost.work import operations, touched_bytes, updated
from gateway.core.plan import Machine, Range
from gateway.core.probe import Passes, Setting

# Two 8-lane fused multiply-adds a cycle at 2.5 GHz: 2 × 8 × 2 × 2.5e9.
CPU_FLOPS_PER_CORE = 80e9


@dataclass(frozen=True, slots=True)
class Speed:
    """How fast a machine works. Seconds each.

    Attributes:
        operation_s: of one operation of a matrix product.
        byte_s: of a byte that elementwise operations read or write.
        layer_s: of a layer in every forward and backward pass whatever its size: the launching of some
            hundred small operations.
        number_s: of one trained number in every optimizer step.
        start_s: until the first step: libraries, weights, tokenising.
    """

    operation_s: float
    byte_s: float
    layer_s: float
    number_s: float
    start_s: float


@dataclass(frozen=True, slots=True)
class Work:
    """What is to be computed: all passes of a run, and its optimizer steps; by so many processes.

    Attributes:
        before: share of the passes' time that goes by before the first step: for preferences, what the
            base thinks of every row.
    """

    setting: Setting
    passes: Passes
    steps: int
    processes: int = 1
    before: float = 0.0


def effort(setting: Setting, seen: Passes, steps: int) -> tuple[float, float, float, float]:
    """How much there is of what `Speed` has the seconds of, in its order."""
    return (
        operations(setting, seen),
        touched_bytes(setting, seen),
        float(seen.count * setting.shape.layers),
        float(steps * updated(setting)),
    )


def seconds(work: Work, speed: Speed) -> float:
    """Of the whole run."""
    per_unit = (speed.operation_s, speed.byte_s, speed.layer_s, speed.number_s)
    amounts = effort(work.setting, work.passes, work.steps)
    each = [amount * unit for amount, unit in zip(amounts, per_unit, strict=True)]
    shared = (
        (1 + work.before) * sum(each[:3]) / work.processes
    )  # the passes are shared out; every process steps for itself
    return shared + each[3] + speed.start_s


def assumed(machine: Machine, threads: int) -> tuple[Speed, Speed, Speed]:
    """Best, likely and worst of a machine nobody has measured. Of one GPU, however many there are."""
    flops, layer_s, start_s = _gpu(machine.gpu) if machine.gpu else _cpu(threads)
    made = [Speed(1 / flops[case], 0.0, layer_s[case], 0.0, start_s[case]) for case in range(3)]
    return made[0], made[1], made[2]


def hours(work: Work, speeds: tuple[Speed, Speed, Speed]) -> Range:
    """Low, likely and high, to the hundredth of a second."""
    return Range(*(Decimal(str(round(seconds(work, speed) / 3600, 6))) for speed in speeds))


_Three = tuple[float, float, float]


def _gpu(name: str) -> tuple[_Three, _Three, _Three]:
    gpu = load_gpus().gpu(name)
    # A GPU that is not in the catalogue is taken for a slow one, with a band as wide as our doubt.
    peak, band = (gpu.peak_tflops, (0.55, 0.30, 0.12)) if gpu else (65.0, (5.0, 0.6, 0.12))
    if gpu and not gpu.source.confidence.usable:
        band = (0.8, 0.30, 0.08)
    flops = (peak * 1e12 * band[0], peak * 1e12 * band[1], peak * 1e12 * band[2])
    return flops, (0.001, 0.002, 0.004), (15, 40, 120)


def _cpu(threads: int) -> tuple[_Three, _Three, _Three]:
    peak = CPU_FLOPS_PER_CORE * threads
    return (peak * 0.6, peak * 0.35, peak * 0.08), (0.002, 0.004, 0.010), (5, 12, 45)
