"""One door: it asks the gate every time, and what is denied is not sent."""

from __future__ import annotations

from pathlib import Path

import pytest

from backends.base import Handover
from gateway.core.errors import BackendError, PolicyDenied, RecordError
from gateway.core.gate import Action, Decision, GateRequest
from gateway.core.job import ChatMessage, RemoteRef
from gateway.core.plan import ProviderFile
from gateway.egress import Egress, Sending
from tests.jobs.world import FILES, FolderBackend, StubGate, World, a_translation, gate_request

CHAT = (ChatMessage("user", "hello"),)


@pytest.fixture
def far(tmp_path: Path) -> FolderBackend:
    return FolderBackend(tmp_path / "far")


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "train.jsonl"
    path.write_bytes(FILES["train.jsonl"])
    return path


def _calls(door: Egress, world: World, file: Path) -> dict[str, tuple[Action, object]]:
    """Every way out, with the action it is asked under."""
    job = world.new_job()
    sent = ProviderFile(file.name, "train", "chat", 1, 1, {}, "a" * 64)
    translation, ref = a_translation([]), RemoteRef("folder", "ft-1")
    handover = Handover("job_1", file.parent)

    def ask(action: Action) -> GateRequest:
        return gate_request(job, action)

    return {
        "stage": (Action.UPLOAD, lambda: door.stage(ask(Action.UPLOAD), sent, file, key="k")),
        "submit": (
            Action.TRAIN,
            lambda: door.submit(ask(Action.TRAIN), translation, [], key="k", handover=handover),
        ),
        "resume": (Action.TRAIN, lambda: door.resume(ask(Action.TRAIN), ref)),
        "deploy": (Action.DEPLOY, lambda: door.deploy(ask(Action.DEPLOY), ref)),
        "complete": (
            Action.INFER,
            lambda: door.complete(ask(Action.INFER), "tuned:ft-1", [CHAT], max_output_tokens=8),
        ),
        "stream": (
            Action.INFER,
            lambda: door.stream(ask(Action.INFER), "tuned:ft-1", CHAT, max_output_tokens=8),
        ),
        "score": (Action.INFER, lambda: door.score(ask(Action.INFER), "tuned:ft-1", [])),
    }


WAYS = ("stage", "submit", "resume", "deploy", "complete", "stream", "score")


@pytest.mark.parametrize("way", WAYS)
def test_what_is_denied_is_not_sent(way: str, world: World, file: Path) -> None:
    action, call = _calls(world.egress(), world, file)[way]
    world.gate.denies = {action}
    with pytest.raises(PolicyDenied) as caught:
        call()  # pyright: ignore[reportCallIssue, reportUnknownVariableType]
    denied = caught.value
    assert denied.rules == ("baa-missing", "region-pinned")
    assert "no BAA is on file" in denied.message
    assert "45 CFR 164.502(e)" in denied.message
    assert "data may leave the region" in denied.message
    assert denied.fix == "sign a BAA; pin the region"
    assert world.backend.calls == []
    assert world.backend.uploads == 0


def test_every_call_of_a_backend_that_takes_data_is_a_way_out() -> None:
    assert set(WAYS) <= set(dir(Egress))
    assert {"stage", "submit", "complete", "stream", "score", "deploy"} <= set(WAYS)


def test_the_gate_is_asked_every_time(world: World, file: Path) -> None:
    call = _calls(world.egress(), world, file)["complete"][1]
    for _ in range(3):
        call()  # pyright: ignore[reportCallIssue, reportUnknownVariableType]
    assert len(world.gate.asked) == 3
    world.gate.denies = {Action.INFER}
    with pytest.raises(PolicyDenied):
        call()  # pyright: ignore[reportCallIssue, reportUnknownVariableType]


def test_a_stream_is_judged_before_its_first_piece_is_asked_for(world: World) -> None:
    world.gate.denies = {Action.INFER}
    job = world.new_job()
    with pytest.raises(PolicyDenied):
        world.egress().stream(gate_request(job, Action.INFER), "m", CHAT, max_output_tokens=8)
    world.gate.denies = set()
    pieces = world.egress().stream(gate_request(job, Action.INFER), "m", CHAT, max_output_tokens=8)
    assert list(pieces) == ["answer"]


def test_a_yes_to_one_action_is_no_yes_to_another(world: World, file: Path) -> None:
    request = gate_request(world.new_job(), Action.INFER)
    with pytest.raises(PolicyDenied, match="asked about infer"):
        world.egress().submit(request, a_translation([]), [], key="k", handover=Handover("j", file.parent))
    assert world.backend.calls == []


class _Broken(StubGate):
    def decide(self, request: GateRequest) -> Decision:
        raise RuntimeError("the patient's name is Ann")


class _NotReally(StubGate):
    def decide(self, request: GateRequest) -> Decision:
        return Decision(allowed="yes", grounds=(), policy_hash="")  # pyright: ignore[reportArgumentType]


@pytest.mark.parametrize("gate", [_Broken(), _NotReally()])
def test_anything_but_a_clean_allow_is_a_deny(gate: StubGate, world: World, far: FolderBackend) -> None:
    door = Egress(gate, lambda name: far)
    with pytest.raises(PolicyDenied) as caught:
        door.resume(gate_request(world.new_job(), Action.TRAIN), RemoteRef("folder", "ft-1"))
    assert "Ann" not in str(caught.value)
    assert far.calls == []


def test_every_decision_is_reported_and_an_unrecordable_one_is_not_acted_upon(
    world: World, far: FolderBackend
) -> None:
    seen: list[tuple[Action, bool]] = []
    request = gate_request(world.new_job(), Action.INFER)
    door = Egress(
        world.gate,
        lambda name: far,
        on_decision=lambda asked, said, sending: seen.append((asked.action, said.allowed)),
    )
    door.complete(request, "m", [CHAT], max_output_tokens=8)
    world.gate.denies = {Action.INFER}
    with pytest.raises(PolicyDenied):
        door.complete(request, "m", [CHAT], max_output_tokens=8)
    assert seen == [(Action.INFER, True), (Action.INFER, False)]

    def full(asked: GateRequest, said: Decision, sending: Sending) -> None:
        raise RecordError("the disk is full")

    world.gate.denies = set()
    far.calls.clear()
    with pytest.raises(RecordError):
        Egress(world.gate, lambda name: far, on_decision=full).complete(
            request, "m", [CHAT], max_output_tokens=8
        )
    assert far.calls == []


def test_a_vendors_exception_is_classified_and_its_text_stays_here(world: World) -> None:
    world.backend.faults["complete"] = [ValueError("bad row: the patient's name is Ann")]
    with pytest.raises(BackendError) as caught:
        world.egress().complete(gate_request(world.new_job(), Action.INFER), "m", [CHAT], max_output_tokens=8)
    assert "Ann" not in str(caught.value)
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__
