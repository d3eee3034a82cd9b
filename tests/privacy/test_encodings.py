"""Identifiers written so that rules do not see them: found, or unknown and so the worst; never clean."""

from __future__ import annotations

import base64
import json
import zlib
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.core.classes import DataClass
from gateway.data.lines import RawRecord
from gateway.privacy import Scanner, class_of, hidden, scan_record
from gateway.privacy.encodings import closed_up, unescaped, unpacked
from gateway.privacy.page import Page
from gateway.privacy.views import Edit, reversed_view, spliced

SSN = "219-09-9999"
IDENTIFIERS = (
    SSN, "(415) 555-0134", "jane.doe@example.org", "John Smith", "Dr. Alvarez", "MRN: 4482193",
    "DOB 03/14/1962", "4111 1111 1111 1111", "12 Oak Street, Springfield, IL 62704", "Maria Gonzalez",
    "https://mychart.example.org/u/halvorsen", "203.0.113.77", "DE89370400440532013000", "1HGCM82633A004352",
)  # fmt: skip


def _each(form: str) -> Callable[[str], str]:
    return lambda text: "".join(form.format(ord(char)) for char in text)


ENCODINGS: dict[str, Callable[[str], str]] = {
    "html, decimal": _each("&#{};"),
    "html, hexadecimal": _each("&#x{:x};"),
    "html, no semicolons": _each("&#{}"),
    "percent": lambda text: "".join(f"%{byte:02X}" for byte in text.encode()),
    "backslash u": lambda text: json.dumps(_each("\\u{:04x}")(text))[1:-1] if text.isascii() else text,
    "backslash x": lambda text: "".join(f"\\x{byte:02x}" for byte in text.encode()),
    "octal": lambda text: "".join(f"\\{byte:03o}" for byte in text.encode()),
    "json": lambda text: json.dumps({"note": text}),
    "quoted-printable": lambda text: "".join(f"={byte:02X}" for byte in text.encode()),
    "reversed": lambda text: text[::-1],
    "right-to-left override": lambda text: f"\u202e{text[::-1]}\u202c",
    "spaced": " ".join,
    "dashed": "-".join,
    "tags": lambda text: "".join(chr(0xE0000 + ord(char)) if ord(char) < 127 else char for char in text),
    "zero width": "\u200b".join,
    "base64": lambda text: base64.b64encode(text.encode()).decode(),
    "base64, url": lambda text: base64.urlsafe_b64encode(text.encode()).decode().rstrip("="),
    "base64 of UTF-16": lambda text: base64.b64encode(text.encode("utf-16-le", "surrogatepass")).decode(),
    "base32": lambda text: base64.b32encode(text.encode()).decode(),
    "hex": lambda text: text.encode().hex(),
    "hex, spaced": lambda text: text.encode().hex(" "),
    "ascii85": lambda text: base64.a85encode(text.encode()).decode(),
    "ascii85, framed": lambda text: base64.a85encode(text.encode(), adobe=True).decode(),
}


def flagged(text: str) -> bool:
    result = scan_record({"text": text})
    assert result.complete
    assert all(0 <= each.start < each.end <= len(text) for each in result.findings)
    return bool(result.findings)


@pytest.mark.parametrize("name", ENCODINGS)
@pytest.mark.parametrize("frame", ["{}", "Please note: {} ok."])
def test_no_single_encoding_hides_an_identifier(name: str, frame: str) -> None:
    clean = [each for each in IDENTIFIERS if not flagged(frame.format(ENCODINGS[name](each)))]
    assert clean == []


@settings(deadline=None)  # the first of them reads the lists
@given(
    st.sampled_from(IDENTIFIERS),
    st.sampled_from(sorted(ENCODINGS)),
    st.sampled_from(sorted(ENCODINGS)),
    st.sampled_from(["{}", "Please note: {} ok.", "a fever since then\n{}\nand a cough"]),
)
def test_no_chain_of_two_encodings_hides_an_identifier(
    plain: str, first: str, second: str, frame: str
) -> None:
    hidden = frame.format(ENCODINGS[second](ENCODINGS[first](plain)))
    assert flagged(hidden)


