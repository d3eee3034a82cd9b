"""Prompts out, answers in: batch by batch, the base first, then the tuned model."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from gateway.core.errors import DataError, Rejected, Unsupported
from gateway.core.job import ChatMessage, Completion, Score
from gateway.core.rows import Message, Row

Answer = Callable[[Sequence[Sequence[ChatMessage]], bool], Sequence[Completion]]
ScoreAnswers = Callable[[Sequence[tuple[Sequence[Message], Message]], bool], Sequence[Score]]
OnProgress = Callable[[int, int], None]

BATCH = 32  # rows per call of `answer`, and so per step of the progress bar
UNKNOWN = Score(0.0, 0)  # of an answer that could not be scored


@dataclass(frozen=True, slots=True)
class Example:
    """A chat and the answer it should get."""

    prompt: tuple[Message, ...]
    target: Message
    place: tuple[int, int] = (0, 0)  # file, line

    @property
    def chat(self) -> tuple[ChatMessage, ...]:
        return tuple(ChatMessage(turn.role, turn.content) for turn in self.prompt)

    @property
    def length(self) -> int:
        return sum(len(turn.content) for turn in self.prompt)


def example_of(row: Row, answer: Sequence[Message] | None = None) -> Example | None:
    """A row cut before its last assistant turn; None where that turn has no text to compare with.

    Args:
        answer: what stands after the row's prompt; default: its own answer, or its chosen one.
    """
    turns = (*row.messages, *(row.chosen if answer is None else answer))
    last = max((i for i, turn in enumerate(turns) if turn.role == "assistant"), default=None)
    if not last or not turns[last].content.strip():
        return None
    return Example(turns[:last], turns[last], (row.file, row.line))


@dataclass(frozen=True, slots=True)
class Answers:
    """What one model did: an answer per example, None where it was refused one; log-probabilities
    where the backend gives them."""

    completions: tuple[Completion | None, ...]
    scores: tuple[Score, ...] | None


@dataclass(slots=True)
class Asker:
    """Asks models, and tells how far it is.

    Attributes:
        models: how many will be asked; the total that is told is theirs together.
    """

    answer: Answer
    score: ScoreAnswers | None
    models: int
    on_progress: OnProgress | None = None
    total: int = 0  # units of work for one model
    _done: int = field(default=0, init=False)

    def ask(self, examples: Sequence[Example], *, tuned: bool, scored: bool) -> Answers:
        """Answers to all, prompts of like length together; in the order of the examples.

        Raises:
            DataError: another number of answers came back.
            Rejected: not one prompt of the first batch was taken.
        """
        completions: list[Completion | None] = [None] * len(examples)
        scores: list[Score] = [UNKNOWN] * len(examples)
        by_length = sorted(range(len(examples)), key=lambda i: examples[i].length)
        for start in range(0, len(by_length), BATCH):
            places = by_length[start : start + BATCH]
            batch = [examples[place] for place in places]
            for place, found in zip(places, self._answers(batch, tuned, first=not start), strict=True):
                completions[place] = found
            if scored:
                for place, score in zip(places, self.scores(batch, tuned=tuned), strict=True):
                    scores[place] = score
            self.did(len(batch))
        return Answers(tuple(completions), tuple(scores) if scored and self.score else None)

    def scores(self, batch: Sequence[Example], *, tuned: bool) -> Sequence[Score]:
        """Log-probabilities; all unknown, and none asked for again, where the backend gives none."""
        if self.score is None:
            return [UNKNOWN] * len(batch)
        try:
            return self.score([(example.prompt, example.target) for example in batch], tuned)
        except Unsupported:
            self.score = None
            return [UNKNOWN] * len(batch)
        except Rejected:
            if len(batch) == 1:
                return [UNKNOWN]
            return [self.scores([example], tuned=tuned)[0] for example in batch]

    def did(self, units: int) -> None:
        self._done += units
        if self.on_progress is not None:
            self.on_progress(self._done, self.models * self.total)

    def _answers(self, batch: Sequence[Example], tuned: bool, *, first: bool) -> Sequence[Completion | None]:
        """One row that a model refuses costs that row, not the whole comparison."""
        try:
            found = self.answer([example.chat for example in batch], tuned)
        except Rejected:
            found = [self._answer_or_none(example, tuned) for example in batch]
            if first and not any(found):
                raise
        if len(found) != len(batch):
            raise DataError(
                f"{len(batch)} prompts were sent and {len(found)} answers came back",
                fix="evaluate again: `tunegate jobs show` says where the job stands",
            )
        return found

    def _answer_or_none(self, example: Example, tuned: bool) -> Completion | None:
        try:
            return next(iter(self.answer([example.chat], tuned)), None)
        except Rejected:
            return None
