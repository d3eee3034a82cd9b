"""Cross-entropy over the trained positions, some of them at a time: logits never lie whole in memory."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

CHUNK_POSITIONS = 1024  # whose logits there are at once; `cost.memory` counts with the same


def token_losses(logits_N_V: Tensor, labels_N: Tensor) -> Tensor:
    """Negative log-probability in nats of each label, in fp32, shape N."""
    return cross_entropy(logits_N_V.float(), labels_N, reduction="none")


def chunked_token_losses(hidden_N_H: Tensor, head: torch.nn.Linear, labels_N: Tensor) -> Tensor:
    """The same, from the hidden states that a linear head makes logits of, shape N.

    Gradients reach the hidden states, and the head's weight and bias where those are trained (also
    where the weight is the embeddings').
    """
    losses: Any = _ChunkedLoss.apply  # pyright: ignore[reportUnknownMemberType, reportUnknownVariableType]
    return losses(hidden_N_H, head.weight, head.bias, labels_N)


class _ChunkedLoss(torch.autograd.Function):
    """Of a frozen head's loss the gradient is made along with it, while the logits are there: one
    position's is that of its own loss alone, so what comes from above only scales it. A trained head
    needs what comes from above first, and makes its logits a second time."""

    @staticmethod
    def forward(
        ctx: Any, hidden_N_H: Tensor, weight_V_H: Tensor, bias_V: Tensor | None, labels_N: Tensor
    ) -> Tensor:
        trained_head = ctx.needs_input_grad[1] or ctx.needs_input_grad[2]
        early = ctx.needs_input_grad[0] and not trained_head
        losses_N = torch.empty(len(labels_N), dtype=torch.float32, device=hidden_N_H.device)
        gradient_N_H = torch.empty_like(hidden_N_H) if early else None
        weight = weight_V_H.to(hidden_N_H.dtype)
        for part in _chunks(len(labels_N)):
            logits = _logits(hidden_N_H[part], weight, bias_V)
            logs = logits.logsumexp(-1)
            losses_N[part] = logs - logits.gather(1, labels_N[part, None])[:, 0]
            if gradient_N_H is not None:
                slopes = _slopes(logits, logs, labels_N[part])
                gradient_N_H[part] = slopes.to(weight.dtype) @ weight
        kept = (gradient_N_H,) if early else (hidden_N_H, weight_V_H, bias_V, labels_N)
        ctx.early = early
        ctx.save_for_backward(*kept)
        return losses_N

    @staticmethod
    def backward(ctx: Any, *above: Tensor) -> tuple[Tensor | None, ...]:
        (above_N,) = above
        if ctx.early:
            (gradient_N_H,) = ctx.saved_tensors
            return gradient_N_H * above_N[:, None].to(gradient_N_H.dtype), None, None, None
        return (*_gradients(ctx.saved_tensors, above_N, ctx.needs_input_grad), None)


def _gradients(
    saved: tuple[Tensor, ...], above_N: Tensor, needed: tuple[bool, ...]
) -> tuple[Tensor | None, ...]:
    """Of hidden states, weight and bias, with the logits made again chunk by chunk. Sums over positions
    are kept in fp32."""
    hidden_N_H, weight_V_H, bias_V, labels_N = saved
    of_hidden = torch.empty_like(hidden_N_H) if needed[0] else None
    of_weight = torch.zeros_like(weight_V_H, dtype=torch.float32) if needed[1] else None
    of_bias = torch.zeros_like(bias_V, dtype=torch.float32) if needed[2] else None
    weight = weight_V_H.to(hidden_N_H.dtype)
    for part in _chunks(len(labels_N)):
        logits = _logits(hidden_N_H[part], weight, bias_V)
        slopes = _slopes(logits, logits.logsumexp(-1), labels_N[part]).mul_(above_N[part, None])
        if of_bias is not None:
            of_bias += slopes.sum(0)
        slopes = slopes.to(weight.dtype)
        if of_hidden is not None:
            of_hidden[part] = slopes @ weight
        if of_weight is not None:
            of_weight += slopes.t() @ hidden_N_H[part]
    return (
        of_hidden,
        None if of_weight is None else of_weight.to(weight_V_H.dtype),
        None if of_bias is None else of_bias.to(bias_V.dtype),
    )


def _chunks(count: int) -> list[slice]:
    return [slice(begin, begin + CHUNK_POSITIONS) for begin in range(0, count, CHUNK_POSITIONS)]


def _logits(hidden: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    logits = hidden @ weight.t()
    return (logits if bias is None else logits + bias).float()


def _slopes(logits: Tensor, logs: Tensor, labels: Tensor) -> Tensor:
    """What each logit adds to its position's loss: probabilities, less one at the label. In place."""
    probabilities = logits.sub_(logs[:, None]).exp_()
    probabilities[torch.arange(len(labels), device=labels.device), labels] -= 1
    return probabilities
