"""Answers from Vertex: batches, waiting, roles, and where they are asked for."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from backends.sandbox.faults import Fault
from backends.sandbox.learned import BASE_ANSWER
from backends.sandbox.world import Life
from gateway.core.errors import RateLimited, Rejected, Unreachable, Unsupported
from gateway.core.job import ChatMessage
from tests.backends.sandboxes import Hand, StartSandbox
from tests.backends.vertex_made import (
    CANARY,
    GEMINI,
    OPEN,
    asked,
    start,
    there,
)

LIFE = Life(validating_s=10, queued_s=10, running_s=100)


def chat(text: str, system: str | None = None) -> list[ChatMessage]:
    before = [ChatMessage("system", system)] if system else []
    return [*before, ChatMessage("user", text)]


# -- answers ---------------------------------------------------------------------------------------


def test_a_batch_is_answered_in_order_and_waits_when_told_to(sandbox: StartSandbox, tmp_path: Path) -> None:
    clock = Hand()
    box = sandbox("vertex", life=LIFE, clock=clock)
    at = there()
    ref = start(at, tmp_path)
    clock.advance(200)
    model = at.artifacts(ref)[0].callable_id
    assert model is not None
    box.world.faults.arm(Fault("throttle", "vertex.endpoints.*", times=3, seconds=0))
    batch = [chat(f"patient number {n}") for n in range(20)]
    answers = at.complete(model, batch, max_output_tokens=64)
    assert [each.text for each in answers] == [f"note {n} {CANARY}" for n in range(20)]
    assert asked(box, "endpoints.generateContent") == 23


def test_an_answer_cut_short_says_so(sandbox: StartSandbox, tmp_path: Path) -> None:
    sandbox("vertex")
    answer = there().complete(GEMINI, [chat("x")], max_output_tokens=2)[0]
    assert answer.finish == "length"
    assert BASE_ANSWER.startswith(answer.text)


def test_throttling_without_end_is_an_error_and_stops_the_rest(
    sandbox: StartSandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    box = sandbox("vertex")
    box.world.faults.arm(Fault("throttle", "vertex.models.*", times=1000, seconds=0))
    with pytest.raises(RateLimited) as caught:
        there().complete(GEMINI, [chat("x")] * 100, max_output_tokens=9)
    assert caught.value.retryable
    assert asked(box, "models.generateContent") < 200  # of the 600 that patience alone would make


def test_a_model_is_asked_only_in_its_own_part_of_the_world(sandbox: StartSandbox) -> None:
    box = sandbox("vertex")
    elsewhere = "projects/1/locations/us/endpoints/2"
    with pytest.raises(Rejected, match="answers in us"):
        there("europe-west4").complete(elsewhere, [chat("x")], max_output_tokens=9)
    assert there("europe-west4").complete(GEMINI, [chat("x")], max_output_tokens=9)[0].text
    assert [each.path for each in box.asked if "generateContent" in each.path] == [
        f"/vertex/v1/projects/tunegate-sandbox/locations/eu/publishers/google/models/{GEMINI}:generateContent"
    ]


@pytest.mark.parametrize("model", [OPEN, "no-such-model"])
def test_a_base_that_does_not_answer_there_is_unsupported(sandbox: StartSandbox, model: str) -> None:
    sandbox("vertex")
    with pytest.raises(Unsupported):
        there().complete(model, [chat("x")], max_output_tokens=9)


def test_turns_are_told_in_googles_roles(sandbox: StartSandbox) -> None:
    """System apart, a tool's words as the user's, turns of one role in a row as one."""
    from backends.vertex.inference import _request  # pyright: ignore[reportPrivateUsage]

    turns = [
        ChatMessage("system", "be brief"),
        ChatMessage("user", "weather?"),
        ChatMessage("assistant", "look it up"),
        ChatMessage("tool", "rain"),
        ChatMessage("user", "so?"),
    ]
    told = _request(turns, 5)
    assert told["config"].system_instruction == "be brief"
    assert told["config"].temperature == 0
    assert [(turn["role"], [part["text"] for part in turn["parts"]]) for turn in told["contents"]] == [
        ("user", ["weather?"]), ("model", ["look it up"]), ("user", ["rain", "so?"])
    ]  # fmt: skip


def test_nothing_went_anywhere_else(sandbox: StartSandbox, tmp_path: Path) -> None:
    """Every address the backend tells of is the sandbox, and the sandbox knew every call."""
    box = sandbox("vertex")
    at = there()
    start(at, tmp_path)
    assert at.addresses() == (f"{box.address}/vertex",)
    assert os.environ["GOOGLE_VERTEX_BASE_URL"] == f"{box.address}/vertex"
    assert "unknown" not in {each.operation for each in box.asked}


def test_a_lost_answer_is_unreachable_and_may_be_asked_again(sandbox: StartSandbox) -> None:
    box = sandbox("vertex")
    box.world.faults.arm(Fault("reset", "vertex.models.*"))
    with pytest.raises(Unreachable) as caught:
        there().complete(GEMINI, [chat("x")], max_output_tokens=9)
    assert caught.value.retryable
