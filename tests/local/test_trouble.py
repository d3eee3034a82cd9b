"""A full disk, too little memory, a loss that explodes, somebody else at work: said, with a next step, and
nothing half-written stays."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch

from backends.local import supervisor, train
from backends.local.loop import train as train_here
from backends.local.objective import AnswerTokens
from backends.local.run import ADJUSTED, Run, write_json
from backends.local.tokens import Item
from gateway.core.errors import BackendError
from gateway.core.job import Event
from tests.local.conftest import Bench, rows, until
from tests.local.test_resume import ROOT, lines, never, result, validated

PLAIN = {"lora": {"rank": 4, "alpha": 8, "dropout": 0.0}}


def python(code: str, *arguments: str, before: Sequence[str] = ()) -> str:
    command = [*before, sys.executable, "-c", code, *arguments]
    # What a limit limits is address space, of which malloc reserves 64 MiB for a thread whenever it likes.
    env = {**os.environ, "MALLOC_ARENA_MAX": "1"}
    done = subprocess.run(command, check=False, cwd=ROOT, capture_output=True, text=True, env=env)
    assert done.returncode == 0, done.stderr
    return done.stdout


def only(run: Run, kind: str) -> Event:
    (event,) = [event for event in run.events() if event.kind == kind]
    return event


# -- memory ----------------------------------------------------------------------------------------


def real_shortage() -> None:
    """More than any machine has, asked of the real allocator."""
    torch.empty(2**50)


@pytest.fixture
def little_memory(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """There is room for fewer than 60 tokens at once; the tokens of every pass that was tried."""
    tried: list[int] = []
    real = AnswerTokens.loss

    def loss(self: AnswerTokens, items: Sequence[Item]) -> torch.Tensor:
        tried.append(sum(item.length for item in items))
        if tried[-1] >= 60:
            real_shortage()
        return real(self, items)

    monkeypatch.setattr(AnswerTokens, "loss", loss)
    return tried


def test_memory_that_runs_out_once_is_no_end(bench: Bench, little_memory: list[int]) -> None:
    """The same rows in each step, in smaller passes: the same losses."""
    run = bench.prepare(rows(12), "little", body=PLAIN)
    train_here(run, never)
    assert run.status.state == "succeeded"
    event = only(run, "smaller_passes")
    assert "the same rows in each step" in event.text
    assert event.data["micro_batch_tokens"] < 60
    assert len([tokens for tokens in little_memory if tokens >= 60]) == 1
    enough = bench.prepare(rows(12), "enough", body=PLAIN)
    little_memory.clear()
    assert _losses(run) == pytest.approx(_unhurt(enough), rel=1e-4)


def _unhurt(run: Run) -> list[float]:
    """As it would have been, in passes so small that memory never ran out."""
    write_json(run.folder / ADJUSTED, {"micro_batch_tokens": 40})
    train_here(run, never)
    assert "smaller_passes" not in [event.kind for event in run.events()]
    return _losses(run)


def _losses(run: Run) -> list[float]:
    return [line["loss"] for line in lines(run)]


def test_what_was_found_out_is_not_tried_again(bench: Bench, little_memory: list[int]) -> None:
    run = bench.prepare(rows(12), "little", body=PLAIN)
    train_here(run, never)
    little_memory.clear()
    train_here(run, never)
    assert max(little_memory) < 60


def test_a_single_row_that_does_not_fit_ends_the_run_with_a_next_step(
    bench: Bench, little_memory: list[int]
) -> None:
    long = {"role": "user", "content": "pain " * 80}
    run = bench.prepare([{"messages": [long, rows(1)[0]["messages"][1]]}] * 3, "little", body=PLAIN)
    assert train.main([str(run.folder)]) == 0
    assert run.status.state == "failed"
    assert "not enough memory" in (run.status.message or "")
    assert "max_length" in (only(run, "failed").data["fix"] or "")


LIMITED = """
import resource, sys
from backends.local import loop, train
import peft, transformers.models.llama.modeling_llama

real, calls = loop.take_step, []

def size():
    return int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()

def step(setup, number, items):
    if number == 1:
        resource.setrlimit(resource.RLIMIT_AS, (size() + 200 * 2**20, resource.RLIM_INFINITY))
    return real(setup, number, items)

loop.take_step = step
sys.exit(train.main([sys.argv[1]]))
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="needs RLIMIT_AS and /proc")
def test_a_process_with_a_limit_of_memory_finds_its_size(bench: Bench) -> None:
    """A step of all rows at once takes some 280 MiB; it gets 200."""
    text = "the patient reports pain in the left knee and a cough " * 4
    long: list[dict[str, Any]] = [
        {"messages": [{"role": "user", "content": text}, {"role": "assistant", "content": text}]}
    ] * 400
    shape: dict[str, Any] = {"epochs": 2, "batch_size": 400}
    run = bench.prepare(long, "limited", body={**PLAIN, "micro_batch_tokens": 10**6}, **shape)
    python(LIMITED, str(run.folder))
    free = bench.prepare(long, "free", body={**PLAIN, "micro_batch_tokens": 10**6}, **shape)
    train_here(free, never)
    assert run.status.state == "succeeded", run.status
    assert only(run, "smaller_passes")
    assert _losses(run) == pytest.approx(_losses(free), rel=1e-4)


