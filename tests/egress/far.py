"""Managed backends whose far side is a server on loopback that keeps every byte it is sent.

They enter by the registry's own door and speak real HTTP, so that what a denied one received can be
counted where it would have arrived, and not where it should not have left.
"""

from __future__ import annotations

import base64
import gzip
import json
import sys
import threading
import zlib
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar

import httpx

from backends import registry
from backends.base import Backend, Handover, ProxyCounter, Staged
from backends.ledger import Ledger, files_to_send
from gateway.core.facts import ModelFacts
from gateway.core.job import Artifact, ChatMessage, Completion, RemoteRef, Score, Snapshot
from gateway.core.plan import CandidateKey, Fit, ProviderFile, ProviderRequest, Translation
from gateway.core.rows import Convert, Converted, DataProfile, Message, Row, TokenCounter
from gateway.core.spec import JobSpec
from tests.jobs.world import START

MODEL = "far-model"


@dataclass(frozen=True, slots=True)
class Stance:
    """What a far backend states of itself; absent means the unsafe value, as everywhere."""

    region: str
    residency: str  # as a facts file says it
    zone: str  # where the data may go, in the gate's words
    eligible: bool
    requires: tuple[str, ...]
    trains: bool


STANCES: Mapping[str, Stance] = {
    "far-baa": Stance("us-east-1", "region", "us", True, ("baa",), False),
    "far-strict": Stance("us-east-1", "region", "us", True, ("baa", "modified_retention"), False),
    "far-eu": Stance("eu-west-1", "zone:eu", "eu", True, ("baa",), False),
    "far-plain": Stance("us-east-1", "global", "global", False, (), False),
    "far-trains": Stance("us-east-1", "region", "us", True, ("baa",), True),
    "far-silent": Stance("us-east-1", "region", "us", True, (), False),  # does not say what it requires
}


def _facts(name: str, stance: Stance) -> str:
    stated: dict[str, object] = {
        "hipaa_eligible": stance.eligible,
        "trains_on_data": stance.trains,
    }
    if stance.requires:
        stated["hipaa_requires"] = list(stance.requires)
    handling = "".join(
        f'[[handling]]\nattribute = "{attribute}"\nvalue = {json.dumps(value)}\n'
        'text = "made for tests"\nsource = "made"\n'
        for attribute, value in stated.items()
    )
    return f"""
schema = 1
backend = "{name}"
title = "{name.title()}"
kind = "managed"
[sources.made]
url = "https://example.org/{name}"
as_of = 2026-11-01
confidence = "high"
[lookup]
how = "token"
text = "made for tests"
source = "made"
[[models]]
name = "{MODEL}"
id = "{MODEL}-1"
family = "far"
regions = ["{stance.region}"]
offers = ["standard"]
tasks = ["sft"]
methods = ["lora"]
tokenizer = "proxy:far"
source = "made"
[[offers]]
name = "standard"
residency = "{stance.residency}"
text = "made for tests"
source = "made"
{handling}[[prices]]
item = "training"
models = ["*"]
value = 1.00
unit = "usd_per_1m_tokens"
source = "made"
"""


# -- the far side ---------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Received:
    backend: str
    path: str
    body: bytes


