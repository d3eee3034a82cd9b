"""Train, validation and test: decided by content, stable when rows are added, without leaks.

Rows that are equal, nearly equal, or of one `group_by` value form a cluster, and a cluster has one
side. Its smallest key decides (a group's hash where it has groups, else a row's), hashed with a salt
into the unit interval and compared with the fractions asked for. Adding rows therefore moves no
other row, unless a new row joins two clusters.

Where the spec names a file for validation or test, its rows are that split, and rows elsewhere that
belong to one of their clusters are left out (`in_held_out`).
"""

from __future__ import annotations

import hashlib
import math
from array import array
from bisect import bisect_left
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import orjson

from gateway.core.errors import DataError
from gateway.core.rows import SPLITS, Refusal, Row, Split
from gateway.core.spec import Data
from gateway.data.dataset import Dataset, OnProgress, Record, run_pass
from gateway.data.similar import Sketches, clusters, near_pairs, same_key

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from gateway.data.similar import Pairs

DEFAULT_SALT: Final = b"tunegate.split/1"
_EXCLUDED = len(SPLITS)
_DIGEST_BYTES = 32
_ALL_BUT_SURE = 0.01


@dataclass(frozen=True, slots=True, eq=False)
class SplitAssignment:
    """Which split each used row is in; about 9 bytes a row.

    Attributes:
        codes: one byte per usable row in reading order: index into `SPLITS`, or 3 for excluded.
        rows: rows per split that has any.
        excluded: usable rows left out because a held-out file has their like (`in_held_out`).
        duplicates: usable rows that equal an earlier one.
        hash: SHA-256 (hex) over every used row's canonical JSON and split file, in reading order:
            it names exactly this data.
    """

    codes: bytes
    rows: Mapping[Split, int]
    excluded: int
    duplicates: int
    hash: str
    _lines: array[int]
    _bounds: tuple[int, ...]

    def of(self, record: Record | Row) -> Split | None:
        """The split of a record of the same dataset; None when it is refused or excluded."""
        start, end = self._bounds[record.file], self._bounds[record.file + 1]
        at = bisect_left(self._lines, record.line, start, end)
        if at == end or self._lines[at] != record.line:
            return None
        code = self.codes[at]
        return None if code == _EXCLUDED else SPLITS[code]


