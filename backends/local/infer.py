"""Answers from a base or a tuned model, through the same template as in training.

Greedy and deterministic. A base is loaded once and its adapters are put beside it, so base and tuned
are compared on the very same weights.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from backends.local.loaded import Loaded, Shelf, Weights
from backends.local.render import IGNORE, Rendered, Unrenderable, shorten
from gateway.core.errors import Rejected
from gateway.core.job import ChatMessage, Completion, Score
from gateway.core.rows import Message

if TYPE_CHECKING:
    from torch import Tensor

BATCH_TOKENS = 8192  # prompt tokens, padding included, answered at once
BATCH_ROWS = 32


@dataclass(frozen=True, slots=True)
class _Prompt:
    """A chat as tokens, and how many of its tokens had to be left out of the middle."""

    ids: list[int]
    cut: int
    room: int


class Inference:
    """Answers, streams and scores, one caller at a time.

    Args:
        home: the local backend's folder, where the embedded base is kept.
    """

    def __init__(self, home: Path) -> None:
        self._shelf = Shelf(home)
        self._lock = threading.RLock()  # which adapter is on is a state of the model

    def complete(
        self, weights: Weights, batch: Sequence[Sequence[ChatMessage]], max_output_tokens: int
    ) -> tuple[Completion, ...]:
        """One answer for each chat, in order. A completion's latency is its even share of the time
        its batch took; a chat too long for the model loses its middle, as in training, and its
        completion says how much.

        Raises:
            Rejected: a chat cannot be shown to this model; its index in the batch is named.
        """
        with self._lock, self._shelf.using(weights) as loaded:
            prompts = [_prompt(loaded, chat, index, max_output_tokens) for index, chat in enumerate(batch)]
            answers: dict[int, Completion] = {}
            for part in _parts([len(prompt.ids) for prompt in prompts]):
                found = _answer(loaded, [prompts[index] for index in part])
                answers.update(zip(part, found, strict=True))
            return tuple(answers[index] for index in range(len(batch)))

    def stream(
        self, weights: Weights, messages: Sequence[ChatMessage], max_output_tokens: int
    ) -> Iterator[str]:
        """Pieces of one answer; together they are what `complete` gives. Between two pieces others may
        ask: the model is nobody's for longer than a token.

        Raises:
            Rejected: the chat cannot be shown to this model, or is longer than it can take: in a stream
                there is no place to say that something was left out.
        """
        from backends.local.decoding import Greedy

        with self._lock, self._shelf.using(weights) as loaded:
            prompt = _prompt(loaded, messages, 0, max_output_tokens)
            if prompt.cut:
                raise _too_long(len(prompt.ids) + prompt.cut, loaded.positions)
            tokenizer, stop_ids = loaded.template.tokenizer, loaded.stop_ids
            decoding = Greedy([prompt.ids], [prompt.room], loaded.template.stop_id, loaded.model.device)
        said: list[int] = []
        shown = ""
        while True:
            with self._lock, self._shelf.using(weights) as loaded:
                spoken = decoding.step(loaded)
            if not spoken or spoken[0][1] in stop_ids:
                break
            said.append(spoken[0][1])
            text = tokenizer.decode(said, skip_special_tokens=True)
            if not text.endswith("\ufffd"):  # half a character: the rest is in the next token
                yield text[len(shown) :]
                shown = text
        yield tokenizer.decode(said, skip_special_tokens=True)[len(shown) :]

    def score(
        self, weights: Weights, examples: Sequence[tuple[Sequence[Message], Message]]
    ) -> tuple[Score, ...]:
        """Log-probability in nats of each answer, the token that ends it included.

        Raises:
            Rejected: an example cannot be shown to this model; its index is named.
        """
        with self._lock, self._shelf.using(weights) as loaded:
            rows = [_scored(loaded, prompt, answer, i) for i, (prompt, answer) in enumerate(examples)]
            scores: dict[int, Score] = {}
            for part in _parts([len(row.input_ids) for row in rows]):
                found = _log_probabilities(loaded, [rows[index] for index in part])
                scores.update(zip(part, found, strict=True))
            return tuple(scores[index] for index in range(len(examples)))


# -- prompts ---------------------------------------------------------------------------------------


def _prompt(loaded: Loaded, chat: Sequence[ChatMessage], index: int, asked: int) -> _Prompt:
    messages = [{"role": turn.role, "content": turn.content} for turn in chat]
    try:
        ids = loaded.template.prompt(messages)
        limit = max(loaded.positions - asked, loaded.positions // 2)
        kept = shorten(Rendered(ids, [IGNORE] * len(ids)), limit).input_ids
    except Unrenderable as error:
        raise Rejected(error.message, backend="local", place=f"chat {index}", fix=error.fix) from None
    return _Prompt(kept, len(ids) - len(kept), min(asked, loaded.positions - len(kept)))


def _scored(loaded: Loaded, prompt: Sequence[Message], answer: Message, index: int) -> Rendered:
    row = {"messages": [turn.to_json() for turn in (*prompt, answer)]}
    try:
        return shorten(loaded.template.render(row, last_only=True), loaded.positions)
    except Unrenderable as error:
        raise Rejected(error.message, backend="local", place=f"example {index}", fix=error.fix) from None


def _too_long(tokens: int, positions: int) -> Rejected:
    return Rejected(
        f"the chat has {tokens:,} tokens, and the model takes {positions:,} with its answer",
        backend="local",
        place="chat",
        fix="begin a new chat, or ask for a shorter answer",
    )


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


def _answer(loaded: Loaded, prompts: Sequence[_Prompt]) -> list[Completion]:
    from backends.local.decoding import Greedy

    began = time.perf_counter()
    decoding = Greedy(
        [prompt.ids for prompt in prompts],
        [prompt.room for prompt in prompts],
        loaded.template.stop_id,
        loaded.model.device,
    )
    said: list[list[int]] = [[] for _ in prompts]
    while spoken := decoding.step(loaded):
        for row, token in spoken:
            said[row].append(token)
    latency_s = (time.perf_counter() - began) / len(prompts)
    return [_completion(loaded, *each, latency_s) for each in zip(prompts, said, strict=True)]


def _completion(loaded: Loaded, prompt: _Prompt, said: list[int], latency_s: float) -> Completion:
    stopped = bool(said) and said[-1] in loaded.stop_ids
    return Completion(
        text=loaded.template.tokenizer.decode(said[:-1] if stopped else said, skip_special_tokens=True),
        latency_s=latency_s,
        input_tokens=len(prompt.ids),
        output_tokens=len(said),
        finish="stop" if stopped else "length",
        cut_tokens=prompt.cut,
    )


def _log_probabilities(loaded: Loaded, rows: Sequence[Rendered]) -> list[Score]:
    """Padded on the right, where a causal model cannot see. Logits are made only where some row has a
    trained token next, and summed row by row in fp32."""
    import torch

    from backends.local.decoding import keeps_logits

    device = loaded.model.device
    longest = max(len(row.input_ids) for row in rows)
    ids_B_T = torch.tensor([r.input_ids + [0] * (longest - len(r.input_ids)) for r in rows], device=device)
    labels_B_T = torch.tensor([r.labels + [IGNORE] * (longest - len(r.labels)) for r in rows], device=device)
    nexts_B_T = labels_B_T[:, 1:]
    at = (nexts_B_T != IGNORE).any(dim=0).nonzero()[:, 0]
    with torch.inference_mode():
        if keeps_logits(loaded.model):
            logits = loaded.model(input_ids=ids_B_T, use_cache=False, logits_to_keep=at).logits
        else:
            logits = loaded.model(input_ids=ids_B_T, use_cache=False).logits[:, at]
        return [_score(logits[b], nexts_B_T[b, at]) for b in range(len(rows))]


def _score(logits_N_V: Tensor, labels_N: Tensor) -> Score:
    import torch.nn.functional as functional

    at = labels_N != IGNORE
    loss = functional.cross_entropy(logits_N_V[at].float(), labels_N[at], reduction="sum")
    return Score(-float(loss.item()), int(at.sum().item()))
