"""The interface every backend speaks, and the loader of its facts.

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

import re
import tomllib
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from functools import cache
from pathlib import Path
from typing import Any, ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from gateway.core.errors import BackendError, SettingsError, Unsupported
from gateway.core.facts import (
    Confidence,
    Facts,
    Handling,
    Lifecycle,
    Lookup,
    LookupHow,
    ModelFacts,
    Offer,
    PriceItem,
    PriceLine,
    PriceUnit,
    Source,
)
from gateway.core.job import Artifact, ChatMessage, Completion, Event, RemoteRef, Score, Snapshot
from gateway.core.plan import CandidateKey, FieldOutcome, Fit, Machine, ModelShape, ProviderFile, Translation
from gateway.core.rows import Convert, DataProfile, Message, Row, TokenCounter
from gateway.core.spec import Hyperparameters, JobSpec


@dataclass(frozen=True, slots=True)
class Staged:
    """A file where the backend can read it: the provider's file id or URI."""

    file: ProviderFile
    uri: str


@dataclass(frozen=True, slots=True)
class Handover:
    """What a job that outlives its caller must know: the command to run when training has ended."""

    job_id: str
    folder: Path
    when_done: tuple[str, ...] = ()


class NoOptions(BaseModel):
    """`options.<backend>` of a backend that takes none."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Backend(ABC):
    """One place that can fine-tune. Constructing it does no I/O and imports no SDK.

    Args:
        facts: what is known of this backend.
        home: folder this backend may keep its own files in (caches, base models).

    Attributes:
        options: pydantic model of `options.<backend>` in a spec.
        dispatches: True once `stage`, `submit` and `poll` are built; until then a plan is exact but
            its candidates here are `unavailable`.
    """

    options: ClassVar[type[BaseModel]] = NoOptions
    dispatches: ClassVar[bool] = False

    def __init__(self, facts: Facts, home: Path) -> None:
        self.facts = facts
        self.home = home

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

    def absent(self, model: ModelFacts) -> str | None:
        """Why this model's weights cannot be trained on just now, and what brings them here; None
        when nothing is missing. No network."""
        return None

    def machines(self) -> tuple[Machine, ...]:
        """Machines this backend would train on; empty for managed backends. Imports no SDK."""
        return ()

    # -- lifecycle: the only part that touches a network or a process -----------------------------

    def stage(self, file: ProviderFile, path: Path, *, key: str) -> Staged:
        """Bring a file to the backend. Content-addressed: the same bytes are not sent twice, and
        a lost reply is found again by listing."""
        raise self._lacks("stage")

    def submit(
        self, translation: Translation, staged: Sequence[Staged], *, key: str, handover: Handover
    ) -> RemoteRef:
        """Start the job. The same key is the same job, whatever crashed in between."""
        raise self._lacks("submit")

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
        raise self._lacks("deploy")

    def undeploy(self, ref: RemoteRef) -> None:
        raise self._lacks("undeploy")

    def delete(self, ref: RemoteRef) -> None:
        """Remove what was uploaded and left at the backend. On a job that is gone: no error."""
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

    def score(
        self, model_ref: str, examples: Sequence[tuple[Sequence[Message], Message]]
    ) -> tuple[Score, ...]:
        """Log-probability of each answer given its prompt."""
        raise self._lacks("score")

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


# -- facts.toml ----------------------------------------------------------------------------------


class _Table(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class _Source(_Table):
    url: str
    as_of: date
    confidence: Confidence
    note: str = ""


class _Lookup(_Table):
    how: LookupHow
    text: str
    source: str


class _Model(_Table):
    name: str
    id: str
    family: str
    regions: tuple[str, ...]
    offers: tuple[str, ...]
    tasks: tuple[Literal["sft", "dpo"], ...]
    methods: tuple[Literal["lora", "qlora", "full"], ...]
    tokenizer: str
    source: str
    aliases: tuple[str, ...] = ()
    max_tokens_per_row: int | None = None
    min_rows: int = 1
    max_rows: int | None = None
    tools: bool = False
    parameters: int | None = None


class _Offer(_Table):
    name: str
    residency: str = Field(pattern=r"^(local|region|global|zone:[a-z]{2})$")
    text: str
    source: str


class _Lifecycle(_Table):
    what: Literal["training", "serving"]
    models: tuple[str, ...]
    text: str
    source: str
    starts: date | None = Field(None, alias="from")
    until: date | None = None
    requires: str | None = None


class _Handling(_Table):
    attribute: str
    value: bool | str | tuple[str, ...]
    text: str
    source: str


class _Price(_Table):
    item: PriceItem
    models: tuple[str, ...]
    regions: tuple[str, ...] = ("*",)
    offers: tuple[str, ...] = ("*",)
    value: Decimal = Field(ge=0)
    unit: PriceUnit
    source: str
    starts: date | None = Field(None, alias="from")
    until: date | None = None
    currency: str = "USD"


class _FactsFile(_Table):
    schema_: Literal[1] = Field(alias="schema")
    backend: str
    title: str
    kind: Literal["managed", "local"]
    package: str | None = None
    extra: str | None = None
    sources: dict[str, _Source]
    lookup: _Lookup
    models: tuple[_Model, ...] = ()
    offers: tuple[_Offer, ...] = ()
    lifecycle: tuple[_Lifecycle, ...] = ()
    handling: tuple[_Handling, ...] = ()
    prices: tuple[_Price, ...] = ()


@cache
def load_facts(path: Path) -> Facts:
    """Read one `facts.toml`; floats become `Decimal`, every source name is resolved.

    Raises:
        SettingsError: the file does not have the shape of `gateway.core.facts`, or names a source,
            model or offer that it does not define.
    """
    try:
        with path.open("rb") as file:
            table = _FactsFile.model_validate(tomllib.load(file, parse_float=Decimal))
        return _assemble(table)
    except (OSError, tomllib.TOMLDecodeError, KeyError) as error:
        raise SettingsError(f"these facts cannot be used: {error}", place=str(path)) from error
    except ValidationError as error:
        where = "; ".join(
            f"{'.'.join(str(part) for part in item['loc'])}: {item['msg']}"
            for item in error.errors(include_url=False, include_input=False)
        )
        raise SettingsError(f"these facts cannot be used: {where}", place=str(path)) from error


def _assemble(table: _FactsFile) -> Facts:
    sources = {name: Source(name=name, **dict(source)) for name, source in table.sources.items()}
    known = {model.name for model in table.models}

    def sourced(row: BaseModel) -> dict[str, Any]:
        values = dict(row)
        return {**values, "source": sources[values["source"]]}

    for row in (*table.lifecycle, *table.prices):
        if unknown := set(row.models) - known - {"*"}:
            raise KeyError(f"{sorted(unknown)} is no model of this file")
    for model in table.models:
        if unknown := set(model.offers) - {offer.name for offer in table.offers}:
            raise KeyError(f"{sorted(unknown)} is no offer of this file")
    return Facts(
        backend=table.backend,
        title=table.title,
        kind=table.kind,
        package=table.package,
        extra=table.extra,
        sources=tuple(sources.values()),
        lookup=Lookup(**sourced(table.lookup)),
        models=tuple(ModelFacts(**sourced(row)) for row in table.models),
        offers=tuple(Offer(**sourced(row)) for row in table.offers),
        lifecycle=tuple(Lifecycle(**sourced(row)) for row in table.lifecycle),
        handling=tuple(Handling(**sourced(row)) for row in table.handling),
        prices=tuple(PriceLine(**sourced(row)) for row in table.prices),
    )


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


def every_field(spec: JobSpec) -> Iterator[tuple[str, object]]:
    """Dotted path and JSON value of every leaf of a spec: what a translation must account for."""
    yield from _leaves(spec.to_json(), "")


def _leaves(value: object, path: str) -> Iterator[tuple[str, object]]:
    if isinstance(value, Mapping) and value:
        for key, item in value.items():  # pyright: ignore[reportUnknownVariableType]
            yield from _leaves(item, f"{path}.{key}" if path else str(key))  # pyright: ignore[reportUnknownArgumentType]
    else:
        yield path, value


_DEFAULTS = dict(_leaves(Hyperparameters().model_dump(mode="json"), "hyperparameters"))  # pyright: ignore[reportCallIssue]


class _Last:
    """The fields of the spec seen last: a plan translates one spec for a thousand candidates."""

    seen: tuple[JobSpec, Mapping[str, object]] | None = None


def _fields_of(spec: JobSpec) -> Mapping[str, object]:
    seen = _Last.seen  # read once: another thread may replace it
    if seen is None or seen[0] is not spec:
        _Last.seen = seen = (spec, dict(every_field(spec)))
    return seen[1]


class Ledger:
    """What becomes of every field of a spec in one translation: kept, changed or refused, once each.

    Written while the requests are built and closed at the end. A field that was forgotten is a bug
    that `close` raises, never a silence. A path stands for all leaves under it that are still open.
    """

    def __init__(self, spec: JobSpec) -> None:
        self._before = _fields_of(spec)
        self._outcomes: dict[str, FieldOutcome] = {}

    def kept(self, path: str, why: str | None = None) -> None:
        for leaf in self._open(path):
            value = self._before[leaf]
            self._outcomes[leaf] = FieldOutcome(leaf, "kept", value, value, why)

    def changed(self, path: str, after: object, why: str) -> None:
        """`after` is what the backend gets instead; None when it gets nothing."""
        for leaf in self._open(path):
            self._outcomes[leaf] = FieldOutcome(leaf, "changed", self._before[leaf], after, why)

    def refused(self, path: str, why: str) -> None:
        for leaf in self._open(path):
            self._outcomes[leaf] = FieldOutcome(leaf, "refused", self._before[leaf], None, why)

    def not_taken(self, path: str, why: str) -> None:
        """A hyperparameter the service has no setting for: left to it at its default, refused when
        somebody asked for another value."""
        for leaf in self._open(path):
            if self._before[leaf] == _DEFAULTS[leaf]:
                self.changed(leaf, None, why)
            else:
                self.refused(leaf, why)

    def row_length(self, longest: int | None, limit: int | None, *, cuts: bool) -> None:
        """Account for `max_length` and `too_long` where the service takes neither.

        Args:
            longest: tokens of the longest row, None when rows were not counted.
            limit: the service's own limit in tokens, None when it states none.
            cuts: whether the service cuts the tail of longer rows (else it drops or refuses them).
        """
        path, wanted = "hyperparameters.max_length", self._before["hyperparameters.max_length"]
        if not isinstance(wanted, int):
            self.changed(path, limit, "the service's own limit" if limit else "the service states no limit")
        elif longest is not None and longest <= wanted:
            self.kept(path, f"not a setting there; the longest row has {longest} tokens")
        else:
            has = "rows were not counted" if longest is None else f"the longest row has {longest} tokens"
            self.refused(path, f"not a setting there, and {has}; shorten the rows or raise it")
        fits = longest is not None and (limit is None or longest <= limit)
        if self._before["data.too_long"] == "refuse" or fits:
            self.kept("data.too_long", "used by Tunegate itself")
        elif cuts:
            self.kept("data.too_long", f"the service cuts rows at {limit} tokens, from the end")
        else:
            self.refused("data.too_long", "the service does not cut long rows; shorten them beforehand")

    def ours(self) -> None:
        """Keep what never goes to a provider, and what was written for other backends."""
        for path in ("version", "name", "team", "data", "evaluate", "route", "serving", "options"):
            self.kept(path, "used by Tunegate itself")

    def close(self) -> tuple[FieldOutcome, ...]:
        """Every outcome, in the spec's order.

        Raises:
            ValueError: some field was not accounted for; the message names it.
        """
        if forgotten := [path for path in self._before if path not in self._outcomes]:
            raise ValueError(f"no outcome for {', '.join(forgotten)}")
        return tuple(self._outcomes[path] for path in self._before)

    def _open(self, path: str) -> list[str]:
        if path in self._before:
            return [] if path in self._outcomes else [path]
        under = f"{path}."
        return [leaf for leaf in self._before if leaf not in self._outcomes and leaf.startswith(under)]


def files_to_send(profile: DataProfile, format: str) -> tuple[ProviderFile, ...]:
    """Training and validation rows in that format; the test split never leaves.

    Before conversion a file's `sha256` is None and its rows are those of the split.
    """
    done = {stats.split: stats for stats in profile.converted.get(format, ())}
    files: list[ProviderFile] = []
    for split in ("train", "validation"):
        rows = profile.split_rows.get(split, 0)
        name = f"{split}.jsonl"
        if stats := done.get(split):
            counts = (stats.rows_in, stats.rows_out, stats.refused, stats.sha256)
            files.append(ProviderFile(name, split, format, *counts))
        elif rows:
            files.append(ProviderFile(name, split, format, rows, rows, {}, None))
    return tuple(files)


# What is only known after staging stands in a request as one of these, until `fill` at submit.
KEY = "{key}"
_SHORT_KEY = re.compile(r"\{key:(\d+)\}")


def longest_row(profile: DataProfile, counter: TokenCounter) -> int | None:
    """Tokens of the longest row by that counter; None when it did not count."""
    stats = profile.tokens.get(counter.method)
    return stats.longest if stats else None


def staged_at(name: str) -> str:
    """Stands for the provider's id or URI of a file."""
    return f"{{staged:{name}}}"


