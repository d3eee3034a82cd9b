"""What does not fit says the smallest change after which it would; and the change is true."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from cost import fit, smallest_change
from cost.memory import Load, parts_gib, passing_bytes
from gateway.core.facts import ModelShape
from gateway.core.plan import Fit, Machine
from gateway.core.rows import TokenStats
from gateway.core.spec import Data, Hyperparameters, JobSpec

LLAMA_8B = ModelShape(8_030_261_248, 32, 4096, 32, 8, 128, 14_336, 128_256, 131_072)
LLAMA_1B = ModelShape(1_235_814_400, 16, 2048, 32, 8, 64, 8192, 128_256, 131_072, tied_embeddings=True)
LLAMA_70B = ModelShape(70_553_706_496, 80, 8192, 64, 8, 128, 28_672, 128_256, 131_072)


def gpu(gib: float, count: int = 1, name: str = "NVIDIA L4") -> Machine:
    return Machine("this-machine", name, count, gib, 8, 64)


def spec(method: str = "lora", *, max_length: int = 8192) -> JobSpec:
    return JobSpec(
        name="job",
        model=("m",),
        method=method,  # pyright: ignore[reportArgumentType]
        data=Data(train=("x",)),
        hyperparameters=Hyperparameters(max_length=max_length),
    )


def stats(longest: int = 600) -> TokenStats:
    lengths = (60, 100, 200, 300, 380, 440, 500, longest)
    return TokenStats("x", 0.0, 300_000, longest, lengths, {"train": 300_000})


def ask_of(tokens: TokenStats) -> Any:
    def ask(asked: JobSpec, shape: ModelShape, machine: Machine) -> Fit:
        return fit(asked, shape, machine, tokens, rows=1000, epochs=3, batch_size=8)

    return ask


def change(
    asked: JobSpec, shape: ModelShape, machine: Machine, tokens: TokenStats, **offers: Any
) -> str | None:
    assert not ask_of(tokens)(asked, shape, machine).fits
    return smallest_change(ask_of(tokens), asked, shape, machine, tokens, **offers)


def test_one_row_too_long_is_shortened_to_the_greatest_length_that_fits() -> None:
    tokens = stats(longest=8000)
    told = change(spec(), LLAMA_8B, gpu(19), tokens)
    assert told is not None
    assert told.startswith("set hyperparameters.max_length: ")
    assert "the longest row has 8,000 tokens" in told
    assert "99% of the rows" in told
    length = int(told.split(": ")[1].split()[0])
    assert ask_of(tokens)(spec(max_length=length), LLAMA_8B, gpu(19)).fits


def test_whole_weights_that_do_not_fit_are_quantised_where_that_is_offered() -> None:
    told = change(spec(), LLAMA_8B, gpu(12), stats(), methods=("lora", "qlora"))
    assert told is not None
    assert told.startswith("set method: qlora")
    assert ask_of(stats())(spec("qlora"), LLAMA_8B, gpu(12)).fits


def test_more_of_the_same_gpu_hold_the_weights_together() -> None:
    told = change(spec(), LLAMA_8B, gpu(16), stats())
    assert told == "take 2 × NVIDIA L4, the weights shared out among them"
    lies = ask_of(stats())(spec(), LLAMA_8B, gpu(16, 2))
    assert lies.choices["sharded"][0] is True
    assert lies.choices["processes"][0] == 2


def test_without_a_gpu_one_is_named_that_holds_it() -> None:
    cpu = Machine("this-machine", None, 0, 0, 4, 8)
    told = change(spec(), LLAMA_8B, cpu, stats())
    assert told is not None
    assert told.startswith("take a GPU with 24 GiB")


def test_a_smaller_model_is_the_last_resort() -> None:
    told = change(spec("full"), LLAMA_70B, gpu(32), stats(), others=[("one", LLAMA_1B), ("eight", LLAMA_8B)])
    assert told == "take one, with 1.2 billion parameters"
    assert change(spec("full"), LLAMA_70B, gpu(32), stats()) is None


def test_several_gpus_train_on_copies_where_one_holds_it() -> None:
    lies = ask_of(stats())(spec("auto"), LLAMA_8B, gpu(80, 4, "NVIDIA A100-SXM4-80GB"))
    assert lies.choices["processes"][0] == 4
    assert "sharded" not in lies.choices
    alone = ask_of(stats())(spec("auto"), LLAMA_8B, gpu(80, 1, "NVIDIA A100-SXM4-80GB"))
    assert lies.hours.likely < alone.hours.likely


def test_an_open_method_becomes_qlora_only_where_that_alone_fits() -> None:
    roomy, tight = (ask_of(stats())(spec("auto"), LLAMA_8B, gpu(gib)) for gib in (24, 12))
    assert roomy.choices["method"][0] == "lora"
    assert tight.choices["method"] == (
        "qlora",
        "QLoRA: with whole weights it does not fit; in 4 bits it does",
    )


LOAD = Load(LLAMA_8B, "lora", "bf16", 16, True, 4096, False, True)


@pytest.mark.parametrize("method", ["lora", "qlora", "full"])
def test_every_part_counts_and_none_is_negative(method: Any) -> None:
    for checkpointing in (False, True):
        for accumulates in (False, True):
            for processes in (1, 8):
                load = replace(
                    LOAD, method=method, checkpointing=checkpointing, accumulates=accumulates,
                    processes=processes, sharded=processes > 1,
                )  # fmt: skip
                parts = parts_gib(load)
                assert min(parts.values()) >= 0
                assert parts["weights"] > 0


def test_full_tuning_of_8b_needs_what_everybody_knows_and_sharding_divides_it() -> None:
    """Weights, gradients and two moments in fp32: 16 bytes a parameter."""
    whole = parts_gib(replace(LOAD, method="full"))
    static = sum(whole[name] for name in ("weights", "gradients", "optimizer"))
    assert static == pytest.approx(16 * 8.03e9 / 2**30, rel=0.001)
    shared = parts_gib(replace(LOAD, method="full", processes=8, sharded=True))
    assert sum(shared[name] for name in ("weights", "gradients", "optimizer")) == pytest.approx(
        static / 8, rel=0.001
    )


def test_chunks_keep_logits_from_growing_with_the_vocabulary_times_the_tokens() -> None:
    short, long = (parts_gib(replace(LOAD, tokens=tokens))["logits"] for tokens in (4096, 32_768))
    assert long < 2 * short


def test_checkpointing_keeps_less_and_works_more_at_once() -> None:
    kept, again = (replace(LOAD, checkpointing=value) for value in (False, True))
    assert passing_bytes(again) < passing_bytes(kept) / 5
