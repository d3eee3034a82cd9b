"""Errors in Google's shape. https://google.aip.dev/193"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from werkzeug.wrappers import Response

from backends.sandbox.faults import Fault
from backends.sandbox.server import answer
from backends.vertex.sandbox.described import Wrong

_TYPE = "type.googleapis.com/google.rpc."
_STATUS: Mapping[str, int] = {
    "INVALID_ARGUMENT": 400, "FAILED_PRECONDITION": 400, "UNAUTHENTICATED": 401, "PERMISSION_DENIED": 403,
    "NOT_FOUND": 404, "ALREADY_EXISTS": 409, "ABORTED": 409, "RESOURCE_EXHAUSTED": 429, "INTERNAL": 500,
    "UNAVAILABLE": 503,
}  # fmt: skip


def problem(
    status: str,
    message: str,
    *,
    reason: str | None = None,
    details: Sequence[Mapping[str, Any]] = (),
    headers: Mapping[str, str] | None = None,
) -> Response:
    """An error reply; `reason` is Google's finer name of it."""
    info = {"@type": f"{_TYPE}ErrorInfo", "reason": reason, "domain": "googleapis.com"}
    error: dict[str, Any] = {"code": _STATUS[status], "message": message, "status": status}
    if all_details := [*([info] if reason else []), *details]:
        error["details"] = all_details
    return answer({"error": error}, _STATUS[status], headers)


def refused(wrong: Sequence[Wrong]) -> Response:
    """A request that is not as described."""
    fields = [{"field": each.field, "description": each.text} for each in wrong]
    text = "; ".join(f"{each.field}: {each.text}" for each in wrong)
    details = [{"@type": f"{_TYPE}BadRequest", "fieldViolations": fields}]
    return problem("INVALID_ARGUMENT", f"Invalid JSON payload received: {text}", details=details)


def missing(what: str) -> Response:
    return problem("NOT_FOUND", f"{what} is not found.")


def of_fault(fault: Fault) -> Response:
    """What Google answers for a fault that was armed."""
    if fault.kind == "throttle":
        wait = math.ceil(fault.seconds)
        delay = {"@type": f"{_TYPE}RetryInfo", "retryDelay": f"{wait}s"}
        return problem(
            "RESOURCE_EXHAUSTED",
            "Resource exhausted, please try again later.",
            reason="RATE_LIMIT_EXCEEDED",
            details=[delay],
            headers={"Retry-After": str(wait)},
        )
    if fault.kind == "unavailable":
        return problem("UNAVAILABLE", "The service is currently unavailable.")
    if fault.kind == "unauthorized":
        return problem("UNAUTHENTICATED", "Invalid authentication.", reason="ACCESS_TOKEN_EXPIRED")
    if fault.kind == "forbidden":
        return problem("PERMISSION_DENIED", "Permission denied.", reason="IAM_PERMISSION_DENIED")
    return problem("INTERNAL", "Internal error encountered.")
