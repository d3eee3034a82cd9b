"""Rows end to end in one sequence compute what they compute alone; what cannot do that is not packed."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from backends.local.batches import collate
from backends.local.network import Network
from backends.local.render import IGNORE
from backends.local.tokens import Example
from tests.local.conftest import make_tokenizer

CPU = torch.device("cpu")
LORA = {"rank": 4, "alpha": 8, "dropout": 0.0}


def _body(name: str, **changes: Any) -> dict[str, Any]:
    return {
        "model": {"name": name},
        "method": "lora",
        "precision": "fp32",
        "max_length": 64,
        "checkpointing": False,
        "lora": LORA,
        **changes,
    }


def _network(folder: Path, **changes: Any) -> Network:
    from transformers import AutoTokenizer

    load: Any = AutoTokenizer.from_pretrained  # pyright: ignore[reportUnknownMemberType, reportUnknownVariableType]
    torch.manual_seed(4)  # pyright: ignore[reportUnknownMemberType]
    network = Network.load(folder, _body(str(folder), **changes), load(str(folder)), CPU)
    with torch.no_grad():  # an adapter that does something
        for parameter in network.trainable().values():
            parameter.normal_(std=0.05)
    return network


def _chats(lengths: Sequence[int]) -> list[Example]:
    draw = torch.Generator().manual_seed(8)
    chats: list[Example] = []
    for length in lengths:
        ids = torch.randint(1, 400, (length,), generator=draw, dtype=torch.int32)
        trained = torch.rand(length, generator=draw) < 0.5
        chats.append(Example(ids, torch.where(trained, ids, IGNORE)))
    return chats


def _run(network: Network, chats: Sequence[Example], *, packed: bool) -> tuple[Tensor, Tensor, list[Tensor]]:
    """Losses by position, the chat of each, and the gradients of their sum."""
    batch = collate(chats, CPU, packed=packed)
    losses = network.token_losses(batch)
    parameters = list(network.trainable().values())
    return losses.detach(), batch.chat_N, list(torch.autograd.grad(losses.sum(), parameters))


@pytest.mark.parametrize("checkpointing", [False, True])
def test_packed_rows_have_the_losses_and_gradients_of_padded_ones(base: Path, checkpointing: bool) -> None:
    network = _network(base, checkpointing=checkpointing)
    assert network.packs
    assert network.selects, "packed, its last layer is computed at trained positions; padded, everywhere"
    chats = _chats([9, 1, 30, 2, 17])
    losses, chat_N, gradients = _run(network, chats, packed=True)
    its_losses, its_chat_N, its_gradients = _run(network, chats, packed=False)
    assert torch.equal(chat_N, its_chat_N)
    assert torch.allclose(losses, its_losses, atol=1e-5)
    for one, other in zip(gradients, its_gradients, strict=True):
        assert torch.allclose(one, other, rtol=1e-3, atol=1e-5)


def test_the_last_layer_is_computed_where_a_trained_token_follows(base: Path) -> None:
    network = _network(base)
    seen: dict[str, int] = {}
    for name, module in network.model.named_modules():
        if name.endswith(("1.self_attn.k_proj", "1.self_attn.o_proj", "1.mlp", "0.mlp")):

            def note(module: Any, args: Any, found: Any, name: str = name) -> None:
                seen[name[-10:]] = found.shape[1]

            module.register_forward_hook(note)
    batch = network.batch(_chats([9, 30, 17]))
    network.token_losses(batch)
    everywhere, trained = batch.ids_B_T.shape[1], len(batch.labels_N)
    assert trained < everywhere
    assert sorted(seen.values()) == [trained, trained, everywhere, everywhere]


def test_a_layer_of_another_kind_is_computed_whole(base: Path) -> None:
    """One that scales what it adds, as some models do: seen to differ, and left as it was."""
    from backends.local import last_layer

    network = _network(base)
    network.model.eval()
    decoder = network.causal.get_decoder()
    layer = decoder.layers[-1]
    del layer.forward  # as it was before it was set up
    plain = layer.forward

    def scaled(hidden_states: Tensor, **others: Any) -> Tensor:
        return hidden_states + 0.5 * (plain(hidden_states, **others) - hidden_states)

    layer.forward = scaled
    with torch.no_grad():
        assert not last_layer.set_up(decoder, network._hidden)  # pyright: ignore[reportPrivateUsage]
    assert layer.forward is scaled


def test_no_row_changes_what_another_computes(base: Path) -> None:
    network = _network(base)
    first, second, other = _chats([12, 20, 20])
    alone = _run(network, [first], packed=True)[0]
    beside_one = _run(network, [second, first], packed=True)
    beside_other = _run(network, [other, first], packed=True)
    for losses, chat_N, _ in (beside_one, beside_other):
        assert torch.allclose(losses[chat_N == 1], alone, atol=1e-6)


def test_bfloat16_packs_too(base: Path) -> None:
    network = _network(base, precision="bf16")
    assert network.packs
    chats = _chats([9, 30, 17])
    losses, its_losses = (_run(network, chats, packed=packed)[0] for packed in (True, False))
    assert torch.allclose(losses, its_losses, atol=0.1)


def _made(folder: Path, config: Any) -> Path:
    from transformers import AutoModelForCausalLM

    make_tokenizer(folder)
    make: Any = AutoModelForCausalLM.from_config  # pyright: ignore[reportUnknownMemberType, reportUnknownVariableType]
    make(config).save_pretrained(str(folder))
    return folder


def test_a_base_with_learned_positions_packs(tmp_path: Path) -> None:
    from transformers import GPT2Config

    config = GPT2Config(
        vocab_size=400, n_embd=48, n_layer=2, n_head=4, n_positions=64, bos_token_id=0, eos_token_id=1
    )
    network = _network(_made(tmp_path, config))
    network.model.eval()  # without its own dropout
    assert network.packs
    chats = _chats([9, 30, 17])
    losses = network.token_losses(network.batch(chats))
    assert torch.allclose(losses, _run(network, chats, packed=False)[0], atol=1e-5)


def test_a_base_that_sees_through_a_window_is_not_packed(tmp_path: Path) -> None:
    """Its layers ask attention for more than causality; rows then lie side by side, as ever."""
    from transformers import MistralConfig

    config = MistralConfig(
        vocab_size=400, hidden_size=48, intermediate_size=96, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2, max_position_embeddings=64, sliding_window=4, bos_token_id=0, eos_token_id=1,
    )  # fmt: skip
    network = _network(_made(tmp_path, config))
    assert not network.packs
    batch = network.batch(_chats([9, 30]))
    assert batch.rows is None
    assert torch.isfinite(network.token_losses(batch)).all()
