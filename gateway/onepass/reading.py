"""The pass itself: batches of lines to the helpers, and what they saw added up in reading order."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import Any, cast

from gateway.core.errors import DataError
from gateway.crew import Batch, Crew, Lost, batches, useful
from gateway.data import Checks, Dataset, Observer, OnProgress, RunPass, SplitCollector, Tokens, run_pass
from gateway.onepass.work import MAKER, CounterName, Reader, Scans, Shared, Task
from gateway.privacy import Scanner


@dataclass(frozen=True, slots=True)
class Helpers:
    """What helping processes are to do.

    Attributes:
        counters: the pass's token counters, in its order, as another process can make them.
        home: the home folder, where tokenizers are.
        beside: what is scanned with the rows and stands in none of them; see `Scanner`.
        processes: how many; None for as many as are worth while.
    """

    counters: tuple[CounterName, ...]
    home: Path
    beside: Mapping[str, Any] = field(default_factory=dict[str, Any])
    processes: int | None = None

    def number(self, dataset: Dataset) -> int:
        return useful(dataset) if self.processes is None else self.processes

    def scanner(self, dataset: Dataset) -> Scanner:
        """The scanner for a pass: where helpers scan, it loads nothing here."""
        return Scanner(beside=self.beside if self.number(dataset) < 2 else None)


def reader(helpers: Helpers) -> RunPass:
    """A pass that does what `run_pass` does, with helpers where they are worth while.

    It takes the observers of `gateway.data.profile`: checks, the split collector, a `Tokens` for each
    counter, and at the end a scanner; one that knows already is not asked again.
    """

    def read(dataset: Dataset, seers: Sequence[Observer], on_progress: OnProgress | None = None) -> None:
        if helpers.number(dataset) < 2:
            run_pass(dataset, seers, on_progress)
        else:
            _shared_pass(dataset, seers, helpers, on_progress)

    return read


def _shared_pass(
    dataset: Dataset, seers: Sequence[Observer], helpers: Helpers, on_progress: OnProgress | None
) -> None:
    scanner = next((Scans(seer) for seer in seers if isinstance(seer, Scanner)), None)
    partners = [cast("Shared", seer) for seer in seers if isinstance(seer, Checks | SplitCollector | Tokens)]
    partners += [scanner] if scanner else []
    salt = next(seer.salt for seer in seers if isinstance(seer, SplitCollector))
    found = batches(dataset, on_progress)
    seen, common = _learned(dataset, salt, found)
    task = Task.of(dataset, salt, common, helpers.counters, helpers.home)
    task = task.model_copy(update={"scans": scanner is not None, "beside": dict(helpers.beside)})
    with Crew(MAKER, task.model_dump_json().encode(), helpers.number(dataset)) as crew:
        read = (answer for _, answer in crew.answers(chain(seen, found)))
        for answer in chain([crew.hello], read):
            for partner, part in zip(partners, _known(answer), strict=True):
                partner.add(part)


def _known(answer: list[Any] | Lost) -> list[Any]:
    """What the observers hand over.

    Raises:
        DataError: a process ended, or failed.
    """
    if not isinstance(answer, Lost):
        return answer
    if answer.error is None:
        raise DataError(
            "a process that was reading the data has ended",
            fix="free some memory, then try again; the data are as they were",
        )
    raise DataError(
        f"a process that was reading the data failed ({answer.error})",
        fix="this is a fault of ours: please report it, with the versions that `tunegate --version` says",
    )


def _learned(dataset: Dataset, salt: bytes, found: Iterator[Batch]) -> tuple[list[Batch], bytes | None]:
    """What every process must know of the first rows to sketch the others, and those rows, to be read
    with the others. Nothing where no row is held out."""
    sample, seen = SplitCollector(dataset, salt=salt), list[Batch]()
    reader = Reader(dataset, [sample])
    while not sample.settled and (batch := next(found, None)) is not None:
        reader.read(batch)
        seen.append(batch)
    sample.settle()
    return seen, sample.common
