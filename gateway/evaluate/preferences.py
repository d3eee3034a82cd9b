"""Does the model prefer what people preferred? By its own log-probabilities, nothing is written.

On each held-out row both answers are scored as continuations of the same prompt. By the whole answer's
log-probability shorter answers have it easier; per token that is gone, and both are told.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from gateway.core.job import Score
from gateway.core.rows import Row
from gateway.evaluate.asking import BATCH, Asker, Example, example_of
from gateway.evaluate.intervals import Column

NAMES = ("preference", "preference_per_token")


def pairs_of(rows: Sequence[Row]) -> list[tuple[Example, Example]]:
    """Chosen and rejected answer of each row that has both in words."""
    compared = (row for row in rows if row.is_preference)
    found = ((example_of(row, row.chosen), example_of(row, row.rejected)) for row in compared)
    return [(chosen, rejected) for chosen, rejected in found if chosen and rejected]


def preferred(asker: Asker, pairs: Sequence[tuple[Example, Example]], *, tuned: bool) -> tuple[Column, ...]:
    """For each name in `NAMES`, per row: 1 where the chosen answer is likelier, 0 where the rejected one
    is, one half where both are alike, NaN where they could not be scored."""
    chosen: list[Score] = []
    rejected: list[Score] = []
    for start in range(0, len(pairs), BATCH // 2):
        batch = pairs[start : start + BATCH // 2]
        scores = asker.scores([each for pair in batch for each in pair], tuned=tuned)
        chosen += scores[::2]
        rejected += scores[1::2]
        asker.did(len(batch))
    sums = [_win(a.log_probability, b.log_probability, a, b) for a, b in zip(chosen, rejected, strict=True)]
    means = [_win(_per_token(a), _per_token(b), a, b) for a, b in zip(chosen, rejected, strict=True)]
    return np.array(sums), np.array(means)


def _win(ours: float, theirs: float, chosen: Score, rejected: Score) -> float:
    if not (chosen.tokens and rejected.tokens):
        return float("nan")
    return 0.5 if ours == theirs else float(ours > theirs)


def _per_token(score: Score) -> float:
    return score.log_probability / max(score.tokens, 1)
