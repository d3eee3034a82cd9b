"""What a scrub did to a file: counts, hashes and classes, and no text."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

from pydantic import TypeAdapter

from gateway.core.classes import DataClass
from gateway.core.errors import DataError

SCHEMA = "tunegate.data-scrub/1"
BESIDE = ".scrub.json"
LIMITS = "Rules miss names. What they left has to be looked for by a person: `tunegate data review`."


@dataclass(frozen=True, slots=True)
class ScrubReport:
    """One file scrubbed. `rows == written + refused`.

    Attributes:
        changed: rows in which something was replaced.
        refused: rows that could not be read or rewritten and are not in the output, by reason code.
        first_refused: the first line of each such code.
        replaced: places that were rewritten, by type of finding (`subject` is the group's own field).
        left: findings in the output, at or above the flag threshold, that we did not write.
        source_class: the class that the findings alone gave the source.
        key_id: names the secret, and does not tell it.
    """

    method: str
    source_sha256: str
    sha256: str
    key_id: str
    rows: int
    written: int
    changed: int
    refused: Mapping[str, int]
    first_refused: Mapping[str, int]
    replaced: Mapping[str, int]
    left: Mapping[str, int]
    source_class: DataClass

    def to_json(self) -> dict[str, Any]:
        return {
            "schema": SCHEMA,
            "method": self.method,
            "source_sha256": self.source_sha256,
            "sha256": self.sha256,
            "key_id": self.key_id,
            "rows": self.rows,
            "written": self.written,
            "changed": self.changed,
            "refused": dict(self.refused),
            "first_refused": dict(self.first_refused),
            "replaced": dict(self.replaced),
            "left": dict(self.left),
            "source_class": str(self.source_class),
            "limits": LIMITS,
        }

    @classmethod
    def beside(cls, path: Path) -> ScrubReport | None:
        """The report that lies beside a file; None where none does.

        Raises:
            DataError: what lies there makes no sense. The file may not pass for one that was never
                scrubbed, whose class would be what it is said to be.
        """
        place = path.with_name(path.name + BESIDE)
        if not place.exists():
            return None
        try:
            found = cast("dict[str, Any]", json.loads(place.read_bytes()))
            known = found.pop("schema") == SCHEMA and found.pop("limits")
            found["source_class"] = DataClass.parse(found["source_class"])
            report = TypeAdapter(cls).validate_python(found)
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            known, report = False, None
        if not known or report is None:
            raise DataError(
                "the account of how this file was scrubbed cannot be read",
                place=str(place),
                fix="scrub the data again",
            )
        return report


@dataclass(slots=True)
class Tally:
    """Counts while a file is scrubbed."""

    rows: int = 0
    written: int = 0
    changed: int = 0
    refused: Counter[str] = field(default_factory=Counter[str])
    first_refused: dict[str, int] = field(default_factory=dict[str, int])
    replaced: Counter[str] = field(default_factory=Counter[str])
    left: Counter[str] = field(default_factory=Counter[str])
    detected: DataClass = DataClass.PUBLIC

    def refuse(self, code: str, line: int) -> None:
        self.refused[code] += 1
        self.first_refused.setdefault(code, line)

    def report(self, method: str, key: bytes, source_sha256: str, sha256: str) -> ScrubReport:
        return ScrubReport(
            method=method,
            source_sha256=source_sha256,
            sha256=sha256,
            key_id=key_id(key),
            rows=self.rows,
            written=self.written,
            changed=self.changed,
            refused=dict(sorted(self.refused.items())),
            first_refused=dict(sorted(self.first_refused.items())),
            replaced=dict(sorted(self.replaced.items())),
            left=dict(sorted(self.left.items())),
            source_class=self.detected,
        )


def key_id(key: bytes) -> str:
    return hashlib.sha256(b"tunegate.scrub-key:" + key).hexdigest()[:16]
