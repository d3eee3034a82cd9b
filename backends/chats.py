"""What formats share that hold a plain chat alone: alternating turns, after one system prompt at most."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from gateway.core.rows import Message, Refusal, Row

Reasons = Mapping[str, tuple[str, str]]  # code → why, and what to do

NO_PLACE: Reasons = {
    "weight_unsupported": ("a turn kept out of the loss would be trained there", "remove weight: 0"),
    "name_unsupported": ("a speaker's name has no place there", "move it into the text, or remove it"),
    "empty_turn": ("a turn has no text", "fill or remove it"),
    "roles_order": ("turns there alternate, from the user to the assistant", "merge or drop turns"),
    "many_systems": ("one system prompt, at the start, is all there is room for", "merge them"),
}


def split(row: Row) -> tuple[Message | None, tuple[Message, ...]]:
    """The system prompt at the start, if any, and the turns after it."""
    if row.messages and row.messages[0].role == "system":
        return row.messages[0], row.messages[1:]
    return None, row.messages


@dataclass(frozen=True, slots=True)
class PlainChats:
    """Holds rows to a plain chat, so that what the format cannot say refuses the row: nothing is dropped.

    Attributes:
        reasons: in a provider's own terms; `preference_unsupported`, `tools_unsupported` and those of
            `NO_PLACE` at least.
    """

    reasons: Reasons

    def problem(self, row: Row) -> Refusal | None:
        """Why this row is no plain chat; None when it is."""
        if row.is_preference:
            return self.refuse(row, "preference_unsupported", "chosen")
        if row.tools:
            return self.refuse(row, "tools_unsupported", "tools")
        for index, turn in enumerate(row.messages):
            if code := _turn_problem(index, turn):
                return self.refuse(row, code, f"messages[{index}]")
        roles = [turn.role for turn in split(row)[1]]
        if not roles or roles != ["user", "assistant"] * (len(roles) // 2):
            return self.refuse(row, "roles_order", "messages")
        return None

    def refuse(self, row: Row, code: str, path: str) -> Refusal:
        text, fix = self.reasons[code]
        return Refusal(row.line, code, path, text, fix, row.file)


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
