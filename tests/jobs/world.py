"""A small world for jobs: a clock, a gate, and a backend whose far side is a folder.

The folder is all that the far side remembers, so that it survives a process killed on this side, and
any number of processes see the same one.
"""

from __future__ import annotations

import json
import os
import tempfile
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Any, ClassVar

from backends.base import Backend, Handover, Staged
from gateway.core.classes import DataClass
from gateway.core.errors import NotFound
from gateway.core.facts import Confidence, Facts, Kind, Lookup, LookupHow, ModelFacts, Source
from gateway.core.gate import Action, Decision, GateRequest, Ground
from gateway.core.job import Artifact, ChatMessage, Completion, Event, Progress, RemoteRef, Snapshot
from gateway.core.plan import CandidateKey, Fit, ProviderFile, ProviderRequest, Translation
from gateway.core.rows import Convert, DataProfile, Row, TokenCounter
from gateway.core.spec import JobSpec
from gateway.egress import Egress
from gateway.jobs.model import Job, NewJob, new_job_id
from gateway.jobs.reconciler import Reconciler
from gateway.jobs.store import Store

START = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
HAPPY = ("queued", "running", "succeeded")
FILES = {"train.jsonl": b'{"row": 1}\n', "validation.jsonl": b'{"row": 2}\n'}

Point = Callable[[str], None]


class Clock:
    """A clock that moves when somebody sleeps."""

    def __init__(self, now: datetime = START) -> None:
        self.now = now

    def __call__(self) -> datetime:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += timedelta(seconds=seconds)


@dataclass
class StubGate:
    """Allows, unless an action is in `denies`; remembers what it was asked."""

    denies: set[Action] = field(default_factory=set[Action])
    asked: list[GateRequest] = field(default_factory=list[GateRequest])

    def decide(self, request: GateRequest) -> Decision:
        self.asked.append(request)
        if request.action in self.denies:
            grounds = (
                Ground("baa-missing", "no BAA is on file", "45 CFR 164.502(e)", "sign a BAA"),
                Ground("region-pinned", "data may leave the region", "", "pin the region"),
            )
            return Decision(allowed=False, grounds=grounds, policy_hash="0" * 64)
        return Decision(
            allowed=True, grounds=(Ground("allowed", "nothing forbids it"),), policy_hash="0" * 64
        )


