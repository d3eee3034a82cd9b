"""Base against tuned, with answers from small real functions in place of models."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import pytest

from gateway.core.errors import DataError, SpecError, Unsupported
from gateway.core.job import ChatMessage, Completion, Score
from gateway.core.rows import Message, Row, ToolCall
from gateway.core.spec import Evaluate
from gateway.evaluate import Evaluation, Verdict, check, evaluate

CANARY = "Zebediah Quux 1931"


def _rows(n: int) -> list[Row]:
    """Ticket → one of two labels; line numbers start at 11."""
    return [
        Row(
            line=11 + i,
            messages=(
                Message("system", "Name the queue."),
                Message("user", f"ticket {i} of {CANARY}"),
                Message("assistant", ("refund", "shipping")[i % 2]),
            ),
        )
        for i in range(n)
    ]


def _completion(text: str, seconds: float = 0.1) -> Completion:
    return Completion(text, seconds)


def _label(chat: Sequence[ChatMessage]) -> str:
    return ("refund", "shipping")[int(chat[-1].content.split()[1]) % 2]


def _tuned_is_right(chats: Sequence[Sequence[ChatMessage]], tuned: bool) -> list[Completion]:
    return [_completion(_label(chat) if tuned else "no idea") for chat in chats]


def _tuned_is_wrong(chats: Sequence[Sequence[ChatMessage]], tuned: bool) -> list[Completion]:
    return _tuned_is_right(chats, not tuned)


def _run(answer: object = _tuned_is_right, n: int = 40, folder: Path = Path(), **asked: object) -> Evaluation:
    return evaluate(Evaluate.model_validate(asked), _rows(n), answer=answer, folder=folder)  # pyright: ignore[reportArgumentType]


def test_better_is_said_with_intervals_apart() -> None:
    found = _run(metrics=("exact_match",)).result("exact_match")
    assert found.verdict is Verdict.BETTER
    assert found.base is not None
    assert found.base.high is not None
    assert found.tuned.low is not None
    assert found.tuned.low > 0.9
    assert found.base.high < 0.1
    assert "better than base: 0 → 1" in found.sentence


def test_worse_is_said_plainly_with_the_lines() -> None:
    evaluation = _run(_tuned_is_wrong)
    assert "WORSE than base" in evaluation.result("exact_match").sentence
    assert evaluation.worse_metric == "exact_match"
    assert evaluation.worse_rows == tuple((0, 11 + i) for i in range(40))


def test_no_difference_is_neither() -> None:
    def same(chats: Sequence[Sequence[ChatMessage]], tuned: bool) -> list[Completion]:
        return [_completion("refund") for _ in chats]

    evaluation = _run(same, metrics=("exact_match",))
    found = evaluation.result("exact_match")
    assert found.verdict is Verdict.UNCLEAR
    assert found.difference is not None
    assert found.difference.low is not None
    assert found.difference.low < 0 < (found.difference.high or 0)
    assert evaluation.worse_rows == ()


def test_the_model_never_sees_the_reference_and_sees_the_whole_prompt() -> None:
    seen: list[Sequence[ChatMessage]] = []

    def watch(chats: Sequence[Sequence[ChatMessage]], tuned: bool) -> list[Completion]:
        seen.extend(chats)
        return [_completion("") for _ in chats]

    rows = [
        Row(
            1,
            (
                Message("user", "a"),
                Message("assistant", "first"),
                Message("user", "b"),
                Message("assistant", "SECRET"),
            ),
        )
    ]
    evaluate(Evaluate(), rows, answer=watch, folder=Path())
    assert [turn.content for turn in seen[0]] == ["a", "first", "b"]
    assert len(seen) == 2


def test_without_a_baseline_nothing_is_compared() -> None:
    evaluation = _run(baseline=False)
    body = evaluation.to_json()
    assert body["metrics"]["base"] == {}
    assert body["metrics"]["difference"] == {}
    assert body["verdicts"]["exact_match"] == "no_baseline"
    assert "was not scored" in evaluation.summary()[0]


def test_progress_counts_base_and_tuned_together() -> None:
    steps: list[tuple[int, int]] = []
    evaluate(
        Evaluate(),
        _rows(20),
        answer=_tuned_is_right,
        folder=Path(),
        on_progress=lambda done, total: steps.append((done, total)),
    )
    assert steps == [(20, 40), (40, 40)]


def test_loss_weighs_tokens_not_rows() -> None:
    def score(examples: Sequence[tuple[Sequence[Message], Message]], tuned: bool) -> list[Score]:
        return [Score(-1.0 if tuned else -2.0, 1) if i % 2 else Score(-9.0, 9) for i in range(len(examples))]

    evaluation = evaluate(
        Evaluate(metrics=("loss", "perplexity")),
        _rows(16),
        answer=_tuned_is_right,
        score=score,
        folder=Path(),
    )
    loss = evaluation.result("loss")
    assert loss.base is not None
    assert loss.base.value == pytest.approx((8 * 2 + 8 * 9) / 80)
    assert loss.tuned.value == pytest.approx(1.0)
    assert loss.verdict is Verdict.BETTER
    assert evaluation.result("perplexity").tuned.value == pytest.approx(2.71828, abs=1e-4)


def test_loss_without_log_probabilities_is_noted_not_invented() -> None:
    evaluation = _run(metrics=("exact_match", "loss"))
    assert "loss" not in evaluation.to_json()["metrics"]["tuned"]
    assert evaluation.notes == ("loss: not measured, this backend gives no log-probabilities",)


def test_a_backend_without_log_probabilities_is_noted_and_the_rest_is_measured() -> None:
    def score(examples: Sequence[tuple[Sequence[Message], Message]], tuned: bool) -> list[Score]:
        raise Unsupported("no log-probabilities here")

    asked = Evaluate.model_validate({"metrics": ("exact_match", "loss")})
    found = evaluate(asked, _rows(40), answer=_tuned_is_right, score=score, folder=Path())
    assert [result.metric.name for result in found.results] == ["exact_match"]
    assert found.notes == ("loss: not measured, this backend gives no log-probabilities",)


def test_a_base_that_cannot_be_asked_leaves_the_tuned_model_measured_alone_and_says_why() -> None:
    def answer(chats: Sequence[Sequence[ChatMessage]], tuned: bool) -> list[Completion]:
        if not tuned:
            raise Unsupported("no deployment is known that answers for the base", fix="name one")
        return _tuned_is_right(chats, tuned)

    seen: list[tuple[int, int]] = []
    asked = Evaluate.model_validate({"metrics": ("exact_match",)})
    found = evaluate(
        asked,
        _rows(40),
        answer=answer,
        folder=Path(),
        on_progress=lambda done, total: seen.append((done, total)),
    )
    assert found.result("exact_match").base is None
    assert found.result("exact_match").tuned.value == 1
    assert found.notes == (
        "the base was not asked: no deployment is known that answers for the base; name one",
    )
    assert seen[-1] == (40, 40)


def test_slower_is_worse() -> None:
    def slow(chats: Sequence[Sequence[ChatMessage]], tuned: bool) -> list[Completion]:
        numbers = [int(chat[-1].content.split()[1]) for chat in chats]
        return [_completion("x", 1 + i / 100 if tuned else 0.1 + i % 7 / 100) for i in numbers]

    evaluation = _run(slow, metrics=("latency",))
    assert evaluation.result("latency_median_s").verdict is Verdict.WORSE
    assert evaluation.result("latency_p90_s").tuned.value == pytest.approx(1.351, abs=0.001)


def test_classes_are_named_by_line_never_by_text() -> None:
    def always_refund(chats: Sequence[Sequence[ChatMessage]], tuned: bool) -> list[Completion]:
        return [_completion("refund" if tuned else "?") for _ in chats]

    evaluation = _run(always_refund)
    assert [(c.line, c.n, c.tuned.recall.value) for c in evaluation.classes.results] == [
        (11, 20, 1.0),
        (12, 20, 0.0),
    ]


def test_free_text_has_no_classes() -> None:
    rows = [Row(i + 1, (Message("user", "q"), Message("assistant", f"answer {i}"))) for i in range(30)]
    evaluation = evaluate(
        Evaluate(), rows, answer=lambda chats, tuned: [_completion("")] * len(chats), folder=Path()
    )
    assert evaluation.classes.results == ()


def test_no_word_of_a_row_is_in_the_report() -> None:
    def echo(chats: Sequence[Sequence[ChatMessage]], tuned: bool) -> list[Completion]:
        return [_completion(f"{chat[-1].content} {tuned}") for chat in chats]

    evaluation = _run(echo)
    text = json.dumps(evaluation.to_json()) + " ".join(evaluation.summary())
    for word in (*CANARY.split(), "ticket", "refund", "shipping"):
        assert word not in text


def test_report_is_plain_json_even_when_perplexity_overflows() -> None:
    def hopeless(examples: Sequence[tuple[Sequence[Message], Message]], tuned: bool) -> list[Score]:
        return [Score(-2000.0, 1 + i % 2) for i in range(len(examples))]

    evaluation = evaluate(
        Evaluate(metrics=("perplexity",)), _rows(8), answer=_tuned_is_right, score=hopeless, folder=Path()
    )
    assert (
        json.loads(json.dumps(evaluation.to_json(), allow_nan=False))["metrics"]["tuned"]["perplexity"][
            "value"
        ]
        is None
    )


def test_preference_rows_are_compared_with_the_chosen_answer() -> None:
    rows = [
        Row(
            i + 1,
            (Message("user", "q"),),
            chosen=(Message("assistant", "good"),),
            rejected=(Message("assistant", "bad"),),
        )
        for i in range(6)
    ]
    evaluation = evaluate(
        Evaluate(),
        rows,
        answer=lambda chats, tuned: [_completion("good" if tuned else "bad")] * len(chats),
        folder=Path(),
    )
    assert evaluation.result("exact_match").tuned.value == 1.0


def test_rows_without_text_to_compare_are_counted() -> None:
    call = Row(1, (Message("user", "q"), Message("assistant", "", (ToolCall("1", "look", "{}"),))))
    assert evaluate(Evaluate(), [call, *_rows(3)], answer=_tuned_is_right, folder=Path()).skipped == 1
    with pytest.raises(DataError, match="no held-out row"):
        evaluate(Evaluate(), [call], answer=_tuned_is_right, folder=Path())


def test_an_unknown_metric_names_the_nearest() -> None:
    with pytest.raises(SpecError, match="did you mean 'exact_match'"):
        check(Evaluate(metrics=("exact_mach",)), Path())
    with pytest.raises(SpecError, match=r"evaluate\.json_schema"):
        check(Evaluate(metrics=("json_validity",)), Path())


def test_lost_answers_are_an_error() -> None:
    with pytest.raises(DataError, match="0 answers came back"):
        evaluate(Evaluate(), _rows(3), answer=lambda chats, tuned: [], folder=Path())


def _scorer(folder: Path, body: str) -> Path:
    (folder / "mine.py").write_text(f"import helper\ndef score(prompt, answer, reference):\n    {body}\n")
    (folder / "helper.py").write_text("")
    return folder


def test_the_users_own_scorer(tmp_path: Path) -> None:
    body = "return float(prompt[-1]['role'] == 'user' and answer == reference) * 2"
    evaluation = _run(folder=_scorer(tmp_path, body), metrics=("exact_match",), scorer="mine:score")
    assert evaluation.result("scorer").tuned.value == 2.0


def test_a_scorer_that_fails_tells_its_type_and_line_and_no_text(tmp_path: Path) -> None:
    folder = _scorer(tmp_path, "raise ValueError(prompt[-1]['content'])")
    with pytest.raises(DataError, match="raised ValueError") as caught:
        _run(folder=folder, scorer="mine:score")
    assert caught.value.place == "line 11"
    assert CANARY not in str(caught.value)
    assert caught.value.__suppress_context__


@pytest.mark.parametrize(
    ("body", "name", "message"),
    [
        ("return float('nan')", "mine:score", "not finite"),
        ("return 1", "mine:missing", "no function"),
        ("return 1", "other:score", "file is missing"),
        ("return 1\nraise SystemExit", "mine:score", "importing the scorer raised SystemExit"),
    ],
)
def test_a_scorer_that_cannot_be_used(tmp_path: Path, body: str, name: str, message: str) -> None:
    with pytest.raises((SpecError, DataError), match=message):
        _run(folder=_scorer(tmp_path, body), scorer=name)
