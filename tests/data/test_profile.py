"""The profile adds up, holds no text, and names exactly the data; written files are what it counted."""

from __future__ import annotations

import hashlib
import resource
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any

import orjson
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gateway.core.classes import DataClass
from gateway.core.errors import DataError
from gateway.core.rows import Converted, DataProfile, Refusal, Row, ScanSummary
from gateway.core.spec import JobSpec
from gateway.data import Record, assign_splits, open_dataset, profile, write_split
from tests.data.make import chat, chats, jsonl, names, opened

SHARED = Path(__file__).parents[2].parent / "shared"
MTS = SHARED / "data" / "mts-dialog"


class Words:
    """One token per word."""

    method = "words (exact)"
    band = 0.0

    def count(self, row: Row) -> int:
        return sum(len(turn.content.split()) for turn in (*row.messages, *row.chosen, *row.rejected))


class Seen:
    """A scanner that finds something in every record, refused ones too."""

    def __init__(self) -> None:
        self.records = 0

    def see(self, record: Record) -> None:
        self.records += 1

    def summary(self) -> ScanSummary:
        return ScanSummary(True, self.records, self.records, {"NAME": self.records}, 0, DataClass.PII)


def as_chat(row: Row) -> Converted | Refusal:
    """The canonical line; rows on odd lines are refused, as a provider's limits would."""
    if row.line % 2:
        return Refusal(row.line, "too_odd", "", "this format takes even lines only")
    return Converted(row.to_json())


def spec_for(**data: Any) -> JobSpec:
    task = data.pop("task", "sft")
    length = data.pop("max_length", "auto")
    values = {"train": "rows.jsonl", **data}
    return JobSpec.model_validate(
        {
            "name": "t",
            "model": "m",
            "task": task,
            "data": values,
            "hyperparameters": {"max_length": length},
        }
    )


def profiled(folder: Path, **data: Any) -> DataProfile:
    return profile(
        spec_for(**data), folder, counters=[Words()], conversions={"chat": as_chat}, scanner=Seen()
    )


def test_everything_adds_up(tmp_path: Path) -> None:
    jsonl(tmp_path / "rows.jsonl", [*chats(range(200)), {"messages": []}, *chats(range(5)), [1]])
    found = profiled(tmp_path, test=0.2, validation=0.1, **{"class": "internal"})
    assert (found.rows, found.used) == (207, 205)
    assert found.refused == {"no_assistant": 1, "not_object": 1}
    assert sum(found.split_rows.values()) == found.used
    assert found.duplicates == 5
    tokens = found.tokens["words (exact)"]
    assert tokens.tokens == 205 * 30 == sum(tokens.by_split.values())
    assert tokens.by_split.keys() == found.split_rows.keys()
    for stats in found.converted["chat"]:
        assert stats.rows_in == found.split_rows[stats.split]
        assert stats.rows_in == stats.rows_out + sum(stats.refused.values())
    assert found.scan is not None
    assert found.scan.records == 207
    assert (found.declared, found.effective) == (DataClass.INTERNAL, DataClass.PII)


def test_token_quantiles_and_limits(tmp_path: Path) -> None:
    made = [chat(" ".join(["word"] * (n - 1)) + f" {n}", "yes") for n in range(1, 1001)]
    jsonl(tmp_path / "rows.jsonl", made)
    tokens = profiled(tmp_path, max_length=700).tokens["words (exact)"]
    assert tokens.lengths == (11, 101, 251, 501, 751, 901, 991, 1001)
    assert tokens.longest == 1001
    assert tokens.over[700] == 301
    assert tokens.over[512] == 489
    assert tokens.over[1024] == 0


