"""Token counts: word by word what the tokenizer says of the whole, and what OpenAI's own says of it."""

from __future__ import annotations

import csv
import gzip
import hashlib
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path

import bpe_openai
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from backends.openai.counter import TOKENS_PER_MESSAGE, OpenAICounter, TextCounter
from gateway.core.rows import Message, Row, ToolCall

ENCODINGS = ("o200k_base", "cl100k_base")
SHARED = Path(__file__).parents[2].parent / "shared" / "data" / "mts-dialog"
# What decides where a tokenizer cuts: spaces of every kind, line ends, marks, quotes, digits, capitals.
EDGES = st.sampled_from((
    " ", "  ", "\n", "\n\n", " \n", "\r\n", "\t", "/", "'s", "'LL", ".", "...", "-", "1", "12345", "²", "①",
    "a", "The", "word", "WORDs", "é", "e\u0301", "\u0301", "\u00a0", "\u3000", "\u200b", "日本", "🙂", "ⅷ",
    "\u2028", "\x1c", "\x85", "<|im_end|>", '"', "(", "#", "ß", "İ", "ǅ", "ʰ",
))  # fmt: skip
TEXTS = st.lists(EDGES | st.text(max_size=3), max_size=30).map("".join)


@cache
def whole(encoding: str) -> Callable[[str], int]:
    encode = bpe_openai.get_encoding(encoding).encode_ordinary
    return lambda text: len(encode(text))


@cache
def by_words(encoding: str) -> TextCounter:
    return TextCounter(whole(encoding))


@pytest.mark.parametrize("encoding", ENCODINGS)
@given(text=TEXTS)
@settings(max_examples=400, deadline=None)
def test_a_text_has_as_many_tokens_as_its_words(encoding: str, text: str) -> None:
    assert by_words(encoding).count(text) == whole(encoding)(text)


@pytest.mark.parametrize("encoding", ENCODINGS)
@given(parts=st.lists(st.sampled_from(["a", " ", "\n", "\r\n", "\r", "/", ".", "7"]), max_size=12))
@settings(max_examples=400, deadline=None)
def test_and_where_spaces_and_line_ends_meet(encoding: str, parts: list[str]) -> None:
    text = "".join(parts)
    assert by_words(encoding).count(text) == whole(encoding)(text)


def test_a_full_cache_begins_anew_and_counts_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("backends.openai.counter._KEPT_WORDS", 3)
    counter, text = TextCounter(whole("o200k_base")), "one two three four five six seven one two three"
    assert counter.count(text) == counter.count(text) == whole("o200k_base")(text)


def test_a_row_counts_its_template_its_calls_and_its_tools() -> None:
    tokens, counter = whole("o200k_base"), OpenAICounter("o200k_base")
    call = ToolCall("c1", "look_up", '{"id": 7}')
    turns = (Message("user", "Who is it?"), Message("assistant", "", tool_calls=(call,)))
    plain = Row(1, turns)
    counted = 2 * TOKENS_PER_MESSAGE + tokens("Who is it?") + tokens("look_up") + tokens('{"id": 7}')
    assert counter.count(plain) == counted
    assert counter.count(Row(1, turns, tools=({"type": "function"},))) == counted + tokens(
        '{"type": "function"}'
    )


def test_a_text_longer_than_the_tokenizer_takes_is_counted() -> None:
    counter = OpenAICounter("o200k_base")
    line = "One line.\n"  # 150,000 of them are 1.5 million characters
    counted = TOKENS_PER_MESSAGE + 150_000 * whole("o200k_base")(line)
    assert counter.count(Row(1, (Message("user", line * 150_000),))) == counted
    assert counter.count(Row(1, (Message("user", "\t" * 1_200_000),))) > TOKENS_PER_MESSAGE


@pytest.fixture
def tiktoken_offline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """OpenAI's own tokenizer, its files laid where it looks for them; it checks their hashes itself."""
    packed = Path(bpe_openai.__file__).parent / "data"
    for name in ENCODINGS:
        url = f"https://openaipublic.blob.core.windows.net/encodings/{name}.tiktoken"
        place = tmp_path / hashlib.sha1(url.encode(), usedforsecurity=False).hexdigest()
        place.write_bytes(gzip.decompress((packed / f"{name}.tiktoken.gz").read_bytes()))
    monkeypatch.setenv("TIKTOKEN_CACHE_DIR", str(tmp_path))


def dialogues() -> Iterator[tuple[str, str]]:
    for path in sorted(SHARED.glob("*.csv")):
        with path.open(encoding="utf-8-sig", newline="") as file:
            yield from ((row["dialogue"], row["section_text"]) for row in csv.DictReader(file))


@pytest.mark.shared
@pytest.mark.usefixtures("tiktoken_offline")
@pytest.mark.parametrize("encoding", ENCODINGS)
def test_every_real_row_counts_as_openai_counts_it(encoding: str) -> None:
    if not SHARED.is_dir():
        pytest.skip("the development data are not here")
    import tiktoken

    reference, counter = tiktoken.get_encoding(encoding), OpenAICounter(encoding)
    rows = list(dialogues())
    assert len(rows) == 1301
    for dialogue, note in rows:
        row = Row(1, (Message("user", dialogue), Message("assistant", note)))
        theirs = sum(TOKENS_PER_MESSAGE + len(reference.encode_ordinary(text)) for text in (dialogue, note))
        assert counter.count(row) == theirs
