"""Turns of a chat: from any of the shapes people write them in to core's `Message`, and their order."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Literal, cast

import orjson

from gateway.core.rows import Message, Role, ToolCall
from gateway.data.lines import parse_json
from gateway.data.reasons import RowProblem
from gateway.data.tables import is_nan

_ROLES: Mapping[str, Role] = {
    "system": "system",
    "developer": "system",
    "user": "user",
    "assistant": "assistant",
    "tool": "tool",
}
_SHAREGPT_ROLES: Mapping[str, Role] = {
    "system": "system",
    "human": "user",
    "user": "user",
    "gpt": "assistant",
    "chatgpt": "assistant",
    "model": "assistant",
    "assistant": "assistant",
    "function_call": "assistant",
    "tool_call": "assistant",
    "observation": "tool",
    "function_response": "tool",
    "tool": "tool",
}
_FOLLOWS: Mapping[str, frozenset[str]] = {
    "start": frozenset({"system", "user"}),
    "system": frozenset({"user"}),
    "user": frozenset({"assistant"}),
    "assistant": frozenset({"user"}),
    "call": frozenset({"tool"}),
    "tool": frozenset({"tool", "assistant"}),
}
_PLAIN_KEYS = 2  # role and content


def as_object(value: object, path: str, code: str = "bad_type") -> Mapping[str, Any]:
    if not isinstance(value, dict):
        raise RowProblem(code, path)
    return cast("Mapping[str, Any]", value)


def as_list(value: object, path: str, code: str = "bad_type") -> Sequence[Any]:
    """A list, or the JSON text of one (as tables hold it)."""
    if isinstance(value, str):
        try:
            value = parse_json(value)
        except RowProblem as problem:
            raise RowProblem(problem.code, path) from None
    if not isinstance(value, list):
        raise RowProblem(code, path)
    return cast("Sequence[Any]", value)


def as_text(value: object, path: str) -> str:
    """Text of a single field. Numbers are written out; nothing else is turned into text."""
    if isinstance(value, str) and not is_nan(value):
        return value
    if value is None:
        raise RowProblem("missing_field", path)
    if is_nan(value):
        raise RowProblem("nan", path)
    if isinstance(value, int | float) and not isinstance(value, bool):
        return str(value)
    raise RowProblem("bad_encoding" if isinstance(value, bytes) else "bad_type", path)


def parse_turns(value: object, path: str) -> list[Message]:
    """A list of turns (`role`/`content` or `from`/`value`), in the order they stand."""
    if value is None:
        raise RowProblem("missing_field", path)
    turns = [_turn(item, path, at) for at, item in enumerate(as_list(value, path))]
    if any(turn.tool_calls or turn.role == "tool" for turn in turns):
        return _link_calls(turns, path)
    return turns


def _turn(value: object, path: str, at: int) -> Message:
    if isinstance(value, dict) and len(cast("dict[str, Any]", value)) == _PLAIN_KEYS:
        plain = cast("dict[str, Any]", value)  # nearly every turn there is: no path is built for it
        name, content = plain.get("role"), plain.get("content")
        if isinstance(name, str) and isinstance(content, str) and name in _ROLES:
            return Message(_ROLES[name], content)
    path = f"{path}[{at}]"
    turn = as_object(cast("object", value), path)
    if "role" not in turn and "from" in turn:
        return _sharegpt_turn(turn, path)
    name = turn.get("role")
    role = _ROLES.get(name) if isinstance(name, str) else None
    if role is None:
        raise RowProblem(_no_role(name), f"{path}.role")
    return _full_turn(role, turn, path)


def _no_role(name: object) -> str:
    if name is None:
        return "missing_field"
    if name == "function":
        return "bad_tools"
    return "unknown_role" if isinstance(name, str) else "bad_type"


def _full_turn(role: Role, turn: Mapping[str, Any], path: str) -> Message:
    for key, code in (
        ("function_call", "bad_tools"),
        ("audio", "image_part"),
        ("refusal", "unsupported_field"),
        ("reasoning_content", "unsupported_field"),
        ("thinking", "unsupported_field"),
    ):
        if turn.get(key) is not None:
            raise RowProblem(code, f"{path}.{key}")
    calls = _tool_calls(turn.get("tool_calls"), f"{path}.tool_calls")
    if calls and role != "assistant":
        raise RowProblem("bad_tools", f"{path}.tool_calls")
    return Message(
        role,
        _content(turn.get("content"), f"{path}.content", optional=bool(calls)),
        tool_calls=calls,
        tool_call_id=_optional_text(turn.get("tool_call_id"), f"{path}.tool_call_id"),
        name=_optional_text(turn.get("name"), f"{path}.name"),
        weight=_weight(role, turn.get("weight"), f"{path}.weight"),
    )


def _content(value: object, path: str, *, optional: bool) -> str:
    """Text, or text parts joined; anything that is not text refuses the row."""
    if isinstance(value, str):
        return value
    if value is None:
        if optional:
            return ""
        raise RowProblem("missing_field", path)
    if not isinstance(value, list):
        raise RowProblem("nan" if is_nan(value) else "bad_type", path)
    pieces: list[str] = []
    for at, item in enumerate(cast("list[object]", value)):
        part = as_object(item, f"{path}[{at}]")
        if part.get("type", "text") != "text":
            raise RowProblem("image_part", f"{path}[{at}].type")
        text = part.get("text")
        if not isinstance(text, str):
            raise RowProblem("bad_type", f"{path}[{at}].text")
        pieces.append(text)
    return "".join(pieces)


def _weight(role: Role, value: object, path: str) -> Literal[0, 1] | None:
    if value is None:
        return None
    if role == "assistant" and not isinstance(value, bool) and value in (0, 1):
        return 1 if value == 1 else 0
    raise RowProblem("bad_type", path)


def _optional_text(value: object, path: str) -> str | None:
    if value is None or isinstance(value, str):
        return value
    raise RowProblem("bad_type", path)


def _tool_calls(value: object, path: str) -> tuple[ToolCall, ...]:
    if not value:
        return ()
    return tuple(_tool_call(item, f"{path}[{at}]") for at, item in enumerate(as_list(value, path)))


def _tool_call(value: object, path: str) -> ToolCall:
    call = as_object(value, path, "bad_tools")
    if call.get("type", "function") != "function":
        raise RowProblem("bad_tools", f"{path}.type")
    function = as_object(call.get("function"), f"{path}.function", "bad_tools")
    name, id_ = function.get("name"), call.get("id", "")
    if not isinstance(name, str) or not name or not isinstance(id_, str):
        raise RowProblem("bad_tools", f"{path}.function.name")
    return ToolCall(id_, name, _arguments(function.get("arguments"), f"{path}.function.arguments"))


def _arguments(value: object, path: str) -> str:
    """Arguments as the JSON text of an object; an object (as some datasets have it) is written out."""
    if isinstance(value, dict):
        return orjson.dumps(value).decode()
    try:
        if isinstance(value, str) and isinstance(parse_json(value), dict):
            return value
    except RowProblem:
        pass
    raise RowProblem("bad_tools", path)


def _sharegpt_turn(turn: Mapping[str, Any], path: str) -> Message:
    name = turn["from"]
    role = _SHAREGPT_ROLES.get(name) if isinstance(name, str) else None
    if role is None:
        raise RowProblem("unknown_role" if isinstance(name, str) else "bad_type", f"{path}.from")
    content = _content(turn.get("value"), f"{path}.value", optional=False)
    if name not in ("function_call", "tool_call"):
        return Message(role, content, weight=_weight(role, turn.get("weight"), f"{path}.weight"))
    try:
        call = as_object(parse_json(content), path)
    except RowProblem:
        raise RowProblem("bad_tools", f"{path}.value") from None
    return Message(role, "", tool_calls=(_tool_call({"function": dict(call)}, f"{path}.value"),))


def _link_calls(turns: Sequence[Message], path: str) -> list[Message]:
    """Give calls without an id one, and check that every call is answered once before the next turn.

    A chat may end with a call: that is what it teaches.
    """
    linked: list[Message] = []
    pending: list[str] = []
    for at, turn in enumerate(turns):
        if turn.role == "tool":
            id_ = turn.tool_call_id or (pending[0] if pending else "")
            if id_ not in pending:
                raise RowProblem("bad_tools", f"{path}[{at}].tool_call_id")
            pending.remove(id_)
            linked.append(replace(turn, tool_call_id=id_))
            continue
        if pending:
            raise RowProblem("bad_tools", f"{path}[{at}]")
        calls = tuple(
            call if call.id else replace(call, id=f"call_{at}_{nth}")
            for nth, call in enumerate(turn.tool_calls)
        )
        pending = [call.id for call in calls]
        if len(set(pending)) != len(pending):
            raise RowProblem("bad_tools", f"{path}[{at}].tool_calls")
        linked.append(replace(turn, tool_calls=calls) if calls else turn)
    return linked


def parse_tools(value: object, path: str) -> tuple[Mapping[str, Any], ...]:
    """Tool definitions in the OpenAI shape; JSON text of them is read."""
    if not value:
        return ()
    tools = [as_object(item, f"{path}[{at}]", "bad_tools") for at, item in enumerate(as_list(value, path))]
    for at, tool in enumerate(tools):
        function = as_object(tool.get("function"), f"{path}[{at}].function", "bad_tools")
        if tool.get("type") != "function" or not isinstance(function.get("name"), str):
            raise RowProblem("bad_tools", f"{path}[{at}]")
    return tuple(tools)


def check_order(turns: Sequence[Message], path: str) -> None:
    """Refuse roles out of order and turns without content (an assistant's call is content)."""
    before = "start"
    for at, turn in enumerate(turns):
        if turn.role not in _FOLLOWS[before]:
            raise RowProblem("roles_order", f"{path}[{at}].role")
        before = "call" if turn.tool_calls else turn.role
        if (not turn.content and before in ("assistant", "user")) or turn.content.isspace():
            if turn.role == "assistant" and not turn.tool_calls:
                raise RowProblem("empty_completion", f"{path}[{at}].content")
            if turn.role == "user":
                raise RowProblem("empty_prompt", f"{path}[{at}].content")
