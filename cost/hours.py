"""Training time from operations: tokens × operations per token / (peak × utilisation).

Utilisation is a band, not a number: public results for GPUs lie between 13 and 57 % of the dense
bf16 peak, by model, packing and kernels. For CPUs the peak itself is derived, and the band is wider
still: a base of 0.9 M parameters was measured at 0.44 of it on one core (LoRA of rank 16, batches of
8 × 115 tokens), larger ones not yet. Measurement on the machine at hand will replace both.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Literal

from cost.gpus import load_gpus
from gateway.core.facts import ModelShape
from gateway.core.plan import Machine, Range

_QUANTILES = (0.01, 0.10, 0.25, 0.50, 0.75, 0.90, 0.99, 1.0)  # of `TokenStats.lengths`
# Two 8-lane fused multiply-adds a cycle at 2.5 GHz: 2 × 8 × 2 × 2.5e9.
CPU_FLOPS_PER_CORE = 80e9
_TRAINED_SHARE = 0.5  # of the tokens reach the output layer


@dataclass(frozen=True, slots=True)
class Speed:
    """How fast a machine works: best, likely and worst case in each tuple.

    Attributes:
        flops: operations per second that reach the matrix products.
        layer_s: seconds a layer costs in every forward and backward pass whatever its size: the
            launching of some hundred small operations.
        start_s: seconds until the first step: libraries, weights, tokenising.
    """

    flops: tuple[float, float, float]
    layer_s: tuple[float, float, float]
    start_s: tuple[float, float, float]


@dataclass(frozen=True, slots=True)
class Work:
    """What is to be computed. `tokens` are those of all epochs; `passes` forward-backward passes;
    `threads` those that work, where there is no GPU."""

    shape: ModelShape
    method: Literal["lora", "qlora", "full"]
    checkpointing: bool
    tokens: int
    mean_length: float
    passes: int
    threads: int


def speed(machine: Machine, threads: int) -> Speed:
    """Assumed speed of a machine. One GPU is used, however many there are; else so many threads."""
    gpu = load_gpus().gpu(machine.gpu) if machine.gpu else None
    if machine.gpu:
        # A GPU that is not in the catalogue is taken for a slow one, with a band as wide as our doubt.
        peak, band = (gpu.peak_tflops, (0.55, 0.30, 0.12)) if gpu else (65.0, (5.0, 0.6, 0.12))
        if gpu and not gpu.source.confidence.usable:
            band = (0.8, 0.30, 0.08)
        flops = tuple(peak * 1e12 * share for share in band)
        return Speed((flops[0], flops[1], flops[2]), (0.001, 0.002, 0.004), (15, 40, 120))
    peak = CPU_FLOPS_PER_CORE * threads
    return Speed((peak * 0.6, peak * 0.35, peak * 0.08), (0.002, 0.004, 0.010), (5, 12, 45))


def hours(work: Work, machine: Machine) -> Range:
    """Low, likely and high, in hours, to the hundredth of a minute."""
    assumed = speed(machine, work.threads)
    operations = flops(work)
    seconds = [
        operations / assumed.flops[case]
        + assumed.layer_s[case] * work.shape.layers * work.passes
        + assumed.start_s[case]
        for case in range(3)
    ]
    return Range(*(Decimal(str(round(value / 3600, 6))) for value in seconds))


def flops(work: Work) -> float:
    """Operations of the whole training: 4N a token for LoRA, 6N for full, 2N more with checkpointing,
    and attention's own, which grow with the length of the rows."""
    shape = work.shape
    query, key_value = shape.heads * shape.head_dim, shape.kv_heads * shape.head_dim
    layer = 2 * shape.hidden * (query + key_value)
    layer += 3 * shape.hidden * shape.intermediate * shape.active_experts
    active = shape.layers * layer + _TRAINED_SHARE * shape.vocabulary * shape.hidden
    again = 1 if work.checkpointing else 0
    products = (6 if work.method == "full" else 4) + 2 * again
    attention = (12 + 4 * again) * shape.layers * query * work.mean_length
    return work.tokens * (products * active + attention)


def mean_length(lengths: Sequence[int]) -> float:
    """Length of the row that the average *token* is in (long rows hold more tokens), from quantiles."""
    if not lengths or not any(lengths):
        return 0.0
    if len(lengths) != len(_QUANTILES):
        return sum(length**2 for length in lengths) / sum(lengths)
    total = squares = lengths[0] * _QUANTILES[0] / 2
    squares *= lengths[0]
    for index in range(1, len(lengths)):
        share = _QUANTILES[index] - _QUANTILES[index - 1]
        low, high = lengths[index - 1], lengths[index]
        total += share * (low + high) / 2
        squares += share * (low**2 + low * high + high**2) / 3
    return squares / total
