"""What an evaluation must not keep quiet: where tuned is worse, what was forgotten, who was not heard."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import pytest

from gateway.core.errors import DataError, Rejected
from gateway.core.job import ChatMessage, Completion, Score
from gateway.core.rows import Message, Row
from gateway.core.spec import Evaluate
from gateway.evaluate import Answer, Conclusion, Evaluation, Verdict, evaluate, example_of, labels_of
from gateway.evaluate.classes import classes
from gateway.evaluate.general import QUESTIONS, Question

Chats = Sequence[Sequence[ChatMessage]]
LABELS = ("refund to Zebediah", "shipping", "praise")


def rows(n: int = 60) -> list[Row]:
    return [
        Row(
            line=1 + i,
            messages=(Message("user", f"ticket {i}"), Message("assistant", LABELS[i % len(LABELS)])),
        )
        for i in range(n)
    ]


def number(chat: Sequence[ChatMessage]) -> int:
    return int(chat[-1].content.split()[1])


def compared(*, tuned: Sequence[str], base: Sequence[str] = ("?",), n: int = 60) -> Evaluation:
    """Answers by the row's number, in turn."""

    def answer(chats: Chats, is_tuned: bool) -> list[Completion]:
        said = tuned if is_tuned else base
        return [Completion(said[number(chat) % len(said)], 0.1) for chat in chats]

    asked = Evaluate.model_validate({"metrics": ("exact_match",)})
    return evaluate(asked, rows(n), answer=answer, folder=Path())


# -- classes ---------------------------------------------------------------------------------------


def test_precision_recall_and_f1_of_each_class_by_hand() -> None:
    """Every third row is of each class; tuned takes all of class B for A."""
    found = compared(tuned=(LABELS[0], LABELS[0], LABELS[2]))
    a, b, c = found.classes.results
    assert [each.label for each in (a, b, c)] == ["A", "B", "C"]
    assert (a.line, b.line, c.line, a.n) == (1, 2, 3, 20)
    assert a.tuned.precision.value == pytest.approx(0.5)
    assert a.tuned.recall.value == 1
    assert a.tuned.f1.value == pytest.approx(2 / 3)
    assert (b.tuned.precision.n, b.tuned.precision.value) == (0, None)  # never said: unknown, not zero
    assert b.tuned.recall.value == b.tuned.f1.value == 0
    assert c.tuned.f1.value == 1
    assert a.tuned.f1.low is not None
    assert a.tuned.f1.low < 2 / 3 < (a.tuned.f1.high or 0)


def test_confusions_are_pairs_of_letters_with_what_the_base_did() -> None:
    found = compared(tuned=(LABELS[0], LABELS[0], "nonsense"), base=LABELS)
    told = [each.to_json() for each in found.classes.confusions]
    assert told == [
        {"reference": "B", "answered": "A", "base": 0, "tuned": 20},
        {"reference": "C", "answered": None, "base": 0, "tuned": 20},
    ]


def test_letters_have_words_only_for_whoever_reads_the_rows() -> None:
    found = compared(tuned=LABELS)
    text = json.dumps(found.to_json()) + " ".join(found.summary())
    assert not any(word in text for word in ("refund", "Zebediah", "shipping", "praise"))
    examples = [example for row in rows() if (example := example_of(row))]
    assert labels_of(examples) == dict(zip("ABC", LABELS, strict=True))


def test_many_different_answers_are_no_classes() -> None:
    free = [Row(i, (Message("user", "q"), Message("assistant", f"answer {i}"))) for i in range(1, 50)]
    examples = [example for row in free if (example := example_of(row))]
    from gateway.evaluate.asking import Answers

    nothing = Answers(tuple(Completion("", 0.1) for _ in free), None)
    assert classes(examples, None, nothing, 17).results == ()


# -- one word for all ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("base", "tuned", "conclusion"),
    [
        (("?",), LABELS, Conclusion.BETTER),
        (LABELS, ("?",), Conclusion.WORSE),
        (LABELS, LABELS, Conclusion.UNCLEAR),
    ],
)
def test_the_conclusion(base: Sequence[str], tuned: Sequence[str], conclusion: Conclusion) -> None:
    found = compared(tuned=tuned, base=base)
    assert found.conclusion is conclusion
    assert found.to_json()["conclusion"] == str(conclusion)


# -- who was not heard -----------------------------------------------------------------------------


