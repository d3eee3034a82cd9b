"""What the tests of Vertex's lifecycle share: the backend at a sandbox, files, and jobs."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

from backends.base import Handover, Staged
from backends.sandbox.server import Server
from backends.vertex.backend import VertexBackend
from gateway.core.job import RemoteRef, Site
from gateway.core.plan import ProviderFile, Translation
from tests.backends.made import backend, profile, spec, stats, translate

KEY = "tunegate-01kqzc3h8m5x2y7w-1"
GEMINI, OPEN = "gemini-3.5-flash", "llama-3.1-8b-instruct"
CANARY = "ZYXQ-CANARY-7741"


def there(region: str = "us-central1", **options: Any) -> VertexBackend:
    """A new backend, as a new process would have it, with its options from the environment."""
    made = backend("vertex")
    told = {option: value for option, name in made.variables.items() if (value := os.environ.get(name))}
    offer = "shared"
    return cast("VertexBackend", made.at(Site("vertex", region, offer, {**told, **options})))


def line(question: str, answer: str) -> dict[str, Any]:
    turns = (("user", question), ("model", answer))
    return {"contents": [{"role": role, "parts": [{"text": text}]} for role, text in turns]}


def message_line(question: str, answer: str) -> dict[str, Any]:
    turns = (("user", question), ("assistant", answer))
    return {"messages": [{"role": role, "content": text} for role, text in turns]}


def lines(count: int = 20) -> list[dict[str, Any]]:
    return [line(f"what is said of patient number {n}", f"note {n} {CANARY}") for n in range(count)]


def write(
    folder: Path, rows: Sequence[dict[str, Any]] | str, name: str = "train.jsonl"
) -> tuple[ProviderFile, Path]:
    """A training file as the reconciler hands it over, and where it is."""
    path = folder / name
    text = rows if isinstance(rows, str) else "".join(json.dumps(row) + "\n" for row in rows)
    path.write_text(text, "utf-8")
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    count = text.count("\n")
    return ProviderFile(name, "train", "vertex-contents", count, count, {}, digest), path


def translation(at: VertexBackend, model: str = GEMINI, **hyper: Any) -> Translation:
    asked = spec(model, hyperparameters=hyper, options={"vertex": dict(at.site.options)})
    resolved = at.resolve(model)
    assert resolved is not None
    form = at.format(resolved, "sft")
    data = profile(
        rows={"train": 20},
        methods={at.counter(resolved).method: 100},
        converted={form: (stats(form, "train", 20),)},
    )
    made = translate("vertex", asked, data=data, region=at.site.region)
    assert made.refused == ()
    return made


def start(
    at: VertexBackend,
    folder: Path,
    *,
    key: str = KEY,
    rows: Sequence[dict[str, Any]] | str | None = None,
    **more: Any,
) -> RemoteRef:
    """Stage a file and submit a job on it."""
    model = more.pop("model", GEMINI)
    if rows is None:
        rows = lines() if model == GEMINI else [message_line(f"q {n}", f"a {n}") for n in range(20)]
    file, path = write(folder, rows)
    staged = at.stage(file, path, key=key)
    return submit(at, staged, key=key, model=model, **more)


def submit(
    at: VertexBackend, staged: Staged, *, key: str = KEY, model: str = GEMINI, **hyper: Any
) -> RemoteRef:
    handover = Handover("job_1", Path("unused"))
    return at.submit(translation(at, model, **hyper), [staged], key=key, handover=handover)


def asked(box: Server, operation: str) -> int:
    """How often an operation was asked for, whatever came of it."""
    return sum(each.operation == f"vertex.{operation}" for each in box.asked)
