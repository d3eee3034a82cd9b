"""The last layer, computed where somebody reads it: at the positions whose next token is trained.

Every position's keys and values are needed by those after it, in every layer. What the last layer makes of
a position beyond that (its output projection, its feed-forward part) only becomes that position's own
logits, and in supervised fine-tuning most positions belong to prompts.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from backends.local.packing import Rows, nearly_equal


def set_up(decoder: Any, hidden: Callable[[Tensor, Rows | None], Tensor]) -> bool:
    """Let a decoder's last layer leave out what nobody reads, if it comes to the same; else leave it be.

    Args:
        decoder: one of transformers', whose rows are packed.
        hidden: its last hidden states, given tokens of shape 1×T, and where rows lie; 1×N×H where the
            rows say which N positions are trained.
    """
    layer: Any = next(reversed(getattr(decoder, "layers", ())), None)
    output = getattr(getattr(layer, "self_attn", None), "o_proj", None)
    if output is None:
        return False
    ids = torch.arange(12, device=decoder.device)[None]
    rows = Rows.of((5, 7), ids.device)
    trained = torch.tensor([2, 4, 9], device=ids.device)
    last = _Last(layer, output)
    try:
        some, all_of_them = hidden(ids, replace(rows, trained=trained)), hidden(ids, rows)
        if nearly_equal(some, all_of_them.index_select(1, trained)):
            return True
    except (AttributeError, RuntimeError, TypeError, ValueError, KeyError):
        pass
    last.remove()
    return False


class _Last:
    """A layer of the common kind: attention, then a feed-forward part, a norm before and a sum after each."""

    def __init__(self, layer: Any, output: Any) -> None:
        self._layer, self._whole = layer, layer.forward
        self._at: Tensor | None = None
        self._hook = output.register_forward_pre_hook(self._only_wanted)
        layer.forward = self._forward

    def remove(self) -> None:
        self._layer.forward = self._whole
        self._hook.remove()

    def _forward(self, hidden_states: Tensor, *args: Any, **others: Any) -> Any:
        rows: Rows | None = others.get("rows")
        if rows is None or rows.trained is None:
            return self._whole(hidden_states, *args, **others)
        layer, self._at = self._layer, rows.trained
        try:
            attended = layer.self_attn(hidden_states=layer.input_layernorm(hidden_states), **others)[0]
        finally:
            self._at = None
        found = hidden_states.index_select(1, rows.trained) + attended
        return found + layer.mlp(layer.post_attention_layernorm(found))

    def _only_wanted(self, module: Any, args: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        """What the output projection reads."""
        return args if self._at is None else (args[0].index_select(1, self._at),)
