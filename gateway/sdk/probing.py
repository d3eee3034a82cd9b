"""Measuring the machine at hand with the job at hand; and on which machines the job would fit."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from backends.base import Backend, Staged
from cost import Probes, Together, fit, load_gpus
from cost.probing import keep, read
from gateway.core.errors import DataError, NothingCanRun
from gateway.core.facts import ModelFacts, ModelShape
from gateway.core.plan import Candidate, Fit, Machine, Translation, Verdict
from gateway.core.probe import Probe
from gateway.core.rows import TokenStats
from gateway.core.spec import JobSpec
from gateway.planner.places import places
from gateway.sdk.options import with_defaults
from gateway.sdk.scrubbing import as_used

if TYPE_CHECKING:
    from gateway.sdk.rooms import Rooms

METHODS = ("lora", "qlora", "full")
_HOST_CORES, _HOST_GIB = 8, 64.0  # of a machine that one rents, beside its GPU
_WORDS = ("pain", "in", "the", "left", "knee", "and", "a", "cough", "since", "monday", "fever", "better")


@dataclass(frozen=True, slots=True)
class Probed:
    """A probe, and what the next plan makes of the same job: before it and after it."""

    probe: Probe
    before: Fit
    after: Fit

    def to_json(self) -> dict[str, Any]:
        return {**self.probe.to_json(), "before": told(self.before), "after": told(self.after)}


@dataclass(frozen=True, slots=True)
class Lies:
    """How a job would lie on one machine, trained with one method."""

    model: str
    machine: Machine
    method: str
    fit: Fit

    def to_json(self) -> dict[str, Any]:
        return {
            "model": self.model,
            "machine": self.machine.name,
            "gpu_memory_gib": self.machine.gpu_memory_gib,
            "method": self.method,
            **told(self.fit),
        }


def told(lies: Fit) -> dict[str, Any]:
    """A fit in JSON."""
    return {
        "fits": lies.fits,
        "memory_gib": lies.memory_gib,
        "parts_gib": dict(lies.parts_gib),
        "duration_h": lies.hours.to_json(),
        "choices": lies.choices_json(),
        "why_not": lies.why_not,
        "basis": lies.basis,
    }


def measured(rooms: Rooms, backends: Mapping[str, Backend]) -> dict[str, Probes]:
    """Backend → what was measured here, for the next plan; nothing is made where nothing is there."""
    folder = rooms.settings.home / "probes"
    if not folder.is_dir():
        return {}
    return {name: read(folder, each.hardware()) for name, each in backends.items() if each.hardware()}


def probe(
    rooms: Rooms, spec: JobSpec, *, steps: int, on_progress: Callable[[int, int], None] | None = None
) -> Probed:
    """Take some real steps of a job on this machine, and keep what they took.

    Raises:
        NothingCanRun: the plan has no place on this machine for it.
    """
    from gateway.sdk.planning import chosen_backends, make_plan

    asked = with_defaults(spec, rooms.options)
    today = rooms.clock().date()
    chosen = _here(rooms, make_plan(rooms, asked, as_of=today).candidates)
    backend = chosen_backends(rooms, asked)[chosen.key.backend]
    folder = rooms.home / "probes"
    folder.mkdir(exist_ok=True, mode=0o700)
    translation = chosen.translation
    assert translation is not None  # noqa: S101  # `_here` asks for one
    with TemporaryDirectory(dir=folder, prefix=".") as work:
        staged = _training_rows(backend, as_used(rooms, asked), translation, Path(work))
        seen = backend.probe(
            translation, [staged], folder=Path(work) / "run", steps=steps, on_progress=on_progress
        )
    keep(seen, folder)
    before = chosen.fit
    after = _here(rooms, make_plan(rooms, asked, as_of=today).candidates).fit
    assert before is not None  # noqa: S101
    assert after is not None  # noqa: S101
    return Probed(seen, before, after)


def everywhere(rooms: Rooms, spec: JobSpec) -> list[Lies]:
    """Every method on this machine and on every GPU of the catalogue, one of each, by memory.

    Raises:
        NothingCanRun: no backend that trains on machines of ours knows the sizes of these models.
    """
    from gateway.sdk.planning import chosen_backends, profile_data

    asked = with_defaults(spec, rooms.options)
    backends = {
        name: each for name, each in chosen_backends(rooms, asked).items() if each.facts.kind == "local"
    }
    used = as_used(rooms, asked)
    profile = profile_data(rooms, used, backends)
    probes, found = measured(rooms, backends), list[Lies]()
    for name, backend in backends.items():
        for place in places(backend, asked.model):
            shape, stats = backend.shape(place.model), profile.tokens.get(backend.counter(place.model).method)
            if shape is None or stats is None or place.machine is None:
                continue
            translation = backend.translate(asked, place.key, profile, None)
            rows = profile.split_rows.get("train", 0)
            together = Together.asked(asked.options.get(name, {}))
            question = _Question(asked, place.model, shape, stats, rows, translation, together)
            found += question.answers(place.machine, probes.get(name, Probes()))
    if not found:
        raise NothingCanRun("no model of this spec has known sizes here", fix="fetch it, or name another")
    return found


@dataclass(frozen=True, slots=True)
class _Question:
    """One model over one dataset."""

    spec: JobSpec
    model: ModelFacts
    shape: ModelShape
    stats: TokenStats
    rows: int
    translation: Translation
    together: Together

    def answers(self, here: Machine, probes: Probes) -> Iterator[Lies]:
        gpus = sorted(load_gpus().gpus, key=lambda gpu: (gpu.memory_gib, gpu.name))
        rented = [Machine(each.name, each.name, 1, each.memory_gib, _HOST_CORES, _HOST_GIB) for each in gpus]
        for machine in (here, *rented):
            for method in METHODS:
                measured_here = probes if machine is here else Probes()
                yield Lies(self.model.name, machine, method, self._ask(method, machine, measured_here))

    def _ask(self, method: str, machine: Machine, probes: Probes) -> Fit:
        body = self.translation.requests[0].body
        return fit(
            self.spec.model_copy(update={"method": method}),
            self.shape,
            machine,
            self.stats,
            rows=self.rows,
            epochs=int(body["epochs"]),
            batch_size=int(body["batch_size"]),
            probes=probes,
            together=self.together,
        )


def example_spec(rooms: Rooms, folder: Path) -> JobSpec:
    """A job to measure with where nobody names one: made rows, a base that is here."""
    model = next(
        (
            (name, each.name)
            for name, facts in rooms.facts.items()
            if facts.kind == "local"
            for each in facts.models
            if rooms.backend(name).absent(each) is None
        ),
        None,
    )
    if model is None:
        raise NothingCanRun("no base model is on this machine", fix="name a spec, or `tunegate models fetch`")
    drawn = random.Random(0)  # noqa: S311  not for secrets
    with (folder / "rows.jsonl").open("w", encoding="utf-8") as file:
        for number in range(320):
            words = [drawn.choice(_WORDS) for _ in range(4 + number % 64 * 3)]
            row = {
                "prompt": " ".join([str(number), *words]),
                "completion": " ".join(words[: 2 + number % 24]),
            }
            file.write(json.dumps(row) + "\n")
    spec = {
        "name": "probe",
        "model": model[1],
        "data": {
            "train": "rows.jsonl",
            "format": "columns",
            "columns": {"prompt": "prompt", "completion": "completion"},
            "class": "public",
        },
        "route": {"backends": [model[0]]},
    }
    return JobSpec.model_validate(spec).at(folder)


def _here(rooms: Rooms, candidates: tuple[Candidate, ...]) -> Candidate:
    """The first allowed candidate that would train on a machine of ours.

    Raises:
        NothingCanRun: there is none; its first reason says why.
    """
    ours = [each for each in candidates if rooms.facts[each.key.backend].kind == "local"]
    for each in ours:
        if each.verdict is Verdict.ALLOWED and each.translation and each.fit:
            return each
    reasons = [reason for each in ours for reason in each.reasons if reason.verdict is not Verdict.ALLOWED]
    why = reasons[0].text if reasons else "no backend of this route trains on a machine of ours"
    raise NothingCanRun(f"nothing to measure here: {why}", fix=reasons[0].fix if reasons else None)


def _training_rows(backend: Backend, spec: JobSpec, translation: Translation, folder: Path) -> Staged:
    """The rows to train on, written where only the probe reads them.

    Raises:
        DataError: there are none.
    """
    from gateway.data import SplitFile, assign_splits, open_dataset, write_splits

    file = next((each for each in translation.files if each.split == "train"), None)
    if file is None:
        raise DataError("there are no rows to train on", place=spec.name)
    dataset = open_dataset(spec.data, spec.folder, task=spec.task)
    path = folder / file.name
    write_splits(
        dataset,
        assign_splits(dataset, spec.data),
        {"train": SplitFile(path, backend.convert(file.format), file.format)},
    )
    return Staged(replace(file, sha256=None), str(path.absolute()))
