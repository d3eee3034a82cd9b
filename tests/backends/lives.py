"""One small job at any registered backend: a managed one at its stand-in over real HTTP with the real SDK,
the local one for real. The rows and the spec are the same everywhere but for the model's name."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil

from backends import registry
from backends.base import Backend, Handover, Staged
from backends.local.run import Run
from backends.sandbox.server import Server
from gateway.core.job import Event, RemoteRef, Site, Snapshot
from gateway.core.plan import CandidateKey, ProviderFile, Translation
from gateway.core.rows import Split
from gateway.core.spec import JobSpec
from gateway.data import SplitFile, assign_splits, open_dataset, profile, write_splits
from tests.backends.sandboxes import Hand, StartSandbox

ROWS = 120  # above every provider's least number
NAMES = registry.names()
FINAL = ("succeeded", "failed", "cancelled")
KEY = "tunegate-01k9vpm3e8jq4x7c-1"
_MOST_LOOKS = 400
_PATIENCE_S = 120.0


def model_of(name: str, tiny: Path) -> str:
    """The first model whose job the backend can take; on this machine, one small enough to train here."""
    if registry.facts(name).kind == "local":
        return str(tiny)
    here = registry.facts(name) if registry.facts(name).models else registry.facts("openai")
    return next(model.name for model in here.models if "sft" in model.tasks)


@dataclass
class Life:
    """A backend, and one job's files and translation for it."""

    backend: Backend
    translation: Translation
    files: Sequence[tuple[ProviderFile, Path]]
    folder: Path
    clock: Hand | None
    box: Server | None
    refs: list[RemoteRef] = field(default_factory=list[RemoteRef])

    def stage(self) -> tuple[Staged, ...]:
        return tuple(self.backend.stage(file, path, key=KEY) for file, path in self.files)

    def submit(self, *, key: str = KEY) -> RemoteRef:
        handover = Handover("job_1", self.folder / key)
        handover.folder.mkdir(exist_ok=True)
        ref = self.backend.submit(self.translation, self.stage(), key=key, handover=handover)
        self.refs.append(ref)
        return ref

    def again(self) -> Backend:
        """The same backend in the hands of another process."""
        return _backend(self.backend.name, self.folder).at(self.backend.site)

    def later(self) -> None:
        """A look's time passes: by a hand on the stand-in's clock, or really."""
        if self.clock is not None:
            self.clock.advance(0.02)
        else:
            time.sleep(0.05)

    def watch(self, ref: RemoteRef, until: Sequence[str] = FINAL) -> list[Snapshot]:
        """Every change that was seen, to one of these states."""
        seen: list[Snapshot] = []
        end = time.monotonic() + _PATIENCE_S
        while time.monotonic() < end:
            now = self.backend.poll(ref)
            if not seen or seen[-1].state != now.state:
                seen.append(now)
            if now.state in until:
                return seen
            self.later()
        raise AssertionError(f"it never came to {until}: {seen}")

    def callable_id(self, ref: RemoteRef) -> str:
        """What the tuned model is asked by, deployed where it answers only then."""
        found = [each.callable_id for each in self.backend.artifacts(ref) if each.callable_id]
        if found:
            return found[0]
        for _ in range(_MOST_LOOKS):
            deployed = self.backend.deploy(ref).callable_id
            if deployed:
                return deployed
            self.later()
        raise AssertionError("its deployment never became ready")

    def events(self, ref: RemoteRef) -> tuple[Event, ...]:
        return self.backend.events(ref)

    def rest(self, ref: RemoteRef) -> None:
        """Until the process that trained here has really ended; it tells its end just before."""
        end = time.monotonic() + _PATIENCE_S
        while self.box is None and Run(Path(ref.id)).alive("train") and time.monotonic() < end:
            self.later()

    def end(self) -> None:
        """Nothing goes on after the test."""
        for ref in self.refs if self.backend.facts.kind == "local" else ():
            for who in ("supervisor", "train"):
                if process := Run(Path(ref.id)).process(who):
                    process.kill()
                    psutil.wait_procs([process], timeout=10)


def begin(name: str, folder: Path, tiny: Path, sandbox: StartSandbox) -> Life:
    """A life at that backend. The spec is one and the same; the model's name, and where it is, differ."""
    clock = None if registry.sandbox_room(name) is None else Hand()
    box = sandbox(name, clock=clock) if clock is not None else None
    backend = _backend(name, folder)
    spec = _spec(folder, model_of(name, tiny), name, _told(backend))
    translation, files = _files(backend, spec, folder)
    return Life(backend.at(_site(backend, translation[1], spec)), translation[0], files, folder, clock, box)


def _files(
    backend: Backend, spec: JobSpec, folder: Path
) -> tuple[tuple[Translation, CandidateKey], list[tuple[ProviderFile, Path]]]:
    asked = backend if backend.resolve(spec.model[0]) else _backend("openai", folder)
    model = asked.resolve(spec.model[0])
    assert model is not None
    form = asked.format(model, "sft")
    dataset = open_dataset(spec.data, folder, task="sft")
    assignment = assign_splits(dataset, spec.data)
    found = profile(
        spec, folder, counters=(asked.counter(model),), conversions={form: asked.convert(form)}, scanner=None
    )
    offer = (asked.machines() or (None,))[0]
    where = model.offers[0] if model.offers else (offer.name if offer else "")
    key = CandidateKey(asked.name, model.name, (model.regions or ("",))[0], where)
    translation = asked.translate(spec, key, found, None)
    places: dict[Split, Path] = {file.split: folder / file.name for file in translation.files}
    write_splits(
        dataset,
        assignment,
        {split: SplitFile(path, asked.convert(form), form) for split, path in places.items()},
    )
    return (translation, key), [(file, places[file.split]) for file in translation.files]


def _spec(folder: Path, model: str, name: str, options: dict[str, Any]) -> JobSpec:
    turns = (
        (("user", f"which queue does ticket {n} about {WORDS[n % 4]} go to"), ("assistant", WORDS[n % 4]))
        for n in range(ROWS)
    )
    lines = (
        json.dumps({"messages": [{"role": role, "content": text} for role, text in row]}) + "\n"
        for row in turns
    )
    (folder / "rows.jsonl").write_text("".join(lines))
    return JobSpec.model_validate(
        {
            "name": "contract",
            "model": model,
            "data": {"train": "rows.jsonl", "format": "chat", "class": "internal"},
            "hyperparameters": {"epochs": 1},
            "options": {name: options} if options else {},
        }
    ).at(folder)


WORDS = ("billing", "delivery", "returns", "accounts")


def _site(backend: Backend, key: CandidateKey, spec: JobSpec) -> Site:
    return Site(backend.name, key.region, key.offer, spec.options.get(backend.name, {}))


def _told(backend: Backend) -> dict[str, Any]:
    return {option: os.environ[of] for option, of in backend.variables.items() if of in os.environ}


def _backend(name: str, folder: Path) -> Backend:
    made = registry.create(name, folder / "home")
    made.credential = lambda variable: os.environ.get(variable)
    return made
