"""The preference example as a newcomer runs it: what the house would send wins more often than before."""

from __future__ import annotations

import json
import runpy
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from gateway.core.classes import DataClass
from gateway.core.spec import JobSpec
from tests.examples.test_main_job import tunegate

FOLDER = Path(__file__).parents[2] / "examples" / "preferences"


def _pairs() -> list[dict[str, Any]]:
    return [json.loads(line) for line in (FOLDER / "pairs.jsonl").read_text(encoding="utf-8").splitlines()]


def test_the_generator_makes_the_committed_file_again(tmp_path: Path) -> None:
    runpy.run_path(str(FOLDER / "make_data.py"))["write"](tmp_path / "pairs.jsonl")
    assert (tmp_path / "pairs.jsonl").read_bytes() == (FOLDER / "pairs.jsonl").read_bytes()


def test_the_job_learns_preferences_from_data_without_persons() -> None:
    spec = JobSpec.from_yaml(FOLDER / "job.yaml")
    assert spec.task == "dpo"
    assert spec.data.class_ is DataClass.INTERNAL


def test_what_is_wanted_cannot_be_told_from_the_reply_alone() -> None:
    """Every wanted reply is unwanted elsewhere about as often as any other, so its message must be read; and
    half of the pairs name the right queue twice."""
    pairs = _pairs()
    wanted = Counter(pair["chosen"] for pair in pairs)
    elsewhere = Counter(pair["rejected"] for pair in pairs if pair["rejected"] in wanted)
    assert len(wanted) == 8
    assert set(elsewhere) == set(wanted)
    assert max(elsewhere.values()) <= 3 * min(elsewhere.values())
    same_queue = [pair for pair in pairs if pair["chosen"].split(":")[0] == pair["rejected"].split(":")[0]]
    assert len(same_queue) * 2 == len(pairs)
    assert all(pair["chosen"] != pair["rejected"] for pair in pairs)


def test_messages_are_not_those_of_the_other_example() -> None:
    tickets = (FOLDER.parent / "support_tickets" / "tickets.jsonl").read_text(encoding="utf-8").splitlines()
    there = {turn["content"] for line in tickets for turn in json.loads(line)["messages"]}
    assert not there & {pair["prompt"][-1]["content"] for pair in _pairs()}


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_wanted_replies_win_more_often_than_with_the_base(tmp_path: Path) -> None:
    job = tunegate(tmp_path, "run", str(FOLDER / "job.yaml"))
    assert job["state"] == "succeeded"
    assert job["evaluation"]["conclusion"] == "better"
    for name in ("preference", "preference_per_token"):
        base, tuned, difference = (job["metrics"][which][name] for which in ("base", "tuned", "difference"))
        assert tuned["n"] >= 60
        assert tuned["value"] > base["value"]
        assert difference["low"] > 0, difference
