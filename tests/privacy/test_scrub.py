"""One record scrubbed: nothing that identifies is left of what was found, and the rest stays as it was."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from datetime import date, timedelta
from typing import Any

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from gateway.core.classes import DataClass
from gateway.privacy import scan_record
from gateway.privacy.scrubbing import Method, scrub_record
from gateway.privacy.scrubbing.surrogates import RESTRICTED_ZIP3, Surrogates, is_made, zip3

KEY = b"a secret of enough bytes to be one"
SHIFT, YEAR = Method("shift", 2026), Method("year", 2026)
BY_PATIENT = Method("shift", 2026, "patient")

FIRST = ("Mary", "Thomas", "Laura", "George", "Susan", "Kevin", "Deborah", "Patricia")
LAST = ("Whitfield", "Benitez", "Hanley", "Okafor", "Lindqvist", "Ferguson", "Castellano")
people = st.builds("{} {}".format, st.sampled_from(FIRST), st.sampled_from(LAST))
digits = st.integers(100_000, 999_999)
ZIPS = ("37201", "03601", "60614", "87801")
identifiers = st.one_of(
    people.map(lambda name: ("name", name, f"Patient {name} was seen.")),
    digits.map(lambda n: ("mrn", str(n), f"MRN: {n} on the chart.")),
    digits.map(lambda n: ("phone", f"615-322-{n % 10_000:04}", f"Call 615-322-{n % 10_000:04} at home.")),
    digits.map(lambda n: ("email", f"pt{n}@clinic.com", f"Write to pt{n}@clinic.com today.")),
    digits.map(lambda n: ("ssn", f"219-09-{n % 8999 + 1000}", f"SSN 219-09-{n % 8999 + 1000} on file.")),
    st.sampled_from(ZIPS).map(lambda z: ("geography", z, f"Lives in Nashville, TN {z} now.")),
    digits.map(
        lambda n: ("ip", f"81.2.{n % 200 + 10}.{n % 99 + 10}", f"IP 81.2.{n % 200 + 10}.{n % 99 + 10}.")
    ),
)
FILLER = ("Blood pressure 120/80.", "Started metformin 500 mg.", "Denies chest pain.", "Plan: follow up.")


@st.composite
def records(draw: st.DrawFn) -> tuple[dict[str, Any], list[tuple[str, str]]]:
    """A chat with tool calls and metadata, and what in it identifies: (type, text)."""
    said = draw(st.lists(identifiers, min_size=1, max_size=5))
    sentences = [each[2] for each in said]
    user = " ".join([*sentences[::2], draw(st.sampled_from(FILLER))])
    answer = " ".join([draw(st.sampled_from(FILLER)), *sentences[1::2]])
    raw: dict[str, Any] = {
        "patient": f"P{draw(st.integers(1, 5))}",
        "messages": [
            {"role": "user", "content": user},
            {"role": "assistant", "content": answer, "weight": 1},
        ],
        "source": {"note": sentences[0], "page": 3, "ok": True, "none": None, "score": 0.5},
    }
    if draw(st.booleans()):
        raw["tools"] = [{"id": "c1", "arguments": json.dumps({"note": sentences[-1], "n": 2})}]
    return raw, [(kind, text) for kind, text, _ in said]


def texts(value: object) -> Iterator[str]:
    if isinstance(value, dict):
        for key, child in value.items():  # pyright: ignore[reportUnknownVariableType]
            yield str(key)  # pyright: ignore[reportUnknownArgumentType]
            yield from texts(child)  # pyright: ignore[reportUnknownArgumentType]
    elif isinstance(value, list):
        for child in value:  # pyright: ignore[reportUnknownVariableType]
            yield from texts(child)  # pyright: ignore[reportUnknownArgumentType]
    elif value is not None:
        yield str(value)


def shape(value: object) -> object:
    """What a value is made of, its texts left out."""
    if isinstance(value, dict):
        return {str(key): shape(child) for key, child in value.items()}  # pyright: ignore[reportUnknownVariableType, reportUnknownArgumentType]
    if isinstance(value, list):
        return [shape(child) for child in value]  # pyright: ignore[reportUnknownVariableType, reportUnknownArgumentType]
    return type(value).__name__


def scrubbed(raw: dict[str, Any], method: Method = SHIFT) -> dict[str, Any]:
    found = scrub_record(raw, KEY, method)
    assert found.record is not None, found.problem
    return dict(found.record)


def stands_in(text: str, record: object) -> bool:
    pattern = re.compile(rf"(?<!\w){re.escape(text)}(?!\w)")
    return any(pattern.search(each) for each in texts(record))


@settings(max_examples=150, deadline=None)
@given(records(), st.sampled_from([SHIFT, YEAR, BY_PATIENT]))
def test_no_identifying_span_survives_and_the_shape_stays(
    made: tuple[dict[str, Any], list[tuple[str, str]]], method: Method
) -> None:
    raw, said = made
    found = scrub_record(raw, KEY, method)
    assert found.record is not None
    assert not found.left
    for kind, text in said:
        assert not stands_in(text, found.record), kind
    for each in scan_record(raw).findings:
        value: Any = raw
        for step in re.findall(r"[a-z_]+|\d+", each.field):
            value = value[int(step)] if step.isdigit() else value[step]
        if each.type != "date":
            assert not stands_in(str(value)[each.start : each.end].strip(), found.record)
    assert shape(found.record) == shape(raw)
    json.loads(found.record["tools"][0]["arguments"] if "tools" in raw else "{}")


PIECES = (
    "Mary Whitfield", "Dr. Jones", "MRN 445512", "03/14/2024", "615-322-1234", "\u202eMary\u200b Whitfield",
    "６１５-３２２-１２３４", "93 years old", "TN 37201", "a@b.com", "http://x.com/y",
    '{"a": 93, "mrn": 445512}',
    "219-09-9999", "Мary Whitfield", "É", "ﬁ", "\x00", "\ud800", "Mary\nWhitfield", "in March", "March 3rd",
    "1931-02-03", "ninety-one years old", "QWxhZGRpbjpvcGVuIHNlc2FtZSBpcyBub3QgdGhlIHBhc3N3b3Jk",
)  # fmt: skip
KEYS = (
    "mrn",
    "name",
    "dob",
    "zip",
    "phone",
    "messages",
    "Mary Whitfield",
    "ssn",
    "patient",
    "2024-03-14",
    "type",
)
any_text = st.lists(st.one_of(st.sampled_from(PIECES), st.text(max_size=8)), max_size=6).map(" ".join)
any_leaf = st.one_of(
    any_text, st.integers(-(2**63), 2**64 - 1), st.floats(allow_nan=False, allow_infinity=False),
    st.booleans(), st.none(), st.sampled_from([445_512, 93, 37_201, 6_153_221_234, 20_240_314]),
)  # fmt: skip
any_key = st.one_of(st.sampled_from(KEYS), st.text(max_size=5))
any_json = st.recursive(
    any_leaf,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(any_key, inner, max_size=4),
    max_leaves=12,
)


def skeleton(value: object) -> object:
    if isinstance(value, dict):
        return {"of": [skeleton(child) for child in value.values()]}  # pyright: ignore[reportUnknownVariableType, reportUnknownArgumentType]
    if isinstance(value, list):
        return [skeleton(child) for child in value]  # pyright: ignore[reportUnknownVariableType, reportUnknownArgumentType]
    return None


@settings(max_examples=300, deadline=None)
@given(st.dictionaries(any_key, any_json, max_size=5), st.sampled_from([SHIFT, YEAR, BY_PATIENT]))
def test_any_record_is_scrubbed_or_refused_and_nothing_is_left(raw: dict[str, Any], method: Method) -> None:
    found = scrub_record(raw, KEY, method)
    assert found.record is not None
    assert not found.left
    assert skeleton(found.record) == skeleton(raw)
    assert not stands_in("Mary Whitfield", found.record)


@settings(max_examples=60, deadline=None)
@given(records())
def test_scrubbing_again_finds_nothing_to_name(made: tuple[dict[str, Any], list[tuple[str, str]]]) -> None:
    once = scrubbed(made[0], YEAR)
    again = scrub_record(once, KEY, YEAR)
    assert again.record == once
    assert not again.replaced


@given(people, people)
@settings(deadline=None, max_examples=60)
def test_one_name_is_one_stand_in_within_a_group_and_another_elsewhere(one: str, other: str) -> None:
    assume(one != other)
    sentence = "Patient {} was seen with hypertension and diabetes."

    def named(name: str, patient: str) -> str:
        content = scrubbed({"patient": patient, "text": sentence.format(name)}, BY_PATIENT)["text"]
        return content.removeprefix("Patient ").partition(" was")[0]

    assert named(one, "P1") == named(one, "P1")
    assert named(one, "P1") != named(other, "P1")
    assert named(one, "P1") != named(one, "P2")


def test_a_surname_alone_is_the_same_person() -> None:
    text = scrubbed({"text": "Patient Mary Whitfield came. Ms. Whitfield left. WHITFIELD, we said. Mary?"})[
        "text"
    ]
    codes = re.findall(r"\[NAME-([A-Z-]+)\]", text)
    first, last = codes[0].split("-")
    assert codes[1:] == [last, last, first]


@given(st.dates(date(1990, 1, 1), date(2025, 12, 31)), st.integers(1, 400), st.integers(1, 9))
@settings(deadline=None, max_examples=60)
def test_intervals_are_kept_between_the_rows_of_a_subject(first: date, gap: int, patient: int) -> None:
    second = first + timedelta(days=gap)
    rows = [
        {"patient": f"P{patient}", "text": f"Seen on {first:%m/%d/%Y} for asthma."},
        {"patient": f"P{patient}", "text": f"Admitted {second.isoformat()} with asthma, stable."},
    ]
    a, b = (scrubbed(row, BY_PATIENT)["text"] for row in rows)
    month, day, year = (int(part) for part in re.findall(r"\d+", a))
    moved = date(year, month, day)
    (written,) = re.findall(r"\d{4}-\d\d-\d\d", b)
    assert date.fromisoformat(written) - moved == second - first
    assert moved != first
    assert (moved - first).days % 7 == 0


def test_years_alone_are_left_where_that_was_asked() -> None:
    text = scrubbed({"text": "Seen on 03/14/2024, again March 20. Born 1980-02-03."}, YEAR)["text"]
    assert re.fullmatch(r"Seen on 2024, again \[DATE-[A-Z]{5}\]\. Born 1980\.", text)


@pytest.mark.parametrize("method", [SHIFT, YEAR])
def test_a_date_that_tells_an_age_over_89_is_not_written(method: Method) -> None:
    record = scrubbed({"text": "DOB: 02/03/1931, seen on 2024-03-14.", "dob": "1931-02-03"}, method)
    assert "19" not in record["text"]
    assert record["dob"] == "[DATE-90+]"


@pytest.mark.parametrize(
    ("text", "after"),
    [
        ("A 93-year-old woman", "A 90+-year-old woman"),
        ("She is 97 years old.", "She is 90+ years old."),
        ("aged 101, frail", "aged 90+, frail"),
        ("aged 90, frail", "aged 90+, frail"),
        ("aged 90+, frail", "aged 90+, frail"),
        ("a ninety-three year old man", "a 90+ year old man"),
        ("A 54-year-old woman", "A 54-year-old woman"),
    ],
)
def test_ages_over_89_are_capped(text: str, after: str) -> None:
    assert scrubbed({"text": text})["text"] == after


def test_restricted_zip_areas_become_000() -> None:
    """The seventeen of the guidance to 45 CFR 164.514(b)(2)(i)(B)."""
    seventeen = "036 059 063 102 203 556 692 790 821 823 830 831 878 879 884 890 893"
    assert set(seventeen.split()) <= RESTRICTED_ZIP3
    assert {zip3(area + "99") for area in seventeen.split()} == {"000"}
    assert scrubbed({"text": "Lives in Nashville, TN 37201 now."})["text"].endswith("TN 372** now.")
    assert scrubbed({"text": "Lives in Lebanon, NH 03601 now."})["text"].endswith("NH 000** now.")
    assert scrubbed({"zip": 37201, "zipcode": "03601-1234"}) == {"zip": 372, "zipcode": "000**"}


def test_numbers_stay_numbers() -> None:
    record = scrubbed({"mrn": 480_112, "phone": 6_153_221_234, "dob": 19_800_203, "age": 41, "n": 2.5})
    assert all(type(record[key]) is int for key in ("mrn", "phone", "dob", "age"))
    assert (record["age"], record["n"]) == (41, 2.5)
    assert record["mrn"] != 480_112
    assert "555" in str(record["phone"])
    assert record["dob"] != 19_800_203


def test_numbers_of_any_kind_leave_nothing_to_find() -> None:
    found = scrub_record({"mrn": 480112.0, "ssn": 2.2e-313, "dob": [1e16, -5], "zip": 0.99}, KEY, SHIFT)
    assert found.record is not None
    assert not found.left
    assert all(type(found.record[key]) is float for key in ("mrn", "ssn", "zip"))


def test_a_whole_field_is_replaced_by_its_key_whatever_else_it_holds() -> None:
    record = scrubbed({"phone": "615-322 of Mary Whitfield, ext 1234"})
    assert re.fullmatch(r"\d{3}-555-01\d\d", record["phone"])


def test_the_field_that_names_the_subject_is_replaced_wherever_its_value_stands() -> None:
    rows = [
        {"patient": "Q-7781-K", "text": "Chart of Q-7781-K, stable."},
        {"patient": "Q-7781-K", "text": "ok"},
    ]
    one, two = (scrubbed(row, BY_PATIENT) for row in rows)
    assert one["patient"] == two["patient"] != "Q-7781-K"
    assert not stands_in("Q-7781-K", one)
    assert scrubbed({"patient": "Q-7782-K", "text": "ok"}, BY_PATIENT)["patient"] != one["patient"]


def test_keys_that_name_people_are_replaced_and_none_is_lost() -> None:
    raw = {
        "notes": {"Mary Whitfield": "well", "mary whitfield": "also", "plain": "x"},
        "text": "Mary Whitfield",
    }
    record = scrubbed(raw)
    assert len(record["notes"]) == 3
    assert sorted(record["notes"].values()) == ["also", "well", "x"]
    assert not stands_in("Whitfield", record)


def test_tool_arguments_stay_json_and_escapes_hide_nothing() -> None:
    told = {
        "patient": "Mary Whitfield",
        "mrn": 480_112,
        "note": "seen\nThomas Hanley today",
        "deep": '{"ssn": 219099999}',
    }
    raw = {"call": {"arguments": json.dumps(told)}, "other": '{"a":1,  "b": [2]}'}
    record = scrubbed(raw)
    arguments = json.loads(record["call"]["arguments"])
    assert type(arguments["mrn"]) is int
    assert arguments["mrn"] != 480_112
    assert json.loads(arguments["deep"])["ssn"] != 219_099_999
    assert not any(stands_in(name, arguments) for name in ("Whitfield", "Mary", "Hanley", "Thomas"))
    assert record["other"] == raw["other"]


def test_a_text_that_only_looks_like_json_is_text() -> None:
    """A key that stands twice would lose its first value: it is not opened, and is scrubbed as text."""
    raw = {"a": '{"n": "Mary Whitfield", "n": "x"}', "b": "[Mary Whitfield, 3/4]", "c": "{" * 500}
    record = scrubbed(raw)
    assert not stands_in("Whitfield", record)
    assert record["a"].endswith('", "n": "x"}')
    assert record["c"] == raw["c"]


@pytest.mark.parametrize(
    "content",
    [
        [{"type": "image_url", "image_url": {"url": "https://x.example/a.png"}}],
        [{"type": "text", "text": "ok"}, {"type": "input_audio", "input_audio": {"data": "AAAA"}}],
        b"\xff\xfe\x00scan",
    ],
)
def test_what_nobody_can_read_is_refused_and_counts_as_phi(content: Any) -> None:
    found = scrub_record({"messages": [{"role": "user", "content": content}]}, KEY, SHIFT)
    assert (found.record, found.problem, found.detected) == (None, "unreadable_content", DataClass.PHI)


def test_a_record_the_engine_did_not_look_at_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    from gateway.privacy.scanner import RecordScan
    from gateway.privacy.scrubbing import records as room

    def silent(raw: object, **_: object) -> RecordScan:
        return RecordScan((), health=False, complete=False)

    monkeypatch.setattr(room, "scan_record", silent)
    found = scrub_record({"text": "Mary Whitfield"}, KEY, SHIFT)
    assert (found.record, found.problem) == (None, "not_scanned")


def test_a_clean_record_comes_back_as_it_was() -> None:
    raw = {
        "messages": [{"role": "user", "content": "Why is the sky blue? — É, 空"}],
        "n": [1, 2.5, None, True],
    }
    found = scrub_record(raw, KEY, SHIFT)
    assert found.record == raw
    assert not found.replaced


def test_another_key_gives_other_stand_ins() -> None:
    raw = {"text": "Patient Mary Whitfield, MRN 480112, seen on 03/14/2024."}
    assert scrubbed(raw) == scrubbed(raw)
    assert scrub_record(raw, KEY + b"2", SHIFT).record != scrubbed(raw)


@pytest.mark.parametrize(
    ("kind", "text", "looks"),
    [
        ("phone", "(615) 322-1234", r"\(\d{3}\) 555-01\d\d"),
        ("fax", "+44 20 7946 0958", r"\d{3}-555-01\d\d"),
        ("email", "mary@clinic.org", r"[a-z]{5}@example\.org"),
        ("url", "https://clinic.org/mary", r"https://example\.org/[a-z]{5}"),
        ("ip", "10.2.3.4", r"198\.1[89]\.\d+\.\d+"),
        ("ip", "fe80::1", r"2001:db8:[0-9a-f]+:[0-9a-f]+::1"),
        ("ssn", "219-09-9999", r"\[SSN-[A-Z]{5}\]"),
        ("name", "Mary Whitfield", r"\[NAME-[A-Z]{5}-[A-Z]{5}\]"),
        ("a_new_type", "whatever", r"\[ANEWTYPE-[A-Z]{5}\]"),
    ],
)
def test_stand_ins_look_like_their_type_and_are_nobodys(kind: str, text: str, looks: str) -> None:
    made = Surrogates(KEY, "group:1").stand_in(kind, text)
    assert re.fullmatch(looks, made)
    assert is_made(kind, made)
    assert not is_made(kind, text)
    assert made != Surrogates(KEY, "group:2").stand_in(kind, text)


def test_shifts_are_whole_weeks_and_never_none() -> None:
    weeks = {Surrogates(KEY, f"group:{number}").weeks() for number in range(3000)}
    assert weeks == set(range(-52, 53)) - {0}
