"""Dates come back in the form they had, moved by exactly what was asked."""

from __future__ import annotations

from datetime import date, timedelta

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from gateway.privacy.scrubbing import dates

FORMS = (
    "{d:%Y-%m-%d}", "{d:%Y/%m/%d}", "{d:%Y-%m-%d}T10:22:00Z", "{d:%m/%d/%Y}",
    "{d:%Y%m%d}", "{d:%B} {d.day}, {d.year}", "{d:%b} {d.day}, {d.year}", "{d:%B} {d.day} {d.year}",
    "{d.day} {d:%B} {d.year}", "{d.day}-{d:%b}-{d.year}", "{d:%d}{d:%b}{d.year}",
    "{d.day} of {d:%B} {d.year}",
)  # fmt: skip
days = st.dates(date(1950, 1, 1), date(2040, 12, 31))


@given(days, st.sampled_from(FORMS), st.integers(-400, 400))
def test_a_date_is_moved_and_keeps_its_form(day: date, form: str, shift: int) -> None:
    assume("%b" not in form or day.month != 5)  # `May` may be either, and is read as the whole word
    read = dates.read(form.format(d=day))
    assert read is not None
    assert read.on() == day
    moved = day + timedelta(days=shift)
    assert dates.read(read.shifted(shift)) is not None
    assert read.shifted(shift) == form.format(d=moved)


@given(days, days, st.sampled_from(FORMS), st.integers(-52, 52))
def test_intervals_are_kept(first: date, second: date, form: str, weeks: int) -> None:
    moved: list[date] = []
    for day in (first, second):
        read = dates.read(form.format(d=day))
        assert read is not None
        again = dates.read(read.shifted(weeks * 7))
        assert again is not None
        moved.append(again.on())
    assert moved[1] - moved[0] == second - first
    assert all(day.weekday() == old.weekday() for day, old in zip(moved, (first, second), strict=True))


@pytest.mark.parametrize(
    ("text", "after"),
    [
        ("3/14", "3/21"),
        ("1/28/2024", "2/4/2024"),
        ("9/30/24", "10/7/24"),
        ("03/2024", "03/2024"),
        ("Mar 14th", "Mar 21st"),
        ("MARCH 3 2020", "MARCH 10 2020"),
        ("14MAR2024", "21MAR2024"),
        ("14th of March", "21st of March"),
        ("March of 2019", "March of 2019"),
        ("December 28, 2023", "January 4, 2024"),
        ("March '19", "March '19"),
        ("31 May", "7 June"),
        ("the fourteenth of March", "March 21"),
        ("March the fourteenth, twenty twenty-four", "March 21, 2024"),
        ("twenty-first of May, nineteen eighty four", "May 28, 1984"),
        ("3/14/24", "3/21/24"),
        ("14.03.2024", "21.03.2024"),
        ("2024-03-14 10:22:11.5", "2024-03-21 10:22:11.5"),
    ],
)
def test_forms_people_write(text: str, after: str) -> None:
    read = dates.read(text)
    assert read is not None
    assert read.shifted(7) == after


@pytest.mark.parametrize("text", ["tomorrow", "2/30/2024", "13/45/2020", "Marchand 4", "20241399", ""])
def test_what_is_no_date_is_not_read(text: str) -> None:
    assert dates.read(text) is None


def test_a_record_that_writes_the_day_first_is_read_so() -> None:
    texts = ["25/04/2024", "03/04/2024"]
    day_first = dates.is_day_first(texts)
    assert day_first
    first, second = (dates.read(text, day_first=day_first) for text in texts)
    assert first is not None
    assert second is not None
    assert (first.on() - second.on()).days == 22
    assert not dates.is_day_first(["03/04/2024"])
    assert not dates.is_day_first(["25/04/2024", "04/25/2024"])
