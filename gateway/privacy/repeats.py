"""Texts that stand in record after record, such as a system prompt: read once, and left out where they hold
nothing.

What a text holds depends on nothing beside it. What it says of its record (words of health, whether there are
capitals) is remembered, and counts wherever it is left out.
"""

from __future__ import annotations

from collections import OrderedDict

from gateway.privacy.detecting import detect
from gateway.privacy.fields import NO_KEY, Texts

_SHORTEST = 64
_OFTEN = 3
_REMEMBERED = 256
_COUNTED = 1 << 14


class Repeats:
    """The repeated texts of one pass. Memory is flat: a few hundred texts, and hashes of some thousands."""

    def __init__(self) -> None:
        self._times: dict[int, int] = {}
        self._read: OrderedDict[str, frozenset[int] | None] = OrderedDict()

    def leave_out(self, texts: Texts) -> None:
        """Take those texts out of a record that are known to hold nothing.

        A record in which some text counts by its place or its key is left as it is.
        """
        if texts.known or texts.told:
            return
        for at in range(len(texts.texts) - 1, -1, -1):
            text = texts.texts[at]
            if len(text) >= _SHORTEST and (said := self._said(text)) is not None:
                texts.said |= said
                del texts.texts[at], texts.places[at], texts.keys[at]

    def _said(self, text: str) -> frozenset[int] | None:
        """What a text says of its record; None where it is not known to hold nothing."""
        if text in self._read:
            self._read.move_to_end(text)
            return self._read[text]
        times = self._times[hash(text)] = self._times.get(hash(text), 0) + 1
        if len(self._times) > _COUNTED:
            self._times.clear()
        if times < _OFTEN:
            return None
        if len(self._read) >= _REMEMBERED:
            self._read.popitem(last=False)
        self._read[text] = _read(text)
        return self._read[text]


def _read(text: str) -> frozenset[int] | None:
    alone = Texts(frozenset())
    alone.add(text, (None, ""), NO_KEY)
    detected = detect([alone], floor=0.0)
    return None if detected.silent or detected.looks else detected.of_record(0)
