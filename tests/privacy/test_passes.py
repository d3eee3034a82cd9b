"""Whole datasets: the same over several processes, once for the same bytes, never complete by accident."""

from __future__ import annotations

import base64
import gc
import json
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from gateway.core.errors import DataError
from gateway.core.rows import Finding, ScanSummary
from gateway.core.spec import Data
from gateway.crew import Batch, batches, useful
from gateway.data import Dataset, open_dataset
from gateway.privacy import cache as cache_module
from gateway.privacy import detecting, scan_dataset
from gateway.privacy.cache import ScanCache, key_of
from gateway.privacy.engine import Engine

CANARY = "Zyxwvut Quonset"


def dataset(folder: Path, rows: int = 60, *, extra: str = "") -> Dataset:
    lines = [
        json.dumps(
            {
                "prompt": f"Call (415) 555-01{at % 100:02} for {CANARY}, MRN {4000 + at}",
                "completion": "A cough.",
            }
        )
        for at in range(rows)
    ]
    lines[3:3] = ["", "{not json", json.dumps(["no object"]), json.dumps({"prompt": "ok", "completion": "é"})]
    (folder / "rows.jsonl").write_text("\n".join(lines) + extra, encoding="utf-8")
    return open_dataset(Data(train=("rows.jsonl",)), folder, task="sft")


ODD = (
    '{"a": ', '{"a": NaN}', '"x"', '{"a":' + "[" * 300 + "]" * 300 + "}",
    json.dumps({"text": base64.b64encode(b"SSN 219-09-9999").decode()}),
    json.dumps({"text": "d i a b e t e s %53SN &#83; \u202e9999-90-912"}),
    json.dumps({"messages": [{"role": "user", "content": [{"type": "image", "x": 1}]}]}),
    json.dumps({"dob": {"year": 1980}, "text": f"Dr. {CANARY}, 12 Oak Street, Springfield, IL 62704"}),
    json.dumps({"text": json.dumps({"ssn": "219-09-9999"})}),
)  # fmt: skip


@pytest.mark.parametrize("tells", [False, True])
def test_a_scan_leaves_nothing_for_the_collector(tmp_path: Path, tells: bool) -> None:
    """It is kept waiting until the last record, so that memory stays flat only without cycles."""
    data = dataset(tmp_path, extra="\n" + "\n".join(ODD * 50))
    found = list[str]()

    def on_finding(finding: Finding) -> None:
        found.append(finding.type)

    def scan() -> None:
        scan_dataset(data, on_finding=on_finding if tells else None, processes=1)

    scan()
    gc.collect()
    gc.disable()
    try:
        scan()
        assert gc.collect() == 0
    finally:
        gc.enable()
    assert bool(found) == tells


