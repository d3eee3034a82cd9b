"""The HTTP server of a sandbox: routes to rooms, faults, and an account of what was asked.

Control, for people and tests, under `/_sandbox`: `GET /_sandbox` (what runs here), `GET
/_sandbox/requests` (what was asked, no bodies), `POST /_sandbox/faults` (`{kind, operation, times,
seconds}`), `DELETE /_sandbox/faults`.
"""

from __future__ import annotations

import json
import os
import socket
import struct
import threading
import time
import traceback
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, ClassVar, Self

from werkzeug.exceptions import HTTPException
from werkzeug.routing import Map, Rule
from werkzeug.serving import WSGIRequestHandler, make_server
from werkzeug.wrappers import Request, Response

from backends.sandbox.faults import KINDS, Fault, Kind
from backends.sandbox.world import World

Handler = Callable[[Request, Mapping[str, str]], Response]
HOST = "127.0.0.1"
_KEPT_REQUESTS = 100_000


@dataclass(frozen=True, slots=True)
class Route:
    """One operation: its method, its path (werkzeug's rules), its name as the vendor says it."""

    method: str
    path: str
    operation: str
    handler: Handler


@dataclass(frozen=True, slots=True)
class Asked:
    """One request that came in. Bodies and credentials are not kept."""

    operation: str
    method: str
    path: str
    status: int | None  # None: no whole answer was given


class Room(ABC):
    """One vendor's stand-in. Its paths begin with `/<name>`."""

    name: ClassVar[str]

    def __init__(self, world: World) -> None:
        self.world = world

    @abstractmethod
    def routes(self) -> Sequence[Route]:
        """Every operation it answers."""

    @abstractmethod
    def environment(self, address: str) -> Mapping[str, str]:
        """The variables that point the vendor's own SDK here; `address` is the server's, without a `/`
        at its end. Credentials in it open nothing but this sandbox."""

    @abstractmethod
    def problem(self, fault: Fault) -> Response:
        """What the vendor would answer for `throttle`, `unavailable`, `broken`, `unauthorized` and
        `forbidden`, in its own error shape; the fault's `operation` is the one that was asked for."""

    def open(self) -> None:  # noqa: B027  # most rooms need nothing more
        """Start what it needs beside the shared server."""

    def close(self) -> None:  # noqa: B027
        """Stop what `open` started."""


