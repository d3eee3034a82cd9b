"""Removing what a tuning job left. Google keeps the job itself, which has no method to delete it."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

from backends.ledger import hashed_key
from backends.vertex import wire
from backends.vertex.client import Clients
from backends.vertex.places import location_of
from backends.vertex.storage import remove_folder

_MOST_WAIT_S = 120.0


def remove(clients: Clients, job: Mapping[str, Any], version: str) -> None:
    """Undeploy and delete the tuned model's endpoints, then the model; or an open model's weights."""
    tuned: Mapping[str, Any] = job.get("tunedModel") or {}
    endpoints = [tuned.get("endpoint"), *(each.get("endpoint") for each in tuned.get("checkpoints", ()))]
    for endpoint in dict.fromkeys(str(each) for each in endpoints if each):
        _remove_endpoint(clients, endpoint, version)
    if model := tuned.get("model"):
        _delete(clients, str(model).partition("@")[0], version)
    if (output := job.get("outputUri")) and _is_ours(job):
        remove_folder(clients, str(output))


def _is_ours(job: Mapping[str, Any]) -> bool:
    """Whether the weights lie in a folder made for this very job: nothing else is under it."""
    labels: Mapping[str, Any] = job.get("labels") or {}
    key = str(labels.get(wire.LABEL, ""))
    return bool(key) and str(job["outputUri"]).rstrip("/").endswith(f"/{hashed_key(key, 16)}")


def _remove_endpoint(clients: Clients, name: str, version: str) -> None:
    from google.api_core.exceptions import NotFound

    location = location_of(name)
    try:
        endpoint = clients.call("GET", location, f"{version}/{name}")
    except NotFound:
        return
    for deployed in endpoint.get("deployedModels", ()):
        path, body = f"{version}/{name}:undeployModel", {"deployedModelId": deployed["id"]}
        _wait(clients, location, clients.call("POST", location, path, body=body), version)
    _delete(clients, name, version)


def _delete(clients: Clients, name: str, version: str) -> None:
    from google.api_core.exceptions import NotFound

    location = location_of(name)
    try:
        operation = clients.call("DELETE", location, f"{version}/{name}")
    except NotFound:
        return
    _wait(clients, location, operation, version)


def _wait(clients: Clients, location: str, operation: Mapping[str, Any], version: str) -> None:
    """Until Google's operation is done: one step needs the one before. Whoever gives up may ask again."""
    give_up = time.monotonic() + _MOST_WAIT_S
    while not operation.get("done"):
        if time.monotonic() > give_up:
            raise TimeoutError
        time.sleep(1.0)
        operation = clients.call("GET", location, f"{version}/{operation['name']}")
