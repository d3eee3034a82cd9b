"""The comparison itself: prompts out, answers in, one result per metric."""

from __future__ import annotations

import difflib
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from gateway.core.errors import DataError, SpecError, Unsupported
from gateway.core.job import ChatMessage, Completion, Score
from gateway.core.rows import Message, Row
from gateway.core.spec import Evaluate
from gateway.evaluate import metrics
from gateway.evaluate.intervals import Column, Interval, Statistic, difference_of, interval, mean
from gateway.evaluate.metrics import ASKABLE, METRICS, Metric, PerRow
from gateway.evaluate.report import ClassResult, Evaluation, MetricResult
from gateway.evaluate.scorer import Scorer, load_scorer

Answer = Callable[[Sequence[Sequence[ChatMessage]], bool], Sequence[Completion]]
ScoreAnswers = Callable[[Sequence[tuple[Sequence[Message], Message]], bool], Sequence[Score]]
OnProgress = Callable[[int, int], None]

BATCH = 16  # rows per call of `answer`, and so per step of the progress bar
MOST_CLASSES = 20


@dataclass(frozen=True, slots=True)
class _Example:
    """A held-out row, cut before its last assistant turn."""

    row: Row
    prompt: tuple[Message, ...]
    target: Message

    @property
    def chat(self) -> tuple[ChatMessage, ...]:
        return tuple(ChatMessage(turn.role, turn.content) for turn in self.prompt)

    @property
    def place(self) -> tuple[int, int]:
        return self.row.file, self.row.line


@dataclass(frozen=True, slots=True)
class _Answers:
    """What one model did: an answer per example, and log-probabilities where it gives them."""

    completions: tuple[Completion, ...]
    scores: tuple[Score, ...] | None


@dataclass(frozen=True, slots=True)
class _Measures:
    """The row-by-row metrics that were asked for, ready to be called, in the order asked."""

    names: tuple[str, ...]
    per_row: dict[str, PerRow]
    scorer: Scorer | None


def evaluate(
    asked: Evaluate,
    rows: Sequence[Row],
    *,
    answer: Answer,
    score: ScoreAnswers | None = None,
    folder: Path,
    seed: int = 17,
    on_progress: OnProgress | None = None,
) -> Evaluation:
    """Compare base with tuned on rows that were never trained on.

    Args:
        asked: the spec's `evaluate` part.
        rows: held-out rows. The prompt is everything before the last assistant turn, the reference
            that turn's text; for preference rows the chosen answer is the reference.
        answer: (chats, tuned) → a completion for each, in order.
        score: (examples, tuned) → log-probabilities; None where the backend gives none.
        folder: what `json_schema` and `scorer` are relative to.
        seed: of the bootstrap.
        on_progress: called with (answered, to answer), base and tuned together.

    Raises:
        SpecError: an unknown metric, or a schema or scorer that cannot be loaded.
        DataError: no held-out row can be compared, or the scorer failed on a row.
    """
    measures = check(asked, folder)
    examples = [example for row in rows if (example := _example(row)) is not None]
    if not examples:
        raise DataError(
            "there is no held-out row to compare on",
            place="data.test",
            fix="set `data.test` to a fraction such as 0.15, or to the path of rows kept apart",
        )
    wants_scores = bool({"loss", "perplexity"} & set(measures.names))
    ask = _Asker(examples, answer, score if wants_scores else None, 1 + asked.baseline, on_progress)
    base, why_no_base = _ask_base(ask) if asked.baseline else (None, ())
    tuned = ask(tuned=True)
    results, worse = _results(measures, examples, base, tuned, seed)
    return Evaluation(
        rows=len(examples),
        skipped=len(rows) - len(examples),
        results=results,
        classes=_classes(examples, base, tuned, seed),
        worse_metric=worse[0],
        worse_rows=worse[1],
        notes=(*why_no_base, *_notes(measures.names, tuned)),
    )


def _ask_base(ask: _Asker) -> tuple[_Answers | None, tuple[str, ...]]:
    """The base's answers; or, where the backend has no base that answers as it is, a note why not: the
    tuned model is then measured alone."""
    try:
        return ask(tuned=False), ()
    except Unsupported as error:
        ask.models = 1
        return None, (f"the base was not asked: {error.message}; {error.fix}",)