class Application:
    """The WSGI application: finds the route, lets faults happen, keeps account."""

    def __init__(self, world: World, rooms: Sequence[Room]) -> None:
        self._world = world
        self._rooms = {room.name: room for room in rooms}
        self._handlers: dict[str, tuple[Room, Handler]] = {}
        self.asked: deque[Asked] = deque(maxlen=_KEPT_REQUESTS)
        rules: list[Rule] = []
        for room in rooms:
            for route in room.routes():
                operation = f"{room.name}.{route.operation}"
                self._handlers[operation] = (room, route.handler)
                rules.append(Rule(f"/{room.name}{route.path}", methods=[route.method], endpoint=operation))
        self._map = Map(rules, strict_slashes=False, merge_slashes=False)

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        request = Request(environ)
        if request.path.startswith("/_sandbox"):
            return self._control(request)(environ, start_response)
        try:
            operation, arguments = self._map.bind_to_environ(environ).match()
        except HTTPException as error:
            self._note("unknown", request, error.code)
            return error(environ, start_response)
        room, handler = self._handlers[operation]
        response = self._answer(room, handler, operation, request, arguments)
        return [] if response is None else response(environ, start_response)

    def _answer(
        self, room: Room, handler: Handler, operation: str, request: Request, arguments: Mapping[str, str]
    ) -> Response | None:
        """The answer, or None where the connection was reset instead."""
        take = self._world.faults.take
        if slow := take(operation, "slow"):
            time.sleep(slow.seconds)
        if fault := take(operation, "throttle", "unavailable", "broken", "unauthorized", "forbidden"):
            happened = replace(fault, operation=operation)  # an operation, no longer a pattern
            return self._noted(operation, request, room.problem(happened))
        if take(operation, "crash_before"):
            os._exit(137)
        if take(operation, "reset"):
            return self._reset(operation, request)
        response = _handled(handler, request, arguments)
        if take(operation, "crash_after"):
            os._exit(137)
        if take(operation, "lose_reply"):
            return self._reset(operation, request)
        if take(operation, "truncate"):
            body = response.get_data()
            response.set_data(body[: len(body) // 2])
            response.headers["Content-Length"] = str(len(body))
            response.headers["Connection"] = "close"
        return self._noted(operation, request, response)

    def _reset(self, operation: str, request: Request) -> None:
        """Reset the connection, as a router between us and the vendor would."""
        self._note(operation, request, None)
        connection: socket.socket = request.environ["werkzeug.socket"]
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        os.close(connection.detach())  # at once: the handler's own files would keep it open
        raise ConnectionAbortedError  # werkzeug gives the connection up without a word

    def _noted(self, operation: str, request: Request, response: Response) -> Response:
        self._note(operation, request, response.status_code)
        return response

    def _note(self, operation: str, request: Request, status: int | None) -> None:
        self.asked.append(Asked(operation, request.method, request.path, status))

    def _control(self, request: Request) -> Response:
        if request.path == "/_sandbox/requests":
            return answer([asdict(each) for each in tuple(self.asked)])
        if request.path == "/_sandbox/faults" and request.method == "DELETE":
            self._world.faults.clear()
        elif request.path == "/_sandbox/faults":
            try:
                self._world.faults.arm(fault_of(json.loads(request.get_data())))
            except (ValueError, TypeError):
                return answer({"error": f"a fault is kind (one of {KINDS}), operation, times, seconds"}, 400)
        return answer({"sandbox": "tunegate", "rooms": sorted(self._rooms), "life": asdict(self._world.life)})


def _handled(handler: Handler, request: Request, arguments: Mapping[str, str]) -> Response:
    """A handler's answer, whatever happens in it. A defect of ours is told by its type and place: its words
    may hold what was sent."""
    try:
        return handler(request, arguments)
    except HTTPException as error:  # a body that is not JSON, or not of the length it says
        return Response.force_type(error.get_response())
    except RecursionError:
        return answer({"error": "the body is nested too deeply"}, 400)
    except Exception as error:
        last = traceback.extract_tb(error.__traceback__)[-1]
        place = f"{Path(last.filename).name}:{last.lineno}"
        return answer({"error": f"a defect of the sandbox: {type(error).__name__} at {place}"}, 500)


def fault_of(told: Mapping[str, Any]) -> Fault:
    """A fault as it comes over the wire.

    Raises:
        ValueError, TypeError: it is none.
    """
    if not isinstance(told, Mapping):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise TypeError("a fault is an object")
    kind: Kind = told["kind"] if told.get("kind") in KINDS else _no_kind()
    return Fault(
        kind, str(told.get("operation", "*")), int(told.get("times", 1)), float(told.get("seconds", 1))
    )


def _no_kind() -> Kind:
    raise ValueError("no kind of fault")


def answer(body: Any, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """A JSON answer."""
    return Response(json.dumps(body), status, dict(headers or {}), mimetype="application/json")


class Server:
    """A running sandbox: `with Server(world, rooms) as box: box.environment`.

    Args:
        world: its state.
        rooms: the stand-ins it answers for.
        port: 0 takes a free one.
    """

    def __init__(self, world: World, rooms: Sequence[Room], *, port: int = 0) -> None:
        self.world = world
        self._rooms = rooms
        self.application = Application(world, rooms)
        self._server = make_server(HOST, port, self.application, threaded=True, request_handler=_QuietHandler)
        self._server.daemon_threads = True  # pyright: ignore[reportAttributeAccessIssue]
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.1,), daemon=True)

    @property
    def address(self) -> str:
        return f"http://{HOST}:{self._server.server_port}"

    @property
    def environment(self) -> dict[str, str]:
        """Variables that point every vendor's SDK at this sandbox."""
        found: dict[str, str] = {}
        for room in self._rooms:
            found |= room.environment(self.address)
        return found

    @property
    def asked(self) -> tuple[Asked, ...]:
        """Every request so far, in order."""
        return tuple(self.application.asked)

    def start(self) -> Self:
        for room in self._rooms:
            room.open()
        self._thread.start()
        return self

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        for room in self._rooms:
            room.close()
        self.world.close()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()


class _QuietHandler(WSGIRequestHandler):
    """Keeps connections open between requests, and says nothing of them on stderr: a request's line may
    hold what it should not."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def connection_dropped(self, error: BaseException, environ: Any = None) -> None:
        self.close_connection = True

    def log(self, type: str, message: str, *args: Any) -> None:
        """Nothing."""
