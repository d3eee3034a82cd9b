"""The folder of one training run: who may write what, and how it is read while others write.

    run.json            what is trained, complete; written once, before anything starts
    handover.json       what the gateway wants run when training has ended
    status.json         where it stands; replaced whole
    wanted              `cancel` or `pause`, when somebody asked for it
    adjusted.json       what it does otherwise than configured, since memory ran out
    tokens/             the rows as tokens, mapped by every process of the run
    metrics.jsonl       one line per optimizer step
    events.jsonl        what happened, one line each
    checkpoints/        step-000040/ …
    adapter/            the result, in PEFT's format; appears whole or not at all
    *.log               what the processes printed
    *.lock, *.pid       who is alive

Only the standard library and psutil: the supervisor stays small while training fills the machine.
"""

from __future__ import annotations

import errno
import json
import os
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal, cast

import psutil
from filelock import FileLock, Timeout

from gateway.core.errors import BackendError, NotFound
from gateway.core.job import Event, Progress

State = Literal["queued", "preparing", "training", "paused", "succeeded", "failed", "cancelled"]
ADJUSTED = "adjusted.json"
FINAL: frozenset[str] = frozenset({"succeeded", "failed", "cancelled"})


@dataclass(frozen=True, slots=True)
class Status:
    """Where a run stands. `code`, `message` and `fix` are set when it failed."""

    state: State
    code: str | None = None
    message: str | None = None
    fix: str | None = None

    @property
    def final(self) -> bool:
        return self.state in FINAL


class Run:
    """A run's folder. Every read tolerates a file that is not there yet."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def create(self, config: Mapping[str, Any], handover: Mapping[str, Any]) -> None:
        """Make the folder and all its processes need, `run.json` last."""
        self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        write_json(self.folder / "handover.json", handover)
        write_json(self.folder / "run.json", config)

    @property
    def config(self) -> dict[str, Any]:
        """What is trained.

        Raises:
            NotFound: the folder is gone, or holds no run.
        """
        values = read_json(self.folder / "run.json")
        if values is None:
            raise NotFound("this run's folder is gone", backend="local", place=str(self.folder))
        return values

    # -- status ------------------------------------------------------------------------------------

    @property
    def status(self) -> Status:
        values = read_json(self.folder / "status.json")
        return Status(**values) if values else Status("queued")

    def set_status(
        self, state: State, *, code: str | None = None, message: str | None = None, fix: str | None = None
    ) -> None:
        write_json(
            self.folder / "status.json", {"state": state, "code": code, "message": message, "fix": fix}
        )

    @property
    def wanted(self) -> str | None:
        path = self.folder / "wanted"
        return path.read_text(encoding="utf-8") if path.exists() else None

    def want(self, what: Literal["cancel", "pause"] | None) -> None:
        if what is None:
            (self.folder / "wanted").unlink(missing_ok=True)
        else:
            write_bytes(self.folder / "wanted", what.encode())

    # -- what happened -----------------------------------------------------------------------------

    def event(self, level: Literal["info", "warning", "error"], kind: str, text: str, **data: Any) -> None:
        """Append one event. Never any text of a dataset: numbers, names and our own words."""
        line = {"at": datetime.now(UTC).isoformat(), "level": level, "kind": kind, "text": text, "data": data}
        append_json(self.folder / "events.jsonl", line)

    def events(self, after: str | None = None) -> tuple[Event, ...]:
        lines = enumerate(read_jsonl(self.folder / "events.jsonl"), 1)
        events = (
            Event(
                f"{number:06d}",
                datetime.fromisoformat(line["at"]),
                line["level"],
                line["kind"],
                line["text"],
                line["data"],
            )
            for number, line in lines
        )
        return tuple(event for event in events if after is None or event.id > after)

    def progress(self) -> Progress | None:
        """The last step's metrics."""
        last = _last_line(self.folder / "metrics.jsonl")
        if last is None:
            return None
        return Progress(last["step"], last["steps"], last["loss"], last["tokens_per_s"], last["eta_s"])

    # -- who is alive ------------------------------------------------------------------------------

    def lock(self, who: Literal["supervisor", "train"]) -> FileLock:
        return FileLock(self.folder / f"{who}.lock", mode=0o600)

    def started(self, who: Literal["supervisor", "train"], pid: int) -> None:
        """Note a process with its birth, so that a number used again is not mistaken for it."""
        try:
            born = psutil.Process(pid).create_time()
        except psutil.NoSuchProcess:
            return
        write_json(self.folder / f"{who}.pid", {"pid": pid, "born": born})

    def process(self, who: Literal["supervisor", "train"]) -> psutil.Process | None:
        """The living process that was noted, or None."""
        noted = read_json(self.folder / f"{who}.pid")
        if noted is None:
            return None
        try:
            process = psutil.Process(noted["pid"])
            same = abs(process.create_time() - noted["born"]) < 1
            return process if same and process.status() != psutil.STATUS_ZOMBIE else None
        except psutil.NoSuchProcess:
            return None

    def alive(self, who: Literal["supervisor", "train"]) -> bool:
        """Whether that process runs: noted and living, or holding its lock."""
        if self.process(who) is not None:
            return True
        lock = self.lock(who)
        try:
            lock.acquire(timeout=0)
        except Timeout:
            return True
        lock.release()
        return False


# -- files -----------------------------------------------------------------------------------------


def write_bytes(path: Path, content: bytes) -> None:
    """Replace a file whole: a reader, or a crash, sees the old or the new, never a half."""
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    temporary = Path(name)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def write_json(path: Path, values: Mapping[str, Any]) -> None:
    write_bytes(path, (json.dumps(dict(values), indent=1, allow_nan=False) + "\n").encode())


def append_json(path: Path, values: Mapping[str, Any]) -> None:
    """One line in one write: lines of several writers do not mix. A disk that fills up in the middle of
    a line gets none of it."""
    line = (json.dumps(dict(values), allow_nan=False) + "\n").encode()
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    try:
        written = os.write(descriptor, line)
        if written < len(line):
            os.ftruncate(descriptor, os.fstat(descriptor).st_size - written)
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    finally:
        os.close(descriptor)


def read_jsonl(path: Path) -> Iterator[dict[str, Any]]:
    """The whole lines of a file that may still grow; a last line without its end is not read."""
    if not path.exists():
        return
    with path.open("rb") as file:
        for line in file:
            if line.endswith(b"\n"):
                yield json.loads(line)


def sync_folder(folder: Path) -> None:
    """Make renames in this folder survive a power cut."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def read_json(path: Path) -> dict[str, Any] | None:
    try:
        return cast("dict[str, Any]", json.loads(path.read_bytes()))
    except FileNotFoundError:
        return None
    except ValueError:
        raise BackendError(
            "this file of the run is not valid JSON any more", backend="local", place=str(path)
        ) from None


def _last_line(path: Path, *, window: int = 4096) -> dict[str, Any] | None:
    if not path.exists():
        return None
    with path.open("rb") as file:
        file.seek(max(0, path.stat().st_size - window))
        lines = file.read().split(b"\n")[:-1]
    return cast("dict[str, Any]", json.loads(lines[-1])) if lines else None
