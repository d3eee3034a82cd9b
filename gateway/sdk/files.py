"""A job's data files, as its backend gets them; and, beside them, the rows kept for evaluation."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING

from gateway.core.errors import DataError
from gateway.core.plan import ProviderFile
from gateway.core.rows import Converted, Row, Split
from gateway.core.spec import Data, JobSpec
from gateway.jobs.model import Job

if TYPE_CHECKING:
    from gateway.sdk.rooms import Rooms

HELD_OUT = "held-out.jsonl"


def write_file(rooms: Rooms, job: Job, spec: JobSpec, file: ProviderFile) -> Path:
    """One of the job's files. The data is read and split once, for all of them: the others are written
    with the first, and are found here when they are asked for.

    Raises:
        DataError: the data is no longer what was planned. A file's own hash would not show it: rows that
            are held out are in none, and a managed backend is asked them all the same.
    """
    from gateway.data import SplitFile, assign_splits, open_dataset, write_splits

    folder = job.folder / "data"
    path = folder / file.name
    if file.sha256 is not None and path.is_file() and _sha256(path) == file.sha256:
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
        files["test"] = SplitFile(folder / HELD_OUT, _canonical)
    write_splits(dataset, assignment, files)
    return path


def held_out(job: Job, task: str) -> list[Row]:
    """The rows that were never trained on; empty where none were held out.

    Raises:
        DataError: they can no longer be read.
    """
    from gateway.data import open_dataset

    path = job.folder / "data" / HELD_OUT
    if not path.exists():
        return []
    dataset = open_dataset(Data(train=(path.name,)), path.parent, task="dpo" if task == "dpo" else "sft")
    outcomes = [record.outcome for record in dataset.records()]
    rows = [outcome for outcome in outcomes if isinstance(outcome, Row)]
    if len(rows) != len(outcomes):
        raise DataError("the held-out rows can no longer be read", place=str(path), fix="run the job again")
    return rows


def _canonical(row: Row) -> Converted:
    """A row as our own reader takes it back, nothing lost."""
    return Converted(row.to_json())


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
