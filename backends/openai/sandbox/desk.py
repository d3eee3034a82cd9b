"""What every operation of the three stand-ins begins and ends with: the key, refusals, things, pages."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar

from werkzeug.wrappers import Request, Response

from backends.openai.sandbox.described import Undescribed
from backends.sandbox.faults import Fault
from backends.sandbox.server import Handler, Room, answer
from backends.sandbox.world import Thing

Arguments = Mapping[str, str]

_FAULTS: Mapping[str, tuple[int, str, str]] = {
    "throttle": (429, "rate_limit_exceeded", "requests"),
    "unavailable": (503, "service_unavailable", "server_error"),
    "broken": (500, "server_error", "server_error"),
    "unauthorized": (401, "invalid_api_key", "invalid_request_error"),
    "forbidden": (403, "insufficient_permissions", "invalid_request_error"),
}


class Refused(Exception):
    """A request that is answered with an error, in the vendor's shape."""

    def __init__(
        self, status: int, message: str, *, code: str | None = None, param: str | None = None
    ) -> None:
        super().__init__(message)
        self.status, self.message, self.code, self.param = status, message, code, param


class Desk(Room):
    """Things are kept under the room's name, so that rooms do not mix."""

    key: ClassVar[str]

    # -- errors --------------------------------------------------------------------------------------

    def guarded(self, handler: Handler) -> Handler:
        """A handler behind the key, whose refusals are answered in the vendor's shape."""

        def handle(request: Request, arguments: Arguments) -> Response:
            try:
                self.admit(request)
                with self.world.lock:
                    return handler(request, arguments)
            except Refused as refused:
                return self.error(refused.status, refused.message, refused.code, refused.param)
            except Undescribed as error:
                return self.error(400, str(error), None, error.param)

        return handle

    def admit(self, request: Request) -> None:
        """Only the sandbox's own key opens it: a real one that came here by mistake is told so."""
        if request.headers.get("Authorization") != f"Bearer {self.key}":
            raise Refused(401, "Incorrect API key provided", code="invalid_api_key")

    def error(
        self,
        status: int,
        message: str,
        code: str | None,
        param: str | None,
        kind: str = "invalid_request_error",
    ) -> Response:
        return answer({"error": {"message": message, "type": kind, "param": param, "code": code}}, status)

    def problem(self, fault: Fault) -> Response:
        status, code, kind = _FAULTS[fault.kind]
        response = self.error(status, "made to go wrong in this rehearsal", code, None, kind)
        if fault.kind == "throttle":
            response.headers["Retry-After"] = f"{fault.seconds:g}"
        return response

    # -- things --------------------------------------------------------------------------------------

    def put(self, kind: str, thing: Thing) -> None:
        self.world.put(f"{self.name}.{kind}", thing["id"], thing)

    def get(self, kind: str, id: str) -> Thing:
        thing = self.world.get(f"{self.name}.{kind}", id)
        if thing is None:
            raise Refused(404, f"No such {kind}")
        return thing

    def page(
        self, request: Request, oldest_first: Sequence[Thing], *, default: int
    ) -> tuple[list[Thing], bool]:
        """One page of a listing, newest first, and whether there are more."""
        things = list(reversed(list(oldest_first)))
        if request.args.get("order") == "asc":
            things.reverse()
        if after := request.args.get("after"):
            places = [place for place, thing in enumerate(things) if thing["id"] == after]
            if not places:
                raise Refused(400, "There is nothing by the id in `after`", param="after")
            things = things[places[0] + 1 :]
        limit = max(1, request.args.get("limit", default, type=int))
        return things[:limit], len(things) > limit
