"""Files as people have them: bad ones end in a typed error or a counted refusal, never in silence."""

from __future__ import annotations

import gzip
import os
import random
import tracemalloc
from pathlib import Path
from typing import Any

import orjson
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gateway.core.errors import DataError
from gateway.core.rows import Refusal, Row
from gateway.data import check, refusals
from tests.data.make import chat, codes, jsonl, opened, outcomes, parquet, rows, sentence

MIB = 1024 * 1024
GOOD = orjson.dumps(chat())


def refused(folder: Path, **more: Any) -> DataError:
    with pytest.raises(DataError) as caught:
        opened(folder, **more)
    assert caught.value.place
    assert caught.value.fix
    return caught.value


def test_a_missing_file_names_its_neighbour(tmp_path: Path) -> None:
    jsonl(tmp_path / "rows.jsonl", [chat()])
    error = refused(tmp_path, train="row.jsonl")
    assert error.message == "no such file"
    assert "rows.jsonl" in str(error.fix)


def test_a_folder_is_no_file(tmp_path: Path) -> None:
    (tmp_path / "rows").mkdir()
    assert "folder" in refused(tmp_path, train="rows").message


@pytest.mark.parametrize("content", [b"", b"\n\n  \n", b"\xef\xbb\xbf"])
@pytest.mark.parametrize("name", ["rows.jsonl", "rows.csv", "rows.parquet"])
def test_an_empty_file(tmp_path: Path, name: str, content: bytes) -> None:
    (tmp_path / name).write_bytes(content)
    assert "empty" in refused(tmp_path, train=name).message


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (bytes(range(256)) * 20, "binary"),
        (GOOD.decode().encode("utf-16"), "UTF-16"),
        (GOOD.decode().encode("utf-16-le"), "UTF-16"),
        (b"PK\x03\x04" + b"x" * 100, "zip"),
        (b"[" + GOOD + b"]", "array"),
    ],
)
def test_what_is_no_text_is_said_to_be_so(tmp_path: Path, content: bytes, says: str) -> None:
    (tmp_path / "rows.json").write_bytes(content)
    assert says in refused(tmp_path, train="rows.json").message


def test_a_damaged_parquet_file(tmp_path: Path) -> None:
    (tmp_path / "rows.parquet").write_bytes(b"PAR1" + os.urandom(500) + b"PAR1")
    assert "cannot be read" in refused(tmp_path, train="rows.parquet").message


def test_a_cut_off_gzip_file_is_an_error_not_a_short_dataset(tmp_path: Path) -> None:
    noise = random.Random(3)  # incompressible, so that the first records survive the cut
    packed = gzip.compress(b"\n".join(orjson.dumps(chat(noise.randbytes(2000).hex())) for _ in range(300)))
    (tmp_path / "rows.jsonl.gz").write_bytes(packed[: len(packed) - 1000])
    dataset = opened(tmp_path, train="rows.jsonl.gz")
    with pytest.raises(DataError, match="cannot be read to its end"):
        outcomes(dataset)


def test_a_glob_takes_every_match_in_order_and_says_when_there_is_none(tmp_path: Path) -> None:
    jsonl(tmp_path / "b.jsonl", [chat("b")])
    jsonl(tmp_path / "a.jsonl", [chat("a")])
    dataset = opened(tmp_path, train="*.jsonl")
    assert dataset.files == ("a.jsonl", "b.jsonl")
    assert [(row.file, row.messages[0].content) for row in rows(dataset)] == [(0, "a"), (1, "b")]
    assert "no file matches" in refused(tmp_path, train="*.csv").message


def test_a_url_must_be_fetched_first_and_its_token_is_not_shown(tmp_path: Path) -> None:
    error = refused(tmp_path, train="https://user:pw@example.org/d/rows.jsonl?token=s3cret")
    assert "data fetch" in str(error.fix)
    assert "s3cret" not in str(error)
    assert "pw" not in str(error)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_an_unreadable_file(tmp_path: Path) -> None:
    jsonl(tmp_path / "rows.jsonl", [chat()]).chmod(0)
    assert "may not be read" in refused(tmp_path).message


def test_what_is_no_regular_file(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "rows.jsonl")
    assert "not a regular file" in refused(tmp_path).message


def test_a_file_that_changes_under_us(tmp_path: Path) -> None:
    path = jsonl(tmp_path / "rows.jsonl", [chat()])
    dataset = opened(tmp_path)
    jsonl(path, [chat(), chat()])
    with pytest.raises(DataError, match="changed"):
        outcomes(dataset)
    path.unlink()
    with pytest.raises(DataError, match="gone"):
        outcomes(dataset)


