"""Names of people: pairs and single first names from the Census lists, and what may be a name at all.

A list alone is noise (88,000 surnames hold half the dictionary), so a finding needs a first name with
something name-like after it, or a first name that means nothing else. Eponyms are not people here.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import lru_cache

from gateway.privacy.lexicon import AMBIGUOUS, EPONYM_AFTER, ORDINARY, names

_CAPITALISED = re.compile(rb"[A-Z][A-Za-z]+")
_RUN = re.compile(
    rb"\b[A-Z][A-Za-z'-]+(?:[ ](?:[A-Z]\.?(?=[ ])|(?:van|von|de|der|den|del|di|da|la|bin|al|el|dos)(?=[ ])|"
    rb"[A-Z][A-Za-z'-]+))*"
)
_SMALL = re.compile(rb"[a-z][a-z'-]+")
_EPONYM = re.compile(EPONYM_AFTER)
_PARTICLES = frozenset(b"van von de der den del di da la bin al el dos".split())
_PLACE_BEFORE = frozenset(b"San Santa Santo Los Las Fort Port Lake North South West East New".split())


def eponym(text: bytes, end: int) -> bool:
    """Whether what stands before `end` names a disease or a thing: `Parkinson disease`, `Foley catheter`."""
    return _EPONYM.match(text, end) is not None


def find(text: bytes) -> Iterator[tuple[int, int, float]]:
    """First-last pairs and unmistakable first names: (start, end, confidence)."""
    capitalised = _CAPITALISED.findall(text)
    if not capitalised:
        yield from _in_small_letters(text)
    elif not names().first.isdisjoint(capitalised):
        for run in _RUN.finditer(text):
            words = run.group().split(b" ")
            if any(bare(word) in names().first for word in words):
                yield from _in_run(text, run.start(), words)


def _in_small_letters(text: bytes) -> Iterator[tuple[int, int, float]]:
    """Names where nobody uses capitals: unmistakable first names, with a surname or without."""
    lists, previous = names(), None
    for word in _SMALL.finditer(text):
        name = bare(word.group())
        family = previous is not None and previous.end() + 1 == word.start() and name.lower() not in ORDINARY
        if previous is not None:
            whole = family and name in lists.last
            end = word.end() if whole else previous.end()
            if not eponym(text, end):
                yield previous.start(), end, 0.75 if whole else 0.55
        previous = word if name in lists.certain else None
    if previous is not None:
        yield previous.start(), previous.end(), 0.55


def _in_run(text: bytes, start: int, words: list[bytes]) -> Iterator[tuple[int, int, float]]:
    """Names in a run of capitalised words, of which at least one is a first name."""
    at = 0
    while at < len(words):
        if bare(words[at]) in names().first and not (at and words[at - 1] in _PLACE_BEFORE):
            last = _surname_after(words, at)
            confidence = _sure(words, at, last)
            begin = start + len(b" ".join(words[:at])) + (1 if at else 0)
            end = start + len(b" ".join(words[: last + 1]))
            end -= len(words[last]) - len(_unpossessed(words[last]))
            if confidence and not eponym(text, end):
                yield begin, end, confidence
            at = last
        at += 1


def _surname_after(words: list[bytes], first: int) -> int:
    """Index of the last word of the name that begins at `first`; `first` itself when it stands alone."""
    last = first
    for at in range(first + 1, min(first + 5, len(words))):
        word = words[at]
        if word in _PARTICLES or len(word.rstrip(b".")) == 1:
            continue
        if bare(word).lower() in ORDINARY or at - first > 3:
            break
        last = at
        if bare(word) in names().last and bare(word) not in names().first:
            break
    return last


def _sure(words: list[bytes], first: int, last: int) -> float:
    """How sure: both words from the lists, one of them, or a first name alone."""
    given, lists = bare(words[first]), names()
    certain = given in lists.certain
    if last == first:
        return 0.6 if certain and not given.isupper() else 0.0
    family = bare(words[last])
    if family in lists.last or family in lists.first:
        plain = family.lower() in AMBIGUOUS
        return (0.8 if plain else 0.9) if certain else (0.4 if plain else 0.75)
    return 0.7 if certain and not given.isupper() else 0.3


@lru_cache(maxsize=16384)
def bare(word: bytes) -> bytes:
    """A word as the lists have it: no possessive, `O'Brien` and `McDonald` as `Obrien` and `Mcdonald`."""
    word = _unpossessed(word)
    return word if word.isupper() else word.replace(b"'", b"").capitalize()


def _unpossessed(word: bytes) -> bytes:
    return word.removesuffix(b"'s").removesuffix(b"'S").rstrip(b"'-")


def person(value: bytes) -> bool:
    """Whether the words after `Dr.` or `my name is` can be a name: no ordinary word, more than a letter."""
    first = value.split()[0]
    return len(first.rstrip(b".")) > 1 and bare(first).lower() not in ORDINARY


def known(value: bytes) -> bool:
    """Whether the words after `patient` or `spoke to` are on the lists: a pair, or a name only."""
    words, lists = value.split(), names()
    first, last = bare(words[0]), bare(words[-1])
    if first in lists.certain:
        return True
    if first.lower() in ORDINARY or last not in lists.last:
        return False
    return first in lists.first or first in lists.last if len(words) > 1 else last.lower() not in AMBIGUOUS


def pair(value: bytes) -> bool:
    """Whether the words after `spoke with` are known, or at least two that are no ordinary words."""
    words = value.split()
    return known(value) or (len(words) > 1 and all(bare(word).lower() not in ORDINARY for word in words))


def surname(value: bytes) -> bool:
    """Whether the last word is a surname and nothing else."""
    word = bare(value.split()[-1].split(b".")[-1])
    return word in names().last and word.lower() not in AMBIGUOUS


def last_first(value: bytes) -> bool:
    """`Smith, John`: a surname and a first name, not both of them ordinary words."""
    last, first = (bare(part.split()[0]) for part in value.split(b", ", 1))
    lists = names()
    if last not in lists.last or first not in lists.first:
        return False
    return first in lists.certain and last.lower() not in AMBIGUOUS
