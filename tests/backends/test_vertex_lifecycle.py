"""A job's life at Vertex: Google's own clients against the stand-in, over HTTP."""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from backends.sandbox.faults import Fault
from backends.sandbox.learned import BASE_ANSWER
from backends.sandbox.world import Life
from backends.vertex.sandbox import tuning
from backends.vertex.sandbox.storage import OBJECT
from gateway.core.errors import BackendError, NotFound, RateLimited, Rejected, Unreachable, Unsupported
from gateway.core.job import ChatMessage, RemoteRef
from tests.backends.sandboxes import Hand, StartSandbox
from tests.backends.vertex_made import (
    CANARY,
    GEMINI,
    KEY,
    OPEN,
    asked,
    line,
    lines,
    start,
    submit,
    there,
    translation,
    write,
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


# -- files -----------------------------------------------------------------------------------------


def test_what_is_staged_is_what_the_plan_said(sandbox: StartSandbox, tmp_path: Path) -> None:
    """The same bytes, under the name the translation shows for them."""
    box = sandbox("vertex")
    at = there(data_uri="gs://rows-us-central1/some/folder")
    planned = translation(at)
    file, path = write(tmp_path, lines())
    staged = at.stage(replace(planned.files[0], sha256=file.sha256), path, key=KEY)
    told = planned.requests[0].body
    name = told["name"].replace(str(planned.files[0].sha256), str(file.sha256))
    assert staged.uri == f"gs://{told['bucket']}/{name}"
    (thing,) = box.world.all(OBJECT)
    content = box.world.blob(thing["blob"]).read_bytes()
    assert hashlib.sha256(content).hexdigest() == file.sha256


@pytest.mark.parametrize("kind", ["lose_reply", "truncate"])
def test_a_file_whose_upload_was_not_heard_of_is_not_sent_again(
    sandbox: StartSandbox, tmp_path: Path, kind: Any
) -> None:
    box = sandbox("vertex")
    box.world.faults.arm(Fault(kind, "vertex.storage.objects.insert"))
    file, path = write(tmp_path, lines())
    with pytest.raises(Exception) as caught:  # noqa: PT011  # whatever Google's client raises
        there().stage(file, path, key=KEY)
    assert there().classify(caught.value).retryable
    staged = there().stage(file, path, key="another job's")
    assert asked(box, "storage.objects.insert") == 1
    assert len(box.world.all(OBJECT)) == 1
    assert staged.uri.endswith(f"{file.sha256}/train.jsonl")


def test_somebody_else_sending_the_same_file_at_once_is_no_trouble(
    sandbox: StartSandbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both look, neither sees it, both send: the second is told that it lies there."""
    box = sandbox("vertex")
    file, path = write(tmp_path, lines())
    there().stage(file, path, key=KEY)
    from backends.vertex import storage

    looks = iter((False, True))

    def blind(blob: object, path: Path, backend: str) -> bool:
        return next(looks)

    monkeypatch.setattr(storage, "_is_there", blind)
    there().stage(file, path, key=KEY)
    assert [each.status for each in box.asked if each.operation.endswith("insert")] == [200, 412]
    assert len(box.world.all(OBJECT)) == 1


def test_a_large_file_goes_in_pieces_and_a_lost_piece_is_sent_again(
    sandbox: StartSandbox, tmp_path: Path
) -> None:
    box = sandbox("vertex")
    box.world.faults.arm(Fault("unavailable", "vertex.storage.objects.upload"))
    file, path = write(tmp_path, [line(f"question {n}", "word " * 2000) for n in range(1000)])
    assert path.stat().st_size > 8 * 2**20
    staged = there().stage(file, path, key=KEY)
    (thing,) = box.world.all(OBJECT)
    assert int(thing["size"]) == path.stat().st_size
    assert asked(box, "storage.objects.upload") == 2
    there().unstage(staged.uri)
    there().unstage(staged.uri)
    assert box.world.all(OBJECT) == []


def test_other_bytes_in_the_files_place_are_not_trained_on(sandbox: StartSandbox, tmp_path: Path) -> None:
    sandbox("vertex")
    file, path = write(tmp_path, lines())
    there().stage(file, path, key=KEY)
    path.write_text("something else\n")
    with pytest.raises(Rejected, match="other bytes"):
        there().stage(file, path, key=KEY)


@pytest.mark.parametrize(
    ("region", "bucket", "is_near"),
    [
        ("us-central1", "rows-us-central1", True),
        ("us-central1", "rows", True),  # the multi-region US
        ("us-central1", "rows-us-west1", False),
        ("europe-west4", "rows-europe-west4", True),
        ("europe-west4", "rows", False),
        ("europe-west4", "rows-europe-west2", False),
    ],
)
def test_rows_are_not_put_into_a_bucket_elsewhere(
    sandbox: StartSandbox, tmp_path: Path, region: str, bucket: str, is_near: bool
) -> None:
    """The gate decided for the job's region: a bucket elsewhere would move the rows past its decision."""
    box = sandbox("vertex")
    file, path = write(tmp_path, lines())
    at = there(region, data_uri=f"gs://{bucket}")
    if is_near:
        assert at.stage(file, path, key=KEY).uri.startswith(f"gs://{bucket}/")
        return
    with pytest.raises(Rejected, match="the bucket") as caught:
        at.stage(file, path, key=KEY)
    assert "gcloud storage buckets create" in str(caught.value.fix)
    assert asked(box, "storage.objects.insert") == 0


def test_a_bucket_of_somebody_elses_project_gets_nothing(sandbox: StartSandbox, tmp_path: Path) -> None:
    """Names of buckets are everybody's: a stranger may have taken the one we would derive."""
    box = sandbox("vertex")
    file, path = write(tmp_path, lines())
    at = there()
    name = "tunegate-sandbox-tunegate-us-central1"
    storage: Any = at._client().storage  # pyright: ignore[reportPrivateUsage]
    assert storage.get_bucket(name)  # it is there, and could be written to
    listed = storage.list_buckets

    def none_of_ours(**asked: Any) -> Any:
        assert asked["project"] == "tunegate-sandbox"
        return listed(**{**asked, "prefix": "absent-"})

    storage.list_buckets = none_of_ours
    with pytest.raises(NotFound, match="has no bucket"):
        at.stage(file, path, key=KEY)
    assert asked(box, "storage.objects.insert") == 0


def test_a_bucket_that_is_not_there_or_does_not_say_where_it_is_gets_nothing(
    sandbox: StartSandbox, tmp_path: Path
) -> None:
    box = sandbox("vertex")
    file, path = write(tmp_path, lines())
    at = there(data_uri="gs://absent-bucket")
    with pytest.raises(NotFound) as missing:
        at.stage(file, path, key=KEY)
    assert "gcloud storage buckets create gs://absent-bucket" in str(missing.value.fix)
    box.world.faults.arm(Fault("forbidden", "vertex.storage.buckets.list"))
    with pytest.raises(Exception) as caught:  # noqa: PT011
        there().stage(file, path, key=KEY)
    assert there().classify(caught.value).code == "backend_auth"
    assert asked(box, "storage.objects.insert") == 0


@pytest.mark.parametrize("bucket", ["weights-europe-west4", "absent-weights"])
def test_weights_are_left_in_no_bucket_elsewhere(sandbox: StartSandbox, tmp_path: Path, bucket: str) -> None:
    """A model is of the class of its data, and so are its weights."""
    box = sandbox("vertex")
    at = there("us-central1", data_uri="gs://rows-us-central1", output_uri=f"gs://{bucket}/models")
    with pytest.raises(BackendError, match=bucket) as caught:
        start(at, tmp_path, model=OPEN)
    assert caught.value.code in ("backend_rejected", "backend_not_found")
    assert asked(box, "tuningJobs.create") == 0


# -- exactly once ----------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["lose_reply", "truncate"])
def test_a_job_whose_creation_was_not_heard_of_is_found_again(
    sandbox: StartSandbox, tmp_path: Path, kind: Any
) -> None:
    box = sandbox("vertex", clock=Hand())
    box.world.faults.arm(Fault(kind, "vertex.tuningJobs.create"))
    at = there()
    with pytest.raises(Exception) as caught:  # noqa: PT011
        start(at, tmp_path)
    error = at.classify(caught.value)
    assert error.retryable
    assert error.code in ("backend", "backend_unreachable")  # neither counts as a refusal
    found = there().find(KEY)
    assert found is not None
    assert there().poll(found).state in ("queued", "running")
    assert (asked(box, "tuningJobs.create"), len(box.world.all(tuning.JOB))) == (1, 1)


@pytest.mark.parametrize("kind", ["reset", "unavailable", "broken", "throttle"])
def test_a_job_that_was_not_made_is_not_found_and_its_creation_not_repeated(
    sandbox: StartSandbox, tmp_path: Path, kind: Any
) -> None:
    """Google's clients repeat nothing by themselves: one call of ours is one call there."""
    box = sandbox("vertex")
    box.world.faults.arm(Fault(kind, "vertex.tuningJobs.create"))
    with pytest.raises(Exception):  # noqa: B017, PT011
        start(there(), tmp_path)
    assert asked(box, "tuningJobs.create") == 1
    assert there().find(KEY) is None


def _many(at: Any, folder: Path, count: int) -> None:
    file, path = write(folder, lines(2))
    staged = at.stage(file, path, key=KEY)
    for n in range(count):
        submit(at, staged, key=f"tunegate-other-{n}")


def test_a_job_is_found_behind_pages_of_others(
    sandbox: StartSandbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whether Google filters, ignores the filter, refuses it, or finds nothing by it."""
    box = sandbox("vertex")
    at = there()
    ref = start(at, tmp_path)
    _many(at, tmp_path, 120)
    find_by = ("ours", "refuse", "nothing")
    for how in find_by:
        if how == "refuse":
            monkeypatch.setattr(tuning, "_FILTER", _Never())
        if how == "nothing":
            monkeypatch.setattr(tuning, "_FILTER", _Nothing())
        before = asked(box, "tuningJobs.list")
        assert there().find(KEY) == ref, how
        assert asked(box, "tuningJobs.list") - before == (1 if how == "ours" else 3)
    assert there().find("tunegate-never-sent-1") is None


class _Never:
    def fullmatch(self, text: str) -> None:
        return None


class _Nothing:
    def fullmatch(self, text: str) -> tuple[str, str, str] | None:
        return ("", "no_such_label", "x") if text else None


def test_a_filter_that_is_ignored_does_not_give_somebody_elses_job(
    sandbox: StartSandbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Ignored:
        def fullmatch(self, text: str) -> Any:
            class Anything(str):
                def __eq__(self, other: object) -> bool:
                    return True

                __hash__ = str.__hash__

            return ("", "tunegate_key", Anything())

    sandbox("vertex")
    at = there()
    _many(at, tmp_path, 3)
    monkeypatch.setattr(tuning, "_FILTER", Ignored())
    assert at.find(KEY) is None


def test_jobs_of_another_region_are_not_ours(sandbox: StartSandbox, tmp_path: Path) -> None:
    sandbox("vertex")
    start(there("europe-west4"), tmp_path)
    assert there("us-central1").find(KEY) is None
    assert there("europe-west4").find(KEY) is not None


def test_an_open_model_is_found_with_the_version_that_knows_it(sandbox: StartSandbox, tmp_path: Path) -> None:
    sandbox("vertex")
    ref = start(there("global"), tmp_path, model=OPEN)
    assert there("global").find(KEY) == ref


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


def _classified(at: Any, what: Any) -> Any:
    """What egress does with Google's exceptions."""
    from gateway.egress import classified

    with classified(at):
        return what()


def test_a_lost_answer_is_unreachable_and_may_be_asked_again(sandbox: StartSandbox) -> None:
    box = sandbox("vertex")
    box.world.faults.arm(Fault("reset", "vertex.models.*"))
    with pytest.raises(Unreachable) as caught:
        there().complete(GEMINI, [chat("x")], max_output_tokens=9)
    assert caught.value.retryable
