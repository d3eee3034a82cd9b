"""Is the account whole? Edited, removed, reordered, truncated: each is told, with its number.

What a chain cannot show by itself is a cut tail, or a whole account written anew by someone who
holds the key. Both show against a head that was exported earlier and kept elsewhere.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from gateway.core.errors import RecordError
from gateway.records.envelope import NO_PREVIOUS, Record, Unverified, open_
from gateway.records.keys import key_id, public_key

EXPORT_SCHEMA = "tunegate.records/1"
_HEAD = re.compile(r"(\d{1,12}):([0-9a-f]{64})")


@dataclass(frozen=True, slots=True)
class Head:
    """The last record: its number and the SHA-256 of its bytes. Written `SEQ:SHA256`."""

    sequence: int
    sha256: str

    @classmethod
    def parse(cls, text: str) -> Head:
        """Raises:
        RecordError: this is not a head.
        """
        found = _HEAD.fullmatch(text.strip())
        if found is None:
            raise RecordError("a head is written SEQ:SHA256", fix="`tunegate records export` prints one")
        return cls(int(found[1]), found[2])

    def __str__(self) -> str:
        return f"{self.sequence}:{self.sha256}"


@dataclass(frozen=True, slots=True)
class Problem:
    """What is wrong with one record.

    `code` is `edited`, `removed`, `reordered`, `truncated`, `rewritten` or `unknown_key`.
    """

    sequence: int
    code: str
    text: str

    def __str__(self) -> str:
        return f"record {self.sequence}: {self.code}: {self.text}"

    def to_json(self) -> dict[str, Any]:
        return {"sequence": self.sequence, "code": self.code, "text": self.text}


@dataclass(frozen=True, slots=True)
class VerifyReport:
    """What verification found. `anchored` says whether a head from elsewhere was compared."""

    records: int
    head: Head | None
    problems: tuple[Problem, ...]
    anchored: bool

    @property
    def ok(self) -> bool:
        return not self.problems

    def to_json(self) -> dict[str, Any]:
        return {
            "schema": "tunegate.verification/1",
            "ok": self.ok,
            "records": self.records,
            "head": None if self.head is None else str(self.head),
            "anchored": self.anchored,
            "problems": [problem.to_json() for problem in self.problems],
        }


def verify_chain(
    places: Mapping[int, bytes], keys: Mapping[str, Ed25519PublicKey], head: Head | None = None
) -> VerifyReport:
    """Check records by the place they stand at (1-based), against a head where one is given."""
    opened = {place: open_(content, keys) for place, content in sorted(places.items())}
    records = {place: found for place, found in opened.items() if isinstance(found, Record)}
    problems = [
        Problem(place, found.code, found.text)
        for place, found in opened.items()
        if isinstance(found, Unverified)
    ]
    problems += [
        Problem(place, "reordered", f"record {record.sequence} stands in its place")
        for place, record in records.items()
        if record.sequence != place
    ]
    by_sequence = {record.sequence: record for record in records.values()}
    problems += _missing(opened, by_sequence, head)
    problems += _broken_links(by_sequence)
    if head is not None and (found := by_sequence.get(head.sequence)) and found.sha256 != head.sha256:
        problems.append(Problem(head.sequence, "rewritten", "is not the record the head was taken from"))
    last = by_sequence[max(by_sequence)] if by_sequence else None
    return VerifyReport(
        records=len(places),
        head=last and Head(last.sequence, last.sha256),
        problems=tuple(sorted(problems, key=lambda problem: (problem.sequence, problem.code))),
        anchored=head is not None,
    )


def _missing(
    opened: Mapping[int, Record | Unverified], by_sequence: Mapping[int, Record], head: Head | None
) -> list[Problem]:
    """Numbers nobody bears. A place whose bytes do not verify is edited, not missing."""
    damaged = {place for place, found in opened.items() if isinstance(found, Unverified)}
    last = max((*opened, *by_sequence), default=0)
    gone = sorted(set(range(1, last + 1)) - set(by_sequence) - damaged)
    problems = [Problem(sequence, "removed", "is not there") for sequence in gone]
    if head is not None and head.sequence > last:
        text = f"the account ends at {last}; the head names record {head.sequence}"
        problems.append(Problem(last + 1, "truncated", text))
    return problems


def _broken_links(by_sequence: Mapping[int, Record]) -> list[Problem]:
    """Records that are validly signed, and are not the ones their successors were signed after."""
    problems: list[Problem] = []
    for sequence, record in by_sequence.items():
        before = by_sequence.get(sequence - 1)
        expected = before.sha256 if before else NO_PREVIOUS if sequence == 1 else None
        if expected is not None and record.previous != expected:
            changed = max(sequence - 1, 1)
            problems.append(Problem(changed, "rewritten", f"record {sequence} was signed after another one"))
    return problems


def export_lines(
    places: Mapping[int, bytes], pems: Mapping[str, str], head: Head | None
) -> tuple[bytes, ...]:
    """A line that names schema, head and public keys, then every record as stored."""
    top = {"schema": EXPORT_SCHEMA, "head": None if head is None else str(head), "keys": dict(pems)}
    return (json.dumps(top).encode() + b"\n", *(places[place] for place in sorted(places)))


def verify_export(
    path: Path, head: Head | None = None, *, trusted: Collection[str] | None = None
) -> VerifyReport:
    """Check an exported account, on any machine.

    Args:
        head: a head kept elsewhere. Without it, or `trusted`, an export vouches only for itself.
        trusted: ids of the only keys to believe; None believes those the export brings.

    Raises:
        RecordError: the file cannot be read or is not an export.
    """
    try:
        first, *lines = path.read_bytes().splitlines(keepends=True)
        top = cast("dict[str, Any]", json.loads(first))
        pems = [str(pem) for pem in top["keys"].values()]
        known = top["schema"] == EXPORT_SCHEMA
    except OSError as error:
        raise RecordError(f"cannot be read: {error.strerror}", place=str(path)) from None
    except (ValueError, KeyError, TypeError, AttributeError):
        known, pems, lines = False, [], []
    if not known:
        raise RecordError("is not an export of records", place=str(path), fix="see `tunegate records export`")
    return verify_chain(dict(enumerate(lines, 1)), keys_by_id(pems, trusted), head)


def keys_by_id(pems: Collection[str], trusted: Collection[str] | None = None) -> dict[str, Ed25519PublicKey]:
    """Public keys under the ids that follow from their bytes, whatever they were filed under."""
    found = [key for pem in pems if (key := public_key(pem)) is not None]
    by_id = {key_id(key): key for key in found}
    return {name: key for name, key in by_id.items() if trusted is None or name in trusted}
