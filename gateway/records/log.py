"""The append-only account: one file per record, numbered, each holding its predecessor's hash.

    records/
      00000001.json …     one DSSE envelope each, one line of JSON
      00000005.torn       a record that ended in its middle, put aside
      keys/<key id>.pem   the keyring: public keys of every signer so far. Since when and until when each
                          signed is told by the account itself: a `key_rotation` record is a key's last

A file gets its name only when its bytes are on disk, under a lock that all writers share: a kill,
a power cut or a second process leaves a whole record or none, and never two with one number.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from gateway.core.errors import RecordError
from gateway.records.allowed import check_predicate
from gateway.records.envelope import NO_PREVIOUS, STATEMENT_TYPE, Record, Unverified, open_, seal, sha256
from gateway.records.files import set_aside, write_new, writing
from gateway.records.keys import Signer
from gateway.records.kinds import EXPORTED, KINDS, kind_of
from gateway.records.verify import Head, VerifyReport, is_torn, keys_by_id, verify_chain

_NAME = re.compile(r"(\d{8,})\.json")
_SKEW = timedelta(hours=1)  # how far clocks of machines that share an account may differ
Subject = tuple[str, str]


@dataclass(frozen=True, slots=True)
class RecordRef:
    """Where a record is, and what it hashes to."""

    sequence: int
    sha256: str
    path: Path

    def to_json(self) -> dict[str, Any]:
        return {"sequence": self.sequence, "sha256": self.sha256, "path": str(self.path)}


@dataclass(frozen=True, slots=True)
class Entry:
    """A line of the list of records. `kind` is `?` and `job` None where the record does not verify.

    `attempt` counts from 1; None for what comes before any attempt.
    """

    sequence: int
    at: str
    kind: str
    subjects: tuple[str, ...]
    sha256: str
    job: str | None
    attempt: int | None
    path: Path

    def is_before(self, moment: datetime) -> bool:
        """Whether it was written earlier; False where nobody can tell."""
        return bool(self.at) and datetime.fromisoformat(self.at) < moment


class RecordLog:
    """The account kept in one folder.

    Args:
        folder: made on the first append.
        key: signs what is appended; its public half is kept beside the records.
        clock: gives the time, UTC.
    """

    def __init__(self, folder: Path, key: Signer, clock: Callable[[], datetime]) -> None:
        self.folder = folder
        self._key = key
        self._clock = clock
        self._seen: dict[tuple[int, int, int, int], Entry] = {}
        self._hint = 0  # a record that was there, from which the last one is near

    def append(self, kind: str, subjects: Sequence[Subject], predicate: Mapping[str, Any]) -> RecordRef:
        """Sign and store one record.

        Args:
            kind: one of `KINDS`.
            subjects: (name, SHA-256 hex) of what the record is about; at least one.
            predicate: the record's body, as the functions in `predicates` make it.

        Raises:
            RecordError: an unknown kind, field or digest; a full disk or a folder that cannot be
                written. Nothing is left half-written.
        """
        check_predicate(kind, predicate)
        described = _subjects(subjects)
        with writing(self.folder, "the record cannot be written"):
            return self._append(kind, described, predicate)

    def rotate(self, successor: Signer, *, why: str) -> RecordRef:
        """The present key's last record: it names its successor, and retires. The account must then be
        opened with the successor.

        Raises:
            RecordError: it cannot be written.
        """
        body = {
            "retired": self._key.id,
            "successor": successor.id,
            "public_pem": successor.public_pem,
            "why": why,
        }
        check_predicate("key_rotation", body)
        described = _subjects([("retired", self._key.id), ("successor", successor.id)])
        with writing(self.folder, "the record cannot be written"):
            self._keep(successor)
            ref = self._append("key_rotation", described, body)
            self._retire(ref.path.read_bytes())
        return ref

    def _retirement(self, key: str) -> Path:
        """Where a retired key's last record is noted, so that a process that still holds the key stops
        using it. Verification does not rely on it."""
        return self.folder / "keys" / f"{key}.retired"

    def _retire(self, last: bytes) -> None:
        """Note who retired with this record, if anybody did: by whoever comes next, should the one who
        wrote it have died."""
        found = open_(last, self._keys())
        if isinstance(found, Record) and kind_of(found.statement["predicateType"]) == "key_rotation":
            place = self._retirement(str(found.predicate["retired"]))
            if not place.exists():
                write_new(place, str(found.sequence).encode())

    def prune(self, *, before: datetime, keep_years: int) -> RecordRef | None:
        """Remove the oldest records, up to the first that was written at or after `before`. A signed
        record is left in their stead, with the hash that the chain goes on from, and so are the records
        of key rotations. None where nothing is old enough.

        Args:
            keep_years: how long records are to be kept; nothing younger is removed, whatever `before` says.

        Raises:
            RecordError: `before` is later than that, the account is damaged, or it cannot be written.
        """
        with writing(self.folder, "records cannot be removed"):
            if not self.verify().ok:
                raise RecordError("a damaged account is not pruned", fix="see `tunegate records verify`")
            old = self.older(before, keep_years=keep_years)
            if not old:
                return None
            last = old[-1]
            removed = sum(entry.kind != "key_rotation" for entry in old)
            body = {
                "through": last.sequence,
                "sha256": last.sha256,
                "removed": removed,
                "oldest": old[0].at,
                "newest": last.at,
                "keep_years": keep_years,
            }
            check_predicate("pruned", body)
            ref = self._append("pruned", _subjects([("last", last.sha256)]), body)
            for entry in old:
                if entry.kind != "key_rotation":
                    entry.path.unlink()
        return ref

    def older(self, before: datetime, *, keep_years: int) -> list[Entry]:
        """The unbroken beginning of the account that `prune` would remove; empty where only rotations of
        keys are left of it.

        Raises:
            RecordError: `before` is later than the years that records are to be kept.
        """
        limit = years_before(self._clock(), keep_years)
        if before > limit:
            raise RecordError(
                f"records are kept for {keep_years} years: nothing after {limit:%Y-%m-%d} may be removed",
                fix="name an earlier day, or change `keep_years` under `[records]` in tunegate.toml",
            )
        entries = list(self.entries())
        young = (at for at, entry in enumerate(entries) if not entry.is_before(before))
        old = entries[: next(young, len(entries))]
        return old if any(entry.kind != "key_rotation" for entry in old) else []

    def _append(self, kind: str, described: list[dict[str, Any]], predicate: Mapping[str, Any]) -> RecordRef:
        """Under the lock: number, chain, sign, store."""
        self._keep(self._key)
        last = self._last_whole()
        before = self._path(last).read_bytes() if last else b""
        self._retire(before)
        if (retired := self._retirement(self._key.id)).exists():
            raise RecordError(
                f"this key was retired at record {retired.read_text()}",
                place=str(retired),
                fix="run the command again: it opens the account with the key that followed",
            )
        sequence = last + 1
        previous = sha256(before) if last else NO_PREVIOUS
        log = {"sequence": sequence, "previous": previous, "at": self._clock().isoformat()}
        statement = {
            "_type": STATEMENT_TYPE,
            "subject": described,
            "predicateType": KINDS[kind].uri,
            "predicate": {**predicate, "log": log},
        }
        content = seal(statement, self._key)
        path = self._path(sequence)
        write_new(path, content)
        self._hint = sequence
        return RecordRef(sequence, sha256(content), path)

    def _last_whole(self) -> int:
        """The last record, once what a crash left was put aside: drafts without a name, and a last record
        that ends in its middle (a file system that lost what it had promised to keep). 0: none."""
        if not self._hint:
            for draft in self.folder.glob(".*.json.*"):
                draft.unlink(missing_ok=True)
        last = self._last()
        if last and is_torn(self._path(last).read_bytes()):
            set_aside(self._path(last), ".torn")
            self._hint = 0
            return self._last()
        return last

    def _last(self) -> int:
        """The last record's number: near the one that was last when we looked; 0 for an empty account."""
        last = self._hint
        if not last or not self._path(last).exists():
            last = max(self._places(), default=0)
        while self._path(last + 1).exists():
            last += 1
        self._hint = last
        return last

    def _path(self, sequence: int) -> Path:
        return self.folder / f"{sequence:08d}.json"

    def verify(self, head: Head | None = None, *, pinned: Collection[str] | None = None) -> VerifyReport:
        """Check every signature, the numbering and the chain.

        Args:
            head: a head exported earlier and kept elsewhere; shows a cut tail and a rewritten account.
            pinned: ids of the keys to believe, with those they named as successors; None believes all
                keys kept beside the records.
        """
        report = verify_chain(self.contents(), self._keys(), head, pinned=pinned)
        torn = sorted(path.name for path in self.folder.glob("*.torn")) if self.folder.is_dir() else []
        notes = (f"{name} ended in its middle after a crash, and was put aside" for name in torn)
        return replace(report, notes=(*report.notes, *notes))

    def head(self) -> Head | None:
        """The last record, to be kept elsewhere; None for an empty account."""
        last = self._last()
        return Head(last, sha256(self._read(self._path(last)))) if last else None

    def show(self, sequence: int) -> dict[str, Any]:
        """One record: its statement, and whether its signature holds.

        Raises:
            RecordError: there is no such record, or its signature does not hold.
        """
        places = self._places()
        if sequence not in places:
            raise RecordError(f"there is no record {sequence}", fix="list them with `tunegate records show`")
        found = open_(self._read(places[sequence]), self._keys())
        if isinstance(found, Unverified):
            place = str(places[sequence])
            raise RecordError(f"record {sequence} {found.text}", place=place, fix="`tunegate records verify`")
        return {
            "sequence": found.sequence,
            "sha256": found.sha256,
            "key_id": found.key_id,
            "kind": kind_of(found.statement["predicateType"]),
            "statement": found.statement,
        }

    def entries(self, *, since: datetime | None = None) -> tuple[Entry, ...]:
        """Records in order, one line each; all of them, or those written from `since` on."""
        keys = self._keys()
        places = range(self._last(), 0, -1) if since else sorted(self._places(), reverse=True)
        found: list[Entry] = []
        for place in places:
            if (path := self._path(place)).exists():
                entry = self._entry(place, path, keys)
                if since is not None and entry.is_before(since - _SKEW):
                    break  # a long account is not read to its beginning for a job of today
                found.append(entry)
        return tuple(reversed(found))

    def of_job(self, job_id: str, *, since: datetime | None = None) -> tuple[Entry, ...]:
        """The records about one job that verify, oldest first; `since` is when the job was made."""
        return tuple(entry for entry in self.entries(since=since) if entry.job == job_id)

    def _entry(self, place: int, path: Path, keys: Mapping[str, Ed25519PublicKey]) -> Entry:
        """One line of the list. A file that did not change since it was looked at is not opened again:
        verification is `verify`'s, and always looks."""
        stat = path.stat()
        mark = (place, stat.st_ino, stat.st_size, stat.st_mtime_ns)
        if (entry := self._seen.get(mark)) is None:
            content = self._read(path)
            entry = self._seen[mark] = _entry(place, path, content, open_(content, keys))
        return entry

    def records(self) -> tuple[Record, ...]:
        """Every record that verifies, in order."""
        keys = self._keys()
        opened = (open_(content, keys) for _, content in sorted(self.contents().items()))
        return tuple(each for each in opened if isinstance(each, Record))

    def seal_manifest(self, files: Mapping[str, str], said: Mapping[str, Any]) -> bytes:
        """A signed list of an export's files: name → SHA-256. It is no record of the account."""
        statement = {
            "_type": STATEMENT_TYPE,
            "subject": _subjects(list(files.items())),
            "predicateType": EXPORTED,
            "predicate": dict(said),
        }
        return seal(statement, self._key)

    def _keep(self, key: Signer) -> None:
        """The public half of a key that signs here, or will."""
        folder = self.folder / "keys"
        folder.mkdir(exist_ok=True)
        path = folder / f"{key.id}.pem"
        if not path.exists():
            write_new(path, key.public_pem.encode())

    def _keys(self) -> dict[str, Ed25519PublicKey]:
        return keys_by_id(tuple(self.pems().values()))

    def pems(self) -> dict[str, str]:
        """The keyring: public keys in PEM, by id."""
        folder = self.folder / "keys"
        return {
            path.stem: path.read_text(encoding="ascii", errors="replace") for path in folder.glob("*.pem")
        }

    def _places(self) -> dict[int, Path]:
        if not self.folder.is_dir():
            return {}
        return {
            int(found[1]): path for path in self.folder.iterdir() if (found := _NAME.fullmatch(path.name))
        }

    def contents(self) -> dict[int, bytes]:
        """Every record's bytes, by the number it is filed under."""
        return {place: self._read(path) for place, path in self._places().items()}

    def _read(self, path: Path) -> bytes:
        try:
            return path.read_bytes()
        except OSError as error:
            raise RecordError(f"cannot be read: {error.strerror}", place=str(path)) from None


def years_before(moment: datetime, years: int) -> datetime:
    """The same day, years earlier; the 28th of February for the 29th."""
    try:
        return moment.replace(year=moment.year - years)
    except ValueError:
        return moment.replace(year=moment.year - years, day=28)


def _subjects(subjects: Sequence[Subject]) -> list[dict[str, Any]]:
    if not subjects:
        raise RecordError("a record is about something: give it a subject")
    for name, digest in subjects:
        if not re.fullmatch(r"[0-9a-f]{64}", digest):
            raise RecordError(f"subject {name}: a digest is 64 lower-case hexadecimal digits")
    return [{"name": name, "digest": {"sha256": digest}} for name, digest in subjects]


def _entry(place: int, path: Path, content: bytes, found: Record | Unverified) -> Entry:
    if isinstance(found, Unverified):
        return Entry(place, "", "?", (found.text,), sha256(content), None, None, path)
    statement, predicate = found.statement, found.statement["predicate"]
    names = tuple(str(subject["name"]) for subject in statement["subject"])
    kind = kind_of(statement["predicateType"])
    job, attempt = predicate.get("job"), predicate.get("attempt")
    return Entry(place, predicate["log"]["at"], kind, names, found.sha256, job, attempt, path)
