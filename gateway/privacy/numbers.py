# ruff: noqa: E501 - one rule a line reads as a table
"""Numbers: rules that go by the shape of a number alone, and so need to look at each shape only once.

A dataset holds millions of numbers in a few hundred shapes (`(000) 000-0000`). What the rules say of a
shape is remembered; a number then costs a look-up, and its checks. A rule whose pattern names digits
(`19` or `20`) is remembered for any digits and matched again on the number itself.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import lru_cache
from typing import TypeAlias

from gateway.privacy import checks
from gateway.privacy.engine import Pattern
from gateway.privacy.rules import CARD_WORDS, DATE_WORDS, PHONE_WORDS, SSN_WORDS, Rule, near

NUMBERS: tuple[Rule, ...] = (
    Rule("ssn", r"\b\d{3}[-.]\d{2}[-.]\d{4}\b", 0.75, SSN_WORDS, checks.ssn, alone=True),
    Rule("ssn", r"\b\d{3} \d{2} \d{4}\b", 0.6, SSN_WORDS, checks.ssn, alone=True),
    Rule("card", r"\b\d{4}[- ]\d{4}[- ]\d{4}[- ]\d{1,7}\b", 0.85, CARD_WORDS, checks.card, alone=True),
    Rule("card", r"\b3[47]\d{2}[- ]\d{6}[- ]\d{5}\b", 0.85, CARD_WORDS, checks.card, alone=True),
    Rule("card", r"\b\d{12,19}\b", 0.6, CARD_WORDS, checks.card, alone=True),
    Rule("ip", r"\b\d{1,3}\.\d{1,3}\.\d{1,3}\.\d{1,3}\b", 0.8, near("ip address host server login from"), checks.ipv4, alone=True),
    Rule("health_plan", r"\b\d{3}[- ]\d{3}[- ]\d{4}\b", 0.2, near("nhs"), checks.nhs, alone=True),
    Rule("phone", r"(?:\(\d{3}\) ?|\b\d{3}[-. ])\d{3}[-. ]\d{4}(?:,? ?(?i:x|ext\.?|extension) ?\d{1,6})?\b", 0.75, PHONE_WORDS, checks.phone, alone=True),
    Rule("phone", r"\+?1[-. ]?(?:\(\d{3}\) ?|\b\d{3}[-. ])\d{3}[-. ]\d{4}(?:,? ?(?i:x|ext\.?|extension) ?\d{1,6})?\b", 0.75, PHONE_WORDS, checks.phone, alone=True),
    Rule("phone", r"\+\d{1,3}[-. ]?(?:\(\d{1,4}\)[-. ]?)?\d{1,5}(?:[-. ]?\d{1,5}){1,5}\b", 0.8, PHONE_WORDS, checks.phone, alone=True),
    Rule("phone", r"\b(?:001[-. ]?)\d{3}[-. ]\d{3}[-. ]\d{4}(?:x\d{1,6})?\b", 0.8, PHONE_WORDS, checks.phone, alone=True),
    Rule("phone", r"\(?\b0\d{1,4}\)?[-. ]\d{2,4}(?:[-. ]\d{2,4}){1,4}\b", 0.55, PHONE_WORDS, checks.phone, alone=True),
    Rule("phone", r"\b\d{2}(?:[ .]\d{2}){3,4}\b", 0.3, PHONE_WORDS, checks.phone, alone=True),
    Rule("phone", r"\b\d{3,5}[- ]\d{3,4}(?:[- ]\d{3,4})?(?:x\d{1,6})?\b", 0.2, PHONE_WORDS, checks.phone, alone=True),
    Rule("phone", r"\(\d{2,4}\) ?\d{2,4}[- ]\d{2,4}\b", 0.55, PHONE_WORDS, checks.phone, alone=True),
    Rule("phone", r"\b0\d{1,4}-\d{5,8}\b", 0.6, PHONE_WORDS, checks.phone, alone=True),
    Rule("phone", r"\b\d{2,4}(?:[- ]\d{2,4}){2,4}\b", 0.2, PHONE_WORDS, checks.phone, alone=True),
    Rule("phone", r"\b\d{2,4}[- ]\d{5,8}\b", 0.2, PHONE_WORDS, checks.phone, alone=True),
    Rule("phone", r"\b\d{9,12}(?:x\d{1,6})?\b", 0.2, PHONE_WORDS, checks.phone, alone=True),
    Rule("date", r"\b(?:19|20)\d{2}[-/.]\d{1,2}[-/.]\d{1,2}(?:[T ]\d{2}:\d{2}(?::\d{2}(?:\.\d+)?)?(?:Z|[+-]\d{2}:?\d{2})?)?\b", 0.9, DATE_WORDS, checks.numeric_date),
    Rule("date", r"\b\d{1,2}/\d{1,2}/(?:\d{4}|\d{2})\b", 0.85, DATE_WORDS, checks.numeric_date, alone=True),
    Rule("date", r"\b\d{1,2}[-.]\d{1,2}[-.]\d{4}\b", 0.85, DATE_WORDS, checks.numeric_date, alone=True),
    Rule("date", r"\b\d{1,2}[-.]\d{1,2}[-.]\d{2}\b", 0.45, DATE_WORDS, checks.numeric_date, alone=True),
    Rule("date", r"\b(?:0?[1-9]|1[0-2])/(?:19|20)\d{2}\b", 0.7, None, checks.month_year, alone=True),
    Rule("date", r"\b(?:19|20)\d{6}\b", 0.2, near("dob date birth born admit discharge visit dos"), lambda v: checks.numeric_date(v[:4] + b"-" + v[4:6] + b"-" + v[6:]), alone=True),
    Rule("geography", r"\b\d{5}-\d{4}\b", 0.5, near("zip address code"), checks.zip_code, alone=True),
    Rule("geography", r"\b\d{5}\b", 0.15, near("zip zipcode postal address"), checks.zip_code, alone=True),
)  # fmt: skip

_TO_SHAPE = bytes.maketrans(b"123456789", b"000000000")
# A number with all that may belong to it: separators, an extension, the time after a date.
_NUMBER = re.compile(rb"0(?:[-0()+./: ]|,? ?(?:[xX]|[eE]xt(?:\.|ension)?) ?(?=0)|T(?=00:)|Z\b){4,}")
WORTH_A_LOOK = r"\d(?:[-\d()+./: ]|,? ?(?:[xX]|[eE]xt)|T){3,}\d"
"""What a text has where any of these rules can match: none is shorter."""
_SEPARATORS, _OPENING = b" -./:+(,", b"(+"
_DIGITS_NAMED = re.compile(r"\{[^}]*\}|\\d|\[[0-9-]+\]|[0-9]")
_REMEMBERED_BYTES = 96
# What stands beside a number, as far as a pattern's `\b` sees it. The byte before a text is its last: no letter.
_EDGE = [b"a" if chr(byte).isalnum() or chr(byte) == "_" else b" " for byte in range(128)] + [b" "] * 128


Match: TypeAlias = tuple[int, int, int, bool]
"""Rule (an index into `NUMBERS`), start, end, and whether digits go on before or after it."""


def find(text: bytes) -> list[Match]:
    """Every match of the number rules, in a text that does not end with a digit or a letter."""
    found: list[Match] = []
    shapes = text.translate(_TO_SHAPE)
    for match in _NUMBER.finditer(shapes):
        start = match.start()
        while shapes[start - 1] in _OPENING and start > match.start() - 2:
            start -= 1
        shape = shapes[start : match.end()].rstrip(_SEPARATORS)
        end = start + len(shape)
        framed = _EDGE[shapes[start - 1]] + shape + _EDGE[shapes[end]]
        for rule, begin, stop, piece in (_looks if len(shape) <= _REMEMBERED_BYTES else _looks_at)(framed):
            if rule in _EXACT:
                found.extend(_exactly(rule, text, start + begin, start + stop, piece=piece))
            else:
                found.append((rule, start + begin, start + stop, piece))
    return found


def _exactly(rule: int, text: bytes, start: int, end: int, *, piece: bool) -> Iterator[Match]:
    """The match again, on the digits themselves."""
    for begin, stop in _EXACT[rule].spans(text, start, end):
        yield rule, begin, stop, piece or (begin, stop) != (start, end)


def _looks_at(shape: bytes) -> tuple[Match, ...]:
    """The matches in a shape, which has one byte more at either side; positions without it."""
    return tuple(
        (rule, start - 1, end - 1, is_piece(shape, start, end))
        for rule, pattern in enumerate(_LOOKS)
        for start, end in pattern.spans(shape)
    )


_looks = lru_cache(maxsize=8192)(_looks_at)


def is_piece(text: bytes, start: int, end: int) -> bool:
    """Whether digits go on before or after, with or without a separator."""
    before, after = text[max(start - 2, 0) : start], text[end : end + 2]
    return (
        before[-1:].isdigit()
        or (before[-1:] in b"-./" and before[:1].isdigit() and len(before) == 2)
        or after[:1].isdigit()
        or (after[:1] in b"-./" and after[1:].isdigit())
    )


def _any_digits(pattern: str) -> str:
    """A pattern for the shapes of what `pattern` matches: every digit it names may be any."""
    return _DIGITS_NAMED.sub(lambda found: found[0] if found[0][0] in "{\\" else r"\d", pattern)


_LOOKS = tuple(Pattern(_any_digits(rule.pattern)) for rule in NUMBERS)
_EXACT = {
    at: Pattern(rule.pattern) for at, rule in enumerate(NUMBERS) if _any_digits(rule.pattern) != rule.pattern
}