@pytest.mark.parametrize("name", ["rows.jsonl", "rows.jsonl.gz"])
def test_bom_crlf_blank_lines_and_gzip(tmp_path: Path, name: str) -> None:
    content = b"\xef\xbb\xbf" + GOOD + b"\r\n\r\n" + GOOD
    (tmp_path / name).write_bytes(gzip.compress(content) if name.endswith("gz") else content)
    assert [row.line for row in rows(opened(tmp_path, train=name))] == [1, 3]


def test_bad_lines_are_refused_by_line_and_the_pass_goes_on(tmp_path: Path) -> None:
    lines: dict[int, tuple[bytes, str]] = {
        2: (b'{"messages": [', "bad_json"),
        3: (b"[1, 2]", "not_object"),
        5: (b'{"messages": "\xff\xfe"}', "bad_encoding"),
        6: (b'{"messages": NaN}', "nan"),
        8: (b'{"messages": -Infinity}', "nan"),
        9: (b'{"messages": ' + b"[" * 80 + b"]" * 80 + b"}", "too_deep"),
        10: (b'{"messages": ' + b"[" * 100_000 + b"]" * 100_000 + b"}", "too_deep"),
        11: (b'{"messages": "\\ud800"}', "bad_encoding"),
        17: (b'{"messages": [}]', "bad_json"),
    }
    content = [lines.get(number, (GOOD, ""))[0] for number in range(1, 19)]
    (tmp_path / "rows.jsonl").write_bytes(b"\n".join(content))
    dataset = opened(tmp_path)
    assert [(line, code) for line, code, _ in codes(dataset)] == [(at, c) for at, (_, c) in lines.items()]
    assert len(rows(dataset)) == 18 - len(lines)


@pytest.mark.parametrize("packed", [False, True])
def test_a_50_mb_line_is_skipped_in_bounded_memory(tmp_path: Path, packed: bool) -> None:
    huge = b'{"messages": "' + b"x" * (50 * MIB) + b'"}'
    content = b"\n".join([GOOD, huge, GOOD])
    name = "rows.jsonl.gz" if packed else "rows.jsonl"
    (tmp_path / name).write_bytes(gzip.compress(content, 1) if packed else content)
    dataset = opened(tmp_path, train=name)
    del content, huge
    tracemalloc.start()
    found = outcomes(dataset)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert [isinstance(row, Row) for row in found] == [True, False, True]
    assert isinstance(found[1], Refusal)
    assert (found[1].line, found[1].code) == (2, "line_too_long")
    assert found[2].line == 3
    assert peak < 40 * MIB


def test_memory_is_flat_in_the_size_of_the_file(tmp_path: Path) -> None:
    jsonl(tmp_path / "rows.jsonl", (chat(sentence(n % 100, 60) * 2) for n in range(20_000)))
    dataset = opened(tmp_path)
    tracemalloc.start()
    assert sum(1 for _ in dataset.records()) == 20_000
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert dataset.bytes > 10 * MIB
    assert peak < 4 * MIB


CSV: dict[str, Any] = {"columns": {"prompt": "q", "completion": "a"}, "train": "rows.csv"}


def test_csv_rows_know_the_line_they_start_on(tmp_path: Path) -> None:
    (tmp_path / "rows.csv").write_bytes(
        b'\xef\xbb\xbfid, q ,a\r\n1,"two\r\nlines, ""quoted""",x\r\n\r\n2,y,z\r\n'
    )
    found = rows(opened(tmp_path, **CSV))
    assert [(row.line, row.messages[0].content) for row in found] == [(2, 'two\r\nlines, "quoted"'), (5, "y")]


def test_bad_csv_rows_are_refused_one_by_one(tmp_path: Path) -> None:
    (tmp_path / "rows.csv").write_bytes(
        b'q,a\nonly one\ntoo,many,cells\n\xffbad,x\n,x\nnan,x\ny,NaN\ny,\ngood,row\n"never closed,x\n'
    )
    assert codes(opened(tmp_path, **CSV)) == [
        (2, "bad_csv", ""),
        (3, "bad_csv", ""),
        (4, "bad_encoding", ""),
        (5, "empty_prompt", "q"),
        (6, "nan", "q"),
        (7, "nan", "a"),
        (8, "empty_completion", "a"),
        (10, "bad_csv", ""),
    ]


