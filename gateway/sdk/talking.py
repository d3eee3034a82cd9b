"""Asking a job's models: the tuned one, and the base it was made from, each through the gate."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from gateway.core.errors import Unsupported
from gateway.core.gate import GateRequest
from gateway.core.job import ChatMessage, Completion, Score
from gateway.core.rows import Message
from gateway.jobs.model import Job
from gateway.sdk.prompts import with_prompts

if TYPE_CHECKING:
    from gateway.evaluate import Answer
    from gateway.sdk.rooms import Rooms


class Talk:
    """The two models of a job, as one gate's question lets them be asked.

    Args:
        request: the question for inference with this job's model.

    Raises:
        Unsupported: the job has no model that answers.
    """

    def __init__(self, rooms: Rooms, job: Job, request: GateRequest) -> None:
        self._rooms, self._request, self._options = rooms, request, job.site.options
        tuned = callable_id(job)
        self._models = {False: rooms.backend(job.backend).untuned(tuned, job.model), True: tuned}

    def answering(self, max_output_tokens: int) -> Answer:
        """(chats, tuned) → a completion for each. The chats are of the job's own data or of no data:
        their class is the question's already."""

        def answer(chats: Sequence[Sequence[ChatMessage]], tuned: bool) -> Sequence[Completion]:
            return self._rooms.egress.complete(
                self._request,
                self._models[tuned],
                chats,
                max_output_tokens=max_output_tokens,
                options=self._options,
            )

        return answer

    def score(self, examples: Sequence[tuple[Sequence[Message], Message]], tuned: bool) -> Sequence[Score]:
        """(examples, tuned) → log-probabilities."""
        return self._rooms.egress.score(self._request, self._models[tuned], examples, options=self._options)

    def stream(
        self, messages: Sequence[ChatMessage], *, tuned: bool, max_output_tokens: int
    ) -> Iterator[str]:
        """Pieces of one answer. What somebody types is of no known class: it is scanned first, where it
        would leave this machine."""
        return self._rooms.egress.stream(
            with_prompts(self._request, [messages], self._rooms.ner),
            self._models[tuned],
            messages,
            max_output_tokens=max_output_tokens,
            options=self._options,
        )


def callable_id(job: Job) -> str:
    """What the backend calls the tuned model.

    Raises:
        Unsupported: it has none that answers as it is.
    """
    found = next(iter(callable_ids(job)), None)
    if found is None:
        raise Unsupported(
            f"this job is {job.state} and has no model that answers",
            place=job.id,
            fix="see `tunegate jobs show`",
        )
    return found


def callable_ids(job: Job) -> tuple[str, ...]:
    return tuple(artifact.callable_id for artifact in job.artifacts or () if artifact.callable_id)
