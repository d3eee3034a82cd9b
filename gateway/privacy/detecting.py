"""What texts hold: every engine over a page of records, one engine after the other.

A page goes through each stage whole. What an engine looks things up in then stays in the processor's caches,
and what it costs to ask is paid once for hundreds of records.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache

from gateway.privacy import hidden, numbers, people
from gateway.privacy.columns import fits_key, pairs
from gateway.privacy.confirming import Found, Look, confirm, known, of_numbers, of_rule
from gateway.privacy.engine import Engine, Silent
from gateway.privacy.fields import Texts
from gateway.privacy.health import ENOUGH, HEALTH, WEIGHTS
from gateway.privacy.page import Page
from gateway.privacy.rules import RULES

_HEALTH_FROM = len(RULES)
_CAPITALISED = _HEALTH_FROM + len(HEALTH)
_NUMBERS = _CAPITALISED + 1
_BACKWARDS = 0.6
_STRONG = frozenset(_HEALTH_FROM + at for at, weight in enumerate(WEIGHTS) if weight >= ENOUGH)


@lru_cache(maxsize=1)
def engine() -> Engine:
    """The engine over all rules, the health vocabulary and the names, made once."""
    patterns = [rule.pattern for rule in RULES]
    return Engine(
        [*patterns, *HEALTH, "[A-Z][A-Za-z]", numbers.WORTH_A_LOOK],
        people.spelled(),
        signs=[rule.sign for rule in RULES],
    )


@dataclass(slots=True)
class Detected:
    """What the records of a page hold.

    Attributes:
        present: for each record, the rules that may match in it.
        health: the records that have words of health.
        silent: the records that an engine did not look at, whatever was found.
        looks: places where something may be.
        found: what is there, in the page's order; nothing of the silent ones.
    """

    page: Page
    present: list[Sequence[int]] = field(default_factory=list[Sequence[int]])
    health: set[int] = field(default_factory=set[int])
    silent: set[int] = field(default_factory=set[int])
    looks: list[Look] = field(default_factory=list[Look])
    found: Sequence[Found] = ()

    def of_record(self, record: int) -> frozenset[int]:
        """The rules present that say something of a record as a whole: words of health, and capitals."""
        return frozenset(number for number in self.present[record] if _HEALTH_FROM <= number <= _CAPITALISED)

    def by_record(self) -> dict[int, list[Found]]:
        """What was found, for the records in which something was."""
        records: dict[int, list[Found]] = {}
        for found in self.found:
            records.setdefault(self.page.record_at(found.start), []).append(found)
        return records


def detect(records: Sequence[Texts], floor: float, *, exact: bool = True) -> Detected:
    """What records hold with a confidence of at least `floor`.

    Args:
        exact: as in `confirm`.
    """
    return _detect(records, floor, 0, {}, exact=exact)


def _detect(
    records: Sequence[Texts], floor: float, layer: int, seen: dict[int, set[str]], *, exact: bool
) -> Detected:
    """Every stage over the records.

    Args:
        layer: how many encodings have been taken off; `seen` are the texts of a record read so far.
    """
    found = Detected(Page(records, engine().tail.decode()))
    _ask(found)
    _look_at_numbers(found)
    _look_by_rule(found)
    _look_for_people(found)
    _look_by_key(found)
    _look_below(found, floor, layer, seen)
    kept = confirm(found.page, found.looks, floor, exact=exact)
    if found.silent:
        kept = [each for each in kept if found.page.record_at(each.start) not in found.silent]
    found.found = kept
    return found


def _ask(found: Detected) -> None:
    """Ask the engine which rules may match in each record."""
    which, text, bounds = engine().which, found.page.text, found.page.bounds
    for record, texts in enumerate(found.page.records):
        try:
            present = which(text[bounds[record] : bounds[record + 1]])
        except Silent:
            found.silent.add(record)
            present = list[int]()
        present += texts.said
        found.present.append(present)
        words = {number for number in present if _HEALTH_FROM <= number < _CAPITALISED}
        if len(words) >= ENOUGH or not _STRONG.isdisjoint(words):
            found.health.add(record)


def _look_at_numbers(found: Detected) -> None:
    if any(_NUMBERS in present for present in found.present):
        found.looks += of_numbers(numbers.find(found.page.text))


def _look_by_rule(found: Detected) -> None:
    """Rule by rule, since each has tables of its own."""
    having: dict[int, list[int]] = {}
    for record, present in enumerate(found.present):
        for number in present:
            if number < _HEALTH_FROM:
                having.setdefault(number, []).append(record)
    matches, page = engine().matches, found.page
    for number in sorted(having):
        for record in having[number]:
            try:
                spans = matches(number, page.text, page.bounds[record], page.bounds[record + 1])
                found.looks += of_rule(page, number, spans)
            except Silent:
                found.silent.add(record)


def _look_for_people(found: Detected) -> None:
    page, looks = found.page, found.looks
    try:
        words = engine().words(page.text, len(page.records))
    except Silent:
        found.silent.update(range(len(page.records)))
        return
    looks += [known(start, end, "name", sure) for start, end, sure in people.find(page.text, words)]
    for record, present in enumerate(found.present):
        if _CAPITALISED not in present:
            named = people.find_small(page.text, *page.body(record))
            looks += [known(start, end, "name", sure) for start, end, sure in named]


def _look_by_key(found: Detected) -> None:
    """Texts that their key gives away, and those that nobody can read."""
    page = found.page
    for record, texts in enumerate(page.records):
        for at, kind, sure in texts.known:
            at += page.first[record]
            found.looks.append(known(page.starts[at], page.end(at), kind, sure))
        for at, kind, sure in texts.told:
            at += page.first[record]
            start, end = page.starts[at], page.end(at)
            if fits_key(kind, page.text[start:end]):
                found.looks.append(known(start, end, kind, sure))


def _look_below(found: Detected, floor: float, layer: int, seen: dict[int, set[str]]) -> None:
    """What stands in the texts under an encoding, in the places it comes from."""
    page, lower = found.page, list[tuple[int, hidden.Below]]()
    for record, triggered in hidden.triggered(page):
        if triggered is None:
            found.silent.add(record)
            continue
        if hidden.IN_TEXT in triggered:
            found.looks += [known(*pair) for pair in pairs(page.text, *page.body(record))]
        under = hidden.below(page, record, triggered, seen.setdefault(record, set()))
        found.looks += [known(start, end, "unknown_content", sure) for start, end, sure in under.unknown]
        if under.views and (layer == hidden.DEEPEST or under.too_much):
            for at in {at for at, _ in under.views}:
                found.looks.append(known(page.starts[at], page.end(at), "unknown_content", hidden.OPAQUE))
        elif under.views:
            lower.append((record, under))
    if lower:
        _look_in(found, lower, floor, layer, seen)


def _look_in(
    found: Detected,
    lower: Sequence[tuple[int, hidden.Below]],
    floor: float,
    layer: int,
    seen: dict[int, set[str]],
) -> None:
    """Read what stands below like records, and note what it holds where it comes from."""
    page = found.page
    seen_below = {at: seen[record] for at, (record, _) in enumerate(lower)}
    inner = _detect([under.texts for _, under in lower], floor, layer + 1, seen_below, exact=True)
    found.silent.update(lower[at][0] for at in inner.silent)
    found.health.update(lower[at][0] for at in inner.health)
    for each in inner.found:
        number = inner.page.record_at(each.start)
        under = lower[number][1]
        at, begin, stop = inner.page.original(each.start, each.end)
        at -= inner.page.first[number]
        if each.type == "name" and each.confidence < _BACKWARDS and under.is_reversed(at):
            continue  # half the short words there are make a name backwards
        part, start, end = under.origin(at, begin, stop)
        base = page.starts[part]
        found.looks.append(known(base + start, base + end, each.type, each.confidence))
