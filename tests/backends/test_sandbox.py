"""The ground that all stand-ins share: state that outlives a kill, a clock for jobs, faults, the server."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Generator, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import ClassVar

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from werkzeug.wrappers import Request, Response

from backends import registry
from backends.sandbox.faults import KINDS, Fault, Faults
from backends.sandbox.learned import BASE_ANSWER, nearest_answer
from backends.sandbox.server import Room, Route, Server, answer, fault_of
from backends.sandbox.world import Life, World, loss_at
from gateway.core.job import RemoteRef
from tests.backends.openai_made import KEY, at_sandbox, failure, handover, translated, written
from tests.backends.sandboxes import Hand

LIFE = Life(validating_s=2, queued_s=3, running_s=10, steps=5)


class CountingRoom(Room):
    """A vendor with two operations: count, and fail like an application with a defect."""

    name: ClassVar[str] = "counter"

    def routes(self) -> Sequence[Route]:
        return [
            Route("POST", "/count", "count", self.count),
            Route("POST", "/body", "readBody", self.read_body),
            Route("POST", "/defect", "beDefect", self.be_defect),
        ]

    def environment(self, address: str) -> Mapping[str, str]:
        return {"COUNTER_URL": f"{address}/counter"}

    def problem(self, fault: Fault) -> Response:
        return answer({"vendor": fault.kind}, {"throttle": 429, "unauthorized": 401}.get(fault.kind, 503))

    def count(self, request: Request, arguments: Mapping[str, str]) -> Response:
        with self.world.lock:
            count = (self.world.get("counter", "one") or {"count": 0})["count"] + 1
            self.world.put("counter", "one", {"count": count})
        return answer({"count": count, "padding": "x" * 500})

    def read_body(self, request: Request, arguments: Mapping[str, str]) -> Response:
        return answer(request.get_json())

    def be_defect(self, request: Request, arguments: Mapping[str, str]) -> Response:
        raise KeyError(request.get_data(as_text=True))


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    world = World(tmp_path / "world", life=LIFE, clock=Hand(1000.0))
    yield world
    world.close()


@pytest.fixture
def box(tmp_path: Path) -> Iterator[Server]:
    world = World(tmp_path / "box", life=LIFE)
    with Server(world, [CountingRoom(world)]) as server:
        yield server


def post(box: Server, path: str = "/counter/count", **more: object) -> httpx.Response:
    return httpx.post(f"{box.address}{path}", **more)  # pyright: ignore[reportArgumentType]


# -- state ---------------------------------------------------------------------------------------------


def test_things_are_kept_in_order_and_replaced_in_place(world: World) -> None:
    for name in "abc":
        world.put("job", name, {"id": name})
    world.put("job", "a", {"id": "a", "new": True})
    world.put("file", "a", {"id": "another"})
    assert [thing["id"] for thing in world.all("job")] == ["a", "b", "c"]
    assert world.get("job", "a") == {"id": "a", "new": True}
    assert world.remove("job", "b")
    assert not world.remove("job", "b")
    assert world.get("job", "b") is None


def test_state_outlives_the_sandbox(tmp_path: Path) -> None:
    first = World(tmp_path, clock=Hand())
    first.put("job", "a", {"id": "a"})
    first.blob("file-1").write_bytes(b"rows")
    first.close()
    second = World(tmp_path, clock=Hand())
    assert second.get("job", "a") == {"id": "a"}
    assert second.blob("file-1").read_bytes() == b"rows"
    second.close()


def test_many_writers_lose_nothing(box: Server) -> None:
    with ThreadPoolExecutor(16) as pool:
        asked = [pool.submit(post, box) for _ in range(64)]
    assert sorted(each.result().json()["count"] for each in asked) == list(range(1, 65))


# -- the life of a job ---------------------------------------------------------------------------------


def clock_of(world: World) -> Hand:
    assert isinstance(world.now, Hand)
    return world.now


def test_a_job_lives_by_the_clock(world: World) -> None:
    job = world.born("x.create")
    seen: list[tuple[str, float]] = []
    for _ in range(17):
        phase = world.phase(job)
        seen.append((phase.name, round(phase.share, 2)))
        clock_of(world).advance(1)
    names = [name for name, _ in seen]
    assert names == ["validating"] * 2 + ["queued"] * 3 + ["running"] * 10 + ["succeeded"] * 2
    assert [share for name, share in seen if name == "running"] == [s / 10 for s in range(10)]


@pytest.mark.parametrize(
    ("kind", "end", "after"), [("reject_file", "rejected", 2), ("fail_job", "failed", 10)]
)
def test_a_job_that_is_to_end_badly_does(kind: str, end: str, after: float, world: World) -> None:
    world.faults.arm(Fault(kind, "x.create"))  # pyright: ignore[reportArgumentType]
    doomed, spared = world.born("x.create"), world.born("x.create")
    clock_of(world).advance(after - 0.5)
    assert not world.phase(doomed).ended
    clock_of(world).advance(0.5)
    assert world.phase(doomed).name == end
    clock_of(world).advance(60)
    assert world.phase(doomed).name == end
    assert world.phase(spared).name == "succeeded"


@given(
    st.lists(st.tuples(st.sampled_from(["wait", "pause", "resume", "cancel"]), st.floats(0, 6)), max_size=12)
)
def test_however_it_is_disturbed_a_job_never_goes_back(steps: list[tuple[str, float]]) -> None:
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        world = World(Path(folder), life=LIFE, clock=Hand(1000.0))
        job = world.born("x.create")
        share, ended = 0.0, None
        for what, seconds in steps:
            if what != "wait":
                getattr(world, what)(job)
            clock_of(world).advance(seconds)
            phase = world.phase(job)
            assert phase.share >= share
            assert ended in (None, phase.name)
            share, ended = phase.share, phase.name if phase.ended else None
        world.close()


def test_time_stands_still_while_a_job_pauses(world: World) -> None:
    job = world.born("x.create")
    assert not world.pause(job), "it does not run yet"
    clock_of(world).advance(10)
    assert world.pause(job)
    share = world.phase(job).share
    clock_of(world).advance(1000)
    assert (world.phase(job).name, world.phase(job).share) == ("paused", share)
    assert world.resume(job)
    clock_of(world).advance(5)
    assert world.phase(job).name == "succeeded"


def test_a_job_cancelled_while_it_pauses_is_cancelled(world: World) -> None:
    job = world.born("x.create")
    clock_of(world).advance(10)
    world.pause(job)
    clock_of(world).advance(1000)
    assert world.cancel(job)
    assert world.phase(job).name == "cancelled"


def test_a_cancel_comes_too_late_for_what_has_ended(world: World) -> None:
    job = world.born("x.create")
    clock_of(world).advance(15)
    assert not world.cancel(job)
    assert world.phase(job).name == "succeeded"


@given(st.integers(2, 500))
def test_the_shown_loss_falls(steps: int) -> None:
    losses = [loss_at(step, steps) for step in range(1, steps + 1)]
    assert losses == sorted(losses, reverse=True)
    assert losses[0] > losses[-1] > 0


# -- what was "learned" --------------------------------------------------------------------------------


def test_the_answer_is_that_of_the_row_most_alike() -> None:
    rows = [("how tall is the tower", "300 m"), ("how old is the bridge", "90 years"), ("how old is it", "9")]
    assert nearest_answer(rows, "The Bridge: how old is it?") == "90 years"
    assert nearest_answer(rows, "tower") == "300 m"
    assert nearest_answer([], "tower") == BASE_ANSWER


# -- faults --------------------------------------------------------------------------------------------


def test_a_fault_is_used_up_and_only_where_it_was_meant() -> None:
    faults = Faults()
    faults.arm(Fault("throttle", "a.create*", times=2))
    faults.arm(Fault("reset", "*"))
    assert faults.take("b.createJob", "throttle") is None
    assert [bool(faults.take("a.createJob", "throttle")) for _ in range(3)] == [True, True, False]
    assert faults.take("a.createJob", "reset", "slow")
    faults.arm(Fault("slow"))
    faults.clear()
    assert faults.take("a.x", *KINDS) is None


@pytest.mark.parametrize(
    "told", [{}, {"kind": "nonsense"}, {"kind": "slow", "times": "x"}, {"kind": ["slow"]}]
)
def test_what_is_no_fault_is_refused(told: dict[str, object]) -> None:
    with pytest.raises((ValueError, TypeError)):
        fault_of(told)


@pytest.mark.parametrize(("kind", "status"), [("throttle", 429), ("unauthorized", 401), ("broken", 503)])
def test_a_problem_is_answered_in_the_vendors_words_and_nothing_is_done(
    kind: str, status: int, box: Server
) -> None:
    box.world.faults.arm(Fault(kind))  # pyright: ignore[reportArgumentType]
    reply = post(box)
    assert (reply.status_code, reply.json()) == (status, {"vendor": kind})
    assert post(box).json()["count"] == 1


def test_a_reset_does_nothing_and_a_lost_reply_does_everything(box: Server) -> None:
    box.world.faults.arm(Fault("reset"))
    box.world.faults.arm(Fault("lose_reply"))
    for _ in range(2):
        with pytest.raises(httpx.TransportError):
            post(box)
    assert post(box).json()["count"] == 2, "the second was done, the first was not"
    assert [each.status for each in box.asked] == [None, None, 200]


def test_half_an_answer_is_no_answer(box: Server) -> None:
    box.world.faults.arm(Fault("truncate"))
    with pytest.raises(httpx.RemoteProtocolError):
        post(box)
    assert post(box).json()["count"] == 2


def test_a_connection_is_kept_and_survives_an_error(box: Server) -> None:
    with httpx.Client() as caller:
        for path, status in (("/counter/count", 200), ("/nowhere", 404), ("/counter/count", 200)):
            assert caller.post(f"{box.address}{path}").status_code == status


@pytest.mark.parametrize("body", [b"", b"{", b"\xff\xfe", b"[" * 100_000])
def test_a_body_that_is_no_json_is_the_callers_mistake(body: bytes, box: Server) -> None:
    reply = post(box, "/counter/body", content=body, headers={"Content-Type": "application/json"})
    assert 400 <= reply.status_code < 500
    assert post(box).is_success


def test_a_defect_of_the_sandbox_is_told_without_what_was_sent(
    box: Server, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    reply = post(box, "/counter/defect", content=b"a row")
    assert reply.status_code == 500
    assert "KeyError at test_sandbox.py:" in reply.json()["error"]
    assert "a row" not in f"{reply.text}{capfd.readouterr()}{caplog.text}"


# -- control -------------------------------------------------------------------------------------------


def test_faults_are_armed_and_cleared_over_http(box: Server) -> None:
    told = {"kind": "throttle", "operation": "counter.count", "times": 2}
    assert post(box, "/_sandbox/faults", json=told).is_success
    assert post(box).status_code == 429
    assert httpx.delete(f"{box.address}/_sandbox/faults").is_success
    assert post(box).status_code == 200
    for wrong in (b'{"kind": "?"}', b"[]", b'"x"', b"{", b'{"kind": "slow", "seconds": "long"}'):
        reply = post(box, "/_sandbox/faults", content=wrong)
        assert reply.status_code == 400, wrong
        assert "throttle" in reply.json()["error"]


def test_what_runs_and_what_was_asked_can_be_seen_without_bodies(box: Server) -> None:
    post(box, content=b"rows")
    asked = httpx.get(f"{box.address}/_sandbox/requests").json()
    assert asked == [
        {"operation": "counter.count", "method": "POST", "path": "/counter/count", "status": 200}
    ]
    told = httpx.get(f"{box.address}/_sandbox").json()
    assert told["rooms"] == ["counter"]
    assert told["life"]["running_s"] == 10


def test_it_listens_on_this_machine_alone(box: Server) -> None:
    assert box.address.startswith("http://127.0.0.1:")
    assert box.environment == {"COUNTER_URL": f"{box.address}/counter"}


def test_every_managed_backend_has_a_stand_in() -> None:
    for name in registry.names():
        has = registry.sandbox_room(name) is not None
        assert has == (registry.facts(name).kind == "managed"), name


# -- killed --------------------------------------------------------------------------------------------

SCRIPT = """
import sys, time
from pathlib import Path
from backends import registry
from backends.sandbox.server import Server
from backends.sandbox.world import Life, World
world = World(Path(sys.argv[1]), life=Life(0.2, 0.2, 2.0, steps=8))
server = Server(world, [registry.sandbox_room("openai")(world)], port=int(sys.argv[2])).start()
print("ready", flush=True)
time.sleep(600)
"""


@contextmanager
def own_process(folder: Path, port: int) -> Generator[subprocess.Popen[str]]:
    process = subprocess.Popen(
        [sys.executable, "-c", SCRIPT, str(folder), str(port)], stdout=subprocess.PIPE, text=True
    )
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        yield process
    finally:
        process.kill()
        process.wait()


@pytest.fixture
def port(monkeypatch: pytest.MonkeyPatch) -> int:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        number: int = taken.getsockname()[1]
    monkeypatch.setenv("OPENAI_BASE_URL", f"http://127.0.0.1:{number}/openai/v1")
    monkeypatch.setenv("OPENAI_API_KEY", "sandbox-key-of-openai")
    return number


def test_jobs_go_on_after_the_sandbox_was_killed(tmp_path: Path, port: int) -> None:
    there = at_sandbox("openai")
    with own_process(tmp_path / "box", port) as process:
        staged = there.stage(*written(tmp_path), key=KEY)
        ref = there.submit(translated("openai"), [staged], key=KEY, handover=handover(tmp_path))
        while there.poll(ref).state != "running":
            time.sleep(0.05)
        before = there.events(ref)
        process.send_signal(signal.SIGKILL)
        process.wait()
        assert failure(there, lambda: there.poll(ref)).retryable
    with own_process(tmp_path / "box", port):
        assert there.stage(*written(tmp_path), key=KEY) == staged
        found = there.find(KEY)
        assert found is not None
        assert found.id == ref.id
        assert there.events(ref)[: len(before)] == before
        while there.poll(ref).state != "succeeded":
            time.sleep(0.05)


@pytest.mark.parametrize(("kind", "jobs"), [("crash_before", 0), ("crash_after", 1)])
def test_a_sandbox_that_dies_at_a_call_has_done_it_or_not(
    kind: str, jobs: int, tmp_path: Path, port: int
) -> None:
    there, made = at_sandbox("openai"), None
    with own_process(tmp_path / "box", port) as process:
        staged = there.stage(*written(tmp_path), key=KEY)
        told = {"kind": kind, "operation": "openai.createFineTuningJob"}
        httpx.post(f"http://127.0.0.1:{port}/_sandbox/faults", content=json.dumps(told))
        error = failure(
            there, lambda: there.submit(translated("openai"), [staged], key=KEY, handover=handover(tmp_path))
        )
        assert error.retryable
        assert process.wait(timeout=10) == 137
    with own_process(tmp_path / "box", port):
        made = there.find(KEY)
    assert isinstance(made, RemoteRef) == bool(jobs)
