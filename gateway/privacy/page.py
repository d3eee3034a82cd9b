"""Records as the engines see them: the texts of some hundreds, folded, in one buffer.

An engine asked once for all of them costs what it takes to read; asked record by record, most of its time
goes into the asking. Nothing of one record touches another: each ends with a canary of its own, and no rule
matches across a separator.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from itertools import accumulate

from gateway.privacy.fields import NO_KEY, Key, Texts
from gateway.privacy.folding import Folded, count_controls, fold, is_plain, is_turned

SEPARATOR = "\n\x1e\n"
GAP = len(SEPARATOR)
_WINDOW = 48  # bytes before a match in which context words count
_TO_WORDS = bytes(byte | 32 if chr(byte).isalpha() else 32 for byte in range(128)) + b" " * 128


class Page:
    """The texts of some records, one after the other.

    Args:
        canary: ASCII with two control characters, which stands after each record's texts as if it were one.

    Attributes:
        text: all of it; begins with a line break, so that something stands before every text.
        parts: every text as it stands here, the canaries too.
        keys: the key above each part.
        first: for each record, which of the parts is its first; and one more.
        starts: where each part begins in `text`; and one more.
        bounds: where each record begins, the break before it included; and where the last one ends.
        turned: parts that have marks which turn the direction of writing.
    """

    __slots__ = (
        "_folded",
        "_near",
        "bounds",
        "first",
        "keys",
        "parts",
        "records",
        "starts",
        "text",
        "turned",
    )

    def __init__(self, records: Sequence[Texts], canary: str) -> None:
        self.records = records
        self.parts, self.keys, self.first = list[str](), list[Key](), [0]
        for each in records:
            self.parts += each.texts
            self.parts.append(canary)
            self.keys += each.keys
            self.keys.append(NO_KEY)
            self.first.append(len(self.parts))
        self.turned = frozenset[int]()
        self._folded: dict[int, Folded] = {}
        self._near: dict[int, list[bytes]] = {}
        self._fold([at for at, part in enumerate(self.parts) if not part.isascii()])
        self.text = self._joined()
        if not self._is_plain():
            self._fold(
                [at for at, part in enumerate(self.parts) if part is not canary and not is_plain(part)]
            )
            self.text = self._joined()
        self.starts = list(accumulate([len(part) + GAP for part in self.parts], initial=1))
        self.bounds = [self.starts[at] - 1 for at in self.first]

    def _fold(self, odd: Sequence[int]) -> None:
        """Fold those parts that do not stand for themselves."""
        self.turned |= {at for at in odd if is_turned(self.parts[at])}
        for at in odd:
            self._folded[at] = fold(self.parts[at])
            self.parts[at] = self._folded[at].text

    def _joined(self) -> bytes:
        return f"\n{SEPARATOR.join(self.parts)}{SEPARATOR}".encode("ascii")

    def _is_plain(self) -> bool:
        """Whether there are no control characters but ours: one in each separator, two in each canary."""
        return count_controls(self.text) == len(self.parts) + 2 * len(self.records)

    def of(self, record: int) -> range:
        """Which of the parts are a record's texts."""
        return range(self.first[record], self.first[record + 1] - 1)

    def body(self, record: int) -> tuple[int, int]:
        """Where a record's texts begin and end, the break before them included and the canary not."""
        begin = self.bounds[record]
        return begin, max(begin, self.starts[self.first[record + 1] - 1] - GAP)

    def record_at(self, position: int) -> int:
        return bisect_right(self.bounds, position) - 1

    def at(self, position: int) -> int:
        """Which of the parts a position lies in."""
        return bisect_right(self.starts, position) - 1

    def end(self, at: int) -> int:
        return self.starts[at + 1] - GAP

    def near(self, start: int) -> list[bytes]:
        """The words shortly before a position, and those of the key above it; remembered."""
        words = self._near.get(start)
        if words is None:
            at = self.at(start)
            before = self.text[max(self.starts[at], start - _WINDOW) : start].translate(_TO_WORDS)
            words = self._near[start] = (self.keys[at].words + before).split()
            if b"d o b" in before:
                words.append(b"dob")
        return words

    def original(self, start: int, end: int) -> tuple[int, int, int]:
        """The part that a span lies in, and its offsets in that text as it was before folding."""
        at = self.at(start)
        start, end = start - self.starts[at], end - self.starts[at]
        folded = self._folded.get(at)
        return (at, *folded.span(start, end)) if folded else (at, start, end)
