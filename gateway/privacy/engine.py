"""The multi-pattern engine: which rules may match, in one pass, with a canary that proves it looked.

An `RE2::Set` that runs out of memory answers "no match", which looks like clean text. So every text
ends with a canary that no data can hold by chance or by intent; where it is not reported, or where
a rule is reported that then finds nothing, the text counts as not scanned.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple, cast

import re2

_MEMORY_BYTES = 256 << 20


class Hit(NamedTuple):
    """A match of pattern number `rule`; positions in the text."""

    rule: int
    start: int
    end: int


class Silent(Exception):
    """The engine did not report what is certainly there."""


class Engine:
    """Finds the matches of many RE2 patterns. A pattern's first group, where it has one, is the match."""

    def __init__(self, patterns: Sequence[str]) -> None:
        # Consonants that no rule can take for anything; drawn anew, so that no data can hold it on purpose.
        canary = "\x1e" + "".join(secrets.choice("bcdfghjklmnpqrstvwxz") for _ in range(24)) + "\x1e"
        self.tail = canary.encode()
        options = re2.Options()
        options.max_mem = _MEMORY_BYTES
        self._set: Any = re2.Set.SearchSet(options)  # pyright: ignore[reportUnknownMemberType]
        for pattern in [*patterns, canary]:
            self._set.Add(pattern)
        self._set.Compile()
        self._canary = len(patterns)
        compiled = [re2.compile(pattern, options) for pattern in patterns]  # pyright: ignore[reportUnknownMemberType]
        self._patterns: list[tuple[Any, int]] = [
            (pattern, 1 if pattern.groups else 0)  # pyright: ignore[reportUnknownMemberType]
            for pattern in compiled
        ]

    def which(self, text: bytes) -> list[int]:
        """Numbers of the patterns that occur in `text`, which must end with `tail`.

        Raises:
            Silent: the canary was not seen.
        """
        found: list[int] = self._set.Match(text) or []
        if self._canary not in found:
            raise Silent
        return [number for number in sorted(found) if number != self._canary]

    def matches(self, number: int, text: bytes) -> Iterator[Hit]:
        """Where pattern `number`, which `which` reported, occurs.

        Raises:
            Silent: nowhere, which contradicts the report.
        """
        (pattern, group), seen = self._patterns[number], False
        for match in pattern.finditer(text):
            seen = True
            start, end = cast("tuple[int, int]", match.span(group))
            if end > start:
                yield Hit(number, start, end)
        if not seen:
            raise Silent