def test_a_run_that_the_system_ended_for_memory_goes_on_in_smaller_passes(bench: Bench) -> None:
    class Killed(supervisor.Supervisor):
        """Ended by signal 9 at its first two starts."""

        starts = 0

        def train_once(self) -> int:
            self.starts += 1
            return -9 if self.starts < 3 else train.main([str(self.run.folder)])

    run = bench.prepare(rows(12), "killed", body=PLAIN)
    Killed(run).see_through()
    assert run.status.state == "succeeded"
    event = only(run, "smaller_passes")
    assert event.data["micro_batch_tokens"] < event.data["before"]
    whole = bench.prepare(rows(12), "whole", body=PLAIN)
    train_here(whole, never)
    assert _losses(run) == pytest.approx(_losses(whole), rel=1e-4)


# -- disk ------------------------------------------------------------------------------------------

FILLING = """
import sys
from pathlib import Path
from backends.local import loop, train

folder, real = Path(sys.argv[1]), loop.take_step

def step(setup, number, items):
    if number == 7:
        with (folder / "filler").open("wb", buffering=0) as file:
            for size in (4096, 1):
                try:
                    while True:
                        file.write(b"x" * size)
                except OSError:
                    pass
    return real(setup, number, items)

loop.take_step = step
sys.exit(train.main([sys.argv[1]]))
"""


def mounts() -> bool:
    """Whether this process may mount a file system of its own."""
    if shutil.which("unshare") is None:
        return False
    attempt = ["unshare", "-rm", "mount", "-t", "tmpfs", "none", "/mnt"]
    return subprocess.run(attempt, check=False, capture_output=True).returncode == 0


@pytest.mark.slow
@pytest.mark.skipif(not mounts(), reason="this user may not mount a tmpfs")
def test_a_disk_that_somebody_else_fills_is_said_and_freed_it_goes_on(bench: Bench, tmp_path: Path) -> None:
    """A real file system of 3 MB, full to its last byte in the middle of training."""
    whole = bench.prepare(rows(), "whole", body={"checkpoint_every": 5})
    train_here(whole, never)
    run = bench.prepare(rows(), "full", body={"checkpoint_every": 5})
    kept, disk = tmp_path / "kept", run.folder
    script = (
        f"cp -r {disk} {kept} && mount -t tmpfs -o size=3m none {disk} && cp -r {kept}/. {disk} && "
        f'"$0" -c "$1" {disk} && cp {disk}/status.json {kept}/first.json && '
        f"ls -A {disk}/checkpoints > {kept}/ls && "
        f'rm {disk}/filler && "$0" -m backends.local.train {disk} && cp -r {disk}/. {kept}'
    )
    command = ["unshare", "-rm", "sh", "-c", script, sys.executable, FILLING]
    done = subprocess.run(command, check=False, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    said = json.loads((kept / "first.json").read_bytes())
    assert (said["state"], said["message"]) == ("failed", "the disk is full")
    assert "jobs resume" in said["fix"]
    assert (kept / "ls").read_text(encoding="utf-8").split() == ["step-000005"]
    run = Run(kept)
    assert run.status.state == "succeeded"
    assert lines(run) == lines(whole)
    assert result(run) == result(whole)


SMALL_FILES = """
import resource, signal, sys
from backends.local import train
resource.setrlimit(resource.RLIMIT_FSIZE, (70_000, resource.RLIM_INFINITY))
sys.exit(train.main([sys.argv[1]]))
"""


@pytest.mark.slow
def test_a_checkpoint_that_cannot_be_written_leaves_nothing_behind(bench: Bench) -> None:
    """The system refuses more than 70 kB in one file, half-way through the weights."""
    run = bench.prepare(rows(8), "small", body={"checkpoint_every": 1})
    python(SMALL_FILES, str(run.folder))
    assert run.status.state == "failed"
    assert "ulimit -f" in (run.status.fix or "")
    assert only(run, "failed").level == "error"
    assert not list((run.folder / "checkpoints").iterdir())
    assert train.main([str(run.folder)]) == 0
    assert run.status.state == "succeeded"


# -- somebody else ---------------------------------------------------------------------------------


def test_a_folder_in_use_is_refused(bench: Bench) -> None:
    run = bench.prepare(rows(8), "used")
    with run.lock("train").acquire():
        assert train.main([str(run.folder)]) == train.IN_USE
    assert run.status.state == "queued"


@pytest.mark.slow
def test_asked_to_stop_it_leaves_a_checkpoint_and_says_so_by_its_exit(bench: Bench) -> None:
    """A real SIGTERM, in the middle of the run."""
    run = bench.prepare(rows(), "stopped", epochs=30)
    process = subprocess.Popen([sys.executable, "-m", "backends.local.train", str(run.folder)], cwd=ROOT)
    until(lambda: (run.folder / "metrics.jsonl").exists())
    process.terminate()
    assert process.wait(timeout=60) == train.INTERRUPTED
    reached = lines(run)[-1]["step"]
    assert [path.name for path in (run.folder / "checkpoints").iterdir()][-1:] == [f"step-{reached:06d}"]
    assert run.status.state == "training"


def test_a_validation_loss_that_is_no_number_ends_the_run(bench: Bench) -> None:
    run = validated(bench, "exploding", body={"learning_rate": 1e30, "validate_every": 1})
    with pytest.raises(BackendError, match="no number any more"):
        train_here(run, never)
    assert not list(run.folder.glob("checkpoints/step-*2"))
