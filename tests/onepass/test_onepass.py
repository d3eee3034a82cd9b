"""One pass over several processes: the same profile as in one, whatever is in the data."""

from __future__ import annotations

import gzip
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orjson
import psutil
import pytest

from backends import registry
from gateway.core.errors import DataError
from gateway.core.rows import DataProfile
from gateway.core.spec import JobSpec
from gateway.crew import Batch
from gateway.crew.wire import pack, unpack
from gateway.data import profile
from gateway.onepass import CounterName, Helpers, reader
from tests.data.make import chat, sentence

COUNTERS = (
    CounterName(backend="openai", model="gpt-4.1"),
    CounterName(backend="bedrock", model="nova-micro"),
)
BESIDE = {"system": "You write to Dr. Alvarez at (415) 555-0134.", "job": "notes"}


def rows() -> Iterator[bytes]:
    """Sixteen hundred rows of all kinds: copies, near-copies, groups, findings, and every sort of bad one."""
    for at in range(1600):
        row: dict[str, Any] = chat(sentence(at % 1500), sentence(at + 900_000, 6), patient=f"p{at % 700}")
        if at % 9 == 0:
            row["messages"][0]["content"] += f" SSN 219-09-{at:04}, seen 03/14/2019 for diabetes"
        if at % 11 == 0:
            row["messages"].insert(0, {"role": "system", "content": "Be brief."})
        yield orjson.dumps(row)
        if at % 400 == 0:
            yield from (b"", b"no json", b"[1]", b'{"messages": []}', b'{"a": NaN}', b"\xff\xfe", b"   ")
    yield orjson.dumps(chat("The last line has no end"))


@pytest.fixture(autouse=True)
def _many_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gateway.crew.batching.BATCH_BYTES", 50_000)


@pytest.fixture
def data(tmp_path: Path) -> Path:
    path = tmp_path / "rows.jsonl"
    path.write_bytes(b"\n".join(rows()))
    return path


def spec(path: Path, **more: Any) -> JobSpec:
    data = {"train": path.name, **more}
    return JobSpec.model_validate({"name": "notes", "model": ("gpt-4.1",), "data": data}).at(path.parent)


def profiled(asked: JobSpec, tmp_path: Path, processes: int) -> DataProfile:
    from gateway.data import open_dataset

    helpers = Helpers(COUNTERS, tmp_path / "home", BESIDE, processes)
    dataset = open_dataset(asked.data, asked.folder, task=asked.task)
    return profile(
        asked,
        asked.folder,
        counters=[name.make(tmp_path / "home") for name in COUNTERS],
        conversions={"openai-chat": registry.create("openai", tmp_path).convert("openai-chat")},
        scanner=helpers.scanner(dataset),
        read=reader(helpers),
    )


@pytest.mark.parametrize(
    "more",
    [{}, {"test": 0.2, "validation": 0.1}, {"test": 0.2, "group_by": "patient"}],
    ids=["whole", "split", "grouped"],
)
def test_three_processes_see_what_one_sees(more: dict[str, Any], data: Path, tmp_path: Path) -> None:
    alone, together = (profiled(spec(data, **more), tmp_path, count) for count in (1, 3))
    assert together == alone
    assert alone.scan is not None
    assert alone.scan.findings["ssn"] > 150
    assert set(alone.refused) >= {"bad_json", "not_object", "nan", "bad_encoding", "no_assistant"}
    assert alone.rows == alone.used + sum(alone.refused.values())


def test_compressed_files_and_held_out_ones_are_shared_too(data: Path, tmp_path: Path) -> None:
    packed = tmp_path / "more.jsonl.gz"
    packed.write_bytes(gzip.compress(b"\n".join(orjson.dumps(chat(sentence(at))) for at in range(500))))
    asked = spec(data, test="more.jsonl.gz")
    alone, together = (profiled(asked, tmp_path, count) for count in (1, 2))
    assert together == alone
    assert alone.refused["in_held_out"] > 0  # rows that the held-out file has too


def test_progress_ends_at_the_end(data: Path, tmp_path: Path) -> None:
    told: list[tuple[int, int]] = []
    helpers = Helpers((), tmp_path, processes=2)
    asked = spec(data)
    profile(
        asked,
        asked.folder,
        counters=(),
        conversions={},
        scanner=None,
        on_progress=lambda done, total: told.append((done, total)),
        read=reader(helpers),
    )
    assert told[-1] == (data.stat().st_size, data.stat().st_size)
    assert [done for done, _ in told] == sorted(done for done, _ in told)


def test_a_process_that_is_killed_is_an_error_and_no_shorter_dataset(data: Path, tmp_path: Path) -> None:
    def kill(*_: int) -> None:
        for child in psutil.Process().children(recursive=True):
            os.kill(child.pid, signal.SIGKILL)

    asked = spec(data)
    with pytest.raises(DataError, match="has ended"):
        profile(
            asked,
            asked.folder,
            counters=(),
            conversions={},
            scanner=Helpers((), tmp_path, processes=2).scanner(_opened(asked)),
            on_progress=kill,
            read=reader(Helpers((), tmp_path, processes=2)),
        )
    assert psutil.Process().children(recursive=True) == []


def test_a_process_that_fails_tells_the_error_by_name_alone(data: Path, tmp_path: Path) -> None:
    unknown = (CounterName(backend="openai", model="no-such-model"),)
    asked = spec(data)
    with pytest.raises(DataError) as caught:
        profile(
            asked,
            asked.folder,
            counters=(),
            conversions={},
            scanner=None,
            read=reader(Helpers(unknown, tmp_path, processes=2)),
        )
    assert "river" not in str(caught.value)
    assert caught.value.fix


def test_no_process_is_left_behind(data: Path, tmp_path: Path) -> None:
    profiled(spec(data), tmp_path, 3)
    assert psutil.Process().children(recursive=True) == []


def test_a_batch_survives_its_way() -> None:
    batch = Batch(2, [1, 2, 9], [b'{"a": "\\n"}\n', None, b"last"])
    assert unpack(pack(batch)) == batch


def _opened(asked: JobSpec) -> Any:
    from gateway.data import open_dataset

    return open_dataset(asked.data, asked.folder, task=asked.task)
