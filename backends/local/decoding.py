"""Greedy decoding of many prompts at once, a token of each at a time.

One loop for whole answers and for streams. A row that has ended leaves the batch, so that one long
answer does not keep thirty finished ones in the arithmetic.

The same prompt gets the same answer whatever stands beside it. Prompts are padded on the left with
positions counted from their own beginning, and each has its own room. What is left is rounding: a
matrix product over 32 rows adds up in another order than one over a single row, in the seventh digit,
and where two tokens are as good as each other that decides. Such near ties are settled by the row
alone, without padding or cache, which is the same arithmetic in every company. In 16 bits near ties
are too many for that: there the same batch gives the same answers, and another batch may not.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from functools import cache
from typing import Any, cast

import torch
from torch import Tensor

from backends.local.loaded import Loaded

NEAR_TIE = 1e-3  # nats between the two best tokens; fp32 rounding moves a logit by some 1e-5


class Greedy:
    """Answers in the making.

    Args:
        prompts: tokens of each chat.
        rooms: how many tokens each answer may have.
        pad: the token that fills the space before shorter prompts; it is never looked at.
        device: where the model is.
    """

    def __init__(self, prompts: Sequence[list[int]], rooms: Sequence[int], pad: int, device: Any) -> None:
        longest = max(map(len, prompts))
        self._prompts, self._rooms = prompts, rooms
        self._rows = list(range(len(prompts)))
        self._said: list[list[int]] = [[] for _ in prompts]
        self._next_B_T = torch.tensor([[pad] * (longest - len(p)) + p for p in prompts], device=device)
        self._seen_B_T = torch.tensor(
            [[0] * (longest - len(p)) + [1] * len(p) for p in prompts], device=device
        )
        self._cache: Any = None

    @torch.inference_mode()
    def step(self, loaded: Loaded) -> list[tuple[int, int]]:
        """One more token of each answer that has not ended, as (row, token); empty when all have. The
        token that ends an answer is among them."""
        if not self._rows:
            return []
        logits_B_V = self._logits(loaded)
        tokens_B = self._settled(loaded, logits_B_V)
        spoken = list(zip(self._rows, tokens_B, strict=True))
        for row, token in spoken:
            self._said[row].append(token)
        going = [
            place
            for place, (row, token) in enumerate(spoken)
            if token not in loaded.stop_ids and len(self._said[row]) < self._rooms[row]
        ]
        self._go_on_with(going, tokens_B)
        return spoken

    def _logits(self, loaded: Loaded) -> Tensor:
        inputs: dict[str, Any] = {
            "input_ids": self._next_B_T,
            "attention_mask": self._seen_B_T,
            "past_key_values": self._cache,
            "use_cache": True,
        }
        known = _parameters(loaded.model)
        if "position_ids" in known:
            positions_B_T = (self._seen_B_T.cumsum(-1) - 1).clamp(min=0)
            inputs["position_ids"] = positions_B_T[:, -self._next_B_T.shape[1] :]
        if "logits_to_keep" in known:
            inputs["logits_to_keep"] = 1
        out = loaded.model(**inputs)
        self._cache = out.past_key_values
        return out.logits[:, -1].float()

    def _settled(self, loaded: Loaded, logits_B_V: Tensor) -> list[int]:
        """The best token of each row."""
        best = logits_B_V.topk(2, dim=-1)
        tokens_B = cast("list[int]", best.indices[:, 0].tolist())  # pyright: ignore[reportUnknownMemberType]
        if loaded.exact:
            close_B = best.values[:, 0] - best.values[:, 1] < NEAR_TIE
            for place, close in enumerate(close_B):
                if close:
                    tokens_B[place] = self._alone(loaded, self._rows[place])
        return tokens_B

    def _alone(self, loaded: Loaded, row: int) -> int:
        ids = torch.tensor([self._prompts[row] + self._said[row]], device=self._next_B_T.device)
        return int(loaded.model(input_ids=ids, use_cache=False).logits[0, -1].float().argmax())

    def _go_on_with(self, going: list[int], tokens_B: list[int]) -> None:
        if len(going) < len(self._rows):
            kept = torch.tensor(going, device=self._next_B_T.device, dtype=torch.long)
            self._rows = [self._rows[place] for place in going]
            self._seen_B_T = self._seen_B_T[kept]
            if going:
                self._cache.batch_select_indices(kept)
        self._next_B_T = torch.tensor([[tokens_B[place]] for place in going], device=self._next_B_T.device)
        ones = torch.ones((len(going), 1), dtype=self._seen_B_T.dtype, device=self._seen_B_T.device)
        self._seen_B_T = torch.cat([self._seen_B_T, ones], dim=-1)


def keeps_logits(model: Any) -> bool:
    """Whether the model can be told at which positions logits are wanted."""
    return "logits_to_keep" in _parameters(model)


def _parameters(model: Any) -> frozenset[str]:
    """What the model's own `forward` takes; PEFT's around it takes everything and hands it on."""
    causal: Any = model.get_base_model() if hasattr(model, "get_base_model") else model
    return _names(cast("Any", type(causal)).forward)


@cache
def _names(function: Callable[..., Any]) -> frozenset[str]:
    return frozenset(inspect.signature(function).parameters)
