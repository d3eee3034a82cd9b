"""From numbers to advice: short, sourced, and never in the way.

Thresholds are those of public practitioners' guides of 2026. They disagree; where they do, each is
shown and the one for the kind of task at hand is used. What no number can tell stays a question.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Literal

from gateway.advice.looking import Kind, Look
from gateway.core.plan import Plan
from gateway.core.spec import JobSpec

Level = Literal["good", "mind", "stop", "ask"]
Verdict = Literal["worth trying", "not yet", "rather not"]

ACADEMY = "an academy's guide to services and the Hugging Face stack, 2026"
AGENCY = "an agency's decision and process guide, 2026"
CONSULTANCY = "an enterprise consultancy's guide, 2026"
ECONOMIST = "an economist's five tests, 2026"


@dataclass(frozen=True, slots=True)
class Need:
    """Examples a kind of task wants: fewer than `least` is too few; `enough` to `plenty` is advised."""

    least: int
    enough: int
    plenty: int
    per_label: bool = False
    source: str = ACADEMY


NEEDS: Mapping[Kind, Need] = {
    "style": Need(100, 300, 500),
    "output format": Need(200, 500, 1_000),
    "classification": Need(50, 200, 500, per_label=True),
    "instructions": Need(1_000, 5_000, 20_000),
}
# The others' figures for the same question, shown beside.
OTHERS = (
    f"others: 200 at least, 500 to 1,000 usual, 2,000 and more good ({AGENCY}); 500 to 1,000 at least for "
    f"LoRA on 7 to 13 B parameters, 5,000 and more in production ({CONSULTANCY})"
)
_REPEATED, _CONTRADICTORY = 0.05, 0.02  # shares of rows from which it is worth a word
_CONSTANT = 0.80  # of the rows have one and the same answer
_IMBALANCE = 10  # times as many rows of the largest label as of the smallest
_NOT_IN_PROMPT = 0.25  # of the answers' words stand in the prompts: the rest comes from elsewhere
_LONG_ANSWER_WORDS = 25
_PAYS_BACK_MONTHS = 12


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing to know before tuning. `ask` is a question that only a person can answer."""

    level: Level
    about: str
    text: str
    source: str
    do: str = ""

    def to_json(self) -> dict[str, str]:
        return {
            "level": self.level,
            "about": self.about,
            "text": self.text,
            "source": self.source,
            "do": self.do,
        }


@dataclass(frozen=True, slots=True)
class Advice:
    """Whether to tune, by what can be counted; and why."""

    verdict: Verdict
    look: Look
    findings: tuple[Finding, ...]

    def to_json(self) -> dict[str, Any]:
        return {
            "schema": "tunegate.advice/1",
            "verdict": self.verdict,
            "rows": self.look.rows,
            "kind": self.look.kind,
            "findings": [finding.to_json() for finding in self.findings],
        }


def advise(look: Look, spec: JobSpec, plan: Plan) -> Advice:
    """What the rows and the plan say for and against tuning."""
    findings = (
        *_enough(look),
        *_quality(look),
        *_knowledge(look),
        *_held_out(spec),
        *_pays_back(plan),
        *_questions(),
    )
    levels = [finding.level for finding in findings]
    verdict: Verdict = "worth trying"
    if "stop" in levels:
        verdict = "rather not" if levels.count("stop") > 1 else "not yet"
    return Advice(verdict, look, findings)


def _enough(look: Look) -> Iterator[Finding]:
    """Rows against the need of this kind of task."""
    need = NEEDS[look.kind]
    have = min(look.per_label, default=look.rows) if need.per_label else look.rows
    what = "examples of the rarest label" if need.per_label else "examples"
    wanted = f"{need.least:,} at least, {need.enough:,} to {need.plenty:,} advised"
    text = f"{have:,} {what}; for {look.kind} ({look.why_kind}): {wanted}. {OTHERS}"
    if have < need.least:
        yield Finding("stop", "size", text, need.source, f"collect {need.least - have:,} more {what}")
    elif have < need.enough:
        yield Finding("mind", "size", text, need.source, "more examples are likely to pay")
    else:
        yield Finding("good", "size", text, need.source)


