"""Memory of one training process, part by part, from the model's sizes.

Everything is counted for the loop that trains here: PEFT's LoRA on every linear layer with the
adapter in fp32, AdamW, scaled-dot-product attention (which keeps no score matrix), logits only at
trained positions. The activation count is what autograd keeps for one decoder layer of the Llama
family in transformers; a test holds it against autograd itself. Bytes until the end, then GiB.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from gateway.core.facts import ModelShape

GIB = 2**30
Precision = Literal["fp32", "bf16"]

_NF4_BYTES = 0.5 + 1 / 64 + 4 / 64 / 256  # 4 bits, an 8-bit constant per 64, an fp32 one per 256 of those
_TRAINED_SHARE = 0.5  # of a row's tokens; the share is not known before the rows are rendered
_ALLOCATOR_SLACK = 0.08  # of everything that is allocated and freed again
_PROCESS_BYTES = {"cpu": 0.7 * GIB, "gpu": 0.9 * GIB}  # Python and its libraries; CUDA's context
_NORMS_PER_LAYER = 2
_LINEARS_PER_LAYER = 7  # q, k, v, o, gate, up, down


@dataclass(frozen=True, slots=True)
class Load:
    """What is to be held at once.

    Attributes:
        tokens: in one forward pass, padding included.
        rank: of LoRA; ignored for `full`.
        dropout: whether LoRA's dropout is on.
    """

    shape: ModelShape
    method: Literal["lora", "qlora", "full"]
    precision: Precision
    rank: int
    dropout: bool
    tokens: int
    checkpointing: bool
    on_gpu: bool


def parts_gib(load: Load) -> dict[str, float]:
    """GiB by part, rounded to a MiB; the sum is the peak."""
    trained = load.shape.parameters if load.method == "full" else adapter_parameters(load.shape, load.rank)
    trained_bytes = _width(load.precision) if load.method == "full" else 4
    passing = _activations(load) + _logits(load)
    parts = {
        "weights": _weights(load),
        "adapter": 0.0 if load.method == "full" else 4.0 * trained,
        "gradients": float(trained_bytes * trained),
        "optimizer": 8.0 * trained,
        "activations": _activations(load),
        "logits": _logits(load),
        "overhead": _PROCESS_BYTES["gpu" if load.on_gpu else "cpu"] + _ALLOCATOR_SLACK * passing,
    }
    return {name: round(size / GIB, 3) for name, size in parts.items()}


def adapter_parameters(shape: ModelShape, rank: int) -> int:
    """Parameters of LoRA on every linear layer but the output."""
    query, key_value = shape.heads * shape.head_dim, shape.kv_heads * shape.head_dim
    attention = 2 * (shape.hidden + query) + 2 * (shape.hidden + key_value)
    feed_forward = 3 * (shape.hidden + shape.intermediate) * shape.experts
    return shape.layers * rank * (attention + feed_forward)


def activation_bytes(
    shape: ModelShape, precision: Precision, *, rank: int, dropout: bool, on_gpu: bool
) -> float:
    """What autograd keeps for one token in one layer."""
    hidden, query = shape.hidden, shape.heads * shape.head_dim
    key_value, wide = shape.kv_heads * shape.head_dim, shape.intermediate * shape.active_experts
    attention = 2 * query + 2 * key_value  # q, k, v and the output
    inputs = 5 * hidden + query + wide  # of the seven linear layers, which LoRA reads
    mask = 1 if on_gpu else 4  # a CPU keeps dropout's mask as numbers
    small = _LINEARS_PER_LAYER * rank * _width(precision) + 4 * (_NORMS_PER_LAYER + shape.heads)
    if precision == "fp32":
        kept = _NORMS_PER_LAYER * hidden + attention + 3 * wide
        shared = _NORMS_PER_LAYER * hidden + wide  # without dropout LoRA reads what is kept anyway
        return small + 4 * kept + ((4 + mask) * inputs if dropout else 4 * shared)
    norms = 4 * _NORMS_PER_LAYER * hidden  # computed in fp32
    return small + norms + 2 * (attention + 3 * wide + inputs) + (mask * inputs if dropout else 0)


def _weights(load: Load) -> float:
    shape = load.shape
    if load.method != "qlora":
        return float(shape.parameters * _width(load.precision))
    kept_whole = shape.vocabulary * shape.hidden * (1 if shape.tied_embeddings else 2)
    return (shape.parameters - kept_whole) * _NF4_BYTES + kept_whole * 2


def _activations(load: Load) -> float:
    shape, width = load.shape, _width(load.precision)
    layer = load.tokens * activation_bytes(
        shape, load.precision, rank=load.rank, dropout=load.dropout, on_gpu=load.on_gpu
    )
    in_flight = load.tokens * 3 * shape.intermediate * shape.active_experts * width  # gradients of one layer
    if load.checkpointing:
        return layer + in_flight + load.tokens * shape.hidden * width * shape.layers
    return layer * shape.layers + in_flight


def _logits(load: Load) -> float:
    """The logits, their fp32 copy, the log-probabilities and the gradients of the first two."""
    each = 2 * _width(load.precision) + 12
    return load.tokens * _TRAINED_SHARE * load.shape.vocabulary * each


def _width(precision: Precision) -> int:
    return 4 if precision == "fp32" else 2
