"""The embedded base model: made once, whole or not at all, the same each time, and honest about turns."""

from __future__ import annotations

import json
import multiprocessing
import random
from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any, Protocol, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backends.local import base_model
from backends.local.base_model.build import Recipe
from backends.local.base_model.text import documents

pytest.importorskip("torch", reason="the local backend's packages are not installed")


class Tokenizer(Protocol):
    """What these tests use of a tokenizer of transformers, whose own types are partial."""

    eos_token_id: int

    def encode(self, text: str, *, add_special_tokens: bool) -> list[int]: ...
    def decode(self, ids: list[int]) -> str: ...
    def apply_chat_template(self, chat: Sequence[Mapping[str, Any]], **options: Any) -> str: ...
    def __len__(self) -> int: ...


SMALL = replace(base_model.RECIPE, hidden=16, heads=2, intermediate=32, layers=1, steps=3, pool=200)


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("base")


@pytest.fixture(scope="module")
def tokenizer(home: Path) -> Tokenizer:
    return cast("Tokenizer", load_tokenizer(base_model.ensure_tokenizer(home)))


def load_tokenizer(folder: Path) -> object:
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(folder)  # pyright: ignore[reportUnknownMemberType, reportUnknownVariableType]


def _tokens(tokenizer: Tokenizer, chat: list[dict[str, str]], **more: Any) -> list[int]:
    text = tokenizer.apply_chat_template(chat, tokenize=False, **more)
    return tokenizer.encode(text, add_special_tokens=False)


def test_the_text_is_the_same_for_a_seed_and_has_no_open_slot() -> None:
    first, again = list(islice(documents(3), 500)), list(islice(documents(3), 500))
    assert first == again
    assert first != list(islice(documents(4), 500))
    assert not any("{" in text or "}" in text for text in first)
    assert all(text.endswith("<|end|>") for text in first)


@given(st.text(st.characters(exclude_categories=("Cs",))))
def test_any_unicode_comes_back_from_the_tokenizer(tokenizer: Tokenizer, text: str) -> None:
    text = text.replace("<|", "")
    ids = tokenizer.encode(text, add_special_tokens=False)
    assert tokenizer.decode(ids) == text


@given(question=st.text(), answer=st.text())
def test_a_prompt_is_the_same_tokens_with_and_without_its_answer(
    tokenizer: Tokenizer, question: str, answer: str
) -> None:
    """What is trained on is exactly what inference continues from, whatever the text."""
    chat = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": question}]
    prompt = _tokens(tokenizer, chat, add_generation_prompt=True)
    whole = _tokens(tokenizer, [*chat, {"role": "assistant", "content": answer}])
    assert whole[: len(prompt)] == prompt
    assert whole[-1] == tokenizer.eos_token_id


def test_tools_and_calls_are_shown_to_the_model(tokenizer: Tokenizer) -> None:
    call: dict[str, Any] = {"type": "function", "function": {"name": "look_up", "arguments": "{}"}}
    chat: list[dict[str, Any]] = [
        {"role": "user", "content": "Where is it?"},
        {"role": "assistant", "content": "", "tool_calls": [call]},
        {"role": "tool", "content": "at home"},
    ]
    text = tokenizer.apply_chat_template(chat, tools=[{"name": "look_up"}], tokenize=False)
    assert text.count("look_up") == 2
    assert "<|tool|>at home<|end|>" in text


def test_the_config_is_known_before_the_model_is_built(tmp_path: Path) -> None:
    planned = base_model.config()
    assert not base_model.is_built(tmp_path)
    assert planned["max_position_embeddings"] >= 2048
    assert planned["vocab_size"] == Recipe().vocabulary


def test_a_small_build_is_whole_repeatable_and_loads(tmp_path: Path) -> None:
    import torch
    from transformers import AutoModelForCausalLM

    shares: list[float] = []
    torch.manual_seed(random.randrange(1000))  # pyright: ignore[reportUnknownMemberType]
    before = torch.get_rng_state()
    first = base_model.ensure(tmp_path / "a", shares.append, recipe=SMALL)
    assert torch.equal(torch.get_rng_state(), before)
    again = base_model.ensure(tmp_path / "b", recipe=SMALL)

    assert (first / "model.safetensors").read_bytes() == (again / "model.safetensors").read_bytes()
    assert (first / "tokenizer.json").read_bytes() == (again / "tokenizer.json").read_bytes()
    assert shares == pytest.approx([1 / 3, 2 / 3, 1])
    assert "demonstration" in (first / "README.md").read_text(encoding="utf-8")
    assert not list(first.glob("*.bin"))

    model = AutoModelForCausalLM.from_pretrained(first)  # pyright: ignore[reportUnknownMemberType]
    written = json.loads((first / "config.json").read_text(encoding="utf-8"))
    promised = SMALL.config()
    assert {key: written.get(key) for key in promised} == promised
    assert model.get_input_embeddings().weight.shape == (SMALL.vocabulary, SMALL.hidden)


def test_the_tokenizer_fills_its_vocabulary(tokenizer: Tokenizer) -> None:
    """Otherwise the model would have rows that no token reaches."""
    assert len(tokenizer) == base_model.RECIPE.vocabulary


def test_a_build_that_dies_leaves_nothing_that_looks_finished(tmp_path: Path) -> None:
    def die(share: float) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        base_model.ensure(tmp_path, die, recipe=SMALL)
    assert not base_model.is_built(tmp_path, SMALL)
    assert base_model.ensure(tmp_path, recipe=SMALL) == base_model.folder(tmp_path, SMALL)


def _build(home: Path, answers: multiprocessing.Queue[int]) -> None:
    steps: list[float] = []
    base_model.ensure(home, steps.append, recipe=SMALL)
    answers.put(len(steps))


@pytest.mark.slow
def test_two_processes_build_it_once(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    answers = context.Queue()
    pair = [context.Process(target=_build, args=(tmp_path, answers)) for _ in range(2)]
    for process in pair:
        process.start()
    for process in pair:
        process.join(120)
    assert sorted(answers.get(timeout=5) for _ in pair) == [0, SMALL.steps]
