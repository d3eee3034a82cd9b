"""Prism stands between our backend and the sandbox, and holds both to OpenAI's own API description: what we
ask, and what the sandbox answers. Neither side's own idea of the protocol counts here."""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from backends.openai.backend import OpenAIBackend
from backends.openai.sandbox.room import OpenAIRoom
from gateway.core.job import ChatMessage
from tests.backends.openai_described import PATH
from tests.backends.openai_made import CANARY, KEY, at_sandbox, failure, handover, translated, written
from tests.backends.sandboxes import Hand, StartSandbox

OURS = ("/files", "/fine_tuning/jobs", "/chat/completions", "/models")
pytestmark = [pytest.mark.slow, pytest.mark.shared]


def free_port() -> int:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return taken.getsockname()[1]


@pytest.fixture(scope="module")
def described_part(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The operations we use, out of the whole description, which takes Prism most of a minute to read."""
    if not PATH.exists():
        pytest.skip("OpenAI's API description is not beside the checkout")
    document = json.loads(PATH.read_text(encoding="utf-8"))
    document["paths"] = {path: item for path, item in document["paths"].items() if path.startswith(OURS)}
    part = tmp_path_factory.mktemp("prism") / "part.json"
    part.write_text(json.dumps(document), encoding="utf-8")
    return part


@pytest.fixture
def between(
    described_part: Path, sandbox: StartSandbox, monkeypatch: pytest.MonkeyPatch
) -> Iterator[tuple[OpenAIBackend, Hand]]:
    """The backend, pointed at Prism, which is pointed at the sandbox."""
    prism = shutil.which("prism")
    if prism is None:
        pytest.skip("Prism is not installed: npm install -g @stoplight/prism-cli")
    clock = Hand()
    box = sandbox("openai", clock=clock)
    port = free_port()
    upstream = box.environment["OPENAI_BASE_URL"]
    command = [prism, "proxy", str(described_part), upstream, "--errors", "--port", str(port)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    monkeypatch.setenv("OPENAI_BASE_URL", f"http://127.0.0.1:{port}")
    try:
        await_listening(process, port)
        yield at_sandbox("openai"), clock
    finally:
        process.terminate()
        process.wait(timeout=30)


def await_listening(process: subprocess.Popen[bytes], port: int) -> None:
    ends = time.monotonic() + 180
    while time.monotonic() < ends:
        assert process.poll() is None, "Prism ended by itself"
        with socket.socket() as attempt:
            if attempt.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.2)
    raise AssertionError("Prism does not listen")


def test_a_whole_life_passes_prism(between: tuple[OpenAIBackend, Hand], tmp_path: Path) -> None:
    """All but `pause`: OpenAI's own example of it shows a state that its list of states lacks."""
    there, clock = between
    file, path = written(tmp_path)
    staged = there.stage(file, path, key=KEY)
    assert there.stage(file, path, key=KEY) == staged
    ref = there.submit(translated("openai"), [staged], key=KEY, handover=handover(tmp_path))
    again = there.find(KEY)
    assert again is not None
    assert again.id == ref.id
    states: list[str] = []
    for _ in range(10):
        states.append(there.poll(ref).raw_state)
        clock.advance(0.05)
    assert list(dict.fromkeys(states)) == ["validating_files", "queued", "running", "succeeded"]
    assert there.events(ref)[-1].text == "The job has successfully completed"
    model = there.artifacts(ref)[0].callable_id
    assert model is not None
    chat = [ChatMessage("system", "s"), ChatMessage("user", "what is the square of 3")]
    (answer,) = there.complete(model, [chat], max_output_tokens=50)
    assert answer.text == f"{CANARY} it is 9"
    assert {check.state for check in there.check()} == {"ok"}
    second = there.submit(translated("openai"), [staged], key=f"{KEY}-2", handover=handover(tmp_path))
    assert there.cancel(second).state == "cancelled"
    there.delete(ref)
    there.unstage(staged.uri)


def test_prism_refuses_what_is_not_described(
    between: tuple[OpenAIBackend, Hand], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The test above can fail, on either side: a request, and a reply."""
    there, _ = between
    caller = httpx.Client(
        base_url=there.addresses()[0], headers={"Authorization": "Bearer sandbox-key-of-openai"}
    )
    assert caller.post("fine_tuning/jobs", json={"model": "gpt-4.1-2025-04-14"}).status_code == 422
    staged = there.stage(*written(tmp_path), key=KEY)
    whole = OpenAIRoom.described_job

    def wrong(room: OpenAIRoom, job: dict[str, Any]) -> dict[str, Any]:
        return {**whole(room, job), "seed": "one"}

    monkeypatch.setattr(OpenAIRoom, "described_job", wrong)
    error = failure(
        there, lambda: there.submit(translated("openai"), [staged], key=KEY, handover=handover(tmp_path))
    )
    assert error.status == 500
