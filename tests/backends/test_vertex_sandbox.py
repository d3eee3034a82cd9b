"""Vertex's stand-in: what Google's own clients and description make of it."""

from __future__ import annotations

import json
import os
import stat
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import httpx
import pytest

from backends.sandbox.server import Server
from backends.vertex.client import Clients
from backends.vertex.sandbox import VertexRoom
from backends.vertex.sandbox.storage import OBJECT
from tests.backends.sandboxes import Hand, StartSandbox
from tests.backends.vertex_made import GEMINI, OPEN, lines, message_line, start, submit, there, write

PARENT = "projects/tunegate-sandbox/locations/us-central1"
JOB: dict[str, Any] = {
    "baseModel": GEMINI,
    "supervisedTuningSpec": {"trainingDatasetUri": "gs://rows/train.jsonl"},
}


@pytest.fixture
def box(sandbox: StartSandbox) -> Server:
    return sandbox("vertex", clock=Hand())


@pytest.fixture
def token(box: Server) -> str:
    """A token, bought with the key as google-auth does it."""
    from google.auth.transport.requests import Request

    credential: Any = Clients("p", f"{box.address}/vertex").credential
    credential.refresh(cast("Any", Request)())
    return credential.token


@pytest.fixture
def web(box: Server, token: str) -> Iterator[httpx.Client]:
    """A plain HTTP client with a token."""
    headers = {"Authorization": f"Bearer {token}"}
    with httpx.Client(base_url=f"{box.address}/vertex/", headers=headers) as client:
        yield client


def put_rows(web: httpx.Client, name: str = "train.jsonl", rows: list[dict[str, Any]] | None = None) -> None:
    text = "".join(json.dumps(row) + "\n" for row in rows or lines(8))
    address = f"upload/storage/v1/b/rows/o?uploadType=media&name={name}"
    assert web.post(address, content=text).status_code == 200


# -- Google's clients read its replies -------------------------------------------------------------


