"""Files scrubbed as a stream: the format stays, every row is accounted for, and nothing is half-written."""

from __future__ import annotations

import csv
import datetime as dt
import gzip
import json
import os
import signal
import subprocess
import sys
from decimal import Decimal
from pathlib import Path
from typing import Any, cast

import pyarrow
import pytest
from pyarrow import parquet

from gateway.core.classes import DataClass
from gateway.core.errors import DataError
from gateway.data import open_any
from gateway.privacy.scrubbing import BESIDE, Method, ScrubReport, scrub_file

pa, pq = cast("Any", pyarrow), cast("Any", parquet)
KEY = b"a secret of enough bytes to be one"
METHOD = Method("shift", 2026, "pid")
ROWS = [
    {"pid": "P-1", "text": "Patient Mary Whitfield, MRN 480112, seen on 03/14/2024.", "n": 1},
    {"pid": "P-1", "text": "Mary Whitfield came back on 03/21/2024. — É", "n": 2},
    {"pid": "P-2", "text": "Why is the sky blue?", "n": 3},
]


def scrub(folder: Path, name: str, to: str, method: Method = METHOD) -> ScrubReport:
    return scrub_file(open_any(Path(name), folder), folder / to, KEY, method)


def jsonl(rows: list[dict[str, Any]]) -> bytes:
    return "".join(json.dumps(row) + "\n" for row in rows).encode()


def test_json_lines_keep_their_rows_and_their_order(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_bytes(jsonl(ROWS))
    report = scrub(tmp_path, "a.jsonl", "b.jsonl")
    rows = [json.loads(line) for line in (tmp_path / "b.jsonl").read_text().splitlines()]
    assert [row["n"] for row in rows] == [1, 2, 3]
    assert rows[2]["text"] == ROWS[2]["text"]
    assert "Whitfield" not in (tmp_path / "b.jsonl").read_text()
    assert (report.rows, report.written, report.changed, report.source_class) == (3, 3, 3, DataClass.PHI)
    assert report.replaced["name"] == 2
    assert not report.left


def test_what_is_found_in_one_row_of_a_subject_is_replaced_in_all(tmp_path: Path) -> None:
    rows = [
        {"pid": "P-1", "text": "whitfield? WHITFIELD! Whitfield, chart 480112-B, room 4."},
        {"pid": "P-2", "text": "Whitfield Road is closed; 480112-B is a part number."},
        {"pid": "P-1", "text": "Patient Mary Whitfield, MRN: 480112-B."},
        {"pid": "P-1", "text": "Patient Mary Whitfield Junior was with her."},
    ]
    (tmp_path / "a.jsonl").write_bytes(jsonl(rows))
    report = scrub(tmp_path, "a.jsonl", "b.jsonl")
    first, other, second, third = (
        json.loads(line)["text"] for line in (tmp_path / "b.jsonl").read_text().splitlines()
    )
    assert "480112" not in first
    assert "Whitfield" not in first
    assert "WHITFIELD" not in first
    assert "480112-B is a part number" in other
    assert not report.left
    code = second.split("NAME-")[1][:5]
    assert code in third


def test_what_cannot_be_read_is_counted_with_its_line_and_left_out(tmp_path: Path) -> None:
    image = {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "x"}}]}]}
    lines = [
        jsonl(ROWS[:1]),
        b'{"pid": "Mary Whitf\n',
        b'{"pid": "\xff"}\n',
        b"[1]\n",
        jsonl([image, ROWS[2]]),
    ]
    (tmp_path / "a.jsonl").write_bytes(b"".join(lines))
    report = scrub(tmp_path, "a.jsonl", "b.jsonl")
    assert report.rows == report.written + sum(report.refused.values()) == 6
    assert report.refused == {"bad_json": 1, "bad_encoding": 1, "not_object": 1, "unreadable_content": 1}
    assert report.first_refused == {
        "bad_json": 2,
        "bad_encoding": 3,
        "not_object": 4,
        "unreadable_content": 5,
    }
    assert len((tmp_path / "b.jsonl").read_text().splitlines()) == 2
    assert "Whitf" not in json.dumps(report.to_json())


