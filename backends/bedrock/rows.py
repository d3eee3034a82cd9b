"""Rows → Bedrock's training lines, or why a row cannot go there. Pure.

Nova and Llama 3.2 / 3.3 read Converse records, Llama 3.1 a prompt and a completion. What these formats
cannot say (tools, a turn kept out of the loss) refuses the row: nothing is dropped in silence.
"""

from __future__ import annotations

import re
from typing import Any

from backends.chats import NO_PLACE, PlainChats, split
from gateway.core.facts import ModelFacts
from gateway.core.rows import Converted, Refusal, Row

NOVA = "bedrock-converse-nova"
CONVERSE = "bedrock-converse"
PROMPT = "bedrock-prompt"
SCHEMA_VERSION = "bedrock-conversation-2024"

# A Nova job fails as a whole when any text of any row holds one of these.
_FORBIDDEN = re.compile(r"User:|Bot:|Assistant:|System:|<image>|<video>|\[EOS\]")

_CHATS = PlainChats(
    {
        **NO_PLACE,
        "preference_unsupported": ("preference pairs cannot be trained there", "use task: sft"),
        "tools_unsupported": (
            "tool definitions and calls cannot be trained there",
            "remove them, or choose openai",
        ),
        "multi_turn": ("a prompt and a completion hold one exchange", "split the chat into single exchanges"),
        "forbidden_marker": (
            "holds a marker (a speaker with a colon, <image>, <video>, [EOS]) that fails the whole job",
            "write it another way",
        ),
    }
)


def format_of(model: ModelFacts) -> str:
    """The format of that model's training file."""
    if model.family == "llama-3.1":
        return PROMPT
    return NOVA if model.family in ("nova", "nova-2") else CONVERSE


def nova_line(row: Row) -> Converted | Refusal:
    """A Converse record free of the markers that fail a Nova job."""
    for index, turn in enumerate(row.messages):
        if _FORBIDDEN.search(turn.content):
            return _CHATS.refuse(row, "forbidden_marker", f"messages[{index}].content")
    return converse_line(row)


def converse_line(row: Row) -> Converted | Refusal:
    """`schemaVersion`, `system` where there is one, and alternating `messages`."""
    if refusal := _CHATS.problem(row):
        return refusal
    system, turns = split(row)
    line: dict[str, Any] = {"schemaVersion": SCHEMA_VERSION}
    if system is not None:
        line["system"] = [{"text": system.content}]
    line["messages"] = [{"role": turn.role, "content": [{"text": turn.content}]} for turn in turns]
    return Converted(line)


def prompt_line(row: Row) -> Converted | Refusal:
    """`prompt` and `completion`; a system prompt leads the prompt, a blank line between."""
    if refusal := _CHATS.problem(row):
        return refusal
    system, turns = split(row)
    if len(turns) != 2:
        return _CHATS.refuse(row, "multi_turn", "messages")
    prompt = turns[0].content if system is None else f"{system.content}\n\n{turns[0].content}"
    return Converted({"prompt": prompt, "completion": turns[1].content})
