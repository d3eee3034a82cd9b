"""What the sandbox makes of an uploaded file: refuses it as the service would, and reads it to answer by."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

FEWEST_ROWS = 10
_ROLES = frozenset({"system", "developer", "user", "assistant", "tool"})

Line = Mapping[str, Any]


def not_jsonl(content: bytes) -> int | None:
    """The first line (1-based) that is no JSON object; None when all are. Azure's byte order mark is no
    part of a line."""
    for number, line in enumerate(content.removeprefix(b"\xef\xbb\xbf").splitlines(), 1):
        try:
            if line.strip() and not isinstance(json.loads(line), dict):
                return number
        except ValueError:
            return number
    return None


def invalid(path: Path, method: str) -> str | None:
    """What is wrong with a training file, in a sentence that quotes the row it stumbled over, as real
    services do; None when nothing is."""
    count = 0
    for number, line in enumerate(_lines(path), 1):
        count = number
        good = _is_pair(line) if method == "dpo" else _is_chat(line.get("messages"), answered=True)
        if not good:
            return f"Line {number} is not an example: {json.dumps(line)[:200]}"
    if count < FEWEST_ROWS:
        return f"The file has {count} examples, and at least {FEWEST_ROWS} are needed"
    return None


@lru_cache(maxsize=64)
def answers(path: Path, method: str) -> tuple[tuple[str, str], ...]:
    """(prompt, completion) of every row. An uploaded file never changes, so it is read once."""
    found: list[tuple[str, str]] = []
    for line in _lines(path):
        if method == "dpo":
            prompt, answer = line["input"]["messages"], line["preferred_output"][-1]
        else:
            last = max(i for i, turn in enumerate(line["messages"]) if turn["role"] == "assistant")
            prompt, answer = line["messages"][:last], line["messages"][last]
        found.append((words_of(prompt), answer.get("content") or ""))
    return tuple(found)


@lru_cache(maxsize=64)
def tokens(path: Path, method: str) -> int:
    """About as many tokens as the rows have: the services' own rule of thumb for English."""
    total = 0
    for line in _lines(path):
        parts = ("preferred_output", "non_preferred_output") if method == "dpo" else ()
        prompt = line["input"]["messages"] if method == "dpo" else line["messages"]
        for turn in (*prompt, *(turn for part in parts for turn in line[part])):
            total += 4 + len(turn.get("content") or "") // 4
    return total


def words_of(turns: Sequence[Mapping[str, Any]]) -> str:
    return "\n".join(text for turn in turns if isinstance(text := turn.get("content"), str))


def _lines(path: Path) -> Iterator[Line]:
    for line in path.read_bytes().removeprefix(b"\xef\xbb\xbf").splitlines():
        if line.strip():
            yield json.loads(line)


def _is_chat(turns: Any, *, answered: bool) -> bool:
    if not isinstance(turns, list) or not turns:
        return False
    roles: list[object] = [turn.get("role") if isinstance(turn, dict) else None for turn in turns]  # pyright: ignore[reportUnknownVariableType, reportUnknownMemberType]
    return _ROLES.issuperset(roles) and ("assistant" in roles or not answered)


def _is_pair(line: Line) -> bool:
    asked: Any = line.get("input")
    return (
        isinstance(asked, dict)
        and _is_chat(asked.get("messages"), answered=False)  # pyright: ignore[reportUnknownMemberType]
        and _is_chat(line.get("preferred_output"), answered=True)
        and _is_chat(line.get("non_preferred_output"), answered=True)
    )
