"""The stand-ins of OpenAI, Azure and compatible servers: they refuse what the vendor would refuse, and answer
in its own shapes, which its SDK and its API description take."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest

from backends.sandbox.faults import Fault
from backends.sandbox.server import Server
from tests.backends.openai_described import Description
from tests.backends.openai_made import CANARY, NAMES, at_sandbox, submitted, translated, written
from tests.backends.sandboxes import Hand, StartSandbox

GOOD = {"model": "gpt-4.1-mini-2025-04-14", "training_file": "file-1"}


def http(box: Server, name: str) -> httpx.Client:
    """A caller that knows no SDK."""
    env = box.environment
    address, key = {
        "openai": ("OPENAI_BASE_URL", "OPENAI_API_KEY"),
        "azure": ("AZURE_OPENAI_ENDPOINT", "AZURE_OPENAI_API_KEY"),
        "compatible": ("OPENAI_COMPATIBLE_ENDPOINT", "OPENAI_COMPATIBLE_API_KEY"),
    }[name]
    base = env[address] + ("/openai/v1" if name == "azure" else "")
    headers = {"api-key": env[key]} if name == "azure" else {"Authorization": f"Bearer {env[key]}"}
    return httpx.Client(base_url=base, headers=headers)


def turn(role: str, content: str) -> dict[str, str]:
    return {"role": role, "content": content}


def method(**hyper: Any) -> dict[str, Any]:
    return {"type": "supervised", "supervised": {"hyperparameters": hyper}}


@pytest.mark.parametrize(
    ("change", "param"),
    [
        ({"trainingType": "Standard"}, "trainingType"),
        ({"method": method(n_epoch=3)}, "method.supervised.hyperparameters.n_epoch"),
        ({"method": method(n_epochs=51)}, "method.supervised.hyperparameters.n_epochs"),
        ({"method": method(n_epochs="3")}, "method.supervised.hyperparameters.n_epochs"),
        ({"method": method(batch_size=257)}, "method.supervised.hyperparameters.batch_size"),
        ({"method": method(learning_rate_multiplier=0)}, "learning_rate_multiplier"),
        ({"seed": -1}, "seed"),
        ({"seed": "1"}, "seed"),
        ({"suffix": "x" * 65}, "suffix"),
        ({"metadata": {"a": 1}}, "metadata"),
        ({"metadata": {str(i): "x" for i in range(17)}}, "metadata"),
        ({"model": None}, "model"),
    ],
)
def test_a_create_call_that_is_not_described_is_refused(
    change: dict[str, Any], param: str, sandbox: StartSandbox
) -> None:
    box = sandbox("openai")
    answer = http(box, "openai").post("/fine_tuning/jobs", json={**GOOD, **change})
    assert answer.status_code == 400
    error = answer.json()["error"]
    assert set(error) == {"message", "type", "param", "code"}
    assert param in error["param"]
    assert box.world.all("openai.job") == []


@pytest.mark.parametrize("change", [{"model": "gpt-2"}, {"training_file": "file-nowhere"}])
def test_a_job_of_an_unknown_model_or_file_is_refused(
    change: dict[str, Any], sandbox: StartSandbox, tmp_path: Path
) -> None:
    box = sandbox("openai")
    staged = at_sandbox("openai").stage(*written(tmp_path), key="k")
    answer = http(box, "openai").post(
        "/fine_tuning/jobs", json={**GOOD, "training_file": staged.uri, **change}
    )
    assert answer.status_code == 400
    assert answer.json()["error"]["code"] in ("model_not_available", "invalid_file")


@pytest.mark.parametrize(
    "body",
    [
        {"model": "m", "messages": [], "temprature": 0},
        {"model": "m", "messages": [], "temperature": "0"},
        {"messages": []},
        [],
    ],
)
def test_a_chat_that_is_not_described_is_refused(body: Any, sandbox: StartSandbox) -> None:
    box = sandbox("openai")
    assert http(box, "openai").post("/chat/completions", json=body).status_code == 400


@pytest.mark.parametrize("name", NAMES)
def test_only_its_own_key_opens_a_room(name: str, sandbox: StartSandbox) -> None:
    box = sandbox(*NAMES)
    with http(box, name) as caller:
        assert caller.get("/files").status_code == 200
        real = {"Authorization": "Bearer sk-real-one", "api-key": "real-one"}
        answer = caller.get("/files", headers=real)
    assert answer.status_code == 401
    assert answer.json()["error"]["code"] in ("invalid_api_key", "401")


def test_a_page_holds_as_many_as_asked_and_the_next_begins_after_it(
    sandbox: StartSandbox, tmp_path: Path
) -> None:
    box = sandbox("openai")
    for number in range(7):
        submitted("openai", tmp_path, key=f"key-{number}")
    caller = http(box, "openai")
    first = caller.get("/fine_tuning/jobs", params={"limit": 5}).json()
    second = caller.get("/fine_tuning/jobs", params={"limit": 5, "after": first["data"][-1]["id"]}).json()
    assert (first["has_more"], second["has_more"]) == (True, False)
    keys = [job["metadata"]["tunegate_key"] for job in first["data"] + second["data"]]
    assert keys == [f"key-{number}" for number in reversed(range(7))]
    filtered = caller.get("/fine_tuning/jobs", params={"metadata[tunegate_key]": "key-3"}).json()
    assert [job["metadata"]["tunegate_key"] for job in filtered["data"]] == ["key-3"]
    assert caller.get("/fine_tuning/jobs", params={"after": "ftjob-x"}).status_code == 400


def test_azure_has_ways_of_its_own(sandbox: StartSandbox, tmp_path: Path) -> None:
    clock = Hand()
    box = sandbox("azure", clock=clock)
    job = submitted("azure", tmp_path)
    caller = http(box, "azure")
    told = caller.get(f"/fine_tuning/jobs/{job.ref.id}").json()
    assert told["status"] == "pending"
    assert told["hyperparameters"]["batch_size"] == -1
    assert told["trainingType"] == "Standard"
    assert told["suffix"].startswith("soap-notes-")
    body = {**GOOD, "training_file": job.staged.uri}
    for wrong in (
        {"metadata": {"a": "b"}},
        {"suffix": "a.b"},
        {"suffix": "x" * 41},
        {"trainingType": "Data"},
    ):
        assert caller.post("/fine_tuning/jobs", json={**body, **wrong}).status_code == 400
    fresh = box.world.get("azure.file", job.staged.uri)
    assert fresh is not None
    box.world.put("azure.file", job.staged.uri, {**fresh, "status": "pending"})
    assert caller.post("/fine_tuning/jobs", json=body).status_code == 400, "the file has not been read yet"


def test_azures_resource_manager_wants_its_own_token_and_a_version(sandbox: StartSandbox) -> None:
    box = sandbox("azure")
    place = (
        f"{box.environment['AZURE_MANAGEMENT_ENDPOINT']}/subscriptions/s/resourceGroups/g"
        "/providers/Microsoft.CognitiveServices/accounts/a/deployments/d"
    )
    version = {"api-version": "2024-10-21"}
    assert httpx.get(place, params=version).status_code == 401
    identity = box.environment["IDENTITY_ENDPOINT"]
    assert httpx.get(identity).status_code == 401
    token = httpx.get(identity, headers={"X-IDENTITY-HEADER": "sandbox"}).json()["access_token"]
    headers = {"Authorization": f"Bearer {token}"}
    assert httpx.get(place, headers=headers).status_code == 400
    assert httpx.get(place, headers=headers, params=version).status_code == 404
    for wrong in ({}, {"sku": {"name": "Cheap"}}, {"sku": {"name": "Standard"}, "properties": {}}):
        assert httpx.put(place, headers=headers, params=version, json=wrong).status_code == 400


def test_a_compatible_server_forgets_metadata_and_takes_any_model(
    sandbox: StartSandbox, tmp_path: Path
) -> None:
    box = sandbox("compatible")
    job = submitted("compatible", tmp_path)
    caller = http(box, "compatible")
    assert caller.get(f"/fine_tuning/jobs/{job.ref.id}").json()["metadata"] is None
    assert caller.post(
        "/fine_tuning/jobs", json={"model": "llama-x", "training_file": job.staged.uri}
    ).is_success
    listed = caller.get("/fine_tuning/jobs", params={"metadata[tunegate_key]": "nobody"}).json()
    assert len(listed["data"]) == 2


def test_a_preference_job_is_learned_from_what_was_preferred(sandbox: StartSandbox, tmp_path: Path) -> None:
    clock = Hand()
    box = sandbox("openai", clock=clock)
    lines = [
        {
            "input": {"messages": [turn("user", f"greet number {i}")]},
            "preferred_output": [turn("assistant", f"good day {i}")],
            "non_preferred_output": [turn("assistant", "what")],
        }
        for i in range(10)
    ]
    content = "".join(f"{json.dumps(line)}\n" for line in lines)
    caller = http(box, "openai")
    file = caller.post("/files", files={"file": ("t.jsonl", content)}, data={"purpose": "fine-tune"}).json()
    dpo = {"type": "dpo", "dpo": {"hyperparameters": {"beta": 0.1}}}
    made = caller.post("/fine_tuning/jobs", json={**GOOD, "training_file": file["id"], "method": dpo}).json()
    clock.advance(60)
    model = caller.get(f"/fine_tuning/jobs/{made['id']}").json()["fine_tuned_model"]
    chat = {"model": model, "messages": [turn("user", "greet number 7")]}
    answer = caller.post("/chat/completions", json=chat).json()
    assert answer["choices"][0]["message"]["content"] == "good day 7"


def test_fewer_than_ten_examples_are_refused_while_they_are_validated(
    sandbox: StartSandbox, tmp_path: Path
) -> None:
    clock = Hand()
    sandbox("openai", clock=clock)
    job = submitted("openai", tmp_path, rows=9)
    assert job.there.poll(job.ref).state == "queued"
    clock.advance(60)
    assert job.there.poll(job.ref).state == "failed"


def test_a_restarted_sandbox_goes_on_where_it_was(sandbox: StartSandbox, tmp_path: Path) -> None:
    clock = Hand()
    first = sandbox("openai", clock=clock, folder=tmp_path / "box")
    job = submitted("openai", tmp_path)
    clock.advance(0.2)
    before = job.there.events(job.ref)
    first.stop()
    sandbox("openai", clock=clock, folder=tmp_path / "box")
    again = at_sandbox("openai")
    assert again.events(job.ref)[: len(before)] == before
    clock.advance(60)
    assert again.poll(job.ref).state == "succeeded"
    assert again.find("tunegate-01kb2x5r7q9w3e8t-1") == again.at(again.site).find(
        "tunegate-01kb2x5r7q9w3e8t-1"
    )


# -- the vendor's own description ------------------------------------------------------------------------


def whole_life(box: Server, folder: Path) -> Iterator[tuple[str, Any]]:
    """Every operation of the room, at every state of a job, with its reply."""
    job = submitted("openai", folder)
    caller = http(box, "openai")
    clock = box.world.now
    assert isinstance(clock, Hand)

    def ask(operation: str, verb: str, path: str, **more: Any) -> tuple[str, Any]:
        answer = caller.request(verb, path, **more)
        assert answer.is_success, (operation, answer.text)
        return operation, answer.json()

    place = f"/fine_tuning/jobs/{job.ref.id}"
    files = {"file": ("x.jsonl", b'{"messages": []}\n')}
    yield ask("createFile", "POST", "/files", files=files, data={"purpose": "fine-tune"})
    yield ask("listFiles", "GET", "/files")
    yield ask("retrieveFile", "GET", f"/files/{job.staged.uri}")
    yield ask(
        "createFineTuningJob", "POST", "/fine_tuning/jobs", json={**GOOD, "training_file": job.staged.uri}
    )
    for _ in range(8):
        yield ask("retrieveFineTuningJob", "GET", place)
        clock.advance(0.05)
    yield ask("listPaginatedFineTuningJobs", "GET", "/fine_tuning/jobs")
    yield ask("listFineTuningEvents", "GET", f"{place}/events")
    yield ask("listFineTuningJobCheckpoints", "GET", f"{place}/checkpoints")
    model = job.there.artifacts(job.ref)[0].uri
    chat = {"model": model, "messages": [{"role": "user", "content": "what is the square of 2"}]}
    yield ask("createChatCompletion", "POST", "/chat/completions", json=chat)
    yield ask("retrieveModel", "GET", f"/models/{model}")
    yield ask("deleteModel", "DELETE", f"/models/{model}")
    box.world.faults.arm(Fault("reject_file", "*"))
    refused = ask(
        "createFineTuningJob", "POST", "/fine_tuning/jobs", json={**GOOD, "training_file": job.staged.uri}
    )
    clock.advance(60)
    yield ask("retrieveFineTuningJob", "GET", f"/fine_tuning/jobs/{refused[1]['id']}")
    made = ask(
        "createFineTuningJob", "POST", "/fine_tuning/jobs", json={**GOOD, "training_file": job.staged.uri}
    )
    clock.advance(0.15)
    place = f"/fine_tuning/jobs/{made[1]['id']}"
    yield ask("resumeFineTuningJob", "POST", f"{place}/resume") if caller.post(f"{place}/pause") else made
    yield ask("cancelFineTuningJob", "POST", f"{place}/cancel")
    yield ask("deleteFile", "DELETE", f"/files/{job.staged.uri}")


@pytest.mark.shared
def test_every_reply_is_what_openai_describes(
    description: Description, sandbox: StartSandbox, tmp_path: Path
) -> None:
    box = sandbox("openai", clock=Hand())
    seen: set[str] = set()
    for operation, reply in whole_life(box, tmp_path):
        assert description.reply_errors(operation, reply) == [], operation
        seen.add(operation)
    ours = {route.operation for room in box._rooms for route in room.routes()}  # pyright: ignore[reportPrivateUsage]
    # `paused` is in OpenAI's example and not in its list of states; a file's content is no JSON.
    assert seen == ours - {"pauseFineTuningJob", "downloadFile"}


@pytest.mark.shared
def test_the_description_refuses_a_wrong_reply(description: Description) -> None:
    """The check above can fail."""
    assert description.reply_errors("retrieveFineTuningJob", {"id": "x"})
    assert description.reply_errors("deleteFile", {"id": "x", "object": "file", "deleted": "yes"})


def test_every_reply_is_taken_by_the_sdk_at_its_strictest(sandbox: StartSandbox, tmp_path: Path) -> None:
    clock = Hand()
    sandbox("openai", clock=clock)
    client = openai.OpenAI(max_retries=0, _strict_response_validation=True)
    _, path = written(tmp_path)
    with path.open("rb") as stream:
        file = client.files.create(file=stream, purpose="fine-tune")
    assert client.files.retrieve(file.id) == file
    assert [each.id for each in client.files.list()] == [file.id]
    body: dict[str, Any] = {**translated("openai").requests[-1].body, "training_file": file.id}
    job = client.fine_tuning.jobs.create(**body)
    for _ in range(8):
        clock.advance(0.05)
        job = client.fine_tuning.jobs.retrieve(job.id)
    assert job.fine_tuned_model
    assert len(list(client.fine_tuning.jobs.list_events(job.id, limit=3))) > 9
    assert len(list(client.fine_tuning.jobs.checkpoints.list(job.id))) == 2
    assert [each.id for each in client.fine_tuning.jobs.list()] == [job.id]
    chat: Any = {"model": job.fine_tuned_model, "messages": [{"role": "user", "content": "square of 5"}]}
    ask: Any = client.chat.completions.create
    assert ask(**chat).choices[0].message.content == f"{CANARY} it is 25"
    chunks = list(ask(**chat, stream=True))
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks) == f"{CANARY} it is 25"
    assert client.models.retrieve(job.fine_tuned_model).id == job.fine_tuned_model
    assert client.models.delete(job.fine_tuned_model).deleted
    assert client.files.delete(file.id).deleted
    with pytest.raises(openai.NotFoundError):
        client.files.content(file.id)


def test_a_slow_answer_is_slow(sandbox: StartSandbox) -> None:
    box = sandbox("openai")
    box.world.faults.arm(Fault("slow", "openai.listFiles", seconds=0.3))
    started = time.monotonic()
    assert http(box, "openai").get("/files").is_success
    assert time.monotonic() - started >= 0.3
