"""Answers of base and tuned models: greedy, in order, patient where asked to be."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from backends.openai import inference
from backends.sandbox.faults import Fault
from backends.sandbox.learned import BASE_ANSWER
from gateway.core.errors import BackendError, NotFound, RateLimited, Unavailable
from gateway.core.job import ChatMessage
from tests.backends.openai_made import CANARY, NAMES, at_sandbox, failure, recorder, submitted
from tests.backends.sandboxes import Hand, StartSandbox

ASKED = [[ChatMessage("user", f"what is the square of {i}")] for i in range(12)]
ANSWER = {
    "id": "c", "object": "chat.completion", "created": 1, "model": "m",
    "choices": [{"index": 0, "finish_reason": "length", "message": {"role": "assistant", "content": "yes"}}],
    "usage": {"prompt_tokens": 11, "completion_tokens": 2, "total_tokens": 13},
}  # fmt: skip


@pytest.fixture
def waits(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """How long was waited for, without waiting."""
    waited: list[float] = []
    monkeypatch.setattr(inference.time, "sleep", waited.append)
    return waited


def tuned(name: str, sandbox: StartSandbox, tmp_path: Path) -> tuple[str, Hand]:
    clock = Hand()
    sandbox(name, clock=clock)
    job = submitted(name, tmp_path)
    clock.advance(60)
    if name == "azure":
        job.there.deploy(job.ref)
        clock.advance(60)
        return job.there.deploy(job.ref).callable_id or "", clock
    return job.there.artifacts(job.ref)[0].callable_id or "", clock


@pytest.mark.parametrize("name", NAMES)
def test_a_batch_is_answered_in_its_order(name: str, sandbox: StartSandbox, tmp_path: Path) -> None:
    model, _ = tuned(name, sandbox, tmp_path)
    answers = at_sandbox(name).complete(model, ASKED, max_output_tokens=50)
    assert [answer.text for answer in answers] == [f"{CANARY} it is {i * i}" for i in range(12)]
    assert all((a.input_tokens or 0) > 0 and (a.output_tokens or 0) > 0 and a.latency_s > 0 for a in answers)
    assert {answer.finish for answer in answers} == {"stop"}
    (cut,) = at_sandbox(name).complete(model, ASKED[:1], max_output_tokens=2)
    assert (cut.finish, len(cut.text)) == ("length", 8)


@pytest.mark.parametrize("name", NAMES)
def test_an_answer_comes_in_pieces(name: str, sandbox: StartSandbox, tmp_path: Path) -> None:
    model, _ = tuned(name, sandbox, tmp_path)
    pieces = list(at_sandbox(name).stream(model, ASKED[3], max_output_tokens=50))
    assert len(pieces) > 1
    assert "".join(pieces) == f"{CANARY} it is 9"


def test_a_base_model_is_called_by_the_services_id(sandbox: StartSandbox) -> None:
    sandbox("openai")
    (answer,) = at_sandbox("openai").complete("gpt-4.1-mini", ASKED[:1], max_output_tokens=50)
    assert answer.text == BASE_ANSWER


def test_azures_base_model_answers_through_the_users_own_deployment(sandbox: StartSandbox) -> None:
    box = sandbox("azure")
    model = {"name": "gpt-4.1-mini-2025-04-14"}
    box.world.put("azure.deployment", "mine", {"id": "mine", "born": 0, "sku": {}, "model": model})
    with pytest.raises(Unavailable) as caught:
        at_sandbox("azure").complete("gpt-4.1-mini", ASKED[:1], max_output_tokens=50)
    assert "base_deployment" in (caught.value.fix or "")
    there = at_sandbox("azure", base_deployment="mine")
    (answer,) = there.complete("gpt-4.1-mini", ASKED[:1], max_output_tokens=50)
    assert answer.text == BASE_ANSWER


@pytest.mark.parametrize(
    ("name", "limit"), [("openai", "max_completion_tokens"), ("compatible", "max_tokens")]
)
def test_a_request_is_greedy_and_holds_what_was_asked(name: str, limit: str, sandbox: StartSandbox) -> None:
    sandbox(name)
    chat = [ChatMessage("system", "s"), ChatMessage("user", "u"), ChatMessage("tool", "t")]
    with recorder() as service:
        service.say(ANSWER)
        (answer,) = at_sandbox(name, endpoint=service.address).complete("ft:m", [chat], max_output_tokens=9)
        turns = [("system", "s"), ("user", "u"), ("user", "t")]
        messages = [{"role": role, "content": content} for role, content in turns]
        assert service.bodies == [{"model": "ft:m", "temperature": 0, limit: 9, "messages": messages}]
    assert (answer.text, answer.finish, answer.input_tokens, answer.output_tokens) == ("yes", "length", 11, 2)


def test_a_refusal_to_answer_is_an_answer(sandbox: StartSandbox) -> None:
    sandbox("openai")
    message = {"role": "assistant", "content": None, "refusal": "I cannot"}
    with recorder() as service:
        service.say(
            {**ANSWER, "choices": [{"index": 0, "finish_reason": "content_filter", "message": message}]}
        )
        (answer,) = at_sandbox("openai", endpoint=service.address).complete(
            "m", ASKED[:1], max_output_tokens=9
        )
    assert (answer.text, answer.finish) == ("I cannot", "other")


def test_throttled_answers_are_asked_for_again_as_the_service_says(
    sandbox: StartSandbox, waits: list[float]
) -> None:
    box = sandbox("openai")
    box.world.faults.arm(Fault("throttle", "*.createChatCompletion", times=4, seconds=7))
    answers = at_sandbox("openai").complete("gpt-4.1", ASKED, max_output_tokens=50)
    assert len(answers) == len(ASKED)
    assert len(waits) == 4
    assert all(7 <= waited <= 7 * 1.25 for waited in waits)


def test_patience_ends(sandbox: StartSandbox, waits: list[float]) -> None:
    box = sandbox("openai")
    box.world.faults.arm(Fault("throttle", "*.createChatCompletion", times=1000, seconds=7))
    there = at_sandbox("openai")
    with pytest.raises(RateLimited):
        there.complete("gpt-4.1", ASKED[:1], max_output_tokens=50)
    assert len(waits) == inference.TRIES - 1


def test_a_quota_that_is_used_up_is_not_waited_for(sandbox: StartSandbox, waits: list[float]) -> None:
    sandbox("openai")
    with recorder() as service:
        service.say({"error": {"code": "insufficient_quota", "message": CANARY}}, 429, {"Retry-After": "1"})
        there = at_sandbox("openai", endpoint=service.address)
        with pytest.raises(RateLimited) as caught:
            there.complete("m", ASKED[:1], max_output_tokens=9)
        assert not caught.value.retryable
        assert "credit" in (caught.value.fix or "")
        assert len(service.seen) == 1
    assert waits == []


def test_after_a_failure_no_more_is_asked(sandbox: StartSandbox) -> None:
    box = sandbox("openai")
    there = at_sandbox("openai")
    with pytest.raises(NotFound):
        there.complete("ft:nobody", ASKED * 50, max_output_tokens=9)
    assert len(box.asked) < 50 * len(ASKED)


def test_a_stream_that_breaks_off_is_an_error(sandbox: StartSandbox, tmp_path: Path) -> None:
    model, _ = tuned("openai", sandbox, tmp_path)
    there = at_sandbox("openai")
    box = sandbox("openai", clock=Hand(1_790_000_100.0))
    box.world.faults.arm(Fault("truncate", "*.createChatCompletion"))
    error = failure(there, lambda: list(at_sandbox("openai").stream(model, ASKED[3], max_output_tokens=50)))
    assert isinstance(error, BackendError)
    assert error.retryable


def test_waits_grow_and_are_bounded() -> None:
    assert [int(inference.wait_s(None, failures) // 2**failures) for failures in range(1, 5)] == [1, 1, 1, 1]
    assert inference.wait_s(None, 40) <= inference.LONGEST_WAIT_S * 1.25
    assert inference.wait_s(9999, 1) <= inference.LONGEST_WAIT_S * 1.25


def test_the_models_name_is_no_display_name(sandbox: StartSandbox, tmp_path: Path) -> None:
    model, _ = tuned("openai", sandbox, tmp_path)
    assert re.fullmatch(r"ft:gpt-4\.1-mini-2025-04-14:sandbox:soap-notes:[0-9a-f]{24}", model)
