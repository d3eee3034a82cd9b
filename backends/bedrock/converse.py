"""Chats ↔ Bedrock's Converse. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

from gateway.core.job import ChatMessage, Completion

_FINISH: Mapping[str, Literal["stop", "length"]] = {
    "end_turn": "stop",
    "stop_sequence": "stop",
    "max_tokens": "length",
    "model_context_window_exceeded": "length",
}


def request(
    model_id: str, chat: Sequence[ChatMessage], *, max_output_tokens: int, folded: bool = False
) -> dict[str, Any]:
    """The arguments of a greedy Converse call.

    Turns of one side in a row become one, since sides must alternate there; what a tool said is told by
    the user's side, because a chat of ours names no call that it would answer.

    Args:
        folded: the system text leads the first turn, as in the rows of a model trained on prompts.
    """
    system = [{"text": turn.content} for turn in chat if turn.role == "system"]
    turns: list[dict[str, Any]] = []
    for turn in chat:
        if turn.role == "system":
            continue
        role = "assistant" if turn.role == "assistant" else "user"
        if turns and turns[-1]["role"] == role:
            turns[-1]["content"].append({"text": turn.content})
        else:
            turns.append({"role": role, "content": [{"text": turn.content}]})
    if folded and system and turns:
        lead = "\n\n".join(block["text"] for block in system)
        first = turns[0]["content"][0]
        first["text"], system = f"{lead}\n\n{first['text']}", []
    limits = {"maxTokens": max_output_tokens, "temperature": 0.0}
    body: dict[str, Any] = {"modelId": model_id, "messages": turns, "inferenceConfig": limits}
    return body | {"system": system} if system else body


def completion(reply: Mapping[str, Any], latency_s: float) -> Completion:
    """The answer's text; blocks of other kinds (reasoning, tool use) are no text and left out."""
    blocks = reply["output"].get("message", {}).get("content", ())
    usage = reply.get("usage", {})
    return Completion(
        "".join(block["text"] for block in blocks if "text" in block),
        latency_s,
        usage.get("inputTokens"),
        usage.get("outputTokens"),
        _FINISH.get(str(reply.get("stopReason")), "other"),
    )


def piece(event: Mapping[str, Any]) -> str:
    """The text that an event of ConverseStream brings; empty for other events."""
    return str(event.get("contentBlockDelta", {}).get("delta", {}).get("text", ""))
