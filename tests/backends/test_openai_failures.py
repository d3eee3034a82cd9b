"""What goes wrong on the way to OpenAI, Azure and compatible servers: each in its typed error."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Iterable
from pathlib import Path
from typing import Any, get_args

import httpx
import openai
import pytest
from hypothesis import given
from hypothesis import strategies as st

from backends.openai import failures, replies
from backends.sandbox.faults import Fault, Kind
from gateway.core.errors import Auth, BackendError, NotFound, RateLimited, Rejected, Unavailable, Unreachable
from tests.backends.openai_made import (
    CANARY,
    KEY,
    NAMES,
    at_sandbox,
    failure,
    recorder,
    submitted,
    written,
)
from tests.backends.sandboxes import StartSandbox

KEYS = {
    "openai": "OPENAI_API_KEY",
    "azure": "AZURE_OPENAI_API_KEY",
    "compatible": "OPENAI_COMPATIBLE_API_KEY",
}

FAULTS: dict[str, tuple[type[BackendError], int | None, bool]] = {
    "throttle": (RateLimited, 429, True),
    "unavailable": (BackendError, 503, True),
    "broken": (BackendError, 500, True),
    "unauthorized": (Auth, 401, False),
    "forbidden": (Auth, 403, False),
    "reset": (Unreachable, None, True),
    "lose_reply": (Unreachable, None, True),
    "truncate": (Unreachable, None, True),
}


def test_every_fault_of_a_single_call_is_in_the_table() -> None:
    elsewhere = {"slow", "crash_before", "crash_after", "reject_file", "fail_job"}
    assert set(FAULTS) == set(get_args(Kind)) - elsewhere


@pytest.mark.parametrize("kind", FAULTS)
@pytest.mark.parametrize("call", ["stage", "submit", "poll"])
@pytest.mark.parametrize("name", NAMES)
def test_a_fault_lands_in_its_typed_error(
    name: str, call: str, kind: str, sandbox: StartSandbox, tmp_path: Path
) -> None:
    box = sandbox(name)
    operation = {"stage": "createFile", "submit": "createFineTuningJob", "poll": "retrieveFineTuningJob"}[
        call
    ]
    fault = Fault(kind, f"{name}.{operation}", seconds=3)  # pyright: ignore[reportArgumentType]
    there = at_sandbox(name)
    if call == "poll":
        job = submitted(name, tmp_path)
        box.world.faults.arm(fault)
        error = failure(there, lambda: there.poll(job.ref))
    else:
        box.world.faults.arm(fault)
        error = failure(there, lambda: submitted(name, tmp_path))
    expected, status, retryable = FAULTS[kind]
    assert type(error) is expected
    assert (error.status, error.retryable, error.backend) == (status, retryable, name)
    assert error.fix
    assert error.retry_after_s == (3 if kind == "throttle" else None)


# -- credentials ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", NAMES)
def test_a_wrong_credential_says_how_to_mend_it_and_a_mended_one_is_taken(
    name: str, sandbox: StartSandbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    box = sandbox(name)
    good = box.environment[KEYS[name]]
    monkeypatch.setenv(KEYS[name], "wrong-and-secret")
    there, (file, path) = at_sandbox(name), written(tmp_path)
    error = failure(there, lambda: there.stage(file, path, key=KEY))
    assert type(error) is Auth
    assert not error.retryable
    assert "doctor" in (error.fix or "")
    checks = there.check()
    assert checks[0].state == "missing"
    assert "wrong-and-secret" not in f"{error}{checks}"
    monkeypatch.setenv(KEYS[name], good)
    assert there.stage(file, path, key=KEY).uri
    assert {check.state for check in there.check()} == {"ok"}


def test_no_credential_for_openai_is_told_before_anything_is_sent(
    sandbox: StartSandbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    box = sandbox("openai")
    monkeypatch.delenv("OPENAI_API_KEY")
    there, (file, path) = at_sandbox("openai"), written(tmp_path)
    assert type(failure(there, lambda: there.stage(file, path, key=KEY))) is Auth
    assert [check.state for check in there.check()] == ["missing"]
    assert box.asked == ()


def test_azure_takes_an_identity_where_there_is_no_key(
    sandbox: StartSandbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    box = sandbox("azure")
    monkeypatch.delenv("AZURE_OPENAI_API_KEY")
    there, (file, path) = at_sandbox("azure"), written(tmp_path)
    assert there.stage(file, path, key=KEY).uri
    assert any(each.operation == "azure.getToken" for each in box.asked)


def test_azure_without_key_or_identity_says_so(
    sandbox: StartSandbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sandbox("azure")
    monkeypatch.delenv("AZURE_OPENAI_API_KEY")
    monkeypatch.setenv("AZURE_TOKEN_CREDENTIALS", "EnvironmentCredential")
    there, (file, path) = at_sandbox("azure"), written(tmp_path)
    error = failure(there, lambda: there.stage(file, path, key=KEY))
    assert type(error) is Auth
    assert "clock" in (error.fix or "")


# -- addresses -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", NAMES)
def test_a_name_that_dns_does_not_know_is_told_as_that(
    name: str, sandbox: StartSandbox, tmp_path: Path
) -> None:
    sandbox(name)
    there, (file, path) = at_sandbox(name, endpoint="https://nothing.invalid"), written(tmp_path)
    error = failure(there, lambda: there.stage(file, path, key=KEY))
    assert type(error) is Unreachable
    assert error.retryable
    assert "DNS" in error.message
    assert "endpoint" in (error.fix or "")


@pytest.mark.parametrize("name", ["azure", "compatible"])
def test_an_address_that_is_missing_is_asked_for(name: str, sandbox: StartSandbox) -> None:
    sandbox(name)
    there = at_sandbox(name, endpoint=None)
    assert there.missing({}) == ("endpoint",)
    with pytest.raises(Unavailable) as caught:
        there.addresses()
    assert f"options.{name}.endpoint" in (caught.value.fix or "")
    (check,) = there.check()
    assert (check.name, check.state) == ("address", "missing")
    assert f"options.{name}.endpoint" in check.fix


@pytest.mark.parametrize("name", ["openai", "azure"])
@pytest.mark.parametrize(
    "endpoint", ["http://api.openai.com/v1", "ftp://x", "http://127.0.0.1.evil.example/"]
)
def test_an_address_without_encryption_is_refused(name: str, endpoint: str, sandbox: StartSandbox) -> None:
    sandbox(name)
    with pytest.raises(ValueError, match="endpoint"):
        at_sandbox(name, endpoint=endpoint).addresses()


@pytest.mark.parametrize("name", NAMES)
def test_addresses_are_what_the_sdk_resolved_and_cost_no_request(name: str, sandbox: StartSandbox) -> None:
    box = sandbox(name)
    addresses = at_sandbox(name).addresses()
    assert all(address.startswith(f"{box.address}/{name}") for address in addresses)
    assert len(addresses) == (2 if name == "azure" else 1)
    assert box.asked == ()


@pytest.mark.parametrize("name", NAMES)
def test_a_redirect_is_not_followed(name: str, sandbox: StartSandbox, tmp_path: Path) -> None:
    """It would carry rows, or a credential, to a host that nobody was asked about."""
    sandbox(name)
    with recorder() as here, recorder() as elsewhere:
        here.say({}, 307, {"Location": f"{elsewhere.address}/files"})
        elsewhere.say({"id": "file-1"})
        there, (file, path) = at_sandbox(name, endpoint=here.address), written(tmp_path)
        error = failure(there, lambda: there.stage(file, path, key=KEY))
        assert error.status == 307
        assert not error.retryable
        assert len(here.seen) == 1
        assert elsewhere.seen == []


@pytest.mark.parametrize("name", ["azure", "compatible"])
def test_nothing_of_openais_account_goes_to_another_address(
    name: str, sandbox: StartSandbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The SDK would take all of these from the environment for any address it is given."""
    box = sandbox("azure", "compatible")
    monkeypatch.setenv("OPENAI_API_KEY", f"key-{CANARY}")
    monkeypatch.setenv("OPENAI_ADMIN_KEY", f"admin-{CANARY}")
    monkeypatch.setenv("OPENAI_ORG_ID", f"org-{CANARY}")
    monkeypatch.setenv("OPENAI_PROJECT_ID", f"project-{CANARY}")
    monkeypatch.setenv("OPENAI_CUSTOM_HEADERS", f"X-Gateway: {CANARY}\nAuthorization: Bearer {CANARY}")
    with recorder() as other:
        other.say({"object": "list", "data": [], "has_more": False})
        there = at_sandbox(name, endpoint=other.address)
        there.check()
        assert len(other.seen) == 2
        assert CANARY not in repr(other.seen)
        headers = [{name.lower(): value for name, value in sent.items()} for _, _, sent, _ in other.seen]
        key = box.environment[KEYS[name]]
        given = "api-key" if name == "azure" else "authorization"
        assert [sent[given] for sent in headers] == [key if name == "azure" else f"Bearer {key}"] * 2


