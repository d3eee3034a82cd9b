"""Small datasets for the tests of this room."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any, cast

import orjson

from gateway.core.rows import Refusal, Row
from gateway.core.spec import Data
from gateway.data import Dataset, open_dataset

WORDS = [
    *("river", "stone", "lantern", "harbour", "copper", "window", "meadow", "ladder", "signal", "orchard"),
    *("velvet", "thunder", "paper", "bridge", "garden", "silver", "marble", "engine", "coffee", "forest"),
    *("pillow", "rocket", "saddle", "timber", "violin", "walnut", "anchor", "basket", "candle", "desert"),
]


def chat(prompt: str = "Hello there", answer: str = "Good day", **more: Any) -> dict[str, Any]:
    return {
        "messages": [{"role": "user", "content": prompt}, {"role": "assistant", "content": answer}],
        **more,
    }


def sentence(seed: int, words: int = 24) -> str:
    """A sentence of its own for every seed; two of them share next to no run of five words."""
    state: int = seed * 2_654_435_761 + 97
    picked: list[str] = []
    for _ in range(words):
        state = (state * 6_364_136_223_846_793_005 + 1_442_695_040_888_963_407) % 2**64
        picked.append(WORDS[(state >> 33) % len(WORDS)])
    return " ".join(picked)


def chats(seeds: Iterable[int]) -> list[dict[str, Any]]:
    return [chat(sentence(seed), sentence(seed + 1_000_003, 6)) for seed in seeds]


def jsonl(path: Path, rows: Iterable[Any]) -> Path:
    path.write_bytes(b"".join(orjson.dumps(row) + b"\n" for row in rows))
    return path


def spec_data(train: str = "rows.jsonl", **more: Any) -> Data:
    return Data.model_validate({"train": train, **more})


def opened(folder: Path, task: str = "sft", **more: Any) -> Dataset:
    return open_dataset(spec_data(**more), folder, task=task)


def outcomes(dataset: Dataset) -> list[Row | Refusal]:
    return [record.outcome for record in dataset.records()]


def codes(dataset: Dataset) -> list[tuple[int, str, str]]:
    """(line, reason code, path) of every refused row."""
    return [(row.line, row.code, row.path) for row in outcomes(dataset) if isinstance(row, Refusal)]


def rows(dataset: Dataset) -> list[Row]:
    return [row for row in outcomes(dataset) if isinstance(row, Row)]


def names(folder: Path) -> list[str]:
    """What lies in a folder, sorted."""
    return sorted(path.name for path in folder.iterdir())


def parquet(path: Path, columns: dict[str, list[Any]]) -> None:
    from pyarrow import Table  # pyright: ignore[reportUnknownVariableType]
    from pyarrow.parquet import write_table  # pyright: ignore[reportUnknownVariableType]

    cast("Any", write_table)(cast("Any", Table).from_pydict(columns), path)
