"""Rows → Bedrock's training lines, or why a row cannot go there. Pure.

Nova and Llama 3.2 / 3.3 read Converse records, Llama 3.1 a prompt and a completion. What these formats
cannot say (tools, a turn kept out of the loss) refuses the row: nothing is dropped in silence.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from gateway.core.facts import ModelFacts
from gateway.core.rows import Converted, Message, Refusal, Row

NOVA = "bedrock-converse-nova"
CONVERSE = "bedrock-converse"
PROMPT = "bedrock-prompt"
SCHEMA_VERSION = "bedrock-conversation-2024"

# A Nova job fails as a whole when any text of any row holds one of these.
_FORBIDDEN = re.compile(r"User:|Bot:|Assistant:|System:|<image>|<video>|\[EOS\]")

_REFUSALS: Mapping[str, tuple[str, str]] = {
    "preference_unsupported": ("preference pairs cannot be trained there", "use task: sft"),
    "tools_unsupported": (
        "tool definitions and calls cannot be trained there",
        "remove them, or choose openai",
    ),
    "weight_unsupported": ("a turn kept out of the loss would be trained there", "remove weight: 0"),
    "name_unsupported": ("a speaker's name has no place there", "move it into the text, or remove it"),
    "empty_turn": ("a turn has no text", "fill or remove it"),
    "roles_order": ("turns there alternate, from the user to the assistant", "merge or drop turns"),
    "many_systems": ("one system prompt, at the start, is all there is room for", "merge them"),
    "multi_turn": ("a prompt and a completion hold one exchange", "split the chat into single exchanges"),
    "forbidden_marker": (
        "holds a marker (a speaker with a colon, <image>, <video>, [EOS]) that fails the whole job",
        "write it another way",
    ),
}


def format_of(model: ModelFacts) -> str:
    """The format of that model's training file."""
    if model.family == "llama-3.1":
        return PROMPT
    return NOVA if model.family in ("nova", "nova-2") else CONVERSE


def nova_line(row: Row) -> Converted | Refusal:
    """A Converse record free of the markers that fail a Nova job."""
    for index, turn in enumerate(row.messages):
        if _FORBIDDEN.search(turn.content):
            return _refuse(row, "forbidden_marker", f"messages[{index}].content")
    return converse_line(row)


def converse_line(row: Row) -> Converted | Refusal:
    """`schemaVersion`, `system` where there is one, and alternating `messages`."""
    if refusal := _not_plain(row):
        return refusal
    system, turns = _split(row)
    line: dict[str, Any] = {"schemaVersion": SCHEMA_VERSION}
    if system is not None:
        line["system"] = [{"text": system.content}]
    line["messages"] = [{"role": turn.role, "content": [{"text": turn.content}]} for turn in turns]
    return Converted(line)


def prompt_line(row: Row) -> Converted | Refusal:
    """`prompt` and `completion`; a system prompt leads the prompt, a blank line between."""
    if refusal := _not_plain(row):
        return refusal
    system, turns = _split(row)
    if len(turns) != 2:
        return _refuse(row, "multi_turn", "messages")
    prompt = turns[0].content if system is None else f"{system.content}\n\n{turns[0].content}"
    return Converted({"prompt": prompt, "completion": turns[1].content})


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
    turns = _split(row)[1]
    roles = [turn.role for turn in turns]
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