@dataclass
class Recorder:
    """A server that answers as a provider would, and keeps what it was sent.

    Attributes:
        quotes: answer the next request that has a body with a refusal that quotes it, as some do.
    """

    url: str = ""
    quotes: bool = False
    _received: list[Received] = field(default_factory=list[Received])
    _jobs: dict[str, dict[str, Any]] = field(default_factory=dict[str, dict[str, Any]])
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def take(self) -> list[Received]:
        """What came since the last look."""
        with self._lock:
            taken, self._received = self._received, []
        return taken

    def answer(self, method: str, path: str, body: bytes) -> tuple[int, Any]:
        _, backend, *rest = path.split("/")
        with self._lock:
            self._received.append(Received(backend, path, body))
            if body and self.quotes:
                self.quotes = False
                return 400, {"error": f"cannot read this: {body.decode('utf-8', 'replace')}"}
            match method, rest:
                case "POST", ["files"]:
                    return 200, {"id": f"file-{zlib.crc32(body):08x}"}
                case "POST", ["jobs"]:
                    return 200, self._submitted(backend, json.loads(body))
                case "GET", ["jobs", "by-key", key]:
                    return 200, next((job for job in self._jobs.values() if job["key"] == key), None)
                case _, ["jobs", job_id, *action] if job_id in self._jobs:
                    return 200, self._looked_at(job_id, action)
                case "POST", ["complete"]:  # a model may say again what it was told
                    return 200, [chat[-1]["content"] for chat in json.loads(body)["batch"]]
                case _:
                    return 200, {}

    def _submitted(self, backend: str, asked: Mapping[str, Any]) -> dict[str, Any]:
        for job in self._jobs.values():
            if job["key"] == asked["key"]:
                return job
        job = {"id": f"{backend}-ft-{len(self._jobs)}", "key": asked["key"], "polls": 0}
        self._jobs[str(job["id"])] = job
        return job

    def _looked_at(self, job_id: str, action: Sequence[str]) -> dict[str, Any]:
        job = self._jobs[job_id]
        if not action:
            job["polls"] += 1
        return {**job, "state": ("queued", "running", "succeeded")[min(job["polls"], 2)]}