def check(asked: Evaluate, folder: Path) -> _Measures:
    """Load everything the evaluation will need, so that a mistake is told before training.

    Raises:
        SpecError: an unknown metric, or a schema or scorer that cannot be loaded.
    """
    names = list(dict.fromkeys(part for name in asked.metrics for part in _parts(name)))
    names += [
        name
        for name, given in (("json_validity", asked.json_schema), ("scorer", asked.scorer))
        if given and name not in names
    ]
    per_row: dict[str, PerRow] = {
        "exact_match": metrics.exact_match,
        "token_f1": metrics.token_f1,
        "reading_grade": metrics.reading_grade,
    }
    if "rouge_l" in names:
        per_row["rouge_l"] = metrics.rouge_l()
    if "json_validity" in names:
        schema = _given(asked.json_schema, "json_validity", "evaluate.json_schema")
        per_row["json_validity"] = metrics.json_validity(folder / schema)
    scorer = None
    if "scorer" in names:
        scorer = load_scorer(_given(asked.scorer, "scorer", "evaluate.scorer"), folder)
    return _Measures(tuple(names), per_row, scorer)


def _parts(name: str) -> tuple[str, ...]:
    try:
        return ASKABLE[name]
    except KeyError:
        near = difflib.get_close_matches(name, ASKABLE, 1)
        raise SpecError(
            f"there is no metric {name!r}",
            place="evaluate.metrics",
            fix=f"did you mean {near[0]!r}?" if near else f"the metrics are {', '.join(ASKABLE)}",
        ) from None


def _given(value: str | None, metric: str, path: str) -> str:
    if value is None:
        raise SpecError(f"{metric} is asked for, and {path} is not set", place=path, fix=f"set `{path}`")
    return value


def _example(row: Row) -> _Example | None:
    """None for a row without an assistant's text to compare with."""
    turns = (*row.messages, *row.chosen)
    last = max((i for i, turn in enumerate(turns) if turn.role == "assistant"), default=None)
    if not last or not turns[last].content.strip():
        return None
    return _Example(row, turns[:last], turns[last])


@dataclass(slots=True)
class _Asker:
    """Asks one model after the other, batch by batch, and tells how far it is."""

    examples: Sequence[_Example]
    answer: Answer
    score: ScoreAnswers | None
    models: int
    on_progress: OnProgress | None
    done: int = 0

    def __call__(self, *, tuned: bool) -> _Answers:
        completions: list[Completion] = []
        scores: list[Score] = []
        for start in range(0, len(self.examples), BATCH):
            batch = self.examples[start : start + BATCH]
            completions += self.answer([example.chat for example in batch], tuned)
            scores += self._scores(batch, tuned)
            self.done += len(batch)
            if self.on_progress is not None:
                self.on_progress(self.done, self.models * len(self.examples))
        if len(completions) != len(self.examples) or len(scores) not in (0, len(self.examples)):
            raise DataError(
                f"{len(self.examples)} prompts were sent and {len(completions)} answers came back",
                fix="evaluate again: `tunegate jobs show` says where the job stands",
            )
        return _Answers(tuple(completions), tuple(scores) or None)

    def _scores(self, batch: Sequence[_Example], tuned: bool) -> Sequence[Score]:
        """Log-probabilities; none, and none asked for again, where the backend gives none."""
        if self.score is None:
            return ()
        try:
            return self.score([(example.prompt, example.target) for example in batch], tuned)
        except Unsupported:
            self.score = None
            return ()


def _results(
    measures: _Measures,
    examples: Sequence[_Example],
    base: _Answers | None,
    tuned: _Answers,
    seed: int,
) -> tuple[tuple[MetricResult, ...], tuple[str | None, tuple[tuple[int, int], ...]]]:
    """A result per metric; and for the first row-by-row metric with a direction, where tuned is worse."""
    found: list[MetricResult] = []
    worse: tuple[str | None, tuple[tuple[int, int], ...]] = (None, ())
    for name in measures.names:
        metric = METRICS[name]
        after = _columns(metric, measures, examples, tuned)
        before = _columns(metric, measures, examples, base) if base else None
        if after is None:
            continue
        found.append(_compare(metric, before, after, seed))
        if worse[0] is None and before is not None and len(after) == 1 and metric.better == "higher":
            fell = np.flatnonzero(after[0] < before[0])
            worse = name, tuple(examples[int(i)].place for i in fell)
    return tuple(found), worse