class FolderBackend(Backend):
    """A whole backend over a folder.

    `submit` makes a new job at every call, whatever the key: doing it once is the caller's duty.
    Each `poll` goes one state further in `script` and stays at the last.

    Attributes:
        faults: call name → errors to raise, one a call; `submit:lost` is raised after the effect.
        at: told of every point a process could be killed at.
    """

    def __init__(
        self,
        home: Path,
        *,
        how: LookupHow = "token",
        kind: Kind = "managed",
        script: Sequence[str] = HAPPY,
        at: Point = lambda name: None,
    ) -> None:
        super().__init__(_facts(how, kind), home)
        self.script: list[str] = list(script)
        self.faults: dict[str, list[Exception]] = {}
        self.calls: list[str] = []
        self.reached = at
        self.lists_late = False
        self._making = threading.Lock()
        for name in ("jobs", "files", "sent"):
            (home / name).mkdir(parents=True, exist_ok=True)

    # -- the far side -----------------------------------------------------------------------------

    @property
    def jobs(self) -> list[dict[str, Any]]:
        return [json.loads(path.read_text()) for path in sorted((self.home / "jobs").iterdir())]

    @property
    def files(self) -> list[str]:
        """What lies there now."""
        return sorted(path.name.split("-")[0] for path in (self.home / "files").iterdir())

    @property
    def uploads(self) -> int:
        """How often bytes were sent, repeated or not."""
        return len(list((self.home / "sent").iterdir()))

    def _note(self, call: str) -> None:
        self.calls.append(call)
        self.reached(f"before {call}")
        self._raise(call)

    def _raise(self, call: str) -> None:
        if errors := self.faults.get(call):
            raise errors.pop(0)

    def _done(self, call: str) -> None:
        self.reached(f"after {call}")
        self._raise(f"{call}:lost")

    # -- lifecycle --------------------------------------------------------------------------------

    def stage(self, file: ProviderFile, path: Path, *, key: str) -> Staged:
        self._note("stage")
        place = self.home / "files" / f"{file.name}-{file.sha256}"
        if not place.exists():
            place.write_bytes(path.read_bytes())
            (self.home / "sent" / os.urandom(8).hex()).touch()
        self._done("stage")
        return Staged(file, str(place))

    def submit(
        self, translation: Translation, staged: Sequence[Staged], *, key: str, handover: Handover
    ) -> RemoteRef:
        self._note("submit")
        with self._making:
            number = len(self.jobs) + 1
            job = {"id": f"ft-{number}", "key": key, "files": [item.uri for item in staged], "polls": 0}
            self._keep({**job, "when_done": list(handover.when_done)})
        self._done("submit")
        return RemoteRef(self.name, str(job["id"]), {"region": "here"})

    def find(self, key: str) -> RemoteRef | None:
        self._note("find")
        if self.lists_late:
            return None
        found = [job["id"] for job in self.jobs if job["key"] == key]
        return RemoteRef(self.name, found[0], {"region": "here"}) if found else None

    def poll(self, ref: RemoteRef) -> Snapshot:
        self._note("poll")
        job = self._find(ref)
        polls = int(job["polls"])
        self._keep({**job, "polls": polls + 1})
        state = job.get("state") or self.script[min(polls, len(self.script) - 1)]
        return self._snapshot(state, polls)

    def events(self, ref: RemoteRef, *, after: str | None = None) -> tuple[Event, ...]:
        self._note("events")
        first = 0 if after is None else int(after) + 1
        polls = int(self._find(ref)["polls"])
        return tuple(
            Event(str(n), START, "info", "step", f"step {n}", {"loss": 1 / (n + 1)})
            for n in range(first, polls)
        )

    def cancel(self, ref: RemoteRef) -> Snapshot:
        return self._end("cancel", ref, "cancelled")

    def pause(self, ref: RemoteRef) -> Snapshot:
        return self._end("pause", ref, "paused")

    def resume(self, ref: RemoteRef) -> Snapshot:
        return self._end("resume", ref, "running")

    def artifacts(self, ref: RemoteRef) -> tuple[Artifact, ...]:
        self._note("artifacts")
        return (Artifact("model", f"remote:{ref.id}", callable_id=f"tuned:{ref.id}"),)

    def complete(
        self, model_ref: str, batch: Sequence[Sequence[ChatMessage]], *, max_output_tokens: int
    ) -> tuple[Completion, ...]:
        self._note("complete")
        return tuple(Completion("answer", 0.1) for _ in batch)

    def delete(self, ref: RemoteRef) -> None:
        (self.home / "jobs" / ref.id).unlink(missing_ok=True)

    def unstage(self, uri: str) -> None:
        self._note("unstage")
        Path(uri).unlink(missing_ok=True)
        self._done("unstage")

    def deploy(self, ref: RemoteRef) -> Artifact:
        """Ready at the third look."""
        self._note("deploy")
        looks = self.calls.count("deploy")
        self._keep({**self._find(ref), "deployed": True})
        self._done("deploy")
        return Artifact("model", f"deployment:{ref.id}", f"deployed:{ref.id}" if looks >= 3 else None)

    def undeploy(self, ref: RemoteRef) -> None:
        self._note("undeploy")
        self._keep({**self._find(ref), "deployed": False})

    def _end(self, call: str, ref: RemoteRef, state: str) -> Snapshot:
        self._note(call)
        job = self._find(ref)
        over = self.script[min(int(job["polls"]), len(self.script) - 1)]
        final = over in ("succeeded", "failed")
        if call != "resume" and final:
            return self._snapshot(over, 0)  # lost the race
        self._keep({**job, "state": None if call == "resume" else state})
        self._done(call)
        return self._snapshot(state, 0)

    def _snapshot(self, state: str, polls: int) -> Snapshot:
        ours: Any = state if state in _KNOWN else "unknown"
        progress = Progress(polls, len(self.script), 0.5) if state == "running" else None
        return Snapshot(
            ours, state.upper(), START, message="it broke" if state == "failed" else None, progress=progress
        )

    def _find(self, ref: RemoteRef) -> dict[str, Any]:
        path = self.home / "jobs" / ref.id
        if not path.exists():
            raise NotFound("no such job", backend=self.name, status=404)
        return json.loads(path.read_text())

    def _keep(self, job: Mapping[str, Any]) -> None:
        path = self.home / "jobs" / str(job["id"])
        draft = path.parent.parent / f"draft-{os.getpid()}-{threading.get_ident()}"
        draft.write_text(json.dumps(job))
        draft.rename(path)

    # -- planning: not part of this world ---------------------------------------------------------

    def translate(
        self, spec: JobSpec, target: CandidateKey, profile: DataProfile, fit: Fit | None
    ) -> Translation:
        raise self._lacks("translate")

    def format(self, model: ModelFacts, task: str) -> str:
        raise self._lacks("format")

    def convert(self, format: str) -> Convert:
        raise self._lacks("convert")

    def counter(self, model: ModelFacts) -> TokenCounter:
        raise self._lacks("counter")

    def preview(self, model: ModelFacts, row: Row) -> list[tuple[str, bool]]:
        raise self._lacks("preview")


