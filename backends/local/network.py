"""What is trained: a base, what the method makes of it, and the losses of its tokens."""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from backends.local import four_bit, last_layer, models, packing
from backends.local.batches import Batch, collate
from backends.local.lean import lighten
from backends.local.losses import chunked_token_losses, token_losses
from backends.local.quiet import while_peft_wraps
from backends.local.tokens import Example
from gateway.core.errors import Unsupported

_SHARD = "4GB"
SMALL_ON_CPU = 10_000_000  # parameters; at 17 M bf16 takes over a third less processor time


@dataclass(slots=True)
class Network:
    """A model in training.

    Attributes:
        model: the module as its method made it (PEFT's, or the base itself).
        method: `lora`, `qlora` or `full`.
        stored: type of the base's weights on the disk.
        plain_head: logits are one linear layer on the last hidden state, and nothing else. Then they
            are made only where a token is trained: for a vocabulary of 128,000 they would otherwise
            outweigh everything.
        packs: rows can lie end to end in one sequence, without padding between them.
        selects: its last layer is computed at the trained positions alone, where rows are packed.
    """

    model: Any
    device: torch.device
    dtype: torch.dtype
    method: str = "lora"
    stored: torch.dtype = torch.float32
    plain_head: bool = False
    packs: bool = False
    selects: bool = False

    @classmethod
    def load(cls, folder: Path, body: Mapping[str, Any], tokenizer: Any, device: torch.device) -> Network:
        """The base in a folder, ready to be trained with the method of a run's body.

        Raises:
            Unsupported: tokenizer and weights do not belong together; the base is shorter than what is
                asked, or quantised already; the method has nothing to work on.
        """
        name, method = body["model"]["name"], body["method"]
        dtype = precision(body["precision"], device, folder)
        _refuse_unfit(folder, body, name)
        base = _load_base(folder, method, dtype, device)
        _refuse_foreign_tokenizer(base, tokenizer, name)
        if body["checkpointing"]:
            # Transformers 5 renamed it on the way.
            enable = getattr(base, "activation_checkpointing_enable", None)
            (enable or base.gradient_checkpointing_enable)({"use_reentrant": False})
            base.enable_input_require_grads()
        model = base if method == "full" else _with_adapter(base, body["lora"], name)
        network = cls(model, device, dtype, method, _stored(folder))
        network.model.eval()
        with torch.no_grad(), network._autocast():
            network.plain_head = network._has_plain_head()
            network.packs = network.plain_head and packing.set_up(network.causal, network._hidden)
            decoder = network.causal.get_decoder()
            network.selects = network.packs and last_layer.set_up(decoder, network._hidden)
        network.model.train()
        return network

    def trainable(self) -> dict[str, torch.nn.Parameter]:
        return {name: value for name, value in self.model.named_parameters() if value.requires_grad}

    def batch(self, chats: Sequence[Example]) -> Batch:
        """Some chats as this network takes them."""
        return collate(chats, self.device, packed=self.packs)

    def token_losses(self, batch: Batch) -> Tensor:
        """Negative log-probability in nats at each trained position of a batch, in order, shape N."""
        with self._autocast():
            if not self.plain_head:
                logits = self._logits(batch.ids_B_T).flatten(0, 1)
                return token_losses(logits.index_select(0, batch.at_N), batch.labels_N)
            hidden = self._hidden(batch.ids_B_T, batch.rows).flatten(0, 1)
            if batch.rows is None or not self.selects:
                hidden = hidden.index_select(0, batch.at_N)
            return chunked_token_losses(hidden, self._head, batch.labels_N)

    @contextmanager
    def untrained(self) -> Generator[None]:
        """The base as it was, without dropout or gradients. Only an adapter can be taken off again: all
        weights, once a step is taken, are another model."""
        self.model.eval()
        try:
            with torch.no_grad():
                if self.method == "full":
                    yield
                else:
                    with self.model.disable_adapter():
                        yield
        finally:
            self.model.train()

    @property
    def result(self) -> str:
        """The name of the folder that a run leaves: what can stand alone is a model."""
        return "model" if self.method == "full" else "adapter"

    def save(self, folder: Path) -> list[str]:
        """Write what was trained as safetensors: an adapter in PEFT's format; or a whole model, in the
        type its base is stored in (its own weights are in that type afterwards).

        Returns:
            The names of the files with weights.
        """
        if self.method == "full":
            self.model.to(self.stored)
            self.model.config.use_cache = True
            self.model.save_pretrained(str(folder), safe_serialization=True, max_shard_size=_SHARD)
        else:
            self.model.save_pretrained(str(folder), safe_serialization=True, save_embedding_layers=False)
        return sorted(path.name for path in folder.glob("*.safetensors"))

    @property
    def causal(self) -> Any:
        """The model of `transformers` itself, with whatever the method put into it."""
        return self.model if self.method == "full" else self.model.get_base_model()

    def _hidden(self, ids_B_T: Tensor, rows: packing.Rows | None = None) -> Tensor:
        decoder = self.causal.get_decoder()
        where: dict[str, Any] = {} if rows is None else {"rows": rows, "position_ids": rows.positions_1_T}
        return decoder(input_ids=ids_B_T, use_cache=False, **where).last_hidden_state

    @property
    def _head(self) -> Any:
        return self.causal.get_output_embeddings()

    def _logits(self, ids_B_T: Tensor) -> Tensor:
        return self.model(input_ids=ids_B_T, use_cache=False).logits

    def _has_plain_head(self) -> bool:
        """Asked of the model itself: one that scales or caps its logits makes them on its own."""
        if type(self._head) is not torch.nn.Linear:
            return False
        ids = torch.arange(8, device=self.device)[None]
        return torch.allclose(self._head(self._hidden(ids)), self._logits(ids), atol=1e-4)

    def _autocast(self) -> torch.autocast:
        return torch.autocast(self.device.type, dtype=torch.bfloat16, enabled=self.dtype == torch.bfloat16)


