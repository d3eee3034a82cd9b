"""The interface every backend speaks. Its facts are read by `backends.facts`; `backends.ledger` is what
a translation is written with.

How to add a backend
    1. Make a folder beside the others with `facts.toml` (shape: `gateway.core.facts`), `wire.py`
       (pure: spec → requests, `convert(row)`, reply → `Snapshot`) and `backend.py` (a `Backend`;
       the only file that imports the vendor's SDK, inside functions).
    2. Add one line to `backends/registry.py`, or an entry point in the group `tunegate.backends`.
    3. If it needs an SDK, add an extra to `pyproject.toml` and name it in the facts.
    4. Run `make test`: the contract suite picks it up by its registry name.

What a backend lacks, its facts say, and the call raises `Unsupported`. Lifecycle calls return at
once; only `stage` may take as long as its bytes. Polling, retrying and counting belong to the
reconciler, errors are classified here by type and status, never by message text.
"""

from __future__ import annotations

import copy
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal, Self

from pydantic import BaseModel, ConfigDict

from backends.facts import load_facts
from gateway.core.errors import BackendError, Unsupported
from gateway.core.facts import Facts, ModelFacts, ModelShape
from gateway.core.job import Artifact, ChatMessage, Completion, Event, RemoteRef, Score, Site, Snapshot
from gateway.core.plan import CandidateKey, Fit, Machine, ProviderFile, Translation
from gateway.core.probe import Probe
from gateway.core.rows import Convert, DataProfile, Message, Row, TokenCounter
from gateway.core.spec import JobSpec

__all__ = ["Backend", "Check", "Handover", "Merged", "NoOptions", "ProxyCounter", "Staged", "load_facts"]


@dataclass(frozen=True, slots=True)
class Staged:
    """A file where the backend can read it: the provider's file id or URI."""

    file: ProviderFile
    uri: str


@dataclass(frozen=True, slots=True)
class Handover:
    """What a job that outlives its caller must know.

    Attributes:
        when_done: the command to run when training has ended.
        team: whose job it is.
        slots: jobs that may train at once where this one does; None for the backend's own choice.
        per_team: how many of those may be one team's; None for any number.
    """

    job_id: str
    folder: Path
    when_done: tuple[str, ...] = ()
    team: str = "default"
    slots: int | None = None
    per_team: int | None = None


@dataclass(frozen=True, slots=True)
class Merged:
    """A tuned model written as one that stands alone.

    Attributes:
        files: SHA-256 (hex) by file name, of the weights.
        bytes: size of the whole folder.
        deviation: how far its logits, read back from the disk, are from those of base and adapter: the
            length of the difference over the length of the logits.
        precision: the type of its numbers: `float32`, `bfloat16`, …
    """

    folder: Path
    files: Mapping[str, str]
    bytes: int
    deviation: float
    precision: str


@dataclass(frozen=True, slots=True)
class Check:
    """One thing a backend needs before a job can be sent there, and whether it is so.

    `unknown` is what could not be found out; never a reason to go on. No secret is in any field.
    """

    name: str
    state: Literal["ok", "missing", "unknown"]
    fix: str = ""


