"""Rows are tokenised once a run; whoever comes later maps the same file, or finds that it is not theirs."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
import torch

from backends.local import render
from backends.local.ranks import Ranks
from backends.local.run import Run
from backends.local.setup import Setup, prepare
from backends.local.tokens import Item
from gateway.core.errors import DataError
from tests.local.conftest import Bench, rows


def ready(run: Run) -> Setup:
    return prepare(run, Ranks())


def same(one: Item, other: Item) -> bool:
    pairs = zip(one.chats, other.chats, strict=True)
    return all(torch.equal(a.ids_T, b.ids_T) and torch.equal(a.labels_T, b.labels_T) for a, b in pairs)


def never_again(monkeypatch: pytest.MonkeyPatch) -> None:
    def rendered(*args: object, **options: object) -> None:
        raise AssertionError("a row was rendered again")

    monkeypatch.setattr(render.Template, "render", rendered)


def test_a_second_start_reads_what_the_first_one_wrote(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    run = bench.prepare(rows(7), "one")
    first = ready(run)
    never_again(monkeypatch)
    second = ready(run)
    assert len(second.items) == len(first.items) == 7
    assert all(same(one, other) for one, other in zip(first.items, second.items, strict=True))
    told = [event.data for event in run.events() if event.kind == "rows"]
    assert told[0] == told[1]
    assert first.origin == second.origin


@pytest.mark.parametrize("what", ["max_length", "too_long", "tokenizer", "damage", "no note"])
def test_tokens_of_something_else_are_made_anew(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    run = bench.prepare(rows(7), "one")
    ready(run)
    config, folder = run.config, run.folder / "tokens"
    if what == "max_length":
        config["body"]["max_length"] -= 1
    elif what == "too_long":
        config["body"]["too_long"] = "truncate"
    elif what == "tokenizer":
        (Path(bench.base) / "added_tokens.json").write_text("{}", encoding="utf-8")
    elif what == "damage":
        path = folder / "train-00001.safetensors"
        content = bytearray(path.read_bytes())
        content[-1] ^= 1
        path.write_bytes(content)
    else:
        (folder / "train.json").unlink()
    run.create(config, {})
    never_again(monkeypatch)
    with pytest.raises(AssertionError, match="rendered again"):
        ready(run)
    (Path(bench.base) / "added_tokens.json").unlink(missing_ok=True)


def test_the_file_holds_numbers_alone_where_nobody_else_reads(bench: Bench) -> None:
    run = bench.prepare(rows(7), "one")
    ready(run)
    files = {path.name: path.read_bytes() for path in (run.folder / "tokens").iterdir()}
    assert sorted(files) == ["train-00001.safetensors", "train.json"]
    assert not any(word in content for content in files.values() for word in (b"patient", b"even", b"odd"))
    assert set(json.loads(files["train.json"])) == {"of", "files", "chats", "counted"}
    assert (run.folder / "tokens").stat().st_mode & 0o077 == 0


@pytest.mark.skipif(sys.platform != "linux", reason="needs /proc")
def test_rows_are_pages_of_the_file(bench: Bench) -> None:
    setup = ready(bench.prepare(rows(7), "one"))
    first, last = (setup.items[index].chats[0].ids_T for index in (0, -1))
    mapped = Path("/proc/self/maps").read_text(encoding="utf-8").splitlines()
    ours = [line.split()[0].split("-") for line in mapped if line.endswith("tokens/train-00001.safetensors")]
    for tensor in (first, last):
        assert any(int(begin, 16) <= tensor.data_ptr() < int(end, 16) for begin, end in ours)


def test_where_no_row_can_be_used_nothing_is_left(bench: Bench) -> None:
    run = bench.prepare(rows(3), "one", body={"max_length": 4})
    for _ in range(2):
        with pytest.raises(DataError, match="no row of the train split can be used"):
            ready(run)
    assert not list((run.folder / "tokens").iterdir())
