"""The local runner as a backend: runs are folders, states are files, and nothing leaves the machine."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, ClassVar, cast

import psutil
from filelock import FileLock

from backends.base import Backend, Handover, Merged, ProxyCounter, Staged
from backends.local import models, probing, supervisor, wire
from backends.local.environment import cpu_threads, gpu_cards, spin_briefly
from backends.local.files import sha256_of
from backends.local.infer import Inference
from backends.local.loaded import Weights, untuned, weights_of
from backends.local.merge import merge
from backends.local.options import LocalOptions
from backends.local.queue import Queue
from backends.local.render import Template, TemplateCounter
from backends.local.run import Run, State, write_json
from gateway.core.errors import BackendError, DataError, NotFound, Rejected, Unsupported
from gateway.core.facts import Facts, ModelFacts, ModelShape
from gateway.core.job import (
    Artifact,
    ChatMessage,
    Completion,
    Event,
    ObservedState,
    RemoteRef,
    Score,
    Snapshot,
)
from gateway.core.plan import CandidateKey, Fit, Machine, ProviderFile, Translation
from gateway.core.probe import Probe
from gateway.core.rows import Convert, DataProfile, Message, Row, TokenCounter
from gateway.core.spec import JobSpec

MACHINE = "this-machine"
ADAPTER = "local:"  # callable ids of what runs left: local:<folder>
UNTUNED = "local-base:"  # what that was tuned from: local-base:<folder>
_OBSERVED: dict[State, ObservedState] = {
    "queued": "queued",
    "preparing": "running",
    "training": "running",
    "paused": "paused",
    "succeeded": "succeeded",
    "failed": "failed",
    "cancelled": "cancelled",
}


class LocalBackend(Backend):
    """Trains on this machine with transformers and PEFT, in a process that outlives its caller."""

    dispatches: ClassVar[bool] = True
    continues: ClassVar[bool] = True
    options = LocalOptions

    def __init__(self, facts: Facts, home: Path) -> None:
        super().__init__(facts, home)
        spin_briefly()
        self._inference = Inference(home)
        self._templates: dict[str, Template] = {}

    # -- planning ----------------------------------------------------------------------------------

    def resolve(self, name: str) -> ModelFacts | None:
        """A model of the facts, any Hugging Face id, or a folder with a `config.json`: that by its whole
        path, because training and evaluation run in other folders than ours."""
        if known := self.facts.model(name):
            return known
        if (Path(name).expanduser() / "config.json").is_file():
            name = str(Path(name).expanduser().absolute())
        elif "/" not in name:
            return None
        shape = models.shape(name, self.home)
        pattern = self.facts.models[0]
        return ModelFacts(
            name=name,
            id=name,
            family="hf",
            regions=pattern.regions,
            offers=pattern.offers,
            tasks=pattern.tasks,
            methods=pattern.methods,
            tokenizer="hf",
            source=pattern.source,
            tools=True,
            parameters=shape.parameters if shape else None,
        )

    def translate(
        self, spec: JobSpec, target: CandidateKey, profile: DataProfile, fit: Fit | None
    ) -> Translation:
        model = self._model(target.model)
        shape = self.shape(model)
        return wire.translate(
            spec,
            target,
            model,
            profile,
            fit,
            max_positions=shape.max_positions if shape else None,
            parameters=shape.parameters if shape else model.parameters,
        )

    def format(self, model: ModelFacts, task: str) -> str:
        return wire.FORMAT

    def convert(self, format: str) -> Convert:
        return wire.convert

    def counter(self, model: ModelFacts) -> TokenCounter:
        """Exact where the tokenizer is on this machine; else by bytes, and the method says so."""
        folder = models.tokenizer_folder(model.id, self.home)
        if folder is None:
            return ProxyCounter(model.family, bytes_per_token=4.2, per_message=6, band=0.25)
        return TemplateCounter(folder, model.name)

    def shape(self, model: ModelFacts) -> ModelShape | None:
        """From the weights that are here; else as the facts state them."""
        return models.shape(model.id, self.home) or model.shape

    def absent(self, model: ModelFacts) -> str | None:
        return models.absent(model.id, self.home)

    def machines(self) -> tuple[Machine, ...]:
        """This machine: its cores and memory, and its GPUs as `nvidia-smi` tells them."""
        cards = gpu_cards()
        return (
            Machine(
                name=MACHINE,
                gpu=cards[0][0] if cards else None,
                gpus=len(cards),
                gpu_memory_gib=min((memory for _, memory in cards), default=0.0),
                cpu_cores=cpu_threads(),
                memory_gib=psutil.virtual_memory().total / 2**30,
            ),
        )

    def hardware(self) -> str:
        return probing.machine()

    def preview(self, model: ModelFacts, row: Row) -> list[tuple[str, bool]]:
        """The text the model is trained on; True where its tokens count."""
        if model.id not in self._templates:
            folder = models.tokenizer_folder(model.id, self.home) or models.ensure(model.id, self.home)
            self._templates[model.id] = Template.load(folder, model.name)
        return self._templates[model.id].pieces(row.to_json())

    def fetch_model(self, name: str) -> Path:
        """Bring a model's weights to this machine. The only call here that uses the network."""
        model = self._model(name)
        return models.ensure(model.id, self.home) if model.family == "demo" else models.fetch(model.id)

    # -- lifecycle ---------------------------------------------------------------------------------

    def stage(self, file: ProviderFile, path: Path, *, key: str) -> Staged:
        """The file stays where it is; that it is the planned one is checked.

        Raises:
            DataError: its bytes are not those that were planned.
        """
        found = sha256_of(path)
        if file.sha256 not in (None, found):
            raise DataError("the file is not the one that was planned", place=str(path), fix="plan again")
        return Staged(file, str(path.absolute()))

    def submit(
        self, translation: Translation, staged: Sequence[Staged], *, key: str, handover: Handover
    ) -> RemoteRef:
        """Make the run's folder and start its supervisor; a key that has a run gets that run."""
        if translation.refused:
            paths = ", ".join(outcome.path for outcome in translation.refused)
            raise Rejected(f"the translation refuses {paths}", backend=self.name)
        if not any(part.file.split == "train" for part in staged):
            raise Rejected("there is no training file", backend=self.name)
        pointer = self._pointer(key)
        pointer.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(pointer.with_suffix(".lock"), mode=0o600):
            if not pointer.exists():
                folder = handover.folder.absolute() / f"training-{pointer.stem[:8]}"
                Run(folder).create(
                    self._config(translation, staged, key),
                    {
                        "job_id": handover.job_id,
                        "folder": str(handover.folder.absolute()),
                        "when_done": list(handover.when_done),
                        "team": handover.team,
                        "slots": handover.slots,
                        "per_team": handover.per_team,
                    },
                )
                processes = translation.requests[0].body.get("processes", 1)
                Queue(self.home).enter(Run(folder), handover.team, processes)
                write_json(pointer, {"folder": str(folder)})
            ref = self._ref(pointer)
            self._revive(Run(Path(ref.id)))
        return ref

    def probe(
        self,
        translation: Translation,
        staged: Sequence[Staged],
        *,
        folder: Path,
        steps: int = probing.STEPS,
        on_progress: Callable[[int, int], None] | None = None,
    ) -> Probe:
        run = Run(folder)
        run.create(self._config(translation, staged, "probe"), {})
        return probing.probe(run, steps, on_progress)

    def find(self, key: str) -> RemoteRef | None:
        pointer = self._pointer(key)
        return self._ref(pointer) if pointer.exists() else None

    def poll(self, ref: RemoteRef) -> Snapshot:
        """What the run's files say. A run whose supervisor died without an end gets a new one."""
        run = self._run(ref)
        self._revive(run)
        return self._snapshot(run)

    def events(self, ref: RemoteRef, *, after: str | None = None) -> tuple[Event, ...]:
        return self._run(ref).events(after)

    def cancel(self, ref: RemoteRef) -> Snapshot:
        run = Run(Path(ref.id))
        if not run.folder.exists():
            return Snapshot("cancelled", "gone", datetime.now(UTC))
        if not run.status.final:
            run.want("cancel")
            self._revive(run, also_paused=True)
        return self._snapshot(run)

    def pause(self, ref: RemoteRef) -> Snapshot:
        """Training writes a checkpoint and ends; `resume` goes on from it."""
        run = self._run(ref)
        if not run.status.final:
            run.want("pause")
        return self._snapshot(run)

    def resume(self, ref: RemoteRef) -> Snapshot:
        """Go on with a paused, failed or cancelled run from its last checkpoint."""
        run = self._run(ref)
        run.want(None)
        if run.status.state in ("paused", "failed", "cancelled"):
            run.set_status("queued")
        self._revive(run)
        return self._snapshot(run)

    def artifacts(self, ref: RemoteRef) -> tuple[Artifact, ...]:
        """The adapter, or the whole model (callable), the metrics, the events and the log, as far as they
        exist."""
        folder = self._run(ref).folder
        found: list[Artifact] = []
        if (weights := folder / "adapter" / "adapter_model.safetensors").is_file():
            adapter = weights.parent
            found.append(Artifact("adapter", str(adapter), f"{ADAPTER}{adapter}", sha256_of(weights)))
        if (note := (model := folder / "model") / "tunegate.json").is_file():  # it names every file's hash
            found.append(Artifact("model", str(model), f"{ADAPTER}{model}", sha256_of(note)))
        for kind, name in (("metrics", "metrics.jsonl"), ("events", "events.jsonl"), ("log", "train.log")):
            if (path := folder / name).is_file():
                found.append(Artifact(kind, str(path)))
        return tuple(found)

    def delete(self, ref: RemoteRef) -> None:
        """Remove the run's folder, its adapter included.

        Raises:
            BackendError: it still trains.
        """
        run = Run(Path(ref.id))
        if not run.folder.exists():
            return
        if run.alive("train"):
            raise BackendError("this run still trains", backend=self.name, fix="cancel it first")
        self._pointer(run.config["key"]).unlink(missing_ok=True)
        shutil.rmtree(run.folder)

    # -- inference ---------------------------------------------------------------------------------

    def complete(
        self, model_ref: str, batch: Sequence[Sequence[ChatMessage]], *, max_output_tokens: int
    ) -> tuple[Completion, ...]:
        return self._inference.complete(self._weights(model_ref), batch, max_output_tokens)

    def stream(
        self, model_ref: str, messages: Sequence[ChatMessage], *, max_output_tokens: int
    ) -> Iterator[str]:
        return self._inference.stream(self._weights(model_ref), messages, max_output_tokens)

    def score(
        self, model_ref: str, examples: Sequence[tuple[Sequence[Message], Message]]
    ) -> tuple[Score, ...]:
        return self._inference.score(self._weights(model_ref), examples)

    def untuned(self, model_ref: str, base: str) -> str:
        """The base as the tuned model has it under itself: the same revision, in as many bits."""
        return model_ref.replace(ADAPTER, UNTUNED, 1)

    def merge(self, model_ref: str, out: Path, *, card: str) -> Merged:
        """Base and adapter as one model, in a new folder."""
        if not model_ref.startswith(ADAPTER):
            raise Unsupported("this is a base; there is nothing to merge", place=model_ref)
        return merge(Path(model_ref.removeprefix(ADAPTER)), out.absolute(), self.home, card=card)

    def _weights(self, model_ref: str) -> Weights:
        """What a reference means: what a run left, what that was tuned from, or a model's name."""
        if model_ref.startswith(ADAPTER):
            return weights_of(Path(model_ref.removeprefix(ADAPTER)))
        if model_ref.startswith(UNTUNED):
            return untuned(Path(model_ref.removeprefix(UNTUNED)))
        return Weights(self._model(model_ref).id)

    # -- inside ------------------------------------------------------------------------------------

    def _config(self, translation: Translation, staged: Sequence[Staged], key: str) -> dict[str, Any]:
        """What a run's folder says about what is trained."""
        return {
            "key": key,
            "home": str(self.home.absolute()),
            "files": {
                part.file.split: {
                    "path": part.uri,
                    "sha256": part.file.sha256 or sha256_of(Path(part.uri)),  # what was staged is trained on
                }
                for part in staged
            },
            "body": dict(translation.requests[0].body),
        }

    def _model(self, name: str) -> ModelFacts:
        if (model := self.resolve(name)) is None:
            raise Unsupported("no such model here", place=name, fix="name a Hugging Face id or a folder")
        return model

    def _pointer(self, key: str) -> Path:
        """From a key to its run; a run lies in its job's folder, which a key alone does not tell."""
        return self.home / "runs" / f"{hashlib.sha256(key.encode()).hexdigest()[:32]}.json"

    def _ref(self, pointer: Path) -> RemoteRef:
        values = cast("dict[str, str]", json.loads(pointer.read_bytes()))
        return RemoteRef(self.name, values["folder"])

    def _run(self, ref: RemoteRef) -> Run:
        run = Run(Path(ref.id))
        if not (run.folder / "run.json").is_file():
            raise NotFound("this run's folder is gone", backend=self.name, place=ref.id)
        return run

    def _revive(self, run: Run, *, also_paused: bool = False) -> None:
        """Start a supervisor where there should be one and is none."""
        status = run.status
        resting = status.final or (status.state == "paused" and not also_paused)
        if not resting and not run.alive("supervisor"):
            supervisor.start(run)

    def _snapshot(self, run: Run) -> Snapshot:
        status = run.status
        state = _OBSERVED.get(status.state, "unknown")
        if run.wanted == "cancel" and not status.final:
            state = "cancelling"
        detail = {name: value for name in ("code", "fix") if (value := getattr(status, name))}
        return Snapshot(state, status.state, datetime.now(UTC), status.message, run.progress(), detail=detail)