class ContinuingBackend(FolderBackend):
    """One that takes a failed job up where it stopped."""

    continues: ClassVar[bool] = True


_KNOWN = ("queued", "running", "paused", "cancelling", "succeeded", "failed", "cancelled")


class World:
    """A store, a far side, a clock and a gate; and reconcilers over them, as many as are asked for."""

    def __init__(
        self, folder: Path, url: str, backend: FolderBackend, *, at: Point = lambda name: None
    ) -> None:
        self.folder = folder
        self.url = url
        self.backend = backend
        self.clock = Clock()
        self.gate = StubGate()
        self.events: list[Event] = []
        self.evaluated = 0
        self.recorded: list[Job] = []
        self.at = at
        self.store = Store(url, clock=self.clock)

    def again(self) -> Store:
        """The store as another process would open it."""
        return Store(self.url, clock=self.clock)

    def egress(self) -> Egress:
        return Egress(self.gate, lambda name: self.backend)

    def reconciler(self, store: Store | None = None, **changes: Any) -> Reconciler:
        given: dict[str, Any] = {
            "gate_request": gate_request,
            "write_files": write_files,
            "clock": self.clock,
            "evaluate": self.evaluate,
            "record": self.record,
            "handover": _handover,
            "on_event": lambda job, event: self.events.append(event),  # pyright: ignore[reportUnknownLambdaType, reportUnknownArgumentType]
            "sleep": self.clock.sleep,
            "jitter": lambda: 1.0,
        }
        return Reconciler(
            store or self.store, self.egress(), lambda name: self.backend, **{**given, **changes}
        )

    def evaluate(self, job: Job) -> Mapping[str, Any]:
        self.at("before evaluate")
        self.evaluated += 1
        return {"metrics": {"base": {}, "tuned": {}, "difference": {}}}

    def record(self, job: Job) -> str:
        self.recorded.append(job)
        return f"record-{len(self.recorded)}"

    def new_job(self, *, team: str = "notes", reserve_usd: Any = None, caps: Any = None) -> Job:
        new = a_new_job(self.folder, self.clock(), team=team)
        return self.store.create(new, reserve_usd=reserve_usd, caps=caps)


@cache
def _empty_store() -> bytes:
    """A new store's file: migrations run once, for all worlds."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "jobs.db"
        Store(f"sqlite:///{path}", clock=Clock()).close()
        return path.read_bytes()


def a_store_in(folder: Path) -> str:
    """URL of an empty SQLite store in that folder."""
    path = folder / "jobs.db"
    path.write_bytes(_empty_store())
    return f"sqlite:///{path}"


def a_new_job(folder: Path, now: datetime, *, team: str = "notes") -> NewJob:
    job_id = new_job_id(now)
    return NewJob(
        id=job_id,
        name="soap-notes",
        team=team,
        backend="folder",
        model="tiny",
        region="here",
        offer="standard",
        spec={"name": "soap-notes"},
        plan={"schema": "tunegate.plan/1", "chosen": "folder tiny"},
        translation=a_translation(FILES),
        folder=folder / "jobs" / job_id,
    )


def a_translation(names: Iterable[str]) -> Translation:
    files = tuple(
        ProviderFile(
            name, "train" if name.startswith("train") else "validation", "chat", 2, 1, {"empty": 1}, None
        )
        for name in names
    )
    return Translation((ProviderRequest("train", {"epochs": 3, "rate": 0.5}),), files, ())


def write_files(job: Job, file: ProviderFile) -> Path:
    job.folder.mkdir(parents=True, exist_ok=True)
    path = job.folder / file.name
    path.write_bytes(FILES[file.name])
    return path


def gate_request(job: Job, action: Action) -> GateRequest:
    return GateRequest(
        action=action,
        team=job.team,
        backend=job.backend,
        kind="managed",
        model=job.model,
        region=job.region,
        offer=job.offer,
        residency="us",
        handling={},
        data_class=DataClass.PHI,
        scanned=True,
        tags=(),
        purpose=None,
        asked_residency="any",
        attestations=(),
        as_of=date(2026, 11, 22),
    )


def code_of(job: Job) -> str:
    """Code of the error a job shows; empty when it shows none."""
    return str((job.error or {}).get("code", ""))


def _facts(how: LookupHow, kind: Kind) -> Facts:
    source = Source("test", "https://example.org", date(2026, 11, 1), Confidence.HIGH)
    return Facts("folder", "Folder", kind, Lookup(how, "made for tests", source))


def _handover(job: Job) -> Handover:
    return Handover(job.id, job.folder, ("tunegate", "jobs", "work", "--job", job.id))
