"""Dates in the forms people write them: read, moved by whole days, and written in the same form.

What cannot be read is not moved: the caller replaces it. `03/04/2024` is read as month first unless
another date of the same record can only be day first, so that one record's dates keep their intervals.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import date, timedelta

_MONTH_NAMES = "january february march april may june july august september october november december"
_ONES = "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen"
_TENS = "twenty thirty forty fifty sixty seventy eighty ninety"
_MONTHS = tuple(_MONTH_NAMES.split())
_NUMBERS = {
    **{word: number for number, word in enumerate(f"{_ONES} sixteen seventeen eighteen nineteen".split())},
    **{word: number * 10 for number, word in enumerate(_TENS.split(), start=2)},
}
_ORDINALS = {
    "first": 1, "second": 2, "third": 3, "fifth": 5, "eighth": 8, "ninth": 9, "twelfth": 12,
    "twentieth": 20, "thirtieth": 30,
}  # fmt: skip
_NO_YEAR = 2023  # an ordinary year, for dates that name none
_MIDDLE = 15  # the day that stands for a month


@dataclass(frozen=True, slots=True)
class Written:
    """A date as it was written.

    Attributes:
        year, day: None where the text names none.
        write: a day back in the form of the original.
    """

    year: int | None
    month: int
    day: int | None
    write: Callable[[date], str]

    def on(self, default_year: int = _NO_YEAR) -> date:
        """The day meant; the middle of the month where no day is named."""
        year = default_year if self.year is None else self.year
        if self.year is None and (self.month, self.day) == (2, 29):
            year -= year % 4  # the leap year at or before it
        return date(year, self.month, _MIDDLE if self.day is None else self.day)

    def shifted(self, days: int, default_year: int = _NO_YEAR) -> str:
        """The day so many days later, in the form of the original.

        Args:
            default_year: the year meant where none is named: another date's of the same record.
        """
        return self.write(self.on(default_year) + timedelta(days=days))


def read(text: str, *, day_first: bool = False) -> Written | None:
    """The date that a text is; None where it is none that we can read."""
    for pattern, make in _FORMS:
        if match := pattern.fullmatch(text.strip()):
            try:
                found = make(match, day_first)
                if found is not None:
                    found.on()
            except (ValueError, KeyError):
                continue
            if found is not None:
                return found
    return None


def is_day_first(texts: Iterable[str]) -> bool:
    """Whether a record writes the day before the month: some date can only be read so, and none only
    the other way round."""
    firsts = [(int(m[1]), int(m[3])) for text in texts if (m := _NUMERIC.fullmatch(text.strip()))]
    return any(a > 12 for a, _ in firsts) and not any(b > 12 for _, b in firsts)


_NUMERIC = re.compile(r"(\d{1,2})([-/.])(\d{1,2})\2(\d{4}|\d{2})")


def _iso(match: re.Match[str], _: bool) -> Written:
    year, mark, month, day, rest = match.groups()
    width = _width(month, day)

    def write(on: date) -> str:
        return f"{on.year:04}{mark}{on.month:0{width}}{mark}{on.day:0{width}}{rest}"

    return Written(int(year), int(month), int(day), write)


def _numeric(match: re.Match[str], day_first: bool) -> Written:
    first, mark, second, year = match.groups()
    swapped = int(first) > 12 or (int(second) <= 12 and (day_first or mark == "."))
    width = _width(first, second)

    def write(on: date) -> str:
        a, b = (on.day, on.month) if swapped else (on.month, on.day)
        return f"{a:0{width}}{mark}{b:0{width}}{mark}{_year_like(on, year)}"

    day, month = (first, second) if swapped else (second, first)
    return Written(_full_year(year), int(month), int(day), write)


def _month_day(match: re.Match[str], _: bool) -> Written:
    month, mark, day = match.groups()
    width = _width(month, day)
    return Written(None, int(month), int(day), lambda on: f"{on.month:0{width}}{mark}{on.day:0{width}}")


def _month_year(match: re.Match[str], _: bool) -> Written:
    month, mark, year = match.groups()
    return Written(int(year), int(month), None, lambda on: f"{on.month:0{len(month)}}{mark}{on.year}")


def _digits(match: re.Match[str], _: bool) -> Written:
    year, month, day = match.groups()
    return Written(int(year), int(month), int(day), lambda on: f"{on:%Y%m%d}")


def _month_first(match: re.Match[str], _: bool) -> Written:
    name, dot, day, ending, between, year = match.groups()

    def write(on: date) -> str:
        rest = f"{between}{_year_like(on, year)}" if year else ""
        return f"{_month_like(on, name)}{dot}{on.day}{_ending(on, ending)}{rest}"

    return Written(_full_year(year) if year else None, _month(name), int(day), write)


def _day_before(match: re.Match[str], _: bool) -> Written:
    day, ending, between, name, after, year = match.groups()

    def write(on: date) -> str:
        rest = f"{after}{_year_like(on, year)}" if year else ""
        first = _day_like(on, day) if between else f"{on.day:02}"  # `14MAR2024`
        return f"{first}{_ending(on, ending)}{between}{_month_like(on, name)}{rest}"

    return Written(_full_year(year) if year else None, _month(name), int(day), write)


def _month_of_year(match: re.Match[str], _: bool) -> Written:
    name, between, year = match.groups()

    def write(on: date) -> str:
        rest = f"{between}{_year_like(on, year)}" if year else ""
        return f"{_month_like(on, name)}{rest}"

    return Written(_full_year(year) if year else None, _month(name), None, write)


def _in_words(match: re.Match[str], _: bool) -> Written | None:
    """`the fourteenth of March, twenty twenty-four`: comes back in digits."""
    name = match["month"] or match["month2"]
    day = _count(match["day"] or match["day2"])
    year = _words_year(match["year"]) if match["year"] else None
    if day is None or (match["year"] and year is None):
        return None

    def write(on: date) -> str:
        return f"{_month_like(on, name)} {on.day}" + (f", {on.year}" if year else "")

    return Written(year, _month(name), day, write)


_NAME = r"([A-Za-z]{3,9})"
_UNIT = (
    "first|second|third|fourth|fifth|sixth|seventh|eighth|ninth|one|two|three|four|five|six|seven|eight|nine"
)
_WORD = rf"[A-Za-z]+(?:[- ](?:{_UNIT}))?"
_MONTH_NAME = "|".join(_MONTHS)
_ORDINAL = "(st|nd|rd|th|)"
_FORMS: tuple[tuple[re.Pattern[str], Callable[[re.Match[str], bool], Written | None]], ...] = (
    (re.compile(r"(\d{4})([-/.])(\d{1,2})\2(\d{1,2})((?:[T ]\d{2}:\d{2}.*)?)"), _iso),
    (_NUMERIC, _numeric),
    (re.compile(r"(\d{1,2})([-/.])(\d{4})"), _month_year),
    (re.compile(r"(\d{1,2})(/)(\d{1,2})"), _month_day),
    (re.compile(r"((?:19|20)\d\d)(\d\d)(\d\d)"), _digits),
    (re.compile(_NAME + r"(\.? )(\d{1,2})" + _ORDINAL + r"(,? ?)(\d{4})?"), _month_first),
    (
        re.compile(
            r"(\d{1,2})" + _ORDINAL + r"((?: of)?[ -]|)" + _NAME + r"((?:\.?,?[ -])?)('?(?:\d{4}|\d{2}))?"
        ),
        _day_before,
    ),
    (re.compile(_NAME + r"(\.?,? (?:of )?)('\d{2}|\d{4})"), _month_of_year),
    (re.compile(_NAME + r"()()"), _month_of_year),
    (
        re.compile(
            rf"(?:(?:the )?(?P<day>{_WORD}) (?:day )?(?:of )?(?P<month>{_MONTH_NAME})"
            rf"|(?P<month2>{_MONTH_NAME}) (?:the )?(?P<day2>{_WORD}))(?:,? (?:of )?(?P<year>[A-Za-z -]+))?",
            re.IGNORECASE,
        ),
        _in_words,
    ),
)  # fmt: skip


def _month(name: str) -> int:
    low = name.lower()
    found = [number for number, month in enumerate(_MONTHS, start=1) if month.startswith(low[:3])]
    if len(low) < 3 or not found or not (_MONTHS[found[0] - 1].startswith(low) or low == "sept"):
        raise ValueError
    return found[0]


def _month_like(on: date, name: str) -> str:
    """The month's name as long as the original was, and in its case."""
    full = _MONTHS[on.month - 1]
    short = len(name) <= 4 and name.lower() not in _MONTHS
    word = full[:3] if short else full
    return word.upper() if name.isupper() else word.capitalize() if name[0].isupper() else word


