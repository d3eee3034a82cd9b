"""Did the model forget? A small fixed check of what any assistant should still be able to do.

Forty-eight short questions with exact answers, and ten plain passages whose likelihood is measured where
the backend gives log-probabilities. All of it was written for this project and none of it is the user's
data. It is an alarm, not a benchmark: it sees a model that lost its arithmetic or its English, and cannot
rank two good ones. A base that gets hardly any answer right is too small for the questions to tell.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from gateway.core.job import Completion
from gateway.core.rows import Message
from gateway.evaluate.asking import Answers, Asker, Example
from gateway.evaluate.comparing import compare
from gateway.evaluate.intervals import Column
from gateway.evaluate.metrics import METRICS, words
from gateway.evaluate.report import MetricResult

MAX_OUTPUT_TOKENS = 24
AT_CHANCE = 0.1  # a base that answers fewer than this share cannot be seen to forget
_EARLY = 8  # words of an answer in which the right one must stand

Kind = Literal["says", "is"]


@dataclass(frozen=True, slots=True)
class Question:
    """`says`: one of the accepted answers stands among the first words; `is`: nothing else does."""

    text: str
    accepted: tuple[str, ...]
    kind: Kind = "says"

    def right(self, answer: str) -> bool:
        said = words(answer)
        if self.kind == "is":
            return any(said == words(each) for each in self.accepted)
        return any(_holds(said[:_EARLY], words(each)) for each in self.accepted)


def general(asker: Asker, *, baseline: bool, seed: int) -> tuple[tuple[MetricResult, ...], tuple[str, ...]]:
    """The check for base and tuned: results, and notes on what could not be told."""
    questions = [Example((Message("user", each.text),), Message("assistant", "")) for each in QUESTIONS]
    before = _right(asker.ask(questions, tuned=False, scored=False)) if baseline else None
    after = _right(asker.ask(questions, tuned=True, scored=False))
    telling = before is None or float(np.nanmean(before)) >= AT_CHANCE
    metric = METRICS["general_answers"]
    found = [compare(metric, None if before is None else (before,), (after,), seed, telling=telling)]
    if (likelihood := _likelihood(asker, baseline, seed)) is not None:
        found.append(likelihood)
    note = "general_answers: the base itself answers next to none, so it is too small to tell what was lost"
    return tuple(found), (() if telling else (note,))


def units() -> int:
    """How much work the check is for one model, in rows."""
    return len(QUESTIONS) + len(PASSAGES)


def _right(answers: Answers) -> Column:
    def one(question: Question, completion: Completion | None) -> float:
        return float("nan") if completion is None else float(question.right(completion.text))

    return np.array([one(*each) for each in zip(QUESTIONS, answers.completions, strict=True)])


def _likelihood(asker: Asker, baseline: bool, seed: int) -> MetricResult | None:
    """Loss on the passages; None where the backend gives no log-probabilities."""
    passages = [
        Example((Message("user", f"Tell me about {topic}."),), Message("assistant", text))
        for topic, text in PASSAGES
    ]
    columns: list[tuple[Column, Column]] = []
    for tuned in (False, True) if baseline else (True,):
        scores = asker.scores(passages, tuned=tuned)
        asker.did(len(passages))
        columns.append(
            (
                np.array([s.log_probability if s.tokens else np.nan for s in scores]),
                np.array([float(s.tokens) if s.tokens else np.nan for s in scores]),
            )
        )
    if asker.score is None or not np.isfinite(columns[-1][1]).any():
        return None
    return compare(METRICS["general_loss"], columns[0] if baseline else None, columns[-1], seed)


def _holds(said: Sequence[str], wanted: Sequence[str]) -> bool:
    return any(said[at : at + len(wanted)] == wanted for at in range(len(said) - len(wanted) + 1))


def _q(text: str, *accepted: str, kind: Kind = "says") -> Question:
    return Question(text, accepted, kind)


QUESTIONS: tuple[Question, ...] = (
    # arithmetic and counting
    _q("What is 7 + 5? Answer with the number only.", "12", "twelve"),
    _q("What is 9 times 6? Answer with the number only.", "54", "fifty four"),
    _q("What is 100 minus 37? Answer with the number only.", "63", "sixty three"),
    _q("What is 81 divided by 9? Answer with the number only.", "9", "nine"),
    _q("What is half of 46? Answer with the number only.", "23", "twenty three"),
    _q("What is 15 percent of 200? Answer with the number only.", "30", "thirty"),
    _q("A box holds 6 eggs. How many eggs are in 4 boxes? Answer with the number only.", "24", "twenty four"),
    _q("Which number comes next: 2, 4, 8, 16? Answer with the number only.", "32", "thirty two"),
    _q("How many minutes are in two hours? Answer with the number only.", "120", "one hundred twenty"),
    _q("Which is larger, 0.7 or 0.65? Answer with the number only.", "0 7"),
    _q("What is 2 to the power of 5? Answer with the number only.", "32", "thirty two"),
    _q("Anna is 12 and Ben is 5 years older. How old is Ben? Number only.", "17", "seventeen"),
    _q("How many letters has the word tree? Answer with the number only.", "4", "four"),
    _q("How many sides has a hexagon? Answer with the number only.", "6", "six"),
    _q("A shirt costs 40 dollars and is sold at half price. What does it cost now? Number only.", "20"),
    _q("How many days are in three weeks? Answer with the number only.", "21", "twenty one"),
    # common knowledge
    _q("What is the capital of France? Answer in one word.", "paris"),
    _q("What is the capital of Japan? Answer in one word.", "tokyo"),
    _q("Which planet do we live on? Answer in one word.", "earth"),
    _q("What do bees make that people eat? Answer in one word.", "honey"),
    _q("What is frozen water called? Answer in one word.", "ice"),
    _q("Which gas do people need to breathe? Answer in one word.", "oxygen"),
    _q("On which continent is Egypt? Answer in one word.", "africa"),
    _q("What is the largest ocean? Answer in one word.", "pacific", "the pacific"),
    _q("Which month comes after March? Answer in one word.", "april"),
    _q("What colour do blue and yellow paint make? Answer in one word.", "green"),
    _q("What is the chemical formula of water?", "h2o", "h₂o"),
    _q("Who wrote the play Hamlet? Answer with the surname only.", "shakespeare"),
    _q("Which organ pumps blood through the body? Answer in one word.", "heart"),
    _q("At how many degrees Celsius does water boil at sea level? Number only.", "100", "one hundred"),
    _q("What is the opposite of hot? Answer in one word.", "cold"),
    _q("What is a young dog called? Answer in one word.", "puppy", "pup"),
    # doing what is asked
    _q("Reply with the single word banana and nothing else.", "banana", kind="is"),
    _q("Repeat exactly: red green blue", "red green blue", kind="is"),
    _q("Reply only with the word yes.", "yes", kind="is"),
    _q("Write the word cat three times, separated by spaces, and nothing else.", "cat cat cat", kind="is"),
    _q("Write the letters a, b and c, separated by spaces, and nothing else.", "a b c", kind="is"),
    _q("Write the number seven as a digit, and nothing else.", "7", kind="is"),
    _q("What is the plural of mouse (the animal)? Answer with one word only.", "mice", kind="is"),
    _q("What is the past tense of go? Answer with one word only.", "went", kind="is"),
    _q("Translate the Spanish word gato into English. Answer with one word only.", "cat", kind="is"),
    _q("Translate the French word merci into English.", "thank you", "thanks"),
    _q("Is the sentence 'I love this film' positive or negative? One word only.", "positive", kind="is"),
    _q("Is the sentence 'The food was awful' positive or negative? One word only.", "negative", kind="is"),
    _q("Put these in alphabetical order, with spaces and nothing else: pear apple", "apple pear", kind="is"),
    _q("Reverse the order of these words: one two three. Nothing else.", "three two one", kind="is"),
    _q("Which word does not belong: apple, banana, hammer? One word only.", "hammer", kind="is"),
    _q("Answer yes or no: can fish swim?", "yes"),
)

PASSAGES: tuple[tuple[str, str], ...] = (
    (
        "rain",
        "Rain falls when small drops of water in a cloud join and become too heavy for the air to hold.",
    ),
    ("bread", "Bread is made from flour, water and a little salt. Yeast makes the dough rise before baking."),
    (
        "libraries",
        "A library lends books to everyone who lives nearby. You bring them back within a few weeks.",
    ),
    ("trains", "The train leaves the station every hour and reaches the coast shortly before noon."),
    (
        "sleep",
        "Most adults need seven to eight hours of sleep. Without it they think more slowly the next day.",
    ),
    (
        "gardens",
        "In spring she planted beans along the fence, and by the end of June they were taller than she.",
    ),
    (
        "money",
        "He put a small part of his wages aside each month, and after five years he could buy the boat.",
    ),
    (
        "the moon",
        "The moon has no light of its own. What we see at night is the light of the sun that it reflects.",
    ),
    ("meetings", "The meeting was moved to Thursday because two of the people who had to decide were away."),
    (
        "bicycles",
        "To ride a bicycle you have to keep moving; if you stop without putting a foot down, you fall.",
    ),
)
