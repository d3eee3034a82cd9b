"""How many tokens a second GPUs can serve: a roofline, with a band for what software reaches of it.

Reading a prompt is bound by computation, writing an answer by memory: every step reads the weights once
for the whole batch, and each answer's keys and values. The bands come from public measurements of one
serving engine: 77 % of the memory's rate for a single answer of an 8B model on an A100
(johnmusgrave.com/p/vllm-throughput-latency-sweep-on), about 12,500 tokens a second for many on an H100
(morphllm.com/vllm-benchmarks, April 2026). Both lie within them, which a test holds.
"""

from __future__ import annotations

from dataclasses import dataclass

from cost.gpus import Gpu
from cost.memory import GIB
from gateway.core.facts import ModelShape

WIDTH = 2  # bytes of a bf16 number
CONTEXT = 2_000  # tokens of one question and its answer, where nothing is known
_MOST_AT_ONCE = 256  # answers in one batch: beyond, each takes too long for a person
_ENGINE_GIB = 2.0  # the serving engine itself, per GPU
_USABLE = 0.90
_READING = (0.25, 0.45, 0.60)  # of the peak rate
_WRITING = (0.30, 0.55, 0.80)  # of the roofline
_SPLIT = 0.8  # of the sum that several GPUs reach together


@dataclass(frozen=True, slots=True)
class Capacity:
    """What one replica can do when it is kept busy: low, likely and high in each tuple.

    Attributes:
        input_per_s: tokens read a second, when it does nothing else.
        output_per_s: tokens written a second, likewise.
        at_once: answers written side by side.
    """

    input_per_s: tuple[float, float, float]
    output_per_s: tuple[float, float, float]
    at_once: int


def capacity(
    shape: ModelShape, gpu: Gpu, gpus: int = 1, *, context: int = CONTEXT, at_once: int | None = None
) -> Capacity | None:
    """What a model serves from so many GPUs of a kind; None where its weights do not fit.

    Args:
        context: tokens of one question and its answer.
        at_once: answers written side by side; as many as fit, where not given.
    """
    weights = shape.parameters * WIDTH
    kept = 2 * shape.layers * shape.kv_heads * shape.head_dim * WIDTH * context  # of one answer
    room = gpus * (_USABLE * gpu.memory_gib - _ENGINE_GIB) * GIB - weights
    batch = min(_MOST_AT_ONCE, int(room // kept)) if at_once is None else at_once
    if room < kept or batch < 1:
        return None
    together = 1.0 if gpus == 1 else _SPLIT
    peak = gpu.peak_tflops * 1e12 * gpus * together
    rate = gpu.bandwidth_gbs * 1e9 * gpus * together
    work = 2.0 * _active(shape)
    step_s = max((weights + batch * kept) / rate, batch * work / peak)
    low, likely, high = (share * batch / step_s for share in _WRITING)
    slow, usual, fast = (share * peak / work for share in _READING)
    return Capacity((slow, usual, fast), (low, likely, high), batch)


def busy_hours(capacity: Capacity, input_tokens: int, output_tokens: int) -> tuple[float, float, float]:
    """Hours one replica works on so many tokens: low, likely and high."""
    cases = [
        (input_tokens / reads + output_tokens / writes) / 3600
        for reads, writes in zip(capacity.input_per_s, capacity.output_per_s, strict=True)
    ]
    return cases[2], cases[1], cases[0]


def _active(shape: ModelShape) -> float:
    """Parameters that take part in one token: of a mixture, the chosen experts'."""
    idle = shape.experts - shape.active_experts
    return shape.parameters - shape.layers * 3 * shape.hidden * shape.intermediate * idle
