"""Answers from tuned endpoints and base models, through google-genai."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Literal, TypeVar, cast

from backends.vertex.client import Clients
from gateway.core.errors import BackendError, RateLimited
from gateway.core.job import ChatMessage, Completion

Classify = Callable[[Exception], BackendError]
Chat = Sequence[ChatMessage]
_T = TypeVar("_T")
_AT_ONCE = 8
_TRIES = 6
_LONGEST_WAIT_S = 60.0
_FINISH: Mapping[str, Literal["stop", "length"]] = {"STOP": "stop", "MAX_TOKENS": "length"}


def complete(
    clients: Clients, location: str, model: str, batch: Sequence[Chat], limit: int, classify: Classify
) -> tuple[Completion, ...]:
    """Greedy answers to a batch of chats, some at once, in the order asked.

    Args:
        model: an endpoint's resource name, or `publishers/google/models/<id>`.
        limit: most tokens of an answer.
    """
    client: Any = clients.models(location)

    def one(chat: Chat) -> Completion:
        def ask() -> Completion:
            began = time.monotonic()
            reply = client.models.generate_content(model=model, **_request(chat, limit))
            return _completion(reply, time.monotonic() - began)

        return _patiently(ask, classify)

    with ThreadPoolExecutor(max_workers=min(_AT_ONCE, max(1, len(batch)))) as pool:
        try:
            return tuple(pool.map(one, batch))
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)  # the rest would fail alike, and be paid for
            raise


def stream(clients: Clients, location: str, model: str, chat: Chat, limit: int) -> Iterator[str]:
    """Pieces of one answer as they come."""
    client: Any = clients.models(location)
    for reply in client.models.generate_content_stream(model=model, **_request(chat, limit)):
        if piece := _text(reply):
            yield piece


def _patiently(ask: Callable[[], _T], classify: Classify) -> _T:
    """Ask again when Google says to wait, as long as it says so."""
    for tried in range(1, _TRIES + 1):
        try:
            return ask()
        except Exception as error:
            found = classify(error)
            if not (isinstance(found, RateLimited) and found.retryable) or tried == _TRIES:
                raise found from None
            wait = found.retry_after_s if found.retry_after_s is not None else 2.0**tried
            time.sleep(min(wait, _LONGEST_WAIT_S))
    raise AssertionError("unreachable")


def _request(chat: Chat, limit: int) -> dict[str, Any]:
    """What google-genai is asked. Thinking is held to the least, as Google advises for tuned models: they
    were trained on answers alone, and thoughts would use up the answer's tokens. Base and tuned alike, so
    that they are compared under the same terms.
    https://cloud.google.com/vertex-ai/generative-ai/docs/models/gemini-tuning
    """
    from google.genai import types

    system = "\n\n".join(turn.content for turn in chat if turn.role == "system")
    config = types.GenerateContentConfig(
        temperature=0.0,
        candidate_count=1,
        max_output_tokens=limit,
        system_instruction=system or None,
        thinking_config=types.ThinkingConfig(thinking_level=types.ThinkingLevel.MINIMAL),
    )
    return {"contents": _contents(chat), "config": config}


def _contents(chat: Chat) -> list[dict[str, Any]]:
    """Turns in Google's roles. What a tool said is told as the user's, since a chat here keeps no name of
    the tool; turns of one role in a row become one, because roles alternate there."""
    contents: list[dict[str, Any]] = []
    for turn in chat:
        if turn.role == "system":
            continue
        role = "model" if turn.role == "assistant" else "user"
        if not contents or contents[-1]["role"] != role:
            contents.append({"role": role, "parts": []})
        contents[-1]["parts"].append({"text": turn.content})
    return contents


def _completion(reply: Any, latency_s: float) -> Completion:
    """An answer; a blocked one is empty. Thoughts are billed as output, and counted so."""
    usage = reply.usage_metadata
    reason = reply.candidates[0].finish_reason if reply.candidates else None
    written = getattr(usage, "candidates_token_count", None)
    thought = getattr(usage, "thoughts_token_count", None)
    return Completion(
        _text(reply),
        latency_s,
        input_tokens=getattr(usage, "prompt_token_count", None),
        output_tokens=None if written is None and thought is None else (written or 0) + (thought or 0),
        finish=_FINISH.get(str(getattr(reason, "value", reason)), "other"),
    )


def _text(reply: Any) -> str:
    content: Any = reply.candidates[0].content if reply.candidates else None
    parts = cast("list[Any]", (content and content.parts) or [])
    return "".join(part.text for part in parts if part.text and not part.thought)
