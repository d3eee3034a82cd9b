"""How many processes train together, and whether each holds a part: as asked, with the memory of that."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from cost import Together, fit
from gateway import Gateway, JobSpec
from gateway.core.facts import ModelShape
from gateway.core.plan import Fit, Machine
from tests.cost.test_fit import A100, L4, LLAMA_8B, TINY, TWO_CORES, spec, stats
from tests.data.make import chats, jsonl


def fitted(shape: ModelShape, machine: Machine, method: str, **options: Any) -> Fit:
    asked = spec().model_copy(update={"method": method})
    together = Together.asked(options)
    return fit(asked, shape, machine, stats(), rows=1000, epochs=3, batch_size=8, together=together)


def value(lies: Fit, name: str) -> object:
    return lies.choices[name][0] if name in lies.choices else None


def test_parts_are_held_where_that_was_asked_for_though_a_whole_copy_fits() -> None:
    four = replace(A100, gpus=4)
    whole, parts = fitted(LLAMA_8B, four, "lora"), fitted(LLAMA_8B, four, "lora", sharded=True)
    assert (value(whole, "processes"), value(whole, "sharded")) == (4, None)
    assert (value(parts, "processes"), value(parts, "sharded")) == (4, True)
    assert parts.parts_gib["weights"] == pytest.approx(whole.parts_gib["weights"] / 4, rel=0.01)


def test_whole_copies_are_held_where_parts_were_ruled_out() -> None:
    four = replace(L4, gpus=4)
    assert value(fitted(LLAMA_8B, four, "full"), "sharded") is True
    whole = fitted(LLAMA_8B, four, "full", sharded=False)
    assert value(whole, "sharded") is None
    assert not whole.fits


def test_fewer_processes_than_gpus_take_longer() -> None:
    four = replace(A100, gpus=4)
    all_of_them, two = fitted(LLAMA_8B, four, "lora"), fitted(LLAMA_8B, four, "lora", processes=2)
    assert value(two, "processes") == 2
    assert two.hours.likely > all_of_them.hours.likely * 3 / 2
    assert value(fitted(LLAMA_8B, A100, "lora", processes=2), "processes") is None  # there is one GPU


def test_processes_on_one_processor_share_its_cores_and_its_memory() -> None:
    one, two = fitted(TINY, TWO_CORES, "lora"), fitted(TINY, TWO_CORES, "lora", processes=2)
    assert value(two, "processes") == 2
    assert two.hours.likely >= one.hours.likely
    tight = replace(TWO_CORES, memory_gib=one.memory_gib * 1.3)
    assert fitted(TINY, tight, "lora").fits
    crowded = fitted(TINY, tight, "lora", processes=2)
    assert not crowded.fits or value(crowded, "micro_batch") != value(one, "micro_batch")


def test_auto_does_not_become_what_cannot_be_divided() -> None:
    """With an L4's memory `auto` is QLoRA, unless parts were asked for: then LoRA, or nothing."""
    small = replace(L4, gpus=2, gpu_memory_gib=14)
    assert value(fitted(LLAMA_8B, small, "auto", sharded=False), "method") == "qlora"
    lies = fitted(LLAMA_8B, small, "auto", sharded=True)
    assert value(lies, "method") == "lora"
    assert "not shared out" in lies.choices["method"][1]


def test_four_bits_in_parts_do_not_fit_and_say_why() -> None:
    lies = fitted(LLAMA_8B, replace(A100, gpus=2), "qlora", sharded=True)
    assert not lies.fits
    assert lies.why_not == "weights in 4 bits are not shared out among processes"


@pytest.mark.parametrize("wrong", [{"processes": "2"}, {"processes": 0}, {"processes": True}, {"sharded": 1}])
def test_an_option_that_is_refused_elsewhere_is_not_taken_here(wrong: dict[str, Any]) -> None:
    assert Together.asked(wrong) == Together()


def test_the_table_of_fits_and_the_plan_hear_the_options(tmp_path: Path) -> None:
    jsonl(tmp_path / "rows.jsonl", chats(range(24)))
    asked = JobSpec.model_validate({
        "name": "parts", "model": "tunegate-demo", "method": "auto",
        "data": {"train": "rows.jsonl", "class": "public", "format": "chat"},
        "route": {"backends": ["local"]},
        "options": {"local": {"processes": 2, "sharded": True}},
    }).at(tmp_path)  # fmt: skip
    gateway = Gateway(home=tmp_path / "home")
    here = [each for each in gateway.costs.fits(asked) if each.machine.gpu is None]
    found = {each.method: (each.fit.fits, value(each.fit, "sharded")) for each in here}
    assert found["lora"] == (True, True)
    assert found["qlora"] == (False, None)
    (candidate,) = gateway.plan(asked).candidates
    assert candidate.fit is not None
    assert value(candidate.fit, "method") == "lora"
    assert candidate.translation is not None
    assert candidate.translation.requests[0].body["method"] == "lora"
