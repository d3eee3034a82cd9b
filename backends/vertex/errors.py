"""Exceptions of Google's clients → our errors: by type, status and Google's names, never by message.

Three clients, three families of exceptions; `_Reply` is what their error replies have in common. Google
names a failure three times, each finer: the HTTP status, a status word (`RESOURCE_EXHAUSTED`), and often a
reason (`SERVICE_DISABLED`). https://google.aip.dev/193
"""

from __future__ import annotations

import json
import re
import socket
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, cast

from gateway.core.errors import Auth, BackendError, NotFound, RateLimited, Rejected, Unreachable

_SIGN_IN = (
    "sign in with `gcloud auth application-default login`, or set GOOGLE_APPLICATION_CREDENTIALS to the "
    "path of a service account's key"
)
_RENEW = f"{_SIGN_IN}; where that is right, see that this machine's clock is: tokens hold for minutes"
_LOOKED_UP = "nothing to do: what was asked is looked up before it is asked again"
_ROLES = (
    "the account needs `Vertex AI User` on the project, `Storage Object User` and `Storage Bucket Viewer` "
    "on the bucket"
)
# Reasons of google.api.ErrorReason that a person must do something about.
_REASON_FIXES: Mapping[str, str] = {
    "SERVICE_DISABLED": "turn the API on: `gcloud services enable aiplatform.googleapis.com`",
    "BILLING_DISABLED": "turn on billing for the project of options.vertex.project",
    "CONSUMER_INVALID": "see that options.vertex.project names a project of yours",
    "USER_PROJECT_DENIED": "see that options.vertex.project names a project this account may use",
    "ACCESS_TOKEN_EXPIRED": _RENEW,
    "ACCESS_TOKEN_SCOPE_INSUFFICIENT": "sign in again with the scope cloud-platform",
    "LOCATION_POLICY_VIOLATED": "your organisation's policy forbids this location; choose another",
    "LOCATION_ORG_POLICY_VIOLATED": "your organisation's policy forbids this location; choose another",
}
_THROTTLED = ("rateLimitExceeded", "userRateLimitExceeded")  # Cloud Storage says these with 403, too
_USED_UP = ("RESOURCE_QUOTA_EXCEEDED", "quotaExceeded", "dailyLimitExceeded")
_FIELD = re.compile(r"[A-Za-z_][\w.\[\]]{0,120}")
_DELAY = re.compile(r"(\d+(?:\.\d+)?)s")
_CODE = re.compile(r"[a-z_]{3,40}")


@dataclass(frozen=True, slots=True)
class _Reply:
    """An error reply: HTTP status, status word, reasons, the wait asked for, names of wrong fields."""

    http: int
    word: str = ""
    reasons: tuple[str, ...] = ()
    retry_after_s: float | None = None
    fields: tuple[str, ...] = field(default=())

    @property
    def name(self) -> str:
        return self.word or f"HTTP {self.http}"


def classify(error: Exception, backend: str) -> BackendError:
    """The typed error for an exception of google-auth, Cloud Storage, google-genai, or what is below."""
    if isinstance(error, BackendError):
        return error
    if isinstance(error, ImportError):
        fix = "pip install 'tunegate[vertex]'"
        return BackendError("a package it needs is not installed", backend=backend, fix=fix)
    if (credential := _credential(error, backend)) is not None:
        return credential
    if (reply := _reply(error)) is not None:
        return _refused(reply, backend)
    if _is_half_answer(error):
        text = "Google's answer broke off, or was no JSON"
        return BackendError(text, backend=backend, retryable=True, fix=_LOOKED_UP)
    if _is_no_answer(error):
        return _unreachable(error, backend)
    return BackendError(f"failed with {type(error).__name__}", backend=backend)


# -- credentials -----------------------------------------------------------------------------------


