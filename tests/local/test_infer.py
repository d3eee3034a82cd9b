"""Answers, scores and adapters; and that a stranger with plain PEFT gets the same."""

from __future__ import annotations

import json
import math
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from backends.local import loaded
from backends.local.backend import LocalBackend
from backends.local.files import sha256_of
from backends.local.loop import train
from backends.local.render import Template
from backends.registry import facts
from gateway.core.errors import BackendError, NotFound, Rejected, Unsupported
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


def test_a_prompt_longer_than_the_model_gets_an_answer_that_says_what_was_left_out(
    trained: tuple[LocalBackend, Path],
) -> None:
    backend, adapter = trained
    chat = [ChatMessage("user", "knee " * 500)]
    answer, whole = backend.complete(f"local:{adapter}", [chat, CHATS[0]], max_output_tokens=8)
    assert answer.input_tokens is not None
    assert answer.input_tokens <= 256 - 8
    assert answer.input_tokens + answer.cut_tokens > 500
    assert whole.cut_tokens == 0


def test_a_stream_has_no_place_to_say_what_was_left_out_and_refuses(
    trained: tuple[LocalBackend, Path],
) -> None:
    backend, adapter = trained
    with pytest.raises(Rejected, match="the model takes 256"):
        list(backend.stream(f"local:{adapter}", [ChatMessage("user", "knee " * 500)], max_output_tokens=8))


def test_two_streams_may_run_at_once_and_neither_wears_the_others_adapter(
    trained: tuple[LocalBackend, Path], base: Path
) -> None:
    backend, adapter = trained
    models = (f"local:{adapter}", str(base))
    streams = [backend.stream(model, CHATS[1], max_output_tokens=8) for model in models]
    pieces: list[list[str]] = [[], []]
    for pair in zip(*streams, strict=False):  # a piece of one, a piece of the other
        for mine, piece in zip(pieces, pair, strict=True):
            mine.append(piece)
    for model, mine, rest in zip(models, pieces, streams, strict=True):
        told = "".join([*mine, *rest])
        whole = backend.complete(model, CHATS[1:2], max_output_tokens=8)[0].text
        assert whole.startswith(told) or told == whole
        assert told


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


def _copy(adapter: Path, folder: Path, **weights: Any) -> Path:
    """The adapter elsewhere, some of its weights changed; None leaves one out. Its note has no hash."""
    from safetensors.torch import load_file, save_file  # pyright: ignore[reportUnknownVariableType]

    shutil.copytree(adapter, folder)
    made = json.loads((folder / "tunegate.json").read_text(encoding="utf-8"))
    del made["adapter"]
    (folder / "tunegate.json").write_text(json.dumps(made), encoding="utf-8")
    kept = {**load_file(folder / "adapter_model.safetensors"), **weights}
    kept = {name: value for name, value in kept.items() if value is not None}
    save_file(kept, folder / "adapter_model.safetensors")
    return folder


def test_an_adapter_that_lacks_a_weight_is_not_half_used(
    trained: tuple[LocalBackend, Path], base: Path, tmp_path: Path
) -> None:
    """PEFT answers without it, and warns."""
    from safetensors import safe_open

    _, adapter = trained
    fresh = LocalBackend(facts("local"), tmp_path / "home")
    with safe_open(adapter / "adapter_model.safetensors", framework="pt") as file:  # pyright: ignore[reportUnknownVariableType]
        names: list[str] = list(file.keys())  # pyright: ignore[reportUnknownMemberType, reportUnknownArgumentType]
    before = _texts(fresh, str(base))
    with pytest.raises(BackendError, match="damaged"):
        _texts(fresh, f"local:{_copy(adapter, tmp_path / 'lacks', **{names[0]: None})}")
    assert _texts(fresh, str(base)) == before
    assert _texts(fresh, f"local:{adapter}") == _texts(trained[0], f"local:{adapter}")
    with pytest.raises(BackendError, match="damaged"):
        _texts(fresh, f"local:{tmp_path / 'lacks'}")
    assert _texts(fresh, f"local:{adapter}") == _texts(trained[0], f"local:{adapter}")


def test_an_adapter_of_other_sizes_leaves_nothing_behind(
    trained: tuple[LocalBackend, Path], base: Path, tmp_path: Path
) -> None:
    """PEFT finds out when its layers are in the model already."""
    _, adapter = trained
    fresh = LocalBackend(facts("local"), tmp_path / "home")
    before = _texts(fresh, str(base))
    foreign = _copy(adapter, tmp_path / "foreign")
    settings = json.loads((foreign / "adapter_config.json").read_text(encoding="utf-8"))
    (foreign / "adapter_config.json").write_text(json.dumps({**settings, "r": 3}), encoding="utf-8")
    with pytest.raises(BackendError, match="was not made for its base"):
        _texts(fresh, f"local:{foreign}")
    assert _texts(fresh, str(base)) == before
    assert _texts(fresh, f"local:{adapter}") == _texts(trained[0], f"local:{adapter}")


