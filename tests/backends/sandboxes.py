"""A sandbox for tests: over real HTTP on loopback, the vendors' own SDKs pointed at it by their variables.

    def test_something(sandbox: StartSandbox) -> None:
        box = sandbox("openai", "bedrock")
        box.world.faults.arm(Fault("lose_reply", "openai.createFineTuningJob"))

A job lives for a third of a second, or by a `Hand` on the clock: `sandbox("openai", clock=Hand())`.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Protocol

import pytest

from backends import registry
from backends.sandbox.server import Room, Server
from backends.sandbox.world import Life, World

QUICK = Life(validating_s=0.05, queued_s=0.05, running_s=0.2, steps=5)
VENDORS = ("OPENAI_", "AZURE_", "AWS_", "GOOGLE_", "CLOUDSDK_", "IDENTITY_", "MSI_")


class Hand:
    """A clock that stands still until a test moves it."""

    def __init__(self, now: float = 1_790_000_000.0) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now

    def advance(self, seconds: float) -> None:
        self.now += seconds


class StartSandbox(Protocol):
    """Starts a sandbox with these rooms and points the environment at it; it is stopped after the test.
    The same folder and port again is the same sandbox, restarted."""

    def __call__(
        self,
        *names: str,
        life: Life = QUICK,
        clock: Callable[[], float] = time.time,
        folder: Path | None = None,
        port: int = 0,
    ) -> Server: ...


def room(name: str, world: World) -> Room:
    found = registry.sandbox_room(name)
    assert found is not None, f"{name} has no sandbox"
    return found(world)


@pytest.fixture
def sandbox(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[StartSandbox]:
    """See `StartSandbox`. No credential or address of the machine's own is left in the environment."""
    running: list[Server] = []
    for variable in [name for name in os.environ if name.startswith(VENDORS)]:
        monkeypatch.delenv(variable)

    def start(
        *names: str,
        life: Life = QUICK,
        clock: Callable[[], float] = time.time,
        folder: Path | None = None,
        port: int = 0,
    ) -> Server:
        world = World(folder or tmp_path / "sandbox", life=life, clock=clock)
        server = Server(world, [room(name, world) for name in names], port=port).start()
        running.append(server)
        for variable, value in server.environment.items():
            monkeypatch.setenv(variable, value)
        return server

    yield start
    for server in running:
        server.stop()
