"""Training files as the sandbox reads them: rows for its answers, and what Google would say of them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

BYTES_PER_TOKEN = 4
_MOST_TOKENS = {"contents": 131_072, "messages": 8_192}


@dataclass(slots=True)
class Read:
    """What was in a file. `broken` is Google's message about a line that is none, which quotes it."""

    rows: list[tuple[str, str]] = field(default_factory=list[tuple[str, str]])
    examples: list[Mapping[str, Any]] = field(default_factory=list[Mapping[str, Any]])
    dropped: list[tuple[int, str]] = field(default_factory=list[tuple[int, str]])
    tokens: int = 0
    broken: str | None = None


def read(content: bytes, kind: str) -> Read:
    """Read a file of `contents` or `messages` lines. A line that is no JSON, or has not this shape, ends
    the job; a row that is too long is left out, and told of."""
    found = Read()
    for number, line in enumerate(content.decode("utf-8", "replace").rstrip("\n").split("\n"), start=1):
        try:
            turns = _turns(json.loads(line), kind)
        except (ValueError, TypeError, LookupError, AttributeError):
            found.broken = f"Dataset format error: line {number} is not supported: {line[:200]}"
            return found
        tokens = sum(len(text) for _, text in turns) // BYTES_PER_TOKEN + 1
        if tokens > _MOST_TOKENS[kind]:
            found.dropped.append((number, f"The example has too many tokens: {line[:80]}"))
            continue
        found.tokens += tokens
        found.rows.append((" ".join(text for _, text in turns[:-1]), turns[-1][1]))
        found.examples.append({"role": "user", "parts": [{"text": turns[0][1]}]})
    if not found.rows:
        found.broken = "Dataset format error: no example can be used."
    return found


def _turns(line: Mapping[str, Any], kind: str) -> Sequence[tuple[str, str]]:
    """Role and text of every turn; they end with the model's.

    Raises:
        ValueError, TypeError, LookupError, AttributeError: the line is not of this shape.
    """
    if kind == "messages":
        turns = [(turn["role"], turn["content"]) for turn in line["messages"]]
        last = "assistant"
    else:
        system: Mapping[str, Any] | None = line.get("systemInstruction")
        turns = [("system", text_of(system))] if system else []
        turns += [(turn["role"], text_of(turn)) for turn in line["contents"]]
        last = "model"
    roles = [role for role, _ in turns if role != "system"]
    if roles != ["user", last] * (len(roles) // 2) or not roles:
        raise ValueError("roles")
    return turns


def text_of(content: Mapping[str, Any]) -> str:
    """The text of Google's `Content`."""
    return "".join(part["text"] for part in content["parts"] if "text" in part)