def test_other_encodings_are_refused_and_never_guessed(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_bytes("pid,text\nP-1,Renée Whitfield\nP-2,plain\n".encode("latin-1"))
    report = scrub(tmp_path, "a.csv", "b.csv")
    assert (report.written, report.refused, report.first_refused) == (
        1,
        {"bad_encoding": 1},
        {"bad_encoding": 2},
    )
    assert b"Whitfield" not in (tmp_path / "b.csv").read_bytes()
    (tmp_path / "u.jsonl").write_text(json.dumps(ROWS[0]), encoding="utf-16")
    with pytest.raises(DataError, match="UTF-16"):
        scrub(tmp_path, "u.jsonl", "v.jsonl")


@pytest.mark.parametrize(("mark", "suffix"), [(",", "csv"), ("\t", "tsv"), (";", "csv")])
def test_tables_keep_their_delimiter_and_their_columns(tmp_path: Path, mark: str, suffix: str) -> None:
    with (tmp_path / f"a.{suffix}").open("w", newline="") as file:
        writer = csv.writer(file, delimiter=mark, lineterminator="\r\n")
        writer.writerow(["pid", "text", "Mary Whitfield"])
        writer.writerow(["P-1", f'Seen "on{mark} {mark}\n03/14/2024"', "x"])
        writer.writerow(["P-2"])
    report = scrub(tmp_path, f"a.{suffix}", f"b.{suffix}")
    with (tmp_path / f"b.{suffix}").open(newline="") as file:
        header, row = list(csv.reader(file, delimiter=mark))
    assert header[:2] == ["pid", "text"]
    assert header[2].startswith("[NAME-")
    assert row[1].startswith(f'Seen "on{mark} {mark}\n')
    assert "03/14/2024" not in row[1]
    assert report.refused == {"bad_csv": 1}


def test_a_compressed_file_comes_out_compressed_and_the_same_each_time(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl.gz").write_bytes(gzip.compress(jsonl(ROWS)))
    first = scrub(tmp_path, "a.jsonl.gz", "b.jsonl.gz")
    second = scrub(tmp_path, "a.jsonl.gz", "c.jsonl.gz")
    assert first == second
    assert len(gzip.decompress((tmp_path / "b.jsonl.gz").read_bytes()).splitlines()) == 3


def test_parquet_keeps_its_types_nested_ones_too(tmp_path: Path) -> None:
    turn = [{"role": "user", "content": "Patient Mary Whitfield"}, {"role": "assistant", "content": None}]
    table = pa.table(
        {
            "pid": ["P-1", "P-2", None],
            "messages": [turn, None, []],
            "dob": pa.array([dt.date(1980, 2, 3), None, dt.date(1931, 1, 1)]),
            "seen": pa.array(
                [dt.datetime(2024, 3, 14, 10, 2, tzinfo=dt.UTC)] * 3, pa.timestamp("us", tz="UTC")
            ),
            "zip": pa.array([37201, None, 60614], pa.int32()),
            "tags": pa.array([[("who", "Mary Whitfield")], [], None], pa.map_(pa.string(), pa.string())),
            "cost": pa.array([Decimal("1.50"), None, Decimal("2.00")]),
            "blob": pa.array([b"Dr. Mary Whitfield", None, b"ok"]),
            "word": pa.array(["Mary Whitfield", "x", "x"]).dictionary_encode(),
        }
    )
    pq.write_table(table.replace_schema_metadata({"who": "Mary Whitfield"}), tmp_path / "a.parquet")
    report = scrub(tmp_path, "a.parquet", "b.parquet")
    after = pq.read_table(tmp_path / "b.parquet")
    assert after.schema.types == table.schema.types
    assert after.schema.names == table.schema.names
    assert b"Whitfield" not in (tmp_path / "b.parquet").read_bytes()
    rows = after.to_pylist()
    assert rows[0]["messages"][0]["role"] == "user"
    assert rows[0]["messages"][1] == {"role": "assistant", "content": None}
    assert rows[1]["messages"] is None
    assert rows[0]["dob"] not in (None, dt.date(1980, 2, 3))
    assert rows[2]["dob"] is None  # it told an age over 89, and a date is all this column can hold
    assert rows[0]["seen"] != dt.datetime(2024, 3, 14, 10, 2, tzinfo=dt.UTC)
    assert [row["zip"] for row in rows] == [372, None, 606]
    assert [row["cost"] for row in rows] == [Decimal("1.50"), None, Decimal("2.00")]
    assert (report.rows, report.written) == (3, 3)


def test_a_parquet_column_too_narrow_for_a_subject_is_told_by_name(tmp_path: Path) -> None:
    pq.write_table(
        pa.table({"pid": pa.array([7, 8], pa.int16()), "text": ["a", "b"]}), tmp_path / "a.parquet"
    )
    with pytest.raises(DataError, match=r"`pid`.*int16"):
        scrub(tmp_path, "a.parquet", "b.parquet")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.parquet"]


def test_times_that_cannot_be_read_are_a_typed_error_without_the_value(tmp_path: Path) -> None:
    """In a nested column; those of a plain one are read."""
    times = pa.array([[1_710_412_345_123_456_789]], pa.list_(pa.timestamp("ns")))
    pq.write_table(pa.table({"seen": times}), tmp_path / "a.parquet")
    with pytest.raises(DataError) as caught:
        scrub(tmp_path, "a.parquet", "b.parquet", Method("shift", 2026))
    assert "1710412345" not in str(caught.value)


def test_a_damaged_parquet_file_leaves_nothing(tmp_path: Path) -> None:
    pq.write_table(pa.table({"text": ["Mary Whitfield"] * 500}), tmp_path / "a.parquet")
    content = bytearray((tmp_path / "a.parquet").read_bytes())
    content[8:60] = b"\x00" * 52
    (tmp_path / "a.parquet").write_bytes(bytes(content))
    with pytest.raises(DataError) as caught:
        scrub(tmp_path, "a.parquet", "b.parquet", Method("shift", 2026))
    assert "Whitfield" not in str(caught.value)
    assert not (tmp_path / "b.parquet").exists()


@pytest.mark.parametrize("to", ["b.csv", "b.jsonl.gz", "b", "b.parquet"])
def test_a_name_that_belies_the_format_is_refused(tmp_path: Path, to: str) -> None:
    (tmp_path / "a.jsonl").write_bytes(jsonl(ROWS))
    with pytest.raises(DataError, match="says otherwise"):
        scrub(tmp_path, "a.jsonl", to)


def test_the_input_is_never_the_output(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_bytes(jsonl(ROWS))
    (tmp_path / "link.jsonl").symlink_to(tmp_path / "a.jsonl")
    for to in ("a.jsonl", "link.jsonl"):
        with pytest.raises(DataError, match="is scrubbed"):
            scrub(tmp_path, "a.jsonl", to)


def test_the_account_beside_a_file_says_what_it_is(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_bytes(jsonl(ROWS))
    report = scrub(tmp_path, "a.jsonl", "b.jsonl")
    assert ScrubReport.beside(tmp_path / "b.jsonl") == report
    assert ScrubReport.beside(tmp_path / "a.jsonl") is None
    beside = tmp_path / f"b.jsonl{BESIDE}"
    for damage in ("", "{}", "[]", beside.read_text().replace('"phi"', '"harmless"'), "\x00"):
        beside.write_text(damage)
        with pytest.raises(DataError, match="cannot be read"):
            ScrubReport.beside(tmp_path / "b.jsonl")


def test_a_full_disk_leaves_nothing(tmp_path: Path) -> None:
    """The limit on a file's size stands in for the disk: the write fails part-way."""
    (tmp_path / "a.jsonl").write_bytes(
        jsonl([{"text": f"row {n} " + "so it goes " * 400} for n in range(999)])
    )
    code = (
        "import resource, signal, sys; from pathlib import Path\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (2 << 20, 2 << 20))\n"
        "from tests.privacy.test_scrub_files import scrub\n"
        "from gateway.core.errors import DataError\n"
        "try: scrub(Path(sys.argv[1]), 'a.jsonl', 'b.jsonl')\n"
        "except DataError as error: print(error)"
    )
    ran = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, check=True, timeout=60
    )
    assert "disk is full" in ran.stdout
    assert [path.name for path in tmp_path.iterdir()] == ["a.jsonl"]


def test_a_kill_leaves_no_output(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_bytes(
        jsonl([{"text": f"Patient {n} Mary Whitfield"} for n in range(200_000)])
    )
    code = (
        "import sys; from pathlib import Path\n"
        "from tests.privacy.test_scrub_files import scrub\n"
        "print('on', flush=True); scrub(Path(sys.argv[1]), 'a.jsonl', 'b.jsonl')"
    )
    process = subprocess.Popen([sys.executable, "-c", code, str(tmp_path)], stdout=subprocess.PIPE)
    assert process.stdout is not None
    process.stdout.readline()
    while not list(tmp_path.glob(".b.jsonl.*")):
        assert process.poll() is None
        os.sched_yield()
    process.send_signal(signal.SIGKILL)
    process.wait(30)
    process.stdout.close()
    assert not (tmp_path / "b.jsonl").exists()
    assert not (tmp_path / f"b.jsonl{BESIDE}").exists()