def test_a_compatible_server_without_a_key_gets_none(
    sandbox: StartSandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    sandbox("compatible")
    monkeypatch.delenv("OPENAI_COMPATIBLE_API_KEY")
    monkeypatch.setenv("OPENAI_API_KEY", CANARY)
    with recorder() as other:
        other.say({"object": "list", "data": [], "has_more": False})
        at_sandbox("compatible", endpoint=other.address).check()
        assert not any("authorization" in {name.lower() for name in sent} for _, _, sent, _ in other.seen)


def test_a_server_that_knows_no_cursors_is_not_asked_for_ever(sandbox: StartSandbox, tmp_path: Path) -> None:
    sandbox("compatible")
    with recorder() as other:
        files = [
            {"id": f"file-{i}", "object": "file", "filename": "x", "status": "processed"} for i in range(3)
        ]
        other.say({"object": "list", "data": files, "has_more": True})
        other.say({"object": "list", "data": files, "has_more": True})
        other.say({"id": "file-new", "object": "file", "status": "processed"})
        there, (file, path) = at_sandbox("compatible", endpoint=other.address), written(tmp_path)
        assert there.stage(file, path, key=KEY).uri == "file-new"
        assert len(other.seen) == 3


@pytest.mark.parametrize(
    "body", [b"<html>a proxy's page</html>", b"[]", b'"words"', b"{}", b"null", b'{"id": 3}']
)
def test_an_answer_of_another_protocol_leaves_open_whether_it_was_done(
    body: bytes, sandbox: StartSandbox, tmp_path: Path
) -> None:
    sandbox("compatible")
    with recorder() as other:
        other.say({"object": "list", "data": [], "has_more": False})
        other.say(
            body, headers={"Content-Type": "text/html" if body.startswith(b"<") else "application/json"}
        )
        there, (file, path) = at_sandbox("compatible", endpoint=other.address), written(tmp_path)
        error = failure(there, lambda: there.stage(file, path, key=KEY))
        assert type(error) is Unreachable
        assert error.retryable


# -- the table -----------------------------------------------------------------------------------------


def status_error(status: int, body: Any = None, headers: dict[str, str] | None = None) -> Exception:
    """As the SDK makes it of a reply."""
    with recorder() as other:
        other.say(body if body is not None else {}, status, headers or {})
        client = openai.OpenAI(api_key="k", base_url=other.address, max_retries=0)
        try:
            client.fine_tuning.jobs.retrieve("x")
        except openai.APIStatusError as error:
            return error
    raise AssertionError


def classified(error: Exception) -> BackendError:
    return failures.classify(error, backend="openai", install="pip install x")


@pytest.mark.parametrize(
    ("status", "code", "expected", "retryable"),
    [
        (400, None, Rejected, False),
        (400, "model_not_available", Rejected, False),
        (401, "invalid_api_key", Auth, False),
        (403, "unsupported_country_region_territory", Auth, False),
        (404, None, NotFound, False),
        (408, None, Unreachable, True),
        (409, None, Rejected, True),
        (413, None, Rejected, False),
        (422, None, Rejected, False),
        (429, "rate_limit_exceeded", RateLimited, True),
        (429, "insufficient_quota", RateLimited, False),
        (500, None, BackendError, True),
        (502, None, BackendError, True),
        (503, None, BackendError, True),
        (504, None, BackendError, True),
    ],
)
def test_a_status_is_an_error_of_its_type(
    status: int, code: str | None, expected: type[BackendError], retryable: bool
) -> None:
    said = {"error": {"message": f"about {CANARY}", "type": "x", "param": "training_file", "code": code}}
    error = classified(status_error(status, said))
    assert type(error) is expected
    assert (error.status, error.retryable) == (status, retryable)
    assert (code or "x") in error.message
    assert "training_file" in error.message
    assert CANARY not in str(error)


@pytest.mark.parametrize(
    "code", ["a sentence, with a row in it", "x" * 65, "", 3, None, {"a": 1}, "line\nbreak"]
)
def test_a_code_that_is_no_name_is_not_passed_on(code: object) -> None:
    error = classified(status_error(400, {"error": {"code": code, "param": code, "type": code}}))
    assert error.message == "the service refused the request (400)"


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"Retry-After": "7"}, 7),
        ({"Retry-After": "1.5"}, 1.5),
        ({"retry-after-ms": "250"}, 0.25),
        # the server's clock is years off ours: what counts is the distance between its own two dates
        ({"Retry-After": "Fri, 01 Jan 1999 00:00:30 GMT", "Date": "Fri, 01 Jan 1999 00:00:00 GMT"}, 30),
        ({"Retry-After": "soon"}, None),
        ({}, None),
    ],
)
def test_retry_after_is_read_in_all_its_forms(headers: dict[str, str], seconds: float | None) -> None:
    assert failures.retry_after_s(httpx.Headers(headers)) == seconds