@pytest.mark.parametrize("field", [b"x" * (20 * MIB), b'"' + b'x""y,\n'.rjust(200) * (100 * 1024) + b'"'])
def test_an_over_long_csv_row_does_not_take_its_neighbours_along(tmp_path: Path, field: bytes) -> None:
    (tmp_path / "rows.csv").write_bytes(b"q,a\nfirst,x\n" + field + b",x\nlast,x\n")
    dataset = opened(tmp_path, **CSV)
    assert [row.messages[0].content for row in rows(dataset)] == ["first", "last"]
    assert codes(dataset) == [(3, "line_too_long", "")]


def test_tsv_needs_no_setting(tmp_path: Path) -> None:
    (tmp_path / "rows.tsv").write_text("prompt\tcompletion\na, b\tc\n")
    assert rows(opened(tmp_path, train="rows.tsv"))[0].messages[0].content == "a, b"


def test_semicolons_as_spreadsheets_in_europe_write_them(tmp_path: Path) -> None:
    (tmp_path / "rows.csv").write_text('q;a\n"one, two; three";x\n')
    assert rows(opened(tmp_path, **CSV))[0].messages[0].content == "one, two; three"


def test_a_system_column_that_few_records_have(tmp_path: Path) -> None:
    jsonl(tmp_path / "rows.jsonl", [{"q": "a", "a": "b"}, {"q": "a", "a": "b", "s": "S"}])
    found = rows(opened(tmp_path, columns={"prompt": "q", "completion": "a", "system": "s"}))
    assert [len(row.messages) for row in found] == [2, 3]


@pytest.mark.parametrize("name", ["rows.csv", "rows.jsonl", "rows.parquet"])
def test_a_column_that_is_not_there_suggests_the_nearest(tmp_path: Path, name: str) -> None:
    table(tmp_path / name, [{"dialogue": "a", "note": "b"}])
    error = refused(tmp_path, train=name, columns={"prompt": "dialog", "completion": "note"})
    assert error.message == "there is no column `dialog`"
    assert error.fix == "did you mean `dialogue`?"


@pytest.mark.parametrize("name", ["rows.csv", "rows.parquet"])
def test_a_group_column_that_is_not_there(tmp_path: Path, name: str) -> None:
    table(tmp_path / name, [{"prompt": "a", "completion": "b", "patient": "c"}])
    assert refused(tmp_path, train=name, group_by="patients").fix == "did you mean `patient`?"


def test_columns_that_do_not_make_a_row(tmp_path: Path) -> None:
    table(tmp_path / "rows.csv", [{"q": "a", "a": "b"}])
    assert "prompt and answer" in refused(tmp_path, train="rows.csv", columns={"prompt": "q"}).message


def test_an_unknown_format_asks_for_a_column_map(tmp_path: Path) -> None:
    jsonl(tmp_path / "rows.jsonl", [{"left": "a", "right": "b"}])
    error = refused(tmp_path)
    assert "data.columns" in str(error.fix)
    assert "left" not in str(error)


def test_pairs_and_chats_need_their_own_task(tmp_path: Path) -> None:
    jsonl(tmp_path / "rows.jsonl", [{"prompt": "p", "chosen": "a", "rejected": "b"}])
    assert "task: dpo" in str(refused(tmp_path).fix)
    jsonl(tmp_path / "rows.jsonl", [chat()])
    assert "preference pairs" in refused(tmp_path, task="dpo").message


def test_parquet_times_in_nanoseconds_are_read_and_nested_ones_refused_without_their_value(
    tmp_path: Path,
) -> None:
    import pyarrow  # pyright: ignore[reportMissingTypeStubs]

    arrow: Any = pyarrow
    moment = 1_700_000_000_123_456_789
    values: dict[str, list[Any]] = {
        "q": ["a", "b"],
        "a": ["x", "y"],
        "at": arrow.array([moment, 1], type=arrow.timestamp("ns", "UTC")),
    }
    parquet(tmp_path / "rows.parquet", values)
    columns = {"prompt": "q", "completion": "a"}
    assert len(rows(opened(tmp_path, train="rows.parquet", columns=columns))) == 2
    inner = arrow.list_(arrow.timestamp("ns"))
    parquet(tmp_path / "deep.parquet", {**values, "at": arrow.array([[moment], []], type=inner)})
    with pytest.raises(DataError) as caught:
        rows(opened(tmp_path, train="deep.parquet", columns=columns))
    assert "deep.parquet" in str(caught.value.place)
    assert str(moment)[:6] not in str(caught.value)


