"""Files and jobs at Vertex are sent once, to the right place, whatever is lost on the way."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from backends.sandbox.faults import Fault
from backends.vertex.sandbox import tuning
from backends.vertex.sandbox.storage import OBJECT
from gateway.core.errors import BackendError, NotFound, Rejected
from tests.backends.sandboxes import Hand, StartSandbox
from tests.backends.vertex_made import (
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
