"""Every shape people write rows in becomes the same canonical row, or a refusal that says why."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from gateway.core.rows import Message, Refusal
from gateway.data import REASONS
from tests.data.make import chat, codes, jsonl, opened, outcomes, rows

CALL = {"id": "c1", "type": "function", "function": {"name": "look_up", "arguments": '{"id": 7}'}}
TOOL = {"type": "function", "function": {"name": "look_up", "parameters": {"type": "object"}}}
USER = {"role": "user", "content": "What is it?"}
ANSWER = {"role": "assistant", "content": "It is this."}


def one(folder: Path, row: object, **more: Any) -> Any:
    """What a dataset of this single row gives: a row or a refusal."""
    task = more.pop("task", "sft")
    jsonl(folder / "rows.jsonl", [row])
    return outcomes(opened(folder, task=task, **more))[0]


def test_a_chat_keeps_its_turns_tools_calls_and_weights(tmp_path: Path) -> None:
    messages = [
        {"role": "developer", "content": "Be brief."},
        USER,
        {"role": "assistant", "content": None, "tool_calls": [CALL], "weight": 0},
        {"role": "tool", "tool_call_id": "c1", "content": "42"},
        ANSWER,
    ]
    row = one(tmp_path, {"messages": messages, "tools": [TOOL]})
    assert [turn.role for turn in row.messages] == ["system", "user", "assistant", "tool", "assistant"]
    assert row.messages[2].tool_calls[0].arguments == '{"id": 7}'
    assert (row.messages[2].weight, row.messages[4].weight) == (0, None)
    assert row.messages[3].tool_call_id == "c1"
    assert row.tools == (TOOL,)


def test_a_chat_may_end_with_the_call_it_teaches(tmp_path: Path) -> None:
    row = one(tmp_path, {"messages": [USER, {"role": "assistant", "tool_calls": [CALL]}], "tools": [TOOL]})
    assert row.messages[-1].tool_calls[0].name == "look_up"


def test_calls_without_ids_and_with_object_arguments_are_made_whole(tmp_path: Path) -> None:
    call = {"function": {"name": "look_up", "arguments": {"id": 7}}}
    turns = [USER, {"role": "assistant", "tool_calls": [call]}, {"role": "tool", "content": "x"}, ANSWER]
    row = one(tmp_path, {"messages": turns})
    made = row.messages[1].tool_calls[0]
    assert json.loads(made.arguments) == {"id": 7}
    assert made.id
    assert row.messages[2].tool_call_id == made.id


def test_text_parts_are_joined(tmp_path: Path) -> None:
    parts = [{"type": "text", "text": "What "}, {"type": "text", "text": "is it?"}]
    assert one(tmp_path, {"messages": [{"role": "user", "content": parts}, ANSWER]}).messages[0].content == (
        "What is it?"
    )


def test_the_specs_system_prompt_stands_in_only_where_a_row_has_none(tmp_path: Path) -> None:
    own = {"messages": [{"role": "system", "content": "Mine."}, USER, ANSWER]}
    empty = {"messages": [{"role": "system", "content": " "}, USER, ANSWER]}
    jsonl(tmp_path / "rows.jsonl", [own, chat(), empty])
    found = rows(opened(tmp_path, system="Yours."))
    assert [row.messages[0].content for row in found] == ["Mine.", "Yours.", "Yours."]
    assert [len(row.messages) for row in found] == [3, 3, 3]


def test_alpaca_with_input_history_and_system(tmp_path: Path) -> None:
    row = one(
        tmp_path,
        {"instruction": "Translate", "input": "oui", "output": "yes", "history": [["a", "b"]], "system": "S"},
    )
    assert row.messages == (
        Message("system", "S"),
        Message("user", "a"),
        Message("assistant", "b"),
        Message("user", "Translate\n\noui"),
        Message("assistant", "yes"),
    )


def test_sharegpt_with_tools(tmp_path: Path) -> None:
    row = one(
        tmp_path,
        {
            "conversations": [
                {"from": "human", "value": "Weather?"},
                {"from": "function_call", "value": '{"name": "weather", "arguments": {"city": "Ulm"}}'},
                {"from": "observation", "value": "rain"},
                {"from": "gpt", "value": "It rains."},
            ],
            "system": "S",
            "tools": '[{"name": "weather", "parameters": {}}]',
        },
    )
    assert [turn.role for turn in row.messages] == ["system", "user", "assistant", "tool", "assistant"]
    assert row.messages[2].tool_calls[0].name == "weather"
    assert row.tools[0]["function"]["name"] == "weather"


PROMPT = [USER]
PAIRS: list[dict[str, Any]] = [
    {"prompt": "What is it?", "chosen": "It is this.", "rejected": "No."},
    {"prompt": PROMPT, "chosen": [ANSWER], "rejected": [{"role": "assistant", "content": "No."}]},
    {"chosen": [*PROMPT, ANSWER], "rejected": [*PROMPT, {"role": "assistant", "content": "No."}]},
    {
        "input": {"messages": PROMPT},
        "preferred_output": [ANSWER],
        "non_preferred_output": [{"role": "assistant", "content": "No."}],
    },
    {"instruction": "What is it?", "input": "", "chosen": "It is this.", "rejected": "No."},
    {
        "conversations": [{"from": "human", "value": "What is it?"}],
        "chosen": {"from": "gpt", "value": "It is this."},
        "rejected": {"from": "gpt", "value": "No."},
    },
]


@pytest.mark.parametrize("pair", PAIRS)
def test_every_shape_of_preference_pair_gives_the_same_row(tmp_path: Path, pair: dict[str, Any]) -> None:
    row = one(tmp_path, pair, task="dpo")
    assert row.messages == (Message("user", "What is it?"),)
    assert row.chosen == (Message("assistant", "It is this."),)
    assert row.rejected == (Message("assistant", "No."),)


def test_columns_map_any_names_and_numbers_are_written_out(tmp_path: Path) -> None:
    row = one(
        tmp_path,
        {"q": "How many?", "a": 3, "s": "S"},
        columns={"prompt": "q", "completion": "a", "system": "s"},
    )
    assert [turn.content for turn in row.messages] == ["S", "How many?", "3"]


def test_a_column_may_hold_a_whole_chat(tmp_path: Path) -> None:
    (tmp_path / "rows.csv").write_text('talk\n"[{""role"": ""user"", ""content"": ""Hi""}, '
                                       '{""role"": ""assistant"", ""content"": ""Ho""}]"\n')  # fmt: skip
    found = rows(opened(tmp_path, train="rows.csv", columns={"messages": "talk"}))
    assert [turn.content for turn in found[0].messages] == ["Hi", "Ho"]


BAD_CHATS: list[tuple[object, str, str]] = [
    ([USER], "no_assistant", "messages"),
    ([USER, ANSWER, USER], "no_assistant", "messages"),
    ([], "no_assistant", "messages"),
    (None, "missing_field", "messages"),
    ("hello", "bad_json", "messages"),
    ({"a": 1}, "bad_type", "messages"),
    ([ANSWER, USER], "roles_order", "messages[0].role"),
    ([USER, USER, ANSWER], "roles_order", "messages[1].role"),
    ([USER, ANSWER, ANSWER], "roles_order", "messages[2].role"),
    ([USER, {"role": "system", "content": "x"}, ANSWER], "roles_order", "messages[1].role"),
    ([USER, {"role": "assistant", "content": ""}], "empty_completion", "messages[1].content"),
    ([USER, {"role": "assistant", "content": " \n"}], "empty_completion", "messages[1].content"),
    ([USER, {"role": "assistant", "content": None}], "missing_field", "messages[1].content"),
    ([{"role": "user", "content": ""}, ANSWER], "empty_prompt", "messages[0].content"),
    ([{"role": "narrator", "content": "x"}, ANSWER], "unknown_role", "messages[0].role"),
    ([{"role": 3, "content": "x"}, ANSWER], "bad_type", "messages[0].role"),
    ([{"content": "x"}, ANSWER], "missing_field", "messages[0].role"),
    (["x", ANSWER], "bad_type", "messages[0]"),
    ([{"role": "user", "content": 3}, ANSWER], "bad_type", "messages[0].content"),
    ([USER, {**ANSWER, "weight": 2}], "bad_type", "messages[1].weight"),
    ([USER, {**ANSWER, "weight": True}], "bad_type", "messages[1].weight"),
    ([USER, {**ANSWER, "weight": 0}], "no_trained_turn", "messages"),
    ([USER, {**ANSWER, "reasoning_content": "hm"}], "unsupported_field", "messages[1].reasoning_content"),
    ([USER, {**ANSWER, "function_call": {"name": "f"}}], "bad_tools", "messages[1].function_call"),
    ([USER, {"role": "assistant", "tool_calls": [CALL]}, ANSWER], "bad_tools", "messages[2]"),
    ([USER, {"role": "tool", "content": "x"}, ANSWER], "bad_tools", "messages[1].tool_call_id"),
    (
        [USER, {"role": "assistant", "tool_calls": [{"function": {"name": "f", "arguments": "{oops"}}]}],
        "bad_tools",
        "messages[1].tool_calls[0].function.arguments",
    ),
    (
        [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "x"}}]}, ANSWER],
        "image_part",
        "messages[0].content[0].type",
    ),
]


@pytest.mark.parametrize(("messages", "code", "path"), BAD_CHATS)
def test_a_bad_chat_is_refused_with_its_reason_and_place(
    tmp_path: Path, messages: object, code: str, path: str
) -> None:
    refusal = one(tmp_path, {"messages": messages})
    assert isinstance(refusal, Refusal)
    assert (refusal.line, refusal.code, refusal.path) == (1, code, path)
    assert refusal.text == REASONS[code].text


def test_bad_tools_and_old_style_functions_are_refused(tmp_path: Path) -> None:
    jsonl(tmp_path / "rows.jsonl", [chat(tools=[{"name": "f"}]), chat(tools="{"), chat(functions=[]), chat()])
    assert codes(opened(tmp_path)) == [
        (1, "bad_tools", "tools[0].function"),
        (2, "bad_json", "tools"),
        (3, "bad_tools", "functions"),
    ]


def test_pairs_that_prefer_nothing_or_lack_an_answer_are_refused(tmp_path: Path) -> None:
    jsonl(
        tmp_path / "rows.jsonl",
        [
            {"prompt": "p", "chosen": "same", "rejected": "same"},
            {"prompt": "p", "chosen": "", "rejected": "b"},
            {"prompt": "p", "chosen": "a", "rejected": None},
            {"prompt": " ", "chosen": "a", "rejected": "b"},
            {"prompt": "p", "chosen": "a", "rejected": "b"},
        ],
    )
    assert codes(opened(tmp_path, task="dpo")) == [
        (1, "same_answers", "rejected"),
        (2, "empty_completion", "chosen"),
        (3, "missing_field", "rejected"),
        (4, "empty_prompt", "prompt[0].content"),
    ]


def test_no_refusal_holds_text_of_the_row(tmp_path: Path) -> None:
    secret = "Zaphod-4711"
    bad: list[dict[str, Any]] = [
        {"messages": [{"role": secret, "content": secret}]},
        {"messages": [{"role": "user", "content": secret, secret: secret}]},
        {"messages": secret},
        {secret: secret},
        {"messages": [{"role": "user", "content": {secret: 1}}]},
        {"messages": [USER, {"role": "assistant", "tool_calls": [{"function": {"name": "", secret: 1}}]}]},
    ]
    jsonl(tmp_path / "rows.jsonl", [chat(), *bad])
    refused = [row for row in outcomes(opened(tmp_path)) if isinstance(row, Refusal)]
    assert len(refused) == len(bad)
    assert not any(secret in repr(row) for row in refused)
