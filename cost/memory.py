"""Memory of one training process, part by part, from the model's sizes.

Counted for the loop that trains here: PEFT's LoRA on every linear layer with the adapter in fp32, AdamW,
scaled-dot-product attention (which keeps no score matrix), logits only at trained positions and in
chunks. `Trainer` says where other software differs, so that the same count can be held against figures
that others publish. What autograd keeps of a layer is derived from the layer's own operations; a test
holds it against autograd. Bytes until the end, then GiB.

The peak is the higher of two moments: the end of the forward pass, with every activation and the logits
of one chunk; and the backward pass through a layer, with that layer computed again and gradients in
flight. With full fine-tuning there is a third: the gradients of everything, the activations gone.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from gateway.core.facts import ModelShape

GIB = 2**30
Precision = Literal["fp32", "bf16"]
Method = Literal["lora", "qlora", "full"]
Linear = Literal["q", "k", "v", "o", "gate", "up", "down"]
LINEARS: tuple[Linear, ...] = ("q", "k", "v", "o", "gate", "up", "down")

CHUNK_POSITIONS = 1024  # whose logits there are at once; a test holds it to the trainer's
TRAINED_SHARE = 0.5  # of a row's tokens, where nobody counted them
# NF4: 4 bits, an 8-bit constant per 64 of them, and an fp32 one per 256 of those (the QLoRA paper, 3).
_NF4_BYTES, _NF4_CONSTANTS = 0.5, 1 / 64 + 4 / 64 / 256
# Of everything that is allocated and freed again: what an allocator cannot give to others. The GPU's
# caching one rounds to 2 MiB; glibc's heap keeps the holes between what lives on: half as much again as
# was counted was seen with it (5 M parameters, passes of 512 to 4,096 tokens), and 1 % more without it.
SLACK = {"cpu": 0.50, "gpu": 0.05}
_PROCESS_BYTES = {"cpu": 0.42 * GIB, "gpu": 0.9 * GIB}  # Python and its libraries; CUDA's context
_NORMS = 2  # per layer


@dataclass(frozen=True, slots=True)
class Trainer:
    """What the software that trains keeps. The defaults are ours.

    Attributes:
        adapter_bytes: of one number in an adapter, and of its gradient.
        moment_bytes: of each of the optimizer's two; None: as wide as the number itself.
        targets: linear layers that have an adapter.
        compiled: elementwise operations are fused, and only their inputs are kept.
        repeats_keys: keys and values are copied to every head before attention.
        lean: an adapter reads what its layer reads, and keeps no copy of it; not where the base is quantised.
        packs: rows lie end to end, and a CPU attends to each apart, in fp32.
        masters: weights that are trained are fp32 whatever is computed in, with a copy in that precision.
        loss: `chunked`: the logits of one chunk of positions at a time, and none kept; `kept`: all of them,
            and an eighth once more with its gradient; `whole`: all of them, in fp32 too, with gradients.
        process: whether the process itself counts; published peaks are the allocator's alone.
    """

    adapter_bytes: int = 4
    moment_bytes: int | None = None
    targets: tuple[Linear, ...] = LINEARS
    compiled: bool = False
    repeats_keys: bool = False
    lean: bool = True
    packs: bool = True
    masters: bool = True
    loss: Literal["chunked", "kept", "whole"] = "chunked"
    process: bool = True


OURS = Trainer()


@dataclass(frozen=True, slots=True)
class Load:
    """What is to be held at once, by each of `processes`.

    Attributes:
        tokens: in one forward pass, padding included; for preferences, those of both answers.
        rank: of LoRA; ignored for `full`.
        dropout: whether LoRA's dropout is on.
        dora: whether a weight's length is learnt apart from its direction.
        trained_share: of the tokens.
        sharded: every process holds its part of weights, gradients and moments, and gathers one layer at
            a time; else each holds a whole copy.
        accumulates: a step has several passes, so that gradients are there while the next one runs.
        slack: share added to what comes and goes; None: assumed.
        process_gib: of the process before it holds a model; None: assumed.
    """

    shape: ModelShape
    method: Method
    precision: Precision
    rank: int
    dropout: bool
    tokens: int
    checkpointing: bool
    on_gpu: bool
    trained_share: float = TRAINED_SHARE
    processes: int = 1
    sharded: bool = False
    accumulates: bool = True
    slack: float | None = None
    process_gib: float | None = None
    trainer: Trainer = field(default=OURS)
    dora: bool = False

    @property
    def device(self) -> Literal["gpu", "cpu"]:
        return "gpu" if self.on_gpu else "cpu"

    @property
    def width(self) -> int:
        """Bytes of a number in the precision of the computation."""
        return 4 if self.precision == "fp32" else 2

    @property
    def trained(self) -> int:
        """How many parameters are trained."""
        if self.method == "full":
            return self.shape.parameters
        return adapter_parameters(self.shape, self.rank, self.trainer.targets)


def parts_gib(load: Load) -> dict[str, float]:
    """GiB by part in one process, rounded to a MiB; the sum is the peak."""
    held = 1 / load.processes if load.sharded else 1.0
    weights, constants = _weights(load)
    number = _trained_width(load)
    gradients = number * load.trained * held
    activations = kept_bytes(load)
    logits, working = logits_bytes(load), working_bytes(load)
    passing = activations + max(logits, working)
    if not load.accumulates:  # gradients take the room that activations leave, layer by layer
        gradients = max(0.0, gradients + working - passing)
    slack = SLACK[load.device] if load.slack is None else load.slack
    parts = {
        "weights": weights * held,
        "quantisation": constants * held,
        "adapter": 0.0 if load.method == "full" else number * load.trained * held,
        "gradients": gradients,
        "optimizer": 2.0 * (load.trainer.moment_bytes or number) * load.trained * held,
        "activations": activations,
        "logits": logits,
        "working": max(0.0, working - logits),  # beside the logits, which are gone by then
        "slack": slack * passing,
        "process": _process_bytes(load),
    }
    return {name: round(size / GIB, 3) for name, size in parts.items() if size or name == "weights"}


def passing_bytes(load: Load) -> float:
    """What one pass allocates and frees again, without slack."""
    return kept_bytes(load) + max(logits_bytes(load), working_bytes(load))


def adapter_parameters(shape: ModelShape, rank: int, targets: tuple[Linear, ...] = LINEARS) -> int:
    """Parameters of LoRA on these linear layers; every expert has its own."""
    sizes = _linears(shape)
    each = {name: sum(sizes[name]) * (shape.experts if name in _FEED_FORWARD else 1) for name in LINEARS}
    return shape.layers * rank * sum(each[name] for name in targets)


def layer_bytes(load: Load) -> float:
    """What autograd keeps for one token in one layer."""
    shape, width = load.shape, load.width
    hidden, wide = shape.hidden, shape.intermediate * shape.active_experts
    statistics = 4 * (_NORMS + shape.heads)
    common = statistics + _attention(load)
    if load.trainer.compiled:
        return common + width * (_NORMS * hidden + 2 * wide + _distinct_inputs(load))
    norms = _NORMS * hidden * 4  # computed in fp32, whatever the precision
    if load.method != "full":
        return common + norms + width * 3 * wide + _adapter_inputs(load) + _dora_outputs(load)
    if load.trainer.masters and load.precision == "bf16":
        # What flows between layers is fp32; each norm's weight needs what it multiplies, and q, k, v, gate
        # and up each read a copy of their own.
        return common + 2 * norms + width * (5 * hidden + 4 * wide)
    return common + norms + width * (_NORMS * hidden + 3 * wide + _distinct_inputs(load))


def _attention(load: Load) -> float:
    """Queries, keys, values and the output; a copy of it for the next layer where rows are attended to
    one by one."""
    shape = load.shape
    query, key_value = shape.heads * shape.head_dim, shape.kv_heads * shape.head_dim
    numbers = 2 * query + 2 * (query if load.trainer.repeats_keys else key_value)
    if load.trainer.packs and not load.on_gpu:
        return 4 * numbers + load.width * query
    return load.width * numbers


def kept_bytes(load: Load) -> float:
    """Activations at the end of the forward pass: of every layer, or where each begins."""
    shape = load.shape
    each = shape.hidden * load.width if load.checkpointing else layer_bytes(load)
    return load.tokens * shape.layers * each


def logits_bytes(load: Load) -> float:
    """Logits and what the loss makes of them."""
    positions, vocabulary = load.tokens * load.trained_share, load.shape.vocabulary
    hidden = load.shape.hidden
    if load.trainer.loss == "chunked":  # logits in fp32, and their exponentials or the product they come from
        chunk = min(positions, CHUNK_POSITIONS) * vocabulary * 8
        head = 4 * vocabulary * hidden if load.method == "full" else 0  # its gradient is added up in fp32
        return chunk + head + 2 * positions * hidden * load.width
    if load.trainer.loss == "kept":
        return positions * vocabulary * load.width * (1 + 1 / 8)
    return positions * vocabulary * (load.width + 12)  # log-probabilities and two gradients, in fp32


def working_bytes(load: Load) -> float:
    """The backward pass through one layer: the layer computed again, gradients in flight, the weights of a
    quantised layer as numbers, the layers gathered from other processes."""
    shape = load.shape
    wide = shape.intermediate * shape.active_experts
    in_flight = 3 * wide * load.width * load.tokens
    again = layer_bytes(load) * load.tokens if load.checkpointing else 0.0
    largest = shape.hidden * shape.intermediate * load.width if load.method == "qlora" else 0.0
    if load.method == "full" and load.trainer.masters and load.precision == "bf16":
        largest = float(shape.parameters * load.width)  # the copies that are computed with, kept for a pass
    if load.dora:  # PEFT makes B·A of an identity matrix, and adds it to the weight, for every layer anew
        largest = max(largest, 4.0 * max(read * (read + 2 * made) for read, made in _linears(shape).values()))
    gathered = 0.0
    if load.sharded:  # this layer and the next one, which is fetched meanwhile
        layers = max(1, shape.layers)
        whole = _embeddings(shape) * load.width
        weights, constants = _weights(load)
        gathered = max(2 * (weights + constants - whole) / layers, whole)
    return in_flight + again + largest + gathered


# What LoRA's products read lies in the feed-forward part, once per expert, or in attention.
_FEED_FORWARD = ("gate", "up", "down")


def _linears(shape: ModelShape) -> dict[Linear, tuple[int, int]]:
    """In and out widths of a layer's linear parts; of one expert."""
    query, key_value = shape.heads * shape.head_dim, shape.kv_heads * shape.head_dim
    hidden, wide = shape.hidden, shape.intermediate
    return {
        "q": (hidden, query), "k": (hidden, key_value), "v": (hidden, key_value), "o": (query, hidden),
        "gate": (hidden, wide), "up": (hidden, wide), "down": (wide, hidden),
    }  # fmt: skip


