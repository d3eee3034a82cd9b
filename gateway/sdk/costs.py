"""`gw.costs`: the price book, what this machine was measured to take, and how far estimates were off."""

from __future__ import annotations

import builtins
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from backends import registry
from cost import Accuracy, Outcome, PriceBook, accuracy
from gateway.core.estimate import Range
from gateway.core.facts import PriceLine
from gateway.core.job import JobState
from gateway.core.spec import JobSpec
from gateway.sdk.probing import Lies, Probed, everywhere, example_spec, probe
from gateway.sdk.rooms import LIVE_PRICES

if TYPE_CHECKING:
    from cost.live import Lists
    from gateway.jobs.model import Job
    from gateway.sdk.rooms import Rooms

_MOST_JOBS = 200
_LOOKED_AT = 10  # for a plan


@dataclass(frozen=True, slots=True)
class LivePrices:
    """What the public lists said just now.

    Attributes:
        rows: one price each, beside the book's; money as decimal strings.
        notes: what was left out, and why.
        used: whether plans use them where they are newer than the book's.
    """

    rows: tuple[Mapping[str, Any], ...]
    notes: tuple[str, ...]
    used: bool

    def to_json(self) -> dict[str, Any]:
        return {
            "schema": "tunegate.live-prices/1",
            "used": self.used,
            "prices": [dict(row) for row in self.rows],
            "notes": list(self.notes),
        }


class Costs:
    """`gw.costs`: the price book, and how far estimates were off."""

    def __init__(self, rooms: Rooms) -> None:
        self._rooms = rooms

    def prices(
        self, backend: str | None = None, *, as_of: date | None = None
    ) -> builtins.list[dict[str, Any]]:
        """Every price line with its age, those entered by the operator first; money as decimal strings.

        Raises:
            SettingsError: no backend has this name.
        """
        if backend is not None:
            registry.facts(backend)
        today = as_of or self._rooms.clock().date()
        return [
            {
                "backend": name,
                "item": line.item,
                "models": ", ".join(line.models),
                "regions": ", ".join(line.regions),
                "offers": ", ".join(line.offers),
                "value": str(line.value),
                "unit": line.unit,
                "currency": line.currency,
                "from": line.starts and line.starts.isoformat(),
                "until": line.until and line.until.isoformat(),
                "source": line.source.url,
                "as_of": line.source.as_of.isoformat(),
                "age_days": (today - line.source.as_of).days,
                "confidence": str(line.source.confidence),
                "note": line.source.note,
            }
            for name, line in self._rooms.book.lines(backend, today)
        ]

    def live(self, *, lists: Lists | None = None) -> LivePrices:
        """Read the public price lists, keep what was read with its day, and show it beside the book.
        Uses the network. The book is as it was: see `live_prices` in the settings.

        Args:
            lists: where the lists are; default: at their publishers'.

        Raises:
            Unreachable: a list does not answer. Nothing is kept then.
        """
        from cost.live import dump, read_live
        from gateway.data import write_atomically

        today = self._rooms.clock().date()
        read = read_live(self._rooms.facts, today, lists=lists)
        write_atomically(self._rooms.home / LIVE_PRICES, [dump(read)])
        book = PriceBook(self._rooms.facts, self._rooms.settings.prices)
        rows = tuple(_beside_book(backend, line, book, today) for backend, line in read.prices)
        return LivePrices(rows, read.notes, used=self._rooms.settings.live_prices)

    def accuracy(self) -> tuple[Accuracy, ...]:
        """How far the estimates of the last 200 finished jobs were off, by backend."""
        return accuracy(self.outcomes())

    def outcomes(self) -> builtins.list[Outcome]:
        """The last 200 jobs that succeeded: what their plans said, and what they came to. Newest first."""
        return outcomes(self._rooms, _MOST_JOBS)

    def probe(
        self,
        spec: JobSpec | str | Path | None = None,
        *,
        steps: int = 20,
        on_progress: Callable[[int, int], None] | None = None,
    ) -> Probed:
        """Take some real steps of a job on this machine, in a process of its own, and keep what they took:
        the next plans use it in place of what is assumed. Nothing that was trained is kept.

        Args:
            spec: the job; None: made rows on a base that is here.
            on_progress: told how much of the embedded base is built, in percent, where that comes first.

        Raises:
            NothingCanRun: the plan has no place on this machine for it.
            BackendError: the steps could not be taken.
        """
        if spec is not None:
            return probe(self._rooms, _spec(spec), steps=steps, on_progress=on_progress)
        with TemporaryDirectory() as folder:
            made = example_spec(self._rooms, Path(folder))
            return probe(self._rooms, made, steps=steps, on_progress=on_progress)

    def fits(self, spec: JobSpec | str | Path) -> builtins.list[Lies]:
        """Memory and time of the job with every method, on this machine and on every GPU in the catalogue.

        Raises:
            NothingCanRun: the sizes of the spec's models are not known here.
        """
        return everywhere(self._rooms, _spec(spec))


