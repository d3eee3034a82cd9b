"""What a rehearsed model answers. Nothing was trained: a "tuned" model gives the answer of the training
row whose prompt shares most words with the question, a base model always the same sentence."""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import lru_cache

BASE_ANSWER = "This is a rehearsal; no model is behind this answer."
_WORD = re.compile(r"\w+")
_MOST_ROWS = 2_000


def words(text: str) -> frozenset[str]:
    return frozenset(_WORD.findall(text.lower()))


@lru_cache(maxsize=32)
def _bags(prompts: tuple[str, ...]) -> tuple[frozenset[str], ...]:
    return tuple(words(prompt) for prompt in prompts)


def nearest_answer(rows: Sequence[tuple[str, str]], question: str) -> str:
    """The completion of the (prompt, completion) row most like the question, the first of equals; the
    base's answer where there is no row. Looks at the first 2,000."""
    if not rows:
        return BASE_ANSWER
    looked_at = rows[:_MOST_ROWS]
    asked = words(question)
    bags = _bags(tuple(prompt for prompt, _ in looked_at))
    best = max(range(len(bags)), key=lambda i: len(asked & bags[i]) / (len(asked | bags[i]) or 1))
    return looked_at[best][1]