def fill(body: Any, places: Mapping[str, str], key: str) -> Any:
    """A request body with its placeholders replaced.

    Args:
        body: JSON value; `{staged:<file name>}`, `{key}` and `{key:<n>}` (its first n characters)
            are replaced wherever a string holds them.
        places: file name → the provider's id or URI.
        key: the job's idempotency key.
    """
    if isinstance(body, str):
        for name, place in places.items():
            body = body.replace(staged_at(name), place)
        short = _SHORT_KEY.sub(lambda match: key[: int(match[1])], body)
        return short.replace(KEY, key)
    if isinstance(body, Mapping):
        return {name: fill(value, places, key) for name, value in body.items()}  # pyright: ignore[reportUnknownVariableType]
    if isinstance(body, list | tuple):
        return [fill(value, places, key) for value in body]  # pyright: ignore[reportUnknownVariableType]
    return body


def check_options(model: type[BaseModel], values: Mapping[str, Any]) -> BaseModel:
    """`options.<backend>` as that backend's own model; pydantic's error is the caller's to report."""
    return TypeAdapter(model).validate_python(dict(values))


def utc(moment: datetime) -> datetime:
    """Refuse naive times at the door: a clock without a zone is a bug."""
    if moment.tzinfo is None:
        raise ValueError("a time without a zone")
    return moment
