"""One suite over every registered backend: the same spec lives the same life everywhere.

The managed ones are asked over real HTTP with the vendors' own SDKs, at their stand-ins; the local one
trains for real. What a backend lacks by its facts is named here, and nothing else may differ.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from itertools import pairwise
from pathlib import Path

import pytest

from backends import registry
from gateway.core.errors import BackendError, NotFound, Unsupported
from gateway.core.job import ChatMessage, RemoteRef
from tests.backends.lives import FINAL, KEY, NAMES, WORDS, Life, begin
from tests.backends.sandboxes import StartSandbox
from tests.local.conftest import make_base

MANAGED = [name for name in NAMES if registry.facts(name).kind == "managed"]
TICK = timedelta(seconds=1)  # some providers' times are whole seconds
QUESTION = [[ChatMessage("user", "which queue does ticket 7 about returns go to")]]


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_base(tmp_path_factory.mktemp("tiny"))


EVERYWHERE = [
    pytest.param(name, marks=() if name in MANAGED else pytest.mark.slow) for name in NAMES
]  # training for real takes a while


@pytest.fixture(params=EVERYWHERE)
def life(request: pytest.FixtureRequest, tmp_path: Path, tiny: Path, sandbox: StartSandbox) -> Iterator[Life]:
    made = begin(request.param, tmp_path, tiny, sandbox)
    yield made
    made.end()


@pytest.fixture(params=MANAGED)
def managed(
    request: pytest.FixtureRequest, tmp_path: Path, tiny: Path, sandbox: StartSandbox
) -> Iterator[Life]:
    made = begin(request.param, tmp_path, tiny, sandbox)
    yield made
    made.end()


def test_a_whole_life(life: Life) -> None:
    """The same states in the same order; a reference that says where; a model that answers."""
    ref = life.submit()
    assert (ref.backend, bool(ref.id)) == (life.backend.name, True)
    seen = life.watch(ref)
    states = [snapshot.state for snapshot in seen]
    assert states[-2:] == ["running", "succeeded"]
    assert set(states[:-2]) <= {"queued"}
    assert all(snapshot.raw_state for snapshot in seen)
    assert life.backend.poll(ref).state == "succeeded", "the end stays the end"

    kinds = {artifact.kind for artifact in life.backend.artifacts(ref)}
    assert kinds & {"model", "adapter"}
    tuned = life.callable_id(ref)
    (answer,) = life.backend.complete(tuned, QUESTION, max_output_tokens=8)
    assert answer.text.strip() or life.box is None
    assert answer.latency_s >= 0
    if life.box is not None:
        assert answer.text == WORDS[2], "the stand-in answers from the rows that were sent"
        assert answer.input_tokens
        assert answer.output_tokens


def test_events_have_one_order_and_stable_ids(life: Life) -> None:
    ref = life.submit()
    life.watch(ref)
    told = life.events(ref)
    assert told
    assert len({event.id for event in told}) == len(told)
    assert all(one.at <= next.at + TICK for one, next in pairwise(told))
    assert all(event.at.utcoffset() is not None for event in told)
    assert life.events(ref) == told
    middle = len(told) // 2
    assert life.backend.events(ref, after=told[middle].id) == told[middle + 1 :]
    assert life.backend.events(ref, after=told[-1].id) == ()
    assert {event.level for event in told} == {"info"}
    assert not any(word in event.text for event in told for word in ("ticket 7", "which queue"))


def test_the_same_bytes_are_staged_once(life: Life) -> None:
    first = life.stage()
    assert life.stage() == first
    again = tuple(life.again().stage(file, path, key="another") for file, path in life.files)
    assert [each.uri for each in again] == [each.uri for each in first]


def test_a_job_is_found_by_its_key_by_anyone(life: Life) -> None:
    lookup = life.backend.facts.lookup.how
    if lookup == "none":
        life.submit()
        with pytest.raises(Unsupported):
            life.again().find(KEY)
        return
    assert life.again().find(KEY) is None
    ref = life.submit()
    found = life.again().find(KEY)
    assert found is not None
    assert found.id == ref.id
    assert life.again().find(KEY.replace("tunegate", "tunegate-x")) is None


def test_cancelled_on_the_way_it_ends_cancelled_and_a_second_time_is_no_error(life: Life) -> None:
    ref = life.submit()
    life.watch(ref, ("running",))
    assert life.backend.cancel(ref).state in ("cancelling", "cancelled")
    assert life.watch(ref)[-1].state == "cancelled"
    assert life.backend.cancel(ref).state == "cancelled"


def test_cancelling_what_has_succeeded_is_no_error_and_changes_nothing(life: Life) -> None:
    ref = life.submit()
    life.watch(ref)
    assert life.backend.cancel(ref).state == "succeeded"


def test_a_job_nobody_knows_is_not_found(managed: Life) -> None:
    ref = managed.submit()
    gone = RemoteRef(ref.backend, ref.id[:-4] + "0000", ref.detail)
    with pytest.raises(Exception) as caught:  # noqa: PT011 - whatever the SDK raises, it is classified
        managed.backend.poll(gone)
    assert isinstance(managed.backend.classify(caught.value), NotFound)


def test_staged_files_are_deleted_and_gone_is_no_error(managed: Life) -> None:
    staged = managed.stage()
    for each in staged:
        managed.backend.unstage(each.uri)
        managed.again().unstage(each.uri)
    assert len(managed.stage()) == len(staged), "and can be sent again"


def test_what_has_ended_can_be_deleted_twice(life: Life) -> None:
    ref = life.submit()
    life.watch(ref, FINAL)
    life.rest(ref)
    life.backend.delete(ref)
    life.backend.delete(ref)


def test_addresses_are_this_machines_and_stand_in_the_reference(managed: Life) -> None:
    addresses = managed.backend.addresses()
    assert addresses
    assert all("127.0.0.1" in address for address in addresses)
    assert "127.0.0.1" in managed.submit().detail["address"], "so that a rehearsal is told apart"


def test_a_deployment_is_one_however_often_it_is_asked_for(managed: Life) -> None:
    ref = managed.submit()
    managed.watch(ref)
    try:
        managed.backend.deploy(ref)
    except Unsupported:
        assert any(each.callable_id for each in managed.backend.artifacts(ref)), "it answers as it is"
        return
    first = managed.callable_id(ref)
    assert managed.again().deploy(ref).callable_id == first
    managed.backend.undeploy(ref)
    managed.again().undeploy(ref)


def test_what_is_missing_is_checked_and_no_secret_is_shown(managed: Life) -> None:
    checks = managed.backend.check()
    assert checks
    assert all(each.state == "ok" or each.fix for each in checks)
    assert managed.box is not None
    secrets = [
        value
        for name, value in managed.box.environment.items()
        if any(word in name for word in ("KEY", "SECRET", "TOKEN", "HEADER"))
    ]
    assert not any(secret in f"{each}" for each in checks for secret in secrets)


def test_a_server_that_is_gone_is_unreachable_and_worth_another_try(managed: Life) -> None:
    ref = managed.submit()
    assert managed.box is not None
    managed.box._server.shutdown()  # pyright: ignore[reportPrivateUsage]
    managed.box._server.server_close()  # pyright: ignore[reportPrivateUsage]
    with pytest.raises(Exception) as caught:  # noqa: PT011 - whatever the SDK raises, it is classified
        managed.again().poll(ref)
    error = managed.backend.classify(caught.value)
    assert isinstance(error, BackendError)
    assert error.retryable