def test_flags(tmp_path: Path) -> None:
    jsonl(tmp_path / "rows.jsonl", chats(range(3)))
    plain = profiled(tmp_path)
    assert [plain.has_tools, plain.has_system, plain.multi_turn, plain.preference] == [False] * 4
    turns = [*chat("a", "b")["messages"], *chat("c", "d")["messages"]]
    tools = [{"type": "function", "function": {"name": "f"}}]
    jsonl(tmp_path / "rows.jsonl", [{"messages": turns, "tools": tools}])
    rich = profiled(tmp_path, system="S")
    assert rich.has_tools
    assert rich.has_system
    assert rich.multi_turn
    jsonl(tmp_path / "rows.jsonl", [{"prompt": "p", "chosen": "a", "rejected": "b"}])
    pairs = profiled(tmp_path, task="dpo", system="S")
    assert pairs.preference
    assert not pairs.multi_turn


def test_the_hash_names_the_used_data_and_nothing_else(tmp_path: Path) -> None:
    made = chats(range(20))
    path = jsonl(tmp_path / "rows.jsonl", made)
    first = profiled(tmp_path).hash
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes().replace(b"\n", b"\r\n") + b"{bad\n")
    assert profiled(tmp_path).hash == first, "encoding and refused rows change nothing"
    jsonl(path, made[::-1])
    assert profiled(tmp_path).hash != first
    jsonl(path, [*made[:-1], chat("one", "word changed")])
    assert profiled(tmp_path).hash != first
    jsonl(path, made)
    assert profiled(tmp_path, system="S").hash != first
    assert profiled(tmp_path).hash == first


def test_rows_left_out_for_a_held_out_file_are_counted_as_refused(tmp_path: Path) -> None:
    jsonl(tmp_path / "rows.jsonl", chats(range(20)))
    jsonl(tmp_path / "test.jsonl", chats(range(15, 25)))
    found = profiled(tmp_path, test="test.jsonl")
    assert found.refused == {"in_held_out": 5}
    assert (found.rows, found.used, found.split_rows) == (30, 25, {"train": 15, "test": 10})
    assert sum(found.tokens["words (exact)"].by_split.values()) == found.tokens["words (exact)"].tokens


def test_nothing_usable_lists_every_reason_with_its_first_line(tmp_path: Path) -> None:
    (tmp_path / "rows.jsonl").write_text('{"messages": []}\nSecret-77\n{"messages": []}\n')
    with pytest.raises(DataError) as caught:
        profiled(tmp_path)
    assert "no_assistant × 2 (first: rows.jsonl, line 1)" in caught.value.message
    assert "bad_json × 1 (first: rows.jsonl, line 2)" in caught.value.message
    assert "Secret" not in str(caught.value)


@pytest.mark.parametrize("content", ["q,a\n", "not json at all\n"])
def test_a_file_of_nothing_but_headers_or_noise(tmp_path: Path, content: str) -> None:
    name = "rows.csv" if "," in content else "rows.jsonl"
    (tmp_path / name).write_text(content)
    columns = {"columns": {"prompt": "q", "completion": "a"}} if "," in content else {}
    with pytest.raises(DataError, match=r"there is no row|none of the 1 rows"):
        profiled(tmp_path, train=name, **columns)


def test_progress_runs_once_through_both_passes(tmp_path: Path) -> None:
    path = jsonl(tmp_path / "rows.jsonl", chats(range(1500)))
    seen: list[tuple[int, int]] = []
    profile(
        spec_for(),
        tmp_path,
        counters=[],
        conversions={"chat": as_chat},
        scanner=None,
        on_progress=lambda done, total: seen.append((done, total)),
    )
    size = path.stat().st_size
    assert seen == sorted(seen)
    assert seen[-1] == (2 * size, 2 * size)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(lines=st.lists(st.one_of(st.binary(max_size=30), st.integers(0, 6)), min_size=1, max_size=30))
