"""A job's life at Vertex: Google's own clients against the stand-in, over HTTP."""

from __future__ import annotations

import json
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from backends.sandbox.faults import Fault
from backends.sandbox.learned import BASE_ANSWER
from backends.sandbox.world import Life
from backends.vertex.sandbox import tuning
from backends.vertex.sandbox.storage import OBJECT
from gateway.core.errors import BackendError, NotFound, Unsupported
from gateway.core.job import ChatMessage, RemoteRef
from tests.backends.sandboxes import Hand, StartSandbox
from tests.backends.vertex_made import (
    CANARY,
    GEMINI,
    OPEN,
    line,
    lines,
    start,
    there,
)

LIFE = Life(validating_s=10, queued_s=10, running_s=100)


def chat(text: str, system: str | None = None) -> list[ChatMessage]:
    before = [ChatMessage("system", system)] if system else []
    return [*before, ChatMessage("user", text)]


# -- the whole life --------------------------------------------------------------------------------


def test_a_gemini_job_from_upload_to_answers(sandbox: StartSandbox, tmp_path: Path) -> None:
    clock = Hand()
    sandbox("vertex", life=LIFE, clock=clock)
    at = there()
    ref = start(at, tmp_path, epochs=2)
    seen: list[tuple[str, str]] = []
    for _ in range(13):
        snapshot = at.poll(ref)
        seen.append((snapshot.state, snapshot.raw_state))
        clock.advance(10)
    assert list(dict.fromkeys(seen)) == [
        ("queued", "JOB_STATE_PENDING"),
        ("running", "JOB_STATE_RUNNING"),
        ("succeeded", "JOB_STATE_SUCCEEDED"),
    ]
    events = at.events(ref)
    assert [event.kind for event in events] == ["created", "started", "data", "checkpoint", "checkpoint"]
    assert at.poll(ref).billed_tokens == 2 * events[2].data["tokens"]
    model = at.artifacts(ref)[0]
    assert model.kind == "model"
    assert model.callable_id == model.uri
    assert model.callable_id is not None
    tuned, base = (
        at.complete(name, [chat("what is said of patient number 7", "s")], max_output_tokens=64)[0]
        for name in (model.callable_id, GEMINI)
    )
    assert (tuned.text, tuned.finish) == (f"note 7 {CANARY}", "stop")
    assert base.text == BASE_ANSWER
    assert tuned.input_tokens
    assert tuned.output_tokens
    pieces = list(at.stream(model.callable_id, chat("patient number 7"), max_output_tokens=64))
    assert len(pieces) == 3
    assert "".join(pieces) == f"note 7 {CANARY}"


def test_the_model_is_named_by_what_can_be_called_not_by_its_display_name(
    sandbox: StartSandbox, tmp_path: Path
) -> None:
    clock = Hand()
    sandbox("vertex", life=LIFE, clock=clock)
    at = there("europe-west4")
    ref = start(at, tmp_path)
    clock.advance(200)
    kinds = [(each.kind, each.callable_id) for each in at.artifacts(ref)]
    assert [kind for kind, _ in kinds] == ["model", "checkpoint", "checkpoint"]
    assert len({name for _, name in kinds}) == 3
    for _, name in kinds:
        assert name is not None
        assert name.split("/")[2:5:2] == ["locations", "endpoints"]
        assert name.split("/")[3] == "eu"
        assert at.complete(name, [chat("patient number 3")], max_output_tokens=9)[0].text.startswith("note 3")


def test_an_open_model_leaves_weights_and_nothing_that_answers(sandbox: StartSandbox, tmp_path: Path) -> None:
    clock = Hand()
    box = sandbox("vertex", life=LIFE, clock=clock)
    at = there("global")
    ref = start(at, tmp_path, model=OPEN)
    other = start(at, tmp_path, model=OPEN, key="tunegate-01kqzc3h8m5x2y7x-1")
    assert ref.detail["version"] == "v1beta1"
    assert at.poll(ref).detail == {"stage": "TUNING_JOB_STATE_PROCESSING_DATASET"}
    clock.advance(200)
    (weights,) = at.artifacts(ref)
    assert (weights.kind, weights.callable_id) == ("merged_model", None)
    assert weights.uri.endswith("/postprocess/node-0/checkpoints/final")
    assert weights.uri != at.artifacts(other)[0].uri
    with pytest.raises(Unsupported, match="GPU endpoint") as caught:
        at.deploy(ref)
    assert caught.value.fix
    at.delete(ref)
    left = [f"gs://{thing['bucket']}/{thing['name']}" for thing in box.world.all(OBJECT)]
    assert not any(uri.startswith(f"{weights.uri}/") for uri in left)
    assert any(uri.startswith(f"{at.artifacts(other)[0].uri}/") for uri in left)