def test_google_genai_follows_a_job(web: httpx.Client, box: Server) -> None:
    from google import genai
    from google.genai import types

    put_rows(web)
    clock = cast("Hand", box.world.now)
    client = genai.Client(
        vertexai=True,
        project="tunegate-sandbox",
        location="us-central1",
        credentials=Clients("p", f"{box.address}/vertex").credential,
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it calls its own tuning experimental
        made = client.tunings.tune(
            base_model=GEMINI,
            training_dataset=types.TuningDataset(gcs_uri="gs://rows/train.jsonl"),
            config=types.CreateTuningJobConfig(epoch_count=2, labels={"who": "genai"}),
        )
    assert made.name
    assert made.state == types.JobState.JOB_STATE_PENDING
    clock.advance(60)
    done = client.tunings.get(name=made.name)
    assert done.has_succeeded
    assert done.tuned_model
    assert done.tuned_model.endpoint
    assert [job.name for job in client.tunings.list()] == [made.name]
    reply = client.models.generate_content(model=done.tuned_model.endpoint, contents="patient number 5")
    assert reply.text
    assert reply.text.startswith("note 5")
    assert reply.usage_metadata


def test_googles_other_client_reads_every_field(web: httpx.Client, box: Server) -> None:
    """google-cloud-aiplatform, which takes no field it does not know."""
    from google.api_core.client_options import ClientOptions
    from google.cloud import aiplatform_v1

    put_rows(web)
    client: Any = cast("Any", aiplatform_v1.GenAiTuningServiceClient)(
        transport="rest",
        credentials=Clients("p", f"{box.address}/vertex").credential,
        client_options=ClientOptions(api_endpoint=f"{box.address}/vertex"),
    )
    job: Any = aiplatform_v1.TuningJob
    made = client.create_tuning_job(parent=PARENT, tuning_job=job.from_json(json.dumps(JOB)))
    cast("Hand", box.world.now).advance(60)
    assert client.get_tuning_job(name=made.name).state.name == "JOB_STATE_SUCCEEDED"
    assert [each.name for each in client.list_tuning_jobs(parent=PARENT)] == [made.name]
    shown = web.get(f"v1/{made.name}").json()
    assert "tunedModel" in shown
    assert job.from_json(json.dumps(shown), ignore_unknown_fields=False).tuned_model.checkpoints
    with pytest.raises(Exception, match="has ended"):
        client.cancel_tuning_job(name=made.name)


def test_what_it_shows_is_as_google_describes_it(web: httpx.Client, box: Server) -> None:
    """Held to the discovery document at every stage of a job's life, in both versions."""
    from backends.vertex.sandbox.described import described

    put_rows(web)
    put_rows(web, "open.jsonl", [message_line("q", "a")] * 9)
    clock = cast("Hand", box.world.now)
    spec = {"trainingDatasetUri": "gs://rows/open.jsonl", "tuningMode": "TUNING_MODE_FULL"}
    open_job = {
        "baseModel": "meta/llama3_1@llama-3.1-8b-instruct",
        "supervisedTuningSpec": spec,
        "outputUri": "gs://o/x",
    }
    names = [
        web.post(f"{version}/{PARENT}/tuningJobs", json=body).json()["name"]
        for version, body in (("v1", JOB), ("v1beta1", open_job))
    ]
    for _ in range(8):
        for version, name in zip(("v1", "v1beta1"), names, strict=True):
            schema = f"GoogleCloudAiplatform{version.capitalize()}TuningJob"
            shown = web.get(f"{version}/{name}").json()
            assert described(f"aiplatform.{version}").wrong_value(schema, shown) == []
        clock.advance(0.05)


def test_cloud_storage_s_client_reads_lists_and_deletes(box: Server) -> None:
    storage: Any = Clients("p", f"{box.address}/vertex").storage
    bucket = storage.bucket("rows")
    for n in range(3):
        bucket.blob(f"a folder/file {n}?").upload_from_string(f"content {n}", if_generation_match=0)
    names = [blob.name for blob in storage.list_blobs("rows", prefix="a folder/", page_size=2)]
    assert names == [f"a folder/file {n}?" for n in range(3)]
    blob = bucket.blob(names[1])
    assert blob.download_as_bytes() == b"content 1"
    with pytest.raises(Exception, match="412"):
        blob.upload_from_string("other", if_generation_match=0)
    blob.upload_from_string("other")
    assert blob.download_as_text() == "other"
    blob.delete()
    assert not blob.exists()
    assert storage.lookup_bucket("absent-one") is None


@pytest.mark.parametrize("size", [0, 5, 262_144 * 3 + 7])
def test_an_upload_in_pieces_is_put_together(box: Server, tmp_path: Path, size: int) -> None:
    storage: Any = Clients("p", f"{box.address}/vertex").storage
    content = os.urandom(size)
    (tmp_path / "file").write_bytes(content)
    blob = storage.bucket("rows").blob("x", chunk_size=262_144)
    blob.upload_from_filename(str(tmp_path / "file"))
    is_same = storage.bucket("rows").blob("x").download_as_bytes() == content
    assert is_same


# -- and Google's description judges what it is asked ------------------------------------------------


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"base_modell": "x"}, "base_modell"),
        ({"supervisedTuningSpec": {"validation_dataset": "gs://x"}}, "validation_dataset"),
        ({"supervisedTuningSpec": {"hyperParameters": {"adapterSize": "8"}}}, "adapter_size"),
        ({"supervisedTuningSpec": {"hyperParameters": {"batchSize": "8"}}}, "batch_size"),
        ({"supervisedTuningSpec": {"hyperParameters": {"epochCount": "three"}}}, "epoch_count"),
        ({"supervisedTuningSpec": {"hyperParameters": {"learningRateMultiplier": True}}}, "multiplier"),
        ({"labels": {"Tunegate": "x"}}, "labels"),
        ({"labels": {"tunegate": "x" * 64}}, "labels"),
        ({"baseModel": "gemini-99"}, "base_model"),
        ({"baseModel": ["gemini"]}, "base_model"),
    ],
)
def test_a_request_that_google_would_refuse_is_refused(
    web: httpx.Client, change: dict[str, Any], field: str
) -> None:
    put_rows(web)
    reply = web.post(f"v1/{PARENT}/tuningJobs", json={**JOB, **change})
    assert reply.status_code == 400
    error = reply.json()["error"]
    assert error["status"] == "INVALID_ARGUMENT"
    assert field in error["details"][0]["fieldViolations"][0]["field"]


