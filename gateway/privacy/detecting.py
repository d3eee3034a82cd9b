"""What texts hold: every engine over a batch of records, one engine after the other.

A batch goes through each stage whole. What an engine looks things up in then stays in the processor's caches,
which on short records is half of what a scan costs. Nothing of one record touches another: each is a text of
its own, with a canary of its own.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import lru_cache

from gateway.privacy import hidden, numbers, people
from gateway.privacy.columns import fits_key, pairs
from gateway.privacy.confirming import SEPARATOR, Found, Joined, Look, confirm, known, of_numbers, of_rule
from gateway.privacy.engine import Engine, Silent
from gateway.privacy.fields import Texts
from gateway.privacy.folding import fold, is_plain, is_turned, plain_bytes
from gateway.privacy.health import ENOUGH, HEALTH, WEIGHTS
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
    """What one record holds.

    Attributes:
        silent: an engine did not look at it, whatever was found.
    """

    joined: Joined
    found: Sequence[Found] = ()
    health: bool = False
    silent: bool = False
    present: Sequence[int] = ()
    looks: list[Look] = field(default_factory=list[Look])


def detect(batch: Sequence[Texts], floor: float, *, exact: bool = True) -> list[Detected]:
    """What each of the records holds with a confidence of at least `floor`.

    Args:
        exact: as in `confirm`.
    """
    return _detect(_join(batch), floor, exact=exact)


def _detect(
    batch: Sequence[Joined], floor: float, layer: int = 0, seen: set[str] | None = None, *, exact: bool
) -> list[Detected]:
    """Every stage over the batch.

    Args:
        layer: how many encodings have been taken off; `seen` are the texts of its record read so far.
    """
    every = [Detected(joined) for joined in batch]
    for stage in (_ask, _look_at_numbers, _look_by_rule, _look_for_people, _look_by_key):
        stage([each for each in every if not each.silent])
    for each in every:
        if not each.silent:
            _look_below(each, floor, layer, set() if seen is None else seen)
    for each in every:
        if each.looks and not each.silent:
            each.found = confirm(each.joined, each.looks, floor, exact=exact)
    return every


def _ask(batch: Sequence[Detected]) -> None:
    """Ask the engine which rules may match."""
    which = engine().which
    for each in batch:
        try:
            present = which(each.joined.text)
        except Silent:
            each.silent = True
            continue
        present += each.joined.fields.said
        words = {number for number in present if _HEALTH_FROM <= number < _CAPITALISED}
        each.health = len(words) >= ENOUGH or not _STRONG.isdisjoint(words)
        each.present = present


def of_record(detected: Detected) -> frozenset[int]:
    """The rules present that say something of a record as a whole: words of health, and capitals."""
    return frozenset(number for number in detected.present if _HEALTH_FROM <= number <= _CAPITALISED)


def _look_at_numbers(batch: Sequence[Detected]) -> None:
    for each in batch:
        if _NUMBERS in each.present:
            each.looks += of_numbers(numbers.find(each.joined.text))


def _look_by_rule(batch: Sequence[Detected]) -> None:
    """Rule by rule, since each has tables of its own."""
    having: dict[int, list[Detected]] = {}
    for each in batch:
        for number in each.present:
            if number < _HEALTH_FROM:
                having.setdefault(number, []).append(each)
    matches = engine().matches
    for number in sorted(having):
        for each in having[number]:
            try:
                each.looks += of_rule(each.joined, number, matches(number, each.joined.text))
            except Silent:
                each.silent = True


def _look_for_people(batch: Sequence[Detected]) -> None:
    for each in batch:
        text = each.joined.text
        try:
            words = engine().words(text)
        except Silent:
            each.silent = True
            continue
        capitals = _CAPITALISED in each.present
        if words or not capitals:
            named = people.find(text, words) if capitals else people.find_small(text)
            each.looks += [known(start, end, "name", confidence) for start, end, confidence in named]


def _look_by_key(batch: Sequence[Detected]) -> None:
    for each in batch:
        if each.joined.fields.known or each.joined.fields.told:
            each.looks += _by_key(each.joined)


def _by_key(joined: Joined) -> Iterator[Look]:
    """Texts that their key gives away, and those that nobody can read."""
    for at, kind, confidence in joined.fields.known:
        yield known(joined.starts[at], joined.end(at), kind, confidence)
    for at, kind, confidence in joined.fields.told:
        start, end = joined.starts[at], joined.end(at)
        if fits_key(kind, joined.text[start:end]):
            yield known(start, end, kind, confidence)


def _look_below(each: Detected, floor: float, layer: int, seen: set[str]) -> None:
    """What stands in the text under an encoding, in the places it comes from."""
    joined = each.joined
    try:
        triggered = hidden.triggered(joined.text)
    except Silent:
        each.silent = True
        return
    if not triggered and not joined.turned:
        return
    if hidden.IN_TEXT in triggered:
        each.looks += [known(*pair) for pair in pairs(joined.text)]
    under = hidden.below(joined, triggered, seen)
    each.looks += [known(start, end, "unknown_content", sure) for start, end, sure in under.unknown]
    if not under.views:
        return
    if layer == hidden.DEEPEST or under.too_much:
        for at in {at for at, _ in under.views}:
            each.looks.append(known(joined.starts[at], joined.end(at), "unknown_content", hidden.OPAQUE))
    else:
        _look_in(each, under, floor, layer, seen)


def _look_in(each: Detected, under: hidden.Below, floor: float, layer: int, seen: set[str]) -> None:
    """Read what stands below like a record, and note what it holds where it comes from."""
    joined = each.joined
    (inner,) = _detect(_join([under.texts]), floor, layer + 1, seen, exact=True)
    each.silent |= inner.silent
    each.health |= inner.health
    for found in inner.found:
        at, begin, stop = inner.joined.original(found.start, found.end)
        if found.type == "name" and found.confidence < _BACKWARDS and under.is_reversed(at):
            continue  # half the short words there are make a name backwards
        part, start, end = under.origin(at, begin, stop)
        base = joined.starts[part]
        each.looks.append(known(base + start, base + end, found.type, found.confidence))


def _join(batch: Sequence[Texts]) -> list[Joined]:
    """The texts of each record as one. Plain ASCII, the usual case, stands for itself; the rest is folded."""
    return [
        _folded(each) if text is None else Joined(each, None, each.texts, text)
        for each, text in zip(batch, _plain(batch), strict=True)
    ]


def _plain(batch: Sequence[Texts]) -> list[bytes | None]:
    """The joined texts that stand for themselves, each with the engine's tail; None for the others.

    They are judged and encoded all at once, and one by one only if that fails.
    """
    tail = engine().tail.decode()
    texts = [SEPARATOR.join(each.texts) + tail for each in batch]
    controls = [max(len(each.texts), 1) + 1 for each in batch]  # one in each separator, two in the tail
    usual = [at for at, text in enumerate(texts) if text.isascii()]
    whole = plain_bytes("".join([texts[at] for at in usual]), sum([controls[at] for at in usual]))
    if whole is None:
        return [plain_bytes(text, count) for text, count in zip(texts, controls, strict=True)]
    found, start = list[bytes | None]([None]) * len(texts), 0
    for at in usual:
        end = start + len(texts[at])
        found[at], start = whole[start:end], end
    return found


def _folded(fields: Texts) -> Joined:
    """Texts of which some hold more than plain ASCII."""
    turned = frozenset(at for at, part in enumerate(fields.texts) if is_turned(part))
    folded = [None if is_plain(part) else fold(part) for part in fields.texts]
    parts = [plain.text if plain else part for plain, part in zip(folded, fields.texts, strict=True)]
    return Joined(fields, folded, parts, SEPARATOR.join(parts).encode("ascii") + engine().tail, turned)
