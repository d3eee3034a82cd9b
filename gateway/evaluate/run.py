"""The comparison itself: what is asked of both models, and one result per metric."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from gateway.core.errors import DataError, SpecError, Unsupported
from gateway.core.rows import Row
from gateway.core.spec import Evaluate
from gateway.evaluate import general as check_of_general
from gateway.evaluate import metrics, preferences
from gateway.evaluate.asking import Answer, Answers, Asker, Example, OnProgress, ScoreAnswers, example_of
from gateway.evaluate.classes import classes
from gateway.evaluate.comparing import compare
from gateway.evaluate.intervals import Column
from gateway.evaluate.metrics import ASKABLE, METRICS, Metric, PerRow
from gateway.evaluate.report import Evaluation, MetricResult, Place
from gateway.evaluate.scorer import Scorer, load_scorer

_LIKELIHOODS = ("loss", "perplexity")
Pairs = Sequence[tuple[Example, Example]]


@dataclass(frozen=True, slots=True)
class _Measures:
    """The row-by-row metrics that were asked for, ready to be called, in the order asked."""

    names: tuple[str, ...]
    per_row: dict[str, PerRow]
    scorer: Scorer | None

    @property
    def need_scores(self) -> bool:
        return bool({*_LIKELIHOODS} & {*self.names})


@dataclass(frozen=True, slots=True)
class _Model:
    """What one model was seen to do."""

    answers: Answers
    preferred: tuple[Column, ...]


def evaluate(
    asked: Evaluate,
    rows: Sequence[Row],
    *,
    answer: Answer,
    score: ScoreAnswers | None = None,
    general: Answer | None = None,
    folder: Path,
    seed: int = 17,
    on_progress: OnProgress | None = None,
) -> Evaluation:
    """Compare base with tuned on rows that were never trained on.

    Args:
        asked: the spec's `evaluate` part.
        rows: held-out rows. The prompt is everything before the last assistant turn, the reference
            that turn's text; for preference rows the chosen answer is the reference, and how often it
            is likelier than the rejected one is measured too.
        answer: (chats, tuned) → a completion for each, in order.
        score: (examples, tuned) → log-probabilities; None where the backend gives none.
        general: as `answer`, for the fixed general questions, with room for
            `general.MAX_OUTPUT_TOKENS`; None leaves them out.
        folder: what `json_schema` and `scorer` are relative to.
        seed: of the bootstrap.
        on_progress: called with (answered, to answer), base and tuned together.

    Raises:
        SpecError: an unknown metric, or a schema or scorer that cannot be loaded.
        DataError: no held-out row can be compared, or the scorer failed on a row.
    """
    measures = check(asked, folder)
    examples = [example for row in rows if (example := example_of(row)) is not None]
    if not examples:
        raise DataError(
            "there is no held-out row to compare on",
            place="data.test",
            fix="set `data.test` to a fraction such as 0.15, or to the path of rows kept apart",
        )
    pairs = preferences.pairs_of(rows)
    asker = Asker(answer, score, 1 + asked.baseline, on_progress)
    asker.total = len(examples) + len(pairs) + (check_of_general.units() if general else 0)
    base, notes = _ask_base(asker, examples, pairs, measures) if asked.baseline else (None, ())
    tuned = _ask(asker, examples, pairs, measures, tuned=True)
    results, worse = _results(measures, examples, base, tuned, seed)
    notes = (*notes, *_notes(measures, pairs, tuned))
    if general is not None:
        asker.answer = general
        more, why = check_of_general.general(asker, baseline=base is not None, seed=seed)
        results, notes = (*results, *more), (*notes, *why)
    return Evaluation(
        rows=len(examples),
        skipped=len(rows) - len(examples),
        results=results,
        classes=classes(examples, base and base.answers, tuned.answers, seed),
        worse_metric=worse[0],
        worse_rows=worse[1],
        unanswered=_unanswered(examples, base, tuned),
        cut=_cut(examples, base, tuned),
        notes=notes,
    )


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


# -- asking ----------------------------------------------------------------------------------------


def _ask(
    asker: Asker, examples: Sequence[Example], pairs: Pairs, measures: _Measures, *, tuned: bool
) -> _Model:
    answers = asker.ask(examples, tuned=tuned, scored=measures.need_scores)
    return _Model(answers, preferences.preferred(asker, pairs, tuned=tuned) if pairs else ())


def _ask_base(
    asker: Asker, examples: Sequence[Example], pairs: Pairs, measures: _Measures
) -> tuple[_Model | None, tuple[str, ...]]:
    """What the base did; or, where the backend has no base that answers as it is, a note why not: the
    tuned model is then measured alone."""
    try:
        return _ask(asker, examples, pairs, measures, tuned=False), ()
    except Unsupported as error:
        asker.models = 1
        return None, (f"the base was not asked: {error.message}; {error.fix}",)


# -- results ---------------------------------------------------------------------------------------


def _results(
    measures: _Measures, examples: Sequence[Example], base: _Model | None, tuned: _Model, seed: int
) -> tuple[tuple[MetricResult, ...], tuple[str | None, tuple[Place, ...]]]:
    """A result per metric; and for the first row-by-row metric with a direction, where tuned is worse."""
    found: list[MetricResult] = []
    worse: tuple[str | None, tuple[Place, ...]] = (None, ())
    for name in measures.names:
        metric = METRICS[name]
        after = _columns(metric, measures, examples, tuned.answers)
        before = _columns(metric, measures, examples, base.answers) if base else None
        if after is None:
            continue
        found.append(compare(metric, before, after, seed))
        if worse[0] is None and before is not None and len(after) == 1 and metric.better == "higher":
            fell = np.flatnonzero(after[0] < before[0])
            worse = name, tuple(examples[int(i)].place for i in fell)
    for place, name in enumerate(preferences.NAMES):
        if tuned.preferred and np.isfinite(tuned.preferred[place]).any():
            before = (base.preferred[place],) if base else None
            found.append(compare(METRICS[name], before, (tuned.preferred[place],), seed))
    return tuple(found), worse


def _columns(
    metric: Metric, measures: _Measures, examples: Sequence[Example], answers: Answers
) -> tuple[Column, ...] | None:
    """What the metric's statistic is made of, an entry per row; NaN where it does not apply."""
    if metric.name in _LIKELIHOODS:
        if answers.scores is None:
            return None
        counted = [s if s.tokens else None for s in answers.scores]
        return (
            np.array([s.log_probability if s else np.nan for s in counted]),
            np.array([float(s.tokens) if s else np.nan for s in counted]),
        )
    if metric.unit == "s":
        return (np.array([np.nan if each is None else each.latency_s for each in answers.completions]),)
    values = [
        None if completion is None else _one(metric.name, measures, example, completion.text)
        for example, completion in zip(examples, answers.completions, strict=True)
    ]
    return (np.array([np.nan if value is None else value for value in values]),)


