"""AWS's SDK clients of one region; the only place that imports `boto3`.

Credentials, profiles and endpoints come from the SDK's own chain. Nothing of them is kept here.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping
from functools import cache
from importlib import import_module
from typing import Any, Literal

Service = Literal["bedrock", "create", "bedrock-runtime", "s3", "put", "sts", "iam"]

# A create is sent once: what a lost reply leaves open, the reconciler looks up. Reading may be repeated.
_ONCE = {"mode": "standard", "total_max_attempts": 1}
_TWICE = {"mode": "standard", "total_max_attempts": 2}
_S3 = {"us_east_1_regional_endpoint": "regional"}  # else that region is served by the world's old address
_SETTINGS: Mapping[Service, Mapping[str, Any]] = {
    "bedrock": {"retries": _TWICE},
    "create": {"retries": _ONCE},
    # Throttled answers are asked for again, after AWS's `x-amz-retry-after` or a growing pause.
    "bedrock-runtime": {
        "retries": {"mode": "standard", "total_max_attempts": 6},
        "read_timeout": 600,
        "max_pool_connections": 16,
    },
    "s3": {"retries": _TWICE, "max_pool_connections": 16, "s3": _S3},
    "put": {"retries": _ONCE, "s3": _S3},
    "sts": {"retries": _TWICE},
    "iam": {"retries": _TWICE},
}


class Clients:
    """The clients of one region, each made when it is first needed; for any number of threads."""

    def __init__(self, region: str) -> None:
        self._region = region
        self._made: dict[Service, Any] = {}
        self._session: Any = None
        self._lock = threading.Lock()

    def __getitem__(self, service: Service) -> Any:
        if service not in self._made:
            with self._lock:
                if service not in self._made:
                    self._made[service] = self._make(service)
        return self._made[service]

    def address(self, service: Service) -> str:
        """Where that client's calls go, as the SDK resolved it."""
        return str(self[service].meta.endpoint_url)

    def _make(self, service: Service) -> Any:
        from botocore.config import Config

        if self._session is None:
            self._session = _new_session(self._region)
        settings = {"connect_timeout": 10, "read_timeout": 60, **_SETTINGS[service]}
        name = {"create": "bedrock", "put": "s3"}.get(service, service)
        client = self._session.client(name, config=Config(user_agent_extra="tunegate", **settings))
        client.meta.events.register("after-call", _whole)
        return client


def _whole(http_response: Any, model: Any, **_: Any) -> None:
    """Refuse an answer that was cut off: the SDK would read half of a JSON document as an empty one.

    Raises:
        IncompleteReadError: fewer bytes came than were announced.
    """
    announced = http_response.headers.get("content-length")
    streams = model.has_streaming_output or model.has_event_stream_output
    if announced is None or streams or model.http["method"] == "HEAD":
        return
    if len(http_response.content) < int(announced):
        from botocore.exceptions import IncompleteReadError

        came = len(http_response.content)
        raise IncompleteReadError(actual_bytes=came, expected_bytes=int(announced))


def _new_session(region: str) -> Any:
    """A session that finds its credential anew, and shares what AWS's services look like with all others."""
    boto3, core = import_module("boto3"), import_module("botocore.session")  # ship no types
    session: Any = core.get_session()
    session.register_component("data_loader", _loader())
    return boto3.session.Session(botocore_session=session, region_name=region or None)


@cache
def _loader() -> Any:
    return import_module("botocore.loaders").create_loader()