def test_fields_may_be_written_in_snake_case_as_protos_json_has_it(web: httpx.Client) -> None:
    put_rows(web)
    body = {"base_model": GEMINI, "supervised_tuning_spec": {"training_dataset_uri": "gs://rows/train.jsonl"}}
    # Known to the description; the stand-in itself then wants the names that Tunegate writes.
    reply = web.post(f"v1/{PARENT}/tuningJobs", json=body)
    assert [each["field"] for each in reply.json()["error"]["details"][0]["fieldViolations"]] == [
        "tuning_job.base_model"
    ]


@pytest.mark.parametrize(
    ("path", "content", "status"),
    [
        (f"v1/{PARENT}/tuningJobs", "{", 400),
        (f"v1/{PARENT}/publishers/google/models/{GEMINI}:generateContent", '{"contents": []}', 400),
        (f"v1/{PARENT}/publishers/google/models/{GEMINI}:generateContent", '{"prompt": "x"}', 400),
        (f"v1/{PARENT}/endpoints/5:generateContent", '{"contents": [{"parts": [{"text": "x"}]}]}', 404),
        (f"v1/{PARENT}/tuningJobs/5:cancel", "{}", 404),
        ("upload/storage/v1/b/rows/o?uploadType=media", "x", 400),
        ("upload/storage/v1/b/rows/o?uploadType=media&name=x&tunegate=1", "x", 400),
        ("upload/storage/v1/b/absent-x/o?uploadType=media&name=x", "x", 404),
    ],
)
def test_what_makes_no_sense_is_refused(web: httpx.Client, path: str, content: str, status: int) -> None:
    assert web.post(path, content=content).status_code == status


def test_a_model_of_the_third_generation_answers_in_multi_regions_only(web: httpx.Client) -> None:
    body = {"contents": [{"role": "user", "parts": [{"text": "x"}]}]}
    for location, status in (("us", 200), ("eu", 200), ("us-central1", 404)):
        path = f"v1/projects/p/locations/{location}/publishers/google/models/{GEMINI}:generateContent"
        assert web.post(path, json=body).status_code == status


def test_answers_may_come_as_an_array_of_pieces(web: httpx.Client) -> None:
    body = {"contents": [{"role": "user", "parts": [{"text": "x"}]}]}
    path = f"v1/projects/p/locations/us/publishers/google/models/{GEMINI}:streamGenerateContent"
    pieces = web.post(path, json=body).json()
    assert len(pieces) > 3
    assert pieces[-1]["candidates"][0]["finishReason"] == "STOP"
    assert "usageMetadata" in pieces[-1]
    assert "finishReason" not in pieces[0]["candidates"][0]


def test_lists_have_pages_and_know_one_filter(web: httpx.Client) -> None:
    put_rows(web)
    for n in range(5):
        web.post(f"v1/{PARENT}/tuningJobs", json={**JOB, "labels": {"n": str(n)}})
    seen: list[str] = []
    query = {"pageSize": "2"}
    while True:
        page = web.get(f"v1/{PARENT}/tuningJobs", params=query).json()
        seen += [job["labels"]["n"] for job in page["tuningJobs"]]
        if "nextPageToken" not in page:
            break
        query["pageToken"] = page["nextPageToken"]
    assert seen == ["4", "3", "2", "1", "0"]  # the newest first
    found = web.get(f"v1/{PARENT}/tuningJobs", params={"filter": 'labels.n="3"'}).json()
    assert [job["labels"]["n"] for job in found["tuningJobs"]] == ["3"]
    assert web.get(f"v1/{PARENT}/tuningJobs", params={"filter": "anything"}).status_code == 400
    assert web.get(f"v1/{PARENT}/tuningJobs", params={"order": "x"}).status_code == 400


# -- its account -----------------------------------------------------------------------------------


def test_nothing_is_answered_without_a_token(box: Server) -> None:
    for headers in ({}, {"Authorization": "Bearer forged"}, {"Authorization": "Basic x"}):
        reply = httpx.get(f"{box.address}/vertex/v1/{PARENT}/tuningJobs", headers=headers)
        assert reply.status_code == 401
        assert reply.json()["error"]["status"] == "UNAUTHENTICATED"


@pytest.mark.parametrize("assertion", ["", "a.b.c", "e30.e30.e30", "éé.é.é"])
def test_no_token_for_what_the_key_did_not_sign(box: Server, assertion: str) -> None:
    reply = httpx.post(f"{box.address}/vertex/token", data={"assertion": assertion})
    assert (reply.status_code, reply.json()["error"]) == (400, "invalid_grant")


