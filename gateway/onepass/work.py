"""What is done with a batch of lines: read, checked, counted, split and scanned; in whichever process."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from pydantic import BaseModel, ConfigDict

from backends import registry
from gateway.core.job import Site
from gateway.core.rows import Message, Row, Split, TokenCounter
from gateway.core.spec import Data
from gateway.crew import Batch
from gateway.data import Checks, Dataset, Observer, Record, Source, SplitCollector, Tokens
from gateway.data.formats import Format
from gateway.data.lines import raw_record
from gateway.privacy import Scanner, hand
from gateway.privacy.totals import from_json, to_json

MAKER = f"{__name__}:make"
# Nobody's; it makes a counter load its vocabulary.
_MADE_UP = Record(0, 1, {}, Row(1, (Message("user", "How many?"), Message("assistant", "7"))), 1)


class CounterName(BaseModel):
    """A token counter as another process can make it: its backend is asked for its model's."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    backend: str
    model: str
    options: dict[str, Any] = {}

    def make(self, home: Path) -> TokenCounter:
        backend = registry.create(self.backend, home).at(Site(self.backend, options=self.options))
        model = backend.resolve(self.model)
        if model is None:
            raise LookupError(self.backend)
        return backend.counter(model)


class Task(BaseModel):
    """What a process is told before its first batch."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    data: str  # JSON of the spec's `data`
    task: str
    formats: list[Format]
    splits: list[Split | None]
    salt: str
    common: str | None
    counters: list[CounterName]
    home: Path
    scans: bool = False
    beside: dict[str, Any] = {}

    @classmethod
    def of(
        cls, dataset: Dataset, salt: bytes, common: bytes | None, counters: Sequence[CounterName], home: Path
    ) -> Task:
        return cls(
            data=dataset.data.model_dump_json(by_alias=True),
            task=dataset.task,
            formats=[source.format for source in dataset.sources],
            splits=[source.split for source in dataset.sources],
            salt=salt.hex(),
            common=None if common is None else common.hex(),
            counters=list(counters),
            home=home,
        )

    def dataset(self) -> Dataset:
        """The dataset as far as its records are concerned; its files are read elsewhere."""
        sources = (
            Source(Path(), "", "jsonl", False, ",", format, 0, 0, split)
            for format, split in zip(self.formats, self.splits, strict=True)
        )
        return Dataset(Data.model_validate_json(self.data), self.task, tuple(sources))


class Shared(Observer, Protocol):
    """An observer whose work another process can do: it hands over what it saw, and another adds it."""

    def hand_over(self) -> Any:
        """What was seen since the last time, as JSON values; holds no text."""
        ...

    def add(self, part: Any) -> None: ...


@dataclass(slots=True)
class Scans:
    """The scanner as a shared observer."""

    scanner: Scanner

    def see(self, record: Record) -> None:
        self.scanner.see(record)

    def hand_over(self) -> Any:
        return to_json(self.scanner.hand_over())

    def add(self, part: Any) -> None:
        self.scanner.add(from_json(part))


def observers(task: Task, dataset: Dataset) -> list[Shared]:
    """The observers of one process, in the order in which everybody has them, their lists loaded."""
    common = None if task.common is None else bytes.fromhex(task.common)
    found: list[Shared] = [Checks(), SplitCollector(dataset, salt=bytes.fromhex(task.salt), common=common)]
    found += [Tokens(name.make(task.home)) for name in task.counters]
    if task.scans:
        hand.load()
        found.append(Scans(Scanner()))
    Reader(dataset, found).show(_MADE_UP)
    for each in found:
        each.hand_over()
    return found


class Reader:
    """Makes records of lines, and shows them to observers."""

    def __init__(self, dataset: Dataset, seers: Sequence[Observer]) -> None:
        self._outcome_of = dataset.outcomes()
        self._sees = [seer.see for seer in seers]

    def read(self, batch: Batch) -> None:
        for number, line in zip(batch.numbers, batch.lines, strict=True):
            raw = raw_record(number, len(line or b""), line)
            self.show(Record(batch.file, number, raw.value, self._outcome_of(raw, batch.file), raw.size))

    def show(self, record: Record) -> None:
        for see in self._sees:
            see(record)


def make(told: bytes) -> Reading:
    return Reading(Task.model_validate_json(told))


class Reading:
    """A pass's part in another process: shows batches to its observers, and hands over what they saw."""

    def __init__(self, task: Task) -> None:
        self._beside, dataset = task.beside, task.dataset()
        self._seers = observers(task, dataset)
        self._reader = Reader(dataset, self._seers)

    def hello(self) -> list[Any]:
        """What stands beside the rows, as if it had been a batch."""
        for seer in self._seers:
            if isinstance(seer, Scans):
                seer.scanner = Scanner(beside=self._beside)
        return [seer.hand_over() for seer in self._seers]

    def read(self, batch: Batch) -> list[Any]:
        self._reader.read(batch)
        return [seer.hand_over() for seer in self._seers]
