"""The crash matrix: a process that dispatches a job is killed with SIGKILL at every commit of the store and
at every network call, for every backend; another takes the job up. One remote job, one upload of each file.

The points of a backend are found by dispatching once and noting each, in order: before and after every
commit, and before every request is sent and after it was answered. None is left out, and none is added.
`pytest -m slow -s tests/stories/test_crash_matrix.py` prints the whole table.
"""

from __future__ import annotations

import contextlib
import http.client
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from importlib import import_module
from pathlib import Path
from types import FrameType
from typing import Any

import psutil
import pytest

from backends import registry
from backends.local.run import Run
from backends.sandbox.server import Server
from gateway import Gateway, JobSpec, JobState, Plan
from gateway.core.plan import Candidate, CandidateKey
from gateway.jobs.model import Job
from gateway.sdk.options import with_defaults
from gateway.sdk.rooms import Rooms
from tests.backends.lives import NAMES, WORDS
from tests.backends.sandboxes import StartSandbox, sandbox
from tests.local.conftest import make_base

__all__ = ["sandbox"]

ROWS = 120
ASK_A_PERSON = [name for name in NAMES if registry.facts(name).lookup.how == "none"]
UPLOADS = ("createFile", "PutObject", "storage.objects.insert")
JOBS = ("job", "tuningJob")
_ID = re.compile(r"[0-9a-f]{12,}|(?<=-)\d{6,}|(?<=/)\d{6,}|(?<=tunegate-)[0-9a-z]{16}")

Point = Callable[[str], None]


class Moving:
    """A clock that runs, and that a test can set forward."""

    def __init__(self) -> None:
        self.ahead = timedelta()

    def __call__(self) -> datetime:
        return datetime.now(UTC) + self.ahead


@dataclass
class Matrix:
    """One backend, its stand-in, and the job that is dispatched again and again."""

    name: str
    folder: Path
    spec: JobSpec
    box: Server | None
    clock: Moving = field(default_factory=Moving)

    def gateway(self) -> Gateway:
        """A gateway as a new process opens it."""
        return Gateway(config=self.folder / "tunegate.toml", home=self.folder / "home", clock=self.clock)

    @contextlib.contextmanager
    def opened(self) -> Generator[Rooms]:
        """The rooms of a gateway whose store is closed again: SQLite's locks do not survive a fork, so none
        may be open in the process that forks."""
        rooms = self.gateway()._rooms  # pyright: ignore[reportPrivateUsage]
        try:
            yield rooms
        finally:
            rooms.store.close()

    def dispatch(self, gateway: Gateway) -> Job:
        """Make a job and take it to its backend."""
        job = _created(gateway, self.spec, self.name, self.plan)
        reconciler = gateway._rooms.reconciler  # pyright: ignore[reportPrivateUsage]
        return reconciler.follow(job.id, until=_dispatched)

    def planned(self) -> Plan:
        gateway = self.gateway()
        self.plan = gateway.plan(self.spec)
        gateway._rooms.store.close()  # pyright: ignore[reportPrivateUsage]
        return self.plan

    @property
    def files(self) -> int:
        """How many files the job has: training, and validation where the provider takes one."""
        translation = self.plan.chosen_candidate and self.plan.chosen_candidate.translation
        return len(translation.files) if translation else 0

    # -- points -----------------------------------------------------------------------------------

    def points(self) -> list[str]:
        """Every point of a dispatch that is not disturbed."""
        self.forget()
        reading, writing = os.pipe()
        pid = os.fork()
        if pid == 0:
            self._child(lambda name: _write(writing, name))
        os.close(writing)
        with os.fdopen(reading, encoding="utf-8") as names:
            found = names.read().splitlines()
        _, status = os.waitpid(pid, 0)
        assert os.waitstatus_to_exitcode(status) == 0, found[-3:]
        assert self.counts() == self.expected(1)
        return found

    def kill_at(self, number: int) -> None:
        """Dispatch in a process of its own that dies at that point."""
        self.forget()
        seen = 0

        def at(name: str) -> None:
            nonlocal seen
            if seen == number:
                os.kill(os.getpid(), signal.SIGKILL)
            seen += 1

        pid = os.fork()
        if pid == 0:
            self._child(at)
        _, status = os.waitpid(pid, 0)
        assert os.WIFSIGNALED(status), f"it ended before point {number}"
        assert os.WTERMSIG(status) == signal.SIGKILL

    def _child(self, at: Point) -> None:
        try:
            gateway = self.gateway()
            _watch_network(at)
            _watch_commits(gateway, at)
            done = self.dispatch(gateway)
            print(done.error or "", flush=True)
            os._exit(0 if _dispatched(done) else 3)
        except BaseException as error:  # the child must not come back as a second test run
            print(repr(error), flush=True)
            os._exit(4)

    def take_up(self, before: set[str]) -> str:
        """What another process makes of the job that was left, or of the command that is run again."""
        gateway = self.gateway()
        rooms = gateway._rooms  # pyright: ignore[reportPrivateUsage]
        try:
            return self._taken_up(gateway, [job for job in rooms.store.list(limit=1) if job.id not in before])
        finally:
            rooms.store.close()

    def _taken_up(self, gateway: Gateway, left: list[Job]) -> str:
        if not left:
            assert self.counts() == self.expected(0), "nothing was stored, so nothing may have been sent"
            self.dispatch(gateway)
            return "run again"
        job = left[0]
        for _ in range(12):
            job = gateway._rooms.reconciler.advance(job.id)  # pyright: ignore[reportPrivateUsage]
            if _dispatched(job):
                return "taken up"
            if job.waits_for_a_person:
                return "asks a person"
            assert job.state is not JobState.FAILED, job.error
            self.clock.ahead += timedelta(seconds=31)  # a search is believed only after a while
        raise AssertionError(f"still {job.state}: {job.error}")

    def jobs(self) -> set[str]:
        with self.opened() as rooms:
            return {job.id for job in rooms.store.list(limit=10_000)}

    # -- what the far side has --------------------------------------------------------------------

    def counts(self) -> tuple[int, int]:
        """Jobs at the backend, and files sent there, since the last `forget`."""
        if self.box is None:
            return len(self._runs()), 0
        world, rooms = self.box.world, self.name
        jobs = sum(len(world.all(f"{rooms}.{kind}")) for kind in JOBS)
        uploads = [
            each
            for each in self.box.asked[self._asked :]
            if each.operation.endswith(UPLOADS) and each.status is not None and each.status < 300
        ]
        return jobs, len(uploads)

    def expected(self, jobs: int) -> tuple[int, int]:
        return jobs, self.files * jobs if self.box is not None else 0

    def forget(self) -> None:
        """Start with an empty far side."""
        if self.box is None:
            self.end()
            return
        world = self.box.world
        with self.opened() as rooms:
            for job in rooms.store.list(limit=1):
                for upload in rooms.store.uploads(job.id):
                    assert upload.uri, "the job before this was dispatched, so its files were sent"
                    rooms.backend_at(job.site).unstage(upload.uri)
        for kind in (*JOBS, "job-name", "job-token", "model-name"):
            for thing in list(_ids(self.box, f"{self.name}.{kind}")):
                world.remove(f"{self.name}.{kind}", thing)
        self._asked = len(self.box.asked)

    def _runs(self) -> list[Path]:
        return [path.parent for path in self.folder.rglob("run.json")]

    def end(self) -> None:
        import shutil

        for folder in self._runs() if self.box is None else []:
            for who in ("supervisor", "train"):
                if process := Run(folder).process(who):
                    process.kill()
                    psutil.wait_procs([process], timeout=10)
            shutil.rmtree(folder)

    _asked: int = 0
    plan: Any = None


