"""A user outside the project: a folder, a home, the command line, and a model small enough to train here."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from io import StringIO
from pathlib import Path
from typing import Any
from unittest import mock

import psutil
import pytest

from gateway.cli.main import main
from tests.local.conftest import make_base

WORDS = ("the", "patient", "reports", "pain", "in", "left", "knee")
CANARY = "zebrafinch-quartz-7731"  # stands in the data, and may stand nowhere else


@dataclass
class User:
    """Someone with a folder of files and a terminal. Nothing is shared with another test."""

    folder: Path
    home: Path
    columns: int = 100
    env: dict[str, str] = field(default_factory=dict[str, str])

    def environment(self) -> dict[str, str]:
        return {
            **os.environ,
            "TUNEGATE_HOME": str(self.home),
            "COLUMNS": str(self.columns),
            "OMP_NUM_THREADS": "1",
            "NO_COLOR": "1",
            **self.env,
        }

    def start(self, *arguments: str | Path) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "-m", "gateway.cli", *map(str, arguments)],
            cwd=self.folder,
            env=self.environment(),
            text=True,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )

    def outside(
        self, *arguments: str | Path, code: int = 0, timeout_s: float = 90
    ) -> subprocess.CompletedProcess[str]:
        """Run a command as its own process; its exit code must be `code`, and no traceback is shown."""
        process = self.start(*arguments)
        out, err = process.communicate(timeout=timeout_s)
        assert process.returncode == code, f"exit {process.returncode}\n{out}\n{err}"
        assert "Traceback" not in out + err
        return subprocess.CompletedProcess(process.args, process.returncode, out, err)

    def tunegate(self, *arguments: str | Path, code: int = 0) -> subprocess.CompletedProcess[str]:
        """The same, but in this process, which has its libraries loaded already."""
        words = ["tunegate", *map(str, arguments)]
        out, err = StringIO(), StringIO()
        with (
            mock.patch.dict(os.environ, self.environment(), clear=True),
            mock.patch.object(sys, "argv", words),
            contextlib.chdir(self.folder),
            contextlib.redirect_stdout(out),
            contextlib.redirect_stderr(err),
            warnings.catch_warnings(),
        ):
            ended = main()
        ran = subprocess.CompletedProcess(words, ended, out.getvalue(), err.getvalue())
        assert ended == code, f"exit {ended}\n{ran.stdout}\n{ran.stderr}"
        assert "Traceback" not in ran.stdout + ran.stderr
        return ran

    def json(self, *arguments: str | Path, code: int = 0) -> Any:
        return json.loads(self.tunegate(*arguments, "--json", code=code).stdout)

    def write(self, name: str, content: str | bytes) -> Path:
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return path

    def chats(self, name: str, rows: Sequence[tuple[str, str]]) -> Path:
        lines = (
            json.dumps(
                {
                    "messages": [
                        {"role": "user", "content": question},
                        {"role": "assistant", "content": answer},
                    ]
                }
            )
            for question, answer in rows
        )
        return self.write(name, "".join(f"{line}\n" for line in lines))

    def spec(
        self, text: str = "", *, name: str = "job.yaml", model: str = "gpt-4.1-mini", **data: Any
    ) -> Path:
        """A spec over `data.jsonl` unless told otherwise; `text` is added at its end."""
        parts = {"train": "data.jsonl", "class": "public", **data}
        return self.write(
            name, f"version: 1\nname: story\nmodel: {json.dumps(model)}\ndata: {json.dumps(parts)}\n{text}"
        )

    def files(self) -> Iterator[Path]:
        """Every file of the home."""
        yield from (path for path in self.home.rglob("*") if path.is_file())

    def end(self) -> None:
        """End what still runs in this home."""
        for note in self.home.rglob("*.pid"):
            try:
                values = json.loads(note.read_bytes())
                process = psutil.Process(values["pid"])
                if abs(process.create_time() - values["born"]) < 1:
                    process.kill()
                    psutil.wait_procs([process], timeout=10)
            except (OSError, ValueError, psutil.Error):
                continue


@pytest.fixture
def user(tmp_path: Path) -> Iterator[User]:
    (tmp_path / "work").mkdir()
    made = User(tmp_path / "work", tmp_path / "home")
    yield made
    made.end()


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random Llama of two layers: it can be trained and asked in seconds, and knows nothing."""
    return make_base(tmp_path_factory.mktemp("tiny"))


def easy_rows(count: int = 40) -> list[tuple[str, str]]:
    return [
        (f"{number} {WORDS[number % 7]} {WORDS[number % 5]}", "even" if number % 2 == 0 else "odd")
        for number in range(count)
    ]


SHORT = "hyperparameters: {epochs: 1, batch_size: 8, learning_rate: 1e-2, max_length: 128}\n"


def training_spec(user: User, tiny: Path, extra: str = "", **data: Any) -> Path:
    """A job that trains for a second or two on this machine."""
    if not (user.folder / "data.jsonl").exists():
        user.chats("data.jsonl", easy_rows())
    metrics = "evaluate: {metrics: [exact_match], max_output_tokens: 4}\n"
    return user.spec(
        f"{SHORT}{metrics}route: {{backends: [local]}}\n{extra}", model=str(tiny), test=0.2, **data
    )


def long_spec(user: User, tiny: Path) -> Path:
    """A job that trains for longer than any test looks at it."""
    user.chats("data.jsonl", easy_rows(400))
    spec = training_spec(user, tiny)
    return user.write("long.yaml", spec.read_text().replace("epochs: 1", "epochs: 50"))


@dataclass(frozen=True)
class Done:
    """A finished run: what the command printed, and the user whose home has it."""

    user: User
    shown: dict[str, Any]
    out: str
    err: str


@pytest.fixture(scope="session")
def finished(tiny: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Done]:
    """One run to its end, shared by the tests that only look at it."""
    folder = tmp_path_factory.mktemp("finished")
    (folder / "work").mkdir()
    user = User(folder / "work", folder / "home")
    user.env["HF_HUB_OFFLINE"] = "1"
    rows = [(f"{question} {CANARY}", answer) for question, answer in easy_rows()]
    user.chats("data.jsonl", rows)
    result = user.outside("run", training_spec(user, tiny, **{"class": "phi"}), "--json")
    yield Done(user, json.loads(result.stdout), result.stdout, result.stderr)
    user.end()


def until(true: Callable[[], object], timeout_s: float = 60) -> None:
    """Wait for what another process does."""
    import time

    end = time.monotonic() + timeout_s
    while not true():
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.05)
