"""Row-by-row metrics: what counts as the same, what does not, and nothing fetched."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.core.errors import SpecError
from gateway.evaluate import metrics


@pytest.mark.parametrize(
    ("answer", "reference", "same"),
    [
        ("  Refund \n", "Refund", 1.0),
        ("two\t words", "two words", 1.0),
        ("caf\u0065\u0301", "caf\u00e9", 1.0),
        ("refund", "Refund", 0.0),
        ("Refund.", "Refund", 0.0),
        ("", "Refund", 0.0),
    ],
)
def test_exact_match_folds_space_and_nothing_else(answer: str, reference: str, same: float) -> None:
    assert metrics.exact_match(answer, reference) == same


def test_token_f1_by_hand() -> None:
    assert metrics.token_f1("the cat sat", "the cat") == pytest.approx(2 * 2 / 5)
    assert metrics.token_f1("a a", "a") == pytest.approx(2 / 3)
    assert metrics.token_f1("", "") == 1.0
    assert metrics.token_f1("", "word") == 0.0


def test_rouge_l_by_hand_and_outside_ascii() -> None:
    rouge_l = metrics.rouge_l()
    assert rouge_l("hello my friend", "hello there my friend") == pytest.approx(2 * 0.75 / 1.75)
    assert rouge_l("кошка сидит", "кошка сидит") == 1.0
    assert rouge_l("кошка", "собака") == 0.0


@given(st.text(max_size=60), st.text(max_size=60))
def test_overlap_metrics_stay_in_bounds_and_do_not_depend_on_order(a: str, b: str) -> None:
    assert 0 <= metrics.token_f1(a, b) <= 1
    assert metrics.token_f1(a, b) == pytest.approx(metrics.token_f1(b, a))
    assert metrics.exact_match(a, a) == 1.0


def test_reading_grade_rises_with_long_words_and_opens_no_connection() -> None:
    # The suite blocks sockets: a library that fetched a dictionary would fail here.
    easy = metrics.reading_grade("The cat sat on the mat. It was warm.", "")
    hard = metrics.reading_grade(
        "Haemodynamically significant atherosclerotic stenosis necessitates revascularisation.", ""
    )
    assert easy is not None
    assert hard is not None
    assert hard > easy + 5
    assert metrics.reading_grade(" … ", "") is None


def _schema(folder: Path, schema: object) -> Path:
    path = folder / "schema.json"
    path.write_text(json.dumps(schema))
    return path


@pytest.mark.parametrize(
    ("answer", "valid"),
    [
        ('{"code": "A1"}', 1.0),
        ('{"code": 1}', 0.0),
        ("not json", 0.0),
        ('{"code": "A1", "n": NaN}', 0.0),
        ("[" * 100_000, 0.0),
    ],
)
def test_json_validity(tmp_path: Path, answer: str, valid: float) -> None:
    schema = {"type": "object", "required": ["code"], "properties": {"code": {"type": "string"}}}
    assert metrics.json_validity(_schema(tmp_path, schema))(answer, "") == valid


def test_a_schema_that_is_wrong_is_a_spec_error(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match="cannot be read"):
        metrics.json_validity(tmp_path / "missing.json")
    with pytest.raises(SpecError, match="not a JSON Schema"):
        metrics.json_validity(_schema(tmp_path, {"type": "no such type"}))
    with pytest.raises(SpecError, match="not a JSON Schema"):
        metrics.json_validity(_schema(tmp_path, [1]))


def test_a_schema_elsewhere_is_never_fetched(tmp_path: Path) -> None:
    measure = metrics.json_validity(_schema(tmp_path, {"$ref": "https://example.invalid/schema.json"}))
    with pytest.raises(SpecError, match="outside itself"):
        measure("{}", "")
