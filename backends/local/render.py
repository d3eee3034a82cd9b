"""How a chat becomes tokens: the one place, for training, counting, preview and inference alike.

The model's own chat template writes the text. An assistant's turn begins where the template would
have the model begin to speak (the chat so far plus the generation prompt) and ends with the token
that closes a turn; only the tokens in between are trained. No turn's text can hold that token,
because a row that spells out one of the tokenizer's special tokens is refused: it could forge turns.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, cast

from backends.local.files import sha256_of
from gateway.core.errors import DataError, Unsupported
from gateway.core.rows import Row

IGNORE = -100  # the label of a token that is not trained, as torch's losses know it
_MESSAGE_KEYS = ("role", "content", "tool_call_id", "name")


class Unrenderable(DataError):
    """This row cannot be shown to this model. `reason` is a stable code; no text of the row."""

    def __init__(self, reason: str, message: str, *, fix: str | None = None) -> None:
        super().__init__(message, fix=fix)
        self.reason = reason


@dataclass(frozen=True, slots=True)
class Rendered:
    """A chat as tokens. `labels[i]` is `input_ids[i]` where the token is trained, else `IGNORE`."""

    input_ids: list[int]
    labels: list[int]

    @property
    def trained(self) -> int:
        return sum(label != IGNORE for label in self.labels)


class Template:
    """A model's tokenizer and chat template.

    Args:
        tokenizer: a fast tokenizer of `transformers`, with a chat template.
        name: the model's name, for errors.

    Raises:
        Unsupported: it has no chat template, no fast tokenizer, or a template that never ends a turn.
    """

    def __init__(self, tokenizer: Any, name: str) -> None:
        self.tokenizer: Any = tokenizer
        self.name = name
        if not tokenizer.chat_template:
            raise Unsupported(
                "its tokenizer has no chat template, so nobody can say how it is spoken to",
                place=name,
                fix="choose the instruct version of this model",
            )
        if not tokenizer.is_fast:
            raise Unsupported("its tokenizer cannot tell where each token came from", place=name)
        self._special = tuple(sorted(set(tokenizer.all_special_tokens)))
        self.stop = self._find_stop()
        self.stop_id = cast("int", tokenizer.convert_tokens_to_ids(self.stop))

    @classmethod
    def load(cls, folder: Path, name: str) -> Template:
        """The template in a model's folder; never runs code that came with the model."""
        from transformers import AutoTokenizer

        load: Any = AutoTokenizer.from_pretrained  # pyright: ignore[reportUnknownMemberType, reportUnknownVariableType]
        return cls(load(str(folder), trust_remote_code=False, local_files_only=True), name)

    # -- a row -------------------------------------------------------------------------------------

    def render(self, row: Mapping[str, Any], *, last_only: bool = False) -> Rendered:
        """Tokens and labels of a row in canonical JSON.

        Args:
            last_only: only the last turn is an answer; for scoring an answer given its prompt.

        Raises:
            Unrenderable: the template has no place for something in it; `reason` says what.
        """
        text, spans = self.spans(row, last_only=last_only)
        ids, offsets = self._encode(text)
        labels = [IGNORE] * len(ids)
        for begin, end in spans:
            for index, (start, stop) in enumerate(offsets):
                # A token across the border could not be produced at inference: it is prompt.
                if begin <= start < stop <= end:
                    labels[index] = ids[index]
        return Rendered(ids, labels)

    def prompt(self, messages: Sequence[Mapping[str, Any]], tools: Sequence[Any] = ()) -> list[int]:
        """Tokens of a chat the model is to answer: exactly what stands before a trained answer."""
        self._refuse_control(messages)
        return self._encode(self._text(messages, tools, answer=True))[0]

    def length(self, row: Mapping[str, Any]) -> int:
        """Tokens of a row, template included."""
        return len(self._encode(self._text(row["messages"], row.get("tools", ())))[0])

    def pieces(self, row: Mapping[str, Any]) -> list[tuple[str, bool]]:
        """The row's text as the model sees it, cut where training begins and ends."""
        text, spans = self.spans(row)
        pieces: list[tuple[str, bool]] = []
        at = 0
        for begin, end in spans:
            pieces += [(text[at:begin], False), (text[begin:end], True)]
            at = end
        return [(piece, trained) for piece, trained in (*pieces, (text[at:], False)) if piece]

    def spans(self, row: Mapping[str, Any], *, last_only: bool = False) -> tuple[str, list[tuple[int, int]]]:
        """The row's text, and where in it the trained answers stand."""
        messages, tools = row["messages"], row.get("tools", ())
        self._refuse_control(messages)
        text = self._text(messages, tools)
        answers = [len(messages) - 1] if last_only else list(_trained_turns(messages))
        return text, [self._span(text, messages[:index], tools) for index in answers]

    def _span(self, text: str, before: Sequence[Any], tools: Sequence[Any]) -> tuple[int, int]:
        prefix = self._text(before, tools, answer=True)
        end = text.find(self.stop, len(prefix))
        if not text.startswith(prefix) or end < 0:
            raise Unrenderable(
                "template_rewrites_turns",
                "the model's chat template writes earlier turns differently once others follow",
                fix="keep one answer per row, or give the earlier ones weight 0",
            )
        return len(prefix), end + len(self.stop)

    # -- the template ------------------------------------------------------------------------------

    def _text(self, messages: Sequence[Any], tools: Sequence[Any], *, answer: bool = False) -> str:
        from jinja2 import TemplateError

        if tools and not self._knows_tools:
            raise Unrenderable("tools", "the model's chat template has no place for tools")
        try:
            return cast(
                "str",
                self.tokenizer.apply_chat_template(
                    [_turn(message) for message in messages],
                    tools=list(tools) or None,
                    add_generation_prompt=answer,
                    tokenize=False,
                ),
            )
        except (TemplateError, TypeError, ValueError, KeyError):
            raise Unrenderable(
                "template_refuses",
                "the model's chat template refuses this chat (the order of its roles, or a system turn)",
                fix="see the model's card for the roles it takes",
            ) from None

    def _encode(self, text: str) -> tuple[list[int], list[tuple[int, int]]]:
        """The template has written every special token there should be; none is added."""
        encoded = self.tokenizer(text, add_special_tokens=False, return_offsets_mapping=True, verbose=False)
        return encoded["input_ids"], encoded["offset_mapping"]

    @cached_property
    def _knows_tools(self) -> bool:
        return "tools" in str(self.tokenizer.chat_template)

    def _find_stop(self) -> str:
        """The special token that closes an assistant's turn: the first one after an answer."""
        chat = [{"role": "user", "content": "?"}, {"role": "assistant", "content": "answer"}]
        rest = self._text(chat, ()).rpartition("answer")[2]
        ends = [(at, token) for token in self._special if token and (at := rest.find(token)) >= 0]
        if not ends:
            raise Unsupported(
                "its chat template ends an answer with no special token: it would never learn to stop",
                place=self.name,
            )
        return min(ends)[1]

    def _refuse_control(self, messages: Sequence[Mapping[str, Any]]) -> None:
        for message in messages:
            for text in _texts(message):
                if any(token in text for token in self._special):
                    raise Unrenderable(
                        "control_token",
                        "the text spells out one of the model's special tokens, which could forge a turn",
                        fix="remove the token from the text",
                    )


