"""Rows → Vertex's training lines, or why a row cannot go there. Pure.

Gemini reads `contents` with the roles user and model, open models read `messages`. Whether either may
hold tool calls is not documented, so such rows are refused; nothing is dropped in silence.
"""

from __future__ import annotations

from typing import Any

from backends.chats import NO_PLACE, PlainChats, split
from gateway.core.facts import ModelFacts
from gateway.core.rows import Converted, Refusal, Row

CONTENTS = "vertex-contents"
MESSAGES = "vertex-messages"

_CHATS = PlainChats(
    {
        **NO_PLACE,
        "preference_unsupported": ("no model there is confirmed for preference tuning", "use task: sft"),
        "tools_unsupported": (
            "tool calls in training rows are not documented there",
            "remove them, or choose openai",
        ),
    }
)


def format_of(model: ModelFacts) -> str:
    """The format of that model's training file."""
    return MESSAGES if model.family == "open" else CONTENTS


def contents_line(row: Row) -> Converted | Refusal:
    """`systemInstruction` where there is a system prompt, and `contents`."""
    if refusal := _CHATS.problem(row):
        return refusal
    system, turns = split(row)
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
    if refusal := _CHATS.problem(row):
        return refusal
    return Converted({"messages": [{"role": turn.role, "content": turn.content} for turn in row.messages]})