def test_counts_add_up_whatever_the_lines_are(tmp_path: Path, lines: list[bytes | int]) -> None:
    good = [orjson.dumps(row) for row in chats(range(7))]
    text = b"\n".join(line.replace(b"\n", b"") if isinstance(line, bytes) else good[line] for line in lines)
    (tmp_path / "rows.jsonl").write_bytes(text)
    try:
        found = profiled(tmp_path)
    except DataError:
        return  # a typed error is an answer too; any other exception fails
    assert found.rows == found.used + sum(found.refused.values())
    assert sum(found.split_rows.values()) == found.used
    assert found.scan is not None
    assert found.scan.records == found.rows
    assert sum(stats.rows_in for stats in found.converted["chat"]) == found.used


def test_a_written_split_is_what_the_profile_counted(tmp_path: Path) -> None:
    jsonl(tmp_path / "rows.jsonl", chats(range(100)))
    spec = spec_for(test=0.2)
    counted = profile(spec, tmp_path, counters=[], conversions={"chat": as_chat}, scanner=None).converted
    dataset = open_dataset(spec.data, tmp_path, task="sft")
    assignment = assign_splits(dataset, spec.data)
    for stats in counted["chat"]:
        path = tmp_path / "out" / f"{stats.split}.jsonl"
        assert write_split(dataset, assignment, stats.split, as_chat, path, format="chat") == stats
        content = path.read_bytes()
        assert (len(content), hashlib.sha256(content).hexdigest()) == (stats.bytes, stats.sha256)
        assert content.count(b"\n") == stats.rows_out
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert names(tmp_path / "out") == ["test.jsonl", "train.jsonl"]


FULL_DISK = """
import resource, signal, sys
from pathlib import Path
from gateway.core.errors import DataError
from gateway.data import write_atomically
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
try:
    write_atomically(Path(sys.argv[1]), (b"x" * 10_000 for _ in range(1000)))
except DataError as error:
    print(error.message)
"""


@pytest.mark.skipif(not hasattr(resource, "RLIMIT_FSIZE"), reason="needs a limit on file sizes")
def test_a_full_disk_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "train.jsonl"
    path.write_bytes(b"old")
    result = subprocess.run(
        [sys.executable, "-c", FULL_DISK, str(path)], capture_output=True, text=True, check=True
    )
    assert result.stdout.strip() == "the disk is full"
    assert path.read_bytes() == b"old"
    assert names(tmp_path) == ["train.jsonl"]


def test_a_failing_converter_leaves_no_file(tmp_path: Path) -> None:
    jsonl(tmp_path / "rows.jsonl", chats(range(10)))
    dataset = opened(tmp_path)
    assignment = assign_splits(dataset, dataset.data)

    def breaks(row: Row) -> Converted:
        if row.line == 5:
            raise RuntimeError
        return Converted(row.to_json())

    with pytest.raises(RuntimeError):
        write_split(dataset, assignment, "train", breaks, tmp_path / "out" / "train.jsonl")
    assert names(tmp_path / "out") == []


def test_a_folder_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("a file, not a folder")
    jsonl(tmp_path / "rows.jsonl", chats(range(3)))
    dataset = opened(tmp_path)
    assignment = assign_splits(dataset, dataset.data)
    with pytest.raises(DataError, match="cannot be written"):
        write_split(dataset, assignment, "train", as_chat, tmp_path / "taken" / "train.jsonl")


@pytest.mark.shared
@pytest.mark.skipif(not MTS.exists(), reason="the development data is not beside the checkout")
@pytest.mark.parametrize("completion", ["section_text", "section_header"])
def test_real_dialogues_by_column_map(completion: str) -> None:
    found = profiled(
        MTS,
        train="train.csv",
        validation="valid.csv",
        test=0.15,
        columns={"prompt": "dialogue", "completion": completion},
    )
    assert found.rows == 1301
    assert found.rows == found.used + sum(found.refused.values())
    assert set(found.refused) <= {"in_held_out"}
    assert found.split_rows["test"] / found.used == pytest.approx(0.15, abs=0.05)
    assert found.split_rows["validation"] == 100
    assert found.effective is DataClass.PHI
