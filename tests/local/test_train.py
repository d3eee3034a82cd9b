"""The loop itself, in this process: what it computes, how it goes on, why it stops."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

from backends.local.loop import train
from backends.local.render import IGNORE, Template
from backends.local.run import Run
from backends.local.train import failure_of
from gateway.core.errors import BackendError, DataError, Unsupported
from tests.local.conftest import Bench, make_base, rows


def _never() -> bool:
    return False


def _losses(run: Run) -> list[float]:
    lines = (run.folder / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    return [json.loads(line)["loss"] for line in lines]


def test_small_passes_and_large_ones_take_the_same_steps(bench: Bench) -> None:
    """Padding is invisible, and a step's rows count the same however they are divided."""
    no_dropout = {"lora": {"rank": 4, "alpha": 8, "dropout": 0.0}}
    large = bench.prepare(rows(12), "large", body=no_dropout)
    small = bench.prepare(rows(12), "small", body={**no_dropout, "micro_batch_tokens": 16})
    train(large, _never)
    train(small, _never)
    assert _losses(small) == pytest.approx(_losses(large), rel=1e-4)


def test_the_first_loss_is_the_models_own(bench: Bench) -> None:
    """The adapter starts as nothing, so the first step's loss is the base's over the same labels."""
    from transformers import AutoModelForCausalLM

    data = rows(4)
    run = bench.prepare(data, "one", epochs=1)
    train(run, _never)
    template = Template.load(bench.base, "tiny")
    load: Any = AutoModelForCausalLM.from_pretrained  # pyright: ignore[reportUnknownMemberType, reportUnknownVariableType]
    model = load(str(bench.base))
    total = trained = 0.0
    for row in data:
        rendered = template.render(row)
        ids, labels = torch.tensor([rendered.input_ids]), torch.tensor([rendered.labels])
        count = int((labels[:, 1:] != IGNORE).sum())
        with torch.no_grad():
            total += float(model(input_ids=ids, labels=labels).loss) * count
        trained += count
    assert _losses(run)[0] == pytest.approx(total / trained, rel=1e-4)


def test_rows_that_do_not_fit_are_refused_or_shortened_and_counted(bench: Bench) -> None:
    long = {
        "messages": [
            {"role": "user", "content": "knee " * 200},
            {"role": "assistant", "content": "left"},
        ]
    }
    data = [*rows(6), long]
    refusing = bench.prepare(data, "refuse", epochs=1, max_length=64)
    train(refusing, _never)
    cutting = bench.prepare(data, "cut", epochs=1, max_length=64, body={"too_long": "truncate"})
    train(cutting, _never)
    counts = [run.events()[0].data for run in (refusing, cutting)]
    assert [(c["used"], c["refused"], c["shortened"]) for c in counts] == [
        (6, {"too_long": 1}, 0),
        (7, {}, 1),
    ]


def test_a_loss_that_is_no_number_ends_the_run_with_a_next_step(bench: Bench, tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file  # pyright: ignore[reportUnknownVariableType]

    broken = make_base(tmp_path / "broken")
    weights = load_file(broken / "model.safetensors")
    weights["lm_head.weight"][0, 0] = float("nan")
    save_file(weights, broken / "model.safetensors", metadata={"format": "pt"})
    bench.base = broken
    with pytest.raises(BackendError, match="no number any more at step 1") as caught:
        train(bench.prepare(rows(), "nan"), _never)
    assert "learning_rate" in (caught.value.fix or "")


def test_no_library_message_reaches_a_failure() -> None:
    failure = failure_of(RuntimeError("the patient's name is in here"))
    assert "patient" not in str(failure)
    assert "RuntimeError" in failure.message


def test_data_that_changed_after_staging_is_refused(bench: Bench) -> None:
    run = bench.prepare(rows(), "one")
    with (bench.folder / "train.jsonl").open("a", encoding="utf-8") as file:
        file.write("{}\n")
    with pytest.raises(DataError, match="changed after"):
        train(run, _never)


def test_pickle_weights_alone_are_refused(bench: Bench, tmp_path: Path) -> None:
    pickled = tmp_path / "pickled"
    shutil.copytree(bench.base, pickled)
    (pickled / "model.safetensors").rename(pickled / "pytorch_model.bin")
    bench.base = pickled
    with pytest.raises(Unsupported, match="pickle"):
        train(bench.prepare(rows(), "pickled"), _never)


def test_a_tokenizer_that_knows_more_than_the_base_is_refused_at_the_start(
    bench: Bench, tmp_path: Path
) -> None:
    foreign = make_base(tmp_path / "foreign")
    tokenizer = Template.load(foreign, "foreign").tokenizer
    tokenizer.add_tokens([f"<|{number}|>" for number in range(200)])
    tokenizer.save_pretrained(str(foreign))
    bench.base = foreign
    with pytest.raises(Unsupported, match="400 embeddings"):
        train(bench.prepare(rows(), "foreign"), _never)


def test_validation_loss_is_told_each_epoch(bench: Bench) -> None:
    run = bench.prepare(rows(), "one")
    config = run.config
    run.create({**config, "files": {**config["files"], "validation": config["files"]["train"]}}, {})
    train(run, _never)
    losses = [event.data["loss"] for event in run.events() if event.kind == "validation"]
    assert len(losses) == 2
    assert losses[1] < losses[0]


def test_every_step_tells_loss_rate_norm_speed_and_memory(bench: Bench) -> None:
    run = bench.prepare(rows(8), "one", epochs=1)
    train(run, _never)
    told = [json.loads(line) for line in (run.folder / "metrics.jsonl").read_text("utf-8").splitlines()]
    assert [line["step"] for line in told] == [1, 2]
    for line in told:
        assert line["steps"] == 2
        assert all(line[name] > 0 for name in ("loss", "lr", "grad_norm", "tokens_per_s", "memory_gib"))
        assert line["eta_s"] >= 0