def caused_by(cause: Exception) -> Exception:
    error = openai.APIConnectionError(request=None)  # pyright: ignore[reportArgumentType]
    error.__cause__ = httpx.ConnectError("outer")
    error.__cause__.__cause__ = cause
    return error


@pytest.mark.parametrize(
    ("error", "expected", "retryable", "fix"),
    [
        (caused_by(socket.gaierror(-2, "x")), Unreachable, True, "endpoint"),
        (caused_by(ssl.SSLCertVerificationError(1, "expired")), Unreachable, True, "clock"),
        (caused_by(ConnectionRefusedError()), Unreachable, True, "endpoint"),
        (openai.APITimeoutError(request=None), Unreachable, True, "tried again"),  # pyright: ignore[reportArgumentType]
        (httpx.ReadTimeout("x"), Unreachable, True, "tried again"),
        (openai.OpenAIError("no key"), Auth, False, "clock"),
        (ModuleNotFoundError("openai"), BackendError, False, "pip install"),
        (RuntimeError(CANARY), BackendError, False, ""),
    ],
)
def test_an_exception_without_a_reply_is_an_error_of_its_type(
    error: Exception, expected: type[BackendError], retryable: bool, fix: str
) -> None:
    found = classified(error)
    assert type(found) is expected
    assert found.retryable is retryable
    assert fix in (found.fix or "")
    assert CANARY not in str(found)


