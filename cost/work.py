"""What a run computes: its rows as passes through the network, and what a pass costs the machine.

Rows become passes as the trainer makes them: shuffled, cut into steps, and each step into passes of at
most so many tokens, in which rows lie end to end without padding (a model that cannot be packed takes a
little longer). A test holds it to the trainer's own.
"""

from __future__ import annotations

import math
import random
from collections.abc import Iterator, Sequence
from functools import lru_cache

from cost.memory import Load, adapter_parameters, layer_bytes
from gateway.core.facts import ModelShape
from gateway.core.probe import Passes, Setting, added

QUANTILES = (0.01, 0.10, 0.25, 0.50, 0.75, 0.90, 0.99, 1.0)  # of `TokenStats.lengths`
_MOST_ROWS = 2048  # looked at; more are taken to be like these


@lru_cache(maxsize=256)  # a plan asks the same for every machine
def passes(
    lengths: tuple[int, ...],
    tokens: int,
    *,
    rows: int,
    epochs: int,
    batch_size: int,
    pass_tokens: int,
    trained_share: float,
    answers: int = 1,
) -> Passes:
    """All passes of a run.

    Args:
        lengths: quantiles of the rows' lengths, as in `TokenStats`.
        tokens: of the training rows, once: what the lengths are made to add up to.
        pass_tokens: that may go through at once.
        answers: chats that a row becomes: two for preferences, which stay together.
    """
    seen = min(rows, _MOST_ROWS)
    drawn = row_lengths(lengths, tokens * seen // max(rows, 1), seen)
    found = [_pass(part, trained_share, answers) for part in _parts(drawn, batch_size, pass_tokens)]
    once = added(found)
    times = epochs * rows / max(seen, 1)
    return Passes(
        math.ceil(once.count * times),
        round(once.tokens * times),
        round(once.squares * times),
        round(once.trained * times),
        once.largest,
    )


def row_lengths(quantiles: Sequence[int], tokens: int, rows: int) -> list[int]:
    """So many lengths that lie as these quantiles do and add up to about `tokens`, shortest first."""
    if not rows:
        return []
    if len(quantiles) != len(QUANTILES) or not any(quantiles):
        return [max(1, tokens // rows)] * rows
    longest = quantiles[-1]
    drawn = [_quantile(quantiles, (row + 0.5) / rows) for row in range(rows)]
    scale = tokens / max(1.0, sum(drawn))
    return [max(1, min(longest, round(length * scale))) for length in drawn[:-1]] + [longest]


def operations(setting: Setting, seen: Passes) -> float:
    """Of the matrix products: 4 per weight and token where the weights stay as they are, 6 where they are
    trained, 2 more with checkpointing; attention's own, which grow with the length of the rows; the output
    layer, and what the last layer does after attention, where a token is trained."""
    shape = setting.shape
    again = 1 if setting.checkpointing else 0
    full = setting.method == "full"
    frozen = (6 if full else 4) + 2 * again
    adapter = 0 if full else (6 + 2 * again) * _active_adapter(setting)
    query = shape.heads * shape.head_dim
    attention = (7 + 2 * again) * shape.layers * query * seen.squares  # causal: half of the square
    output = (6 if full else 4) * shape.vocabulary * shape.hidden * seen.trained
    left_out = frozen * _after_attention(shape) * (seen.tokens - seen.trained)
    return seen.tokens * (frozen * _layers(shape) + adapter) + attention + output - left_out


def touched_bytes(setting: Setting, seen: Passes) -> float:
    """What elementwise operations read and write: in proportion to what is kept of every layer, and to the
    logits."""
    again = 1.5 if setting.checkpointing else 1.0
    kept = layer_bytes(
        Load(
            setting.shape,
            "full" if setting.method == "full" else "lora",
            "bf16" if setting.precision == "bf16" else "fp32",
            setting.rank,
            setting.dropout,
            1,
            setting.checkpointing,
            False,
        )
    )
    return again * seen.tokens * kept * setting.shape.layers + seen.trained * setting.shape.vocabulary * 12


def updated(setting: Setting) -> int:
    """Numbers that every optimizer step reads and writes."""
    full = setting.method == "full"
    return setting.shape.parameters if full else adapter_parameters(setting.shape, setting.rank)


def _parts(lengths: Sequence[int], batch: int, most: int) -> Iterator[list[int]]:
    """Passes, each the lengths of its rows."""
    shuffled = random.Random(0).sample(list(lengths), len(lengths))  # noqa: S311  not for secrets
    for begin in range(0, len(shuffled), batch):
        part: list[int] = []
        for length in shuffled[begin : begin + batch]:
            if part and sum(part) + length > most:
                yield part
                part = []
            part.append(length)
        yield part


def _pass(lengths: Sequence[int], trained_share: float, answers: int) -> Passes:
    tokens = sum(lengths)
    squares = sum(length**2 for length in lengths) // answers
    return Passes(1, tokens, squares, round(tokens * trained_share), tokens)


def _quantile(quantiles: Sequence[int], share: float) -> float:
    low_share, low = 0.0, quantiles[0]
    for high_share, high in zip(QUANTILES, quantiles, strict=True):
        if share <= high_share:
            return low + (high - low) * (share - low_share) / (high_share - low_share)
        low_share, low = high_share, high
    return quantiles[-1]


def _layers(shape: ModelShape) -> int:
    """Weights that every token meets, without embeddings and output."""
    query, key_value = shape.heads * shape.head_dim, shape.kv_heads * shape.head_dim
    attention = 2 * shape.hidden * (query + key_value)
    return shape.layers * (attention + 3 * shape.hidden * shape.intermediate * shape.active_experts)


def _after_attention(shape: ModelShape) -> int:
    """Weights of one layer that a token meets once it has attended to others."""
    return shape.hidden * (shape.heads * shape.head_dim + 3 * shape.intermediate * shape.active_experts)


def _active_adapter(setting: Setting) -> float:
    shape = setting.shape
    return adapter_parameters(shape, setting.rank) * shape.active_experts / shape.experts
