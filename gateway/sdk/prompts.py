"""Prompts are data too: whoever asks a model sends them somewhere."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from gateway.core.gate import GateRequest
from gateway.core.job import ChatMessage

if TYPE_CHECKING:
    from gateway.privacy.ner import Ner


def with_prompts(
    request: GateRequest, chats: Sequence[Sequence[ChatMessage]], ner: Ner | None = None
) -> GateRequest:
    """The gate's question with what the prompts hold: their scan can raise the class, and never lowers it;
    one that was not complete counts as none. On one's own machine they go nowhere, and are not looked at.
    """
    if request.kind == "local":
        return request
    from gateway.privacy import class_of, scan_record

    highest, complete = request.data_class, request.scanned
    for chat in chats:
        turns = [{"role": turn.role, "content": turn.content} for turn in chat]
        found = scan_record({"messages": turns}, ner=ner)
        complete &= found.complete
        types = [finding.type for finding in found.findings]
        highest = max(highest, class_of(types, health=found.health))
    return replace(request, data_class=highest, scanned=complete)
