"""One record scrubbed: found, replaced, looked at again until nothing new is found."""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, cast

import orjson

from gateway.core.classes import DataClass
from gateway.core.rows import Finding
from gateway.privacy import lexicon
from gateway.privacy.classes import class_of
from gateway.privacy.ner import Ner
from gateway.privacy.scanner import RecordScan, scan_record
from gateway.privacy.scrubbing import dates
from gateway.privacy.scrubbing.draft import Address, Draft, Edit, Text
from gateway.privacy.scrubbing.folded import fold, unfold
from gateway.privacy.scrubbing.surrogates import Surrogates, is_made

VERSION = "tunegate.scrub/1"
DateRule = Literal["shift", "year"]
_ROUNDS = 4
_OLDEST_AGE = 89
_SHORTEST = 3  # letters of a name's word that is looked for elsewhere
_LEAVE = frozenset(("age", "unknown_content"))  # replaced where they were found, and only there
_YEAR = re.compile(r"(?:19|20)\d\d")
_SMALL = frozenset("van von de der den del di da la bin al el dos dr mr mrs ms miss prof sr jr md".split())  # noqa: SIM905


@dataclass(frozen=True, slots=True)
class Method:
    """How data is scrubbed; equal methods give equal output under one key.

    Attributes:
        dates: `shift` moves a subject's dates by a secret number of weeks; `year` leaves the year alone.
        group_by: the field whose value names the subject; None: every record is its own.
        year: the year now; a date 90 or more years before it tells an age over 89.
        ner: a model that reads beside the rules; what it finds is taken out as well.
    """

    dates: DateRule
    year: int
    group_by: str | None = None
    ner: Ner | None = None

    def __str__(self) -> str:
        group = f" group_by={self.group_by}" if self.group_by else ""
        model = f" ner={self.ner.fingerprint[:16]}" if self.ner else ""
        return f"{VERSION} dates={self.dates}{group}{model}"


@dataclass(frozen=True, slots=True)
class Scrubbed:
    """What became of a record.

    Attributes:
        record: the record rewritten; None where it holds what cannot be rewritten, `problem` says what.
        replaced: places rewritten, by type.
        left: findings of the result that we did not write, by type.
        detected: the class of the record as it came.
    """

    record: Mapping[str, Any] | None
    problem: str | None = None
    replaced: Counter[str] = field(default_factory=Counter[str])
    left: Counter[str] = field(default_factory=Counter[str])
    detected: DataClass = DataClass.PUBLIC


def scrub_record(
    raw: Mapping[str, Any], key: bytes, method: Method, known: Mapping[str, str] | None = None
) -> Scrubbed:
    """Replace what the scanner finds in every text of a record, keys included.

    What was replaced in one place is replaced wherever else it stands in the record, found there or
    not. The result is scanned again, since what stands beside a new text may now be found.

    Args:
        known: texts found in other records of the subject, and their types; replaced here as well.
    """
    return _Scrub(raw, key, method, known or {}).run()


def learn(raw: Mapping[str, Any], method: Method) -> tuple[str, dict[str, str]] | None:
    """The subject of a record, and what in it identifies: text → type. None where it names no subject."""
    subject = subject_of(raw, method.group_by)
    if subject is None:
        return None
    raw, _ = unfold(raw)
    findings, draft = scan_record(raw, ner=method.ner).findings, None
    found: dict[str, str] = {}
    for each in findings:
        draft = draft or Draft(raw)
        address = draft.find(raw, each.field)
        text = draft.texts[address].text[each.start : each.end].strip() if address else ""
        if _is_sought(each.type, text) and not is_made(each.type, text):
            found.setdefault(text, each.type)
    return subject, found


def _is_sought(kind: str, text: str) -> bool:
    """Whether a text that was found once is looked for elsewhere."""
    return bool(text) and kind not in _LEAVE and (kind != "date" or re.search(r"\d\D+\d", text) is not None)