def _credential(error: Exception, backend: str) -> BackendError | None:
    if _is_one(error, "google.auth.exceptions.DefaultCredentialsError"):
        return Auth("no usable Google credential was found", backend=backend, fix=_SIGN_IN)
    if _is_one(error, "google.auth.exceptions.RefreshError"):
        if cast("Any", error).retryable:
            return Unreachable(
                "Google did not renew the credential just now", backend=backend, retryable=True
            )
        return Auth(
            f"Google did not renew the credential ({_oauth_code(error)})", backend=backend, fix=_RENEW
        )
    if _is_one(error, "google.auth.exceptions.TransportError"):
        return _unreachable(error, backend)
    if _is_one(error, "google.auth.exceptions.GoogleAuthError"):
        return Auth(
            f"the Google credential cannot be used ({type(error).__name__})", backend=backend, fix=_SIGN_IN
        )
    return None


def _oauth_code(error: Exception) -> str:
    """OAuth's own word, as in `invalid_grant`; its description may hold anything, and is left out."""
    details = error.args[1] if len(error.args) > 1 else None
    code = cast("Mapping[str, object]", details).get("error") if isinstance(details, Mapping) else None
    return code if isinstance(code, str) and _CODE.fullmatch(code) else type(error).__name__


# -- replies ---------------------------------------------------------------------------------------


def _reply(error: Exception) -> _Reply | None:
    told: Any = error
    if _is_one(error, "google.api_core.exceptions.GoogleAPICallError"):
        return _read(int(told.code or 0), _json(told.response), _headers(told.response))
    if _is_one(error, "google.genai.errors.APIError"):
        return _read(int(told.code or 0), told.details, _headers(told.response))
    return None


def _json(response: Any) -> object:
    try:
        return response.json()
    except (AttributeError, ValueError):
        return None


def _headers(response: Any) -> Mapping[str, str]:
    return getattr(response, "headers", None) or {}


def _read(http: int, body: object, headers: Mapping[str, str]) -> _Reply:
    told = _mapping(_mapping(body).get("error") or body)
    details = [_mapping(item) for item in _items(told.get("details"))]
    reasons = [item.get("reason") for item in (*details, *map(_mapping, _items(told.get("errors"))))]
    wrong = [_mapping(item).get("field") for each in details for item in _items(each.get("fieldViolations"))]
    word = told.get("status")
    return _Reply(
        http,
        word if isinstance(word, str) and word.isupper() and len(word) < 40 else "",
        tuple(reason for reason in reasons if isinstance(reason, str)),
        _wait(details, headers),
        tuple(name for name in wrong if isinstance(name, str) and _FIELD.fullmatch(name)),
    )


def _mapping(value: object) -> Mapping[str, Any]:
    return cast("Mapping[str, Any]", value) if isinstance(value, Mapping) else {}


def _items(value: object) -> Sequence[object]:
    return cast("Sequence[object]", value) if isinstance(value, list | tuple) else ()


def _wait(details: Sequence[Mapping[str, Any]], headers: Mapping[str, str]) -> float | None:
    """Seconds to wait: `Retry-After`, or the detail `RetryInfo`."""
    told = headers.get("Retry-After", "")
    if told.isdigit():
        return float(told)
    delays = (_DELAY.fullmatch(str(detail.get("retryDelay", ""))) for detail in details)
    return next((float(found[1]) for found in delays if found), None)


