"""Answers from a base or a base with an adapter, through the same template as in training.

Greedy and deterministic. A base is loaded once and its adapters are put beside it, so base and tuned
are compared on the very same weights.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from backends.local import models
from backends.local.environment import cpu_threads
from backends.local.files import sha256_of
from backends.local.quiet import while_peft_wraps
from backends.local.render import IGNORE, Rendered, Template, Unrenderable, shorten
from backends.local.run import read_json
from gateway.core.errors import BackendError, Rejected
from gateway.core.job import ChatMessage, Completion, Score
from gateway.core.rows import Message

if TYPE_CHECKING:
    from torch import Tensor

BATCH_TOKENS = 8192  # prompt tokens, padding included, answered at once
BATCH_ROWS = 32


@dataclass(slots=True)
class _Loaded:
    """A base in memory with its template and the adapters put on it so far."""

    model: Any
    template: Template
    revision: str
    positions: int
    adapters: dict[Path, str] = field(default_factory=dict[Path, str])


class Inference:
    """The models in memory; loads torch on first use.

    Args:
        home: the local backend's folder, where the embedded base is kept.
    """

    def __init__(self, home: Path) -> None:
        self._home = home
        self._loaded: dict[str, _Loaded] = {}
        self._lock = threading.RLock()  # which adapter is on is a state of the model

    def complete(
        self,
        base: str,
        adapter: Path | None,
        batch: Sequence[Sequence[ChatMessage]],
        max_output_tokens: int,
    ) -> tuple[Completion, ...]:
        """One answer for each chat, in order. A completion's latency is its even share of the time
        its batch took.

        Raises:
            Rejected: a chat cannot be shown to this model; its index in the batch is named.
        """
        with self._lock, self._using(base, adapter) as loaded:
            prompts = [_prompt(loaded, chat, index, max_output_tokens) for index, chat in enumerate(batch)]
            answers: dict[int, Completion] = {}
            for part in _parts([len(prompt) for prompt in prompts]):
                found = _generate(loaded, [prompts[index] for index in part], max_output_tokens)
                answers.update(zip(part, found, strict=True))
            return tuple(answers[index] for index in range(len(batch)))

    def stream(
        self, base: str, adapter: Path | None, messages: Sequence[ChatMessage], max_output_tokens: int
    ) -> Iterator[str]:
        """Pieces of one answer; together they are what `complete` gives."""
        import torch

        with self._lock, self._using(base, adapter) as loaded, torch.inference_mode():
            prompt = _prompt(loaded, messages, 0, max_output_tokens)
            ids = torch.tensor([prompt], device=loaded.model.device)
            cache: Any = None
            said: list[int] = []
            shown = ""
            for _ in range(_room(loaded, len(prompt), max_output_tokens)):
                out = loaded.model(input_ids=ids, past_key_values=cache, use_cache=True)
                cache, ids = out.past_key_values, out.logits[:, -1:].argmax(-1)
                token = int(ids.item())
                if token == loaded.template.stop_id:
                    break
                said.append(token)
                text = loaded.template.tokenizer.decode(said, skip_special_tokens=True)
                if not text.endswith("\ufffd"):  # half a character: the rest is in the next token
                    yield text[len(shown) :]
                    shown = text

    def score(
        self, base: str, adapter: Path | None, examples: Sequence[tuple[Sequence[Message], Message]]
    ) -> tuple[Score, ...]:
        """Log-probability in nats of each answer, the token that ends it included.

        Raises:
            Rejected: an example cannot be shown to this model; its index is named.
        """
        with self._lock, self._using(base, adapter) as loaded:
            rows = [_scored(loaded, prompt, answer, i) for i, (prompt, answer) in enumerate(examples)]
            scores: dict[int, Score] = {}
            for part in _parts([len(row.input_ids) for row in rows]):
                found = _log_probabilities(loaded, [rows[index] for index in part])
                scores.update(zip(part, found, strict=True))
            return tuple(scores[index] for index in range(len(examples)))

    # -- models ------------------------------------------------------------------------------------

    def _using(self, base: str, adapter: Path | None) -> _Using:
        loaded = self._loaded.get(base)
        if loaded is None:
            loaded = self._loaded[base] = _load(base, self._home)
        if adapter is not None and adapter not in loaded.adapters:
            _add_adapter(loaded, adapter)
        return _Using(loaded, adapter)


class _Using:
    """A loaded base with one adapter switched on, or none."""

    def __init__(self, loaded: _Loaded, adapter: Path | None) -> None:
        self._loaded = loaded
        self._adapter = adapter
        self._disabled: Any = None

    def __enter__(self) -> _Loaded:
        if self._adapter is not None:
            self._loaded.model.set_adapter(self._loaded.adapters[self._adapter])
        elif self._loaded.adapters:
            self._disabled = self._loaded.model.disable_adapter()
            self._disabled.__enter__()
        return self._loaded

    def __exit__(self, *error: object) -> None:
        if self._disabled is not None:
            self._disabled.__exit__(*error)


def _load(base: str, home: Path) -> _Loaded:
    import torch
    from transformers import AutoModelForCausalLM
    from transformers.utils.logging import disable_progress_bar

    torch.set_num_threads(cpu_threads())
    disable_progress_bar()
    folder = models.ensure(base, home)
    template = Template.load(folder, base)
    on_gpu = torch.cuda.is_available()
    model: Any = AutoModelForCausalLM.from_pretrained(  # pyright: ignore[reportUnknownMemberType]
        str(folder),
        dtype=torch.bfloat16 if on_gpu else torch.float32,
        use_safetensors=True,
        trust_remote_code=False,
        local_files_only=True,
    )
    shape = models.shape_of(models.text_config(folder))
    return _Loaded(
        model.to("cuda" if on_gpu else "cpu").eval(),
        template,
        models.revision(folder),
        shape.max_positions if shape else 2048,
    )


def _add_adapter(loaded: _Loaded, adapter: Path) -> None:
    """Put an adapter on its base.

    Raises:
        BackendError: it is damaged, or was trained on another base.
    """
    from peft import PeftModel
    from safetensors import SafetensorError

    made: Mapping[str, Any] = read_json(adapter / "tunegate.json") or {}
    if made.get("base", loaded.revision) != loaded.revision:
        raise BackendError("this adapter was trained on another base", backend="local", place=str(adapter))
    weights = adapter / "adapter_model.safetensors"
    if not weights.is_file() or made.get("adapter", found := sha256_of(weights)) != found:
        raise _damaged(adapter)
    name = f"adapter_{len(loaded.adapters)}"
    try:
        if loaded.adapters:
            loaded.model.load_adapter(str(adapter), adapter_name=name)
        else:
            with while_peft_wraps():
                loaded.model = PeftModel.from_pretrained(  # pyright: ignore[reportUnknownMemberType]
                    loaded.model, str(adapter), adapter_name=name
                ).eval()
    except (SafetensorError, RuntimeError, ValueError, KeyError):
        raise _damaged(adapter) from None
    loaded.adapters[adapter] = name


def _damaged(adapter: Path) -> BackendError:
    return BackendError(
        "this adapter is damaged, or was not made for its base", backend="local", place=str(adapter)
    )


# -- prompts ---------------------------------------------------------------------------------------


def _prompt(loaded: _Loaded, chat: Sequence[ChatMessage], index: int, max_output_tokens: int) -> list[int]:
    """Tokens of a chat; one too long for the model loses its middle, as in training."""
    messages = [{"role": turn.role, "content": turn.content} for turn in chat]
    try:
        ids = loaded.template.prompt(messages)
        limit = max(loaded.positions - max_output_tokens, loaded.positions // 2)
        return shorten(Rendered(ids, [IGNORE] * len(ids)), limit).input_ids
    except Unrenderable as error:
        raise Rejected(error.message, backend="local", place=f"chat {index}", fix=error.fix) from None


def _scored(loaded: _Loaded, prompt: Sequence[Message], answer: Message, index: int) -> Rendered:
    row = {"messages": [turn.to_json() for turn in (*prompt, answer)]}
    try:
        return shorten(loaded.template.render(row, last_only=True), loaded.positions)
    except Unrenderable as error:
        raise Rejected(error.message, backend="local", place=f"example {index}", fix=error.fix) from None


def _room(loaded: _Loaded, prompt: int, asked: int) -> int:
    return min(asked, loaded.positions - prompt)


def _parts(lengths: Sequence[int]) -> Iterator[list[int]]:
    """Indices of rows to run together: of similar length, so that little is padding."""
    part: list[int] = []
    for index in sorted(range(len(lengths)), key=lengths.__getitem__):
        if part and (len(part) == BATCH_ROWS or lengths[index] * (len(part) + 1) > BATCH_TOKENS):
            yield part
            part = []
        part.append(index)
    if part:
        yield part


# -- the model -------------------------------------------------------------------------------------


def _generate(loaded: _Loaded, prompts: Sequence[list[int]], asked: int) -> list[Completion]:
    """Greedy answers to prompts padded on the left, so that every answer begins at the same place."""
    import torch

    began = time.perf_counter()
    longest = max(map(len, prompts))
    pad = loaded.template.stop_id
    device = loaded.model.device
    ids_B_T = torch.tensor([[pad] * (longest - len(p)) + p for p in prompts], device=device)
    seen_B_T = torch.tensor([[0] * (longest - len(p)) + [1] * len(p) for p in prompts], device=device)
    with torch.inference_mode():
        out_B_T = loaded.model.generate(
            input_ids=ids_B_T,
            attention_mask=seen_B_T,
            max_new_tokens=_room(loaded, longest, asked),
            do_sample=False,
            temperature=None,
            top_p=None,
            top_k=None,
            eos_token_id=loaded.template.stop_id,
            pad_token_id=pad,
        )
    latency_s = (time.perf_counter() - began) / len(prompts)
    return [
        _completion(loaded.template, answer, len(prompt), latency_s)
        for prompt, answer in zip(prompts, out_B_T[:, longest:].tolist(), strict=True)
    ]


def _completion(template: Template, answer: list[int], prompt: int, latency_s: float) -> Completion:
    stopped = template.stop_id in answer
    said = answer[: answer.index(template.stop_id)] if stopped else answer
    return Completion(
        text=template.tokenizer.decode(said, skip_special_tokens=True),
        latency_s=latency_s,
        input_tokens=prompt,
        output_tokens=len(said) + stopped,
        finish="stop" if stopped else "length",
    )


def _log_probabilities(loaded: _Loaded, rows: Sequence[Rendered]) -> list[Score]:
    """Padded on the right, where a causal model cannot see; logits are summed row by row in fp32."""
    import torch

    device = loaded.model.device
    longest = max(len(row.input_ids) for row in rows)
    ids_B_T = torch.tensor([r.input_ids + [0] * (longest - len(r.input_ids)) for r in rows], device=device)
    labels_B_T = torch.tensor([r.labels + [IGNORE] * (longest - len(r.labels)) for r in rows], device=device)
    with torch.inference_mode():
        logits = loaded.model(input_ids=ids_B_T, use_cache=False).logits[:, :-1]
        return [_score(logits[b], labels_B_T[b, 1:]) for b in range(len(rows))]


def _score(logits_T_V: Tensor, labels_T: Tensor) -> Score:
    import torch.nn.functional as functional

    at = labels_T != IGNORE
    loss = functional.cross_entropy(logits_T_V[at].float(), labels_T[at], reduction="sum")
    return Score(-float(loss.item()), int(at.sum().item()))