def test_two_processes_find_the_same_in_the_same_order(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gateway.crew.batching.BATCH_BYTES", 900)
    data = dataset(tmp_path)
    alone, shared = list[Finding](), list[Finding]()
    one = scan_dataset(data, on_finding=alone.append, floor=0.0, processes=1)
    two = scan_dataset(data, on_finding=shared.append, floor=0.0, processes=2)
    assert two == one == scan_dataset(data, processes=2)
    assert (one.records, one.flagged, one.complete) == (63, 60, True)
    assert shared == alone


def test_a_process_that_dies_leaves_the_scan_incomplete(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gateway.crew.batching.BATCH_BYTES", 900)

    def deadly(data: Dataset, _: object) -> Iterator[Batch]:
        for at, batch in enumerate(batches(data, None)):
            if at == 1:
                children = psutil.Process().children(recursive=True)
                for child in children:
                    child.kill()
                psutil.wait_procs(children)
            yield batch

    monkeypatch.setattr("gateway.privacy.passes.batches", deadly)
    totals = scan_dataset(dataset(tmp_path), processes=2)
    assert totals.complete is False
    assert totals.records == 63


def test_a_process_that_cannot_scan_leaves_the_scan_incomplete(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def wrong(_floor: float | None) -> bytes:
        return b'{"floor": "high"}'

    monkeypatch.setattr("gateway.privacy.hand.task", wrong)
    totals = scan_dataset(dataset(tmp_path), on_finding=print, processes=2)
    assert (totals.complete, totals.records) == (False, 63)


def test_small_data_and_tables_need_no_processes(tmp_path: Path) -> None:
    assert useful(dataset(tmp_path)) == 1


def test_a_file_that_changes_meanwhile_is_an_error(tmp_path: Path) -> None:
    data = dataset(tmp_path)
    with (tmp_path / "rows.jsonl").open("a", encoding="utf-8") as file:
        file.write("\n{}")
    with pytest.raises(DataError, match="changed"):
        scan_dataset(data, processes=1)


def test_the_cache_gives_back_what_was_kept_for_the_same_bytes_only(tmp_path: Path) -> None:
    cache, data = ScanCache(tmp_path / "cache"), dataset(tmp_path)
    key, totals = key_of(data, {}), scan_dataset(data, processes=1)
    cache.put(key, totals)
    assert cache.get(key) == totals
    assert CANARY.split()[0] not in (tmp_path / "cache" / f"{key}.json").read_text()
    assert cache.get(key_of(data, {"system": "You are kind."})) is None
    assert cache.get(key_of(dataset(tmp_path, extra=" "), {})) is None


def test_another_scanner_has_another_key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = dataset(tmp_path)
    before = key_of(data, {})
    monkeypatch.setattr(cache_module, "scanner_version", lambda: "a rule more")
    assert key_of(data, {}) != before


@pytest.mark.parametrize(
    "damage",
    ["", "{", "[]", "null", '{"key": "other"}'],
)
def test_a_damaged_entry_is_as_good_as_none(tmp_path: Path, damage: str) -> None:
    cache, data = ScanCache(tmp_path / "cache"), dataset(tmp_path)
    key = key_of(data, {})
    cache.put(key, scan_dataset(data, processes=1))
    entry = tmp_path / "cache" / f"{key}.json"
    assert cache.get(key) is not None
    entry.write_text(damage)
    assert cache.get(key) is None


@pytest.mark.parametrize(
    ("field", "value"),
    [("flagged", 10**6), ("findings", {"secret text": 1}), ("detected", "harmless"), ("complete", False)],
)
def test_totals_that_cannot_be_are_not_believed(tmp_path: Path, field: str, value: object) -> None:
    cache, data = ScanCache(tmp_path / "cache"), dataset(tmp_path)
    key = key_of(data, {})
    cache.put(key, scan_dataset(data, processes=1))
    entry = tmp_path / "cache" / f"{key}.json"
    told = json.loads(entry.read_text())
    told["totals"][field] = value
    entry.write_text(json.dumps(told))
    assert cache.get(key) is None


def test_an_incomplete_scan_is_not_kept(tmp_path: Path) -> None:
    cache = ScanCache(tmp_path)
    cache.put("k", ScanSummary(False, 1, 0, {}, 0, scan_dataset(dataset(tmp_path), processes=1).detected))
    assert cache.get("k") is None


class Mute:
    """A word engine that reports nothing, not even the canary."""

    def find_matches_as_indexes(self, text: bytes) -> list[tuple[int, int, int]]:
        return []


def test_a_silent_word_engine_leaves_the_scan_incomplete(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = Engine(["[A-Z][A-Za-z]"])
    monkeypatch.setattr(engine, "_words", Mute())
    monkeypatch.setattr(detecting, "engine", lambda: engine)
    monkeypatch.setattr(detecting, "_HEALTH_FROM", 0)
    monkeypatch.setattr(detecting, "_CAPITALISED", 0)
    assert scan_dataset(dataset(tmp_path), processes=1).complete is False