def _distinct_inputs(load: Load) -> int:
    """Numbers that products with trained weights read and that nothing else keeps: once each, where no
    dropout stands between. What `o` reads, attention keeps as its output."""
    shape = load.shape
    targets = LINEARS if load.method == "full" else load.trainer.targets
    first = shape.hidden if {"q", "k", "v"} & set(targets) else 0
    second = shape.hidden if {"gate", "up"} & set(targets) else 0
    return first + second + (shape.intermediate * shape.active_experts if "down" in targets else 0)


def _adapter_inputs(load: Load) -> float:
    """What PEFT's adapters keep of one token in one layer: each its own copy of what it reads where
    dropout or a cast stands between, the dropout's mask, and the product of rank `rank`."""
    shape, width = load.shape, load.width
    lean = load.trainer.lean and load.method == "lora" and not load.dora
    times = {name: shape.active_experts if name in _FEED_FORWARD else 1 for name in LINEARS}
    reads = sum(_linears(shape)[name][0] * times[name] for name in load.trainer.targets)
    small = sum(times[name] for name in load.trainer.targets) * load.rank * width
    if lean:  # dropout is a factor in the precision of what it is for
        return small + width * (_distinct_inputs(load) + (reads if load.dropout else 0))
    mask = 1 if load.on_gpu else 4  # a CPU keeps the mask as numbers
    if load.precision == "fp32" and not load.dropout:
        return small + 4 * _distinct_inputs(load)
    return small + width * reads + (mask * reads if load.dropout else 0)


