"""The engine: which rules may match a text and where, with a canary that proves it looked.

An `RE2::Set` that runs out of memory answers "no match", which looks like clean text. So every text
ends with a canary that no data can hold by chance or by intent; where it is not reported, or where
a pattern is reported that then finds nothing, the text counts as not scanned.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterable, Sequence
from typing import Any, cast

import ahocorasick_rs
import re2

_MEMORY_BYTES = 32 << 20  # of states kept; as fast as with eight times that, and half of it is not
_NOWHERE = (-1, -1)
CANARY_BYTES = 26


class Silent(Exception):
    """The engine did not report what is certainly there."""


class Pattern:
    """One RE2 pattern. Its first group, where it has one, is the match.

    Calls RE2 below the package's wrapper, which spends more time than the search does on short texts.
    """

    def __init__(self, pattern: str) -> None:
        options = re2.Options()
        options.max_mem = _MEMORY_BYTES
        compiled: Any = re2.compile(pattern, options)  # pyright: ignore[reportUnknownMemberType]
        self._match: Any = compiled._regexp.Match
        self._group = 1 if compiled.groups else 0
        self._anchor: Any = cast("Any", re2)._re2.RE2.Anchor.UNANCHORED

    def occurs(self, text: bytes, start: int = 0, end: int | None = None) -> bool:
        """Whether there is any match."""
        end = len(text) if end is None else end
        return self._match(self._anchor, text, start, end)[0] != _NOWHERE

    def first(self, text: bytes, start: int) -> int | None:
        """Where the first match from `start` on begins."""
        found: tuple[int, int] = self._match(self._anchor, text, start, len(text))[0]
        return None if found == _NOWHERE else found[0]

    def spans(self, text: bytes, start: int = 0, end: int | None = None) -> list[tuple[int, int]]:
        """(start, end) of every match, in order."""
        found: list[tuple[int, int]] = []
        match, anchor, group = self._match, self._anchor, self._group
        end = len(text) if end is None else end
        while start < end:
            groups: list[tuple[int, int]] = match(anchor, text, start, end)
            if groups[0] == _NOWHERE:
                break
            found.append(groups[group])
            after = groups[0][1]
            start = after if after > start else start + 1
        return found


class Engine:
    """Finds the matches of many RE2 patterns, and of many words.

    Args:
        signs: for the first patterns, what is there wherever they match: looked for in their place.
    """

    def __init__(
        self, patterns: Sequence[str], words: Iterable[bytes] = (), *, signs: Sequence[str] = ()
    ) -> None:
        # Consonants that no rule can take for anything; drawn anew, so that no data can hold it on purpose.
        canary = (
            "\x1e" + "".join(secrets.choice("bcdfghjklmnpqrstvwxz") for _ in range(CANARY_BYTES - 2)) + "\x1e"
        )
        self.tail = canary.encode()
        options = re2.Options()
        options.max_mem = _MEMORY_BYTES
        self._set: Any = re2.Set.SearchSet(options)  # pyright: ignore[reportUnknownMemberType]
        for pattern in [*signs, *patterns[len(signs) :], canary]:
            self._set.Add(pattern)
        self._set.Compile()
        self._canary = len(patterns)
        self._patterns = [Pattern(pattern) for pattern in patterns]
        self._certain = [sign == pattern for sign, pattern in zip(signs, patterns, strict=False)]
        self._certain += [True] * (len(patterns) - len(signs))
        spelled = [*words, self.tail]
        self._last_word = len(spelled) - 1
        self._words = ahocorasick_rs.BytesAhoCorasick(
            spelled,
            matchkind=ahocorasick_rs.MatchKind.LeftmostLongest,
            implementation=ahocorasick_rs.Implementation.ContiguousNFA,
        )

    def which(self, text: bytes) -> list[int]:
        """Numbers of the patterns that occur in `text`, which must hold `tail`; or whose signs do.

        Raises:
            Silent: the canary was not seen.
        """
        found: list[int] = self._set.Match(text) or []
        try:
            found.remove(self._canary)
        except ValueError:
            raise Silent from None
        return found

    def matches(self, number: int, text: bytes, start: int, end: int) -> list[tuple[int, int]]:
        """Where pattern `number`, which `which` reported of this part of a text, occurs in it.

        Raises:
            Silent: nowhere, which contradicts the report.
        """
        found = self._patterns[number].spans(text, start, end)
        if not found and self._certain[number]:
            raise Silent
        return found

    def words(self, text: bytes, records: int) -> list[tuple[int, int, int]]:
        """(word, start, end) of the words in `text`, parts of longer words too.

        Args:
            records: how often `tail` stands there.

        Raises:
            Silent: it was not seen so often.
        """
        found = self._words.find_matches_as_indexes(text)
        seen = [each for each in found if each[0] != self._last_word]
        if len(found) - len(seen) != records:
            raise Silent
        return seen
