"""JSON inside a text, such as a tool call's arguments: opened while it is scrubbed, and closed again.

As text, its escapes hide words (`\\nSmith`), its keys say nothing, and a number may become none.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from typing import Any, cast

from gateway.data.lines import parse_json
from gateway.data.reasons import RowProblem

Steps = tuple[int, ...]


def unfold(raw: Mapping[str, Any]) -> tuple[dict[str, Any], dict[Steps, str]]:
    """The record with such texts as the values they stand for; and each text, by where it stood: its
    position in everything above it."""
    texts: dict[Steps, str] = {}
    return cast("dict[str, Any]", _opened(raw, (), texts)), texts


def fold(record: Mapping[str, Any], texts: Mapping[Steps, str], changed: Collection[Steps]) -> dict[str, Any]:
    """The record with its texts closed again; one in which nothing changed is as it was.

    Args:
        changed: where a value or a key was rewritten.
    """
    above = {steps[:length] for steps in changed for length in range(len(steps) + 1)}
    return cast("dict[str, Any]", _closed(record, (), texts, above))


def _opened(value: object, steps: Steps, texts: dict[Steps, str]) -> object:
    if isinstance(value, Mapping):
        items = enumerate(cast("Mapping[object, object]", value).items())
        return {name: _opened(child, (*steps, at), texts) for at, (name, child) in items}
    if isinstance(value, list | tuple):
        children = [
            _opened(child, (*steps, at), texts) for at, child in enumerate(cast("Sequence[object]", value))
        ]
        return children if isinstance(value, list) else tuple(children)
    if isinstance(value, str) and (parsed := _parsed(value)) is not None:
        texts[steps] = value
        return _opened(parsed, steps, texts)
    return value


def _closed(value: object, steps: Steps, texts: Mapping[Steps, str], above: Collection[Steps]) -> object:
    if steps in texts and steps not in above:
        return texts[steps]
    if isinstance(value, Mapping):
        items = enumerate(cast("Mapping[object, object]", value).items())
        closed: object = {name: _closed(child, (*steps, at), texts, above) for at, (name, child) in items}
    elif isinstance(value, list | tuple):
        children = [
            _closed(child, (*steps, at), texts, above)
            for at, child in enumerate(cast("Sequence[object]", value))
        ]
        closed = children if isinstance(value, list) else tuple(children)
    else:
        closed = value
    return json.dumps(closed, ensure_ascii=False) if steps in texts else closed


class _Twice(Exception):
    """A key that stands twice in one object: opened, the first of the two would be lost."""


def _parsed(text: str) -> object:
    """The object or list that a text is; None where it is none, or could not be closed as it was."""
    if text.lstrip()[:1] not in ("{", "["):
        return None
    try:
        parse_json(text)  # valid, finite, and not too deep
        return json.loads(text, object_pairs_hook=_once)
    except (RowProblem, ValueError, RecursionError, _Twice):
        return None


def _once(pairs: list[tuple[str, object]]) -> dict[str, object]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise _Twice
    return found