def _fussy(refuses: Sequence[int]) -> Answer:
    def answer(chats: Chats, is_tuned: bool) -> list[Completion]:
        if is_tuned and any(number(chat) in refuses for chat in chats):
            raise Rejected("not this", backend="made-up")
        return [
            Completion(LABELS[number(chat) % 3], 0.1, cut_tokens=9 * (number(chat) == 5)) for chat in chats
        ]

    return answer


def test_a_row_that_a_model_refuses_costs_that_row_and_is_named() -> None:
    found = evaluate(
        Evaluate(metrics=("exact_match",)),
        rows(),
        answer=_fussy((3, 40)),
        folder=Path(),
    )
    assert found.unanswered == ((0, 4), (0, 41))
    result = found.result("exact_match")
    assert result.difference is not None
    assert result.difference.n == result.tuned.n == 58
    assert found.rows == 60


def test_a_model_that_refuses_everything_is_an_error() -> None:
    with pytest.raises(Rejected, match="not this"):
        evaluate(Evaluate(), rows(), answer=_fussy(range(60)), folder=Path())


def test_rows_of_which_a_model_saw_a_part_are_named() -> None:
    found = evaluate(Evaluate(), rows(), answer=_fussy(()), folder=Path())
    assert found.cut == ((0, 6),)
    assert found.to_json()["cut"] == [{"file": 0, "line": 6}]


def test_answers_are_given_back_in_the_order_of_the_rows_whatever_their_length() -> None:
    long = [
        Row(i, (Message("user", f"{'x' * (97 - i)} {i}"), Message("assistant", f"{i}"))) for i in range(1, 90)
    ]

    def echo(chats: Chats, is_tuned: bool) -> list[Completion]:
        return [Completion(chat[-1].content.split()[1], 0.1) for chat in chats]

    found = evaluate(Evaluate(metrics=("exact_match",)), long, answer=echo, folder=Path())
    assert found.result("exact_match").tuned.value == 1


# -- what was forgotten ----------------------------------------------------------------------------


def _knows(share: float) -> dict[str, str]:
    """Right answers to that share of the questions."""
    return {each.text: each.accepted[0] for each in QUESTIONS[: round(share * len(QUESTIONS))]}


def _general(base: float, tuned: float, *, loss: tuple[float, float] | None = None) -> Evaluation:
    def answer(chats: Chats, is_tuned: bool) -> list[Completion]:
        known = _knows(tuned if is_tuned else base)
        return [Completion(known.get(chat[-1].content, "no idea"), 0.1) for chat in chats]

    def score(examples: Sequence[tuple[Sequence[Message], Message]], is_tuned: bool) -> list[Score]:
        assert loss is not None
        return [Score(-loss[is_tuned] * (1 + i / 100) * (20 + i), 20 + i) for i in range(len(examples))]

    return evaluate(
        Evaluate(metrics=("exact_match",)),
        rows(),
        answer=lambda chats, is_tuned: [Completion("?", 0.1)] * len(chats),
        score=score if loss else None,
        general=answer,
        folder=Path(),
    )


def test_forgetting_is_seen_and_makes_the_conclusion_worse() -> None:
    found = _general(0.9, 0.3)
    assert found.result("general_answers").verdict is Verdict.WORSE
    assert found.conclusion is Conclusion.WORSE
    assert "WORSE than base" in found.result("general_answers").sentence


def test_better_at_the_general_questions_alone_is_not_better() -> None:
    found = _general(0.9, 0.9, loss=(3.0, 2.0))
    assert found.result("general_loss").verdict is Verdict.BETTER
    assert found.conclusion is Conclusion.UNCLEAR


def test_keeping_it_is_seen_too() -> None:
    found = _general(0.9, 0.9)
    assert found.result("general_answers").verdict is Verdict.UNCLEAR
    assert found.result("general_answers").tuned.value == pytest.approx(0.9, abs=0.01)


def test_a_base_at_chance_is_too_small_to_tell() -> None:
    found = _general(0.05, 0.0)
    assert found.result("general_answers").verdict is Verdict.TOO_SMALL
    assert "too small to tell" in found.result("general_answers").sentence
    assert found.conclusion is Conclusion.UNCLEAR


@pytest.mark.parametrize(("after", "verdict"), [(2.05, Verdict.UNCLEAR), (3.0, Verdict.WORSE)])
def test_plain_english_that_became_unlikely_is_seen_and_a_hair_is_not(after: float, verdict: Verdict) -> None:
    found = _general(0.9, 0.9, loss=(2.0, after)).result("general_loss")
    assert found.difference is not None
    assert found.difference.value == pytest.approx(after - 2.0, rel=0.1)
    assert found.verdict is verdict


