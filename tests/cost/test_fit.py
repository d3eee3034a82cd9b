"""Memory and hours: they add up, they grow with the work, and what does not fit says why."""

from __future__ import annotations

from typing import Any

import pytest

from cost import fit
from cost.memory import adapter_parameters
from cost.work import row_lengths
from gateway.core.facts import ModelShape
from gateway.core.plan import Fit, Machine
from gateway.core.rows import TokenStats
from gateway.core.spec import Data, Hyperparameters, JobSpec

LLAMA_8B = ModelShape(8_030_261_248, 32, 4096, 32, 8, 128, 14_336, 128_256, 131_072)
TINY = ModelShape(905_088, 3, 128, 4, 4, 32, 344, 2432, 8192, tied_embeddings=True)
TWO_CORES = Machine("this-machine", None, 0, 0, 2, 23)
L4 = Machine("l4", "NVIDIA L4", 1, 22.4, 8, 32)
A100 = Machine("a100", "NVIDIA A100-SXM4-80GB", 1, 80, 16, 128)


def spec(**hyperparameters: Any) -> JobSpec:
    return JobSpec(
        name="job", model=("m",), data=Data(train=("x",)), hyperparameters=Hyperparameters(**hyperparameters)
    )


def stats(rows: int = 1000, length: int = 500) -> TokenStats:
    lengths = tuple(round(length * share) for share in (0.3, 0.5, 0.7, 1.0, 1.2, 1.5, 2.0, 2.5))
    return TokenStats("x", 0.0, rows * length, lengths[-1], lengths, {"train": rows * length})


def fitted(shape: ModelShape, machine: Machine, rows: int = 1000, **hyperparameters: Any) -> Fit:
    asked = spec(**hyperparameters)
    epochs = hyperparameters.get("epochs", 3)
    return fit(asked, shape, machine, stats(rows), rows=rows, epochs=epochs, batch_size=8)


@pytest.mark.parametrize("machine", [TWO_CORES, L4, A100])
@pytest.mark.parametrize("shape", [TINY, LLAMA_8B])
def test_the_parts_add_up_and_the_hours_are_in_order(shape: ModelShape, machine: Machine) -> None:
    made = fitted(shape, machine)
    assert made.memory_gib == pytest.approx(sum(made.parts_gib.values()), abs=0.001)
    assert made.hours.low < made.hours.likely < made.hours.high
    assert made.fits == (made.why_not is None)


def test_eight_billion_parameters_fit_a_24_gb_gpu_with_checkpointing_and_an_80_gb_one_without() -> None:
    small, large = fitted(LLAMA_8B, L4), fitted(LLAMA_8B, A100)
    assert small.fits
    assert large.fits
    assert small.choices["checkpointing"][0] is True
    assert large.choices["checkpointing"][0] is False
    assert small.parts_gib["weights"] == pytest.approx(14.96, abs=0.01)  # 8.03e9 × 2 bytes
    assert large.hours.likely < small.hours.likely


def test_what_does_not_fit_says_what_is_too_large() -> None:
    asked = spec().model_copy(update={"method": "lora"})
    made = fit(asked, LLAMA_8B, TWO_CORES, stats(), rows=1000, epochs=3, batch_size=8)
    assert not made.fits
    assert made.why_not is not None
    assert "most of it weights (29.9 GiB)" in made.why_not


def test_a_small_model_on_two_cores_takes_a_minute_or_so() -> None:
    made = fitted(TINY, TWO_CORES, rows=400)
    assert made.fits
    assert made.choices["precision"][0] == "fp32"
    assert 5 < made.hours.low * 3600 < made.hours.high * 3600 < 600


def test_more_epochs_take_longer_and_no_more_memory() -> None:
    one, five = fitted(TINY, TWO_CORES, epochs=1), fitted(TINY, TWO_CORES, epochs=5)
    assert one.hours.likely < five.hours.likely
    assert one.memory_gib == five.memory_gib


def test_a_tiny_base_is_given_one_thread_and_a_large_one_every_core() -> None:
    assert fitted(TINY, TWO_CORES).choices["threads"][0] == 1
    assert fitted(LLAMA_8B, TWO_CORES).choices["threads"][0] == 2
    assert "thread" in fitted(TINY, TWO_CORES).choices["threads"][1]


def test_a_longer_limit_means_fewer_rows_a_pass() -> None:
    short, long = (fitted(LLAMA_8B, A100, max_length=length) for length in (512, 2048))
    assert (short.choices["micro_batch"][0], long.choices["micro_batch"][0]) == (8, 2)


def test_a_gpu_nobody_listed_gets_a_wider_band() -> None:
    unknown = Machine("odd", "Odd GPU 9", 1, 80, 16, 128)
    known, odd = fitted(LLAMA_8B, A100).hours, fitted(LLAMA_8B, unknown).hours
    assert odd.high / odd.low > known.high / known.low


def test_the_adapter_of_llama_8b_has_the_size_everybody_knows() -> None:
    assert adapter_parameters(LLAMA_8B, 16) == 41_943_040


def test_lengths_drawn_from_quantiles_lie_as_they_did_and_add_up() -> None:
    quantiles = (10, 10, 20, 50, 100, 300, 800, 900)
    drawn = row_lengths(quantiles, 110_000, 1000)
    assert sum(drawn) == pytest.approx(110_000, rel=0.01)
    assert drawn == sorted(drawn)
    assert drawn[-1] == 900
    assert row_lengths((), 500, 5) == [100] * 5
    assert row_lengths(quantiles, 0, 0) == []
