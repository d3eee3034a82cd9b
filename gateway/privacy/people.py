"""Names of people: pairs and single first names from the Census lists, and what may be a name at all.

A list alone is noise (88,000 surnames hold half the dictionary), so a finding needs a first name with
something name-like after it, or a first name that means nothing else. Eponyms are not people here.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from functools import lru_cache

from gateway.privacy.lexicon import (
    AMBIGUOUS,
    EPONYM_AFTER,
    EPONYM_OF_ONE_WORD,
    EPONYMS,
    LARGE,
    ORDINARY,
    is_word,
    names,
)

_CAPITALISED = re.compile(rb"[A-Z][A-Za-z'-]+")
_RUN = re.compile(
    rb"\b[A-Z][A-Za-z'-]+(?:[ ](?:[A-Z]\.?(?=[ ])|(?:van|von|de|der|den|del|di|da|la|bin|al|el|dos)(?=[ ])|"
    rb"[A-Z][A-Za-z'-]+))*"
)
_GIVEN = re.compile(rb"[A-Z][A-Za-z'-]+(?: [A-Z]\b\.?)?")
_CONTRACTED = (b"'ve", b"'ll", b"'d", b"'m", b"'re", b"n't")
_LAST_FIRST = 0.75
_SURNAME = 0.55
_SMALL = re.compile(rb"[a-z][a-z'-]+")
_EPONYM = re.compile(EPONYM_AFTER)
_EPONYM_OF_ONE_WORD = re.compile(EPONYM_OF_ONE_WORD)
_SPACE = 32
_PREFIXES = (b"De", b"La", b"Le", b"Mc")
_PARTICLES = frozenset(b"van von de der den del di da la bin al el dos".split())
_PLACE_BEFORE = frozenset(b"San Santa Santo Los Las Fort Port Lake North South West East New".split())


def eponym(text: bytes, start: int, end: int) -> bool:
    """Whether a name stands for a disease or a thing: `Parkinson disease`, `Foley catheter`."""
    if _EPONYM.match(text, end) is not None:
        return True
    return b" " not in text[start:end] and _EPONYM_OF_ONE_WORD.match(text, end) is not None


def find(text: bytes, seen: Iterable[tuple[int, int, int]]) -> Iterator[tuple[int, int, float]]:
    """First-last pairs, unmistakable first names and surnames: (start, end, confidence).

    Args:
        seen: (any number, start, end) of the words of `spelled()`, parts of longer words too.
    """
    done = 0
    for _, start, end in seen:
        alone = text[end - 1] != _SPACE
        if start < done or text[end : end + 1].isalpha() == alone:
            continue  # a piece of a longer word, or an ambiguous name and no word after it
        if text[start - 1 : start].isalpha() or _is_compound(text, start):
            continue
        run = _RUN.match(text, start)
        if run is None:
            continue
        if alone and text[start - 2 : start] == b", " and (family := _family_before(text, start)) is not None:
            yield family, _given_end(text, start), _LAST_FIRST
        done = run.end()
        yield from _in_run(text, start, run.group().split(b" "))


def _family_before(text: bytes, first: int) -> int | None:
    """Where the surname of `Smith, John` begins, if it is one and nothing else."""
    start = first - 2
    while start and (text[start - 1 : start].isalpha() or text[start - 1] in b"'-"):
        start -= 1
    family = bare(text[start : first - 2])
    known = text[start : start + 1].isupper() and family in names().last
    return start if known and family.lower() not in AMBIGUOUS else None


def _given_end(text: bytes, start: int) -> int:
    """The end of the given names, with an initial: `John A.`"""
    given = _GIVEN.match(text, start)
    return given.end() if given else start


def _is_compound(text: bytes, start: int) -> bool:
    """Whether a word goes on to the left, as in `Smith-Mary`."""
    return text[start - 1 : start] in (b"-", b"'") and text[start - 2 : start - 1].isalpha()


@lru_cache(maxsize=1)
def spelled() -> frozenset[bytes]:
    """Names as a text has them: first names, `DeShawn` for `Deshawn`, the ambiguous ones, which alone
    prove nothing, with the space that must follow, and surnames that mean nothing else."""
    lists = names()
    inner = {
        name[:2] + name[2:].capitalize()
        for name in lists.certain
        if name[:2] in _PREFIXES and len(name) > 5 and name[2:].islower()
    }
    return lists.certain | lists.lone | inner | {name + b" " for name in lists.first - lists.certain}


def find_small(text: bytes, start: int, end: int) -> Iterator[tuple[int, int, float]]:
    """Names where nobody uses capitals: unmistakable first names, with a surname or without."""
    lists, previous = names(), None
    for word in _SMALL.finditer(text, start, end):
        name = bare(word.group())
        family = previous is not None and previous.end() + 1 == word.start() and name.lower() not in ORDINARY
        if previous is not None:
            whole = family and name in lists.last
            end = word.end() if whole else previous.end()
            if not eponym(text, previous.start(), end):
                yield previous.start(), end, 0.75 if whole else 0.55
        previous = word if name in lists.certain else None
    if previous is not None:
        yield previous.start(), previous.end(), 0.55


def _in_run(text: bytes, start: int, words: list[bytes]) -> Iterator[tuple[int, int, float]]:
    """Names in a run of capitalised words, of which the first is a first name or a surname."""
    at, lists = 0, names()
    while at < len(words):
        word = bare(words[at])
        given = word in lists.first
        if (given or word in lists.lone) and _before(text, start, words, at) not in _PLACE_BEFORE:
            last = _surname_after(words, at)
            confidence = _sure(words, at, last) if given else _SURNAME
            begin = start + len(b" ".join(words[:at])) + (1 if at else 0)
            end = start + len(b" ".join(words[: last + 1]))
            end -= len(words[last]) - len(_unpossessed(words[last]))
            if confidence and not eponym(text, begin, end):
                yield begin, end, confidence
            at = last
        at += 1


def _before(text: bytes, start: int, words: list[bytes], at: int) -> bytes:
    """The word before a first name, within its run or outside."""
    if at:
        return words[at - 1]
    before = text[max(start - 8, 0) : start]
    return before.split()[-1] if before.endswith(b" ") and before.strip() else b""


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
    if given.isupper() or family.isupper():
        return 0.3
    return 0.7 if certain else 0.3 if is_word(family.lower()) else 0.6


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


def stranger(value: bytes) -> bool:
    """Whether what does what only people do (`Achterberg said`) is no word, thing or country: a name
    that no list need have."""
    word = bare(value)
    small = word.lower()
    if (
        small in ORDINARY
        or small in LARGE
        or small in EPONYMS
        or len(word) < 3
        or value.endswith(_CONTRACTED)
    ):
        return False
    lists = names()
    return word in lists.certain or not is_word(small) or (small in AMBIGUOUS and word in lists.first)


def newcomer(value: bytes) -> bool:
    """Whether what was admitted or brought in (`Abdulrahman al-Rashid was`) is somebody, and no thing."""
    first, *rest = value.replace(b" al-", b" ").split()
    if not rest and first.lower() in AMBIGUOUS:
        return False
    return stranger(first) and all(bare(word).lower() not in ORDINARY for word in rest)


def listed(value: bytes) -> bool:
    """Whether `Mark, Daisy and Smith` is a list of people: one is surely someone, none is a mere word."""
    words = [bare(word) for word in _CAPITALISED.findall(value)]
    lists = names()
    sure = any(word in lists.certain or word in lists.lone for word in words)
    return sure and all(
        word in lists.first or word in lists.frequent or word in lists.lone or stranger(word)
        for word in words
    )


def surname(value: bytes) -> bool:
    """Whether the last word is a surname and nothing else."""
    word = bare(value.split()[-1].split(b".")[-1])
    return word in names().last and word.lower() not in AMBIGUOUS
