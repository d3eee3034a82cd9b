"""From looks to findings: checks and context say how sure each look is, and the surest of each place stays.

Looks come with the most they can be worth. They are taken in that order, so that whatever a surer finding
covers is never checked at all; one that turns out to be worth less goes back and waits for its turn.
"""

from __future__ import annotations

from bisect import insort
from collections.abc import Iterable
from typing import NamedTuple, TypeAlias

from gateway.privacy import people
from gateway.privacy.numbers import NUMBERS, Match, is_piece
from gateway.privacy.page import Page
from gateway.privacy.rules import CHECK_LOSS, CONTEXT_GAIN, PIECE_LOSS, RULES, Rule

_SURE = 0.88  # the most that context makes of a look; a label before it says more
_LINE_BREAK = 10
_LEAST = 0.05
_ALL = (*NUMBERS, *RULES)
_NO_RULE = len(_ALL)


class Found(NamedTuple):
    """A finding in a page's text."""

    start: int
    end: int
    type: str
    confidence: float


Look: TypeAlias = tuple[int, float, int, int, str, float, bool]
"""A place where something may be: its start, minus the most its confidence can be, its end, its rule (index
into `NUMBERS` and then `RULES`), its type, its confidence before check and context, whether it is checked. A
plain tuple, since dense text has thousands a megabyte."""


def _worth(rule: Rule, *, piece: bool) -> tuple[float, float, str]:
    """Minus the most a rule's match can be worth, what it is worth before check and context, and its type."""
    base = rule.confidence - (PIECE_LOSS if piece and rule.alone else 0.0)
    return -_rounded(max(base, min(base + CONTEXT_GAIN, _SURE)) if rule.context else base), base, rule.type


def _rounded(confidence: float) -> float:
    return round(confidence, 2) if confidence > _LEAST else _LEAST


_WORTH = [(_worth(rule, piece=False), _worth(rule, piece=True)) for rule in _ALL]


def of_numbers(found: Iterable[Match]) -> list[Look]:
    """What `numbers.find` found."""
    return [
        (start, bound, end, rule, kind, base, False)
        for rule, start, end, piece in found
        for bound, base, kind in (_WORTH[rule][piece],)
    ]


def of_rule(page: Page, number: int, spans: Iterable[tuple[int, int]]) -> list[Look]:
    """The matches of one of `RULES`."""
    looks: list[Look] = []
    rule, alone, text = len(NUMBERS) + number, RULES[number].alone, page.text
    bound, base, kind = _WORTH[rule][False]
    for start, end in spans:
        if text[end - 1] == _LINE_BREAK:  # perhaps the separator's, which is no part of the field
            end = min(end, page.end(page.at(start)))
        if alone and is_piece(text, start, end):
            looks.append((start, _WORTH[rule][True][0], end, rule, kind, _WORTH[rule][True][1], False))
        elif start < end:
            looks.append((start, bound, end, rule, kind, base, False))
    return looks


def known(start: int, end: int, type_: str, confidence: float) -> Look:
    """What needs no confirming."""
    return start, -confidence, end, _NO_RULE, type_, confidence, True


def confirm(page: Page, looks: list[Look], floor: float, *, exact: bool = True) -> list[Found]:
    """The surest finding of each place, of at least `floor`, in the text's order; none overlap.

    Args:
        exact: confidences are told. Without, one may be told as less than it is, and costs less to find;
            what is found, and whether it reaches `floor`, is the same.
    """
    looks.sort()
    kept: list[Found] = []
    at, count = 0, len(looks)
    while at < count:
        first, begin = looks[at], at
        end, at = first[2], at + 1
        while at < count and looks[at][0] < end:  # what overlaps decides among itself
            if looks[at][2] > end:
                end = looks[at][2]
            at += 1
        if at - begin == 1:
            start, bound, end, rule, kind, base, checked = first
            if -bound < floor:
                continue
            confidence = -bound if checked else _confidence(page, rule, base, start, end, floor, exact=exact)
            if confidence >= floor:
                kept.append(Found(start, end, kind, confidence))
        else:
            kept += _surest(page, looks[begin:at], floor, exact=exact)
    return kept


_ByWorth: TypeAlias = tuple[float, int, int, bool, int, int, str, float]


def _surest(page: Page, looks: list[Look], floor: float, *, exact: bool) -> list[Found]:
    """What stays of looks that overlap: taken by the most they can be worth, then the longer first."""
    waiting: list[_ByWorth] = [
        (bound, start - end, rule, checked, start, end, kind, base)
        for start, bound, end, rule, kind, base, checked in looks
        if -bound >= floor
    ]
    if len(waiting) > 1:
        waiting.sort()
    kept: list[Found] = []
    at = 0
    while at < len(waiting):
        bound, length, rule, checked, start, end, kind, base = waiting[at]
        at += 1
        if kept and any(each[0] < end and start < each[1] for each in kept):
            continue
        if not checked:
            # Where no other look could be surer than this one without its context, nobody asks for that.
            settled = not exact and (at == len(waiting) or base >= -waiting[at][0])
            confidence = _confidence(page, rule, base, start, end, floor, exact=not settled)
            if confidence < floor:
                continue
            if confidence < (base if settled else -bound):
                insort(waiting, (-confidence, length, rule, True, start, end, kind, base), lo=at)
                continue
            bound = -confidence
        kept.append(Found(start, end, kind, -bound))
    if len(kept) > 1:
        kept.sort()
    return kept


def _confidence(
    page: Page, rule: int, base: float, start: int, end: int, floor: float, *, exact: bool
) -> float:
    """How sure a look is once it is checked; without `exact`, context is looked up only where it decides."""
    text, judge, confidence = page.text, _ALL[rule], base
    if judge.type == "name" and people.eponym(text, start, end):
        return -1.0
    context = judge.context
    if not exact and base >= floor and (judge.check is None or judge.check(text[start:end])):
        return base
    near = context is not None and not context.isdisjoint(page.near(start))
    if base < floor and not near:
        return base  # too little whatever a check says
    if judge.check is not None and not judge.check(text[start:end]):
        confidence -= CHECK_LOSS
    if near and confidence < _SURE:
        confidence = min(confidence + CONTEXT_GAIN, _SURE)
    return _rounded(confidence)
