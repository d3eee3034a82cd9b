"""`gw.data`: look at a dataset before anything is done with it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from datetime import date, timedelta
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from gateway.core.classes import DataClass
from gateway.core.errors import SpecError
from gateway.core.rows import Finding, Row, ScanSummary
from gateway.core.spec import JobSpec
from gateway.sdk.planning import chosen_backends
from gateway.sdk.profiling import models_of
from gateway.sdk.scanning import InContext, beside, in_context, recorded, scanned, write_report
from gateway.sdk.scrubbing import as_used, is_spec, scrub

if TYPE_CHECKING:
    from gateway.core.rows import FileStats
    from gateway.data import CheckReport
    from gateway.privacy.ner import Ner
    from gateway.privacy.scrubbing import ScrubReport
    from gateway.sdk.answers import ReviewAnswer
    from gateway.sdk.review import ReviewOutcome, ReviewSample
    from gateway.sdk.rooms import Rooms

OnProgress = Callable[[int, int], None]
Pieces = list[tuple[str, bool]]


class Datasets:
    def __init__(self, rooms: Rooms) -> None:
        self._rooms = rooms

    def check(self, spec: JobSpec, *, on_progress: OnProgress | None = None) -> CheckReport:
        """Read every row: how many can be used, and why others cannot. Holds no text.

        Raises:
            DataError: a file cannot be read at all.
        """
        from gateway.data import check, open_dataset

        return check(open_dataset(spec.data, spec.folder, task=spec.task), on_progress=on_progress)

    def scan(
        self,
        spec: JobSpec,
        *,
        on_finding: Callable[[Finding], None] | None = None,
        every: bool = False,
        ner: str | Path | None = None,
        on_progress: OnProgress | None = None,
    ) -> tuple[ScanSummary, int]:
        """Look for personal and health data; types, places and counts, never the text.

        Args:
            on_finding: told every finding at or above the flag threshold, as it is found.
            every: tell those below the threshold too; they count for nothing.
            ner: the folder of a token-classification model that reads beside the rules; default: the
                settings' own, if any. Plans go by the settings.

        Returns:
            What was found, and how many bytes were looked at.
        """
        from gateway.data import open_dataset
        from gateway.privacy import THRESHOLD, scan_dataset

        used = as_used(self._rooms, spec, on_progress=on_progress)
        dataset = open_dataset(used.data, used.folder, task=used.task)
        reader = self._reader(ner)
        if on_finding is None:
            totals = scanned(self._rooms, dataset, beside(spec), on_progress, reader)
            recorded(self._rooms, dataset, totals, reader)
            return totals, dataset.bytes
        floor, outside = 0.0 if every else THRESHOLD, beside(spec)
        totals = scan_dataset(
            dataset, on_finding=on_finding, floor=floor, beside=outside, on_progress=on_progress, ner=reader
        )
        recorded(self._rooms, dataset, totals, reader)
        return totals, dataset.bytes

    def _reader(self, ner: str | Path | None) -> Ner | None:
        from gateway.privacy.ner import Ner

        return Ner(Path(ner)) if ner else self._rooms.ner

    def scan_report(
        self,
        spec: JobSpec,
        path: Path,
        *,
        ner: str | Path | None = None,
        on_progress: OnProgress | None = None,
    ) -> ScanSummary:
        """Scan, and write a self-contained HTML page for an officer: types, places, counts, limits; no text.

        Raises:
            DataError: the data cannot be read to its end, or the page cannot be written.
        """
        from gateway.data import open_dataset

        used = as_used(self._rooms, spec, on_progress=on_progress)
        dataset = open_dataset(used.data, used.folder, task=used.task)
        return write_report(
            self._rooms, dataset, beside(spec), spec.name, path, on_progress, self._reader(ner)
        )

    def in_context(
        self, spec: JobSpec, *, width: int = 40, ner: str | Path | None = None
    ) -> Iterator[InContext]:
        """Findings with the text around them: only for whoever may see the data."""
        from gateway.data import open_dataset

        used = as_used(self._rooms, spec)
        return in_context(open_dataset(used.data, used.folder, task=used.task), width, self._reader(ner))

    def show(self, spec: JobSpec, *, backend: str = "local", number: int = 2) -> Iterator[tuple[int, Pieces]]:
        """Examples exactly as the model sees them: (line, pieces); True marks trained text."""
        from gateway.data import open_dataset

        runner = self._rooms.backend(backend)
        models = models_of(runner, spec)
        if not models:
            raise SpecError(
                f"{backend} offers none of the models this spec names",
                place="model",
                fix="name one it has: `tunegate models list`",
            )
        used = as_used(self._rooms, spec)
        dataset = open_dataset(used.data, used.folder, task=used.task)
        rows = (record.outcome for record in dataset.records() if isinstance(record.outcome, Row))
        return ((row.line, runner.preview(models[0], row)) for row in islice(rows, number))

    def convert(self, spec: JobSpec, *, backend: str, folder: Path) -> Iterator[tuple[Path, FileStats]]:
        """Write the files a backend would get, without sending them; one per split and format."""
        from gateway.data import assign_splits, open_dataset, write_split

        writer = chosen_backends(self._rooms, spec).get(backend) or self._rooms.backend(backend)
        used = as_used(self._rooms, spec)
        dataset = open_dataset(used.data, used.folder, task=used.task)
        assignment = assign_splits(dataset, used.data)
        for name in dict.fromkeys(writer.format(model, spec.task) for model in models_of(writer, spec)):
            for split in ("train", "validation"):
                if assignment.rows.get(split):
                    path = folder / f"{backend}-{name.removeprefix(backend + '-')}-{split}.jsonl"
                    yield (
                        path,
                        write_split(dataset, assignment, split, writer.convert(name), path, format=name),
                    )

    def scrub(
        self,
        what: JobSpec | str | Path,
        to: str | Path,
        *,
        dates: Literal["shift", "year"] = "shift",
        group_by: str | None = None,
        seed_file: str | Path | None = None,
        force: bool = False,
        on_progress: OnProgress | None = None,
    ) -> list[tuple[Path, ScrubReport]]:
        """Write a copy with stand-ins for what the scanner finds. Rules miss names: look at a sample.

        Args:
            what: a spec, or a spec file, or one data file of any columns.
            to: the output: a file, or a folder where the spec names several.
            dates: move each subject's dates by a secret number of weeks, or leave the year alone.
            group_by: the field that names the subject; default: the spec's.
            seed_file: a secret other than the home's own; the same secret gives the same stand-ins.
            force: replace an output that is there.

        Raises:
            DataError: a file cannot be read, or the output cannot be written; nothing is half-written.
        """
        found = what if isinstance(what, JobSpec) else _spec_or_file(Path(what))
        seed = Path(seed_file) if seed_file else None
        return scrub(
            self._rooms,
            found,
            Path(to),
            dates=dates,
            group_by=group_by,
            seed_file=seed,
            force=force,
            on_progress=on_progress,
        )

    def sample(
        self, what: JobSpec | str | Path, *, number: int = 300, seed: str | None = None
    ) -> ReviewSample:
        """Draw a random sample of what would be used: the scrubbed copy, where the spec asks for one.

        Raises:
            DataError: the data cannot be read.
        """
        from gateway.sdk.review import draw

        found = what if isinstance(what, JobSpec) else _spec_or_file(Path(what))
        return draw(self._rooms, found, number, seed)

    def answered(
        self, what: JobSpec | str | Path, answers: Path
    ) -> tuple[ReviewSample, tuple[ReviewAnswer, ...]]:
        """The sample that a file of answers is about, and the answers; see `ReviewSample.to_json`.

        Raises:
            DataError: the file makes no sense, leaves a record unanswered, or the data changed since.
        """
        from gateway.sdk.review import answered

        found = what if isinstance(what, JobSpec) else _spec_or_file(Path(what))
        return answered(self._rooms, found, answers)

    def conclude(
        self,
        sample: ReviewSample,
        answers: Sequence[ReviewAnswer],
        *,
        officer: str,
        key: str,
        to: DataClass = DataClass.INTERNAL,
        expires: date | None = None,
        folder: Path | None = None,
    ) -> ReviewOutcome:
        """Sign what an officer's answers support: one leak, and the class stays what it was.

        Args:
            officer: who signs, by the name under which their key is on file.
            key: the key: a file, or `env:NAME`, or `signer:NAME:ARGUMENT`.
            expires: the determination's last day; default: a year from today.
            folder: where the signed files go; default: the home's own, where every plan looks.

        Raises:
            DataError: an answer does not fit the sample.
            RecordError: the key cannot sign, or what was signed cannot be recorded.
        """
        from gateway.sdk.review import conclude

        last = expires or self._rooms.clock().date() + timedelta(days=365)
        return conclude(
            self._rooms, sample, answers, officer=officer, key=key, to=to, expires=last, out=folder
        )

    def fetch(self, url: str, folder: Path, *, on_progress: OnProgress | None = None) -> Path:
        """Bring a data file here, under a name that begins with its hash. Uses the network.

        Raises:
            DataError: the address may not be used, or the download failed.
        """
        from gateway.data import fetch

        if on_progress is None:
            return fetch(url, folder)
        return fetch(url, folder, on_progress=lambda done, total: on_progress(done, total or 0))


def _spec_or_file(path: Path) -> JobSpec | Path:
    return JobSpec.from_yaml(path) if is_spec(path) else path
