"""Answers of a model: greedy, several at a time, patient with a service that says it is asked too often."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

from backends.openai import client as clients
from backends.openai import replies, wire
from gateway.core.errors import BackendError, RateLimited
from gateway.core.job import ChatMessage, Completion

if TYPE_CHECKING:
    from openai import OpenAI

AT_ONCE = 8
TRIES = 6  # of one answer
LONGEST_WAIT_S = 60.0
ANSWER_S = 300.0

Request = Mapping[str, Any]  # all of it but the messages
Classify = Callable[[Exception], BackendError]


def answers(
    client: OpenAI, request: Request, batch: Sequence[Sequence[ChatMessage]], classify: Classify
) -> tuple[Completion, ...]:
    """An answer to every chat, in order.

    Raises:
        BackendError: one of them failed for good; no more are asked for.
    """
    with ThreadPoolExecutor(AT_ONCE) as pool:
        asked = [pool.submit(_answer, client, request, chat, classify) for chat in batch]
        try:
            return tuple(answer.result() for answer in asked)
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


def _answer(client: OpenAI, request: Request, chat: Sequence[ChatMessage], classify: Classify) -> Completion:
    patient = client.with_options(timeout=clients.timeout(ANSWER_S))
    failures = 0
    while True:
        started = time.monotonic()
        try:
            reply = clients.as_json(patient.chat.completions.create(**request, messages=wire.turns(chat)))
            return replies.completion(reply, time.monotonic() - started)
        except Exception as error:
            failed = classify(error)
        failures += 1
        if not (isinstance(failed, RateLimited) and failed.retryable) or failures == TRIES:
            raise failed
        time.sleep(wait_s(failed.retry_after_s, failures))


def pieces(client: OpenAI, request: Request, chat: Sequence[ChatMessage]) -> Iterator[str]:
    """One answer in pieces, as they come."""
    patient = client.with_options(timeout=clients.timeout(ANSWER_S))
    for chunk in patient.chat.completions.create(**request, messages=wire.turns(chat), stream=True):
        if said := replies.delta(clients.as_json(chunk)):
            yield said


def wait_s(asked: float | None, failures: int) -> float:
    """How long to wait before the next try: what was asked for, else longer each time. Never alike, so
    that many do not come back at once."""
    return min(LONGEST_WAIT_S, asked or 2.0**failures) * random.uniform(1.0, 1.25)  # noqa: S311 - no secret
