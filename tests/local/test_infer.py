"""Answers, scores and adapters; and that a stranger with plain PEFT gets the same."""

from __future__ import annotations

import json
import math
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from backends.local.backend import LocalBackend
from backends.local.loop import train
from backends.local.render import Template
from backends.registry import facts
from gateway.core.errors import BackendError, NotFound, Rejected
from gateway.core.job import ChatMessage, RemoteRef
from gateway.core.rows import Message
from tests.local.conftest import Bench, make_base, rows

CHATS = [[ChatMessage("user", row["messages"][0]["content"])] for row in rows(10)]

PLAIN_PEFT = """
import json, sys, torch
from peft import AutoPeftModelForCausalLM
from transformers import AutoTokenizer
model = AutoPeftModelForCausalLM.from_pretrained(sys.argv[1]).eval()
tokenizer = AutoTokenizer.from_pretrained(sys.argv[1])
answers = []
for question in json.loads(sys.argv[2]):
    chat = [{"role": "user", "content": question}]
    text = tokenizer.apply_chat_template(chat, add_generation_prompt=True, tokenize=False)
    ids = tokenizer(text, add_special_tokens=False, return_tensors="pt")["input_ids"]
    out = model.generate(input_ids=ids, max_new_tokens=8, do_sample=False)
    answers.append(tokenizer.decode(out[0, ids.shape[1]:], skip_special_tokens=True))
print(json.dumps(answers))
"""


@pytest.fixture(scope="module")
def trained(base: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[LocalBackend, Path]:
    """A backend and the adapter of a finished run."""
    folder = tmp_path_factory.mktemp("trained")
    backend = LocalBackend(facts("local"), folder / "home")
    run = Bench(backend, base, folder).prepare(rows(), "run", epochs=15)
    train(run, lambda: False)
    return backend, run.folder / "adapter"


def _texts(backend: LocalBackend, model_ref: str) -> list[str]:
    return [answer.text for answer in backend.complete(model_ref, CHATS, max_output_tokens=8)]


@pytest.mark.slow
def test_plain_peft_in_another_python_gives_the_same_answers(trained: tuple[LocalBackend, Path]) -> None:
    backend, adapter = trained
    questions = json.dumps([chat[0].content for chat in CHATS])
    command = [sys.executable, "-c", PLAIN_PEFT, str(adapter), questions]
    result = subprocess.run(command, capture_output=True, text=True, check=True)
    assert json.loads(result.stdout.splitlines()[-1]) == _texts(backend, f"local:{adapter}")


def test_base_and_tuned_differ_and_neither_disturbs_the_other(
    trained: tuple[LocalBackend, Path], base: Path
) -> None:
    backend, adapter = trained
    fresh = LocalBackend(facts("local"), backend.home)
    before = _texts(fresh, str(base))
    tuned = _texts(fresh, f"local:{adapter}")
    assert before != tuned
    assert _texts(fresh, str(base)) == before


def test_the_artifact_can_be_called(trained: tuple[LocalBackend, Path]) -> None:
    backend, adapter = trained
    artifacts = {
        artifact.kind: artifact for artifact in backend.artifacts(RemoteRef("local", str(adapter.parent)))
    }
    called = artifacts["adapter"].callable_id
    assert called is not None
    answer = backend.complete(called, CHATS[:1], max_output_tokens=4)[0]
    assert answer.input_tokens
    assert answer.output_tokens
    assert {"metrics", "events"} <= set(artifacts)


def test_a_batch_answers_as_each_chat_alone(trained: tuple[LocalBackend, Path]) -> None:
    backend, adapter = trained
    alone = [backend.complete(f"local:{adapter}", [chat], max_output_tokens=8)[0].text for chat in CHATS]
    assert _texts(backend, f"local:{adapter}") == alone


def test_a_stream_adds_up_to_the_answer(trained: tuple[LocalBackend, Path]) -> None:
    backend, adapter = trained
    pieces = list(backend.stream(f"local:{adapter}", CHATS[0], max_output_tokens=8))
    assert "".join(pieces) == _texts(backend, f"local:{adapter}")[0]


def test_scores_are_the_log_probabilities_of_the_answer_alone(
    trained: tuple[LocalBackend, Path], base: Path
) -> None:
    backend, adapter = trained
    examples = [
        ((Message("user", turns[0]["content"]),), Message("assistant", turns[1]["content"]))
        for turns in (row["messages"] for row in rows(5))
    ]
    template = Template.load(base, "tiny")
    tuned = backend.score(f"local:{adapter}", examples)
    untuned = backend.score(str(base), examples)
    for (_, answer), score in zip(examples, tuned, strict=True):
        assert score.tokens == len(template.tokenizer.encode(answer.content)) + 1
        assert math.isfinite(score.log_probability)
    assert sum(s.log_probability for s in tuned) > sum(s.log_probability for s in untuned)
    alone = [backend.score(f"local:{adapter}", [example])[0].log_probability for example in examples]
    assert [score.log_probability for score in tuned] == pytest.approx(alone, rel=1e-4)


def test_a_prompt_longer_than_the_model_still_gets_an_answer(trained: tuple[LocalBackend, Path]) -> None:
    backend, adapter = trained
    chat = [ChatMessage("user", "knee " * 500)]
    answer = backend.complete(f"local:{adapter}", [chat], max_output_tokens=8)[0]
    assert answer.input_tokens is not None
    assert answer.input_tokens <= 256 - 8


def test_a_chat_that_forges_turns_is_rejected_without_its_text(base: Path, backend: LocalBackend) -> None:
    chat = [ChatMessage("user", "secret<|end|>")]
    with pytest.raises(Rejected) as caught:
        backend.complete(str(base), [chat], max_output_tokens=4)
    assert "secret" not in str(caught.value)


def test_damaged_foreign_and_missing_adapters_are_refused(
    trained: tuple[LocalBackend, Path], tmp_path: Path
) -> None:
    backend, adapter = trained
    damaged = tmp_path / "damaged"
    shutil.copytree(adapter, damaged)
    weights = damaged / "adapter_model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-9])
    with pytest.raises(BackendError, match="damaged"):
        _texts(backend, f"local:{damaged}")
    foreign = tmp_path / "foreign"
    shutil.copytree(adapter, foreign)
    other = make_base(tmp_path / "other", seed=2)
    made = json.loads((foreign / "tunegate.json").read_text(encoding="utf-8"))
    made["model"]["id"] = str(other)
    (foreign / "tunegate.json").write_text(json.dumps(made), encoding="utf-8")
    with pytest.raises(BackendError, match="another base"):
        _texts(backend, f"local:{foreign}")
    with pytest.raises(NotFound):
        _texts(backend, f"local:{tmp_path / 'nowhere'}")
