"""The scanner: every text of every record through the rules, and what they add up to.

One record at a time: its texts are folded and joined, one engine pass says which rules may match, and
only those are looked up and confirmed, surest first. Memory is flat in the size of the file.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from gateway.core.classes import DataClass
from gateway.core.rows import Finding, ScanSummary
from gateway.data import Record
from gateway.privacy import hidden, numbers, people
from gateway.privacy.classes import THRESHOLD, class_of
from gateway.privacy.columns import fits_key, pairs
from gateway.privacy.confirming import SEPARATOR, Found, Joined, Look, confirm, known, of_numbers, of_rule
from gateway.privacy.engine import Engine, Silent
from gateway.privacy.fields import Texts, path, texts_of
from gateway.privacy.folding import fold, is_plain, is_turned
from gateway.privacy.health import ENOUGH, HEALTH, WEIGHTS
from gateway.privacy.ner import Ner, together
from gateway.privacy.rules import RULES

_HEALTH_FROM = len(RULES)
_CAPITALISED = _HEALTH_FROM + len(HEALTH)
_NUMBERS = _CAPITALISED + 1
_AT_ONCE = 32
_BACKWARDS = 0.6
_STRONG = frozenset(_HEALTH_FROM + at for at, weight in enumerate(WEIGHTS) if weight >= ENOUGH)


@lru_cache(maxsize=1)
def engine() -> Engine:
    """The engine over all rules, the health vocabulary and the names, made once."""
    rules = (rule.pattern for rule in RULES)
    return Engine([*rules, *HEALTH, "[A-Z][A-Za-z]", numbers.WORTH_A_LOOK], people.spelled())


@dataclass(frozen=True, slots=True)
class RecordScan:
    """What one record holds; `complete` False means not scanned, whatever the findings."""

    findings: tuple[Finding, ...]
    health: bool
    complete: bool


def scan_record(
    raw: Mapping[str, Any],
    *,
    line: int = 0,
    file: int = 0,
    floor: float = THRESHOLD,
    ner: Ner | None = None,
) -> RecordScan:
    """Scan one record: all its values, keys, roles and tool calls, for findings of at least `floor`.

    Args:
        ner: a model that reads the same texts beside the rules.
    """
    joined = _join(texts_of(raw))
    try:
        found, health = _scan(joined, floor)
    except Silent:
        return RecordScan((), health=False, complete=False)
    findings = tuple(_finding(joined, each, line, file) for each in found)
    if ner is not None:
        read = _read(joined.fields, ner, line, file)
        if read is None:
            return RecordScan((), health, complete=False)
        findings = together(findings, [each for each in read if each.confidence >= floor], _by_path(joined))
    return RecordScan(findings, health, complete=True)


class Scanner:
    """Observer of a data pass: scans every record and says at the end what it found.

    A record that could not be parsed has nothing to scan: it is refused, and no byte of it goes anywhere.

    Args:
        on_finding: told every finding of at least `floor`, as it is found, in the data's order.
        floor: confidence from which findings are told; what counts is `THRESHOLD` in any case.
        beside: what goes out with the records and stands in none of them, such as a spec's system
            prompt: scanned like one, on line 0, and not counted as a record.
        ner: a model that reads beside the rules; records then wait for each other, since it reads
            several at once in less time.
    """

    def __init__(
        self,
        *,
        on_finding: Callable[[Finding], None] | None = None,
        floor: float = THRESHOLD,
        beside: Mapping[str, Any] | None = None,
        ner: Ner | None = None,
    ) -> None:
        self._on_finding, self._floor = on_finding, floor
        self._ner, self._waiting = ner, list[tuple[Mapping[str, Any], int, int]]()
        self._lowest = min(floor, THRESHOLD) if on_finding else THRESHOLD
        self._records = self._flagged = self._health = 0
        self._counts: Counter[str] = Counter()
        self._complete, self._class = True, DataClass.PUBLIC
        if beside:
            self._take(beside, line=0, file=0)
            self._take_waiting()
            self._flagged = self._health = 0

    def see(self, record: Record) -> None:
        self.see_raw(record.raw, line=record.line, file=record.file)

    def see_raw(self, raw: Mapping[str, Any] | None, *, line: int, file: int) -> None:
        """See a record as its file has it; None where it could not be parsed."""
        self._records += 1
        if raw is not None:
            self._take(raw, line=line, file=file)

    def add(self, part: ScanSummary | None, records: int = 0) -> None:
        """Count records that were scanned elsewhere, and what was found in them.

        Args:
            part: None where nobody can say.
            records: how many more there are that had nothing to scan, or nobody scanned.
        """
        self._records += records
        if part is None:
            self._complete = False
            return
        self._records += part.records
        self._flagged += part.flagged
        self._health += part.health
        self._complete &= part.complete
        self._counts.update(part.findings)
        self._class = max(self._class, part.detected)

    def _take(self, raw: Mapping[str, Any], *, line: int, file: int) -> None:
        if self._ner is not None:
            self._waiting.append((raw, line, file))
            if len(self._waiting) >= _AT_ONCE:
                self._take_waiting()
            return
        joined = _join(texts_of(raw))
        try:
            found, health = _scan(joined, self._lowest, exact=self._on_finding is not None)
        except Silent:
            self._complete = False
            return
        self._health += health
        if not found:
            return
        counted = [each.type for each in found if each.confidence >= THRESHOLD]
        self._flagged += bool(counted)
        self._counts.update(counted)
        self._class = max(self._class, class_of(counted, health=health))
        if self._on_finding is not None:
            for each in found:
                if each.confidence >= self._floor:
                    self._on_finding(_finding(joined, each, line, file))

    def _take_waiting(self) -> None:
        """The records that wait, read by the model all at once, and then each scanned."""
        waiting, self._waiting = self._waiting, []
        if self._ner is not None and waiting:
            self._ner.read([text for raw, _, _ in waiting for text in texts_of(raw).texts])
        for raw, line, file in waiting:
            self._count(scan_record(raw, line=line, file=file, floor=self._lowest, ner=self._ner))

    def _count(self, scanned: RecordScan) -> None:
        counted = [each.type for each in scanned.findings if each.confidence >= THRESHOLD]
        self._complete &= scanned.complete
        self._health += scanned.health
        self._flagged += bool(counted)
        self._counts.update(counted)
        self._class = max(self._class, class_of(counted, health=scanned.health))
        if self._on_finding is not None:
            for each in scanned.findings:
                if each.confidence >= self._floor:
                    self._on_finding(each)

    def summary(self) -> ScanSummary:
        self._take_waiting()
        return ScanSummary(
            complete=self._complete,
            records=self._records,
            flagged=self._flagged,
            findings=dict(sorted(self._counts.items())),
            health=self._health,
            detected=self._class,
        )


def scan(records: Iterable[Record], *, floor: float = THRESHOLD) -> Iterator[Finding]:
    """Stream the findings of at least `floor`, record by record; nothing is kept."""
    for record in records:
        if record.raw is not None:
            yield from scan_record(record.raw, line=record.line, file=record.file, floor=floor).findings


def _join(fields: Texts) -> Joined:
    """The texts as one. Plain ASCII, the usual case, stands for itself; the rest is folded."""
    parts, folded, turned = fields.texts, None, frozenset[int]()
    text = SEPARATOR.join(parts)
    if not is_plain(text, controls=max(len(parts) - 1, 0)):
        turned = frozenset(at for at, part in enumerate(parts) if is_turned(part))
        folded = [None if is_plain(part) else fold(part) for part in parts]
        parts = [plain.text if plain else part for plain, part in zip(folded, parts, strict=True)]
        text = SEPARATOR.join(parts)
    return Joined(fields, folded, parts, text.encode("ascii") + engine().tail, turned)


def _scan(
    joined: Joined, floor: float, layer: int = 0, seen: set[str] | None = None, *, exact: bool = True
) -> tuple[list[Found], bool]:
    """What the joined text holds, and whether it has health content.

    Args:
        layer: how many encodings have been taken off; `seen` are the texts read so far.
        exact: as in `confirm`.

    Raises:
        Silent: the engine did not look.
    """
    text, using = joined.text, engine()
    present = using.which(text)
    rules = [number for number in present if number < _HEALTH_FROM]
    words_of_health = [number for number in present if _HEALTH_FROM <= number < _CAPITALISED]
    health = len(words_of_health) >= ENOUGH or not _STRONG.isdisjoint(words_of_health)
    looks = of_numbers(numbers.find(text)) if _NUMBERS in present else []
    for number in rules:
        looks += of_rule(joined, number, using.matches(number, text))
    words, capitals = using.words(text), _CAPITALISED in present
    if words or not capitals:
        named = people.find(text, words) if capitals else people.find_small(text)
        looks += [known(start, end, "name", confidence) for start, end, confidence in named]
    if joined.fields.known or joined.fields.told:
        looks += _by_key(joined)
    triggered = hidden.triggered(text)
    if hidden.IN_TEXT in triggered:
        looks += [known(*each) for each in pairs(text)]
    if triggered or joined.turned:
        more, ill = _below(joined, triggered, floor, layer, set() if seen is None else seen)
        looks += more
        health |= ill
    return confirm(joined, looks, floor, exact=exact) if looks else [], health


def _below(
    joined: Joined, triggered: Collection[int], floor: float, layer: int, seen: set[str]
) -> tuple[list[Look], bool]:
    """What stands in the text under an encoding, in the places it comes from; and whether that is health
    content. A text with too many layers is unknown as a whole."""
    under = hidden.below(joined, triggered, seen)
    looks = [known(start, end, "unknown_content", confidence) for start, end, confidence in under.unknown]
    if not under.views:
        return looks, False
    if layer == hidden.DEEPEST or under.too_much:
        parts = {at for at, _ in under.views}
        return [
            known(joined.starts[at], joined.end(at), "unknown_content", hidden.OPAQUE) for at in parts
        ], False
    inner = _join(under.texts)
    found, health = _scan(inner, floor, layer + 1, seen)
    for each in found:
        if each.type == "name" and each.confidence < _BACKWARDS and under.is_reversed(inner.at(each.start)):
            continue  # half the short words there are make a name backwards
        at, start, end = under.origin(*inner.original(each.start, each.end))
        looks.append(known(joined.starts[at] + start, joined.starts[at] + end, each.type, each.confidence))
    return looks, health


def _by_key(joined: Joined) -> Iterator[Look]:
    """Texts that their key gives away, and those that nobody can read."""
    for at, kind, confidence in joined.fields.known:
        yield known(joined.starts[at], joined.end(at), kind, confidence)
    for at, kind, confidence in joined.fields.told:
        start, end = joined.starts[at], joined.end(at)
        if fits_key(kind, joined.text[start:end]):
            yield known(start, end, kind, confidence)


def _read(fields: Texts, ner: Ner, line: int, file: int) -> list[Finding] | None:
    """What the model finds in a record's texts; None where it could not read one."""
    found: list[Finding] = []
    for place, read in zip(fields.places, ner.read(fields.texts), strict=True):
        if read is None:
            return None
        found += [Finding(line, path(place), *each, file) for each in read]
    return found


def _by_path(joined: Joined) -> dict[str, str]:
    return dict(zip(map(path, joined.fields.places), joined.fields.texts, strict=True))


def _finding(joined: Joined, found: Found, line: int, file: int) -> Finding:
    at, start, end = joined.original(found.start, found.end)
    return Finding(line, path(joined.fields.places[at]), start, end, found.type, found.confidence, file)