def test_nothing_general_is_asked_unless_it_is_wanted() -> None:
    found = compared(tuned=LABELS)
    assert [result.metric.name for result in found.results] == ["exact_match"]


def test_questions_are_distinct_short_and_answered_by_their_own_answers() -> None:
    assert 40 <= len({each.text for each in QUESTIONS}) == len(QUESTIONS) <= 60
    for each in QUESTIONS:
        assert len(each.text) < 120
        assert all(each.right(f" {answer.capitalize()}.\n") for answer in each.accepted), each.text
        assert not each.right("I do not know.")


@pytest.mark.parametrize(
    ("answer", "right"),
    [("12", True), ("It is 12.", True), ("Twelve!", True), ("112", False), ("1 2", False), ("", False)],
)
def test_an_answer_counts_where_the_right_word_stands_early(answer: str, right: bool) -> None:
    assert QUESTIONS[0].right(answer) is right
    assert not QUESTIONS[0].right("one two three four five six seven eight nine 12")


def test_doing_what_is_asked_means_nothing_else() -> None:
    asked = Question("Reply only with yes.", ("yes",), "is")
    assert asked.right("Yes.")
    assert not asked.right("Yes, of course.")


# -- preferences -----------------------------------------------------------------------------------


def _pairs(n: int = 40) -> list[Row]:
    """The chosen answer is long: as a whole it is less likely, per token it is not."""
    return [
        Row(
            i,
            (Message("user", f"ticket {i}"),),
            chosen=(Message("assistant", "a kind and patient answer"),),
            rejected=(Message("assistant", "no"),),
        )
        for i in range(1, n + 1)
    ]


def _scores(examples: Sequence[tuple[Sequence[Message], Message]], is_tuned: bool) -> list[Score]:
    def one(answer: Message) -> Score:
        tokens = len(answer.content.split()) + 1
        kind = tokens > 2
        return Score(-tokens * ((0.4 if is_tuned else 3.0) if kind else 2.0), tokens)

    return [one(answer) for _, answer in examples]


def _no_answer(chats: Chats, is_tuned: bool) -> list[Completion]:
    return []


def _blank(chats: Chats, is_tuned: bool) -> list[Completion]:
    return [Completion("", 0.1) for _ in chats]


def _preferences(**more: object) -> Evaluation:
    return evaluate(
        Evaluate(metrics=("token_f1",)),
        _pairs(),
        answer=lambda chats, is_tuned: [Completion("no", 0.1)] * len(chats),
        folder=Path(),
        **more,  # pyright: ignore[reportArgumentType]
    )


def test_preferences_are_counted_as_a_whole_and_per_token() -> None:
    """Chosen: 6 tokens at 0.4 nats tuned, 3.0 base; rejected: 2 tokens at 2.0 for both."""
    found = _preferences(score=_scores)
    whole, each = found.result("preference"), found.result("preference_per_token")
    assert (whole.base and whole.base.value, whole.tuned.value) == (0.0, 1.0)  # 18 > 4, 2.4 < 4
    assert (each.base and each.base.value, each.tuned.value) == (0.0, 1.0)
    assert whole.verdict is Verdict.BETTER
    assert whole.difference is not None
    assert whole.difference.n == 40
    assert found.result("token_f1").tuned.value == 0


def test_the_length_of_an_answer_decides_only_as_a_whole() -> None:
    def alike(examples: Sequence[tuple[Sequence[Message], Message]], is_tuned: bool) -> list[Score]:
        return [Score(-1.0 * len(a.content.split()), len(a.content.split())) for _, a in examples]

    found = _preferences(score=alike)
    assert found.result("preference").tuned.value == 0.0
    assert found.result("preference_per_token").tuned.value == 0.5  # alike: half a point


def test_preferences_without_log_probabilities_are_noted() -> None:
    found = _preferences()
    assert [result.metric.name for result in found.results] == ["token_f1"]
    assert found.notes == ("preference: not measured, this backend gives no log-probabilities",)


def test_progress_counts_everything_once() -> None:
    told: list[tuple[int, int]] = []

    def tell(done: int, total: int) -> None:
        told.append((done, total))

    _preferences(
        score=_scores,
        general=_blank,
        on_progress=tell,
    )
    assert told[-1] == (2 * (40 + 40 + 58), 2 * (40 + 40 + 58))
    assert [done for done, _ in told] == sorted({done for done, _ in told})


def test_too_few_answers_for_the_questions_is_an_error() -> None:
    with pytest.raises(DataError, match="0 answers came back"):
        _preferences(general=_no_answer)
