"""Runs in processes of their own: they outlive whoever started them, and happen once."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

from backends.base import Handover
from backends.local import supervisor
from backends.local.backend import LocalBackend
from backends.local.loop import train
from backends.local.run import Run
from backends.local.train import main
from gateway.core.errors import BackendError, DataError, NotFound, Rejected
from gateway.core.job import RemoteRef
from tests.local.conftest import Bench, metrics, rows, until

ROOT = Path(__file__).parents[2]

# A gateway in miniature: makes the run and waits to be killed.
GATEWAY = """
import sys, time
from pathlib import Path
from tests.local.conftest import Bench, rows
from backends.local.backend import LocalBackend
from backends.registry import facts
base, folder = Path(sys.argv[1]), Path(sys.argv[2])
bench = Bench(LocalBackend(facts("local"), folder / "home"), base, folder)
command = (sys.executable, "-c", "open('handed-over', 'a').write('x')")
print(bench.submit(rows(), epochs=12, when_done=command).id)
sys.stdout.flush()
time.sleep(600)
"""


def test_kill_9_of_gateway_and_trainer_changes_nothing_in_the_result(bench: Bench) -> None:
    gateway = subprocess.Popen(
        [sys.executable, "-c", GATEWAY, str(bench.base), str(bench.folder)],
        stdout=subprocess.PIPE,
        text=True,
        cwd=ROOT,
    )
    assert gateway.stdout is not None
    ref = RemoteRef("local", gateway.stdout.readline().strip())
    bench.refs.append(ref)
    gateway.kill()
    gateway.wait()
    gateway.stdout.close()
    run = Run(Path(ref.id))
    until(lambda: list((run.folder / "checkpoints").glob("step-*")))
    process = run.process("train")
    assert process is not None
    process.kill()

    assert bench.backend.find("k1") == ref
    assert bench.wait(ref).state == "succeeded"
    assert "restarted" in [event.kind for event in bench.backend.events(ref)]
    until((bench.folder / "k1" / "handed-over").exists)
    whole = bench.prepare(rows(), "whole", epochs=12)
    train(whole, lambda: False)
    uninterrupted = metrics(RemoteRef("local", str(whole.folder)))
    assert [line["loss"] for line in metrics(ref)] == [line["loss"] for line in uninterrupted]
    assert (bench.folder / "k1" / "handed-over").read_text(encoding="utf-8") == "x"


@pytest.mark.slow
def test_one_key_is_one_run_however_many_submit_it(bench: Bench) -> None:
    translation = bench.translation(rows(8), epochs=1)
    staged = [bench.stage(file) for file in translation.files]
    handover = Handover("job", bench.folder / "job")
    handover.folder.mkdir()

    def submit() -> None:
        bench.refs.append(bench.backend.submit(translation, staged, key="same", handover=handover))

    threads = [threading.Thread(target=submit) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len({ref.id for ref in bench.refs}) == 1
    assert bench.wait(bench.refs[0]).state == "succeeded"
    again = bench.backend.submit(translation, staged, key="same", handover=handover)
    assert again == bench.refs[0]
    kinds = [event.kind for event in bench.backend.events(again)]
    assert kinds.count("training") == kinds.count("trained") == 1
    assert len(list(handover.folder.iterdir())) == 1


@pytest.mark.slow
def test_cancel_pause_and_resume(bench: Bench) -> None:
    ref = bench.submit(rows(), epochs=50)
    until(lambda: metrics(ref))
    bench.backend.pause(ref)
    assert bench.wait(ref, "paused").raw_state == "paused"
    until(lambda: not Run(Path(ref.id)).alive("supervisor"))
    reached = metrics(ref)[-1]["step"]
    bench.backend.resume(ref)
    until(lambda: len(metrics(ref)) > reached)
    assert [line["step"] for line in metrics(ref)][: reached + 1] == [*range(1, reached + 2)]
    assert bench.backend.cancel(ref).state == "cancelling"
    assert bench.wait(ref, "cancelled").state == "cancelled"
    assert bench.backend.cancel(ref).state == "cancelled"
    bench.backend.delete(ref)
    bench.backend.delete(ref)
    assert bench.backend.find("k1") is None
    assert bench.backend.cancel(ref).raw_state == "gone"
    with pytest.raises(NotFound):
        bench.backend.poll(ref)


def test_training_that_keeps_dying_is_given_up_with_its_reason(bench: Bench) -> None:
    starts: list[int] = []

    class OutOfMemory(supervisor.Supervisor):
        def train_once(self) -> int:
            starts.append(1)
            return -signal.SIGKILL

    run = bench.prepare(rows(8), "dying")
    OutOfMemory(run).see_through()
    assert len(starts) == supervisor.MAX_RESTARTS + 1
    found = bench.backend.poll(RemoteRef("local", str(run.folder)))
    assert found.state == "failed"
    assert "signal 9, 3 times; the machine may be short of memory" in (found.message or "")
    assert "resume" in found.detail["fix"]


@pytest.mark.slow
def test_a_run_whose_supervisor_is_gone_gets_another(bench: Bench) -> None:
    run = bench.prepare(rows(8), "alone", epochs=1)
    ref = RemoteRef("local", str(run.folder))
    bench.refs.append(ref)
    assert bench.backend.poll(ref).state == "queued"
    assert bench.wait(ref).state == "succeeded"


def test_a_folder_in_use_is_left_alone(bench: Bench) -> None:
    run = bench.prepare(rows(8), "used", epochs=1)
    with run.lock("train").acquire():
        command = [sys.executable, "-m", "backends.local.train", str(run.folder)]
        assert subprocess.run(command, check=False).returncode == supervisor.IN_USE
    assert run.status.state == "queued"


def test_staging_checks_that_the_file_is_the_planned_one(bench: Bench) -> None:
    file = bench.translation(rows(8)).files[0]
    assert bench.stage(file).uri == str(bench.folder / "train.jsonl")
    (bench.folder / "train.jsonl").write_text("{}\n", encoding="utf-8")
    with pytest.raises(DataError, match="planned"):
        bench.stage(file)


@pytest.mark.slow
def test_a_file_that_changes_between_staging_and_training_is_not_trained_on(bench: Bench) -> None:
    translation = bench.translation(rows(8), epochs=1)
    staged = [bench.stage(file) for file in translation.files]
    path = bench.folder / "train.jsonl"
    path.write_text(path.read_text(encoding="utf-8") + path.read_text(encoding="utf-8"), encoding="utf-8")
    ref = bench.backend.submit(translation, staged, key="k", handover=Handover("j", bench.folder / "k"))
    bench.refs.append(ref)
    found = bench.wait(ref)
    assert (found.state, "changed after it was staged" in (found.message or "")) == ("failed", True)


def test_a_refused_translation_is_not_run(bench: Bench, backend: LocalBackend) -> None:
    translation = bench.translation(rows(8), max_length=100_000)
    with pytest.raises(Rejected, match="max_length"):
        backend.submit(translation, [], key="k", handover=Handover("j", bench.folder))


def test_no_text_of_the_data_is_in_what_a_run_tells(bench: Bench) -> None:
    secret = "Xanthippe"
    data: list[dict[str, Any]] = rows(8)
    data[0]["messages"][0]["content"] = f"{secret} <|end|>"
    data[1]["messages"][1]["content"] = secret
    run = bench.prepare(data, "told", epochs=1)
    assert main([str(run.folder)]) == 0
    assert run.status.state == "succeeded"
    told = [path for path in run.folder.iterdir() if path.suffix in (".json", ".jsonl")]
    assert {"run.json", "status.json", "metrics.jsonl", "events.jsonl"} <= {path.name for path in told}
    assert not [path.name for path in told if secret in path.read_text(encoding="utf-8")]
    assert run.events()[0].data["refused"] == {"control_token": 1}


def test_a_run_that_still_trains_is_not_deleted(bench: Bench) -> None:
    run = bench.prepare(rows(8), "busy")
    with run.lock("train").acquire(), pytest.raises(BackendError, match="cancel it first"):
        bench.backend.delete(RemoteRef("local", str(run.folder)))


def test_the_training_process_sees_no_secret_and_no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    from backends.local.environment import for_training

    monkeypatch.setenv("OPENAI_API_KEY", "sk-1")
    monkeypatch.setenv("HTTPS_PROXY", "http://proxy")
    monkeypatch.setenv("HF_TOKEN", "hf_1")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")
    environment = for_training()
    assert not {"OPENAI_API_KEY", "HTTPS_PROXY", "HF_TOKEN"} & set(environment)
    assert environment["HF_HUB_OFFLINE"] == environment["DO_NOT_TRACK"] == "1"
    assert environment["CUDA_VISIBLE_DEVICES"] == "0"
    assert json.dumps(environment)
