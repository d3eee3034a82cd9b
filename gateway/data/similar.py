"""Which rows are copies, near-copies or of one group, so that no split has them on both sides.

Near-copies are found by MinHash over word 5-grams with locality-sensitive hashing (Broder 1997; bands
as in Leskovec, Rajaraman and Ullman, *Mining of Massive Datasets*, chapter 3), in numpy: a row of 500
words costs about a quarter of a millisecond, and 240 bytes. The same rows give the same answer in
every process.
"""

from __future__ import annotations

from collections.abc import Iterator
from hashlib import shake_128
from typing import TYPE_CHECKING, cast
from zlib import crc32

from gateway.core.rows import Row

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Hashes = NDArray[np.uint32]
    Keys = NDArray[np.uint64]
    Pairs = tuple[NDArray[np.intp], NDArray[np.intp]]  # row i belongs with row j
    Signatures = NDArray[np.uint16]

WORDS = 5
BANDS, BAND_ROWS = 24, 5
PERMUTATIONS = BANDS * BAND_ROWS
# Estimated Jaccard similarity from which two rows are near-copies. The estimate's standard error is
# 0.04 at most, so that rows truly 0.8 alike (one word in 40 changed) are missed once in some hundreds.
SIMILAR = 0.7
_COMMON_SHARE = 0.25
_SAMPLE_ROWS = 1000
_SAMPLE_MIN = 40
_CHUNK = 4096
_MIX = 0x9E3779B1


def shingles(row: Row) -> Hashes:
    """Hashes (one per 5-gram of words, at least one) of a row's text, case and spacing aside."""
    import numpy as np

    turns = (*row.messages, *row.chosen, *row.rejected)
    text = " ".join(turn.content for turn in turns if turn.role != "system").lower()
    words = text.encode().split()
    if len(text) > 20 * len(words):  # a script without spaces: characters stand for words
        tokens = np.frombuffer(text.encode("utf-32-le"), dtype=np.uint32).astype(np.uint64)
    else:
        tokens = np.fromiter(map(crc32, words), dtype=np.uint64, count=len(words))
    factor = np.uint64(0x9E3779B97F4A7C15)
    grams = np.zeros(max(len(tokens) - WORDS + 1, 1), dtype=np.uint64)
    for at in range(min(WORDS, len(tokens))):
        grams = grams * factor + tokens[at : at + len(grams)]
    grams ^= grams >> np.uint64(31)
    grams *= np.uint64(0xBF58476D1CE4E5B9)
    return (grams >> np.uint64(32)).astype(np.uint32)


def _constants(purpose: str, count: int) -> Hashes:
    """Fixed random numbers, the same in every process and with every version of every library."""
    import numpy as np

    return np.frombuffer(shake_128(purpose.encode()).digest(4 * count), dtype="<u4").astype(np.uint32)


