"""Data made to be misread: found, or unknown and so treated as the worst; never passed over in silence."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import pytest

from gateway.core.classes import DataClass
from gateway.core.rows import Refusal, Row
from gateway.core.spec import Data
from gateway.data import open_dataset
from gateway.privacy import scan_dataset, scan_record

SSN = "219-09-9999"


def types(raw: dict[str, Any]) -> set[str]:
    result = scan_record(raw)
    assert result.complete
    return {finding.type for finding in result.findings}


@pytest.mark.parametrize(
    "text",
    [
        "SSN ２１９-０９-９９９９",  # full width
        "SSN ٢١٩-٠٩-٩٩٩٩",  # Arabic-Indic digits
        "SSN 219\u201109\u20119999",  # non-breaking hyphens
        "SSN 219\u2212 09\u22129999".replace(" ", ""),  # minus signs
        "SSN 2\u200b1\u200b9-0\u200b9-9\u200b999",  # zero-width spaces
        "SSN \u202e219-09-9999\u202c",  # right-to-left override
        "\u200fSSN\u200f 219-\u200e09-9999",  # direction marks
        "SSN 2\u03019-09-9999".replace("2\u0301", "21\u0301"),  # combining marks
        "\ufeffSSN 219-09-9999",  # byte order mark in the text
        "S\u0405N: SSN 219\u00ad-09-9999",  # soft hyphen
        "SSN\u00a0219-09-9999",  # no-break space
        "SSN 𝟸𝟷𝟿-𝟶𝟿-𝟿𝟿𝟿𝟿",  # mathematical digits
    ],
)
def test_unicode_tricks_hide_no_number(text: str) -> None:
    assert "ssn" in types({"text": text})


@pytest.mark.parametrize(
    "text",
    [
        "Раtiеnt Маry Gоnzаlеz came",
        "Dr. Ａｌｖａｒｅｚ called",
        "Mａry Gonzalez came",
        "Ma\u200bry Gonzalez came",
    ],
)
def test_homoglyphs_hide_no_name(text: str) -> None:
    assert "name" in types({"text": text})


@pytest.mark.parametrize("text", ["SSN ", "call me: "])
def test_letters_in_boxes_flags_and_small_capitals_hide_no_name(text: str) -> None:
    for plain in ("ᴍᴀʀʏ ɢᴏɴᴢᴀʟᴇᴢ", "🅼ary 🅶onzalez", "\U000e004d\U000e0061\U000e0072\U000e0079 Gonzalez"):
        assert "name" in types({"text": f"{text}{plain} came"}), plain


@pytest.mark.parametrize(
    "part",
    [
        {"type": "image_url", "image_url": {"url": "https://x.example/p.png"}},
        {"type": "image", "source": {"type": "base64", "data": "aaaa"}},
        {"type": "input_audio", "input_audio": {"data": "aa", "format": "wav"}},
        {"type": "file", "file": {"file_id": "f"}},
        {"inlineData": {"mimeType": "image/png", "data": "aa"}},
        {"type": "document", "source": {}},
        {"type": "hologram", "ref": "seven"},
        {"type": 7, "ref": "seven"},
    ],
)
def test_what_is_no_text_is_unknown_and_so_phi(part: dict[str, Any], tmp_path: Path) -> None:
    row = {"messages": [{"role": "user", "content": [part]}, {"role": "assistant", "content": "ok"}]}
    (tmp_path / "rows.jsonl").write_text(json.dumps(row) + "\n", encoding="utf-8")
    totals = scan_dataset(open_dataset(Data(train=("rows.jsonl",)), tmp_path, task="sft"))
    assert totals.detected is DataClass.PHI
    assert totals.findings["unknown_content"] >= 1


@pytest.mark.parametrize("wrap", ["{}", "see {} there", "data:application/pdf;base64,{}", '{{"x": "{}"}}'])
def test_a_blob_is_unknown_wherever_it_stands(wrap: str) -> None:
    blob = base64.b64encode(bytes(range(256)) * 3).decode()
    assert "unknown_content" in types({"note": wrap.format(blob)})


def test_a_record_of_fifty_megabytes_is_scanned_whole_or_refused(tmp_path: Path) -> None:
    text = "no news today. " * 3_400_000 + f"SSN {SSN}"
    assert len(text) > 50_000_000
    result = scan_record({"text": text})
    assert [finding.type for finding in result.findings] == ["ssn"] or not result.complete
    # From a file it is longer than a line may be: refused, and none of it goes anywhere.
    with (tmp_path / "rows.jsonl").open("w", encoding="utf-8") as file:
        file.write(json.dumps({"prompt": "hi", "completion": "ok"}) + "\n")
        file.write(json.dumps({"prompt": text, "completion": "ok"}) + "\n")
    data = open_dataset(Data(train=("rows.jsonl",)), tmp_path, task="sft")
    one, two = scan_dataset(data, processes=1), scan_dataset(data, processes=2)
    assert one == two
    assert (one.records, one.flagged) == (2, 0)
    refused = [each.outcome.code for each in data.records() if isinstance(each.outcome, Refusal)]
    assert refused == ["line_too_long"]


def test_nesting_and_many_odd_keys_take_linear_time() -> None:
    deep: Any = f"SSN {SSN}"
    for at in range(30_000):
        deep = [deep] if at % 2 else {"a": deep}
    assert types({"deep": deep}) == {"ssn"}
    wide = {f"{at:05}-x": "ok" for at in range(20_000)} | {"last one!": f"SSN {SSN}"}
    assert "ssn" in types(wide)


def test_json_within_texts_is_read_at_any_depth() -> None:
    text = f"SSN {SSN}"
    for _ in range(4):
        text = json.dumps({"note": text})
    assert types({"arguments": text}) == {"ssn"}
    assert types({"arguments": "[" * 100_000 + f'"SSN {SSN}"' + "]" * 100_000}) == {"ssn"}


def test_mixed_encodings_are_refused_or_scanned_never_guessed(tmp_path: Path) -> None:
    good = json.dumps({"prompt": f"SSN {SSN}", "completion": "ok"}).encode()
    latin = '{"prompt": "Müller, SSN 219-09-9999", "completion": "ok"}'.encode("latin-1")
    escaped = b'{"prompt": "\\uff32\\uff11\\uff19-09-9999 \\u00e9 SSN 219-09-9998", "completion": "ok"}'
    surrogate = b'{"prompt": "\\ud800 SSN 219-09-9999", "completion": "ok"}'
    (tmp_path / "rows.jsonl").write_bytes(b"\n".join((good, latin, escaped, surrogate)) + b"\n")
    data = open_dataset(Data(train=("rows.jsonl",)), tmp_path, task="sft")
    totals = scan_dataset(data)
    assert (totals.records, totals.flagged, totals.complete) == (4, 2, True)
    assert [record.raw is None for record in data.records()] == [False, True, False, True]


ENDLESS = (
    *("1", "(", "A", "a ", "1-", "Dr. ", "@", "A, ", " ", ".", "x1 ", "&#1", "%41", "\\u0041"),
    *("a-", "=4", "<~aaaa~>", "aB3", "QUJD", "- ", "12 ", "\u200b1", "AB3DEFGH", '{"a":"'),
)  # fmt: skip


@pytest.mark.parametrize("char", ENDLESS)
def test_no_text_makes_the_rules_slow(char: str) -> None:
    # Every rule runs in linear time: what would take a backtracking engine hours ends at once.
    assert scan_record({"text": char * (200_000 // len(char))}).complete


@pytest.mark.parametrize(
    ("row", "kind"),
    [
        ({"age": 93}, "age"),
        ({"patient_age": "101"}, "age"),
        ({"age": "94 years"}, "age"),
        ({"lat": 39.7817, "lon": -89.6501}, "geography"),
        ({"fname": "Oluwaseun"}, "name"),
        ({"next_of_kin": "Achterberg, Rosalind"}, "name"),
        ({"ssn": 219099999}, "ssn"),
        ({"home_phone": 4155550134}, "phone"),
        ({"admission_date": 20210304}, "date"),
        ({"passport_number": "X1234567"}, "other_id"),
    ],
)
def test_a_value_that_only_its_key_gives_away_is_found(row: dict[str, Any], kind: str) -> None:
    assert types(row) == {kind}


@pytest.mark.parametrize(
    "row",
    [{"age": 45}, {"age": 89}, {"age": "5/10"}, {"age": 2019}, {"fname": "report_v2.pdf"}, {"dod": "none"}],
)
def test_a_key_alone_gives_nothing_away(row: dict[str, Any]) -> None:
    assert types(row) == set()


@pytest.mark.parametrize("texts", [("SSN 219-09-9999", "ok"), ("ok", "SSN 219-09-9999")])
def test_of_a_key_given_twice_the_one_that_is_used_is_scanned(tmp_path: Path, texts: tuple[str, str]) -> None:
    first, second = texts
    line = f'{{"prompt": "{first}", "prompt": "{second}", "completion": "ok"}}\n'
    (tmp_path / "rows.jsonl").write_text(line, encoding="utf-8")
    data = open_dataset(Data(train=("rows.jsonl",)), tmp_path, task="sft")
    (record,) = data.records()
    assert isinstance(record.outcome, Row)
    assert scan_dataset(data).flagged == int("SSN" in record.outcome.messages[0].content)