def _width(first: str, second: str) -> int:
    """Digits of months and days: two where both have two, or one begins with a zero."""
    return 2 if len(first) == len(second) == 2 or "0" in (first[0], second[0]) else 1


def _day_like(on: date, day: str) -> str:
    return f"{on.day:02}" if day.startswith("0") else str(on.day)


def _ending(on: date, ending: str) -> str:
    if not ending:
        return ""
    if on.day % 100 in (11, 12, 13):
        return "th"
    return {1: "st", 2: "nd", 3: "rd"}.get(on.day % 10, "th")


def _full_year(text: str) -> int:
    """Two digits are read as 1931 to 2030."""
    year = int(text.lstrip("'"))
    return year if len(text.lstrip("'")) == 4 else year + (1900 if year > 30 else 2000)


def _year_like(on: date, text: str) -> str:
    """The year in as many digits as the original's, with its apostrophe."""
    mark = "'" if text.startswith("'") else ""
    return f"{on.year:04}" if len(text) - len(mark) == 4 else f"{mark}{on.year % 100:02}"


def _count(text: str) -> int | None:
    """`fourteenth`, `twenty-first`, `nine` as a number."""
    total = 0
    for word in re.split(r"[- ]", text.lower()):
        number = _NUMBERS.get(word) or _ORDINALS.get(word) or _NUMBERS.get(word.removesuffix("th"))
        if number is None:
            return None
        total += number
    return total


def _words_year(text: str) -> int | None:
    """`nineteen eighty-four`, `twenty twenty`, `two thousand and nineteen`."""
    words = [word for word in re.split(r"[- ]+", text.lower().strip()) if word not in ("and", "")]
    if words[:2] == ["two", "thousand"]:
        base, words = 2000, words[2:]
    elif words and _NUMBERS.get(words[0]) in (19, 20):
        base, words = _NUMBERS[words[0]] * 100, words[1:]
    else:
        return None
    words = [word for word in words if word not in ("hundred", "oh", "o")]
    if any(word not in _NUMBERS for word in words):
        return None
    return base + sum(_NUMBERS[word] for word in words)