def test_weights_in_a_folder_of_somebody_else_are_left_alone(sandbox: StartSandbox, tmp_path: Path) -> None:
    """Only the folder made for this very key is emptied."""
    clock = Hand()
    box = sandbox("vertex", life=LIFE, clock=clock)
    at = there("global")
    ref = start(at, tmp_path, model=OPEN)
    id = ref.id.rpartition("/")[2]
    job = box.world.get(tuning.JOB, id)
    assert job is not None
    job["body"]["outputUri"] = "gs://somebody/models"
    box.world.put(tuning.JOB, id, job)
    clock.advance(200)
    at.poll(ref)
    at.delete(ref)
    assert any(thing["bucket"] == "somebody" for thing in box.world.all(OBJECT))


def test_deleting_removes_endpoints_and_model_and_may_be_repeated(
    sandbox: StartSandbox, tmp_path: Path
) -> None:
    clock = Hand()
    box = sandbox("vertex", life=LIFE, clock=clock)
    at = there()
    ref = start(at, tmp_path)
    clock.advance(200)
    model = at.artifacts(ref)[0].callable_id
    assert model is not None
    at.undeploy(ref)
    at.delete(ref)
    at.delete(ref)
    assert box.world.all(tuning.ENDPOINT) == []
    with pytest.raises(NotFound):
        _classified(at, lambda: at.complete(model, [chat("x")], max_output_tokens=9))
    box.world.remove(tuning.JOB, ref.id.rpartition("/")[2])
    at.delete(ref)


def test_a_tuned_gemini_needs_no_deployment(sandbox: StartSandbox, tmp_path: Path) -> None:
    clock = Hand()
    sandbox("vertex", life=LIFE, clock=clock)
    at = there()
    ref = start(at, tmp_path)
    clock.advance(200)
    with pytest.raises(Unsupported, match="answers as it is"):
        at.deploy(ref)


def test_the_job_is_found_by_the_number_a_person_reads_in_the_console(
    sandbox: StartSandbox, tmp_path: Path
) -> None:
    sandbox("vertex", clock=Hand())
    at = there()
    ref = start(at, tmp_path)
    number = RemoteRef("vertex", ref.id.rpartition("/")[2])
    assert at.poll(number).state in ("queued", "running")


# -- cancelling, and what happens behind our back --------------------------------------------------


def test_cancelling_is_repeatable_and_success_wins_the_race(sandbox: StartSandbox, tmp_path: Path) -> None:
    clock = Hand()
    sandbox("vertex", life=LIFE, clock=clock)
    at = there()
    lost, won = start(at, tmp_path), start(at, tmp_path, key="tunegate-other-1")
    clock.advance(50)
    assert at.cancel(lost).state == "cancelled"
    assert at.cancel(lost).state == "cancelled"
    assert at.poll(lost).billed_tokens is None  # what a cancelled job costs is written nowhere
    clock.advance(100)
    assert at.cancel(won).state == "succeeded"


def test_a_job_deleted_behind_our_back_is_gone(sandbox: StartSandbox, tmp_path: Path) -> None:
    box = sandbox("vertex")
    at = there()
    ref = start(at, tmp_path)
    box.world.remove(tuning.JOB, ref.id.rpartition("/")[2])
    with pytest.raises(NotFound):
        _classified(at, lambda: at.poll(ref))
    assert at.cancel(ref).raw_state == "gone"


