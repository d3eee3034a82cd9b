"""Exceptions of the SDKs → our errors, by type, status and the service's error code; never by message
text, which may quote what was sent and is not passed on."""

from __future__ import annotations

import json
import socket
import ssl
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any

from backends.openai.replies import name, part
from gateway.core.errors import Auth, BackendError, NotFound, RateLimited, Rejected, Unreachable

# Codes by which OpenAI says "pay first": waiting does not help.
_SPENT = frozenset({"insufficient_quota", "billing_hard_limit_reached", "billing_not_active"})

_FIXES: Mapping[str, str] = {
    "invalid_api_key": "put a valid key into the service's own variable; `tunegate backends doctor` names it",
    "model_not_found": "check the model's name and that this account may use it: `tunegate plan` says where",
    "model_not_available": "this account may not tune this model; plan again with another one",
    "invalid_training_file": "look at the rows with `tunegate data check`, and plan again",
    "DeploymentNotFound": "deploy it first: `tunegate jobs deploy`",
    "insufficient_quota": "add credit or raise the limit of the account, then resume the job",
}
_CREDENTIAL = (
    "the credential is missing, wrong or has expired; renew it, and check this machine's clock: "
    "`tunegate backends doctor`"
)
_FORBIDDEN = "ask for the right to tune and to manage files in this account, or take another region"
_WAIT = "nothing is wrong with the request; it is tried again"


def classify(error: Exception, *, backend: str, install: str) -> BackendError:
    """The typed error for an exception of `openai`, of Azure's identity library, or of its HTTP client.

    Args:
        install: how to get the SDK, for when it is missing.
    """
    types = {cls.__name__ for cls in type(error).__mro__}
    if isinstance(error, ModuleNotFoundError):
        return BackendError("the package it needs is not installed", backend=backend, fix=install)
    if types & {"APIStatusError", "HTTPStatusError"}:
        return _by_status(error, backend)
    if types & {"ClientAuthenticationError", "CredentialUnavailableError"}:
        return Auth("no identity could be used", backend=backend, fix=_CREDENTIAL)
    if types & {"APIConnectionError", "TransportError", "AzureError"}:
        return _unreachable(error, backend)
    if types & {"APIResponseValidationError", "DecodingError"} or isinstance(error, json.JSONDecodeError):
        return Unreachable(
            "the answer is not one of this protocol, or not whole; whether it was done is not known",
            backend=backend, retryable=True, fix=_WAIT,
        )  # fmt: skip
    if "OpenAIError" in types:  # the SDK's own, before any request: there is no credential
        return Auth("there is no credential for it", backend=backend, fix=_CREDENTIAL)
    return BackendError(f"failed with {type(error).__name__}", backend=backend)


def _by_status(error: Any, backend: str) -> BackendError:
    status = int(error.response.status_code)
    code, param = _code_of(error)
    said = f"{status}{f' {code}' if code else ''}{f', about {param}' if param else ''}"
    fix = _FIXES.get(code or "")
    if status == 401:
        return Auth(
            f"it does not know who asks ({said})", backend=backend, status=status, fix=fix or _CREDENTIAL
        )
    if status == 403:
        return Auth(
            f"this account may not do that ({said})", backend=backend, status=status, fix=fix or _FORBIDDEN
        )
    if status == 404:
        return NotFound(f"it is not there ({said})", backend=backend, status=status, fix=fix)
    if status == 429:
        spent = code in _SPENT
        return RateLimited(
            f"the account's quota is used up ({said})" if spent else f"too many requests ({said})",
            backend=backend, status=status, retryable=not spent,
            retry_after_s=None if spent else retry_after_s(error.response.headers), fix=fix or _WAIT,
        )  # fmt: skip
    if status == 408:
        return Unreachable(
            f"it gave up waiting ({said})", backend=backend, status=status, retryable=True, fix=_WAIT
        )
    if status == 409:
        return Rejected(f"something else is going on with it ({said})", backend=backend, status=status,
                        retryable=True, fix=_WAIT)  # fmt: skip
    if status >= 500:
        return BackendError(f"the service failed ({said})", backend=backend, status=status, retryable=True,
                            retry_after_s=retry_after_s(error.response.headers), fix=_WAIT)  # fmt: skip
    if status < 400:
        return BackendError(
            f"it sends us to another address ({said}), which is not followed", backend=backend, status=status,
            fix="name the address it stands at itself, in `endpoint`",
        )  # fmt: skip
    return Rejected(f"the service refused the request ({said})", backend=backend, status=status, fix=fix)


def _code_of(error: Any) -> tuple[str | None, str | None]:
    """The service's code for the error, and the parameter it concerns; their names only."""
    said = part({"body": error.body if hasattr(error, "body") else _json(error.response)}, "body")
    said = part(said, "error") or said  # the SDK has taken it out of its `error` already, mostly
    return name(said.get("code")) or name(said.get("type")), name(said.get("param"))


def _json(response: Any) -> object:
    try:
        return response.json()
    except ValueError:
        return None


def _unreachable(error: Exception, backend: str) -> Unreachable:
    """No answer. Whether the request arrived is not known, unless it cannot have."""
    why, fix = "there was no answer; whether it was done is not known", _WAIT
    for cause in _causes(error):
        if isinstance(cause, socket.gaierror):
            why, fix = (
                "its name is not known to this machine's DNS",
                "check the endpoint, and this machine's network",
            )
        elif isinstance(cause, ssl.SSLCertVerificationError):
            why = "its certificate does not hold here"
            fix = "check this machine's clock, and whether a proxy stands in between"
        elif isinstance(cause, ConnectionRefusedError):
            why, fix = "nothing listens at its address", "check the endpoint, and this machine's network"
        else:
            continue
        break
    return Unreachable(why, backend=backend, retryable=True, fix=fix)


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    for _ in range(10):
        if error is None:
            return
        yield error
        error = error.__cause__ or error.__context__


def retry_after_s(headers: Mapping[str, str]) -> float | None:
    """Seconds that `Retry-After` asks for; a date is measured by the server's own clock where it is told."""
    try:
        if milliseconds := headers.get("retry-after-ms"):
            return max(0.0, float(milliseconds) / 1000)
        if not (asked := headers.get("retry-after")):
            return None
        if asked.strip().replace(".", "", 1).isdigit():
            return float(asked)
        now = parsedate_to_datetime(headers["date"]) if headers.get("date") else datetime.now(UTC)
        return max(0.0, (parsedate_to_datetime(asked) - now).total_seconds())
    except (ValueError, TypeError):
        return None
