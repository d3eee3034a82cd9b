"""What is trained: a frozen base with a LoRA adapter on it, and the loss over the trained tokens."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from backends.local import models
from backends.local.examples import Example, padded
from backends.local.quiet import while_peft_wraps
from backends.local.render import IGNORE
from gateway.core.errors import BackendError, Unsupported

SMALL_ON_CPU = 100_000_000  # below, casting to bf16 and back costs a CPU more than it saves
Loss = Callable[[Sequence[Example]], Tensor]  # summed over the trained tokens of some rows


def precision(asked: str, device: torch.device, folder: Path) -> torch.dtype:
    """bf16 where the hardware computes in it and the base is large enough to gain; else fp32."""
    if asked in ("fp32", "float32"):
        return torch.float32
    if device.type == "cuda":
        has_bf16 = torch.cuda.is_bf16_supported(including_emulation=False)
    else:
        shape = models.shape_of(models.text_config(folder))
        large = shape is not None and shape.parameters >= SMALL_ON_CPU
        has_bf16 = large and torch.cpu._is_avx512_bf16_supported()  # pyright: ignore[reportPrivateUsage]
    return torch.bfloat16 if has_bf16 else torch.float32


def load_base(folder: Path, dtype: torch.dtype, device: torch.device) -> Any:
    """The base, frozen. No code that came with it is run, and no pickle is read."""
    from transformers import AutoModelForCausalLM

    model: Any = AutoModelForCausalLM.from_pretrained(  # pyright: ignore[reportUnknownMemberType]
        str(folder), dtype=dtype, use_safetensors=True, trust_remote_code=False, local_files_only=True
    )
    model.config.use_cache = False
    return model.to(device)


def refuse_foreign_tokenizer(base: Any, tokenizer: Any, name: str) -> None:
    """A token the base has no row for would end training in the middle, deep inside a kernel.

    Raises:
        Unsupported: the tokenizer knows more tokens than the base has embeddings.
    """
    highest = max(tokenizer.get_vocab().values())
    embeddings = base.get_input_embeddings().weight.shape[0]
    if highest >= embeddings:
        raise Unsupported(
            f"its tokenizer counts to {highest:,} and its weights have {embeddings:,} embeddings",
            place=name,
            fix="bring tokenizer and weights of the same revision",
        )


def with_adapter(base: Any, body: Mapping[str, Any], name: str) -> Any:
    """LoRA on every linear layer but the output, in fp32 whatever the base has."""
    from peft import LoraConfig, get_peft_model

    if body["checkpointing"]:
        base.gradient_checkpointing_enable({"use_reentrant": False})
        base.enable_input_require_grads()
    lora = body["lora"]
    settings = LoraConfig(
        r=lora["rank"],
        lora_alpha=lora["alpha"],
        lora_dropout=lora["dropout"],
        target_modules="all-linear",
        task_type="CAUSAL_LM",
    )
    try:
        with while_peft_wraps():
            return get_peft_model(base, settings)
    except ValueError:
        raise BackendError(
            "this base has no linear layers that LoRA could be put on", backend="local", place=name
        ) from None


def loss_function(model: Any, example: Example, device: torch.device, dtype: torch.dtype) -> Loss:
    """Summed loss over the trained tokens of some rows.

    Logits are made only where a token is trained: for a vocabulary of 128,000 they would otherwise
    outweigh everything else. That is right for a model whose head is one plain layer on its last
    hidden state; the probe asks, and a model that does more (scales, caps) makes its own logits.
    """
    causal = model.get_base_model()
    decoder, head = causal.get_decoder(), causal.get_output_embeddings()

    def hidden_at(ids_B_T: Tensor, at: Tensor) -> Tensor:
        return head(decoder(input_ids=ids_B_T, use_cache=False).last_hidden_state[:, :-1][at])

    def logits_at(ids_B_T: Tensor, at: Tensor) -> Tensor:
        return model(input_ids=ids_B_T, use_cache=False).logits[:, :-1][at]

    def autocast() -> torch.autocast:
        return torch.autocast(device.type, dtype=torch.bfloat16, enabled=dtype == torch.bfloat16)

    ids, _ = padded([Example(example.ids_T[:64], example.labels_T[:64])], device)
    everywhere = torch.ones_like(ids[:, 1:], dtype=torch.bool)
    model.eval()
    with torch.no_grad(), autocast():
        plain = torch.allclose(hidden_at(ids, everywhere), logits_at(ids, everywhere), atol=1e-4)
    trained_logits = hidden_at if plain else logits_at

    def loss(rows: Sequence[Example]) -> Tensor:
        ids_B_T, labels_B_T = padded(rows, device)
        at = labels_B_T[:, 1:] != IGNORE
        with autocast():
            logits = trained_logits(ids_B_T, at)
        return cross_entropy(logits.float(), labels_B_T[:, 1:][at], reduction="sum")

    return loss
