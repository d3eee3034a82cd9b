"""What the tests of the OpenAI room share: a backend at the sandbox, a small file, a job, a recorder."""

from __future__ import annotations

import hashlib
import json
import os
import threading
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from backends.base import Handover, Staged
from backends.openai.backend import OpenAIBackend
from gateway.core.errors import BackendError
from gateway.core.job import RemoteRef, Site
from gateway.core.plan import ProviderFile, Translation
from tests.backends import made

NAMES = ("openai", "azure", "compatible")
KEY = "tunegate-01kb2x5r7q9w3e8t-1"
CANARY = "zebrafinch-quartz-7731"


def at_sandbox(name: str, *, offer: str = "standard", **options: Any) -> OpenAIBackend:
    """The backend with the options that its variables give, as a gateway would assemble it."""
    there = made.backend(name)
    assert isinstance(there, OpenAIBackend)
    found = {option: os.environ[of] for option, of in there.variables.items() if of in os.environ}
    return there.at(Site(name, "global", offer, {**found, **options}))


def written(folder: Path, rows: int = 12, *, name: str = "train.jsonl") -> tuple[ProviderFile, Path]:
    """A file of questions and answers, and what a translation says of it."""
    lines = (
        {"messages": [
            {"role": "user", "content": f"what is the square of {i}"},
            {"role": "assistant", "content": f"{CANARY} it is {i * i}"},
        ]}
        for i in range(rows)
    )  # fmt: skip
    return of_bytes(folder, "".join(f"{json.dumps(line)}\n" for line in lines).encode(), name=name)


def of_bytes(folder: Path, content: bytes, *, name: str = "train.jsonl") -> tuple[ProviderFile, Path]:
    path = folder / name
    path.write_bytes(content)
    sha256 = hashlib.sha256(content).hexdigest()
    count = content.count(b"\n")
    return ProviderFile(name, "train", "openai-chat", count, count, {}, sha256), path


def translated(name: str, **options: Any) -> Translation:
    """A training job without validation. A compatible server has no models of its own in our facts, and
    gets what OpenAI would."""
    planned = "openai" if name == "compatible" else name
    asked = made.spec(options={planned: options} if options else {})
    return made.translate(planned, asked, data=made.profile(rows={"train": 12}))


@dataclass
class Job:
    """A job that was staged and submitted."""

    there: OpenAIBackend
    ref: RemoteRef
    staged: Staged


def submitted(name: str, folder: Path, *, key: str = KEY, rows: int = 12, offer: str = "standard") -> Job:
    there = at_sandbox(name, offer=offer)
    file, path = written(folder, rows)
    staged = there.stage(file, path, key=key)
    return Job(there, there.submit(translated(name), [staged], key=key, handover=handover(folder)), staged)


def handover(folder: Path) -> Handover:
    return Handover("job_1", folder)


def failure(there: OpenAIBackend, call: Callable[[], object]) -> BackendError:
    """The typed error that a call ends with."""
    try:
        call()
    except Exception as error:
        return there.classify(error)
    raise AssertionError("it did not fail")


@dataclass
class Recorder:
    """A server that keeps what it was sent, and answers what it is told."""

    answers: list[tuple[int, Mapping[str, str], bytes]] = field(
        default_factory=list[tuple[int, Mapping[str, str], bytes]]
    )
    seen: list[tuple[str, str, Mapping[str, str], bytes]] = field(
        default_factory=list[tuple[str, str, Mapping[str, str], bytes]]
    )
    address: str = ""

    def say(self, body: Any, status: int = 200, headers: Mapping[str, str] | None = None) -> None:
        """What is answered from now on."""
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        self.answers.append((status, {"Content-Type": "application/json", **(headers or {})}, content))

    @property
    def bodies(self) -> Sequence[Any]:
        return [json.loads(body) for *_, body in self.seen]


@contextmanager
def recorder() -> Generator[Recorder]:
    kept = Recorder()

    class Handle(BaseHTTPRequestHandler):
        def answer(self) -> None:
            size = int(self.headers.get("Content-Length", 0))
            kept.seen.append((self.command, self.path, dict(self.headers), self.rfile.read(size)))
            status, headers, content = kept.answers[min(len(kept.seen), len(kept.answers)) - 1]
            self.send_response(status)
            for name, value in {"Content-Length": str(len(content)), **headers}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(content)

        do_GET = do_POST = do_PUT = do_DELETE = answer

        def log_message(self, format: str, *args: object) -> None:
            """Nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handle)
    kept.address = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield kept
    finally:
        server.shutdown()
        server.server_close()
