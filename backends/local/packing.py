"""Rows laid end to end in one sequence, none of which sees another: nothing is computed for padding.

Every layer but attention takes positions one by one and need not know. Attention is told where rows
begin, through the interface that transformers has for it; positions count from nought in every row.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

NAME = "tunegate_rows"
_UNKNOWN_HERE = ("sliding_window", "softcap", "s_aux", "position_bias")


@dataclass(frozen=True, slots=True)
class Rows:
    """Where rows lie in a sequence.

    Attributes:
        lengths: of each row, in order.
        bounds: where rows begin, and the last one's end; int32, on the device.
        positions_1_T: of each token in its row; int64, on the device.
        trained: where in the sequence hidden states are read, int64, on the device; None: everywhere.
    """

    lengths: tuple[int, ...]
    bounds: Tensor
    positions_1_T: Tensor
    trained: Tensor | None = None

    @classmethod
    def of(cls, lengths: Sequence[int], device: torch.device, trained: Tensor | None = None) -> Rows:
        bounds = np.cumsum([0, *lengths])
        positions: NDArray[np.int64] = np.concatenate([np.arange(length) for length in lengths])
        return cls(
            tuple(lengths), sent(bounds.astype(np.int32), device), sent(positions[None], device), trained
        )


def sent(array: NDArray[Any], device: torch.device) -> Tensor:
    """An array of the host on its way to the device, which the host does not wait for."""
    tensor = torch.from_numpy(array)  # pyright: ignore[reportUnknownMemberType]
    return tensor if device.type == "cpu" else tensor.pin_memory().to(device, non_blocking=True)


def attend(
    module: Any,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    *,
    rows: Rows | None = None,
    scaling: float | None = None,
    dropout: float = 0.0,
    **others: Any,
) -> tuple[Tensor, None]:
    """Causal attention within each row; heads as transformers has them (1×H×T×D in, 1×T×H×D out).

    Raises:
        NotImplementedError: the model asks for something beside plain causal attention.
    """
    if any(others.get(name) is not None for name in _UNKNOWN_HERE):
        raise NotImplementedError
    if rows is None:
        return _plain(module, query, key, value, attention_mask, dropout, scaling)
    if query.device.type == "cuda" and query.dtype in (torch.bfloat16, torch.float16) and not dropout:
        return _in_one_kernel(query, key, value, rows, scaling), None
    # A CPU's kernel for bf16 is slower than the one for fp32, casts included.
    dtype = torch.float32 if query.device.type == "cpu" else query.dtype
    parts = [_split(each.to(dtype), rows, 2) for each in (query, key, value)]
    with torch.autocast(query.device.type, enabled=False):
        found = [_plain(module, q, k, v, None, dropout, scaling)[0] for q, k, v in zip(*parts, strict=True)]
    return torch.cat(found, 1).to(query.dtype), None


def set_up(model: Any, hidden: Callable[[Tensor, Rows | None], Tensor]) -> bool:
    """Let a model attend row by row, if it comes to the same; else leave it as it was.

    Args:
        model: one of transformers'.
        hidden: its last hidden states, given tokens of shape B×T, and where rows lie if they are packed.
    """
    from transformers import AttentionInterface

    before = model.config._attn_implementation
    AttentionInterface.register(NAME, attend)  # pyright: ignore[reportUnknownMemberType]
    ids = torch.arange(12, device=model.device)[None]
    rows = Rows.of((5, 7), ids.device)
    try:
        alone = torch.cat([hidden(part, None) for part in _split(ids, rows, 1)], 1)
        model.set_attn_implementation(NAME)
        packed = hidden(ids, rows)
    except (NotImplementedError, RuntimeError, TypeError, ValueError, KeyError):
        packed = alone = torch.full((1,), torch.nan)
    if nearly_equal(packed, alone):
        return True
    model.set_attn_implementation(before)
    return False


def nearly_equal(one: Tensor, other: Tensor) -> bool:
    """Whether two ways of computing came to the same, as near as their precision tells; never where one
    came to no number."""
    away, size = (one.float() - other.float()).square().sum(), other.float().square().sum()
    nearly = 1e-4 if other.dtype is torch.float32 else 2e-2
    return one.shape == other.shape and away.item() < nearly**2 * size.item()


def _split(tensor: Any, rows: Rows, dimension: int) -> tuple[Tensor, ...]:
    return tensor.split(rows.lengths, dimension)


def _plain(
    module: Any,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    mask: Tensor | None,
    dropout: float,
    scaling: float | None,
) -> tuple[Tensor, None]:
    from transformers.integrations import sdpa_attention

    attention: Any = sdpa_attention.sdpa_attention_forward  # pyright: ignore[reportUnknownMemberType, reportUnknownVariableType]
    return attention(module, query, key, value, mask, dropout=dropout, scaling=scaling)


def _in_one_kernel(query: Tensor, key: Tensor, value: Tensor, rows: Rows, scaling: float | None) -> Tensor:
    """Flash attention over rows of different lengths."""
    from torch.nn.attention.varlen import varlen_attn

    q, k, v = (each[0].transpose(0, 1).contiguous() for each in (query, key, value))
    longest, many_heads = max(rows.lengths), q.shape[1] != k.shape[1]
    causal = (-1, 0)  # how far back, and how far ahead, a position sees
    found: Any = varlen_attn(
        q, k, v, rows.bounds, rows.bounds, longest, longest,
        scale=scaling, window_size=causal, enable_gqa=many_heads,
    )  # fmt: skip
    return found[None]