# -- hooks -------------------------------------------------------------------------------------------


def _watch_commits(gateway: Gateway, at: Point) -> None:
    """Tell of every commit just before and after it is made, from inside the transaction."""
    engine = gateway._rooms.store._database.engine  # pyright: ignore[reportPrivateUsage]
    commit = engine.dialect.do_commit

    def committing(connection: Any) -> None:
        name = _method(sys._getframe())  # pyright: ignore[reportPrivateUsage]
        at(f"before commit {name}")
        commit(connection)
        at(f"after commit {name}")

    engine.dialect.do_commit = committing  # pyright: ignore[reportAttributeAccessIssue]


def _method(frame: FrameType | None) -> str:
    """Which of the store's doings a commit belongs to."""
    while frame is not None:
        if frame.f_code.co_filename.endswith("gateway/jobs/store.py"):
            return frame.f_code.co_name
        frame = frame.f_back
    return "?"


def _watch_network(at: Point) -> None:
    """Tell of every request before it is sent and after it was answered: `http.client` (under boto3,
    requests and google), `httpx` and its namesake that openai's SDK uses, and of the process that trains
    on this machine."""
    for module in ("httpx", "httpx2"):
        with contextlib.suppress(ModuleNotFoundError):
            _watch_httpx(import_module(module).HTTPTransport, at)
    put, get = http.client.HTTPConnection.putrequest, http.client.HTTPConnection.getresponse
    popen = subprocess.Popen.__init__

    def putting(self: Any, method: str, url: str, *args: Any, **kwargs: Any) -> None:
        self.tunegate_name = f"{method} {_path(url)}"
        at(f"before {self.tunegate_name}")
        put(self, method, url, *args, **kwargs)

    def getting(self: Any) -> http.client.HTTPResponse:
        response = get(self)
        at(f"after {self.tunegate_name}")
        return response

    def starting(self: Any, *args: Any, **kwargs: Any) -> None:
        ours = "backends.local" in str(args)  # an SDK may ask `uname` something
        if ours:
            at("before the start of the supervisor")
        popen(self, *args, **kwargs)
        if ours:
            at("after the start of the supervisor")

    http.client.HTTPConnection.putrequest = putting
    http.client.HTTPConnection.getresponse = getting
    subprocess.Popen.__init__ = starting