class _Handler(BaseHTTPRequestHandler):
    recorder: ClassVar[Recorder]

    def _serve(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        if self.headers.get("Content-Encoding") == "gzip":
            body = gzip.decompress(body)
        status, told = self.recorder.answer(self.command, self.path, body)
        content = json.dumps(told).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    do_GET = do_POST = do_DELETE = do_PUT = _serve

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing: what is sent stays in the recorder."""


@contextmanager
def serve() -> Generator[Recorder]:
    """A recorder that listens on loopback."""
    recorder = Recorder()
    handler = type("Handler", (_Handler,), {"recorder": recorder})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        recorder.url = f"http://127.0.0.1:{server.server_address[1]}"
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
        thread.start()
        yield recorder
        server.shutdown()
        thread.join()


def reveals(body: bytes, mark: bytes) -> bool:
    """Whether bytes hold a mark: as they are, in base64 at any alignment, or compressed."""
    if mark in body or any(each in body for each in _in_base64(mark)):
        return True
    for inflate in (gzip.decompress, zlib.decompress):
        try:
            if mark in inflate(body):
                return True
        except (OSError, EOFError, zlib.error):
            continue
    return False


def _in_base64(mark: bytes) -> Iterator[bytes]:
    for shift in range(3):
        whole = base64.b64encode(b"\0" * shift + mark)
        yield whole[4 if shift else 0 : len(whole) - 4]


# -- this side ------------------------------------------------------------------------------------


class FarBackend(Backend):
    """A backend over plain HTTP, as small as one can be.

    Attributes:
        around: calls that bring data and did not come through the door, by the file they came from.
    """

    dispatches: ClassVar[bool] = True
    url: ClassVar[str] = ""
    around: ClassVar[list[str]] = []

    def addresses(self) -> tuple[str, ...]:
        return (self.url,)

    def translate(
        self, spec: JobSpec, target: CandidateKey, profile: DataProfile, fit: Fit | None
    ) -> Translation:
        ledger = Ledger(spec)
        ledger.changed("hyperparameters.epochs", 3, "made for tests")
        ledger.ours()
        for path in ("task", "model", "method", "hyperparameters"):
            ledger.kept(path)
        request = ProviderRequest("train", {"model": target.model})
        return Translation((request,), files_to_send(profile, "far-chat"), ledger.close())

    def format(self, model: ModelFacts, task: str) -> str:
        return "far-chat"

    def convert(self, format: str) -> Convert:
        def as_it_is(row: Row) -> Converted:
            return Converted(row.to_json())

        return as_it_is

    def counter(self, model: ModelFacts) -> TokenCounter:
        return ProxyCounter(self.name, bytes_per_token=4.0, per_message=4, band=0.2)

    def stage(self, file: ProviderFile, path: Path, *, key: str) -> Staged:
        self._at_the_door()
        return Staged(file, self._call("POST", "files", content=path.read_bytes())["id"])

    def submit(
        self, translation: Translation, staged: Sequence[Staged], *, key: str, handover: Handover
    ) -> RemoteRef:
        self._at_the_door()
        told = {"key": key, "files": [each.uri for each in staged]}
        return RemoteRef(self.name, self._call("POST", "jobs", json=told)["id"])

    def find(self, key: str) -> RemoteRef | None:
        found = self._call("GET", f"jobs/by-key/{key}")
        return RemoteRef(self.name, found["id"]) if found else None

    def poll(self, ref: RemoteRef) -> Snapshot:
        state: Any = self._call("GET", f"jobs/{ref.id}")["state"]
        return Snapshot(state, state.upper(), START)

    def cancel(self, ref: RemoteRef) -> Snapshot:
        self._call("POST", f"jobs/{ref.id}/cancel")
        return Snapshot("cancelled", "CANCELLED", START)

    def resume(self, ref: RemoteRef) -> Snapshot:
        self._at_the_door()
        self._call("POST", f"jobs/{ref.id}/resume")
        return Snapshot("running", "RUNNING", START)

    def artifacts(self, ref: RemoteRef) -> tuple[Artifact, ...]:
        return (Artifact("model", ref.id, callable_id=f"tuned:{ref.id}"),)

    def deploy(self, ref: RemoteRef) -> Artifact:
        self._at_the_door()
        self._call("POST", f"jobs/{ref.id}/deploy")
        return Artifact("model", ref.id, callable_id=f"tuned:{ref.id}")

    def undeploy(self, ref: RemoteRef) -> None:
        self._call("POST", f"jobs/{ref.id}/undeploy")

    def unstage(self, uri: str) -> None:
        self._call("DELETE", f"files/{uri}")

    def delete(self, ref: RemoteRef) -> None:
        self._call("DELETE", f"jobs/{ref.id}/gone")

    def complete(
        self, model_ref: str, batch: Sequence[Sequence[ChatMessage]], *, max_output_tokens: int
    ) -> tuple[Completion, ...]:
        self._at_the_door()
        chats = [[{"role": turn.role, "content": turn.content} for turn in chat] for chat in batch]
        answers = self._call("POST", "complete", json={"model": model_ref, "batch": chats})
        return tuple(Completion(answer, 0.01) for answer in answers)

    def score(
        self, model_ref: str, examples: Sequence[tuple[Sequence[Message], Message]]
    ) -> tuple[Score, ...]:
        self._at_the_door()
        told = [[[turn.to_json() for turn in prompt], answer.to_json()] for prompt, answer in examples]
        self._call("POST", "score", json={"model": model_ref, "examples": told})
        return tuple(Score(-1.0, 1) for _ in examples)

    def _at_the_door(self) -> None:
        caller = Path(sys._getframe(2).f_code.co_filename)  # pyright: ignore[reportPrivateUsage]
        if caller.parts[-2:] not in (("gateway", "egress.py"), ("backends", "base.py")):
            self.around.append(str(caller))

    def _call(self, method: str, path: str, **content: Any) -> Any:
        """Fails as SDKs do: with the provider's words in the error, whatever those quote."""
        answer = _client().request(method, f"{self.url}/{self.name}/{path}", **content)
        if answer.is_error:
            raise RuntimeError(f"{answer.status_code}: {answer.json()['error']}")
        return answer.json()


_CLIENTS: dict[int, httpx.Client] = {}


def _client() -> httpx.Client:
    """One connection a thread, kept open."""
    name = threading.get_ident()
    if name not in _CLIENTS:
        _CLIENTS[name] = httpx.Client(trust_env=False)
    return _CLIENTS[name]


def registrations(folder: Path, path: str = "tests.egress.far:FarBackend") -> Callable[[], Mapping[str, Any]]:
    """The registry with every far backend in it, as an outside package would bring them."""
    found: dict[str, registry.Registration] = dict(registry.BUILT_IN)
    for name, stance in STANCES.items():
        file = folder / f"{name}.toml"
        file.write_text(_facts(name, stance), encoding="utf-8")
        found[name] = registry.Registration(path, file, "nothing to install")
    return lambda: found
