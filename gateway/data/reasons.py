"""Why a row is refused: every reason code, in words that hold no data, with what to change.

Codes are stable: reports, plans and other tools count by them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from gateway.core.rows import Refusal

MAX_LINE_BYTES = 16 * 1024 * 1024
MAX_DEPTH = 64


@dataclass(frozen=True, slots=True)
class Why:
    """The words for one reason code."""

    text: str
    fix: str


REASONS: Mapping[str, Why] = {
    "bad_json": Why("this line is not valid JSON", "write one JSON object per line"),
    "not_object": Why("this line is JSON, but not an object", "write one JSON object per line"),
    "bad_csv": Why(
        "this row does not have the header's columns, or a quote is not closed",
        "quote fields that hold commas, quotes or line breaks; double the quotes inside them",
    ),
    "bad_encoding": Why("this text is not valid UTF-8", "save the file as UTF-8"),
    "line_too_long": Why("this row is over 16 MiB", "shorten it, or split it into several rows"),
    "too_deep": Why(f"this row is nested more than {MAX_DEPTH} levels deep", "flatten it"),
    "nan": Why("a value is NaN or infinite", "fill in the missing value, or drop the row"),
    "bad_type": Why("this field has the wrong type", "see the formats in `tunegate data check --help`"),
    "missing_field": Why("this field is missing or null", "add it, or map another one in `data.columns`"),
    "missing_group": Why(
        "the row has no value for `data.group_by`, so it could straddle a split",
        "give every row one, or drop `group_by`",
    ),
    "unknown_role": Why(
        "this role is not known", "use system, developer, user, assistant or tool (human and gpt in ShareGPT)"
    ),
    "roles_order": Why(
        "the roles are not in order: an optional system turn, then user and assistant in turn, "
        "a tool's turn only after the assistant's call",
        "reorder or merge the turns",
    ),
    "no_assistant": Why("the chat does not end with the assistant's turn", "end it with the answer to learn"),
    "no_trained_turn": Why("every assistant turn has weight 0", "give one of them weight 1"),
    "empty_completion": Why("the answer to learn is empty", "fill it in, or drop the row"),
    "empty_prompt": Why("the user's side is empty", "fill it in, or drop the row"),
    "same_answers": Why("chosen and rejected are the same", "drop the row: it prefers nothing"),
    "bad_tools": Why(
        "tools or tool calls do not have the current chat shape, or a call and its answer do not match",
        "use `tools`, `tool_calls` with JSON arguments, and one tool turn with `tool_call_id` per call",
    ),
    "image_part": Why("a part is an image, audio or a file", "only text is trained on; drop the row"),
    "unsupported_field": Why(
        "a turn carries reasoning or a refusal beside its content", "fold it into the content, or remove it"
    ),
    "in_held_out": Why(
        "this training row duplicates, or shares its group with, a row of a held-out file",
        "nothing to do: it is left out of training",
    ),
}


class RowProblem(Exception):
    """Raised while a row is read; becomes its `Refusal`. `path` names fields, never values."""

    def __init__(self, code: str, path: str = "") -> None:
        super().__init__(code)
        self.code = code
        self.path = path


def refuse(code: str, *, line: int, file: int = 0, path: str = "") -> Refusal:
    """The refusal of one row, worded from the table above."""
    why = REASONS[code]
    return Refusal(line=line, code=code, path=path, text=why.text, fix=why.fix, file=file)
