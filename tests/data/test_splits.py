"""Splits: stable when rows are added, never through a group, a copy or a near-copy."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gateway.core.errors import DataError
from gateway.core.rows import Row, Split
from gateway.data import SplitAssignment, assign_splits, rows_of
from tests.data.make import chat, chats, jsonl, opened, sentence

QUICK = settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def split(folder: Path, **more: Any) -> tuple[SplitAssignment, dict[str, Split | None]]:
    """The assignment, and the split of each prompt (prompts are unique in these tests, or agree)."""
    dataset = opened(folder, **more)
    assignment = assign_splits(dataset, dataset.data)
    sides: dict[str, Split | None] = {}
    for record in dataset.records():
        if isinstance(record.outcome, Row):
            prompt = record.outcome.messages[0].content
            side = assignment.of(record)
            assert sides.setdefault(prompt, side) == side, "copies on two sides"
    return assignment, sides


def edited(text: str, at: int) -> str:
    words = text.split()
    words[at % len(words)] = "changed"
    return " ".join(words)


def test_fractions_are_met_and_add_up(tmp_path: Path) -> None:
    jsonl(tmp_path / "rows.jsonl", chats(range(3000)))
    assignment, _ = split(tmp_path, validation=0.1, test=0.2)
    assert sum(assignment.rows.values()) == 3000
    assert assignment.rows["validation"] / 3000 == pytest.approx(0.1, abs=0.03)
    assert assignment.rows["test"] / 3000 == pytest.approx(0.2, abs=0.03)


def test_the_same_data_splits_alike_whatever_its_order_and_its_file(tmp_path: Path) -> None:
    made = chats(range(300))
    jsonl(tmp_path / "rows.jsonl", made)
    first = split(tmp_path, test=0.2)[1]
    jsonl(tmp_path / "rows.jsonl", made[:150])
    jsonl(tmp_path / "more.jsonl", made[:149:-1])
    assert split(tmp_path, train=["more.jsonl", "rows.jsonl"], test=0.2)[1] == first


@QUICK
@given(
    old=st.sets(st.integers(0, 5000), min_size=60, max_size=120),
    new=st.sets(st.integers(5001, 9999), max_size=60),
    front=st.booleans(),
)
def test_adding_rows_moves_no_other_row(tmp_path: Path, old: set[int], new: set[int], front: bool) -> None:
    before, added = chats(sorted(old)), chats(sorted(new))
    jsonl(tmp_path / "rows.jsonl", before)
    first = split(tmp_path, test=0.3)[1]
    copies = before[::7]
    jsonl(tmp_path / "rows.jsonl", added + before + copies if front else before + copies + added)
    second = split(tmp_path, test=0.3)[1]
    assert {prompt: second[prompt] for prompt in first} == first


@QUICK
@given(groups=st.lists(st.integers(0, 30), min_size=80, max_size=150))
def test_a_group_has_one_side_and_keeps_it_when_it_grows(tmp_path: Path, groups: list[int]) -> None:
    made = [
        {**row, "who": {"id": f"p{group}"}} for row, group in zip(chats(range(200)), groups, strict=False)
    ]

    def sides() -> dict[str, Split | None]:
        dataset = opened(tmp_path, test=0.3, group_by="who.id")
        assignment = assign_splits(dataset, dataset.data)
        found: dict[str, Split | None] = {}
        for record in dataset.records():
            assert isinstance(record.outcome, Row)
            assert record.outcome.group
            side = assignment.of(record)
            assert found.setdefault(record.outcome.group, side) == side
        return found

    jsonl(tmp_path / "rows.jsonl", made[:-10])
    try:
        first = sides()
        jsonl(tmp_path / "rows.jsonl", made)
        second = sides()
    except DataError:
        return  # a few groups may all fall on one side: said, never guessed
    assert {group: second[group] for group in first} == first


@QUICK
@given(
    seeds=st.sets(st.integers(0, 9999), min_size=40, max_size=80),
    edits=st.lists(st.integers(0, 79), min_size=1, max_size=5),
)
def test_near_copies_have_one_side(tmp_path: Path, seeds: set[int], edits: list[int]) -> None:
    made, copies = list[dict[str, Any]](), list[tuple[str, str]]()
    for nth, seed in enumerate(sorted(seeds)):
        text = sentence(seed, 80)
        made.append(chat(text, "Noted."))
        if nth % 4 == 0:
            copy = edited(text.upper(), edits[nth % len(edits)]) + "\n"
            made.append(chat(copy, "Noted."))
            copies.append((text, copy))
    jsonl(tmp_path / "rows.jsonl", made)
    _, sides = split(tmp_path, test=0.4)
    assert all(sides[text] == sides[copy] for text, copy in copies)


def test_rows_that_only_share_an_instruction_are_not_copies(tmp_path: Path) -> None:
    order = "Classify this ticket. " + sentence(123_456, 150)
    jsonl(tmp_path / "rows.jsonl", [chat(f"{order} {sentence(n, 20)}", "billing") for n in range(200)])
    assignment, _ = split(tmp_path, test=0.2)
    assert 20 < assignment.rows["test"] < 60


def test_scripts_without_spaces_have_near_copies_too(tmp_path: Path) -> None:
    def text(seed: int) -> str:
        return "".join(chr(0x4E00 + (seed * 7919 + n * n * 31 + n * seed) % 3000) for n in range(120))

    made: list[dict[str, Any]] = []
    for n in range(60):
        made += [chat(text(n), "好"), chat(text(n)[:-1] + "了", "好")]
    jsonl(tmp_path / "rows.jsonl", made)
    _, sides = split(tmp_path, test=0.4)
    assert all(sides[text(n)] == sides[text(n)[:-1] + "了"] for n in range(60))
    assert len(set(sides.values())) == 2


def test_held_out_files_keep_their_rows_and_push_copies_out_of_training(tmp_path: Path) -> None:
    made = chats(range(50))
    long = sentence(777, 80)
    jsonl(tmp_path / "rows.jsonl", [*made, chat(edited(long, 40), "x")])
    jsonl(tmp_path / "test.jsonl", [made[3], chat(long, "x"), *chats(range(100, 105))])
    assignment, _ = split_by_file(tmp_path, train="*.jsonl", test="test.jsonl")
    assert assignment.rows == {"train": 49, "test": 7}
    assert assignment.excluded == 2


def split_by_file(folder: Path, **more: Any) -> tuple[SplitAssignment, list[tuple[int, Split | None]]]:
    dataset = opened(folder, **more)
    assignment = assign_splits(dataset, dataset.data)
    return assignment, [(record.file, assignment.of(record)) for record in dataset.records()]


def test_a_group_of_a_held_out_file_is_not_trained_on(tmp_path: Path) -> None:
    jsonl(tmp_path / "rows.jsonl", [{**row, "p": n % 10} for n, row in enumerate(chats(range(40)))])
    jsonl(tmp_path / "test.jsonl", [{**row, "p": 3} for row in chats(range(100, 103))])
    assignment, where = split_by_file(tmp_path, test="test.jsonl", validation=0.3, group_by="p")
    assert assignment.excluded == 4
    assert [side for file, side in where if file == 1] == ["test"] * 3
    assert all(side == (None if n % 10 == 3 else side) for n, (_, side) in enumerate(where[:40]))
    assert assignment.rows["validation"]


def test_a_row_without_its_group_is_refused(tmp_path: Path) -> None:
    good = {**chat(), "p": 1}
    jsonl(tmp_path / "rows.jsonl", [good, chat(), {**chat(), "p": " "}, {**chat(), "p": None}])
    dataset = opened(tmp_path, group_by="p")
    refused = [(r.line, getattr(r.outcome, "code", None)) for r in dataset.records()]
    assert refused == [(1, None), (2, "missing_group"), (3, "missing_group"), (4, "missing_group")]


def test_a_split_that_would_be_empty_says_how_many_rows_it_needs(tmp_path: Path) -> None:
    jsonl(tmp_path / "rows.jsonl", chats(range(2)))
    with pytest.raises(DataError, match="test gets none of the 2 usable rows") as caught:
        split(tmp_path, test=0.01)
    assert caught.value.place == "data.test"
    assert "at least 459 rows" in str(caught.value.fix)


def test_copies_alone_leave_nothing_to_train_on_or_to_hold_out(tmp_path: Path) -> None:
    jsonl(tmp_path / "rows.jsonl", [chat()] * 30)
    with pytest.raises(DataError, match=r"gets none|no row is left"):
        split(tmp_path, test=0.5)


def test_fractions_that_leave_nothing_are_refused(tmp_path: Path) -> None:
    jsonl(tmp_path / "rows.jsonl", chats(range(20)))
    with pytest.raises(DataError, match="nothing to train on"):
        split(tmp_path, test=0.6, validation=0.4)


def test_one_file_cannot_be_both_held_out_parts_nor_all_there_is(tmp_path: Path) -> None:
    jsonl(tmp_path / "rows.jsonl", chats(range(20)))
    jsonl(tmp_path / "test.jsonl", chats(range(20, 30)))
    with pytest.raises(DataError, match="the same file"):
        opened(tmp_path, test="test.jsonl", validation="test.jsonl")
    with pytest.raises(DataError, match="every training file"):
        opened(tmp_path, test="rows.jsonl")


def test_the_salt_decides_who_is_where(tmp_path: Path) -> None:
    jsonl(tmp_path / "rows.jsonl", [{**row, "p": n} for n, row in enumerate(chats(range(200)))])
    dataset = opened(tmp_path, test=0.5, group_by="p")
    one, two, again = (assign_splits(dataset, dataset.data, salt=salt).codes for salt in (b"a", b"b", b"a"))
    assert one == again
    assert one != two


def test_rows_of_a_split_stream_in_order(tmp_path: Path) -> None:
    jsonl(tmp_path / "rows.jsonl", chats(range(100)))
    dataset = opened(tmp_path, test=0.3)
    assignment = assign_splits(dataset, dataset.data)
    lines = {side: [row.line for row in rows_of(dataset, assignment, side)] for side in assignment.rows}
    assert {side: len(found) for side, found in lines.items()} == assignment.rows
    assert sorted(line for found in lines.values() for line in found) == list(range(1, 101))
    assert all(found == sorted(found) for found in lines.values())


ANOTHER_PROCESS = """
import sys
import os
import subprocess
import sys
from pathlib import Path
from tests.data.make import opened
from gateway.data import assign_splits
dataset = opened(Path(sys.argv[1]), test=0.3)
print(assign_splits(dataset, dataset.data).codes.hex())
"""


def test_every_process_splits_alike(tmp_path: Path) -> None:
    near = [chat(edited(sentence(n, 40), n), "x") for n in range(60)]
    jsonl(tmp_path / "rows.jsonl", [*(chat(sentence(n, 40), "x") for n in range(60)), *near])
    dataset = opened(tmp_path, test=0.3)
    here = assign_splits(dataset, dataset.data).codes.hex()
    there = subprocess.run(
        [sys.executable, "-c", ANOTHER_PROCESS, str(tmp_path)],
        capture_output=True,
        text=True,
        check=True,
        cwd=Path(__file__).parents[2],
        env={**os.environ, "PYTHONHASHSEED": "12345"},
    )
    assert there.stdout.strip() == here
