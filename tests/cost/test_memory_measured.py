"""The activation count against autograd itself: what it keeps for one layer of a model as we train it."""

from __future__ import annotations

from typing import Any

import pytest

from cost.memory import Load, Method, Precision, Trainer, adapter_parameters, layer_bytes
from gateway.core.facts import ModelShape

TOKENS = 512
SHAPES = {
    "every head its own": ModelShape(0, 2, 128, 4, 4, 32, 344, 512, 2048),
    "shared key heads": ModelShape(0, 2, 256, 8, 2, 32, 896, 512, 2048),
}
CASES: list[tuple[Method, float]] = [("lora", 0.05), ("lora", 0.0), ("full", 0.0)]


def _kept_bytes(shape: ModelShape, layers: int, method: Method, precision: Precision, dropout: float) -> int:
    torch = pytest.importorskip("torch")
    pytest.importorskip("transformers")
    from backends.local import packing

    model = _model(shape, layers, method, precision, dropout)
    causal = model if method == "full" else model.get_base_model()
    decoder = causal.get_decoder()

    def hidden(ids: Any, rows: Any = None) -> Any:
        where = {} if rows is None else {"rows": rows, "position_ids": rows.positions_1_T}
        return decoder(input_ids=ids, use_cache=False, **where).last_hidden_state

    assert packing.set_up(causal, hidden)
    rows = packing.Rows.of([TOKENS // 4] * 4, torch.device("cpu"))
    owned = {parameter.untyped_storage().data_ptr() for parameter in model.parameters()}
    kept: dict[int, int] = {}

    def keep(tensor: Any) -> Any:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in owned:
            kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    ids = torch.randint(0, shape.vocabulary, (1, TOKENS))
    hooks = torch.autograd.graph.saved_tensors_hooks(keep, _as_it_is)
    with hooks, torch.autocast("cpu", dtype=torch.bfloat16, enabled=precision == "bf16"):
        out = hidden(ids, rows)
    assert out.requires_grad
    return sum(kept.values())


def _model(shape: ModelShape, layers: int, method: Method, precision: Precision, dropout: float) -> Any:
    """As `backends.local.network` makes it: all weights in fp32 where they are trained."""
    import peft
    import torch
    import transformers

    from backends.local.lean import lighten

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
    base: Any = transformers.LlamaForCausalLM(config)
    if method == "full":
        return base.train()
    lora = peft.LoraConfig(r=16, lora_dropout=dropout, target_modules="all-linear", task_type="CAUSAL_LM")
    dtype = torch.float32 if precision == "fp32" else torch.bfloat16
    model: Any = peft.get_peft_model(base.to(dtype), lora).train()
    lighten(model)
    return model


def _as_it_is(tensor: Any) -> Any:
    return tensor


def _copies(shape: ModelShape, method: Method, precision: Precision) -> float:
    """What a pass keeps of a layer's own weights, whatever the tokens: trained ones are cast."""
    width = 4 if precision == "fp32" else 2
    if method == "lora":
        return adapter_parameters(shape, 16) / shape.layers * width
    weights = 2 * shape.hidden * (shape.heads + shape.kv_heads) * shape.head_dim
    return 0 if precision == "fp32" else 2 * (weights + 3 * shape.hidden * shape.intermediate)


@pytest.mark.slow
@pytest.mark.parametrize(("method", "dropout"), CASES)
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
def test_one_layer_keeps_what_we_count(
    shape: ModelShape, precision: Precision, method: Method, dropout: float
) -> None:
    two, four = (_kept_bytes(shape, layers, method, precision, dropout) for layers in (2, 4))
    measured = ((four - two) / 2 - _copies(shape, method, precision)) / TOKENS
    load = Load(shape, method, precision, 16, dropout > 0, TOKENS, False, False, trainer=Trainer())
    assert layer_bytes(load) == pytest.approx(measured, rel=0.03)