@pytest.mark.slow
@pytest.mark.parametrize("first", ENCODINGS)
def test_every_chain_of_two_encodings(first: str) -> None:
    clean = [
        (plain, first, second)
        for plain in IDENTIFIERS
        for second in ENCODINGS
        if not flagged(ENCODINGS[second](ENCODINGS[first](plain)))
    ]
    assert clean == []


@pytest.mark.parametrize(
    ("text", "hidden", "kind"),
    [
        (f"note: {_each('&#{};')(SSN)} end", _each("&#{};")(SSN), "ssn"),
        (f"note: {SSN[::-1]} end", SSN[::-1], "ssn"),
        ("note: 2 1 9 - 0 9 - 9 9 9 9 end", "2 1 9 - 0 9 - 9 9 9 9", "ssn"),
        ("note: MjE5LTA5LTk5OTk= end", "MjE5LTA5LTk5OTk=", "ssn"),
        (f"note: \\u0032{SSN[1:]} end", f"\\u0032{SSN[1:]}", "ssn"),
        (f"nöte: %32{SSN[1:]} end", f"%32{SSN[1:]}", "ssn"),
        ("she is j o h n  s m i t h today", "j o h n  s m i t h", "name"),
        ("write to jane&#46;doe&#64;example.org now", "jane&#46;doe&#64;example.org", "email"),
    ],
)  # fmt: skip
def test_a_finding_covers_the_text_as_it_was_written(text: str, hidden: str, kind: str) -> None:
    found = scan_record({"text": text}).findings
    assert [(each.type, text[each.start : each.end]) for each in found] == [(kind, hidden)]


def test_what_looks_encoded_and_says_nothing_is_unknown() -> None:
    packed = zlib.compress(b"patient Anna Mueller, SSN 123-45-6789, has diabetes " * 2)
    for text in (
        base64.b64encode(packed).decode(),
        packed.hex(),
        base64.b32encode(packed).decode(),
        base64.a85encode(packed).decode(),
        "S M I T H S O N",
    ):
        found = scan_record({"text": f"see {text} there"}).findings
        assert {each.type for each in found} & {"unknown_content", "name"}, text


def test_layers_without_end_are_unknown() -> None:
    text = f"SSN {SSN}"
    for _ in range(12):
        text = base64.b64encode(text.encode()).decode()
    assert [each.type for each in scan_record({"text": text}).findings] == ["unknown_content"]


def test_health_content_counts_under_an_encoding_too() -> None:
    scanner = Scanner()
    hidden = base64.b64encode(f"SSN {SSN}, has diabetes".encode()).decode()
    scanner.see_raw(RawRecord(1, 0, {"text": f"see {hidden}"}))
    assert scanner.summary().health == 1
    assert scanner.summary().detected is DataClass.PHI
    assert class_of(["ssn"], health=False) is DataClass.PII


CLEAN = """
def load(self, path: Path, *, limit: int = 1 << 20) -> dict[str, list[int]]:
    return {key: [int(v, 16) for v in re.findall(r"0x[0-9a-f]{2}", line)] for key, line in items}
SELECT id, COUNT(*) AS n FROM visits WHERE status != 'closed' GROUP BY id HAVING n > 3;
const handleClick = async (event) => { await fetchData(`${baseUrl}/items?page=${page}&size=20`); };
integrity sha512-9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08XyZ12abQ==
commit 9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08
class TheLongestNameOfAClassThatAnybodyEverWrote2(AbstractSingletonProxyFactoryBean): ...
C:\\Users\\new\\temp\\report.txt was written \\n and read
The plan was A, B, C, D, E and then F. Choose A B C D E or F.
p < 0.05; x = 3.14 * r ** 2; a[i][j] += b[i][k] * c[k][j]
| --- | --- | --- | and = = = = = =
Reflexes 2+/4, strength 5/5; Gleason 3+4; AT&T; R&amp;D; 100% of 50% done; Q&A
D I A G N O S I S
<p>Take &lt;10 mg&gt; of it&nbsp;daily &mdash; not more.</p>
https%3A is how a colon looks; caf=E9 is quoted-printable
Temperatures of 36 37 38 37 36 37 38 were noted, then 98 99 101 100 99.
eGFR 60 mL/min, HbA1c 7.2%, pH 7.4, mRNA vaccine, kHz, dB, iPhone, COVID-19 IgG.
""".strip().splitlines()