class _Scrub:
    def __init__(self, raw: Mapping[str, Any], key: bytes, method: Method, known: Mapping[str, str]) -> None:
        self._came, self._method = raw, method
        self._raw, self._folded = unfold(raw)
        self._draft = Draft(self._raw)
        subject = subject_of(raw, method.group_by)
        scope = f"record:{_digest(raw)}" if subject is None else f"group:{subject}"
        self._stand_ins = Surrogates(key, scope)
        self._columns = Surrogates(key, "columns")  # a table's header is one for all its rows
        self._replaced: Counter[str] = Counter()
        self._elsewhere = dict(known)  # a text that must not stand anywhere → its type
        self._day_first, self._year = False, 0

    def run(self) -> Scrubbed:
        detected = DataClass.PUBLIC
        self._name_subject()
        for number in range(_ROUNDS + 1):
            built = self._draft.build()
            scanned = scan_record(built, ner=self._method.ner)
            if not scanned.complete:
                return Scrubbed(None, "not_scanned", detected=DataClass.PHI)
            if number == 0:
                as_it_came = self._folded or self._replaced
                detected = max(_class(scanned), _class(self._as_it_came() if as_it_came else scanned))
            fresh, unreadable = self._fresh(built, scanned.findings)
            if unreadable:
                return Scrubbed(None, "unreadable_content", detected=DataClass.PHI)
            sought = number == 0 and bool(self._elsewhere)  # what is known of the subject, found here or not
            if (not fresh and not sought) or number == _ROUNDS:
                changed = [at.steps for at, text in self._draft.texts.items() if text.changed]
                record = fold(built, self._folded, changed)
                left = Counter(found.type for _, found in fresh)
                return Scrubbed(record, None, self._replaced, left, detected)
            self._learn_dates(fresh)
            self._replace(fresh)
            self._replace_elsewhere()
        raise AssertionError("the last round returns")

    def _as_it_came(self) -> RecordScan:
        return scan_record(self._came, ner=self._method.ner)

    def _name_subject(self) -> None:
        """Rewrite the field that names the subject, whole: whatever it looks like, it identifies."""
        group_by = self._method.group_by
        if group_by is None or (value := subject_of(self._raw, group_by)) is None:
            return
        address = self._draft.find(self._raw, group_by)
        if address is None:
            return
        text, stand_ins = self._draft.texts[address], self._stand_ins
        new = str(stand_ins.subject_number()) if text.is_number else stand_ins.subject()
        text.replace([Edit(0, len(text.text), new)])
        self._replaced["subject"] += 1
        self._elsewhere[value] = "other_id"

    def _fresh(
        self, built: Mapping[str, Any], findings: Iterable[Finding]
    ) -> tuple[list[tuple[Address, Finding]], bool]:
        """Findings that are not of our making; and whether one is of what nobody can read or rewrite."""
        fresh: list[tuple[Address, Finding]] = []
        for found in findings:
            address = self._draft.find(built, found.field)
            marker = found.type == "unknown_content" and found.end - found.start <= 1
            if address is None or marker:
                return [], True
            text = self._draft.texts[address]
            made = text.is_made(found.type, found.start, found.end)
            if not made and not text.is_ours(found.start, found.end):
                fresh.append((address, found))
        return fresh, False

    def _learn_dates(self, fresh: Iterable[tuple[Address, Finding]]) -> None:
        """How this record writes its dates, and the year of those that name none."""
        texts = [self._text_of(at, found) for at, found in fresh if found.type == "date"]
        self._day_first = self._day_first or dates.is_day_first(texts)
        read = (dates.read(text, day_first=self._day_first) for text in texts)
        years = [each.year for each in read if each is not None and each.year]
        self._year = self._year or (years[0] if years else 0)

    def _replace(self, fresh: Iterable[tuple[Address, Finding]]) -> None:
        edits: dict[Address, list[Edit]] = {}
        for address, found in fresh:
            old = self._text_of(address, found)
            new = self._stand_in(address, found, old)
            edits.setdefault(address, []).append(Edit(found.start, found.end, new))
            self._replaced[found.type] += 1
            if _is_sought(found.type, old):
                self._elsewhere.setdefault(old.strip(), found.type)
        for address, several in edits.items():
            self._draft.texts[address].replace(several)

    def _stand_in(self, address: Address, found: Finding, old: str) -> str:
        text = self._draft.texts[address]
        bare = text.is_number
        if found.type == "date":
            return self._date(old, bare=bare)
        if bare:
            return self._stand_ins.number(found.type, old)
        column = address.key and len(address.steps) == 1
        return (self._columns if column else self._stand_ins).stand_in(found.type, old)

    def _date(self, old: str, *, bare: bool) -> str:
        written = dates.read(old, day_first=self._day_first)
        year = written.year if written else int(old) if _YEAR.fullmatch(old) else None
        if year is not None and self._method.year - year > _OLDEST_AGE:
            return self._stand_ins.number("date", old) if bare else "[DATE-90+]"
        if written is None or (self._method.dates == "year" and year is None):
            if year is not None:
                return old
            return self._stand_ins.number("date", old) if bare else self._stand_ins.stand_in("date", old)
        if self._method.dates == "year":
            return str(year)
        days = self._stand_ins.weeks() * 7
        return written.shifted(days, self._year) if self._year else written.shifted(days)

    def _replace_elsewhere(self) -> None:
        """What was replaced once is replaced wherever it stands, and so is each word of a name."""
        wanted = _wanted(self._elsewhere)
        for address, text in self._draft.texts.items():
            if address.key and len(address.steps) == 1:
                continue
            edits: list[Edit] = []
            for start, end, kind in _occurrences(text.text, wanted):
                if not any(a < end and start < b for a, b in text.ours):
                    edits.append(Edit(start, end, self._again(text, kind, start, end)))
                    self._replaced[kind] += 1
            if edits:
                text.replace(edits)

    def _again(self, text: Text, kind: str, start: int, end: int) -> str:
        old, bare = text.text[start:end], text.is_number
        if kind == "date":
            return self._date(old, bare=bare)
        return (self._stand_ins.number if bare else self._stand_ins.stand_in)(kind, old)

    def _text_of(self, address: Address, found: Finding) -> str:
        return self._draft.texts[address].text[found.start : found.end]


