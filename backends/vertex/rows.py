"""Rows → Vertex's training lines, or why a row cannot go there. Pure.

Gemini reads `contents` with the roles user and model, open models read `messages`. Whether either may
hold tool calls is not documented, so such rows are refused; nothing is dropped in silence.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from gateway.core.facts import ModelFacts
from gateway.core.rows import Converted, Message, Refusal, Row

CONTENTS = "vertex-contents"
MESSAGES = "vertex-messages"

_REFUSALS: Mapping[str, tuple[str, str]] = {
    "preference_unsupported": ("no model there is confirmed for preference tuning", "use task: sft"),
    "tools_unsupported": (
        "tool calls in training rows are not documented there",
        "remove them, or choose openai",
    ),
    "weight_unsupported": ("a turn kept out of the loss would be trained there", "remove weight: 0"),
    "name_unsupported": ("a speaker's name has no place there", "move it into the text, or remove it"),
    "empty_turn": ("a turn has no text", "fill or remove it"),
    "roles_order": ("turns there alternate, from the user to the assistant", "merge or drop turns"),
    "many_systems": ("one system prompt, at the start, is all there is room for", "merge them"),
}


def format_of(model: ModelFacts) -> str:
    """The format of that model's training file."""
    return MESSAGES if model.family == "open" else CONTENTS


def contents_line(row: Row) -> Converted | Refusal:
    """`systemInstruction` where there is a system prompt, and `contents`."""
    if refusal := _not_plain(row):
        return refusal
    system, turns = _split(row)
    line: dict[str, Any] = {}
    if system is not None:
        line["systemInstruction"] = {"parts": [{"text": system.content}]}
    line["contents"] = [
        {"role": "user" if turn.role == "user" else "model", "parts": [{"text": turn.content}]}
        for turn in turns
    ]
    return Converted(line)


def messages_line(row: Row) -> Converted | Refusal:
    """`messages` with the roles system, user and assistant."""
    if refusal := _not_plain(row):
        return refusal
    return Converted({"messages": [{"role": turn.role, "content": turn.content} for turn in row.messages]})


def _split(row: Row) -> tuple[Message | None, tuple[Message, ...]]:
    """The system prompt at the start, if any, and the turns after it."""
    if row.messages and row.messages[0].role == "system":
        return row.messages[0], row.messages[1:]
    return None, row.messages


def _not_plain(row: Row) -> Refusal | None:
    """Why this row is no plain chat of alternating text turns; None when it is."""
    if row.is_preference:
        return _refuse(row, "preference_unsupported", "chosen")
    if row.tools:
        return _refuse(row, "tools_unsupported", "tools")
    for index, turn in enumerate(row.messages):
        if code := _turn_problem(index, turn):
            return _refuse(row, code, f"messages[{index}]")
    roles = [turn.role for turn in _split(row)[1]]
    if not roles or roles != ["user", "assistant"] * (len(roles) // 2):
        return _refuse(row, "roles_order", "messages")
    return None


def _turn_problem(index: int, turn: Message) -> str | None:
    if turn.tool_calls or turn.role == "tool":
        return "tools_unsupported"
    if turn.weight == 0:
        return "weight_unsupported"
    if turn.name is not None:
        return "name_unsupported"
    if not turn.content.strip():
        return "empty_turn"
    return "many_systems" if turn.role == "system" and index > 0 else None


def _refuse(row: Row, code: str, path: str) -> Refusal:
    text, fix = _REFUSALS[code]
    return Refusal(row.line, code, path, text, fix, row.file)