@pytest.mark.parametrize("line", CLEAN)
def test_clean_text_that_looks_a_little_encoded_is_left_alone(line: str) -> None:
    assert scan_record({"text": line}).findings == ()


def _nothing(page: Page) -> tuple[tuple[int, tuple[int, ...]], ...]:
    return ()


def test_little_of_our_own_code_is_flagged_for_what_it_might_hide(monkeypatch: pytest.MonkeyPatch) -> None:
    folder = Path(__file__).parents[2] / "gateway"
    texts = [path.read_text(encoding="utf-8") for path in sorted(folder.rglob("*.py"))[:60]]
    pieces = [text[at : at + 1500] for text in texts for at in range(0, len(text), 1500)]
    seen = [bool(scan_record({"text": piece}).findings) for piece in pieces]
    monkeypatch.setattr(hidden, "triggered", _nothing)
    plain = [bool(scan_record({"text": piece}).findings) for piece in pieces]
    assert sum(a and not b for a, b in zip(seen, plain, strict=True)) <= len(pieces) * 0.01


def test_json_in_a_text_is_read_with_its_keys() -> None:
    arguments = json.dumps({"patient_name": "Q. Zzyx", "ssn": 219099999, "unit": "mg"})
    raw = {"tool_calls": [{"function": {"name": "look_up", "arguments": arguments}}]}
    found = scan_record(raw).findings
    assert [(each.type, arguments[each.start : each.end]) for each in found] == [
        ("name", "Q. Zzyx"),
        ("ssn", "219099999"),
    ]


@pytest.mark.parametrize("text", ["219-09-9999", "SSN 219-09-9999"])
@pytest.mark.parametrize("wrap", ['{{"d": "{}"}}', "({}).", '("{}");', '{{\\"d\\": \\"{}\\"}}'])
def test_ascii85_that_ends_in_a_sign_is_told_from_what_closes_after_it(text: str, wrap: str) -> None:
    encoded = base64.a85encode(text.encode()).decode()
    assert encoded.endswith(")")
    assert {found.type for found in scan_record({"text": wrap.format(encoded)}).findings} == {"ssn"}


def test_a_name_after_an_escaped_line_break_is_found() -> None:
    arguments = json.dumps({"body": "Thank you.\nTamara\nKowalski came"})
    assert any(each.type == "name" for each in scan_record({"arguments": arguments}).findings)


@settings(deadline=None)  # the first of them reads the lists
@given(st.text(alphabet=st.characters(max_codepoint=126), max_size=60))
def test_every_character_of_a_view_comes_from_the_text(text: str) -> None:
    for view in (unescaped(text), unpacked(text)[0], closed_up(text)[0], reversed_view(text or "x")):
        for at in range(len(view.text) if view else 0):
            assert view is not None
            low, high = view.origin(at, at + 1)
            assert 0 <= low < high <= max(len(text), 1)


def test_a_view_leads_back_to_blocks_steps_and_what_lies_between() -> None:
    view = spliced("a &#98; c d e!", [Edit(2, 7, "b"), Edit(8, 13, "cde", 2)])
    assert view.text == "a b cde!"
    assert [view.origin(at, at + 1) for at in range(8)] == [
        (0, 1), (1, 2), (2, 7), (7, 8), (8, 9), (10, 11), (12, 13), (13, 14),
    ]  # fmt: skip
    assert view.origin(2, 6) == (2, 11)
    assert reversed_view("abcd").origin(0, 2) == (2, 4)
