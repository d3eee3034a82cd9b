"""What goes wrong at Google, as our errors: by type, status and name, with a fix, and never its text."""

from __future__ import annotations

import json
import os
import socket
import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, cast

import pytest
import requests

from backends.sandbox.faults import Fault
from backends.vertex.errors import classify
from gateway.core.errors import BackendError, Rejected
from gateway.core.job import ChatMessage
from gateway.egress import classified
from tests.backends.made import backend
from tests.backends.sandboxes import Hand, StartSandbox
from tests.backends.vertex_made import CANARY, GEMINI, KEY, asked, lines, start, there, write

NOW = datetime(2026, 11, 22, tzinfo=UTC)


# -- replies, through each of Google's clients -----------------------------------------------------


def _body(status: str | None, *details: dict[str, Any], reasons: tuple[str, ...] = ()) -> dict[str, Any]:
    error: dict[str, Any] = {"message": f"it quotes {CANARY}", "details": list(details)}
    if status:
        error["status"] = status
    if reasons:
        error["errors"] = [{"message": CANARY, "reason": reason} for reason in reasons]
    return {"error": error}


def _info(reason: str) -> dict[str, Any]:
    return {"@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": reason}


def _of_api(http: int, body: object, headers: dict[str, str] | None = None) -> Exception:
    """As the API's and Cloud Storage's clients raise it."""
    from google.api_core import exceptions

    response = requests.Response()
    response.status_code = http
    response._content = json.dumps(body).encode()  # pyright: ignore[reportPrivateUsage]
    response.headers.update(headers or {})
    response.request = requests.Request("GET", "https://x").prepare()
    return cast("Any", exceptions).from_http_response(response)


def _of_genai(http: int, body: object, headers: dict[str, str] | None = None) -> Exception:
    """As google-genai raises it."""
    import httpx
    from google.genai import errors

    with pytest.raises(errors.APIError) as caught:
        cast("Any", errors.APIError).raise_for_response(httpx.Response(http, json=body, headers=headers))
    return caught.value


CASES: list[tuple[int, dict[str, Any], str, bool]] = [
    (400, _body("INVALID_ARGUMENT"), "backend_rejected", False),
    (400, _body("FAILED_PRECONDITION"), "backend_rejected", False),
    (401, _body("UNAUTHENTICATED", _info("ACCESS_TOKEN_EXPIRED")), "backend_auth", False),
    (403, _body("PERMISSION_DENIED", _info("IAM_PERMISSION_DENIED")), "backend_auth", False),
    (403, _body("PERMISSION_DENIED", _info("SERVICE_DISABLED")), "backend_auth", False),
    (403, _body(None, reasons=("forbidden",)), "backend_auth", False),
    (403, _body(None, reasons=("userRateLimitExceeded",)), "backend_rate_limited", True),
    (404, _body("NOT_FOUND"), "backend_not_found", False),
    (408, _body("DEADLINE_EXCEEDED"), "backend_unreachable", True),
    (409, _body("ABORTED"), "backend", True),
    (409, _body("ALREADY_EXISTS"), "backend_rejected", False),
    (412, _body(None, reasons=("conditionNotMet",)), "backend_rejected", False),
    (429, _body("RESOURCE_EXHAUSTED"), "backend_rate_limited", True),
    (429, _body("RESOURCE_EXHAUSTED", _info("RESOURCE_QUOTA_EXCEEDED")), "backend_rate_limited", False),
    (500, _body("INTERNAL"), "backend", True),
    (501, _body("UNIMPLEMENTED"), "backend_rejected", False),
    (502, _body(None), "backend", True),
    (503, _body("UNAVAILABLE"), "backend", True),
    (504, _body("DEADLINE_EXCEEDED"), "backend_unreachable", True),
    (307, _body(None), "backend_rejected", False),
]


@pytest.mark.parametrize("raised", [_of_api, _of_genai])
@pytest.mark.parametrize(("http", "body", "code", "retryable"), CASES)
def test_an_error_reply_is_read_by_its_names(
    raised: Any, http: int, body: dict[str, Any], code: str, retryable: bool
) -> None:
    error = classify(raised(http, body), "vertex")
    assert (error.code, error.retryable, error.status) == (code, retryable, http)
    assert CANARY not in str(error)
    if not error.retryable:
        assert error.fix