def _dora_outputs(load: Load) -> float:
    """What DoRA keeps beside: of every adapted layer its own output and the adapter's, which the length's
    gradient is made of. An upper bound: up to a third more than was seen."""
    if not load.dora:
        return 0.0
    times = {name: load.shape.active_experts if name in _FEED_FORWARD else 1 for name in LINEARS}
    sizes = _linears(load.shape)
    return 2.0 * load.width * sum(sizes[name][1] * times[name] for name in load.trainer.targets)


def _embeddings(shape: ModelShape) -> int:
    return shape.vocabulary * shape.hidden * (1 if shape.tied_embeddings else 2)


def _weights(load: Load) -> tuple[float, float]:
    """Bytes of the weights, and of the constants that quantised ones need. Embeddings stay whole."""
    shape = load.shape
    if load.method == "full":
        return float(shape.parameters * _trained_width(load)), 0.0
    if load.method == "lora":
        return float(shape.parameters * load.width), 0.0
    whole = _embeddings(shape)
    packed = shape.parameters - whole
    return packed * _NF4_BYTES + whole * load.width, packed * _NF4_CONSTANTS


def _trained_width(load: Load) -> int:
    """Bytes of a number that is trained, its gradient and each of its moments alike."""
    if load.method != "full":
        return load.trainer.adapter_bytes
    return 4 if load.trainer.masters else load.width


def _process_bytes(load: Load) -> float:
    if not load.trainer.process:
        return 0.0
    return _PROCESS_BYTES[load.device] if load.process_gib is None else load.process_gib * GIB
