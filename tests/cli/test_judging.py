"""A comparison as people read it: one word, the lines that got worse, the classes; narrow terminals too."""

from __future__ import annotations

from collections.abc import Mapping
from io import StringIO
from typing import Any

import pytest
from rich.console import Console

from gateway.cli.judging import comparison, interval

VALUE = {"value": 0.5, "low": 0.4, "high": 0.6, "n": 40}
NAMES = ("exact_match", "general_answers", "preference_per_token")


def _shown(width: int = 100, labels: Mapping[str, str] | None = None, **changes: Any) -> str:
    figures = {"precision": VALUE, "recall": VALUE, "f1": VALUE}
    evaluation: dict[str, Any] = {
        "conclusion": "worse",
        "verdicts": {"exact_match": "worse", "general_answers": "too_small"},
        "worse_rows": {"metric": "exact_match", "rows": [{"file": 0, "line": n} for n in range(1, 31)]},
        "unanswered": [{"file": 0, "line": 7}],
        "cut": [],
        "notes": ["loss: not measured, this backend gives no log-probabilities"],
        "classes": [
            {"label": name, "file": 0, "line": 4, "n": 20, "base": figures, "tuned": figures} for name in "AB"
        ],
        "confusions": [{"reference": "A", "answered": None, "base": 0, "tuned": 3}],
        **changes,
    }
    written = StringIO()
    figures_of: dict[str, Any] = dict.fromkeys(NAMES, VALUE)
    metrics: dict[str, dict[str, Any]] = dict.fromkeys(("base", "tuned", "difference"), figures_of)
    comparison(Console(file=written, width=width), metrics, evaluation, labels or {})
    return written.getvalue()


def test_worse_is_said_in_one_line_and_by_lines_of_a_file() -> None:
    text = _shown()
    assert "tuned is WORSE than its base" in text
    assert "worse by exact_match on 30 rows; by line of data/held-out.jsonl: 1, 2, 3" in text
    assert "12 and 18 more" in text
    assert "refused to answer on 1 row" in text
    assert "lost its middle" not in text
    assert "gives no log-probabilities" in text
    assert "too small to tell" in text


def test_classes_are_letters_until_their_words_are_asked_for() -> None:
    assert "A (line 4)" in _shown()
    assert "A answered as something else: 3 rows (base: 0)" in _shown()
    named = _shown(labels={"A": "[bold]refund", "B": "shipping"})
    assert "[bold]refund" in named  # as it is, never as markup
    assert "shipping" in named
    assert "[bold]refund answered as something else" in named


@pytest.mark.parametrize("width", [60, 80])
def test_no_figure_is_cut_off_in_a_narrow_terminal(width: int) -> None:
    text = _shown(width)
    assert "…" not in text.replace("0.400 … 0.600", "").replace("(0.400 …", "")
    assert text.count("0.400") >= 9


def test_a_name_breaks_after_an_underscore_where_there_is_little_room() -> None:
    first = [line.split(" ")[0] for line in _shown(80).splitlines()]
    assert [word for word in first if word.startswith(("pref", "per"))] == ["preference_", "per_token"]
    assert "general_" in first
    assert "preference_per_token" in _shown(120)


def test_a_large_figure_needs_no_decimals() -> None:
    assert interval({"value": 4916.9, "low": 4215.58, "high": 5704.2}) == "4,917 (4,216 … 5,704)"
    assert interval({"value": -0.5, "low": None, "high": None}) == "-0.500"


def test_classes_that_nobody_answers_are_one_line() -> None:
    never = {"precision": {"value": None}, "recall": {"value": 0.0}, "f1": {"value": 0.0}}
    found = [{"label": name, "line": 4, "n": 20, "base": never, "tuned": never} for name in "AB"]
    text = _shown(classes=found)
    assert "neither model answers with any of the 2: A (line 4) · B (line 4)" in text
    assert "answered as" not in text
    assert "A (line 4)" in _shown(classes=[{**found[0], "tuned": {**never, "precision": VALUE}}, found[1]])


def test_an_evaluation_from_before_has_no_word_and_no_classes() -> None:
    written = StringIO()
    comparison(Console(file=written, width=100), {"base": {}, "tuned": {}, "difference": {}}, {}, {})
    assert "WORSE" not in written.getvalue()
