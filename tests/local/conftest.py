"""A tiny random Llama with a real tokenizer: everything of a model but sense, made in a second."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import psutil
import pytest

from backends.base import Handover, Staged
from backends.local.backend import LocalBackend
from backends.local.files import sha256_of
from backends.local.run import Run
from backends.registry import facts
from gateway.core.classes import DataClass
from gateway.core.job import RemoteRef, Snapshot
from gateway.core.plan import CandidateKey, ProviderFile, ProviderRequest, Translation
from gateway.core.rows import DataProfile, FileStats, Message, Row
from gateway.core.spec import JobSpec

TEMPLATE = (
    "{% for m in messages %}<|{{ m['role'] }}|>{{ m['content'] }}<|end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}"
)
SPECIALS = ["<|pad|>", "<|end|>", "<|system|>", "<|user|>", "<|assistant|>"]
WORDS = "the patient reports pain in the left knee and a cough since monday fever none stable better worse"


def make_tokenizer(folder: Path, template: str | None = TEMPLATE) -> None:
    from tokenizers import Tokenizer
    from tokenizers.decoders import ByteLevel as Decoder
    from tokenizers.models import BPE
    from tokenizers.pre_tokenizers import ByteLevel
    from tokenizers.trainers import BpeTrainer
    from transformers import PreTrainedTokenizerFast

    tokenizer: Any = Tokenizer(BPE())
    tokenizer.pre_tokenizer = ByteLevel(add_prefix_space=False)
    tokenizer.decoder = Decoder()
    trainer = BpeTrainer(
        vocab_size=400,
        special_tokens=SPECIALS,
        initial_alphabet=ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator([WORDS] * 3, trainer)
    fast: Any = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        eos_token="<|end|>",
        pad_token="<|pad|>",
        extra_special_tokens=SPECIALS[2:],
        clean_up_tokenization_spaces=False,
    )
    if template:
        fast.chat_template = template
    fast.save_pretrained(str(folder))


def make_base(
    folder: Path,
    *,
    seed: int = 1,
    template: str | None = TEMPLATE,
    positions: int = 256,
    hidden: int = 48,
) -> Path:
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    make_tokenizer(folder, template)
    torch.manual_seed(seed)  # pyright: ignore[reportUnknownMemberType]
    config = LlamaConfig(
        vocab_size=400,
        hidden_size=hidden,
        intermediate_size=2 * hidden,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=positions,
        eos_token_id=1,
        pad_token_id=0,
        bos_token_id=None,
        tie_word_embeddings=False,
    )
    model: Any = LlamaForCausalLM(config)
    model.save_pretrained(str(folder))
    return folder


@pytest.fixture(scope="session", autouse=True)
def one_thread() -> Iterator[None]:
    """A tiny model gains nothing by a second core, and waits for it where cores are busy."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OMP_NUM_THREADS", "1")
        yield


@pytest.fixture(scope="session")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny base's folder."""
    return make_base(tmp_path_factory.mktemp("base"))


@pytest.fixture
def backend(tmp_path: Path) -> LocalBackend:
    return LocalBackend(facts("local"), tmp_path / "home")


def rows(count: int = 40) -> list[dict[str, Any]]:
    """A task with a rule: the answer is the question's last word, and whether the number is even."""
    words = WORDS.split()
    return [
        {
            "messages": [
                {"role": "user", "content": f"{number} {words[number % 7]} {words[number % 5]}"},
                {
                    "role": "assistant",
                    "content": f"{words[number % 5]} {'even' if number % 2 == 0 else 'odd'}",
                },
            ]
        }
        for number in range(count)
    ]


def spec_for(base: Path, **hyperparameters: Any) -> JobSpec:
    return JobSpec.model_validate(
        {
            "name": "tiny",
            "model": str(base),
            "data": {"train": "train.jsonl"},
            "hyperparameters": {"epochs": 2, "batch_size": 4, "learning_rate": 1e-2, **hyperparameters},
        }
    )


