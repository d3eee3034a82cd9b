"""Token counts as OpenAI bills them, offline: the vocabulary is in the wheel."""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import cached_property
from typing import Any

from gateway.core.rows import Message, Row

# The chat template adds <|im_start|>, the role, <|im_sep|> and <|im_end|> to every message.
TOKENS_PER_MESSAGE = 4
# The tokenizer refuses a million characters in one call.
MAX_CHARACTERS = 500_000


class OpenAICounter:
    """Tokens of a row in OpenAI's chat template; every role's tokens are billed.

    Rows count in full: what the service would cut at its limit is counted too, so that a row that is
    too long is seen. How tool definitions are written out is not published; they count as their JSON.

    Args:
        encoding: `o200k_base` or `cl100k_base`.
    """

    band = 0.0

    def __init__(self, encoding: str) -> None:
        self.encoding = encoding
        self.method = f"{encoding} (exact)"

    @cached_property
    def _vocabulary(self) -> Any:
        import bpe_openai  # 0.1 s, and only where rows are counted

        return bpe_openai.get_encoding(self.encoding)

    def count(self, row: Row) -> int:
        turns = (*row.messages, *row.chosen, *row.rejected)
        tools = sum(self._tokens(json.dumps(dict(tool))) for tool in row.tools)
        return tools + sum(self._message(turn) for turn in turns)

    def _message(self, turn: Message) -> int:
        calls = sum(self._tokens(call.name) + self._tokens(call.arguments) for call in turn.tool_calls)
        return TOKENS_PER_MESSAGE + self._tokens(turn.content) + calls

    def _tokens(self, text: str) -> int:
        return sum(len(self._vocabulary.encode_ordinary(piece)) for piece in _pieces(text))


def _pieces(text: str) -> Iterator[str]:
    """The text in pieces the tokenizer takes, cut where it would cut too: after a line's end that a
    letter or digit follows. A million characters without one are cut anyway, at most a token off."""
    start = 0
    while len(text) - start > MAX_CHARACTERS:
        end = start + MAX_CHARACTERS
        while (end := text.rfind("\n", start, end)) >= 0 and not text[end + 1].isalnum():
            pass
        end = end + 1 if end >= 0 else start + MAX_CHARACTERS
        yield text[start:end]
        start = end
    yield text[start:]
