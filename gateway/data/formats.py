"""Every input format as a canonical `Row`. One function per format; nothing here reads files."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from functools import partial
from typing import Any, Literal, cast

from gateway.core.rows import Message, Row
from gateway.core.spec import Columns, Data
from gateway.data.reasons import RowProblem
from gateway.data.turns import as_list, as_object, as_text, check_order, parse_tools, parse_turns

Format = Literal["chat", "alpaca", "sharegpt", "preference", "columns"]
Raw = Mapping[str, Any]
Parse = Callable[[Raw, int, int], Row]

DEFAULT_COLUMNS = Columns(prompt="prompt", completion="completion")  # pyright: ignore[reportCallIssue]
_ANSWER_KEYS = (("chosen", "rejected"), ("preferred_output", "non_preferred_output"))


def detect(keys: AbstractSet[str]) -> Format | None:
    """The format that a record with these keys is in; None when it is none we know."""
    if any(keys >= set(pair) for pair in _ANSWER_KEYS):
        return "preference"
    if "messages" in keys:
        return "chat"
    if "conversations" in keys:
        return "sharegpt"
    if {"instruction", "output"} <= keys:
        return "alpaca"
    return "columns" if {"prompt", "completion"} <= keys else None


def is_preference(format: Format, columns: Columns | None) -> bool:
    """Whether rows of this format are preference pairs."""
    return format == "preference" or (format == "columns" and bool(columns and columns.chosen))


def parser(format: Format, data: Data, *, task: str) -> Parse:
    """A function from (raw record, line, file) to its `Row`; it raises `RowProblem` on refusal."""
    columns = data.columns or DEFAULT_COLUMNS
    readers: Mapping[Format, Callable[[Raw], _Draft]] = {
        "chat": _chat,
        "sharegpt": _sharegpt,
        "alpaca": _alpaca,
        "preference": _preference,
        "columns": partial(_columns, columns),
    }
    read = readers[format]
    system = data.system.strip() and data.system if data.system else None
    group_by, finish = data.group_by, _finish_pair if task == "dpo" else _finish_chat

    def parse(raw: Raw, line: int, file: int) -> Row:
        draft = read(raw)
        draft.messages = _with_system(draft.messages, system)
        finish(draft)
        return Row(
            line=line,
            messages=tuple(draft.messages),
            chosen=tuple(draft.chosen),
            rejected=tuple(draft.rejected),
            tools=draft.tools,
            group=_group(raw, group_by) if group_by else None,
            file=file,
        )

    return parse


class _Draft:
    """A row in the making. `path` and `answer` name the fields that refusals point to."""

    __slots__ = ("answer", "chosen", "messages", "pair", "path", "rejected", "tools")

    def __init__(
        self,
        messages: list[Message],
        path: str,
        *,
        answer: str | None = None,
        chosen: Sequence[Message] = (),
        rejected: Sequence[Message] = (),
        pair: tuple[str, str] = ("chosen", "rejected"),
        tools: tuple[Mapping[str, Any], ...] = (),
    ) -> None:
        self.messages, self.path, self.answer = messages, path, answer
        self.chosen, self.rejected, self.pair, self.tools = chosen, rejected, pair, tools


def _with_system(messages: list[Message], system: str | None) -> list[Message]:
    """The spec's system prompt where the row has none; an empty one is none."""
    if messages and messages[0].role == "system":
        if messages[0].content.strip():
            return messages
        messages = messages[1:]
    return [Message("system", system), *messages] if system else messages


def _finish_chat(draft: _Draft) -> None:
    turns = draft.messages
    assistants = [turn for turn in turns if turn.role == "assistant"]
    if not assistants:
        raise RowProblem("no_assistant", draft.path)
    _check(turns, draft.path, draft.answer)
    if turns[-1].role != "assistant":
        raise RowProblem("no_assistant", draft.path)
    if all(turn.weight == 0 for turn in assistants):
        raise RowProblem("no_trained_turn", draft.path)


def _finish_pair(draft: _Draft) -> None:
    prompt = draft.messages
    if not prompt or prompt[-1].role not in ("user", "tool"):
        raise RowProblem("roles_order" if prompt else "empty_prompt", draft.path)
    _check(prompt, draft.path, None)
    for answer, path in zip((draft.chosen, draft.rejected), draft.pair, strict=True):
        if not answer or answer[-1].role != "assistant":
            raise RowProblem("no_assistant", path)
        _check([*prompt, *answer], path, path)
    if tuple(draft.chosen) == tuple(draft.rejected):
        raise RowProblem("same_answers", draft.pair[1])


def _check(turns: Sequence[Message], path: str, answer: str | None) -> None:
    """Order and content; single fields (`prompt`, `output`, a column) are named as such."""
    try:
        check_order(turns, path)
    except RowProblem as problem:
        if answer and problem.code == "empty_completion":
            raise RowProblem(problem.code, answer) from None
        if answer and problem.code == "empty_prompt":
            raise RowProblem(problem.code, path) from None
        raise


def _chat(raw: Raw) -> _Draft:
    if raw.get("functions") is not None:
        raise RowProblem("bad_tools", "functions")
    tools = parse_tools(raw.get("tools"), "tools")
    return _Draft(parse_turns(raw.get("messages"), "messages"), "messages", tools=tools)


def _sharegpt(raw: Raw) -> _Draft:
    turns = parse_turns(raw.get("conversations"), "conversations")
    system = raw.get("system")
    if system is not None and (not turns or turns[0].role != "system"):
        turns = [Message("system", as_text(system, "system")), *turns]
    return _Draft(turns, "conversations", tools=_sharegpt_tools(raw.get("tools")))