def precision(asked: str, device: torch.device, folder: Path) -> torch.dtype:
    """bf16 where the hardware computes in it and the base is large enough to gain; else fp32."""
    if asked in ("fp32", "float32"):
        return torch.float32
    if asked == "bf16":
        return torch.bfloat16
    if device.type == "cuda":
        has_bf16 = torch.cuda.is_bf16_supported(including_emulation=False)
    else:
        shape = models.shape_of(models.text_config(folder))
        large = shape is not None and shape.parameters >= SMALL_ON_CPU
        has_bf16 = large and torch.cpu._is_avx512_bf16_supported()  # pyright: ignore[reportPrivateUsage]
    return torch.bfloat16 if has_bf16 else torch.float32


def _load_base(folder: Path, method: str, dtype: torch.dtype, device: torch.device) -> Any:
    """The base as it is. No code that came with it is run, and no pickle is read.

    Weights that are trained are held in fp32, whatever is computed in: in bf16 most steps would be too
    small to change them.
    """
    from transformers import AutoModelForCausalLM

    model: Any = AutoModelForCausalLM.from_pretrained(  # pyright: ignore[reportUnknownMemberType]
        str(folder),
        dtype=torch.float32 if method == "full" else dtype,
        use_safetensors=True,
        trust_remote_code=False,
        local_files_only=True,
        **(four_bit.settings(dtype, device) if method == "qlora" else {}),
    )
    model.config.use_cache = False
    return four_bit.settle(model) if method == "qlora" else model.to(device)


def _stored(folder: Path) -> torch.dtype:
    config = models.text_config(folder)
    found = getattr(torch, str(config.get("dtype") or config.get("torch_dtype")), None)
    return found if isinstance(found, torch.dtype) else torch.float32


def _refuse_unfit(folder: Path, body: Mapping[str, Any], name: str) -> None:
    """What the plan knew only if the base was at hand, asked again of the base itself."""
    config = models.text_config(folder)
    if quantised := config.get("quantization_config"):
        raise Unsupported(
            f"its weights are quantised already ({quantised.get('quant_method', 'unknown')})",
            place=name,
            fix="bring the model that it was made from; `method: qlora` makes 4 bits of that",
        )
    positions = config.get("max_position_embeddings")
    if positions and body["max_length"] > positions:
        raise Unsupported(
            f"rows of {body['max_length']:,} tokens are asked for, and it has {positions:,} positions",
            place=name,
            fix="lower hyperparameters.max_length; then plan and run again",
        )


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


def _with_adapter(base: Any, lora: Mapping[str, Any], name: str) -> Any:
    """LoRA on linear layers, in fp32 whatever the base has."""
    with four_bit.nothing_fetched():  # PEFT imports bitsandbytes, where that is installed
        from peft import LoraConfig, get_peft_model

    targets: Sequence[str] = lora.get("targets", ())
    _refuse_foreign_targets(base, targets, name)
    settings = LoraConfig(
        r=lora["rank"],
        lora_alpha=lora["alpha"],
        lora_dropout=lora["dropout"],
        use_rslora=lora.get("rslora", False),
        use_dora=lora.get("dora", False),
        target_modules=list(targets) or "all-linear",
        task_type="CAUSAL_LM",
    )
    with while_peft_wraps():
        model = get_peft_model(base, settings)
    lighten(model)
    return model


def _refuse_foreign_targets(base: Any, asked: Sequence[str], name: str) -> None:
    """PEFT passes over a name that matches nothing, as long as another matches. The output layer is never
    adapted: its logits are made apart.

    Raises:
        Unsupported: one of the names asked for is no layer's here, or nothing is linear.
    """
    from transformers.pytorch_utils import Conv1D

    head = base.get_output_embeddings()
    linear = [
        layer
        for layer, module in base.named_modules()
        if isinstance(module, (torch.nn.Linear, Conv1D)) and module is not head
    ]
    if not linear:
        raise Unsupported("this base has no linear layers that LoRA could be put on", place=name)
    kinds = sorted({layer.rpartition(".")[2] for layer in linear})
    for target in asked:
        if not any(_is_called(layer, target) for layer in linear):
            raise Unsupported(
                f"hyperparameters.lora.targets names `{target}`, and no layer of this base that can be "
                f"adapted is called so",
                place=name,
                fix=f"choose from {', '.join(kinds)}; or leave targets out, for all of them",
            )


def _is_called(layer: str, target: str) -> bool:
    return layer == target or layer.endswith(f".{target}")