def _watch_httpx(transport: Any, at: Point) -> None:
    handle = transport.handle_request

    def handling(self: Any, request: Any) -> Any:
        name = f"{request.method} {_path(request.url.path)}"
        at(f"before {name}")
        response = handle(self, request)
        at(f"after {name}")
        return response

    transport.handle_request = handling


def _write(pipe: int, name: str) -> None:
    os.write(pipe, f"{name}\n".encode())


def _path(url: str) -> str:
    return _ID.sub("…", url.partition("?")[0])


def _ids(box: Server, kind: str) -> Iterator[str]:
    with box.world.lock:
        rows = box.world._db.execute("SELECT id FROM things WHERE kind = ?", (kind,)).fetchall()  # pyright: ignore[reportPrivateUsage]
    return (row[0] for row in rows)


def _dispatched(job: Job) -> bool:
    return job.remote is not None


def _created(gateway: Gateway, spec: JobSpec, name: str, plan: Plan) -> Job:
    chosen = plan.chosen_candidate
    assert chosen is not None, plan.why
    rooms = gateway._rooms  # pyright: ignore[reportPrivateUsage]
    asked = with_defaults(spec, rooms.options)
    return rooms.dispatch.create(asked, plan, _at(name, chosen))


def _at(name: str, chosen: Candidate) -> Candidate:
    """A compatible server has no models in our facts, and gets what OpenAI would."""
    key = chosen.key
    return replace(chosen, key=CandidateKey(name, key.model, key.region, key.offer))


# -- the matrix --------------------------------------------------------------------------------------


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_base(tmp_path_factory.mktemp("tiny"))


@pytest.fixture(params=NAMES)
def matrix(
    request: pytest.FixtureRequest, tmp_path: Path, tiny: Path, sandbox: StartSandbox
) -> Iterator[Matrix]:
    name = request.param
    box = sandbox(name) if registry.sandbox_room(name) is not None else None
    planned = name if registry.facts(name).models else "openai"
    lines = (
        f'{{"messages": [{{"role": "user", "content": "ticket {n} about {WORDS[n % 4]}"}}, '
        f'{{"role": "assistant", "content": "{WORDS[n % 4]}"}}]}}\n'
        for n in range(ROWS)
    )
    (tmp_path / "rows.jsonl").write_text("".join(lines))
    (tmp_path / "tunegate.toml").write_text(
        "".join(
            f'[[attestations]]\nkind = "existing_account"\nbackend = "{each}"\nsigned = 2026-01-01\n'
            'evidence = "rehearsal"\n'
            for each in ("openai", "compatible")
        )
    )
    models = [model.name for model in registry.facts(planned).models if "sft" in model.tasks]
    here = [str(tiny)] if box is None else models
    made = Matrix(name, tmp_path, _spec(here, planned, tmp_path, 0.1), box)
    if made.planned().chosen is None:  # some take no validation file
        made.spec = _spec(here, planned, tmp_path, 0)
        made.planned()
    yield made
    made.end()


def _spec(models: Sequence[str], backend: str, folder: Path, validation: float) -> JobSpec:
    return JobSpec.model_validate(
        {
            "name": "matrix",
            "model": models,
            "data": {"train": "rows.jsonl", "format": "chat", "class": "public", "validation": validation},
            "hyperparameters": {"epochs": 1},
            "route": {"backends": [backend]},
        }
    ).at(folder)


def _hold(matrix: Matrix, points: Sequence[str], chosen: Sequence[int]) -> None:
    """Kill at each of these points, take up, count; all failures at once."""
    wrong: list[str] = []
    for number in chosen:
        before = matrix.jobs()
        matrix.kill_at(number)
        outcome = matrix.take_up(before)
        counts = matrix.counts()
        asked = outcome == "asks a person"
        right = counts == matrix.expected(1) or (asked and counts[0] <= 1 and counts[1] == matrix.files)
        if asked and matrix.name not in ASK_A_PERSON:
            right = False
        told = f"{matrix.name:<11}{number:>3} {points[number]:<62} {outcome:<14} jobs, uploads: {counts}"
        print(told, "" if right else "WRONG")
        if not right:
            wrong.append(told)
    print(f"{matrix.name}: {len(chosen)} of {len(points)} points, {len(wrong)} duplicates or losses")
    assert not wrong, "\n".join(wrong)


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_killed_at_any_point_there_is_one_job_and_one_upload_of_each_file(matrix: Matrix) -> None:
    points = matrix.points()
    commits = [point for point in points if "commit" in point]
    assert len(points) == 2 * len([point for point in points if point.startswith("before")])
    assert {"before commit create", "after commit intend", "after commit move"} <= set(commits)
    _hold(matrix, points, range(len(points)))


def test_killed_around_the_call_that_makes_the_job(matrix: Matrix) -> None:
    """The three points that matter most, at every backend."""
    points = matrix.points()
    intended = points.index("before commit intend")
    made = [n for n, point in enumerate(points) if n > intended and "commit" not in point]
    _hold(matrix, points, [intended, made[-2], made[-1]])
