"""Runs a case from its plan to what somebody does with the model, and counts what arrived where."""

from __future__ import annotations

import json
import logging
import traceback
from collections import Counter
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, time, timedelta
from pathlib import Path
from typing import Protocol

from gateway import Gateway, JobHandle, JobSpec, TunegateError
from gateway.core.classes import DataClass
from gateway.core.gate import Action
from gateway.core.job import ChatMessage
from gateway.core.plan import CandidateKey, Plan, ProviderFile
from gateway.core.rows import Message
from gateway.planner import question
from tests.egress.cases import DAY, FAR, MARK, PLANTED, Case, Fleet, Paper, allows
from tests.egress.far import Received, reveals
from tests.jobs.world import Clock


@dataclass
class Tally:
    """What many cases came to.

    Attributes:
        denied_bytes: bytes of dataset content that reached a backend which might not see them then.
        breaches: of which case, at which backend, during what.
        allowed_bytes: bytes that arrived where they might: a proof that sent nothing proves nothing.
        wrong: plans whose verdict was not the reference's.
        did: how often each action was tried, by the class of what it would send.
        said: everything that was said aloud: errors, logs, events, plans, jobs.
    """

    cases: int = 0
    dispatched: int = 0
    denials: int = 0
    denied_bytes: int = 0
    breaches: list[str] = field(default_factory=list[str])
    allowed_bytes: int = 0
    wrong: list[str] = field(default_factory=list[str])
    did: Counter[tuple[str, DataClass]] = field(default_factory=Counter[tuple[str, DataClass]])
    said: list[str] = field(default_factory=list[str])

    def spilled(self) -> list[str]:
        """What was said that holds a canary; cut short, since whoever reads this may not see more."""
        return [text[:200] for text in self.said if MARK in text]

    def __str__(self) -> str:
        return (
            f"{self.cases} cases, {self.dispatched} dispatched, {self.denials} denials; bytes of content: "
            f"{self.denied_bytes} at a denied backend, {self.allowed_bytes} at an allowed one"
        )


class Arrivals(Protocol):
    """Where what was sent arrives."""

    quotes: bool

    def take(self) -> list[Received]: ...