def test_parquet_rows_with_nulls_nans_bytes_and_nested_turns(tmp_path: Path) -> None:
    values: dict[str, list[Any]] = {
        "q": ["one", None, "three", "four"],
        "a": [1.5, 2.0, float("nan"), 4.0],
        "blob": [b"\xff", b"ok", None, None],
    }
    parquet(tmp_path / "rows.parquet", values)
    dataset = opened(tmp_path, train="rows.parquet", columns={"prompt": "q", "completion": "a"})
    assert [row.messages[1].content for row in rows(dataset)] == ["1.5", "4.0"]
    assert codes(dataset) == [(2, "missing_field", "q"), (3, "nan", "a")]
    binary = opened(tmp_path, train="rows.parquet", columns={"prompt": "blob", "completion": "q"})
    assert codes(binary)[0] == (1, "bad_encoding", "blob")
    parquet(tmp_path / "rows.parquet", {"messages": [chat()["messages"]]})
    assert rows(opened(tmp_path, train="rows.parquet"))[0].messages[1].content == "Good day"


def test_the_scanner_sees_every_column_of_used_and_refused_rows(tmp_path: Path) -> None:
    jsonl(tmp_path / "rows.jsonl", [chat(patient="A"), {"messages": [], "patient": "B"}])
    assert [record.raw and record.raw["patient"] for record in opened(tmp_path).records()] == ["A", "B"]


def test_progress_ends_at_the_size_of_all_files(tmp_path: Path) -> None:
    for name in ("a.jsonl", "b.jsonl"):
        jsonl(tmp_path / name, (chat(sentence(n)) for n in range(2000)))
    dataset = opened(tmp_path, train="*.jsonl")
    seen: list[tuple[int, int]] = []
    for _ in dataset.records(lambda done, total: seen.append((done, total))):
        pass
    assert seen == sorted(seen)
    assert len(seen) > 4
    assert seen[-1] == (dataset.bytes, dataset.bytes)


def test_the_check_report_adds_up_and_names_first_places(tmp_path: Path) -> None:
    jsonl(tmp_path / "rows.jsonl", [chat(), {"messages": []}, [1], {"messages": []}])
    dataset = opened(tmp_path)
    report = check(dataset)
    assert (report.rows, report.used, dict(report.refused)) == (4, 1, {"no_assistant": 2, "not_object": 1})
    assert not report.ok
    shown = report.to_json()
    assert shown["problems"][0] == {
        "code": "no_assistant",
        "count": 2,
        "first": {"file": "rows.jsonl", "line": 2, "path": "messages"},
        "text": "the chat does not end with the assistant's turn",
        "fix": "end it with the answer to learn",
    }
    assert orjson.loads(orjson.dumps(shown)) == shown
    assert [refusal.line for refusal in refusals(dataset)] == [2, 3, 4]


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    pieces=st.lists(
        st.one_of(
            st.binary(max_size=40), st.just(GOOD), st.sampled_from([b'"', b",", b"{", b"\xef\xbb\xbf"])
        ),
        max_size=12,
    ),
    name=st.sampled_from(["rows.jsonl", "rows.csv", "rows.jsonl.gz"]),
)
def test_any_bytes_give_counts_that_add_up_or_a_typed_error(
    tmp_path: Path, pieces: list[bytes], name: str
) -> None:
    content = b"\n".join(pieces)
    (tmp_path / name).write_bytes(gzip.compress(content) if name.endswith("gz") else content)
    try:
        report = check(opened(tmp_path, train=name))
    except DataError:
        return  # a typed error is an answer too; any other exception fails
    assert report.rows == report.used + sum(report.refused.values())
    if name.startswith("rows.jsonl"):
        text = content.removeprefix(b"\xef\xbb\xbf")
        assert report.rows == sum(1 for line in text.split(b"\n") if line.strip())


def table(path: Path, values: list[dict[str, str]]) -> None:
    """The same rows as CSV, JSON Lines or Parquet, by the path's ending."""
    if path.suffix == ".jsonl":
        jsonl(path, values)
    elif path.suffix == ".csv":
        lines = [",".join(values[0]), *(",".join(row.values()) for row in values)]
        path.write_text("\n".join(lines) + "\n")
    else:
        parquet(path, {name: [row[name] for row in values] for name in values[0]})
