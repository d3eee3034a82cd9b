"""A sandbox to rehearse in: local stand-ins for the managed backends; and telling a rehearsal from the
real thing."""

from __future__ import annotations

import socket
import subprocess
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from fnmatch import fnmatch
from pathlib import Path
from typing import TYPE_CHECKING, Self
from urllib.parse import urlsplit

from backends import registry
from gateway.core.errors import SettingsError, Unsupported
from gateway.egress import is_loopback, through_proxy
from gateway.jobs.model import Job
from gateway.settings import environment_with, variable

if TYPE_CHECKING:
    from backends.sandbox.server import Room, Server
    from backends.sandbox.world import Life, World
    from gateway.sdk.rooms import Rooms

PORT = 4141
_INSTALL = "pip install 'tunegate[sandbox]'"
_PACES = {"fast": 0.5, "calm": 14.0}  # seconds from the submit of a job to its end


class Sandbox:
    """Local stand-ins for the managed backends over real HTTP on loopback, in this process.

        with Sandbox() as box:
            os.environ.update(box.environment)   # points the vendors' SDKs here
            Gateway().run("job.yaml").wait()

    Nothing is trained or billed, and nothing leaves this machine. Jobs live through all their states; a
    "tuned" model answers with the training row most like the question.

    Args:
        only: registry names of the backends to stand in for; default: all whose packages are here.
        folder: where state is kept, so that a stopped sandbox goes on; default: a temporary one.
        port: 0 takes a free one.
        pace: `fast` (half a second a job), `calm` (14 s), or so many seconds a job.
        fail: training breaks off half-way.
        reject_file: datasets are refused while they are validated.
        faults: what else is to go wrong, each `{kind, operation, times, seconds}`; see
            `backends.sandbox.faults`.

    Raises:
        Unsupported: what it needs is not installed, or a backend has no stand-in.
        SettingsError: the port is taken, or the pace makes no sense.
    """

    def __init__(
        self,
        *,
        only: Sequence[str] = (),
        folder: str | Path | None = None,
        port: int = 0,
        pace: str | float = "fast",
        fail: bool = False,
        reject_file: bool = False,
        faults: Iterable[Mapping[str, object]] = (),
    ) -> None:
        self._only = tuple(only)
        self._folder = Path(folder) if folder else None
        self._port = port
        self._pace = pace
        self._ends = {"fails": fail, "rejected": reject_file}
        self._faults = tuple(faults)
        self._open = ExitStack()
        self._rooms: dict[str, Room] = {}
        self._server: Server | None = None

    @property
    def address(self) -> str:
        return self._running.address

    @property
    def environment(self) -> dict[str, str]:
        """Variables that point every vendor's SDK here. Their credentials open nothing else."""
        told = dict(self._running.environment)
        if through_proxy("127.0.0.1"):
            spared = [variable("no_proxy") or variable("NO_PROXY") or "", "127.0.0.1", "localhost"]
            told |= dict.fromkeys(("NO_PROXY", "no_proxy"), ",".join(filter(None, spared)))
        return told

    @property
    def names(self) -> tuple[str, ...]:
        """Backends it stands in for."""
        return tuple(self._rooms)

    def run(self, command: Sequence[str]) -> int:
        """Run a command with the environment set; its exit code, negative where a signal ended it.

        Raises:
            SettingsError: there is no such command.
        """
        try:
            return subprocess.run(command, env=environment_with(self.environment), check=False).returncode
        except OSError as error:
            raise SettingsError(f"{command[0]} cannot be run: {error.strerror}", place="sandbox") from None

    def start(self) -> Self:
        try:
            from backends.sandbox.server import Server, fault_of
            from backends.sandbox.world import World
        except ModuleNotFoundError as error:
            raise _missing(error) from None
        _check_free(self._port)
        folder = self._folder or Path(self._open.enter_context(tempfile.TemporaryDirectory()))
        world = World(folder, life=replace(_life(self._pace), **self._ends))
        for fault in self._faults:
            world.faults.arm(fault_of(fault))
        try:
            self._rooms = _rooms(world, self._only)
            self._server = Server(world, tuple(self._rooms.values()), port=self._port).start()
        except ModuleNotFoundError as error:
            raise _missing(error) from None
        return self

    def stop(self) -> None:
        if self._server is not None:
            self._server.stop()
            self._server = None
        self._open.close()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()

    @property
    def _running(self) -> Server:
        if self._server is None:
            raise SettingsError("this sandbox is not running", fix="start it: `with Sandbox() as box:`")
        return self._server


def rehearsed_at(rooms: Rooms, job: Job) -> str | None:
    """`host:port` of the stand-in that a managed job ran at; None where it was the real thing. A backend
    whose facts hold at any address is real wherever it is."""
    address = (job.remote.detail.get("address") if job.remote else None) or ""
    place = urlsplit(address if "//" in address else f"//{address}")
    facts, host = rooms.facts[job.backend], place.hostname or ""
    at_home = any(fnmatch(host, known) for known in facts.hosts)
    return place.netloc if facts.kind == "managed" and is_loopback(host) and not at_home else None


def _rooms(world: World, only: Sequence[str]) -> dict[str, Room]:
    """The stand-ins asked for; where none is named, all whose packages are here."""
    from gateway.sdk.planning import installed

    found: dict[str, Room] = {}
    for name in only or registry.names():
        here = installed(registry.facts(name))
        if not here and not only:
            continue
        if not here:
            raise Unsupported(
                f"the package that {name} is reached with is not installed",
                place="sandbox",
                fix=registry.install_hint(name),
            )
        room = registry.sandbox_room(name)
        if room is not None:
            found[name] = room(world)
        elif only:
            raise Unsupported(f"{name} has no stand-in, and needs none", place="sandbox")
    if not found:
        raise Unsupported("no managed backend's package is installed", place="sandbox", fix=_INSTALL)
    return found


def _life(pace: str | float) -> Life:
    """A job's life of so many seconds: a seventh each to be validated and queued."""
    from backends.sandbox.world import Life

    try:
        seconds = _PACES.get(str(pace)) or float(pace)
    except ValueError:
        seconds = 0.0
    if not 0 < seconds < 10**6:
        raise SettingsError(f"{pace!r} is no pace", place="sandbox", fix="say fast, calm, or seconds a job")
    return Life(validating_s=seconds / 7, queued_s=seconds / 7, running_s=seconds * 5 / 7)


def _check_free(port: int) -> None:
    """The server's library ends the process where a port is taken, so that is found out before."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError as error:
            raise SettingsError(
                f"port {port} cannot be used: {error.strerror}",
                place="sandbox",
                fix="end what listens there, or take another: --port 0 finds a free one",
            ) from None


def _missing(error: ModuleNotFoundError) -> Unsupported:
    return Unsupported(f"a sandbox needs {error.name}, which is not installed", place="sandbox", fix=_INSTALL)