def test_a_cancel_that_is_not_allowed_says_so(sandbox: StartSandbox, tmp_path: Path) -> None:
    box = sandbox("vertex", life=LIFE, clock=Hand())
    at = there()
    ref = start(at, tmp_path)
    box.world.faults.arm(Fault("forbidden", "vertex.tuningJobs.cancel"))
    with pytest.raises(Exception, match="does not allow it"):
        at.cancel(ref)


# -- data that Google does not like ----------------------------------------------------------------


@pytest.mark.parametrize(
    "text",
    [
        f'{{"contents": "{CANARY}"}}\n',
        f"{CANARY} is no JSON\n",
        json.dumps({"contents": [{"role": "model", "parts": [{"text": CANARY}]}]}) + "\n",
    ],
)
def test_a_file_refused_after_its_upload_fails_the_job_and_is_not_quoted(
    sandbox: StartSandbox, tmp_path: Path, text: str
) -> None:
    clock = Hand()
    box = sandbox("vertex", life=LIFE, clock=clock)
    at = there()
    ref = start(at, tmp_path, rows=text)
    assert at.poll(ref).state == "queued"
    clock.advance(11)
    snapshot = at.poll(ref)
    assert (snapshot.state, snapshot.detail["code"]) == ("failed", "training_refused")
    assert snapshot.detail["fix"]
    (job,) = box.world.all(tuning.JOB)
    assert CANARY in job["refusal"]  # the stand-in does quote, as Google's own may
    assert CANARY not in repr((snapshot, at.events(ref), at.artifacts(ref)))


def test_training_that_breaks_off_says_by_which_code(sandbox: StartSandbox, tmp_path: Path) -> None:
    clock = Hand()
    box = sandbox("vertex", life=LIFE, clock=clock)
    box.world.faults.arm(Fault("fail_job", "vertex.tuningJobs.create"))
    at = there()
    ref = start(at, tmp_path)
    clock.advance(200)
    snapshot = at.poll(ref)
    assert (snapshot.state, snapshot.detail["provider_code"]) == ("failed", "INTERNAL")
    assert at.artifacts(ref) == ()


def test_rows_google_leaves_out_are_counted_and_told_and_not_quoted(
    sandbox: StartSandbox, tmp_path: Path
) -> None:
    clock = Hand()
    sandbox("vertex", life=LIFE, clock=clock)
    at = there()
    ref = start(at, tmp_path, rows=[*lines(5), line(CANARY, "word " * 110_000)])
    clock.advance(30)
    (dropped,) = [event for event in at.events(ref) if event.level == "warning"]
    assert (dropped.kind, dropped.data) == ("dropped_rows", {"rows": 1})
    assert CANARY not in repr(at.events(ref))


def test_events_are_told_once_and_in_order(sandbox: StartSandbox, tmp_path: Path) -> None:
    clock = Hand()
    sandbox("vertex", life=LIFE, clock=clock)
    at = there()
    ref = start(at, tmp_path)
    told: list[str] = []
    for _ in range(14):
        new = at.events(ref, after=told[-1] if told else None)
        told += [event.id for event in new]
        assert all(event.at.utcoffset() == timedelta(0) for event in new)
        clock.advance(10)
    assert told == sorted(set(told))
    assert told == [event.id for event in at.events(ref)]


@pytest.mark.parametrize(
    ("model", "region", "code"),
    [
        ("gemini-3.5-flash", "us-west1", "backend_rejected"),
        ("gemini-2.5-flash", "us-central1", "backend_not_found"),
    ],
)
def test_a_model_that_is_not_tuned_there_is_refused(
    sandbox: StartSandbox, tmp_path: Path, model: str, region: str, code: str
) -> None:
    """Wrong region; and a retired model, asked for on a day after its last."""
    sandbox("vertex", clock=Hand(1_795_000_000.0))
    at = there(region)
    with pytest.raises(BackendError) as caught:
        _classified(at, lambda: start(at, tmp_path, model=model, rows=lines()))
    assert (caught.value.code, caught.value.retryable) == (code, False)
    assert caught.value.fix


def _classified(at: Any, what: Any) -> Any:
    """What egress does with Google's exceptions."""
    from gateway.egress import classified

    with classified(at):
        return what()