def _one(name: str, measures: _Measures, example: Example, text: str) -> float | None:
    if name == "scorer" and measures.scorer is not None:
        return measures.scorer(example.chat, text, example.target.content, example.place[1])
    return measures.per_row[name](text, example.target.content)


# -- what was not as it should be ------------------------------------------------------------------


def _unanswered(examples: Sequence[Example], base: _Model | None, tuned: _Model) -> tuple[Place, ...]:
    return tuple(
        example.place
        for place, example in enumerate(examples)
        if any(model and model.answers.completions[place] is None for model in (base, tuned))
    )


def _cut(examples: Sequence[Example], base: _Model | None, tuned: _Model) -> tuple[Place, ...]:
    def was(model: _Model | None, place: int) -> bool:
        completion = model.answers.completions[place] if model else None
        return completion is not None and completion.cut_tokens > 0

    return tuple(
        example.place
        for place, example in enumerate(examples)
        if any(was(model, place) for model in (base, tuned))
    )


def _notes(measures: _Measures, pairs: Pairs, tuned: _Model) -> tuple[str, ...]:
    missing = [name for name in measures.names if name in _LIKELIHOODS and tuned.answers.scores is None]
    if pairs and not np.isfinite(tuned.preferred[0]).any():
        missing.append("preference")
    return tuple(f"{name}: not measured, this backend gives no log-probabilities" for name in missing)