def _refused(reply: _Reply, backend: str) -> BackendError:
    """What an error reply means. Any 5xx and every aborted call may have been carried out all the same:
    they are plain `BackendError`s, after which a job is looked up before it is asked for again."""
    common: dict[str, Any] = {"backend": backend, "status": reply.http}
    fix = next((_REASON_FIXES[reason] for reason in reply.reasons if reason in _REASON_FIXES), None)
    throttled = any(reason in _THROTTLED for reason in reply.reasons)
    if reply.http == 401:
        return Auth(f"Google does not take the credential ({reply.name})", **common, fix=fix or _RENEW)
    if reply.http == 429 or throttled:
        return _limited(reply, common, fix)
    if reply.http == 403:
        return Auth(f"Google does not allow it ({_why(reply)})", **common, fix=fix or _ROLES)
    if reply.http == 404:
        fix = fix or "it may have been deleted, or be in another project or region: see options.vertex"
        return NotFound("Google knows no such thing", **common, fix=fix)
    if reply.http in (408, 504):
        return Unreachable(f"Google did not answer in time ({reply.name})", **common, retryable=True)
    if reply.http >= 500 and reply.http != 501:
        return BackendError(
            f"Google failed ({reply.name})", **common, retryable=True, retry_after_s=reply.retry_after_s
        )
    if reply.word in ("ABORTED", "CANCELLED"):
        return BackendError(f"Google broke it off ({reply.name})", **common, retryable=True)
    return Rejected(
        f"Google refused the request ({_why(reply)})",
        **common,
        fix=fix
        or "see that the model is tuned in this region, and that the dataset and settings are allowed",
    )


def _limited(reply: _Reply, common: Mapping[str, Any], fix: str | None) -> RateLimited:
    used_up = any(reason in _USED_UP for reason in reply.reasons)
    more = "ask for more quota in Google's console, or let other jobs end"
    return RateLimited(
        f"a quota is used up at Google ({reply.name})" if used_up else "Google asks to wait",
        **common,
        retryable=not used_up,
        retry_after_s=reply.retry_after_s,
        fix=fix or (more if used_up else None),
    )


def _why(reply: _Reply) -> str:
    """The status word, the reasons that are names, and which fields are wrong: no free text."""
    names = [reason for reason in reply.reasons if _FIELD.fullmatch(reason)]
    told = ", ".join(dict.fromkeys((reply.name, *names)))
    return f"{told} at {', '.join(reply.fields)}" if reply.fields else told


# -- no reply --------------------------------------------------------------------------------------


def _is_no_answer(error: Exception) -> bool:
    """Nothing came back, or it cannot be known. What broke off half-way counts: it may have been done."""
    if isinstance(error, FileNotFoundError | PermissionError):
        return False
    libraries = ("httpx.TransportError", "google.api_core.exceptions.RetryError")
    return isinstance(error, OSError) or _is_one(error, *libraries)  # those of `requests` are OSErrors


def _is_half_answer(error: Exception) -> bool:
    return isinstance(error, json.JSONDecodeError | UnicodeDecodeError) or _is_one(
        error,
        "requests.exceptions.ChunkedEncodingError",
        "google.cloud.storage.exceptions.DataCorruption",
        "google.genai.errors.UnknownApiResponseError",
    )


def _is_one(error: Exception, *names: str) -> bool:
    """Whether an exception is of one of these types, by dotted name. A library that was never imported
    raised nothing, and is not imported to find that out."""
    for name in names:
        module, _, cls = name.rpartition(".")
        found = getattr(sys.modules.get(module), cls, None)
        if isinstance(found, type) and isinstance(error, found):
            return True
    return False


def _unreachable(error: Exception, backend: str) -> Unreachable:
    if any(isinstance(cause, socket.gaierror) or _is_name_error(cause) for cause in _causes(error)):
        return Unreachable(
            "Google's address could not be resolved",
            backend=backend,
            retryable=True,
            fix="see that this machine has a network and a name server; options.vertex.base_url or a "
            "proxy may name another host",
        )
    return Unreachable(
        f"no answer came from Google ({type(error).__name__})",
        backend=backend,
        retryable=True,
        fix=_LOOKED_UP,
    )


def _is_name_error(error: BaseException) -> bool:
    return type(error).__name__ == "NameResolutionError"  # urllib3 2, which keeps no cause


def _causes(error: BaseException) -> Iterator[BaseException]:
    """An exception and everything it came of, by whichever of the ways libraries link them."""
    waiting, seen = [error], set[int]()
    while waiting:
        each = waiting.pop()
        if id(each) in seen:
            continue
        seen.add(id(each))
        yield each
        linked = (each.__cause__, each.__context__, getattr(each, "reason", None), *each.args)
        waiting += [cause for cause in linked if isinstance(cause, BaseException)]
