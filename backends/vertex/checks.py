"""What must be so before a job can be sent: asked of Google, and only read. No secret is shown."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

from backends.base import Check
from backends.vertex import storage, wire
from backends.vertex.client import CONNECT_TIMEOUT_S, Clients
from gateway.core.errors import BackendError

_TIMEOUT = (CONNECT_TIMEOUT_S, 30.0)
_RIGHTS = ("storage.objects.create", "storage.objects.get", "storage.objects.delete")


def check(
    clients: Clients,
    options: wire.VertexOptions,
    region: str,
    backend: str,
    classify: Callable[[Exception], BackendError],
) -> tuple[Check, ...]:
    """Credential, API and bucket, in that order; what cannot be asked without the one before is left out."""

    def asked(name: str, what: Callable[[], Check]) -> Check:
        try:
            return what()
        except Exception as error:
            found = classify(error)
            return Check(name, "unknown" if found.retryable else "missing", found.fix or found.message)

    found = [asked("credential", lambda: _credential(clients))]
    if found[0].state == "ok":
        found.append(asked("tuning jobs", lambda: _jobs(clients, region)))
        name = wire.bucket_of(options, region)
        found.append(asked(f"bucket {name}", lambda: _bucket(clients, name, region, backend)))
        if found[-1].state == "ok":
            found.append(asked("rights on the bucket", lambda: _rights(clients, name)))
            found.append(asked("deleted is gone", lambda: _soft_delete(clients, name, region, backend)))
    return tuple(found)


def _credential(clients: Clients) -> Check:
    from google.auth.transport.requests import Request

    credential: Any = clients.credential
    if not credential.valid:
        credential.refresh(cast("Any", Request)())
    return Check("credential", "ok")


def _jobs(clients: Clients, region: str) -> Check:
    path = f"v1/projects/{clients.project}/locations/{region}/tuningJobs"
    clients.call("GET", region, path, query={"pageSize": "1"})
    return Check("tuning jobs", "ok")


def _bucket(clients: Clients, name: str, region: str, backend: str) -> Check:
    storage.bucket_near(clients, name, region, backend)
    return Check(f"bucket {name}", "ok")


def _rights(clients: Clients, name: str) -> Check:
    bucket = cast("Any", clients.storage).bucket(name)
    held = bucket.test_iam_permissions(list(_RIGHTS), timeout=_TIMEOUT, retry=None)
    if lacking := [right for right in _RIGHTS if right not in held]:
        return Check("rights on the bucket", "missing", f"this account lacks {', '.join(lacking)}")
    return Check("rights on the bucket", "ok")


def _soft_delete(clients: Clients, name: str, region: str, backend: str) -> Check:
    """Whether a deleted file is gone at once: new buckets keep what was deleted for seven days."""
    policy = cast("Any", storage.bucket_near(clients, name, region, backend)).soft_delete_policy
    seconds = int(policy.retention_duration_seconds or 0) if policy else 0
    if seconds == 0:
        return Check("deleted is gone", "ok")
    fix = f"`gcloud storage buckets update gs://{name} --clear-soft-delete`"
    return Check(
        "deleted is gone", "missing", f"the bucket keeps deleted files {seconds // 86400} days: {fix}"
    )
