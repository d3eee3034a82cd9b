"""The activation count against autograd itself: what it keeps for one layer of a real model."""

from __future__ import annotations

from typing import Any

import pytest

from cost.memory import Load, Precision, layer_bytes
from gateway.core.facts import ModelShape

TOKENS = 512
SHAPES = {
    "every head its own": ModelShape(0, 2, 128, 4, 4, 32, 344, 512, 2048),
    "shared key heads": ModelShape(0, 2, 256, 8, 2, 32, 896, 512, 2048),
}


def _kept_bytes(shape: ModelShape, layers: int, precision: Precision, dropout: float) -> int:
    torch = pytest.importorskip("torch")
    transformers = pytest.importorskip("transformers")
    peft = pytest.importorskip("peft")
    dtype = torch.float32 if precision == "fp32" else torch.bfloat16
    config = transformers.LlamaConfig(
        vocab_size=shape.vocabulary,
        hidden_size=shape.hidden,
        intermediate_size=shape.intermediate,
        num_hidden_layers=layers,
        num_attention_heads=shape.heads,
        num_key_value_heads=shape.kv_heads,
        head_dim=shape.head_dim,
        tie_word_embeddings=True,
    )
    lora = peft.LoraConfig(r=16, lora_dropout=dropout, target_modules="all-linear", task_type="CAUSAL_LM")
    model = peft.get_peft_model(transformers.LlamaForCausalLM(config).to(dtype), lora).train()
    owned = {parameter.untyped_storage().data_ptr() for parameter in model.parameters()}
    kept: dict[int, int] = {}

    def keep(tensor: Any) -> Any:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in owned:
            kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    ids = torch.randint(0, shape.vocabulary, (2, TOKENS // 2))
    decoder = model.get_base_model().get_decoder()
    hooks = torch.autograd.graph.saved_tensors_hooks(keep, _as_it_is)
    with hooks, torch.autocast("cpu", dtype=torch.bfloat16, enabled=precision == "bf16"):
        out = decoder(input_ids=ids, use_cache=False)
    assert out.last_hidden_state.requires_grad
    return sum(kept.values())


def _as_it_is(tensor: Any) -> Any:
    return tensor


@pytest.mark.slow
@pytest.mark.parametrize("dropout", [0.05, 0.0])
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
def test_one_layer_keeps_what_we_count(shape: ModelShape, precision: Precision, dropout: float) -> None:
    two, four = (_kept_bytes(shape, layers, precision, dropout) for layers in (2, 4))
    measured = (four - two) / 2 / TOKENS
    counted = layer_bytes(Load(shape, "lora", precision, 16, dropout > 0, TOKENS, False, False))
    assert counted == pytest.approx(measured, rel=0.03)
