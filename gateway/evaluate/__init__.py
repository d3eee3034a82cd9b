"""Is it better? Base against tuned on rows that were never trained on, with honest intervals.

evaluation = evaluate(spec.evaluate, held_out_rows, answer=answer, score=score, folder=spec.folder)
evaluation.to_json()      # numbers, intervals, verdicts, line numbers; never a row's text
evaluation.summary()      # one plain sentence per metric
"""

from __future__ import annotations

from gateway.evaluate.metrics import METRICS
from gateway.evaluate.report import Evaluation, MetricResult, Verdict
from gateway.evaluate.run import Answer, OnProgress, ScoreAnswers, check, evaluate

__all__ = [
    "METRICS",
    "Answer",
    "Evaluation",
    "MetricResult",
    "OnProgress",
    "ScoreAnswers",
    "Verdict",
    "check",
    "evaluate",
]
