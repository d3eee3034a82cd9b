"""LoRA's layers with fewer passes over memory: what PEFT computes, in PEFT's own modules.

PEFT adds `lora_B(lora_A(dropout(x))) * scaling` to a layer's output: three passes over an activation as
wide as the layer, and as many backwards. Here the scale is put on the product while it is of the
adapter's rank, and the sum is made by the matrix product itself. Where the base is quantised, or the
adapter is more than two matrices (DoRA), PEFT's own way stays.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor


def lighten(model: Any) -> int:
    """Give the plain LoRA layers of a PEFT model this way of computing; how many there were.

    Disabling the adapter goes on to work, and so does everything that reads or writes weights.
    """
    from peft.tuners.lora.layer import Linear

    layers = [module for module in model.modules() if type(module) is Linear and _is_plain(module)]
    for layer in layers:
        layer.forward = _forward(layer)
    return len(layers)


def _is_plain(layer: Any) -> bool:
    """One adapter of two matrices, on an ordinary linear layer."""
    (name, *others) = layer.active_adapters
    plain_base = type(layer.base_layer) is torch.nn.Linear and not layer.fan_in_fan_out
    return plain_base and not (others or layer.lora_variant or layer.lora_bias.get(name))


def _forward(layer: Any) -> Callable[..., Tensor]:
    peft_forward = layer.forward
    (name,) = layer.active_adapters
    down, up, base = layer.lora_A[name], layer.lora_B[name], layer.base_layer
    dropout = getattr(layer.lora_dropout[name], "p", 0.0)

    def forward(x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        if layer.disable_adapters or layer.merged or args or kwargs:
            return peft_forward(x, *args, **kwargs)
        keep = kept(x, dropout) if dropout and layer.training else None
        scale = layer.scaling[name]
        compute: Any = _LoraLinear.apply  # pyright: ignore[reportUnknownMemberType, reportUnknownVariableType]
        return compute(x, base.weight, base.bias, down.weight, up.weight, scale, keep)

    return forward


def kept(x: Tensor, dropout: float) -> Tensor:
    """What dropout multiplies by: 0, or 1 / (1 - dropout), with one row per position.

    On a CPU torch draws 64 bits an element, one element after the other, which took a tenth of a step;
    16 bits decide as well, four elements at a draw.
    """
    scale = 1 / (1 - dropout)
    if x.device.type != "cpu":
        return torch.empty_like(x).bernoulli_(1 - dropout).mul_(scale).view(-1, x.shape[-1])
    draws = torch.empty((x.numel() + 3) // 4, dtype=torch.int64).random_(-(2**63), None)
    bits = draws.view(torch.int16)[: x.numel()]
    return bits.ge(round(dropout * 2**16) - 2**15).to(x.dtype).mul_(scale).view(-1, x.shape[-1])


class _LoraLinear(torch.autograd.Function):
    """x·Wᵀ + b + s·(x∘keep)·Aᵀ·Bᵀ, in the base's precision; A and B, and their gradients, in their own.

    Shapes: x is …×I, W is O×I, A is R×I, B is O×R, and N is the number of positions.
    """

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        down: Tensor,
        up: Tensor,
        scale: float,
        keep: Tensor | None,
    ) -> Tensor:
        x_N_I = x.reshape(-1, x.shape[-1]).to(weight.dtype)
        down_R_I, up_O_R = (down * scale).to(weight.dtype), up.to(weight.dtype)
        inner_N_R = (x_N_I if keep is None else x_N_I * keep) @ down_R_I.t()
        y_N_O = x_N_I @ weight.t() if bias is None else torch.addmm(bias, x_N_I, weight.t())
        y_N_O.addmm_(inner_N_R, up_O_R.t())
        ctx.scale, ctx.like = scale, (x.shape, x.dtype, down.dtype, up.dtype)
        ctx.save_for_backward(x_N_I, weight, down_R_I, up_O_R, inner_N_R, keep)
        return y_N_O.view(*x.shape[:-1], -1)

    @staticmethod
    def backward(ctx: Any, *above: Tensor) -> tuple[Tensor | None, ...]:
        x_N_I, weight, down_R_I, up_O_R, inner_N_R, keep = ctx.saved_tensors
        shape, dtype, down_dtype, up_dtype = ctx.like
        above_N_O = above[0].reshape(-1, weight.shape[0])
        above_N_R = above_N_O @ up_O_R
        of_up = (inner_N_R.t() @ above_N_O).t()  # in this order, twice as fast on a CPU
        of_down = (above_N_R.t() @ (x_N_I if keep is None else x_N_I * keep)).to(down_dtype) * ctx.scale
        of_x = None
        if ctx.needs_input_grad[0]:
            of_x = above_N_O @ weight
            if keep is None:
                of_x.addmm_(above_N_R, down_R_I)
            else:
                of_x.addcmul_(above_N_R @ down_R_I, keep)
            of_x = of_x.view(shape).to(dtype)
        return of_x, None, None, of_down, of_up.to(up_dtype), None, None
