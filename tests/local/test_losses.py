"""The loss computed in chunks, and LoRA's lean layers, against the plain way of computing them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from backends.local import losses
from backends.local.lean import kept, lighten
from backends.local.losses import chunked_token_losses, token_losses


def _seed(seed: int) -> None:
    torch.manual_seed(seed)  # pyright: ignore[reportUnknownMemberType]


def _gradients(loss: Tensor, tensors: list[Tensor]) -> list[Tensor]:
    return list(torch.autograd.grad(loss, tensors))


@settings(deadline=None, max_examples=30)
@given(positions=st.integers(1, 23), bias=st.booleans(), trained=st.booleans(), seed=st.integers(0, 10**6))
def test_chunks_make_the_loss_and_gradients_of_the_whole(
    positions: int, bias: bool, trained: bool, seed: int
) -> None:
    draw = torch.Generator().manual_seed(seed)
    head = torch.nn.Linear(6, 11, bias=bias).requires_grad_(trained)
    hidden = torch.randn(positions, 6, generator=draw).requires_grad_()
    labels = torch.randint(11, (positions,), generator=draw)
    weights = torch.rand(positions, generator=draw)  # a loss need not count all positions alike
    wanted = [hidden, *(head.parameters() if trained else ())]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(losses, "CHUNK_POSITIONS", 4)
        ours = chunked_token_losses(hidden, head, labels)
        our_gradients = _gradients((ours * weights).sum(), wanted)
    plain = token_losses(head(hidden), labels)
    its_gradients = _gradients((plain * weights).sum(), wanted)
    assert torch.allclose(ours, plain, atol=1e-5)
    for one, other in zip(our_gradients, its_gradients, strict=True):
        assert torch.allclose(one, other, atol=1e-5)


def test_no_more_logits_than_a_chunks_at_once() -> None:
    """The largest tensor of a loss over 4,000 positions is a chunk's, forwards and backwards."""
    head = torch.nn.Linear(8, 512, bias=False).requires_grad_(False)
    hidden = torch.randn(4_000, 8, requires_grad=True)
    largest = 0

    class Watch(torch.overrides.TorchFunctionMode):
        def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            nonlocal largest
            found = func(*args, **(kwargs or {}))
            if isinstance(found, Tensor):
                largest = max(largest, found.numel())
            return found

    with Watch():
        _gradients(chunked_token_losses(hidden, head, torch.zeros(4_000, dtype=torch.int64)).sum(), [hidden])
    assert largest == losses.CHUNK_POSITIONS * 512


def test_bfloat16_hidden_states_get_bfloat16_gradients_close_to_the_plain_ones() -> None:
    _seed(1)
    head = torch.nn.Linear(32, 64, bias=False, dtype=torch.bfloat16).requires_grad_(False)
    hidden = torch.randn(50, 32, dtype=torch.bfloat16).requires_grad_()
    labels = torch.randint(64, (50,))
    (ours,) = _gradients(chunked_token_losses(hidden, head, labels).sum(), [hidden])
    exact = hidden.detach().float().requires_grad_()
    (its,) = _gradients(token_losses(exact @ head.weight.float().t(), labels).sum(), [exact])
    assert ours.dtype is torch.bfloat16
    assert torch.allclose(ours.float(), its, atol=0.02)


# -- LoRA ------------------------------------------------------------------------------------------


def _model(base: Path, **settings: Any) -> Any:
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    load: Any = AutoModelForCausalLM.from_pretrained  # pyright: ignore[reportUnknownMemberType, reportUnknownVariableType]
    _seed(5)
    config = LoraConfig(
        r=4,
        lora_alpha=8,
        target_modules="all-linear",
        init_lora_weights=False,
        task_type="CAUSAL_LM",
        **settings,
    )
    return get_peft_model(load(str(base)), config)


def _loss_and_gradients(model: Any) -> tuple[Tensor, dict[str, Tensor]]:
    ids = torch.arange(1, 25).view(2, 12)
    model.zero_grad()
    loss = model(input_ids=ids, labels=ids).loss
    loss.backward()
    return loss.detach(), {name: p.grad for name, p in model.named_parameters() if p.requires_grad}


@pytest.mark.parametrize("rslora", [False, True])
def test_lean_layers_compute_what_pefts_do(base: Path, rslora: bool) -> None:
    plain, lean = _model(base, use_rslora=rslora), _model(base, use_rslora=rslora)
    assert lighten(lean) == 14  # seven linear layers in each of the two blocks
    loss, gradients = _loss_and_gradients(plain)
    our_loss, our_gradients = _loss_and_gradients(lean)
    assert torch.allclose(our_loss, loss, rtol=1e-5)
    assert gradients
    assert gradients.keys() == our_gradients.keys()
    for name, gradient in gradients.items():
        assert torch.allclose(our_gradients[name], gradient, rtol=1e-4, atol=1e-6), name


def test_a_disabled_adapter_leaves_the_base(base: Path) -> None:
    lean = _model(base)
    lighten(lean)
    ids = torch.arange(1, 13)[None]
    with torch.no_grad(), lean.disable_adapter():
        off = lean(input_ids=ids).logits
    bare = _model(base).unload()
    with torch.no_grad():
        assert torch.equal(off, bare(input_ids=ids).logits)


def test_dora_keeps_pefts_way(base: Path) -> None:
    assert lighten(_model(base, use_dora=True)) == 0


def test_dropout_is_the_same_for_the_same_seed_and_drops_its_share() -> None:
    x = torch.ones(3, 500, 101)
    _seed(3)
    first = kept(x, 0.05)
    _seed(3)
    assert torch.equal(first, kept(x, 0.05))
    assert first.shape == (1_500, 101)
    assert ((first == 0) | (first == 1 / torch.tensor(0.95))).all()
    assert (first == 0).float().mean().item() == pytest.approx(0.05, abs=0.005)


def test_dropped_inputs_get_no_gradient_through_the_adapter(base: Path) -> None:
    """With dropout on, forwards and backwards drop the same: the gradient is that of the loss."""
    lean = _model(base, lora_dropout=0.3).train()
    lighten(lean)
    ids = torch.arange(1, 13)[None]

    def loss() -> Tensor:
        _seed(9)
        return lean(input_ids=ids, labels=ids).loss

    name, weight = next((n, p) for n, p in lean.named_parameters() if "lora_A" in n)
    (gradient,) = _gradients(loss(), [weight])
    at = (1, 3)
    step = 1e-2
    with torch.no_grad():
        weight[at] += step
        above = loss().item()
        weight[at] -= 2 * step
        below = loss().item()
    assert gradient[at].item() == pytest.approx((above - below) / (2 * step), rel=0.05, abs=1e-5), name