# -- replies -------------------------------------------------------------------------------------------

JSON = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
NOW = replies.datetime.fromtimestamp(1_790_000_000, replies.UTC)


@given(st.text(max_size=30))
def test_a_state_that_is_not_known_is_unknown(raw: str) -> None:
    snapshot = replies.snapshot({"status": raw, "fine_tuned_model": "m"}, NOW)
    assert snapshot.state == replies.STATES.get(raw, "unknown")


@given(
    st.dictionaries(
        st.sampled_from(["status", "error", "fine_tuned_model", "trained_tokens", "result_files"]), JSON
    ),
    st.lists(
        st.dictionaries(st.sampled_from(["id", "type", "message", "data", "created_at", "level"]), JSON)
    ),
)
def test_no_reply_however_odd_is_a_crash(job: dict[str, Any], events: list[dict[str, Any]]) -> None:
    replies.snapshot(job, NOW, events)
    replies.events(events)
    replies.artifacts(job, events, base_url="https://x/v1/", callable=True)
    replies.completion(job, 0.1)


def test_training_that_ended_without_a_model_has_failed() -> None:
    snapshot = replies.snapshot({"status": "succeeded", "fine_tuned_model": None}, NOW)
    assert (snapshot.state, snapshot.raw_state) == ("failed", "succeeded")
    assert snapshot.detail["code"] == "model_withheld"


@pytest.mark.parametrize(
    ("said", "shown"),
    [
        ("Step 10/100: training loss=1.23", True),
        ("Step 10: training loss=1.23, validation loss=2.1", True),
        ("Training tokens billed: 12,345", True),
        ("Completed results file: file-abc123", True),
        ("Moderation checks for snapshot ft:gpt-4.1:org:x:1 passed", True),
        ("Validating training file: file-abc and validation file: file-def", True),
        (f"The job failed: line 3 holds {CANARY}", False),
        (f"Step 10: {CANARY} loss=1.23", False),
        (f"Created fine-tuning job: x {CANARY}", False),
        (f"The job has successfully completed\n{CANARY}", False),
    ],
)
def test_only_words_that_hold_ids_and_figures_are_shown(said: str, shown: bool) -> None:
    event = replies.event({"id": "e", "created_at": 1, "level": "warn", "message": said})
    assert event.text == (said if shown else replies.NOT_SHOWN)
    assert event.level == "warning"


def test_of_an_events_data_only_known_figures_are_kept() -> None:
    data = {"step": 3, "train_loss": float("nan"), "valid_loss": 1.5, "row": CANARY, "total_steps": "9"}
    event = replies.event({"id": "e", "type": "metrics", "data": data})
    assert event.data == {"step": 3, "validation_loss": 1.5}


def in_any_order(replies_of_a_second: Iterable[str]) -> list[dict[str, Any]]:
    return [{"id": id, "created_at": 5} for id in replies_of_a_second]


def test_events_of_one_second_keep_the_order_of_the_service() -> None:
    newest_first = [*in_any_order("cba"), {"id": "0", "created_at": 1}]
    assert [event.id for event in replies.events(newest_first)] == ["0", "a", "b", "c"]
