"""What can be done with the model a job left: talk to it, compare it once more, take it away."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from backends.base import Merged
from gateway.core.errors import NotNow, Unsupported
from gateway.core.gate import Action
from gateway.core.job import ChatMessage
from gateway.jobs.model import Job
from gateway.sdk import files
from gateway.sdk.dispatch import spec_of, versions
from gateway.sdk.talking import Talk, callable_id

if TYPE_CHECKING:
    from gateway.sdk.rooms import Rooms

OnProgress = Callable[[int, int], None]


class TunedModel:
    """A job, as the model that it left."""

    def __init__(self, rooms: Rooms, job: Job) -> None:
        self._rooms = rooms
        self._job = job

    @property
    def system_prompt(self) -> str | None:
        """What the rows without a system turn were trained with: a chat begins with it."""
        return spec_of(self._job).data.system

    def stream(
        self, messages: Sequence[ChatMessage], *, base: bool = False, max_output_tokens: int = 512
    ) -> Iterator[str]:
        """One answer of the tuned model in pieces, as they come.

        Args:
            messages: the chat so far; it ends with the user's turn.
            base: ask the base it was made from, to compare.

        Raises:
            Unsupported: the job left no model that answers.
            PolicyDenied: the gate said no: to this model, or to what is in the chat.
        """
        talk = Talk(self._rooms, self._job, self._rooms.dispatch.gate_request(self._job, Action.INFER))
        return talk.stream(messages, tuned=not base, max_output_tokens=max_output_tokens)

    def evaluate(self, *, on_progress: OnProgress | None = None) -> Mapping[str, Any]:
        """Base against tuned on the held-out rows, now; nothing is stored.

        Args:
            on_progress: told (answers had, answers in all).

        Raises:
            Unsupported: the job has no tuned model that can be called.
        """
        with self._rooms.dispatch.telling(self._job.id, on_progress or (lambda done, total: None)):
            found = self._rooms.dispatch.evaluate(self._job)
        if found is None:
            raise Unsupported(
                "this job held no rows out", place=self._job.id, fix="set `data.test`, for example to 0.15"
            )
        return found

    def class_labels(self) -> Mapping[str, str]:
        """The answers that the letters of `evaluation["classes"]` stand for. Text of the dataset: for
        whoever may see it, and for no file.

        Raises:
            DataError: the held-out rows can no longer be read.
        """
        from gateway.evaluate import example_of, labels_of

        rows = files.held_out(self._rooms, self._job, spec_of(self._job).task)
        return labels_of([example for row in rows if (example := example_of(row)) is not None])

    def merge(self, out: str | Path) -> Merged:
        """Write base and adapter as one model, in a new folder. The gate is asked: the model holds what
        it was trained on, and leaves the job's folder.

        Raises:
            Unsupported: the weights are not on this machine, or stand alone already.
            PolicyDenied: the gate said no.
            SettingsError: the folder exists, or cannot be written.
            BackendError: what was written does not answer as base and adapter do.
        """
        job, dispatch = self._job, self._rooms.dispatch
        model = callable_id(job)
        if job.remote is None:
            raise NotNow("this job never ran", place=job.id)
        return self._rooms.egress.merge(
            dispatch.gate_request(job, Action.EXPORT),
            model,
            Path(out),
            ref=job.remote,
            card=dispatch.card(job, job.record, versions(), merged=True),
            options=job.site.options,
        )