def test_the_key_is_its_owners_alone_and_leads_to_this_machine(box: Server) -> None:
    file = Path(os.environ["GOOGLE_APPLICATION_CREDENTIALS"])
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert file.parent == box.world.folder
    assert json.loads(file.read_text("utf-8"))["token_uri"].startswith("http://127.0.0.1:")
    addresses = [value for value in box.environment.values() if "://" in value]
    assert addresses
    assert all(value.startswith("http://127.0.0.1:") for value in addresses)


def test_google_auth_asks_nobody_else_on_its_account(
    box: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With a service account, google-auth looks an address of Google's own up beside every refresh."""
    from google.auth import credentials

    def looked_up(*_: object, **__: object) -> None:
        raise AssertionError("a look-up beside the sandbox")

    monkeypatch.setattr(
        credentials.CredentialsWithRegionalAccessBoundary,
        "_maybe_start_regional_access_boundary_refresh",
        looked_up,
    )
    start(there(), tmp_path)


def test_a_restarted_sandbox_is_the_same(sandbox: StartSandbox, tmp_path: Path) -> None:
    """Jobs, files, tokens and the key live on."""
    clock = Hand()
    first = sandbox("vertex", clock=clock)
    port = int(first.address.rpartition(":")[2])
    at = there()
    ref = start(at, tmp_path)
    key = Path(os.environ["GOOGLE_APPLICATION_CREDENTIALS"]).read_bytes()
    first.stop()
    clock.advance(60)
    second = sandbox("vertex", clock=clock, folder=first.world.folder, port=port)
    assert Path(os.environ["GOOGLE_APPLICATION_CREDENTIALS"]).read_bytes() == key
    assert at.poll(ref).state == "succeeded"
    assert "vertex.token" not in {each.operation for each in second.asked}
    assert len(second.world.all(OBJECT)) == 1


def test_an_upload_survives_a_restart(sandbox: StartSandbox) -> None:
    from google.cloud.storage.retry import DEFAULT_RETRY

    box = sandbox("vertex")
    storage: Any = Clients("p", f"{box.address}/vertex").storage
    session = storage.bucket("rows").blob("x").create_resumable_upload_session(size=10)
    web = httpx.Client(headers={"Authorization": f"Bearer {storage._credentials.token}"})
    half = web.put(session, content=b"01234", headers={"Content-Range": "bytes 0-4/10"})
    assert (half.status_code, half.headers["Range"]) == (308, "bytes=0-4")
    box.stop()
    sandbox("vertex", folder=box.world.folder, port=int(box.address.rpartition(":")[2]))
    asked = web.put(session, headers={"Content-Range": "bytes */10"})
    assert (asked.status_code, asked.headers["Range"]) == (308, "bytes=0-4")
    assert web.put(session, content=b"56789", headers={"Content-Range": "bytes 5-9/10"}).status_code == 200
    assert storage.bucket("rows").blob("x").download_as_bytes(retry=DEFAULT_RETRY) == b"0123456789"


def test_answers_outlive_the_training_files(sandbox: StartSandbox, tmp_path: Path) -> None:
    """Staged files are deleted when a job ends; its model goes on answering."""
    from gateway.core.job import ChatMessage

    clock = Hand()
    sandbox("vertex", clock=clock)
    at = there()
    file, path = write(tmp_path, lines())
    staged = at.stage(file, path, key="k")
    ref = submit(at, staged)
    at.unstage(staged.uri)
    clock.advance(60)
    model = at.artifacts(ref)[0].callable_id
    assert model
    chat = [ChatMessage("user", "patient number 2")]
    assert at.complete(model, [chat], max_output_tokens=64)[0].text.startswith("note 2")


def test_a_dataset_that_is_not_there_is_told_at_once(sandbox: StartSandbox) -> None:
    from backends.base import Staged
    from gateway.core.plan import ProviderFile

    sandbox("vertex")
    nowhere = Staged(ProviderFile("train.jsonl", "train", "vertex-contents", 1, 1, {}, None), "gs://no/file")
    with pytest.raises(Exception, match="404"):
        submit(there(), nowhere)


def test_the_room_is_found_by_its_name() -> None:
    from backends import registry

    assert registry.sandbox_room("vertex") is VertexRoom
    assert OPEN in {model.name for model in registry.facts("vertex").models}