class Trial:
    """Somebody's year with one dataset.

    Args:
        folder: for the specs, settings and data of this case.
        home: shared with other cases, as one machine's jobs share it.
    """

    def __init__(
        self,
        case: Case,
        folder: Path,
        home: Path,
        recorder: Arrivals,
        tally: Tally,
        *,
        fleet: Fleet = FAR,
        clock: Clock | None = None,
    ) -> None:
        self.case, self.folder, self.home = case, folder, home
        self.recorder, self.tally, self.fleet = recorder, tally, fleet
        self.clock = clock or Clock()
        self.clock.now = datetime.combine(DAY, time(12), UTC)
        self.papers = case.papers
        self._opened: tuple[tuple[Paper, ...], Gateway] | None = None
        folder.mkdir()
        self._write_data()

    def run(self) -> None:
        tally = self.tally
        tally.cases += 1
        spec = JobSpec.from_yaml(self._spec())
        plan = self._plan(spec)
        job: JobHandle | None = None
        if plan is not None:
            with self._watched("dispatch"):
                job = self._gateway().dispatch(spec, plan)
        self.papers = self.case.later
        self._pass(self.case.pauses[0])
        self.recorder.quotes = self.case.quotes
        if job is not None:
            tally.dispatched += 1
            job = self._see_through(job)
        self._pass(self.case.pauses[1])
        for action in self.case.actions:
            self._act(action, job)
        self.recorder.quotes = False

    # -- the year ---------------------------------------------------------------------------------

    def _plan(self, spec: JobSpec) -> Plan | None:
        plan: Plan | None = None
        with self._watched("plan"):
            plan = self._gateway().plan(spec)
            self.tally.said.append(json.dumps(plan.to_json()))
        for candidate in plan.candidates if plan else ():
            if candidate.decision is None:  # nobody asked: it cannot do this at all
                continue
            if candidate.decision.allowed is not self._may(self.case, candidate.key, self.case.data_class):
                self.tally.wrong.append(f"case {self.case.number}: {candidate.key} is {candidate.verdict}")
        return plan

    def _see_through(self, job: JobHandle) -> JobHandle | None:
        """Dispatch, training, evaluation, record: to the end, or to what prevents it."""
        gateway = self._gateway()
        with self._watched("run", job.key):
            handle = gateway.jobs.get(job.id)
            handle.wait()
            told = [json.dumps(handle.to_json()), *(f"{e.text} {e.data}" for e in handle.events())]
            self.tally.said += told
            self.tally.said += [str(error) for error in (handle.error,) if error]
            return handle
        return None

    def _act(self, action: str, job: JobHandle | None) -> None:
        gateway, case = self._gateway(), self.case
        prompt = [("user", f"{case.mark} {PLANTED[case.prompt]}")]
        acts: dict[str, Callable[[JobHandle], object]] = {
            "complete": lambda job: gateway.complete(job.id, prompt),
            "stream": lambda job: list(gateway.stream(job.id, prompt)),
            "score": lambda job: self._score(gateway, job),
            "deploy": lambda job: self._deploy(gateway, job),
            "stray": lambda job: self._stray(gateway, job),
            "evaluate": lambda job: job.evaluate(),
            "resume": lambda job: job.resume(),
        }
        if action == "base":
            free = replace(case, tags=(), residency="any")  # a prompt that belongs to no job
            with self._watched("base", CandidateKey(case.route[0], case.model, "", ""), DataClass.PHI, free):
                gateway.complete(case.model, prompt, backend=case.route[0])
        elif job is not None:
            asks = action in ("complete", "stream")
            data_class = max(case.data_class, case.prompt) if asks else case.data_class
            with self._watched(action, None if action == "stray" else job.key, data_class):
                acts[action](gateway.jobs.get(job.id))

    def _score(self, gateway: Gateway, job: JobHandle) -> None:
        rooms = gateway._rooms  # pyright: ignore[reportPrivateUsage]
        request = rooms.dispatch.gate_request(rooms.store.get(job.id), Action.INFER)
        prompt, answer = Message("user", self.case.mark), Message("assistant", self.case.mark)
        rooms.egress.score(request, f"tuned:{job.id}", [([prompt], answer)])

    def _deploy(self, gateway: Gateway, job: JobHandle) -> None:
        rooms = gateway._rooms  # pyright: ignore[reportPrivateUsage]
        stored = rooms.store.get(job.id)
        if stored.remote is not None:
            rooms.egress.deploy(rooms.dispatch.gate_request(stored, Action.DEPLOY), stored.remote)

    def _stray(self, gateway: Gateway, job: JobHandle) -> None:
        """A caller that would send the job's file to every backend there is: only the door stands there."""
        rooms = gateway._rooms  # pyright: ignore[reportPrivateUsage]
        path = self.folder / "data.jsonl"
        file = ProviderFile(path.name, "train", "far-chat", 1, 1, {}, "a" * 64)
        for name in self.case.route:
            facts = rooms.backend(name).facts
            model = facts.models[0] if facts.models else None
            key = CandidateKey(
                name,
                model.name if model else self.case.model,
                model.regions[0] if model and model.regions else "",
                model.offers[0] if model and model.offers else "",
            )
            request = question(
                Action.UPLOAD,
                facts,
                key,
                team="default",
                data_class=self.case.data_class,
                scanned=True,
                attestations=rooms.settings.attestations,
                as_of=self._today,
                tags=self.case.tags,
                asked_residency=self.case.residency,
            )
            options = rooms.options.get(name, {})
            with self._watched("stray", key):
                rooms.egress.stage(request, file, path, key=rooms.store.get(job.id).key, options=options)
            with self._watched("stray", key):
                asked = replace(request, action=Action.INFER)
                chat = [ChatMessage("user", self.case.mark)]
                list(rooms.egress.stream(asked, key.model, chat, max_output_tokens=8, options=options))

    # -- counting ---------------------------------------------------------------------------------

    @contextmanager
    def _watched(
        self,
        what: str,
        key: CandidateKey | None = None,
        data_class: DataClass | None = None,
        case: Case | None = None,
    ) -> Generator[None]:
        """While something is done: what is said is kept, and what arrives is held to the reference.

        Args:
            key: the only place that may be sent anything; None where nothing may be.
            case: what the spec demands of it; another where no spec is meant.
        """
        self.tally.did[what, data_class or self.case.data_class] += 1
        try:
            yield
        except TunegateError as error:
            self.tally.denials += error.code == "denied"
            said = (str(error), repr(error), json.dumps(error.to_json()), *traceback.format_exception(error))
            self.tally.said += said
        finally:
            for received in self.recorder.take():
                self._count(received, what, key, data_class or self.case.data_class, case or self.case)

    def _count(
        self, received: Received, what: str, key: CandidateKey | None, data_class: DataClass, case: Case
    ) -> None:
        if not reveals(received.body, self.case.mark.encode()):
            return
        may = key is not None and received.backend == key.backend and self._may(case, key, data_class)
        if may:
            self.tally.allowed_bytes += len(received.body)
        else:
            self.tally.denied_bytes += len(received.body)
            self.tally.breaches.append(f"case {self.case.number}: {what} at {received.backend}")

    def _may(self, case: Case, key: CandidateKey, data_class: DataClass) -> bool:
        stance = self.fleet.stance(key)
        return allows(case, stance, key.backend, data_class, self.papers, self._today)

    # -- the scene --------------------------------------------------------------------------------

    @property
    def _today(self) -> date:
        return self.clock.now.date()

    def _pass(self, days: int) -> None:
        self.clock.now += timedelta(days=days)

    def _gateway(self) -> Gateway:
        """A gateway over the agreements of now: opened anew where the settings changed, else the one that
        has been there all year, while agreements lapsed."""
        if self._opened is None or self._opened[0] is not self.papers:
            self._opened = (self.papers, self._open())
        return self._opened[1]

    def _open(self) -> Gateway:
        config = self.folder / "tunegate.toml"
        papers = "\n".join(paper.toml() for paper in self.papers if _is_known(self.case, paper))
        config.write_text(f"[policy]\nsets = {json.dumps(self.case.sets)}\n{papers}", encoding="utf-8")
        gateway = Gateway(config=config, home=self.home, clock=self.clock)
        gateway._rooms.reconciler._sleep = self.clock.sleep  # pyright: ignore[reportPrivateUsage]
        return gateway

    def _spec(self) -> Path:
        case = self.case
        data = {
            "train": "data.jsonl",
            "class": str(case.declared),
            "tags": list(case.tags),
            "residency": case.residency,
            "test": 0.2,
        }
        path = self.folder / "job.yaml"
        path.write_text(
            f"version: 1\nname: case-{case.number}\nmodel: {json.dumps(self.fleet.models)}\n"
            f"data: {json.dumps(data)}\n"
            f"route: {{backends: {json.dumps(case.route)}, objective: {case.objective}}}\n"
            "evaluate: {metrics: [exact_match], max_output_tokens: 8}\n",
            encoding="utf-8",
        )
        return path

    def _write_data(self) -> None:
        with (self.folder / "data.jsonl").open("w", encoding="utf-8") as file:
            for asked, answered in self.case.rows(self.fleet.rows):
                turns = (("user", asked), ("assistant", answered))
                file.write(json.dumps({"messages": [{"role": r, "content": c} for r, c in turns]}) + "\n")


