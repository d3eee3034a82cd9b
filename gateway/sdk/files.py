"""A job's data files, as its backend gets them; and, beside them, the rows kept for evaluation."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING

from gateway.core.errors import DataError
from gateway.core.job import Event
from gateway.core.plan import ProviderFile
from gateway.core.rows import Converted, FileStats, Row, Split
from gateway.core.spec import Data, JobSpec
from gateway.jobs.model import Job, time_ordered_id

if TYPE_CHECKING:
    from gateway.sdk.rooms import Rooms

HELD_OUT = "held-out.jsonl"
HELD_OUT_EVENT = "held_out"


def write_file(rooms: Rooms, job: Job, spec: JobSpec, file: ProviderFile) -> Path:
    """One of the job's files. The data is read and split once, for all of them: the others are written
    with the first, and are found here when they are asked for.

    Raises:
        DataError: the data is no longer what was planned. A file's own hash would not show it: rows that
            are held out are in none, and a managed backend is asked them all the same.
    """
    from gateway.data import SplitFile, assign_splits, open_dataset, write_splits

    folder = job.folder / "data"
    path, kept = folder / file.name, folder / HELD_OUT
    written = file.sha256 is not None and path.is_file() and _sha256(path) == file.sha256
    if written and (_noted(rooms, job) or not kept.exists()):
        return path
    dataset = open_dataset(spec.data, spec.folder, task=spec.task)
    assignment = assign_splits(dataset, spec.data)
    if assignment.hash != rooms.store.plan(job.id)["data"]["hash"]:
        raise DataError(
            "the data is no longer what was planned: it changed since",
            place=job.id,
            fix="plan and run again",
        )
    backend = rooms.backend(job.backend)
    files: dict[Split, SplitFile] = {
        each.split: SplitFile(folder / each.name, backend.convert(each.format), each.format)
        for each in job.translation.files
    }
    if assignment.rows.get("test"):
        files["test"] = SplitFile(kept, _canonical)
    stats = write_splits(dataset, assignment, files)
    if "test" in stats:
        _note(rooms, job, stats["test"])
    return path


def held_out(rooms: Rooms, job: Job, task: str) -> list[Row]:
    """The rows that were never trained on; empty where none were held out.

    Raises:
        DataError: they are no longer those that were noted when they were written. A managed backend would
            be asked them, and nobody decided about others.
    """
    from gateway.data import open_dataset

    path, noted = job.folder / "data" / HELD_OUT, _noted(rooms, job)
    found = _sha256(path) if path.is_file() else None
    if found != noted:
        what = "are gone" if found is None else "are not those that were planned: the file changed since"
        raise DataError(f"the held-out rows {what}", place=str(path), fix="plan and run again")
    if found is None:
        return []
    dataset = open_dataset(Data(train=(path.name,)), path.parent, task="dpo" if task == "dpo" else "sft")
    outcomes = [record.outcome for record in dataset.records()]
    rows = [outcome for outcome in outcomes if isinstance(outcome, Row)]
    if len(rows) != len(outcomes):
        raise DataError("the held-out rows can no longer be read", place=str(path), fix="run the job again")
    return rows


def _note(rooms: Rooms, job: Job, stats: FileStats) -> None:
    """What the held-out file holds, where its folder's owner does not come by: beside the job's state."""
    now = rooms.clock()
    text = f"{stats.rows_out} rows are held out of training"
    data = {"rows": stats.rows_out, "sha256": stats.sha256}
    event = Event(time_ordered_id("evt_", now), now, "info", HELD_OUT_EVENT, text, data)
    rooms.store.tell(job.id, event)


def _noted(rooms: Rooms, job: Job) -> str | None:
    notes = rooms.store.events(job.id, kind=HELD_OUT_EVENT)
    return str(notes[-1].data["sha256"]) if notes else None


def _canonical(row: Row) -> Converted:
    """A row as our own reader takes it back, nothing lost."""
    return Converted(row.to_json())


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