class NoOptions(BaseModel):
    """`options.<backend>` of a backend that takes none."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Backend(ABC):
    """One place that can fine-tune. Constructing it does no I/O and imports no SDK.

    Args:
        facts: what is known of this backend.
        home: folder this backend may keep its own files in (caches, base models).

    Attributes:
        site: where at the backend the lifecycle calls of this instance work; see `at`.
        options: pydantic model of `options.<backend>` in a spec.
        variables: option → the environment variable its default is taken from.
        loggers: loggers of the vendor's SDK that write what they send at DEBUG. Egress holds them to INFO,
            so that an application which turns on everything does not log somebody's data.
        dispatches: True once `stage`, `submit` and `poll` are built; until then a plan is exact but
            its candidates here are `unavailable`.
        credential: reads one credential of this backend by its variable's name, where no vendor's SDK
            has a chain of its own for it. Whoever assembles the rooms sets it; else there is none.
    """

    options: ClassVar[type[BaseModel]] = NoOptions
    variables: ClassVar[Mapping[str, str]] = {}
    loggers: ClassVar[tuple[str, ...]] = ()
    dispatches: ClassVar[bool] = False
    continues: ClassVar[bool] = False

    def __init__(self, facts: Facts, home: Path) -> None:
        self.facts = facts
        self.home = home
        self.site = Site(facts.backend)
        self.credential: Callable[[str], str | None] = _no_credential

    def at(self, site: Site) -> Self:
        """The same backend, for lifecycle calls at that place: its region, offer and account. What was
        loaded or connected is shared with this instance."""
        bound = copy.copy(self)
        bound.site = site
        return bound

    @property
    def name(self) -> str:
        return self.facts.backend

    # -- planning: pure, no network, no SDK ------------------------------------------------------

    @abstractmethod
    def translate(
        self, spec: JobSpec, target: CandidateKey, profile: DataProfile, fit: Fit | None
    ) -> Translation:
        """The exact requests for this candidate; every spec field kept, changed or refused."""

    @abstractmethod
    def format(self, model: ModelFacts, task: str) -> str:
        """Name of the data format this model's training files have (`openai-chat`, …)."""

    @abstractmethod
    def convert(self, format: str) -> Convert:
        """The pure row converter of that format."""

    @abstractmethod
    def counter(self, model: ModelFacts) -> TokenCounter:
        """How rows are counted for this model, as they will be billed."""

    def resolve(self, name: str) -> ModelFacts | None:
        """The model users call `name`; None when it is not offered here. The local runner
        also answers for any Hugging Face id or path."""
        return self.facts.model(name)

    def shape(self, model: ModelFacts) -> ModelShape | None:
        """The model's sizes, where training happens on a machine of ours; None when not known."""
        return None

    def missing(self, options: Mapping[str, Any]) -> tuple[str, ...]:
        """What `options.<backend>` must still say before a job could be sent there, as option names;
        empty when nothing is missing. A plan is exact without them, a dispatch is not possible."""
        return ()

    def account(self, options: Mapping[str, Any]) -> str:
        """Whose account at the provider a job would use, as an agreement would name it; empty where
        `options.<backend>` do not say."""
        return ""

    def absent(self, model: ModelFacts) -> str | None:
        """Why this model's weights cannot be trained on just now, and what brings them here; None
        when nothing is missing. No network."""
        return None

    def fetch_model(self, name: str) -> Path:
        """Bring a base model's weights to this machine, where training happens on it. Uses the network.

        Raises:
            Unsupported: nothing is kept on this machine, or no such model is offered here.
        """
        raise self._lacks("fetch_model")

    def machines(self) -> tuple[Machine, ...]:
        """Machines this backend would train on; empty for managed backends. Imports no SDK."""
        return ()

    def hardware(self) -> str:
        """What a measurement taken here holds for: the machine, and the libraries whose speed it is.
        Empty where training is not on a machine of ours."""
        return ""

    # -- lifecycle: the only part that touches a network or a process -----------------------------

    def addresses(self) -> tuple[str, ...]:
        """URLs that calls carrying data would go to from this site, as the vendor's SDK resolved them;
        empty where nothing leaves the machine. No network. Egress holds them to the facts' `hosts`."""
        return ()

    def check(self) -> tuple[Check, ...]:
        """What is missing to use this site: credential, role, bucket, permission. Uses the network, and
        only to read."""
        return ()

    def stage(self, file: ProviderFile, path: Path, *, key: str) -> Staged:
        """Bring a file to the backend. Content-addressed: the same bytes are not sent twice, and
        a lost reply is found again by listing."""
        raise self._lacks("stage")

    def submit(
        self, translation: Translation, staged: Sequence[Staged], *, key: str, handover: Handover
    ) -> RemoteRef:
        """Start the job. The same key is the same job, whatever crashed in between."""
        raise self._lacks("submit")

    def probe(
        self,
        translation: Translation,
        staged: Sequence[Staged],
        *,
        folder: Path,
        steps: int = 20,
        on_progress: Callable[[int, int], None] | None = None,
    ) -> Probe:
        """Take some steps of the job in a process of its own, in this folder, and measure them. Nothing
        of what was trained is kept. `on_progress` is told what takes long before the first step, as a
        part of a whole."""
        raise self._lacks("probe")

    def find(self, key: str) -> RemoteRef | None:
        """The job submitted under this key, or None when there is none."""
        raise self._lacks("find")

    def poll(self, ref: RemoteRef) -> Snapshot:
        raise self._lacks("poll")

    def events(self, ref: RemoteRef, *, after: str | None = None) -> tuple[Event, ...]:
        """Events newer than the one with id `after`, oldest first."""
        return ()

    def cancel(self, ref: RemoteRef) -> Snapshot:
        """Ask for the end. On a job that is finished or gone: no error."""
        raise self._lacks("cancel")

    def pause(self, ref: RemoteRef) -> Snapshot:
        raise self._lacks("pause")

    def resume(self, ref: RemoteRef) -> Snapshot:
        raise self._lacks("resume")

    def artifacts(self, ref: RemoteRef) -> tuple[Artifact, ...]:
        raise self._lacks("artifacts")

    def deploy(self, ref: RemoteRef) -> Artifact:
        """Ask for the deployment that makes the tuned model answer, and say how it stands: call again
        until the artifact has a `callable_id`. One job has at most one, found by name: a repeated
        call never makes a second. Where a tuned model answers without one: `Unsupported`."""
        raise self._lacks("deploy")

    def why_not_deployed(self, artifacts: Sequence[Artifact]) -> Unsupported | None:
        """Why `deploy` never could do it for a job that left these, so that nobody is asked to agree to it
        first; None where it may be tried."""
        return self._lacks("deploy") if type(self).deploy is Backend.deploy else None

    def undeploy(self, ref: RemoteRef) -> None:
        """End the deployment and its cost. Where there is none: no error."""
        raise self._lacks("undeploy")

    def unstage(self, uri: str) -> None:
        """Delete one staged file, named as `stage` named it. Where it is gone: no error."""
        raise self._lacks("unstage")

    def delete(self, ref: RemoteRef) -> None:
        """Remove what the job left at the backend. On a job that is gone: no error."""
        raise self._lacks("delete")

    # -- inference --------------------------------------------------------------------------------

    def complete(
        self, model_ref: str, batch: Sequence[Sequence[ChatMessage]], *, max_output_tokens: int
    ) -> tuple[Completion, ...]:
        """Answers to a batch of chats, greedy. `model_ref` is an artifact's callable id, or a base
        model's name."""
        raise self._lacks("complete")

    def stream(
        self, model_ref: str, messages: Sequence[ChatMessage], *, max_output_tokens: int
    ) -> Iterator[str]:
        """Pieces of one answer as they come; the default gives the whole answer at once."""
        yield self.complete(model_ref, [messages], max_output_tokens=max_output_tokens)[0].text

    def untuned(self, model_ref: str, base: str) -> str:
        """What to ask to compare the tuned model `model_ref` with what it was: the base's own name, or a
        reference to the base exactly as the tuned model holds it. No network."""
        return base

    def score(
        self, model_ref: str, examples: Sequence[tuple[Sequence[Message], Message]]
    ) -> tuple[Score, ...]:
        """Log-probability of each answer given its prompt."""
        raise self._lacks("score")

    def merge(self, model_ref: str, out: Path, *, card: str) -> Merged:
        """Write a tuned model as one that stands alone, in a new folder that appears whole or not at all.

        Args:
            model_ref: an artifact's callable id.
            out: the folder, which must not exist.
            card: what its README.md says.

        Raises:
            Unsupported: the weights are not on this machine, or stand alone already.
            SettingsError: the folder exists, or cannot be written.
        """
        raise self._lacks("merge")

    def classify(self, error: Exception) -> BackendError:
        """The typed error for an exception of the vendor's SDK, by its type and status."""
        if isinstance(error, BackendError):
            return error
        return BackendError(f"failed with {type(error).__name__}", backend=self.name)

    def preview(self, model: ModelFacts, row: Row) -> list[tuple[str, bool]]:
        """The row exactly as the model sees it, in pieces; True marks trained tokens."""
        raise self._lacks("preview")

    def _lacks(self, call: str) -> Unsupported:
        return Unsupported(
            f"{self.facts.title} cannot `{call}` through Tunegate yet",
            place=self.name,
            fix="choose a backend that can: `tunegate backends list`",
        )


def _no_credential(name: str) -> str | None:
    return None


class ProxyCounter:
    """Counts by UTF-8 bytes where a vendor publishes no tokenizer; `band` says how wrong it may be."""

    def __init__(self, name: str, *, bytes_per_token: float, per_message: int, band: float) -> None:
        self.method = f"{name} (proxy, ±{band:.0%})"
        self.band = band
        self._bytes_per_token = bytes_per_token
        self._per_message = per_message

    def count(self, row: Row) -> int:
        turns = (*row.messages, *row.chosen, *row.rejected)
        size = sum(
            len(turn.content.encode()) + sum(len(call.arguments) for call in turn.tool_calls)
            for turn in turns
        )
        return round(size / self._bytes_per_token) + self._per_message * len(turns)
