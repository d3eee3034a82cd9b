"""The same prompt gets the same answer whatever stands beside it, down to near ties."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pytest

from backends.local import decoding
from backends.local.backend import LocalBackend
from backends.registry import facts
from gateway.core.job import ChatMessage
from tests.local.conftest import WORDS, make_base


@pytest.fixture(scope="module")
def undecided(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A base for which all tokens are as good as each other, but for the last digits of a float."""
    from safetensors.torch import load_file, save_file  # pyright: ignore[reportUnknownVariableType]

    folder = make_base(tmp_path_factory.mktemp("undecided"))
    weights: dict[str, Any] = load_file(folder / "model.safetensors")
    head = weights["lm_head.weight"]
    weights["lm_head.weight"] = head[:1] * 20 + head * 1e-6
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    return folder


def _chats(count: int) -> list[list[ChatMessage]]:
    draw = random.Random(1)
    words = WORDS.split()
    return [
        [ChatMessage("user", " ".join(draw.choices(words, k=draw.randrange(1, 40))))] for _ in range(count)
    ]


def _differing(base: Path, home: Path) -> int:
    """Prompts whose answer in company is not their answer alone."""
    backend = LocalBackend(facts("local"), home)
    chats = _chats(8)
    together = backend.complete(str(base), chats, max_output_tokens=5)
    alone = [backend.complete(str(base), [chat], max_output_tokens=5)[0] for chat in chats]
    return sum(a.text != b.text for a, b in zip(together, alone, strict=True))


def test_near_ties_are_settled_by_the_row_alone(
    undecided: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert _differing(undecided, tmp_path) == 0
    monkeypatch.setattr(decoding, "NEAR_TIE", 0.0)
    assert _differing(undecided, tmp_path) > 0, "rounding decides nothing here: the test shows nothing"


def test_a_short_prompt_keeps_its_room_beside_a_long_one(base: Path, backend: LocalBackend) -> None:
    """256 positions: beside a prompt of some 200 tokens a short one may still say 100."""
    short, long = [ChatMessage("user", "the knee")], [ChatMessage("user", "knee " * 90)]
    alone = backend.complete(str(base), [short], max_output_tokens=100)[0]
    beside = backend.complete(str(base), [short, long], max_output_tokens=100)[0]
    assert beside.text == alone.text
    assert beside.output_tokens == alone.output_tokens
    assert alone.output_tokens is not None
    assert alone.output_tokens > 60, "it ends by itself: choose another prompt"


def test_rows_that_have_ended_leave_the_batch(base: Path) -> None:
    from backends.local.loaded import Weights, load

    loaded = load(Weights(str(base)), base)
    prompts = [loaded.template.prompt([{"role": "user", "content": text}]) for text in ("a", "the left knee")]
    greedy = decoding.Greedy(prompts, [2, 5], loaded.template.stop_id, loaded.model.device)
    steps: list[list[tuple[int, int]]] = []
    while spoken := greedy.step(loaded):
        steps.append(spoken)
    assert [[row for row, _ in step] for step in steps] == [[0, 1], [0, 1], [1], [1], [1]]