def shorten(rendered: Rendered, limit: int) -> Rendered:
    """At most `limit` tokens: the longest stretch that is not trained loses its middle.

    A chat's beginning (system turn), its end and every answer stay whole.

    Raises:
        Unrenderable: without touching an answer it does not fit.
    """
    excess = len(rendered.input_ids) - limit
    if excess <= 0:
        return rendered
    begin, end = max(_untrained(rendered.labels), key=lambda run: run[1] - run[0], default=(0, 0))
    if end - begin <= excess:
        raise Unrenderable("too_long", "the answers alone are longer than the model's limit")
    cut = begin + (end - begin - excess) // 2
    keep = [*range(cut), *range(cut + excess, len(rendered.input_ids))]
    return Rendered([rendered.input_ids[i] for i in keep], [rendered.labels[i] for i in keep])


# What a tokenizer is read from, the chat template with it; weights are no part of it.
_TOKENIZER_FILES = (
    "tokenizer*", "chat_template*", "chat_templates/*", "special_tokens_map.json", "added_tokens.json",
    "vocab*", "merges.txt", "*.model", "*.tiktoken",
)  # fmt: skip


class TemplateCounter:
    """Counts exactly what training would see."""

    band = 0.0

    def __init__(self, folder: Path, name: str) -> None:
        self._folder, self._name = folder, name
        self.method = f"{name} tokenizer (exact)"

    @cached_property
    def identity(self) -> str:
        """The method and a SHA-256 over the tokenizer's files: whoever keeps a count keeps it under this."""
        found = {path for pattern in _TOKENIZER_FILES for path in self._folder.glob(pattern)}
        if not (self._folder / "tokenizer_config.json").is_file():  # then this says which tokenizer it is
            found.add(self._folder / "config.json")
        digest = hashlib.sha256()
        for path in sorted(path for path in found if path.is_file()):
            digest.update(f"{path.relative_to(self._folder)} {sha256_of(path)}\n".encode())
        return f"{self.method} {digest.hexdigest()}"

    @cached_property
    def _template(self) -> Template:
        return Template.load(self._folder, self._name)

    def count(self, row: Row) -> int:
        """Tokens of the row; of both chats where two answers are compared."""
        answers = (row.chosen, row.rejected) if row.is_preference else ((),)
        return sum(self._count(row, answer) for answer in answers)

    def _count(self, row: Row, answer: Sequence[Any]) -> int:
        messages = [turn.to_json() for turn in (*row.messages, *answer)]
        try:
            return self._template.length({"messages": messages, "tools": row.tools})
        except Unrenderable:  # refused later, by name; its size is still wanted
            return sum(self._template.length({"messages": [_as_user(turn)]}) for turn in messages)


def _as_user(turn: Mapping[str, Any]) -> dict[str, str]:
    return {"role": "user", "content": " ".join(_texts(turn))}


def _turn(message: Mapping[str, Any]) -> dict[str, Any]:
    """A turn as templates want it: arguments of tool calls as objects, no weight."""
    turn = {key: message[key] for key in _MESSAGE_KEYS if message.get(key) is not None}
    if calls := message.get("tool_calls"):
        turn["tool_calls"] = [
            {**call, "function": {**call["function"], "arguments": json.loads(call["function"]["arguments"])}}
            for call in calls
        ]
    return turn


def _texts(message: Mapping[str, Any]) -> Iterator[str]:
    yield message.get("content") or ""
    for call in message.get("tool_calls", ()):
        yield call["function"]["name"]
        yield call["function"]["arguments"]


def _trained_turns(messages: Sequence[Mapping[str, Any]]) -> Iterator[int]:
    for index, message in enumerate(messages):
        if message["role"] == "assistant" and message.get("weight") != 0:
            yield index


def _untrained(labels: Sequence[int]) -> Iterator[tuple[int, int]]:
    begin = 0
    for index, label in enumerate((*labels, 0)):
        if label != IGNORE:
            if index > begin:
                yield begin, index
            begin = index + 1
