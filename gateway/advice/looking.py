"""What the rows are like, in numbers: one observer of the one pass. Keeps hashes and counts, no text."""

from __future__ import annotations

import hashlib
import json
import re
from collections import Counter, defaultdict
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Literal

from gateway.core.rows import Message, Refusal, Row
from gateway.data import Record

Kind = Literal["classification", "output format", "style", "instructions"]

LABEL_WORDS = 6  # an answer of more words is no label
MOST_LABELS = 100
_SHARE_OF_LABELS = 0.5  # at most half as many labels as rows: each is seen twice on average
_FORMAT_SHARE = 0.9  # of the answers parse as JSON
_LONG_PROMPT_WORDS = 150
_WORD = re.compile(r"\w+")


@dataclass(frozen=True, slots=True)
class Look:
    """Counts over the used rows.

    Attributes:
        kind: what the rows look like they teach; `why_kind` says by which sign.
        per_label: rows of each label, largest first; empty unless `kind` is classification.
        repeated: rows whose prompt and answer were both seen before.
        contradictory: rows whose prompt was seen before with another answer.
        leaked: rows of a test or validation file whose prompt is trained on, too.
        shared_words: share of the answers' words that stand in their prompts, median over rows.
        common_answer: share of rows that have the most frequent answer.
    """

    rows: int
    kind: Kind
    why_kind: str
    per_label: tuple[int, ...]
    repeated: int
    contradictory: int
    leaked: int
    shared_words: float
    common_answer: float
    answer_words: int
    prompt_words: int


class Looker:
    """Observer: sees every record once.

    Args:
        held_out: indices of files whose rows are held out, as the spec names them.
    """

    def __init__(self, held_out: Collection[int] = ()) -> None:
        self._held_out = frozenset(held_out)
        self._kept: Counter[bytes] = Counter()  # prompts of held-out files
        self._answers: Counter[bytes] = Counter()
        self._by_prompt: defaultdict[bytes, set[bytes]] = defaultdict(set)
        self._answer_words: list[int] = []
        self._prompt_words: list[int] = []
        self._shared: list[float] = []
        self._json = self._repeated = self._contradictory = self._rows = 0

    def see(self, record: Record) -> None:
        row = record.outcome
        if isinstance(row, Refusal):
            return
        prompt, answer = _sides(row)
        self._rows += 1
        asked, told = _WORD.findall(prompt.lower()), _WORD.findall(answer.lower())
        self._prompt_words.append(len(asked))
        self._answer_words.append(len(told))
        if told:
            known = set(asked)
            self._shared.append(sum(word in known for word in told) / len(told))
        self._json += _is_json(answer)
        if record.file in self._held_out:
            self._kept[_digest(prompt)] += 1
        else:
            self._count(_digest(prompt), _digest(" ".join(answer.split())))

    def _count(self, prompt: bytes, answer: bytes) -> None:
        self._answers[answer] += 1
        before = self._by_prompt[prompt]
        if answer in before:
            self._repeated += 1
        elif before:
            self._contradictory += 1
        before.add(answer)

    def look(self) -> Look:
        words = round(median(self._answer_words)) if self._answer_words else 0
        kind, why = self._kind(words)
        most = self._answers.most_common(1)
        return Look(
            rows=self._rows,
            kind=kind,
            why_kind=why,
            per_label=tuple(n for _, n in self._answers.most_common()) if kind == "classification" else (),
            repeated=self._repeated,
            contradictory=self._contradictory,
            leaked=sum(count for prompt, count in self._kept.items() if prompt in self._by_prompt),
            shared_words=median(self._shared) if self._shared else 0.0,
            common_answer=most[0][1] / self._rows if most else 0.0,
            answer_words=words,
            prompt_words=round(median(self._prompt_words)) if self._prompt_words else 0,
        )

    def _kind(self, words: int) -> tuple[Kind, str]:
        labels = len(self._answers)
        if self._rows and self._json >= _FORMAT_SHARE * self._rows:
            return "output format", f"{self._json:,} of {self._rows:,} answers are JSON"
        if words <= LABEL_WORDS and 1 < labels <= min(MOST_LABELS, max(2, self._rows * _SHARE_OF_LABELS)):
            return "classification", f"{labels} different answers, of {words} words each at the median"
        if self._prompt_words and median(self._prompt_words) < _LONG_PROMPT_WORDS:
            return "style", f"free answers of {words} words to short prompts"
        return "instructions", f"free answers of {words} words to prompts of {_LONG_PROMPT_WORDS} and more"


def _sides(row: Row) -> tuple[str, str]:
    """What is asked, and the answer to learn."""
    if row.is_preference:
        return _text(row.messages), _text(row.chosen)
    return _text(row.messages[:-1]), _text(row.messages[-1:])


def _text(turns: Sequence[Message]) -> str:
    return "\n".join(turn.content or "" for turn in turns if turn.role != "system")


def _is_json(text: str) -> bool:
    if not text.lstrip().startswith(("{", "[")):
        return False
    try:
        json.loads(text)
    except (ValueError, RecursionError):
        return False
    return True


def _digest(text: str) -> bytes:
    return hashlib.blake2b(text.encode(errors="surrogatepass"), digest_size=12).digest()