def _spec(spec: JobSpec | str | Path) -> JobSpec:
    return spec if isinstance(spec, JobSpec) else JobSpec.from_yaml(spec)


def _beside_book(backend: str, line: PriceLine, book: PriceBook, on: date) -> dict[str, Any]:
    """A price that was read, and what the book says for the same place; null where it says nothing."""
    model, region, offer = line.models[0], line.regions[0], line.offers[0]
    quote = book.quote(backend, line.item, model, region, offer, on)
    stated = quote.line if quote.line and quote.line.unit == line.unit else None
    return {
        "backend": backend,
        "item": line.item,
        "model": model,
        "region": region,
        "offer": offer,
        "live": str(line.value.normalize() if line.value < 1 else line.value.quantize(Decimal("0.01"))),
        "book": stated and str(stated.value),
        "difference": None if stated is None else _difference(line.value, stated.value),
        "unit": line.unit,
        "book_as_of": stated and stated.source.as_of.isoformat(),
        "source": line.source.url,
        "as_of": line.source.as_of.isoformat(),
        "note": line.source.note,
    }


def _difference(live: Decimal, book: Decimal) -> str:
    if live == book:
        return "0 %"
    return f"{(live / book - 1) * 100:+.1f} %" if book else "new"


def outcomes(rooms: Rooms, most: int) -> builtins.list[Outcome]:
    """The newest jobs that succeeded, beside their plans."""
    jobs = rooms.store.list(states=(JobState.SUCCEEDED,), limit=most)
    return [outcome_of(job, rooms.store.plan(job.id)) for job in jobs]


def how_far_off(rooms: Rooms) -> dict[str, str]:
    """Backend → how far the last estimates for it were off, for the next plan. A plan opens no store that
    is not there, and looks at few jobs: it is to be quick."""
    if not rooms.has_store:
        return {}
    told = {each.backend: each.sentence() for each in accuracy(outcomes(rooms, _LOOKED_AT))}
    return {backend: sentence for backend, sentence in told.items() if sentence}


def outcome_of(job: Job, plan: Mapping[str, Any]) -> Outcome:
    """A finished job beside its plan's own figures for the candidate it went to."""
    names = ("backend", "model", "region", "offer")
    candidates: Sequence[Mapping[str, Any]] = plan.get("candidates", ())
    nothing: Mapping[str, Any] = {}
    planned = next((each for each in candidates if all(each[n] == getattr(job, n) for n in names)), nothing)
    estimate: Mapping[str, Any] = planned.get("estimate") or nothing
    hours = None
    if job.started_at is not None and job.ended_at is not None:
        hours = Decimal(str((job.ended_at - job.started_at).total_seconds() / 3600))
    return Outcome(
        job=job.id,
        backend=job.backend,
        model=job.model,
        planned_usd=_range(estimate.get("training_usd")),
        actual_usd=job.actual_usd,
        planned_h=_range(planned.get("duration_h")),
        actual_h=hours,
    )


def _range(told: Mapping[str, str] | None) -> Range | None:
    return Range(Decimal(told["low"]), Decimal(told["likely"]), Decimal(told["high"])) if told else None