def _is_known(case: Case, paper: Paper) -> bool:
    """Whether the rules in force, or a provider, ask for this kind at all: others are an error."""
    known = {"baa", "modified_retention", "existing_account"}
    if {"baseline", "gdpr-eu"} & set(case.sets):
        known.add("dpa")
    if "hipaa" in case.sets:
        known.add("qsoa")
    if "gdpr-eu" in case.sets:
        known.add("scc")
    return paper.kind in known


@contextmanager
def logged(said: list[str]) -> Generator[None]:
    """Everything that any library logs, at every level, as a formatted line."""
    root, before = logging.getLogger(), logging.getLogger().level

    class Keep(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            said.append(self.format(record))

    handler = Keep()
    handler.setFormatter(logging.Formatter("%(name)s: %(message)s"))
    root.addHandler(handler)
    root.setLevel(logging.DEBUG)
    try:
        yield
    finally:
        root.removeHandler(handler)
        root.setLevel(before)


def kept(home: Path) -> Iterator[tuple[Path, bytes]]:
    """Every file of a home but the data itself: what was written for a job's provider, and held out."""
    for path in sorted(home.rglob("*")):
        if path.is_file() and not ("jobs" in path.parts and "data" in path.relative_to(home).parts[:-1]):
            yield path, path.read_bytes()
