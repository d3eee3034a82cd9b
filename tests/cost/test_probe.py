"""Probes: speeds are found again, told only of the machine they were taken on, and used by the next fit."""

from __future__ import annotations

import math
import random
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cost import Probes, fit
from cost.hours import Speed, Work, effort, seconds
from cost.memory import CHUNK_POSITIONS
from cost.probing import calibrated, keep, read
from cost.work import passes
from gateway.core.errors import SettingsError
from gateway.core.facts import ModelShape
from gateway.core.plan import Machine
from gateway.core.probe import Passes, Probe, Setting, StepSeen, added
from gateway.core.rows import TokenStats
from gateway.core.spec import Data, Hyperparameters, JobSpec

SHAPE = ModelShape(12_000_000, 6, 384, 6, 6, 64, 1024, 4096, 8192)
SETTING = Setting(SHAPE, "sft", "lora", "fp32", 16, True, False, 2)
HERE = "two cores; torch 2"
SPEED = Speed(4e-11, 3e-10, 0.002, 1e-9, 6.0)
TWO_CORES = Machine("this-machine", None, 0, 0, 2, 23)


def one_pass(tokens: int, length: int) -> Passes:
    return Passes(1, tokens, tokens * length, tokens // 3, tokens)


def probe(setting: Setting = SETTING, speed: Speed = SPEED, *, machine: str = HERE) -> Probe:
    """Twenty steps of a machine with exactly these speeds."""
    sizes = [(rows, length) for length in (32, 64, 128, 256, 512) for rows in (1, 2, 4, 8)]
    seen = [one_pass(rows * length, length) for rows, length in sizes]
    exact = replace(speed, start_s=0.0)
    took = [seconds(Work(setting, each, 1), exact) for each in seen]
    steps = [StepSeen(each, time, time, 0.9) for each, time in zip(seen, took, strict=True)]
    at = datetime(2026, 11, 22, 12, tzinfo=UTC)
    return Probe(machine, at, "m", "cpu", setting, 6.0, 0.4, 0.5, 0.9, tuple(steps), added(seen), 20)


@settings(max_examples=30, deadline=None)
@given(
    st.floats(1e-12, 1e-9), st.floats(0, 1e-9), st.floats(1e-5, 1e-2), st.floats(0, 1e-8),
)  # fmt: skip
def test_steps_of_known_speeds_are_told_again(
    operation_s: float, byte_s: float, layer_s: float, number_s: float
) -> None:
    taken = probe(speed=Speed(operation_s, byte_s, layer_s, number_s, 6.0))
    found = calibrated([taken])
    for step in taken.steps:
        told = seconds(Work(SETTING, step.passes, 1), replace(found, start_s=0.0))
        assert told == pytest.approx(step.seconds, rel=0.05)


def test_probes_of_two_sizes_tell_a_third() -> None:
    others = [replace(SETTING, shape=replace(SHAPE, hidden=hidden, layers=4)) for hidden in (128, 768)]
    found = calibrated([probe(setting) for setting in others])
    work = Work(SETTING, one_pass(2048, 256), 1)
    assert seconds(work, found) == pytest.approx(seconds(work, SPEED), rel=0.05)


def test_nothing_takes_less_than_no_time() -> None:
    odd = probe()
    steps = tuple(replace(step, seconds=1 / step.passes.tokens) for step in odd.steps)
    found = calibrated([replace(odd, steps=steps)])
    assert min(found.operation_s, found.byte_s, found.layer_s, found.number_s) >= 0


def test_a_probe_is_kept_read_again_and_replaced_by_the_next_of_its_setting(tmp_path: Path) -> None:
    first = keep(probe(), tmp_path)
    later = replace(probe(), at=datetime(2026, 11, 23, tzinfo=UTC))
    assert keep(later, tmp_path) == first
    assert keep(probe(replace(SETTING, rank=8)), tmp_path) != first
    measured = read(tmp_path, HERE).measured(SETTING, on_gpu=False)
    assert measured is not None
    assert measured.exact
    assert measured.sentence() == "measured on this machine on 2026-11-23"


def test_another_machine_or_other_libraries_tell_nothing(tmp_path: Path) -> None:
    keep(probe(machine="two cores; torch 1"), tmp_path)
    assert not read(tmp_path, HERE)
    assert not Probes([probe()], "").measured(SETTING, on_gpu=False)
    assert Probes([probe()], HERE).measured(SETTING, on_gpu=True) is None


def test_a_file_that_is_no_probe_counts_for_nothing(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text('{"schema": "tunegate.probe/1", "machine": "SECRET"}', encoding="utf-8")
    (tmp_path / "b.json").write_text("not json", encoding="utf-8")
    assert not read(tmp_path, HERE)
    with pytest.raises(SettingsError) as caught:
        Probe.from_json({"schema": "tunegate.probe/9", "machine": "SECRET"}, "a.json")
    assert "SECRET" not in str(caught.value)


def test_another_setting_is_told_with_a_wider_band_and_by_name() -> None:
    measured = Probes([probe()], HERE).measured(replace(SETTING, rank=64), on_gpu=False)
    assert measured is not None
    assert not measured.exact
    assert measured.sentence().endswith(", with m")
    low, likely, high = (speed.layer_s for speed in measured.speeds())
    assert low < 0.85 * likely < 1.15 * likely < high


def test_what_was_measured_replaces_what_is_assumed() -> None:
    lengths = (64, 96, 128, 200, 260, 300, 380, 400)
    stats = TokenStats("x", 0.0, 80_000, 400, lengths, {"train": 80_000})
    spec = JobSpec(
        name="job",
        model=("m",),
        method="lora",
        data=Data(train=("x",)),
        hyperparameters=Hyperparameters(max_length=512),
    )
    probes = Probes([probe()], HERE)
    plain, known = (
        fit(spec, SHAPE, TWO_CORES, stats, rows=400, epochs=3, batch_size=8, probes=each)
        for each in (Probes(), probes)
    )
    assert plain.basis is None
    assert known.basis == "measured on this machine on 2026-11-22"
    assert known.hours.high / known.hours.low < 1.2 < plain.hours.high / plain.hours.low
    assert known.memory_gib == pytest.approx(sum(known.parts_gib.values()), abs=0.001)


def test_a_probe_tells_its_own_peak_again() -> None:
    lengths = (512,) * 8
    stats = TokenStats("x", 0.0, 8 * 512, 512, lengths, {"train": 8 * 512})
    taken = probe()
    spec = JobSpec(
        name="job", model=("m",), method="lora", data=Data(train=("x",)),
        hyperparameters=Hyperparameters(max_length=512),
    )  # fmt: skip
    lies = fit(spec, SHAPE, TWO_CORES, stats, rows=8, epochs=1, batch_size=8, probes=Probes([taken], HERE))
    assert lies.memory_gib == pytest.approx(taken.peak_gib, rel=0.02)


def test_rows_become_passes_as_the_trainer_makes_them() -> None:
    torch = pytest.importorskip("torch")
    from backends.local import batches
    from backends.local.tokens import Example

    chance = random.Random(3)
    drawn = [min(512, max(8, round(100 * math.exp(chance.gauss(0, 0.8))))) for _ in range(1200)]
    items = [Example(torch.zeros(length, dtype=torch.int32), torch.zeros(length)) for length in drawn]
    made = list[int]()
    for step in batches.steps(items, 1, 8, 17, packed=True):
        for part in batches.passes(step, 1024, packed=True):
            made.append(sum(item.length for item in part))
    exact = sorted(drawn)
    lengths = tuple(
        exact[min(1199, int(share * 1200))] for share in (0.01, 0.1, 0.25, 0.5, 0.75, 0.9, 0.99, 1)
    )
    told = passes(lengths, sum(drawn), rows=1200, epochs=1, batch_size=8, pass_tokens=1024, trained_share=0.5)
    assert told.count == pytest.approx(len(made), rel=0.05)
    assert told.tokens == pytest.approx(sum(made), rel=0.05)


def test_the_trainers_chunk_is_the_one_that_is_counted() -> None:
    pytest.importorskip("torch")
    from backends.local import losses

    assert getattr(losses, "CHUNK_POSITIONS", CHUNK_POSITIONS) == CHUNK_POSITIONS


def test_effort_grows_with_what_is_done() -> None:
    small, large = one_pass(512, 128), one_pass(2048, 128)
    assert all(
        a < b for a, b in zip(effort(SETTING, small, 1)[:2], effort(SETTING, large, 1)[:2], strict=True)
    )
    full = replace(SETTING, method="full")
    assert effort(full, small, 1)[0] > effort(SETTING, small, 1)[0]


def test_preferences_take_one_forward_pass_more() -> None:
    work = Work(SETTING, one_pass(2048, 128), 1)
    once = replace(SPEED, start_s=0.0, number_s=0.0)
    assert seconds(replace(work, before=0.5), once) == pytest.approx(1.5 * seconds(work, once))