def profile_of(path: Path, count: int) -> DataProfile:
    stats = FileStats("train", "canonical", count, count, {}, sha256_of(path), path.stat().st_size)
    return DataProfile(
        hash="0" * 64,
        files=(str(path),),
        bytes=path.stat().st_size,
        rows=count,
        used=count,
        refused={},
        split_rows={"train": count},
        declared=DataClass.PHI,
        scan=None,
        tokens={},
        converted={"canonical": (stats,)},
    )


class Bench:
    """A backend with one dataset, ready to submit; ends what it started."""

    def __init__(self, backend: LocalBackend, base: Path, folder: Path) -> None:
        self.backend, self.base, self.folder = backend, base, folder
        self.refs: list[RemoteRef] = []

    def translation(self, data: Sequence[dict[str, Any]], **hyperparameters: Any) -> Translation:
        path = self.folder / "train.jsonl"
        path.write_text("".join(json.dumps(row) + "\n" for row in data), encoding="utf-8")
        spec = spec_for(self.base, **hyperparameters)
        target = CandidateKey("local", str(self.base), "local", "this-machine")
        return self.backend.translate(spec, target, profile_of(path, len(data)), None)

    def submit(
        self,
        data: Sequence[dict[str, Any]],
        *,
        key: str = "k1",
        when_done: tuple[str, ...] = (),
        body: dict[str, Any] | None = None,
        **hyperparameters: Any,
    ) -> RemoteRef:
        translation = self.translation(data, **hyperparameters)
        request = translation.requests[0]
        changed = ProviderRequest(request.operation, {**request.body, **(body or {})})
        translation = replace(translation, requests=(changed,))
        staged = [self.stage(file) for file in translation.files]
        handover = Handover(f"job-{key}", self.folder / key, when_done)
        handover.folder.mkdir(exist_ok=True)
        ref = self.backend.submit(translation, staged, key=key, handover=handover)
        self.refs.append(ref)
        return ref

    def prepare(
        self, data: Sequence[dict[str, Any]], name: str, *, body: dict[str, Any] | None = None, **changes: Any
    ) -> Run:
        """A run's folder with nothing started: for training inside the test's own process."""
        translation = self.translation(data, **changes)
        path = self.folder / "train.jsonl"
        run = Run(self.folder / name)
        config = {
            "key": name,
            "home": str(self.backend.home),
            "files": {"train": {"path": str(path), "sha256": sha256_of(path)}},
            "body": {**translation.requests[0].body, **(body or {})},
        }
        run.create(config, {"job_id": name, "folder": str(self.folder), "when_done": []})
        return run

    def stage(self, file: ProviderFile) -> Staged:
        return self.backend.stage(file, self.folder / file.name, key=file.name)

    def wait(self, ref: RemoteRef, *states: str, timeout_s: float = 60) -> Snapshot:
        until(
            lambda: self.backend.poll(ref).state in (states or ("succeeded", "failed", "cancelled")),
            timeout_s,
        )
        return self.backend.poll(ref)

    def close(self) -> None:
        for ref in self.refs:
            for who in ("supervisor", "train"):
                if process := Run(Path(ref.id)).process(who):
                    process.kill()
                    psutil.wait_procs([process], timeout=10)


@pytest.fixture
def bench(backend: LocalBackend, base: Path, tmp_path: Path) -> Iterator[Bench]:
    made = Bench(backend, base, tmp_path)
    yield made
    made.close()


def until(true: Callable[[], object], timeout_s: float = 60) -> None:
    """Wait for something that another process does."""
    import time

    end = time.monotonic() + timeout_s
    while not true():
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.02)


def metrics(ref: RemoteRef) -> list[dict[str, Any]]:
    path = Path(ref.id) / "metrics.jsonl"
    return (
        [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()] if path.exists() else []
    )


def sft_row(user: str, assistant: str) -> Row:
    return Row(line=1, messages=(Message("user", user), Message("assistant", assistant)))
