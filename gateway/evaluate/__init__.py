"""Is it better? Base against tuned on rows that were never trained on, with honest intervals.

evaluation = evaluate(spec.evaluate, held_out_rows, answer=answer, score=score, folder=spec.folder)
evaluation.to_json()      # numbers, intervals, verdicts, line numbers; never a row's text
evaluation.summary()      # one plain sentence per metric
"""

from __future__ import annotations

from gateway.evaluate.asking import Answer, OnProgress, ScoreAnswers, example_of
from gateway.evaluate.classes import labels_of
from gateway.evaluate.general import MAX_OUTPUT_TOKENS
from gateway.evaluate.metrics import METRICS
from gateway.evaluate.report import Conclusion, Evaluation, MetricResult, Verdict
from gateway.evaluate.run import check, evaluate

__all__ = [
    "MAX_OUTPUT_TOKENS",
    "METRICS",
    "Answer",
    "Conclusion",
    "Evaluation",
    "MetricResult",
    "OnProgress",
    "ScoreAnswers",
    "Verdict",
    "check",
    "evaluate",
    "example_of",
    "labels_of",
]
