"""AWS's SDK clients of one region; the only place that imports `boto3`.

Credentials, profiles and endpoints come from the SDK's own chain. Nothing of them is kept here.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping
from importlib import import_module
from typing import Any, Literal

Service = Literal["bedrock", "create", "bedrock-runtime", "s3", "sts", "iam"]

# A create is sent once: what a lost reply leaves open, the reconciler looks up. Reading may be repeated.
_ONCE = {"mode": "standard", "total_max_attempts": 1}
_THRICE = {"mode": "standard", "total_max_attempts": 3}
_SETTINGS: Mapping[Service, Mapping[str, Any]] = {
    "bedrock": {"retries": _THRICE},
    "create": {"retries": _ONCE},
    # Throttled answers are asked for again, after AWS's `x-amz-retry-after` or a growing pause.
    "bedrock-runtime": {
        "retries": {"mode": "standard", "total_max_attempts": 6},
        "read_timeout": 600,
        "max_pool_connections": 16,
    },
    "s3": {"retries": _THRICE, "max_pool_connections": 16},
    "sts": {"retries": _THRICE},
    "iam": {"retries": _THRICE},
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
        boto3: Any = import_module("boto3")  # ships no types
        from botocore.config import Config

        if self._session is None:
            self._session = boto3.session.Session(region_name=self._region or None)
        settings = {"connect_timeout": 10, "read_timeout": 60, **_SETTINGS[service]}
        name = "bedrock" if service == "create" else service
        return self._session.client(name, config=Config(user_agent_extra="tunegate", **settings))