class SplitCollector:
    """Observer of one pass that learns enough of each row to split the dataset at the end.

    Memory per row: 40 bytes; 136 more where a split or a group is asked for.

    Args:
        salt: mixed into every split hash, so that a split does not betray which group is which;
            the same salt gives the same split.
        common: as another one over the same data says it, where this one sees but some of the rows.
    """

    def __init__(self, dataset: Dataset, *, salt: bytes = DEFAULT_SALT, common: bytes | None = None) -> None:
        self._dataset = dataset
        self._data = dataset.data
        self.salt = salt
        self._salt = hashlib.sha256(salt).digest()
        self._digests = bytearray()
        self._lines = array("q")
        self._counts = [0] * len(dataset.sources)
        self._groups = array("Q")
        self._sketches = Sketches(common) if is_split(self._data) else None

    @property
    def common(self) -> bytes | None:
        """What the first rows taught about the others; None as long as they have not, or need not."""
        return self._sketches.common if self._sketches is not None else None

    @property
    def settled(self) -> bool:
        """Whether others can see the rows that are left."""
        return self._sketches is None or self.common is not None

    def settle(self) -> None:
        """There are no more rows to learn from."""
        if self._sketches is not None:
            self._sketches.settle()

    def hand_over(self) -> dict[str, Any]:
        """What was seen since the last time, as JSON values, for another one's `add`; hashes, no text."""
        part = {
            "digests": self._digests.hex(),
            "lines": self._lines.tolist(),
            "counts": self._counts,
            "groups": self._groups.tolist(),
            "sketches": self._sketches and self._sketches.hand_over(),
        }
        self._digests, self._lines, self._groups = bytearray(), array("q"), array("Q")
        self._counts = [0] * len(self._counts)
        return part

    def add(self, part: Mapping[str, Any]) -> None:
        """Take in what another one saw, further on in the data."""
        self._digests += bytes.fromhex(part["digests"])
        self._lines.extend(part["lines"])
        self._counts = [mine + more for mine, more in zip(self._counts, part["counts"], strict=True)]
        self._groups.extend(part["groups"])
        if self._sketches is not None:
            self._sketches.add_signed(part["sketches"])

    def see(self, record: Record) -> None:
        row = record.outcome
        if isinstance(row, Refusal):
            return
        self._digests += row_digest(row)
        self._lines.append(record.line)
        self._counts[record.file] += 1
        if self._sketches is not None:
            self._sketches.add(row)
            if row.group is not None:
                self._groups.append(self._hash64(b"group:" + row.group.encode()))

    def finish(self) -> SplitAssignment:
        """The assignment, once every record was seen.

        Raises:
            DataError: a split that was asked for, or training, would get no row.
        """
        import numpy as np

        bounds = (0, *np.cumsum(self._counts, dtype=np.int64).tolist())
        codes = self._codes(bounds, self._sketches)
        counts = np.bincount(codes, minlength=_EXCLUDED + 1).tolist()
        rows: dict[Split, int] = {split: counts[code] for code, split in enumerate(SPLITS) if counts[code]}
        if len(codes):
            self._check_not_empty(rows, len(codes))
        return SplitAssignment(
            codes=codes.tobytes(),
            rows=rows,
            excluded=counts[_EXCLUDED],
            duplicates=len(codes) - len(np.unique(self._keys())),
            hash=self._content_hash(codes, bounds),
            _lines=self._lines,
            _bounds=bounds,
        )

    def _codes(self, bounds: tuple[int, ...], sketches: Sketches | None) -> NDArray[np.uint8]:
        """One code per row, shape (rows,)."""
        import numpy as np

        rows = len(self._lines)
        own = np.zeros(rows, dtype=np.uint8)  # the split of the row's own file
        for file, source in enumerate(self._dataset.sources):
            if source.split is not None:
                own[bounds[file] : bounds[file + 1]] = SPLITS.index(source.split)
        if sketches is None or not rows:
            return own
        labels = clusters(self._edges(sketches), rows)
        by_cluster = self._by_cluster(labels)
        strongest = np.zeros(int(labels.max()) + 1, dtype=np.uint8)
        np.maximum.at(strongest, labels, own)
        held = strongest[labels]
        # A row whose cluster reaches into a held-out file belongs there only if it came from there.
        return np.where(held == 0, by_cluster[labels], np.where(own == held, own, _EXCLUDED)).astype(np.uint8)

    def _edges(self, sketches: Sketches) -> Iterator[Pairs]:
        import numpy as np

        yield same_key(self._keys())
        if self._groups:
            yield same_key(np.frombuffer(self._groups, dtype=np.uint64))
        yield from near_pairs(*sketches.finish())

    def _by_cluster(self, labels: NDArray[np.int32]) -> NDArray[np.uint8]:
        """The split each cluster falls into by its smallest key, shape (clusters,)."""
        import numpy as np

        keys = np.frombuffer(self._groups, dtype=np.uint64) if self._groups else self._keys()
        smallest = np.full(int(labels.max()) + 1, 2**64 - 1, dtype=np.uint64)
        np.minimum.at(smallest, labels, keys)
        # The minimum of many hashes is small: hashed once more, it is uniform again.
        places = (self._hash64(int(key).to_bytes(8, "little")) / 2**64 for key in smallest)
        test = _fraction(self._data.test)
        limits = (test, test + _fraction(self._data.validation))
        test_code, validation_code = SPLITS.index("test"), SPLITS.index("validation")
        return np.fromiter(
            (test_code if u < limits[0] else validation_code if u < limits[1] else 0 for u in places),
            dtype=np.uint8,
            count=len(smallest),
        )

    def _keys(self) -> NDArray[np.uint64]:
        """The first eight bytes of every row's digest, shape (rows,)."""
        import numpy as np

        digests = np.frombuffer(self._digests, dtype="<u8").reshape(-1, _DIGEST_BYTES // 8)
        return digests[:, 0].astype(np.uint64)

    def _content_hash(self, codes: NDArray[np.uint8], bounds: tuple[int, ...]) -> str:
        """Over the digests of the used rows, in reading order."""
        import numpy as np

        digests = np.frombuffer(self._digests, dtype=np.uint8).reshape(-1, _DIGEST_BYTES)
        total = hashlib.sha256(b"tunegate.data/1:" + self._dataset.task.encode())
        for file, source in enumerate(self._dataset.sources):
            part = slice(bounds[file], bounds[file + 1])
            if source.split is not None:
                total.update(f":{source.split}:".encode())
            total.update(digests[part][codes[part] != _EXCLUDED].tobytes())
        return total.hexdigest()

    def _hash64(self, value: bytes) -> int:
        return int.from_bytes(hashlib.blake2b(value, key=self._salt, digest_size=8).digest(), "little")

    def _check_not_empty(self, rows: Mapping[Split, int], usable: int) -> None:
        parts: tuple[tuple[Split, float | str], ...] = (
            ("test", self._data.test),
            ("validation", self._data.validation),
        )
        for split, asked in parts:
            if asked and not rows.get(split):
                raise DataError(
                    f"{split} gets none of the {usable} usable rows",
                    place=f"data.{split}",
                    fix=_how_to_fill(asked),
                )
        if not rows.get("train"):
            raise DataError(
                f"no row is left for training: all {usable} are held out",
                place="data",
                fix="ask for smaller validation and test parts; rows of one group, and copies, stay together",
            )


def _how_to_fill(asked: float | str) -> str:
    if isinstance(asked, str):
        return "its file has no usable row, or only rows that the other held-out file has too"
    enough = math.ceil(math.log(_ALL_BUT_SURE) / math.log1p(-asked))
    return (
        f"give a larger fraction, a path, or at least {enough} rows that are not copies of each other"
        " (rows of one group count as one)"
    )


def _fraction(value: float | str) -> float:
    return 0.0 if isinstance(value, str) else value


def is_split(data: Data) -> bool:
    """Whether any row is to be held out."""
    return bool(data.validation or data.test)


def row_digest(row: Row) -> bytes:
    """SHA-256 of a row's canonical JSON: its content, wherever it stands."""
    return hashlib.sha256(orjson.dumps(row.to_json(), option=orjson.OPT_SORT_KEYS)).digest()


def assign_splits(
    dataset: Dataset, data: Data, *, salt: bytes = DEFAULT_SALT, on_progress: OnProgress | None = None
) -> SplitAssignment:
    """Read the dataset once and decide every row's split.

    Raises:
        DataError: the dataset cannot be read, or a split that was asked for would get no row.
    """
    if data != dataset.data:
        raise DataError(
            "the dataset was opened for another spec", place="data", fix="open it again with this one"
        )
    check_fractions(data)
    collector = SplitCollector(dataset, salt=salt)
    run_pass(dataset, [collector], on_progress)
    return collector.finish()


def check_fractions(data: Data) -> None:
    if _fraction(data.validation) + _fraction(data.test) >= 1:
        raise DataError(
            "validation and test together leave nothing to train on",
            place="data",
            fix="ask for fractions that add up to less than 1",
        )


def rows_of(dataset: Dataset, assignment: SplitAssignment, split: Split) -> Iterator[Row]:
    """The rows of one split, in reading order, streamed."""
    for record in dataset.records():
        if isinstance(record.outcome, Row) and assignment.of(record) == split:
            yield record.outcome