def _columns(
    metric: Metric, measures: _Measures, examples: Sequence[_Example], answers: _Answers
) -> tuple[Column, ...] | None:
    """What the metric's statistic is made of, an entry per row; NaN where it does not apply."""
    if metric.name in ("loss", "perplexity"):
        if answers.scores is None:
            return None
        counted = [s if s.tokens else None for s in answers.scores]
        return (
            np.array([s.log_probability if s else np.nan for s in counted]),
            np.array([float(s.tokens) if s else np.nan for s in counted]),
        )
    if metric.unit == "s":
        return (np.array([completion.latency_s for completion in answers.completions]),)
    values = [
        _one(metric.name, measures, example, completion.text)
        for example, completion in zip(examples, answers.completions, strict=True)
    ]
    return (np.array([np.nan if value is None else value for value in values]),)


def _one(name: str, measures: _Measures, example: _Example, text: str) -> float | None:
    if name == "scorer" and measures.scorer is not None:
        return measures.scorer(example.chat, text, example.target.content, example.row.line)
    return measures.per_row[name](text, example.target.content)


def _compare(
    metric: Metric, base: tuple[Column, ...] | None, tuned: tuple[Column, ...], seed: int
) -> MetricResult:
    """Base, tuned and their difference over the rows for which both have a value."""
    statistic = _STATISTICS.get(metric.name, mean)
    smooth = metric.unit != "s"
    kept = np.isfinite(np.stack([*(base or ()), *tuned])).all(axis=0)
    after = [column[kept] for column in tuned]
    one = interval(after, statistic, bounds=metric.bounds, smooth=smooth, seed=seed)
    if base is None:
        return MetricResult(metric, None, one, None)
    before = [column[kept] for column in base]
    span = None if metric.bounds is None else metric.bounds[1] - metric.bounds[0]
    return MetricResult(
        metric,
        interval(before, statistic, bounds=metric.bounds, smooth=smooth, seed=seed),
        one,
        interval(
            [*before, *after],
            difference_of(statistic),
            bounds=None if span is None else (-span, span),
            smooth=smooth,
            seed=seed,
        ),
    )


def _loss(log_probabilities: Column, tokens: Column, axis: int = -1) -> Any:
    return -log_probabilities.sum(axis=axis) / tokens.sum(axis=axis)


def _perplexity(log_probabilities: Column, tokens: Column, axis: int = -1) -> Any:
    return np.exp(_loss(log_probabilities, tokens, axis=axis))


def _median(values: Column, axis: int = -1) -> Any:
    return np.median(values, axis=axis)


def _p90(values: Column, axis: int = -1) -> Any:
    return np.quantile(values, 0.9, axis=axis)


_STATISTICS: dict[str, Statistic] = {
    "loss": _loss,
    "perplexity": _perplexity,
    "latency_median_s": _median,
    "latency_p90_s": _p90,
}


def _classes(
    examples: Sequence[_Example], base: _Answers | None, tuned: _Answers, seed: int
) -> tuple[ClassResult, ...]:
    """Exact match per reference value, where the references look like labels: few, and repeated."""
    labels = [metrics.normalise(example.target.content) for example in examples]
    counts = Counter(labels)
    if not 2 <= len(counts) <= MOST_CLASSES or len(labels) < 2 * len(counts):
        return ()

    def of(answers: _Answers, rows: list[int]) -> Interval:
        hits = [metrics.exact_match(answers.completions[i].text, examples[i].target.content) for i in rows]
        return interval([np.array(hits)], mean, bounds=(0.0, 1.0), seed=seed)

    found: list[ClassResult] = []
    for label, n in counts.most_common():
        rows = [i for i, other in enumerate(labels) if other == label]
        file, line = examples[rows[0]].place
        found.append(ClassResult(file, line, n, of(base, rows) if base else None, of(tuned, rows)))
    return tuple(found)


def _notes(names: Sequence[str], tuned: _Answers) -> tuple[str, ...]:
    missing = [name for name in names if name in ("loss", "perplexity")] if tuned.scores is None else []
    return tuple(f"{name}: not measured, this backend gives no log-probabilities" for name in missing)
