"""Killed, stopped, damaged, moved: a run goes on to the very same end, or says why it cannot."""

from __future__ import annotations

import json
import random
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from backends.local import checkpoint, models, tensors
from backends.local.checkpoint import Reached
from backends.local.loop import Interrupted, train
from backends.local.run import Run, write_json
from gateway.core.errors import BackendError
from tests.local.conftest import Bench, make_base, rows

ROOT = Path(__file__).parents[2]
SAVE = "backends.local.checkpoint.Checkpoints"


def never() -> bool:
    return False


def after(steps: int) -> Callable[[], bool]:
    """Ask to stop once so many steps are done."""
    left = iter([False] * (steps - 1))
    return lambda: next(left, True)


def lines(run: Run) -> list[dict[str, Any]]:
    """What a run measured, without what time and memory have to do with."""
    text = (run.folder / "metrics.jsonl").read_text(encoding="utf-8")
    how = {"tokens_per_s", "eta_s", "memory_gib"}
    return [{k: v for k, v in json.loads(line).items() if k not in how} for line in text.splitlines()]


def result(run: Run) -> bytes:
    (weights,) = [path for name in ("adapter", "model") for path in run.folder.glob(f"{name}/*.safetensors")]
    return weights.read_bytes()


def pairs(count: int = 40) -> list[dict[str, Any]]:
    """Preferences with a rule: the right parity before the wrong one."""
    found = rows(count)
    for number, row in enumerate(found):
        (answer,) = row["messages"][1:]
        wrong = answer["content"].replace(*(("even", "odd") if number % 2 == 0 else ("odd", "even")))
        row |= {
            "messages": row["messages"][:1],
            "chosen": [answer],
            "rejected": [{**answer, "content": wrong}],
        }
    return found


def validated(
    bench: Bench, name: str, *, contrary: bool = False, data: Callable[[int], Any] = rows, **changes: Any
) -> Run:
    """A run with validation rows; `contrary` ones have nothing of what is learnt."""
    run = bench.prepare(data(40), name, **changes)
    held_out = data(60)[48:]
    for row in held_out if contrary else ():
        row["messages"][1]["content"] = "worse none since"
    path = bench.folder / "validation.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in held_out), encoding="utf-8")
    config = run.config
    sha256 = checkpoint.sha256_of(path)
    files = {**config["files"], "validation": {"path": str(path), "sha256": sha256}}
    run.create({**config, "files": files}, {})
    return run


