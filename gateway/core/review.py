"""What is known of a dataset beside what is in it: where it came from, and what officers signed about it.

None of these holds text of the dataset.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date
from typing import Any

from gateway.core.classes import DataClass


@dataclass(frozen=True, slots=True)
class Lineage:
    """That a dataset was made from another by scrubbing.

    Attributes:
        source_hash: SHA-256 over the hashes of the files it was made from.
        method: how, with its version.
        source_class: the class found in the source: the least that the result has, since rules miss names.
        rows_refused: rows of the source that could not be scrubbed and are not in the result.
        left: findings in the result that the scrub did not write, by type.
        edited: whether the files were changed after they were scrubbed.
    """

    source_hash: str
    method: str
    source_class: DataClass
    rows_refused: int = 0
    left: Mapping[str, int] = field(default_factory=dict[str, int])
    edited: bool = False

    def to_json(self) -> dict[str, Any]:
        return {
            "source_hash": self.source_hash,
            "method": self.method,
            "source_class": str(self.source_class),
            "rows_refused": self.rows_refused,
            "left": dict(self.left),
            "edited": self.edited,
        }


@dataclass(frozen=True, slots=True)
class Determination:
    """An officer's signed finding that exactly this data is of this class.

    Attributes:
        data_hash: of the dataset it is about (`DataProfile.hash`); it says nothing of any other.
        method: how the data was scrubbed; `none` where it was not.
        to: the class it gives the data.
        sampled, leaks: rows looked at, and those in which something identifying was seen.
        upper_bound: with 95 % confidence at most this share of the rows leaks; None where none was looked at.
        officer, key_id: who signed, with which key.
        signed, expires: first and last day on which it holds.
        document: SHA-256 of the signed file.
    """

    data_hash: str
    method: str
    to: DataClass
    sampled: int
    leaks: int
    upper_bound: float | None
    officer: str
    key_id: str
    signed: date
    expires: date
    document: str

    def to_json(self) -> dict[str, Any]:
        return {
            "data_hash": self.data_hash,
            "method": self.method,
            "to": str(self.to),
            "sampled": self.sampled,
            "leaks": self.leaks,
            "upper_bound": self.upper_bound,
            "officer": self.officer,
            "key_id": self.key_id,
            "signed": self.signed.isoformat(),
            "expires": self.expires.isoformat(),
            "document": self.document,
        }


@dataclass(frozen=True, slots=True)
class Review:
    """What officers signed about a dataset, as it holds on a day.

    Attributes:
        determination: the one in force; None where there is none.
        dismissed: findings that an officer dismissed, by type; they are not among the scan's.
        absent: why documents about this data, or about its source, do not hold.
    """

    determination: Determination | None = None
    dismissed: Mapping[str, int] = field(default_factory=dict[str, int])
    absent: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        return {
            "determination": self.determination and self.determination.to_json(),
            "dismissed": dict(self.dismissed),
            "absent": list(self.absent),
        }