def _sharegpt_tools(value: object) -> tuple[Mapping[str, Any], ...]:
    """ShareGPT lists bare functions; the chat shape wraps each."""
    if not value:
        return ()
    bare = [as_object(item, f"tools[{at}]", "bad_tools") for at, item in enumerate(as_list(value, "tools"))]
    wrapped = [item if "function" in item else {"type": "function", "function": item} for item in bare]
    return parse_tools(wrapped, "tools")


def _alpaca(raw: Raw) -> _Draft:
    turns = _alpaca_prompt(raw)
    return _Draft(
        [*turns, Message("assistant", as_text(raw.get("output"), "output"))], "instruction", answer="output"
    )


def _alpaca_prompt(raw: Raw) -> list[Message]:
    prompt, extra = as_text(raw.get("instruction"), "instruction"), raw.get("input")
    if extra is not None and (extra := as_text(extra, "input")):
        prompt = f"{prompt}\n\n{extra}"
    turns = [Message("system", as_text(raw["system"], "system"))] if raw.get("system") else []
    for at, pair in enumerate(as_list(raw.get("history") or [], "history")):
        said = as_list(pair, f"history[{at}]")
        if len(said) != 2:
            raise RowProblem("bad_type", f"history[{at}]")
        turns.append(Message("user", as_text(said[0], f"history[{at}][0]")))
        turns.append(Message("assistant", as_text(said[1], f"history[{at}][1]")))
    return [*turns, Message("user", prompt)]


def _preference(raw: Raw) -> _Draft:
    """OpenAI's `input` with two outputs, or prompt (or none), `chosen` and `rejected`."""
    if "preferred_output" in raw:
        source = as_object(raw.get("input"), "input")
        return _Draft(
            parse_turns(source.get("messages"), "input.messages"),
            "input.messages",
            chosen=parse_turns(raw.get("preferred_output"), "preferred_output"),
            rejected=parse_turns(raw.get("non_preferred_output"), "non_preferred_output"),
            pair=("preferred_output", "non_preferred_output"),
            tools=parse_tools(source.get("tools"), "input.tools"),
        )
    chosen = _answer(raw.get("chosen"), "chosen")
    rejected = _answer(raw.get("rejected"), "rejected")
    tools = parse_tools(raw.get("tools"), "tools")
    if chosen and rejected and chosen[0].role in ("system", "user"):  # whole chats, the prompt in both
        shared = _shared(chosen, rejected)
        prompt, chosen, rejected = chosen[:shared], chosen[shared:], rejected[shared:]
        return _Draft(prompt, "chosen", chosen=chosen, rejected=rejected, tools=tools)
    prompt, path = _preference_prompt(raw)
    return _Draft(prompt, path, chosen=chosen, rejected=rejected, tools=tools)


def _preference_prompt(raw: Raw) -> tuple[list[Message], str]:
    for key in ("messages", "conversations"):
        if raw.get(key) is not None:
            return parse_turns(raw[key], key), key
    if "instruction" in raw:
        return _alpaca_prompt(raw), "instruction"
    system = [Message("system", as_text(raw["system"], "system"))] if raw.get("system") else []
    return [*system, *_prompt(raw.get("prompt"), "prompt")], "prompt"


def _shared(chosen: list[Message], rejected: list[Message]) -> int:
    """How many turns two chats begin with in common, up to the last turn that is not the assistant's."""
    same = 0
    while same < min(len(chosen), len(rejected)) and chosen[same] == rejected[same]:
        same += 1
    while same and chosen[same - 1].role == "assistant":
        same -= 1
    return same


def _prompt(value: object, path: str) -> list[Message]:
    if isinstance(value, list):
        return parse_turns(cast("object", value), path)
    return [Message("user", as_text(value, path))]


def _answer(value: object, path: str) -> list[Message]:
    """An answer as text, as one turn, or as a list of turns."""
    if isinstance(value, dict):
        return parse_turns([cast("object", value)], path)
    if isinstance(value, list):
        return parse_turns(cast("object", value), path)
    return [Message("assistant", as_text(value, path))]


def _columns(columns: Columns, raw: Raw) -> _Draft:
    if columns.messages:
        turns = parse_turns(raw.get(columns.messages), columns.messages)
        return _Draft(turns, columns.messages, tools=parse_tools(raw.get("tools"), "tools"))
    turns: list[Message] = []
    if columns.system and raw.get(columns.system) is not None:
        turns.append(Message("system", as_text(raw[columns.system], columns.system)))
    prompt = columns.prompt or "prompt"
    turns += _prompt(raw.get(prompt), prompt)
    if columns.chosen and columns.rejected:
        pair = (columns.chosen, columns.rejected)
        chosen, rejected = (_answer(raw.get(name), name) for name in pair)
        return _Draft(turns, prompt, chosen=chosen, rejected=rejected, pair=pair)
    completion = columns.completion or "completion"
    turns += _answer(raw.get(completion), completion)
    return _Draft(turns, prompt, answer=completion)


def _group(raw: Raw, group_by: str) -> str:
    """The group's name: a key of the record, or a dotted path into it."""
    value: object = raw.get(group_by)
    if value is None:
        value = raw
        for part in group_by.split("."):
            value = value.get(part) if isinstance(value, Mapping) else None  # pyright: ignore[reportUnknownMemberType, reportUnknownVariableType]
    if isinstance(value, str | int | float) and not isinstance(value, bool) and str(value).strip():
        if isinstance(value, float) and value != value:  # NaN: a data frame's missing cell
            raise RowProblem("missing_group", group_by)
        return str(value)
    raise RowProblem("missing_group", group_by)