def _quality(look: Look) -> Iterator[Finding]:
    """Copies, contradictions, constant answers, labels out of balance."""
    rows = max(look.rows, 1)
    if look.repeated > _REPEATED * rows:
        share = f"{look.repeated:,} rows ({look.repeated / rows:.0%}) repeat another whole row"
        yield Finding("mind", "copies", share, AGENCY, "remove them: they are learned by heart, not from")
    if look.contradictory > _CONTRADICTORY * rows:
        share = f"{look.contradictory:,} rows ({look.contradictory / rows:.0%})"
        text = f"{share} answer a prompt that was seen before, differently"
        fix = "agree on one answer, or drop ambiguous rows"
        yield Finding("mind", "contradictions", text, ECONOMIST, fix)
    if look.leaked:
        text = f"{look.leaked:,} held-out rows have a prompt that is trained on, too"
        yield Finding("stop", "leakage", text, ECONOMIST, "remove them from one of the two files")
    if look.common_answer >= _CONSTANT and rows > 1:
        text = f"{look.common_answer:.0%} of the rows have one and the same answer"
        yield Finding("stop", "constant answers", text, ECONOMIST, "a rule does this; or add the other cases")
    if look.per_label and look.per_label[0] > _IMBALANCE * look.per_label[-1]:
        text = f"the largest label has {look.per_label[0]:,} rows, the smallest {look.per_label[-1]:,}"
        yield Finding("mind", "balance", text, ACADEMY, "collect the rare ones; read the per-class results")


def _knowledge(look: Look) -> Iterator[Finding]:
    """Behaviour is tuned, facts that change are looked up."""
    if look.answer_words >= _LONG_ANSWER_WORDS and look.shared_words < _NOT_IN_PROMPT:
        share = f"only {look.shared_words:.0%} of the answers' words"
        text = f"{share} stand in their prompts: the rest must come from what the model knows"
        fix = "if these are facts that change or must be cited, retrieve them and tune for form alone"
        yield Finding("mind", "knowledge", text, CONSULTANCY, fix)


def _held_out(spec: JobSpec) -> Iterator[Finding]:
    if spec.data.test in (0, 0.0):
        text = "no rows are held out, so nobody will know whether tuning helped"
        yield Finding("mind", "evaluation", text, AGENCY, "set data.test to 0.15")


def _pays_back(plan: Plan) -> Iterator[Finding]:
    """Months until the tuning is paid by what a month costs less than the model in use."""
    now = plan.comparison.incumbent if plan.comparison else None
    if now is None:
        text = "what a month costs today is not known"
        yield Finding("ask", "return", text, ECONOMIST, "name the model in use: serving.incumbent")
        return
    best = _cheapest(plan)
    if best is None:
        yield Finding("ask", "return", "no candidate has a price for the horizon", ECONOMIST)
        return
    name, start, month = best
    saved = now.monthly_usd - month
    text = (
        f"{now.model} costs ${now.monthly_usd:,.2f} a month; {name} ${month:,.2f}, and ${start:,.2f} to tune"
    )
    if saved <= 0:
        fix = "tune for quality, not for money"
        yield Finding("mind", "return", f"{text}: nothing is saved", ECONOMIST, fix)
        return
    months = start / saved
    people = "people's time, usually the larger part, is not in it"
    level: Level = "good" if months <= _PAYS_BACK_MONTHS else "mind"
    yield Finding(level, "return", f"{text}: paid back in {months:,.1f} months; {people}", ECONOMIST)


def _cheapest(plan: Plan) -> tuple[str, Decimal, Decimal] | None:
    """The cheapest candidate that could be had: (name, USD to tune, USD a month)."""
    open_doors = plan.comparison.managed if plan.comparison else ()
    found: list[tuple[Decimal, str, Decimal, Decimal]] = []
    for candidate in plan.candidates:
        cost, name = candidate.estimate, str(candidate.key)
        if cost.total_usd and cost.training_usd and cost.serving_usd_month is not None and name in open_doors:
            found.append((cost.total_usd.likely, name, cost.training_usd.likely, cost.serving_usd_month))
    if not found:
        return None
    _, name, start, month = min(found)
    return name, start, month


def _questions() -> Iterator[Finding]:
    """What only people can answer, in the order in which to ask it."""
    yield Finding(
        "ask", "prompting", "has the best prompt on the best base been measured on the held-out rows?",
        f"20 to 40 hours of prompting reach 70 to 80 % of the gain ({CONSULTANCY})",
        "measure it first: the base's figures in `tunegate run` are that measurement",
    )  # fmt: skip
    yield Finding(
        "ask", "review", "has an expert read a random tenth of the rows?",
        f"below 95 % good ones, do not train ({AGENCY})", "draw one: `tunegate data review SPEC`",
    )  # fmt: skip