def crash(run: Run, *points: str) -> None:
    command = [sys.executable, "-m", "tests.local.crashing", str(run.folder), *points]
    done = subprocess.run(command, check=False, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert run.status.state == "succeeded", run.status


# -- killed ----------------------------------------------------------------------------------------


METHODS = {
    "lora": {"method": "lora"},
    "full": {"method": "full", "learning_rate": 1e-3},
    "dpo": {"task": "dpo", "beta": 0.1, "method": "lora"},
    "dpo full": {"task": "dpo", "beta": 0.1, "method": "full", "learning_rate": 1e-3},
}


@pytest.mark.parametrize(
    ("method", "points"),
    [
        pytest.param("lora", 3, id="three steps"),
        *(
            pytest.param(method, 10, id=f"ten steps of {method}", marks=pytest.mark.slow)
            for method in METHODS
        ),
    ],
)
def test_killed_at_any_steps_it_ends_with_the_same_bits(bench: Bench, method: str, points: int) -> None:
    body = {"checkpoint_every": 4, "early_stopping": 0, **METHODS[method]}
    data = pairs if "dpo" in method else rows
    whole = validated(bench, "whole", data=data, body=body, epochs=4)
    train(whole, never)
    run = validated(bench, "killed", data=data, body=body, epochs=4)
    steps = sorted(random.Random(points).sample(range(1, 41), points))
    crash(run, *(f"step:{step}" for step in steps))
    assert lines(run) == lines(whole)
    assert len(lines(run)) == 40
    assert result(run) == result(whole)


WRITING = (
    "backends.local.tensors._bytes:5",  # in the middle of the weights
    "backends.local.tensors._bytes:40",  # in the middle of the optimizer's state
    "backends.local.checkpoint.write_json:1",  # all but the manifest
    "backends.local.checkpoint.sync_folder:1",  # has its name, perhaps not on the disk
    f"{SAVE}._prune:2",  # there are too many
    "backends.local.result.sync_folder:1",  # the result is there, and nobody was told
)


@pytest.mark.slow
def test_killed_while_a_checkpoint_or_the_result_is_written_it_ends_with_the_same_bits(bench: Bench) -> None:
    body = {"checkpoint_every": 4, "keep_checkpoints": 1}
    whole = validated(bench, "whole", body=body)
    train(whole, never)
    run = validated(bench, "killed", body=body)
    crash(run, *WRITING)
    assert lines(run) == lines(whole)
    assert result(run) == result(whole)
    assert not list(run.folder.glob("checkpoints/.*"))


def test_a_run_stopped_anywhere_goes_on_to_the_same_bits(bench: Bench) -> None:
    whole = bench.prepare(rows(), "whole")
    train(whole, never)
    parts = bench.prepare(rows(), "parts")
    for steps in (3, 8):
        with pytest.raises(Interrupted):
            train(parts, after(steps))
    train(parts, never)
    assert len(lines(whole)) == 20
    assert lines(parts) == lines(whole)
    assert result(parts) == result(whole)
    assert lines(whole)[-1]["loss"] < lines(whole)[0]["loss"]


# -- damaged, or of another run --------------------------------------------------------------------


@pytest.mark.parametrize(
    "file", ["weights-00001.safetensors", "optimizer-00001.safetensors", "manifest.json"]
)
def test_a_damaged_checkpoint_is_passed_over_and_said(bench: Bench, file: str) -> None:
    whole = bench.prepare(rows(), "whole")
    train(whole, never)
    run = bench.prepare(rows(), "damaged")
    for steps in (4, 4):
        with pytest.raises(Interrupted):
            train(run, after(steps))
    path = run.folder / "checkpoints" / "step-000008" / file
    path.write_bytes(path.read_bytes()[:-2] + b"!!")
    train(run, never)
    assert "checkpoint_corrupt" in [event.kind for event in run.events()]
    assert result(run) == result(whole)


def _change_data(bench: Bench, run: Run) -> None:
    bench.prepare(rows(39), run.folder.name)


def _change_rate(bench: Bench, run: Run) -> None:
    bench.prepare(rows(), run.folder.name, learning_rate=3e-4)


def _change_adapter(bench: Bench, run: Run) -> None:
    bench.prepare(rows(), run.folder.name, body={"lora": {"rank": 4, "alpha": 8, "dropout": 0.0}})


def _change_base(bench: Bench, run: Run) -> None:
    make_base(Path(run.config["body"]["model"]["id"]), seed=2)


def _change_tokenizer(bench: Bench, run: Run) -> None:
    path = Path(run.config["body"]["model"]["id"]) / "tokenizer_config.json"
    path.write_text(path.read_text(encoding="utf-8") + " ", encoding="utf-8")


def _change_format(bench: Bench, run: Run) -> None:
    _edit(run, schema="tunegate.local.checkpoint/0")


def _change_order(bench: Bench, run: Run) -> None:
    manifest = json.loads(next(run.folder.glob("checkpoints/step-*/manifest.json")).read_bytes())
    _edit(run, hashes={**manifest["hashes"], "order of rows": "0" * 64})


@pytest.mark.parametrize(
    ("change", "which"),
    [
        (_change_data, "another train data"),
        (_change_rate, "another learning_rate"),
        (_change_adapter, "another lora"),
        (_change_base, "another base"),
        (_change_tokenizer, "another tokenizer"),
        (_change_format, "another format"),
        (_change_order, "another order of rows"),
    ],
)
def test_a_checkpoint_of_something_else_is_refused_and_it_says_of_what(
    bench: Bench, tmp_path: Path, change: Callable[[Bench, Run], None], which: str
) -> None:
    bench.base = Path(shutil.copytree(bench.base, tmp_path / "changing"))
    run = bench.prepare(rows(), "one")
    with pytest.raises(Interrupted):
        train(run, after(2))
    change(bench, run)
    models.revision.cache_clear()
    with pytest.raises(BackendError, match=which) as caught:
        train(run, never)
    assert caught.value.fix


def test_other_versions_of_libraries_are_said_and_no_obstacle(bench: Bench) -> None:
    run = bench.prepare(rows(8), "one")
    with pytest.raises(Interrupted):
        train(run, after(2))
    _edit(run, made_with={"torch": "2.6.0"})
    train(run, never)
    (event,) = [event for event in run.events() if event.kind == "other_versions"]
    assert f"torch 2.6.0 → {torch.__version__}" in event.text


def test_how_a_machine_goes_about_it_may_change(bench: Bench) -> None:
    """More memory, another number of threads or processes: the same run."""
    run = bench.prepare(rows(12), "one")
    with pytest.raises(Interrupted):
        train(run, after(2))
    config = run.config
    config["body"] |= {"micro_batch_tokens": 300, "threads": 1, "checkpointing": True}
    write_json(run.folder / "run.json", config)
    train(run, never)
    assert run.status.state == "succeeded"


def _edit(run: Run, **changes: Any) -> None:
    for path in run.folder.glob("checkpoints/step-*/manifest.json"):
        write_json(path, {**json.loads(path.read_bytes()), **changes})


# -- what is kept ----------------------------------------------------------------------------------


def test_the_latest_are_kept_and_the_best_and_nothing_in_them_is_pickle(bench: Bench) -> None:
    run = validated(
        bench,
        "one",
        contrary=True,
        learning_rate=2e-2,
        epochs=6,
        body={"checkpoint_every": 3, "early_stopping": 0},
    )
    train(run, never)
    kept = sorted(path.name for path in (run.folder / "checkpoints").iterdir())
    losses = {line["step"]: line["validation_loss"] for line in lines(run) if "validation_loss" in line}
    best = min(losses, key=lambda step: losses[step])
    assert best < 50, "this test wants a run that gets worse in the end"
    assert kept == [f"best-{best:06d}", "step-000057", "step-000060"]
    assert not list((run.folder / "checkpoints").glob("best-*/optimizer-*"))
    files = {path.suffix for path in (run.folder / "checkpoints").rglob("*") if path.is_file()}
    assert files == {".safetensors", ".json"}


def test_the_result_is_the_best_and_it_is_said(bench: Bench) -> None:
    run = validated(bench, "one", contrary=True, learning_rate=2e-2, epochs=6, body={"early_stopping": 0})
    train(run, never)
    (taken,) = [event for event in run.events() if event.kind == "best_taken"]
    stopped = validated(
        bench, "stopped", contrary=True, learning_rate=2e-2, epochs=6, body={"early_stopping": 0}
    )
    with pytest.raises(Interrupted):
        train(stopped, after(taken.data["step"]))
    folder = stopped.folder / "checkpoints" / f"step-{taken.data['step']:06d}"
    weights = dict(tensors.load(folder, ["weights-00001.safetensors"]))
    from safetensors.torch import load

    found = load(result(run))
    assert len(found) == len(weights)
    for name, value in weights.items():
        assert torch.equal(value, found[name.replace(".default", "")])
    assert json.loads((run.folder / "adapter" / "tunegate.json").read_bytes())["step"] == taken.data["step"]


def test_training_ends_when_it_no_longer_gets_better_and_stays_ended(bench: Bench) -> None:
    run = validated(bench, "one", contrary=True, epochs=12, body={"early_stopping": 2, "validate_every": 5})
    train(run, never)
    (event,) = [event for event in run.events() if event.kind == "stopped_early"]
    losses = [line["validation_loss"] for line in lines(run) if "validation_loss" in line]
    assert min(losses) == losses[-3], losses
    assert event.data["best"] == event.data["step"] - 10 == len(lines(run)) - 10
    assert f"{120 - event.data['step']} steps are not taken" in event.text
    before = result(run)
    run.set_status("queued")
    train(run, never)
    assert lines(run)[-1]["step"] == event.data["step"]
    assert result(run) == before


def test_how_far_a_run_has_come() -> None:
    reached = Reached().after(5, 2.0).after(6).after(10, 1.0).after(15, 1.0).after(20, 3.0)
    assert (reached.step, reached.best, reached.without_gain) == (20, 10, 2)
    assert (Reached(3).best, Reached(3).without_gain) == (None, 0)


def test_tensors_are_written_as_the_library_reads_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from safetensors.torch import load_file  # pyright: ignore[reportUnknownVariableType]

    monkeypatch.setattr(tensors, "FILE_BYTES", 200)
    made = {
        "a": torch.randn(3, 5),
        "b": torch.randn(7, 2).bfloat16().t(),
        "step": torch.tensor(3.0),
        "many": torch.arange(90),
        "nothing": torch.zeros(0, 4),
        "bits": torch.arange(5, dtype=torch.uint8),
    }
    hashes = tensors.save(tmp_path, "weights", made)
    assert list(hashes) == [f"weights-0000{n}.safetensors" for n in (1, 2, 3)]
    found = {name: value for file in hashes for name, value in load_file(tmp_path / file).items()}
    assert found.keys() == made.keys()
    assert all(
        torch.equal(found[name], made[name]) and found[name].dtype == made[name].dtype for name in made
    )
    assert all(checkpoint.sha256_of(tmp_path / file) == value for file, value in hashes.items())
    again = dict(tensors.load(tmp_path, list(hashes)))
    assert all(torch.equal(again[name], made[name]) for name in made)
