"""What Bedrock checks in a data file, and what a rehearsed model remembers of it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from backends.bedrock import rows as formats
from gateway.core.facts import ModelFacts

MOST_KEPT = 2_000


def learn(data: bytes, model: ModelFacts) -> list[tuple[str, str]]:
    """(prompt, completion) of every row, at most the first 2,000 of them.

    Raises:
        ValueError: the file is not what this model is trained on. As a vendor's would, its text quotes
            the row.
    """
    read = _prompt if formats.format_of(model) == formats.PROMPT else _converse
    pairs: list[tuple[str, str]] = []
    lines = [line for line in data.decode().splitlines() if line.strip()]
    for number, line in enumerate(lines, start=1):
        try:
            pairs.append(read(json.loads(line)))
        except (ValueError, KeyError, TypeError, IndexError):
            raise ValueError(f"line {number} does not have the expected format: {line[:80]}") from None
    if not model.min_rows <= len(pairs) <= (model.max_rows or len(pairs)):
        raise ValueError(f"{len(pairs)} records; {model.min_rows} to {model.max_rows} are allowed")
    return pairs[:MOST_KEPT]


def _prompt(row: Mapping[str, Any]) -> tuple[str, str]:
    if set(row) != {"prompt", "completion"}:
        raise ValueError
    return str(row["prompt"]), str(row["completion"])


def _converse(row: Mapping[str, Any]) -> tuple[str, str]:
    known = set(row) <= {"schemaVersion", "system", "messages"}
    if row["schemaVersion"] != formats.SCHEMA_VERSION or not known:
        raise ValueError
    roles = [turn["role"] for turn in row["messages"]]
    if not roles or roles != ["user", "assistant"] * (len(roles) // 2):
        raise ValueError
    texts = ["".join(part["text"] for part in turn["content"]) for turn in row["messages"]]
    if not all(text.strip() for text in texts):
        raise ValueError
    return texts[-2], texts[-1]
