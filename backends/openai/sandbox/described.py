"""Requests to the sandbox, held to the vendor's own types: those of the `openai` package."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from functools import cache
from typing import Any

from pydantic import TypeAdapter, ValidationError

Body = Mapping[str, Any]

# The ranges of OpenAI's API description, which the package's types do not carry.
_RANGES: Mapping[str, tuple[float, float]] = {
    "n_epochs": (1, 50),
    "batch_size": (1, 256),
    "learning_rate_multiplier": (0, float("inf")),
    "beta": (0, 2),
}
_INTEGERS = ("n_epochs", "batch_size")
_SAFE = re.compile(r"[\w.-]{1,200}")


class Undescribed(Exception):
    """A request that the description does not know. `param` is what is wrong."""

    def __init__(self, param: str, why: str) -> None:
        super().__init__(f"{why}: {param}")
        self.param = param


def job_request(content: bytes, *, extra: frozenset[str] = frozenset()) -> Body:
    """The body of a create call.

    Args:
        extra: what this service takes beside the described.

    Raises:
        Undescribed: a field is missing, unknown, of another type or out of its range.
    """
    from openai.types.fine_tuning import JobCreateParams

    body = _object(content)
    _check({name: value for name, value in body.items() if name not in extra}, JobCreateParams)
    kind = body.get("method", {}).get("type", "supervised")
    for name, value in body.get("method", {}).get(kind, {}).get("hyperparameters", {}).items():
        low, high = _RANGES.get(name, (float("-inf"), float("inf")))
        if value != "auto" and not (low <= value <= high and (value > 0 or name in _INTEGERS)):
            raise Undescribed(f"method.{kind}.hyperparameters.{name}", "out of range")
    if not 0 <= (body.get("seed") or 0) <= 2**31 - 1:
        raise Undescribed("seed", "out of range")
    if body.get("suffix") is not None and not 1 <= len(body["suffix"]) <= 64:
        raise Undescribed("suffix", "1 to 64 characters")
    metadata: Mapping[str, str] = body.get("metadata") or {}
    if len(metadata) > 16 or any(len(k) > 64 or len(v) > 512 for k, v in metadata.items()):
        raise Undescribed("metadata", "at most 16 pairs of 64 and 512 characters")
    return body


def chat_request(content: bytes, *, extra: frozenset[str] = frozenset()) -> Body:
    """The body of a chat completion.

    Raises:
        Undescribed: as above.
    """
    from openai.types.chat import completion_create_params as params

    body = _object(content)
    described = (
        params.CompletionCreateParamsStreaming
        if body.get("stream")
        else params.CompletionCreateParamsNonStreaming
    )
    _check({name: value for name, value in body.items() if name not in extra}, described)
    return body


@cache
def _adapter(described: type) -> TypeAdapter[Any]:
    return TypeAdapter(described)


def _object(content: bytes) -> dict[str, Any]:
    try:
        body = json.loads(content)
    except ValueError:
        raise Undescribed("body", "not JSON") from None
    if not isinstance(body, dict):
        raise Undescribed("body", "not an object")
    return body  # pyright: ignore[reportUnknownVariableType]


def _check(body: Body, described: type) -> None:
    """Types as described, and no field that is not: what validation leaves out is unknown there."""
    try:
        known = _adapter(described).validate_json(json.dumps(body), strict=True)
    except ValidationError as error:
        place = error.errors(include_url=False, include_input=False, include_context=False)[0]["loc"]
        raise Undescribed(".".join(str(step) for step in place), "missing, or of another type") from None
    if unknown := next(_left_out(body, known), None):
        raise Undescribed(unknown if _SAFE.fullmatch(unknown) else "body", "unrecognized")


def _left_out(asked: Any, known: Any, path: str = "") -> Iterator[str]:
    if isinstance(asked, Mapping) and isinstance(known, Mapping):
        for name, value in asked.items():  # pyright: ignore[reportUnknownVariableType]
            if name not in known:
                yield f"{path}{name}"
            else:
                yield from _left_out(value, known[name], f"{path}{name}.")