def _class(scanned: RecordScan) -> DataClass:
    return class_of((found.type for found in scanned.findings), health=scanned.health)


def _wanted(elsewhere: Mapping[str, str]) -> list[tuple[str, str]]:
    """All texts that must not stand anywhere, longest first, each with its type."""
    kinds: dict[str, str] = {}
    for text, kind in elsewhere.items():
        if len(text) >= _SHORTEST and not is_made(kind, text):
            kinds.setdefault(text, kind)
            kinds.setdefault(text.upper(), kind)
        for word in _words(text) if kind == "name" else ():
            kinds.setdefault(word, "name")
            kinds.setdefault(word.upper(), "name")
    return sorted(kinds.items(), key=lambda item: -len(item[0]))


def _occurrences(text: str, wanted: Iterable[tuple[str, str]]) -> list[tuple[int, int, str]]:
    """Where these stand as whole words, none over another: (start, end, type)."""
    found: list[tuple[int, int, str]] = []
    for each, kind in wanted:
        at = text.find(each)
        while at >= 0:
            end = at + len(each)
            if _is_whole(text, at, end) and not any(a < end and at < b for a, b, _ in found):
                found.append((at, end, kind))
            at = text.find(each, end)
    return found


def _is_whole(text: str, start: int, end: int) -> bool:
    """Whether no word goes on before or after. A letter before may be the end of an escape, where the
    text is JSON: `\\nSmith`."""
    before = text[max(start - 2, 0) : start]
    begins = not _is_word(before[-1:]) or (before[:1] == "\\" and before[1:] in ("n", "r", "t"))
    return begins and not _is_word(text[end : end + 1])


def _is_word(char: str) -> bool:
    return char.isalnum() or char == "_"


def _words(name: str) -> Iterator[str]:
    """The words of a name that mean somebody wherever they stand."""
    for word in re.split(r"[\s,]+", name):
        low = word.casefold().strip(".'-")
        known = low in _SMALL or low.encode(errors="ignore") in lexicon.ORDINARY
        if len(low) >= _SHORTEST and word[0].isupper() and not known:
            yield word.removesuffix("'s").strip(".'-")


def subject_of(raw: Mapping[str, Any], group_by: str | None) -> str | None:
    """The value that names a record's subject; None where the record has none."""
    if group_by is None:
        return None
    value: object = raw.get(group_by)
    if value is None:
        value = raw
        for part in group_by.split("."):
            value = cast("Mapping[str, object]", value).get(part) if isinstance(value, Mapping) else None
    named = isinstance(value, str | int | float) and not isinstance(value, bool) and str(value).strip()
    return str(value) if named else None


def _digest(raw: Mapping[str, Any]) -> str:
    """The record's own name: equal records are scrubbed equally, wherever they stand."""
    flags = orjson.OPT_SORT_KEYS | orjson.OPT_NON_STR_KEYS
    try:
        text = orjson.dumps(raw, default=str, option=flags)
    except TypeError:  # half a surrogate pair, or an integer of more than 64 bits
        text = repr(sorted(raw.items(), key=str)).encode(errors="surrogatepass")
    return hashlib.sha256(text).hexdigest()
