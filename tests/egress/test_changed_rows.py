"""Rows that are held out are in no file that is sent, and a managed backend is asked them all the same."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from backends.bedrock.backend import BedrockBackend
from gateway import Gateway, Sandbox
from gateway.sdk import files

SPEC = """
version: 1
name: changed
model: nova-micro
method: lora
data: {train: train.jsonl, test: test.jsonl, class: public}
route: {backends: bedrock}
"""


def _write(path: Path, subject: str, count: int) -> None:
    chats = [
        [{"role": "user", "content": f"{subject}, {number}?"}, {"role": "assistant", "content": "ask"}]
        for number in range(count)
    ]
    path.write_text("".join(json.dumps({"messages": chat}) + "\n" for chat in chats))


@pytest.mark.parametrize("changed", [False, True])
def test_held_out_rows_that_changed_since_the_plan_are_asked_nowhere(
    changed: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "job.yaml").write_text(SPEC)
    _write(tmp_path / "train.jsonl", "Where do tickets about printers go", 30)
    _write(tmp_path / "test.jsonl", "Which queue takes slow printers", 5)
    write_file, complete, asked = files.write_file, BedrockBackend.complete, list[str]()

    def late(*arguments: Any) -> Path:
        if changed:
            _write(tmp_path / "test.jsonl", "Has Margaret Whitfield, MRN 84472913, diabetes", 5)
        return write_file(*arguments)

    def heard(room: BedrockBackend, model: str, batch: Any, **more: Any) -> Any:
        asked.extend(message.content for chat in batch for message in chat)
        return complete(room, model, batch, **more)

    monkeypatch.setattr(files, "write_file", late)
    monkeypatch.setattr(BedrockBackend, "complete", heard)
    with Sandbox(only=["bedrock"]) as box:
        for name, value in box.environment.items():
            monkeypatch.setenv(name, value)
        job = Gateway(home=tmp_path / "home").run(tmp_path / "job.yaml")
        job.wait()
    assert job.state == ("failed" if changed else "succeeded")
    assert bool(asked) is not changed


def test_a_changed_byte_of_the_held_out_file_is_refused_before_anything_is_asked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The rows are read weeks after the gate decided about them, from a folder that others may write to."""
    (tmp_path / "job.yaml").write_text(SPEC)
    _write(tmp_path / "train.jsonl", "Where do tickets about printers go", 30)
    _write(tmp_path / "test.jsonl", "Which queue takes slow printers", 5)
    submit, asked = BedrockBackend.submit, list[str]()

    def late(room: BedrockBackend, *arguments: Any, **more: Any) -> Any:
        (kept,) = (tmp_path / "home").rglob(files.HELD_OUT)
        kept.write_text(kept.read_text().replace("slow printers", "Mary Okafor's", 1))
        return submit(room, *arguments, **more)

    def heard(room: BedrockBackend, model: str, batch: Any, **more: Any) -> Any:
        asked.append(model)

    monkeypatch.setattr(BedrockBackend, "submit", late)
    monkeypatch.setattr(BedrockBackend, "complete", heard)
    with Sandbox(only=["bedrock"]) as box:
        for name, value in box.environment.items():
            monkeypatch.setenv(name, value)
        job = Gateway(home=tmp_path / "home").run(tmp_path / "job.yaml")
        job.wait()
    assert job.state == "succeeded"
    evaluation = job.to_json()["evaluation"]
    assert (evaluation["status"], asked) == ("failed", [])
    assert "not those that were planned" in evaluation["error"]["message"]
    assert "Okafor" not in json.dumps(evaluation)
