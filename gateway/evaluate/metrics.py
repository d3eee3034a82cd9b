"""What is measured, one row at a time, and which way is better.

A row's score is a float, or None where the metric does not apply to it (an empty answer has no
reading grade). Metrics made of log-probabilities or latencies are computed in `run`.
"""

from __future__ import annotations

import json
import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NoReturn, cast

from gateway.core.errors import SpecError

Better = Literal["higher", "lower", "neither"]
PerRow = Callable[[str, str], float | None]

_WORD = re.compile(r"\w+")


@dataclass(frozen=True, slots=True)
class Metric:
    """A metric's name, unit and direction.

    Attributes:
        how: how it is computed, in words for the report.
        bounds: smallest and largest possible value; None where there is no such limit.
        margin: a difference smaller than this is none that anybody would notice.
        asked: whether a spec may name it; the others are measured where they apply.
        general: whether it is about what any assistant knows, not about the task.
    """

    name: str
    better: Better
    how: str
    unit: str = ""
    bounds: tuple[float, float] | None = None
    margin: float = 0.0
    asked: bool = True
    general: bool = False


_SHARE = (0.0, 1.0)
_LATENCY = "time to a whole answer; of answers made in one batch, each an even share of the batch's time"
METRICS: Mapping[str, Metric] = {
    metric.name: metric
    for metric in (
        Metric(
            "exact_match",
            "higher",
            "share of answers equal to the reference after Unicode NFC, trimming and folding of white space; "
            "case and punctuation count",
            bounds=_SHARE,
        ),
        Metric("token_f1", "higher", "F1 of lower-cased words, as bags", bounds=_SHARE),
        Metric(
            "rouge_l",
            "higher",
            "ROUGE-L F-measure over lower-cased words of any script, no stemming",
            bounds=_SHARE,
        ),
        Metric(
            "json_validity", "higher", "share of answers that are JSON and satisfy the schema", bounds=_SHARE
        ),
        Metric("loss", "lower", "negative log-probability of the reference per token", unit="nats/token"),
        Metric("perplexity", "lower", "exp(loss)"),
        Metric("reading_grade", "neither", "Automated Readability Index of the answer (English), a US grade"),
        Metric("latency_median_s", "lower", f"median {_LATENCY}", unit="s"),
        Metric("latency_p90_s", "lower", f"90th percentile of the {_LATENCY}", unit="s"),
        Metric("scorer", "higher", "your own score of each answer, averaged"),
        Metric(
            "preference",
            "higher",
            "share of rows where the chosen answer is likelier than the rejected one, each as a whole",
            bounds=_SHARE,
            asked=False,
        ),
        Metric(
            "preference_per_token",
            "higher",
            "the same by log-probability per token, so that a short answer has no advantage",
            bounds=_SHARE,
            asked=False,
        ),
        Metric(
            "general_answers",
            "higher",
            "share of 48 fixed general questions answered rightly; none of them is from the dataset",
            bounds=_SHARE,
            asked=False,
            general=True,
        ),
        Metric(
            "general_loss",
            "lower",
            "negative log-probability per token of ten fixed plain passages; less than 0.1 counts as nothing",
            unit="nats/token",
            margin=0.1,
            asked=False,
            general=True,
        ),
    )
}

# What a spec may ask for; `latency` is two figures.
ASKABLE: Mapping[str, tuple[str, ...]] = {
    **{name: (name,) for name, metric in METRICS.items() if metric.asked and metric.unit != "s"},
    "latency": ("latency_median_s", "latency_p90_s"),
}


def normalise(text: str) -> str:
    """Unicode NFC, trimmed, every run of white space one space; case and punctuation stay."""
    return " ".join(unicodedata.normalize("NFC", text).split())


def words(text: str) -> list[str]:
    """Lower-cased words of any script."""
    return _WORD.findall(unicodedata.normalize("NFC", text).lower())


def exact_match(answer: str, reference: str) -> float:
    return float(normalise(answer) == normalise(reference))


def token_f1(answer: str, reference: str) -> float:
    """Harmonic mean of word precision and recall; two empty texts agree."""
    got, wanted = Counter(words(answer)), Counter(words(reference))
    if not got or not wanted:
        return float(not got and not wanted)
    return 2 * (got & wanted).total() / (got.total() + wanted.total())


class _Words:
    """The tokenizer handed to rouge-score: its own drops every letter outside ASCII."""

    def tokenize(self, text: str) -> list[str]:
        return words(text)


def rouge_l() -> PerRow:
    from rouge_score.rouge_scorer import RougeScorer  # pyright: ignore[reportMissingTypeStubs]

    scorer = cast("Any", RougeScorer(["rougeL"], tokenizer=_Words()))

    def measure(answer: str, reference: str) -> float:
        return float(scorer.score(reference, answer)["rougeL"].fmeasure)

    return measure


def reading_grade(answer: str, reference: str) -> float | None:
    """US school grade of an English answer; None for an answer without words.

    The Automated Readability Index needs letters, words and sentences only. Grades built on
    syllables would make textstat download a dictionary.
    """
    import textstat  # pyright: ignore[reportMissingTypeStubs]

    if not words(answer):
        return None
    return float(cast("Any", textstat).automated_readability_index(answer))


def json_validity(path: Path) -> PerRow:
    """Whether an answer is JSON that satisfies the schema at `path`; references are never fetched.

    Raises:
        SpecError: the schema cannot be read, is not a JSON Schema, or refers to another document.
    """
    validator = _validator(path)
    from referencing.exceptions import Unresolvable

    def measure(answer: str, reference: str) -> float:
        try:
            return float(validator.is_valid(json.loads(answer, parse_constant=_not_json)))
        except (ValueError, RecursionError):
            return 0.0
        except Unresolvable:
            raise SpecError(
                "the schema refers to a document outside itself",
                place=str(path),
                fix="put what it refers to under its own `$defs`",
            ) from None

    return measure


def _validator(path: Path) -> Any:
    from jsonschema.exceptions import SchemaError
    from jsonschema.validators import validator_for
    from referencing import Registry

    try:
        schema = json.loads(path.read_text(encoding="utf-8"))
        cls: Any = validator_for(schema)
        cls.check_schema(schema)
    except OSError as error:
        raise SpecError(f"cannot be read: {error.strerror}", place=str(path), fix=_SCHEMA_FIX) from None
    except (ValueError, SchemaError, AttributeError, TypeError):
        raise SpecError("is not a JSON Schema", place=str(path), fix=_SCHEMA_FIX) from None
    nothing_to_fetch: Any = cast("Any", Registry)()
    return cls(schema, registry=nothing_to_fetch)


_SCHEMA_FIX = "`evaluate.json_schema` is the path of a JSON Schema, relative to the spec"


def _not_json(name: str) -> NoReturn:
    raise ValueError(name)  # NaN and Infinity: Python reads them, JSON has no such words
