"""`gw.data`: look at a dataset before anything is done with it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

from gateway.core.errors import SpecError
from gateway.core.rows import Finding, Row, ScanSummary
from gateway.core.spec import JobSpec
from gateway.sdk.planning import beside, chosen_backends, models_of

if TYPE_CHECKING:
    from gateway.core.rows import FileStats
    from gateway.data import CheckReport
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
        on_progress: OnProgress | None = None,
    ) -> tuple[ScanSummary, int]:
        """Look for personal and health data; types, places and counts, never the text.

        Args:
            on_finding: told every finding at or above the flag threshold, as it is found.
            every: tell those below the threshold too; they count for nothing.

        Returns:
            What was found, and how many bytes were looked at.
        """
        from gateway.data import open_dataset, run_pass
        from gateway.privacy import THRESHOLD, Scanner

        dataset = open_dataset(spec.data, spec.folder, task=spec.task)
        floor = 0.0 if every else THRESHOLD
        scanner = Scanner(on_finding=on_finding, floor=floor, beside=beside(spec))
        run_pass(dataset, [scanner], on_progress)
        return scanner.summary(), dataset.bytes

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
        dataset = open_dataset(spec.data, spec.folder, task=spec.task)
        rows = (record.outcome for record in dataset.records() if isinstance(record.outcome, Row))
        return ((row.line, runner.preview(models[0], row)) for row in islice(rows, number))

    def convert(self, spec: JobSpec, *, backend: str, folder: Path) -> Iterator[tuple[Path, FileStats]]:
        """Write the files a backend would get, without sending them; one per split and format."""
        from gateway.data import assign_splits, open_dataset, write_split

        writer = chosen_backends(self._rooms, spec).get(backend) or self._rooms.backend(backend)
        dataset = open_dataset(spec.data, spec.folder, task=spec.task)
        assignment = assign_splits(dataset, spec.data)
        for name in dict.fromkeys(writer.format(model, spec.task) for model in models_of(writer, spec)):
            for split in ("train", "validation"):
                if assignment.rows.get(split):
                    path = folder / f"{backend}-{name}-{split}.jsonl"
                    yield (
                        path,
                        write_split(dataset, assignment, split, writer.convert(name), path, format=name),
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