@pytest.mark.parametrize("raised", [_of_api, _of_genai])
@pytest.mark.parametrize(
    ("headers", "details", "wait"),
    [
        ({"Retry-After": "7"}, [], 7.0),
        ({}, [{"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "2.5s"}], 2.5),
        ({}, [], None),
        ({"Retry-After": "Wed, 21 Oct 2026 07:28:00 GMT"}, [], None),
    ],
)
def test_the_wait_google_asks_for_is_kept(
    raised: Any, headers: dict[str, str], details: list[dict[str, Any]], wait: float | None
) -> None:
    error = classify(raised(429, _body("RESOURCE_EXHAUSTED", *details), headers), "vertex")
    assert error.retry_after_s == wait


@pytest.mark.parametrize("raised", [_of_api, _of_genai])
def test_wrong_fields_are_named_and_their_values_are_not(raised: Any) -> None:
    violations = [
        {"field": "tuning_job.base_model", "description": CANARY},
        {"field": f"contents[0] {CANARY}", "description": "x"},
    ]
    error = classify(raised(400, _body("INVALID_ARGUMENT", {"fieldViolations": violations})), "vertex")
    assert "tuning_job.base_model" in error.message
    assert CANARY not in str(error)


@pytest.mark.parametrize("raised", [_of_api, _of_genai])
@pytest.mark.parametrize("body", [[], {}, {"error": "x"}, {"error": {"details": "x", "status": 5}}, "<html>"])
def test_a_reply_of_another_shape_is_still_an_error(raised: Any, body: Any) -> None:
    try:
        found = raised(400, body)
    except (AttributeError, TypeError):  # Google's own client cannot read it
        return
    assert isinstance(classify(found, "vertex"), Rejected)


def test_fixes_say_what_to_do() -> None:
    for reason, words in (("SERVICE_DISABLED", "gcloud services enable"), ("BILLING_DISABLED", "billing")):
        error = classify(_of_api(403, _body("PERMISSION_DENIED", _info(reason))), "vertex")
        assert words in str(error.fix)


# -- faults, over HTTP -----------------------------------------------------------------------------

FAULTS = [
    ("throttle", 1, "backend_rate_limited", True),
    ("unavailable", 1, "backend", True),
    ("broken", 1, "backend", True),
    ("forbidden", 1, "backend_auth", False),
    ("unauthorized", 9, "backend_auth", False),
    ("reset", 1, "backend_unreachable", True),
    ("lose_reply", 1, "backend_unreachable", True),
    ("truncate", 1, "backend", True),
]


def _calls(at: Any, folder: Path, ref: Any) -> dict[str, Any]:
    file, path = write(folder, lines(3), "other.jsonl")
    chat = [ChatMessage("user", "x")]
    return {
        "tuningJobs.get": lambda: at.poll(ref),
        "tuningJobs.list": lambda: at.find(KEY),
        "storage.objects.get": lambda: at.stage(file, path, key=KEY),
        "storage.objects.insert": lambda: at.stage(file, path, key=KEY),
        "models.generateContent": lambda: list(at.stream(GEMINI, chat, max_output_tokens=9)),
    }


@pytest.mark.parametrize(("kind", "times", "code", "retryable"), FAULTS)
@pytest.mark.parametrize("operation", ["tuningJobs.get", "tuningJobs.list", "storage.objects.get"])
def test_each_fault_is_its_typed_error(
    sandbox: StartSandbox, tmp_path: Path, operation: str, kind: Any, times: int, code: str, retryable: bool
) -> None:
    box = sandbox("vertex")
    at = there()
    ref = start(at, tmp_path)
    box.world.faults.arm(Fault(kind, f"vertex.{operation}", times=times))
    with pytest.raises(BackendError) as caught, classified(at):
        _calls(at, tmp_path, ref)[operation]()
    found = caught.value
    if kind == "truncate" and found.code != code:  # storage's client reads it as a broken connection
        code = "backend_unreachable"
    assert (found.code, found.retryable) == (code, retryable)
    box.world.faults.clear()
    _calls(at, tmp_path, ref)[operation]()


def test_a_credential_that_ran_out_on_the_way_is_renewed(sandbox: StartSandbox, tmp_path: Path) -> None:
    """Google takes tokens back at times: the next call fetches another, and nobody is bothered."""
    box = sandbox("vertex", clock=Hand())
    at = there()
    ref = start(at, tmp_path)
    box.world.faults.arm(Fault("unauthorized", "vertex.tuningJobs.get"))
    assert at.poll(ref).state in ("queued", "running")
    assert asked(box, "token") == 2


# -- credentials -----------------------------------------------------------------------------------


def _refused_credential(at: Any) -> BackendError:
    with pytest.raises(BackendError) as caught, classified(at):
        at.find(KEY)
    assert caught.value.code == "backend_auth"
    assert not caught.value.retryable
    return caught.value


def test_no_credential_is_told_with_the_way_to_one(
    sandbox: StartSandbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sandbox("vertex")
    monkeypatch.delenv("GOOGLE_APPLICATION_CREDENTIALS")
    monkeypatch.setenv("CLOUDSDK_CONFIG", str(tmp_path / "nobody"))
    at = there()
    assert "gcloud auth application-default login" in str(_refused_credential(at).fix)
    assert [(each.name, each.state) for each in at.check()] == [("credential", "missing")]


def test_a_key_that_was_withdrawn_is_told_and_a_new_one_is_believed_at_once(
    sandbox: StartSandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    box = sandbox("vertex")
    file = Path(os.environ["GOOGLE_APPLICATION_CREDENTIALS"])
    good = file.read_text("utf-8")
    old = file.parent / "old.json"
    old.write_text(json.dumps({**json.loads(good), "private_key": _another_key()}), "utf-8")
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(old))
    at = there()
    assert "invalid_grant" in _refused_credential(at).message
    old.write_text(good, "utf-8")
    assert at.find(KEY) is None
    assert asked(box, "tuningJobs.list") == 4


def _another_key() -> str:
    from backends.vertex.sandbox.account import _new_key  # pyright: ignore[reportPrivateUsage]

    return _new_key()["private_key"]


@pytest.mark.parametrize("hours", [-2, 2])
def test_a_wrong_clock_is_told_with_the_credential(
    sandbox: StartSandbox, monkeypatch: pytest.MonkeyPatch, hours: int
) -> None:
    """Google takes an assertion for minutes only; our clock is two hours off, theirs is right."""
    from google.auth import _helpers

    sandbox("vertex")
    helpers = cast("Any", _helpers)
    right = helpers.utcnow
    monkeypatch.setattr(helpers, "utcnow", lambda: right() + timedelta(hours=hours))
    error = _refused_credential(there())
    assert "invalid_grant" in error.message
    assert "clock" in str(error.fix)


def test_a_key_file_that_is_none_is_a_missing_credential(
    sandbox: StartSandbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sandbox("vertex")
    (tmp_path / "key.json").write_text("{}")
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(tmp_path / "key.json"))
    _refused_credential(there())


# -- no answer -------------------------------------------------------------------------------------


@pytest.fixture
def _no_names(monkeypatch: pytest.MonkeyPatch) -> None:  # pyright: ignore[reportUnusedFunction]
    """A machine without a name server: only numbers are addresses."""
    look_up = socket.getaddrinfo

    def numbers_only(host: Any, *more: Any, **named: Any) -> Any:
        if host not in ("127.0.0.1", "localhost"):
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        return look_up(host, *more, **named)

    monkeypatch.setattr(socket, "getaddrinfo", numbers_only)


@pytest.mark.usefixtures("_no_names")
def test_a_name_that_is_not_resolved_is_unreachable(sandbox: StartSandbox) -> None:
    sandbox("vertex")
    at = there(base_url="https://no-such-host.invalid")
    for call in (
        lambda: at.find(KEY),
        lambda: at.complete(GEMINI, [[ChatMessage("user", "x")]], max_output_tokens=9),
    ):
        with pytest.raises(BackendError) as caught, classified(at):
            call()
        assert (caught.value.code, caught.value.retryable) == ("backend_unreachable", True)
        assert "resolved" in caught.value.message


def test_nobody_listening_is_unreachable(sandbox: StartSandbox) -> None:
    box = sandbox("vertex")
    box.stop()
    at = there()
    with pytest.raises(BackendError) as caught, classified(at):
        at.find(KEY)
    assert (caught.value.code, caught.value.retryable) == ("backend_unreachable", True)


def test_an_error_of_our_own_and_an_unknown_one() -> None:
    ours = Rejected("x", backend="vertex")
    assert classify(ours, "vertex") is ours
    assert classify(FileNotFoundError(CANARY), "vertex").retryable is False
    assert "pip install" in str(classify(ModuleNotFoundError("google"), "vertex").fix)
    assert CANARY not in str(classify(RuntimeError(CANARY), "vertex"))


# -- where calls go, and what is missing -----------------------------------------------------------


def test_addresses_are_those_the_clients_use(monkeypatch: pytest.MonkeyPatch) -> None:
    """With the variables by which they may be sent elsewhere, so that egress can hold them."""
    for name in ("GOOGLE_VERTEX_BASE_URL", "STORAGE_EMULATOR_HOST", "GOOGLE_APPLICATION_CREDENTIALS"):
        monkeypatch.delenv(name, raising=False)
    at = there("europe-west4", project="p-12")
    assert at.addresses() == (
        "https://europe-west4-aiplatform.googleapis.com",
        "https://aiplatform.eu.rep.googleapis.com",
        "https://storage.googleapis.com",
    )
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", "https://storage.example.org")
    assert "https://storage.example.org" in there(project="p-12").addresses()
    monkeypatch.setenv("GOOGLE_VERTEX_BASE_URL", "https://vertex.example.org/")
    assert "https://vertex.example.org" in there(project="p-12").addresses()


@pytest.mark.parametrize("base_url", ["http://vertex.example.org", "ftp://x", "https://user@x.org"])
def test_an_address_that_is_not_sealed_is_refused(base_url: str) -> None:
    with pytest.raises(ValueError, match="base_url"):
        there(project="p-12", base_url=base_url).addresses()


def test_a_project_is_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("GOOGLE_CLOUD_PROJECT", raising=False)
    at = there()
    assert [(each.name, each.state) for each in at.check()] == [("project", "missing")]
    with pytest.raises(Rejected, match="project"):
        at.addresses()
    assert backend("vertex").missing({}) == ("project",)


def test_the_doctor_reads_and_shows_no_secret(sandbox: StartSandbox) -> None:
    box = sandbox("vertex")
    found = {each.name: each for each in there().check()}
    bucket = "bucket tunegate-sandbox-tunegate-us-central1"
    assert {name: each.state for name, each in found.items()} == {
        "credential": "ok", "tuning jobs": "ok", bucket: "ok", "rights on the bucket": "ok",
        "deleted is gone": "missing",
    }  # fmt: skip
    assert "7 days" in found["deleted is gone"].fix
    assert {each.method for each in box.asked} == {"GET", "POST"}
    assert {each.operation for each in box.asked if each.method == "POST"} == {"vertex.token"}
    key = json.loads(Path(os.environ["GOOGLE_APPLICATION_CREDENTIALS"]).read_text("utf-8"))
    assert key["private_key"] not in repr(found)
    assert key["private_key_id"] not in repr(found)


@pytest.mark.parametrize(
    ("options", "operation", "kind", "name", "state"),
    [
        ({"data_uri": "gs://absent-x"}, None, None, "bucket absent-x", "missing"),
        ({"data_uri": "gs://rows-europe-west4"}, None, None, "bucket rows-europe-west4", "missing"),
        ({}, "tuningJobs.list", "forbidden", "tuning jobs", "missing"),
        ({}, "tuningJobs.list", "unavailable", "tuning jobs", "unknown"),
        ({}, "token", "reset", "credential", "unknown"),
    ],
)
def test_the_doctor_tells_missing_from_unknown(
    sandbox: StartSandbox, options: dict[str, Any], operation: str, kind: Any, name: str, state: str
) -> None:
    box = sandbox("vertex")
    if kind:
        box.world.faults.arm(Fault(kind, f"vertex.{operation}", times=9))
    found = {each.name: each for each in there(**options).check()}
    assert found[name].state == state
    assert found[name].fix


def test_many_threads_share_one_client(sandbox: StartSandbox, tmp_path: Path) -> None:
    box = sandbox("vertex")
    at = there()
    ref = start(at, tmp_path)
    done: list[str] = []
    threads = [threading.Thread(target=lambda: done.append(at.poll(ref).state)) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(done) == 8
    assert asked(box, "token") == 1
