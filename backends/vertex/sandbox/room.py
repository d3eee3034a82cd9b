"""The room: every operation behind the check of its caller's token."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import ClassVar

from werkzeug.wrappers import Request, Response

from backends.sandbox.faults import Fault
from backends.sandbox.server import Handler, Room, Route
from backends.sandbox.world import World
from backends.vertex.sandbox.account import PROJECT, Account
from backends.vertex.sandbox.problems import of_fault
from backends.vertex.sandbox.serving import Serving
from backends.vertex.sandbox.storage import Storage
from backends.vertex.sandbox.tuning import Tuning


class VertexRoom(Room):
    """Vertex AI, Cloud Storage and Google's token service, under `/vertex`."""

    name: ClassVar[str] = "vertex"

    def __init__(self, world: World) -> None:
        super().__init__(world)
        self._account = Account(world)

    def routes(self) -> Sequence[Route]:
        storage = Storage(self.world)
        parts = (storage, Tuning(self.world, storage), Serving(self.world))
        guarded = [
            replace(route, handler=self._guarded(route.handler)) for part in parts for route in part.routes()
        ]
        token = Route("POST", "/token", "token", lambda request, names: self._account.token(request))
        return (token, *guarded)

    def environment(self, address: str) -> Mapping[str, str]:
        return {
            "GOOGLE_APPLICATION_CREDENTIALS": str(self._account.key_file(address)),
            "GOOGLE_CLOUD_PROJECT": PROJECT,
            "GOOGLE_VERTEX_BASE_URL": f"{address}/{self.name}",
            "STORAGE_EMULATOR_HOST": f"{address}/{self.name}",
            # Nothing is looked for beside the sandbox: no metadata server, no bucket for tracing.
            "NO_GCE_CHECK": "true",
            "DISABLE_GCS_PYTHON_CLIENT_OTEL_BUCKET_METADATA": "true",
        }

    def problem(self, fault: Fault) -> Response:
        return of_fault(fault)

    def _guarded(self, handler: Handler) -> Handler:
        def guarded(request: Request, names: Mapping[str, str]) -> Response:
            no = self._account.refuses(request)
            return handler(request, names) if no is None else no

        return guarded