class Sketches:
    """MinHash signatures of rows, 120 × 16 bits each, in the order the rows came.

    Words that stand in over a quarter of the first thousand rows (an instruction repeated in every
    prompt) say nothing about likeness and are left out.

    Args:
        common: those words as another one learned them, where this one does not see the first rows.
    """

    def __init__(self, common: bytes | None = None) -> None:
        import numpy as np

        self._factors = (_constants("factors", PERMUTATIONS) | np.uint32(1))[:, None]
        self._offsets = _constants("offsets", PERMUTATIONS)[:, None]
        self._waiting: list[Hashes] = []
        self._common = None if common is None else np.frombuffer(common, dtype=np.uint32)
        self._signatures = bytearray()
        self._blank = bytearray()

    def add(self, row: Row) -> None:
        grams = shingles(row)
        if self._common is None:
            self._waiting.append(grams)
            if len(self._waiting) >= _SAMPLE_ROWS:
                self.settle()
        else:
            self._sign(grams)

    @property
    def common(self) -> bytes | None:
        return None if self._common is None else self._common.tobytes()

    def hand_over(self) -> tuple[str, str]:
        """The signatures since the last time, as text, for another one's `add_signed`."""
        part = (self._signatures.hex(), self._blank.hex())
        self._signatures, self._blank = bytearray(), bytearray()
        return part

    def add_signed(self, part: tuple[str, str]) -> None:
        signatures, blank = map(bytes.fromhex, part)
        self._signatures += signatures
        self._blank += blank

    def finish(self) -> tuple[Signatures, NDArray[np.bool_]]:
        """Signatures, shape (rows, 120), and which rows have one (shape (rows,))."""
        import numpy as np

        self.settle()
        signatures = np.frombuffer(self._signatures, dtype=np.uint16).reshape(-1, PERMUTATIONS)
        return signatures, np.frombuffer(self._blank, dtype=np.uint8) == 0

    def settle(self) -> None:
        """Learn what is common from the rows so far, counting equal rows once, and sign them; once."""
        import numpy as np

        if self._common is not None:
            return

        distinct = {grams.tobytes(): grams for grams in self._waiting}.values()
        self._common = np.empty(0, dtype=np.uint32)
        if len(distinct) >= _SAMPLE_MIN:
            grams, counts = np.unique(np.concatenate([np.unique(g) for g in distinct]), return_counts=True)
            self._common = grams[counts > _COMMON_SHARE * len(distinct)]
        for grams in self._waiting:
            self._sign(grams)
        self._waiting = []

    def _sign(self, grams: Hashes) -> None:
        import numpy as np

        if self._common is not None and len(self._common):
            grams = grams[~np.isin(grams, self._common)]
        lowest = np.full(PERMUTATIONS, 2**32 - 1, dtype=np.uint32)
        for start in range(0, len(grams), _CHUNK):
            piece = self._factors * grams[start : start + _CHUNK] + self._offsets
            lowest = np.minimum(lowest, piece.min(axis=1))
        # A minimum is a small number: mixed, its upper half tells minima apart as well as all of it.
        self._signatures += (lowest * _MIX >> 16).astype(np.uint16).tobytes()
        self._blank.append(len(grams) == 0)


def clusters(edges: Iterator[Pairs], rows: int) -> NDArray[np.int32]:
    """Label of each row's cluster, shape (rows,), from pairs of rows that belong together."""
    import numpy as np
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components  # pyright: ignore[reportUnknownVariableType]

    ends = list(edges)
    left = np.concatenate([a for a, _ in ends])
    right = np.concatenate([b for _, b in ends])
    graph = coo_array((np.ones(len(left), dtype=np.int8), (left, right)), shape=(rows, rows))
    return cast("NDArray[np.int32]", connected_components(graph, directed=False)[1])


def same_key(keys: Keys) -> Pairs:
    """Pairs (row, first row with the same key), for every row that is not the first."""
    order, first = _by_key(keys)
    other = order != first
    return order[other], first[other]


def _by_key(keys: Keys) -> Pairs:
    """Rows in the order of their keys, and beside each the first row that has its key."""
    import numpy as np

    order = np.argsort(keys, kind="stable")
    ordered = keys[order]
    starts = np.flatnonzero(np.concatenate(([True], ordered[1:] != ordered[:-1])))
    return order, order[np.repeat(starts, np.diff(np.append(starts, len(keys))))]


def near_pairs(signatures: Signatures, signed: NDArray[np.bool_]) -> Iterator[Pairs]:
    """Pairs of rows at least `SIMILAR` alike, band by band.

    Rows that share a band are compared to the band's first row and to the one before them, which
    keeps the work linear; a pair missed in one band is met again in another.
    """
    import numpy as np

    rows = np.flatnonzero(signed)
    factors = _constants("bands", BAND_ROWS).astype(np.uint64) * np.uint64(2) + np.uint64(1)
    for band in range(BANDS):
        columns = signatures[rows, band * BAND_ROWS : (band + 1) * BAND_ROWS].astype(np.uint64)
        order, first = _by_key((columns * factors).sum(axis=1, dtype=np.uint64))
        follows = first[1:] == first[:-1]
        left = np.concatenate([order[order != first], order[1:][follows]])
        right = np.concatenate([first[order != first], order[:-1][follows]])
        left, right = rows[left], rows[right]
        alike = (signatures[left] == signatures[right]).mean(axis=1) >= SIMILAR
        yield left[alike], right[alike]
