"""What is trained: a base, what the method makes of it, and the losses of its tokens."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from backends.local import models
from backends.local.batches import Batch
from backends.local.losses import token_losses
from backends.local.quiet import while_peft_wraps
from backends.local.render import IGNORE
from gateway.core.errors import BackendError, Unsupported

SMALL_ON_CPU = 100_000_000  # below, casting to bf16 and back costs a CPU more than it saves


@dataclass(slots=True)
class Network:
    """A model in training.

    Attributes:
        model: the module as its method made it (PEFT's, or the base itself).
        plain_head: logits are one linear layer on the last hidden state, and nothing else. Then they
            are made only where a token is trained: for a vocabulary of 128,000 they would otherwise
            outweigh everything.
    """

    model: Any
    device: torch.device
    dtype: torch.dtype
    plain_head: bool = False

    @classmethod
    def load(cls, folder: Path, body: Mapping[str, Any], tokenizer: Any, device: torch.device) -> Network:
        """The base in a folder, ready to be trained with the method of a run's body.

        Raises:
            Unsupported: tokenizer and weights do not belong together.
            BackendError: the method has nothing to work on.
        """
        name = body["model"]["name"]
        dtype = precision(body["precision"], device, folder)
        base = _load_base(folder, dtype, device)
        _refuse_foreign_tokenizer(base, tokenizer, name)
        network = cls(_with_adapter(base, body, name), device, dtype)
        network.plain_head = network._has_plain_head()
        network.model.train()
        return network

    def trainable(self) -> dict[str, torch.nn.Parameter]:
        return {name: value for name, value in self.model.named_parameters() if value.requires_grad}

    def token_losses(self, batch: Batch) -> Tensor:
        """Negative log-probability in nats at each trained position of a batch, in order, shape N."""
        at = batch.labels_B_T != IGNORE
        with self._autocast():
            logits = self._head_logits(batch, at) if self.plain_head else self._model_logits(batch, at)
        return token_losses(logits, batch.labels_B_T[at])

    def save(self, folder: Path) -> str:
        """Write what was trained as safetensors, in PEFT's format.

        Returns:
            The name of the file with the weights.
        """
        self.model.save_pretrained(str(folder), safe_serialization=True, save_embedding_layers=False)
        return "adapter_model.safetensors"

    def _head_logits(self, batch: Batch, at: Tensor) -> Tensor:
        causal = self.model.get_base_model()
        hidden = causal.get_decoder()(input_ids=batch.ids_B_T, use_cache=False).last_hidden_state
        return causal.get_output_embeddings()(hidden[at])

    def _model_logits(self, batch: Batch, at: Tensor) -> Tensor:
        return self.model(input_ids=batch.ids_B_T, use_cache=False).logits[at]

    def _has_plain_head(self) -> bool:
        """Asked of the model itself: one that scales or caps its logits makes them on its own."""
        ids = torch.arange(8, device=self.device)[None]
        batch = Batch(ids, ids)
        everywhere = torch.ones_like(ids, dtype=torch.bool)
        self.model.eval()
        with torch.no_grad(), self._autocast():
            ours, its = self._head_logits(batch, everywhere), self._model_logits(batch, everywhere)
        return torch.allclose(ours, its, atol=1e-4)

    def _autocast(self) -> torch.autocast:
        return torch.autocast(self.device.type, dtype=torch.bfloat16, enabled=self.dtype == torch.bfloat16)


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


def _load_base(folder: Path, dtype: torch.dtype, device: torch.device) -> Any:
    """The base as it is. No code that came with it is run, and no pickle is read."""
    from transformers import AutoModelForCausalLM

    model: Any = AutoModelForCausalLM.from_pretrained(  # pyright: ignore[reportUnknownMemberType]
        str(folder), dtype=dtype, use_safetensors=True, trust_remote_code=False, local_files_only=True
    )
    model.config.use_cache = False
    return model.to(device)


def _refuse_foreign_tokenizer(base: Any, tokenizer: Any, name: str) -> None:
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


def _with_adapter(base: Any, body: Mapping[str, Any], name: str) -> Any:
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