def test_weights_in_a_pickle_file_are_not_read(trained: tuple[LocalBackend, Path], tmp_path: Path) -> None:
    backend, adapter = trained
    shutil.copytree(adapter, tmp_path / "pickled")
    (tmp_path / "pickled" / "adapter_model.safetensors").rename(tmp_path / "pickled" / "adapter_model.bin")
    with pytest.raises(Unsupported, match="pickle"):
        _texts(backend, f"local:{tmp_path / 'pickled'}")


def test_adapters_in_memory_are_bounded_and_each_still_answers_as_itself(
    trained: tuple[LocalBackend, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, adapter = trained
    monkeypatch.setattr(loaded, "MOST_ADAPTERS", 2)
    expected = _texts(trained[0], f"local:{adapter}")
    shelf = loaded.Shelf(tmp_path / "home")
    copies = [_copy(adapter, tmp_path / f"copy-{number}") for number in range(4)]
    for folder in (*copies, *copies):
        with shelf.using(loaded.weights_of(folder)) as held:
            assert len(held.adapters) <= 2
            assert len(held.model.peft_config) == len(held.adapters)
    fresh = LocalBackend(facts("local"), tmp_path / "home")
    for folder in (*copies, copies[0]):
        assert _texts(fresh, f"local:{folder}") == expected


def test_bases_in_memory_are_bounded(base: Path, tmp_path: Path) -> None:
    shelf = loaded.Shelf(tmp_path / "home")
    bases = [base, make_base(tmp_path / "b", seed=2), make_base(tmp_path / "c", seed=3)]
    for folder in (*bases, base):
        with shelf.using(loaded.Weights(str(folder))):
            pass
    assert [Path(key[0]).name for key in shelf.held] == ["c", base.name]


def test_a_whole_tuned_model_is_a_model_of_its_own_and_knows_its_base(
    base: Path, backend: LocalBackend, tmp_path: Path
) -> None:
    model = make_base(tmp_path / "model", seed=5)
    note = {
        "model": {"name": "tiny", "id": str(base)},
        "method": "full",
        "files": {"model.safetensors": sha256_of(model / "model.safetensors")},
    }
    (model / "tunegate.json").write_text(json.dumps(note), encoding="utf-8")
    tuned = f"local:{model}"
    assert _texts(backend, tuned) == _texts(backend, str(model)) != _texts(backend, str(base))
    assert _texts(backend, backend.untuned(tuned, str(base))) == _texts(backend, str(base))
    weights = model / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-4] + b"\0\0\0\0")
    with pytest.raises(BackendError, match=r"model\.safetensors is not what was written"):
        LocalBackend(facts("local"), tmp_path).complete(tuned, CHATS, max_output_tokens=2)


def test_a_qlora_adapter_is_asked_on_the_four_bit_base_it_was_trained_on(base: Path, tmp_path: Path) -> None:
    pytest.importorskip("bitsandbytes")
    bench = Bench(LocalBackend(facts("local"), tmp_path / "home"), base, tmp_path)
    run = bench.prepare(rows(), "run", epochs=1, body={"method": "qlora"})
    train(run, lambda: False)
    adapter = run.folder / "adapter"
    shelf = loaded.Shelf(tmp_path / "home")
    for weights in (loaded.weights_of(adapter), loaded.untuned(adapter)):
        with shelf.using(weights) as held:
            kinds = {type(module).__name__ for module in held.model.modules()}
            assert "Linear4bit" in kinds
    assert len(shelf.held) == 1, "base and tuned stand on the same weights"
    tuned = f"local:{adapter}"
    assert _texts(bench.backend, tuned) != _texts(bench.backend, bench.backend.untuned(tuned, str(base)))


def test_a_full_run_is_asked_as_a_model_of_its_own(base: Path, tmp_path: Path) -> None:
    bench = Bench(LocalBackend(facts("local"), tmp_path / "home"), base, tmp_path)
    run = bench.prepare(rows(), "run", epochs=2, body={"method": "full", "learning_rate": 5e-3})
    train(run, lambda: False)
    called = {a.kind: a.callable_id for a in bench.backend.artifacts(RemoteRef("local", str(run.folder)))}[
        "model"
    ]
    assert called is not None
    before, after = _texts(bench.backend, bench.backend.untuned(called, "")), _texts(bench.backend, called)
    assert before == _texts(bench.backend, str(base))
    assert before != after
