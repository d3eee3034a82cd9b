"""A job at Bedrock's sandbox, for the tests of its life."""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from importlib import import_module
from pathlib import Path
from typing import Any

from backends import registry
from backends.base import Backend, Handover, Staged
from gateway.core.job import RemoteRef, Site, Snapshot
from gateway.core.plan import Translation
from tests.backends.made import profile, spec, stats, translate

KEY = "tunegate-01k9vpm3e8jq4x7c-1"
CANARY = "Zebulon-Quartzman"
NOVA, CONVERSE, PROMPT = "bedrock-converse-nova", "bedrock-converse", "bedrock-prompt"


def converse_lines(count: int) -> str:
    rows = (
        {
            "schemaVersion": "bedrock-conversation-2024",
            "system": [{"text": "be brief"}],
            "messages": [
                {"role": "user", "content": [{"text": f"{CANARY} asks for number {n}"}]},
                {"role": "assistant", "content": [{"text": f"number {n} it is"}]},
            ],
        }
        for n in range(count)
    )
    return "".join(json.dumps(row) + "\n" for row in rows)


def prompt_lines(count: int) -> str:
    rows = ({"prompt": f"be brief\n\nwhat is {n}", "completion": f"{n} it is"} for n in range(count))
    return "".join(json.dumps(row) + "\n" for row in rows)


@dataclass(frozen=True)
class Planned:
    """A job as it would be dispatched: where, what, and the training file."""

    backend: Backend
    translation: Translation
    path: Path
    key: str = KEY

    def stage(self) -> Staged:
        return self.backend.stage(self.translation.files[0], self.path, key=self.key)

    def submit(self, staged: Iterable[Staged] | None = None) -> RemoteRef:
        files = tuple(staged or (self.stage(),))
        handover = Handover("job_1", self.path.parent)
        return self.backend.submit(self.translation, files, key=self.key, handover=handover)

    def again(self) -> Planned:
        """The same job in the hands of another process."""
        fresh = registry.create("bedrock", self.path.parent).at(self.backend.site)
        return replace(self, backend=fresh)

    def ended(self, ref: RemoteRef) -> list[Snapshot]:
        """What was seen of it, one of each state, to its end."""
        return watch(self.backend, ref, until=lambda seen: seen.state in ("succeeded", "failed", "cancelled"))


def watch(backend: Backend, ref: RemoteRef, *, until: Callable[[Snapshot], bool]) -> list[Snapshot]:
    seen: list[Snapshot] = []
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        now = backend.poll(ref)
        if not seen or (seen[-1].state, seen[-1].raw_state) != (now.state, now.raw_state):
            seen.append(now)
        if until(now):
            return seen
        time.sleep(0.01)
    raise AssertionError(f"it did not come to that: {seen}")


def planned(
    folder: Path,
    *,
    model: str = "nova-micro",
    region: str = "us-east-1",
    offer: str = "on-demand",
    lines: str | None = None,
    key: str = KEY,
    **options: Any,
) -> Planned:
    """A job of this model, its rows written, at the sandbox that the environment leads to."""
    format = PROMPT if model.startswith("llama-3.1") else NOVA if model.startswith("nova") else CONVERSE
    many = 12 if format == NOVA else 110
    text = lines if lines is not None else (prompt_lines if format == PROMPT else converse_lines)(many)
    path = folder / "train.jsonl"
    path.write_text(text)
    site = Site("bedrock", region, offer, {**told(), **options})
    rows = text.count("\n")
    file = replace(stats(format, "train", rows), sha256=hashlib.sha256(text.encode()).hexdigest())
    data = profile(rows={"train": rows}, converted={format: (file,)})
    asked = spec(model, name="soap-notes", options={"bedrock": dict(site.options)})
    translation = translate("bedrock", asked, data=data, region=region, offer=offer)
    return Planned(registry.create("bedrock", folder).at(site), translation, path, key)


def told() -> Mapping[str, str]:
    """Options as the sandbox's variables give them."""
    return {
        "role_arn": os.environ["TUNEGATE_BEDROCK_ROLE_ARN"],
        "output_uri": os.environ["TUNEGATE_BEDROCK_OUTPUT_URI"],
    }


def bucket(region: str = "us-east-1") -> str:
    return told()["output_uri"].removeprefix("s3://").partition("/")[0].replace("{region}", region)


def aws(service: str, region: str = "us-east-1") -> Any:
    """AWS's own client, as anyone would use it, with today's environment."""
    return import_module("boto3").session.Session(region_name=region).client(service)
