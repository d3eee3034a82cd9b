"""Token counts as OpenAI bills them, offline: the vocabulary is in the wheel.

Texts repeat their words. The tokenizer never joins what stands before a lone space with what follows it,
so that a text's count is the sum over its words, and each word is put to the tokenizer once.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from functools import cached_property

from gateway.core.rows import Message, Row

# The chat template adds <|im_start|>, the role, <|im_sep|> and <|im_end|> to every message.
TOKENS_PER_MESSAGE = 4
# The tokenizer refuses a million characters in one call.
MAX_CHARACTERS = 500_000
_KEPT_WORDS = 1 << 17  # about 15 MB of them; then begun anew
_LONG_WORD = 40  # characters; what is longer hardly comes again


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
    def _text(self) -> TextCounter:
        import bpe_openai  # 0.1 s, and only where rows are counted

        encode = bpe_openai.get_encoding(self.encoding).encode_ordinary
        return TextCounter(lambda text: len(encode(text)))

    def count(self, row: Row) -> int:
        turns = (*row.messages, *row.chosen, *row.rejected)
        tools = sum(self._text.count(json.dumps(dict(tool))) for tool in row.tools)
        return tools + sum(map(self._message, turns))

    def _message(self, turn: Message) -> int:
        count = self._text.count
        calls = sum(count(call.name) + count(call.arguments) for call in turn.tool_calls)
        return TOKENS_PER_MESSAGE + count(turn.content) + calls


class TextCounter:
    """Counts a text word by word, wherever that is certain to be what the tokenizer itself would say.

    Args:
        tokens: the tokenizer's count of a text of less than a million characters.
    """

    def __init__(self, tokens: Callable[[str], int]) -> None:
        self._tokens = tokens
        self._first = _Words(tokens)
        self._later = _Words(tokens, " ", self._first)

    def count(self, text: str) -> int:
        if not text:
            return 0
        if _by_words(text):
            return self._words(text)
        return sum(
            self._words(line) if _by_words(line) else sum(map(self._tokens, _pieces(line)))
            for line in _lines(text)
        )

    def _words(self, text: str) -> int:
        first, *later = text.split(" ")
        return (self._first[first] if first else 0) + sum(map(self._later.__getitem__, later))


def _by_words(text: str) -> bool:
    """Whether the tokenizer would cut before every space. In what is printable the only white space is the
    space; of two the second belongs to the next word, of three and at the end of line it does not; after an
    end of line it stands for itself."""
    if "   " in text or text.endswith("  "):
        return False
    if "\n" not in text:
        return text.isprintable()
    if "\n " in text or "  \n" in text or "  \r" in text:
        return False
    return text.replace("\r\n", "").replace("\n", "").isprintable()


class _Words(dict[str, int]):
    """Words → their tokens, with what stands before them; counted when first asked for.

    A word with an end of line in it is really two, and the one after it begins a line.
    """

    def __init__(self, tokens: Callable[[str], int], before: str = "", first: _Words | None = None) -> None:
        super().__init__()
        self._tokens, self._before, self._starts = tokens, before, self if first is None else first

    def __missing__(self, word: str) -> int:
        this, *others = _lines(word)
        if others:
            count = self[this] + sum(self._starts[other] for other in others)
        else:
            count = sum(map(self._tokens, _pieces(self._before + word)))
        if len(word) <= _LONG_WORD:
            if len(self) >= _KEPT_WORDS:
                self.clear()
            self[word] = count
        return count


def _lines(text: str) -> Iterator[str]:
    """The text cut where the tokenizer would cut too: after a line's end that a letter or digit follows."""
    start = 0
    end = text.find("\n") + 1
    while end:
        if text[end : end + 1].isalnum():
            yield text[start:end]
            start = end
        end = text.find("\n", end) + 1
    yield text[start:]


def _pieces(text: str) -> Iterator[str]:
    """The text in pieces the tokenizer takes, at most a token off for every half a million characters
    without a line's end."""
    for start in range(0, len(text), MAX_CHARACTERS):
        yield text[start : start + MAX_CHARACTERS]
