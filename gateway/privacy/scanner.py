"""The scanner: every text of every record through the rules, and what they add up to.

One record at a time: its fields are folded and joined, one engine pass says which rules may match,
and only those are confirmed by checks and context. Memory is flat in the size of the file.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, NamedTuple

from gateway.core.classes import DataClass
from gateway.core.rows import Finding, ScanSummary
from gateway.data import Record
from gateway.privacy import people
from gateway.privacy.classes import THRESHOLD, class_of
from gateway.privacy.engine import Engine, Hit, Silent
from gateway.privacy.fields import Field, fields
from gateway.privacy.folding import Folded, fold, is_plain
from gateway.privacy.health import ENOUGH, HEALTH, WEIGHTS
from gateway.privacy.rules import CHECK_LOSS, CONTEXT_GAIN, RULES, Rule, fits_key, key_type

_SEPARATOR = "\n\x1e\n"
_WINDOW = 48  # bytes before a match in which context words count
_PIECE_LOSS = 0.3
_SURE = 0.88  # the most that context makes of a look; a label before it says more


@lru_cache(maxsize=1)
def engine() -> Engine:
    """The engine over all rules and the health vocabulary, made once."""
    return Engine([*(rule.pattern for rule in RULES), *HEALTH])


@dataclass(frozen=True, slots=True)
class RecordScan:
    """What one record holds; `complete` False means not scanned, whatever the findings."""

    findings: tuple[Finding, ...]
    health: bool
    complete: bool


@dataclass(slots=True)
class _Joined:
    """The folded fields of a record, one after the other, so that one pass matches them all."""

    fields: list[Field]
    folded: list[Folded | None]
    starts: list[int]
    ends: list[int]
    text: bytes

    def at(self, position: int) -> int:
        return bisect_right(self.starts, position) - 1


def scan_record(
    raw: Mapping[str, Any], *, line: int = 0, file: int = 0, floor: float = THRESHOLD
) -> RecordScan:
    """Scan one record: all its values, keys, roles and tool calls, for findings of at least `floor`."""
    joined = _join(raw, engine().tail)
    if not joined.fields:
        return RecordScan((), health=False, complete=True)
    try:
        hits, health = _hits(joined.text)
    except Silent:
        return RecordScan((), health=False, complete=False)
    found = [
        each
        for each in (*_confirmed(joined, hits), *_named(joined), *_by_key(joined))
        if each.confidence >= floor
    ]
    findings = tuple(_finding(joined, each, line, file) for each in _distinct(found))
    return RecordScan(findings, health, complete=True)


class Scanner:
    """Observer of a data pass: scans every record and says at the end what it found.

    A record that could not be parsed has nothing to scan: it is refused, and no byte of it goes anywhere.

    Args:
        on_finding: told every finding of at least `floor`, as it is found, in the data's order.
        floor: confidence from which findings are told; what counts is `THRESHOLD` in any case.
        beside: what goes out with the records and stands in none of them, such as a spec's system
            prompt: scanned like one, on line 0, and not counted as a record.
    """

    def __init__(
        self,
        *,
        on_finding: Callable[[Finding], None] | None = None,
        floor: float = THRESHOLD,
        beside: Mapping[str, Any] | None = None,
    ) -> None:
        self._on_finding, self._floor = on_finding, floor
        self._records = self._flagged = self._health = 0
        self._counts: Counter[str] = Counter()
        self._complete, self._class = True, DataClass.PUBLIC
        if beside:
            self._take(beside, line=0, file=0)
            self._flagged = self._health = 0

    def see(self, record: Record) -> None:
        self._records += 1
        if record.raw is not None:
            self._take(record.raw, line=record.line, file=record.file)

    def _take(self, raw: Mapping[str, Any], *, line: int, file: int) -> None:
        lowest = min(self._floor, THRESHOLD)
        result = scan_record(raw, line=line, file=file, floor=lowest)
        counted = [finding.type for finding in result.findings if finding.confidence >= THRESHOLD]
        self._complete &= result.complete
        self._health += result.health
        self._flagged += bool(counted)
        self._counts.update(counted)
        self._class = max(self._class, class_of(counted, health=result.health))
        if self._on_finding is not None:
            for finding in result.findings:
                if finding.confidence >= self._floor:
                    self._on_finding(finding)

    def summary(self) -> ScanSummary:
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


class _Found(NamedTuple):
    """A finding in the joined text."""

    field: int
    start: int
    end: int
    type: str
    confidence: float


def _join(raw: Mapping[str, Any], tail: bytes) -> _Joined:
    every = list(fields(raw))
    folded = [None if is_plain(field.text) else fold(field.text) for field in every]
    parts = [plain.text if plain else field.text for plain, field in zip(folded, every, strict=True)]
    starts, ends, at = list[int](), list[int](), 0
    for part in parts:
        starts.append(at)
        at += len(part)
        ends.append(at)
        at += len(_SEPARATOR)
    return _Joined(every, folded, starts, ends, _SEPARATOR.join(parts).encode("ascii") + tail)


def _hits(text: bytes) -> tuple[list[Hit], bool]:
    """The rules' matches in the joined text, and whether it has health content.

    Raises:
        Silent: the engine did not look.
    """
    present = engine().which(text)
    hits = [hit for number in present if number < len(RULES) for hit in engine().matches(number, text)]
    return hits, sum(WEIGHTS[number - len(RULES)] for number in present if number >= len(RULES)) >= ENOUGH


def _confirmed(joined: _Joined, hits: Iterable[Hit]) -> Iterator[_Found]:
    """Matches with what checks, neighbours and context make of them."""
    for hit in hits:
        rule, at = RULES[hit.rule], joined.at(hit.start)
        end = min(hit.end, joined.ends[at])  # a line break at a field's end is the separator's
        if hit.start >= end or (rule.type == "name" and people.eponym(joined.text, end)):
            continue
        yield _Found(at, hit.start, end, rule.type, _confidence(joined, rule, hit, at))


def _confidence(joined: _Joined, rule: Rule, hit: Hit, at: int) -> float:
    text, confidence = joined.text, rule.confidence
    if rule.check is not None and not rule.check(text[hit.start : hit.end]):
        confidence -= CHECK_LOSS
    if rule.alone and _is_piece(text, hit.start, hit.end):
        confidence -= _PIECE_LOSS
    if rule.context is not None:
        before = text[max(joined.starts[at], hit.start - _WINDOW) : hit.start]
        words = joined.fields[at].key.replace("_", " ").encode("ascii", "replace") + b" " + before
        if rule.context.search(words.lower()):
            confidence = max(confidence, min(confidence + CONTEXT_GAIN, _SURE))
    return round(max(confidence, 0.05), 2)


def _is_piece(text: bytes, start: int, end: int) -> bool:
    """Whether digits go on before or after, with or without a separator."""
    before, after = text[max(start - 2, 0) : start], text[end : end + 2]
    return (
        before[-1:].isdigit()
        or (before[-1:] in b"-./" and before[:1].isdigit() and len(before) == 2)
        or after[:1].isdigit()
        or (after[:1] in b"-./" and after[1:].isdigit())
    )


def _named(joined: _Joined) -> Iterator[_Found]:
    for start, end, confidence in people.find(joined.text):
        yield _Found(joined.at(start), start, end, "name", confidence)


def _by_key(joined: _Joined) -> Iterator[_Found]:
    """Fields that their key gives away, and those that nobody can read."""
    for at, field in enumerate(joined.fields):
        start, end = joined.starts[at], joined.ends[at]
        if field.known is not None:
            yield _Found(at, start, end, field.known, 0.9)
        elif (told := key_type(field.key)) is not None:
            kind, confidence = told
            if fits_key(kind, joined.text[start:end]):
                yield _Found(at, start, end, kind, confidence)


def _distinct(found: list[_Found]) -> list[_Found]:
    """The surest finding of each place, in order; what overlaps a surer one is dropped."""
    kept: list[_Found] = []  # by start, and so by end, as none overlap
    for each in sorted(found, key=lambda f: (-f.confidence, f.start - f.end)):
        at = bisect_right(kept, each.start, key=_start)
        clear_before = at == 0 or kept[at - 1].end <= each.start
        if clear_before and (at == len(kept) or each.end <= kept[at].start):
            kept.insert(at, each)
    return kept


def _start(found: _Found) -> int:
    return found.start


def _finding(joined: _Joined, found: _Found, line: int, file: int) -> Finding:
    field, begin, folded = joined.fields[found.field], joined.starts[found.field], joined.folded[found.field]
    start, end = found.start - begin, found.end - begin
    if folded is not None:
        start, end = folded.span(start, end)
    return Finding(line, field.place.path, start, end, found.type, found.confidence, file)
