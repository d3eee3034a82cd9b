"""Is an account of records whole? Needs Python 3.10 and `cryptography`, and nothing of Tunegate: this very
file lies in every export, for whoever wants to read what they run.

    python verify.py                       the export this file lies in
    python verify.py records.jsonl --against SEQ:SHA256 --key KEY

A record is an in-toto Statement in a DSSE envelope, signed with Ed25519, as one line of JSON in its only
form. It holds its number and the SHA-256 of the record before it. So these are found, each with its number:
an edited record, a removed one, one in another's place, one written anew, a key that was retired or never
known. What a chain cannot show by itself is a cut tail, or a whole account written anew by someone who has
the key: both show against a head (`SEQ:SHA256`) that was kept elsewhere, and the second against a key's id.
"""

from __future__ import annotations

import argparse
import base64
import hashlib
import json
import re
import sys
import zipfile
import zlib
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import load_pem_public_key

STATEMENT_TYPE = "https://in-toto.io/Statement/v1"
PAYLOAD_TYPE = "application/vnd.in-toto+json"
EXPORT_SCHEMA = "tunegate.records/1"
NO_PREVIOUS = "0" * 64
RECORDS, MANIFEST = "records.jsonl", "manifest.json"
_ROTATION = "/predicate/key-rotation/v1"
_PRUNED = "/predicate/pruned/v1"
_HEAD = re.compile(r"(\d{1,12}):([0-9a-f]{64})")
_BEGINNING = b'{"payload":"'

Keys = Mapping[str, Ed25519PublicKey]


@dataclass(frozen=True, slots=True)
class Record:
    """A record whose signature holds."""

    sequence: int
    previous: str
    sha256: str
    key_id: str
    statement: Mapping[str, Any]

    @property
    def predicate(self) -> Mapping[str, Any]:
        return self.statement["predicate"]

    def is_a(self, kind: str) -> bool:
        return str(self.statement["predicateType"]).endswith(kind)


@dataclass(frozen=True, slots=True)
class Unverified:
    """Bytes that are not a record we can vouch for: a code, and why in words."""

    code: str
    text: str


@dataclass(frozen=True, slots=True)
class Head:
    """The last record: its number and the SHA-256 of its bytes. Written `SEQ:SHA256`."""

    sequence: int
    sha256: str

    @classmethod
    def read(cls, text: str) -> Head | None:
        found = _HEAD.fullmatch(text.strip())
        return cls(int(found[1]), found[2]) if found else None

    def __str__(self) -> str:
        return f"{self.sequence}:{self.sha256}"


@dataclass(frozen=True, slots=True)
class Problem:
    """What is wrong with one record.

    `sequence` is 0 for the other files of an export.
    `code` is `edited`, `torn`, `removed`, `reordered`, `truncated`, `rewritten`, `unknown_key` or
    `retired_key`. `torn` is a last record that ends in its middle, as a crash or a full disk leaves it.
    """

    sequence: int
    code: str
    text: str

    def __str__(self) -> str:
        place = f"record {self.sequence}" if self.sequence else "export"
        return f"{place}: {self.code}: {self.text}"

    def to_json(self) -> dict[str, Any]:
        return {"sequence": self.sequence, "code": self.code, "text": self.text}


@dataclass(frozen=True, slots=True)
class VerifyReport:
    """What verification found.

    Attributes:
        head: the last record; to be kept elsewhere.
        anchored: whether a head from elsewhere was compared.
        notes: what is no problem and yet worth knowing: pruned records, a key nobody introduced.
    """

    records: int
    head: Head | None
    problems: tuple[Problem, ...]
    anchored: bool
    notes: tuple[str, ...] = ()

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
            "notes": list(self.notes),
        }


# -- one envelope ---------------------------------------------------------------------------------


def signed_payload(content: bytes, keys: Keys) -> tuple[bytes, str] | Unverified:
    """What an envelope holds, and the id of the key that signed it: for any statement of ours, a record
    of the log or not. Never raises for any bytes."""
    try:
        envelope = json.loads(content)
        payload = base64.b64decode(envelope["payload"])
        (signed,) = envelope["signatures"]
        name, signature = str(signed["keyid"]), base64.b64decode(signed["sig"])
    except (ValueError, KeyError, TypeError, RecursionError):
        return Unverified("edited", "is not an envelope")
    if envelope_line(payload, name, signature) != content:
        return Unverified("edited", "was changed after it was signed")
    if name not in keys:
        return Unverified(
            "unknown_key",
            f"is signed with key {name[:12]!a}…, unknown here (`[[approvers]]` names whose keys are known)",
        )
    try:
        keys[name].verify(signature, pre_authentication(payload))
    except InvalidSignature:
        return Unverified("edited", "was changed after it was signed")
    return payload, name


def open_(content: bytes, keys: Keys) -> Record | Unverified:
    """Read stored bytes and check form, signature and shape. Never raises for any bytes."""
    opened = signed_payload(content, keys)
    if isinstance(opened, Unverified):
        return opened
    try:
        statement = cast("dict[str, Any]", json.loads(opened[0]))
        log = statement["predicate"]["log"]
        sequence, previous = log["sequence"], log["previous"]
        well_made = statement["_type"] == STATEMENT_TYPE and type(sequence) is int and type(previous) is str
    except (ValueError, KeyError, TypeError, RecursionError):
        well_made = False
    if not well_made:
        return Unverified("edited", "is signed, and is not one of our statements")
    return Record(sequence, previous, sha256(content), opened[1], statement)  # pyright: ignore[reportPossiblyUnboundVariable]


def envelope_line(payload: bytes, name: str, signature: bytes) -> bytes:
    """An envelope in the only form we write."""
    signatures = [{"keyid": name, "sig": base64.b64encode(signature).decode()}]
    encoded = base64.b64encode(payload).decode()
    return canonical({"payload": encoded, "payloadType": PAYLOAD_TYPE, "signatures": signatures}) + b"\n"


def pre_authentication(payload: bytes) -> bytes:
    """DSSE's pre-authentication encoding: what is signed is the payload together with its type."""
    return b"DSSEv1 %d %b %d %b" % (len(PAYLOAD_TYPE), PAYLOAD_TYPE.encode(), len(payload), payload)


def canonical(value: Mapping[str, Any]) -> bytes:
    """JSON in the only form we write: sorted keys, no spaces, ASCII."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False).encode()


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


# -- keys -----------------------------------------------------------------------------------------


def public_key(pem: str | bytes) -> Ed25519PublicKey | None:
    """An Ed25519 public key from PEM; None for anything else."""
    try:
        key = load_pem_public_key(pem.encode() if isinstance(pem, str) else pem)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        return None
    return key if isinstance(key, Ed25519PublicKey) else None


def key_id(key: Ed25519PublicKey) -> str:
    """SHA-256 (hex) of the 32 raw bytes."""
    return sha256(key.public_bytes_raw())


def keys_by_id(pems: Collection[str]) -> dict[str, Ed25519PublicKey]:
    """Public keys under the ids that follow from their bytes, whatever they were filed under."""
    return {key_id(key): key for pem in pems if (key := public_key(pem)) is not None}


def pinned_ids(pinned: Collection[str]) -> set[str] | None:
    """Ids of pinned keys, each given as an id or in PEM; None where none was."""
    given = keys_by_id([each for each in pinned if "BEGIN" in each])
    return {*given, *(each.strip() for each in pinned if "BEGIN" not in each)} if pinned else None


def _successors(places: Mapping[int, bytes], keys: Keys) -> Iterator[tuple[int, str, Ed25519PublicKey]]:
    """Every rotation that verifies: where it stands, the key that retires, and the one it names.
    A key may be known by its predecessor's word alone, so a chain of rotations is followed in order."""
    known = dict(keys)
    for _, content in sorted(places.items()):
        found = open_(content, known) if _says(content, _ROTATION) else None
        if isinstance(found, Record) and found.is_a(_ROTATION):
            key = public_key(str(found.predicate.get("public_pem")))
            if key is not None and key_id(key) == found.predicate.get("successor"):
                known[key_id(key)] = key
                yield found.sequence, found.key_id, key


def _believed(
    places: Mapping[int, bytes], keys: Keys, pinned: Collection[str] | None
) -> tuple[dict[str, Ed25519PublicKey], dict[str, int]]:
    """The keys to believe, and where each retired one signed last.

    A pinned key vouches for the successor it named. It also vouches for its predecessors: what it
    signed holds the hash of all that came before, provided that it signed something after them.
    """
    rotations = list(_successors(places, keys))
    every = {**keys, **{key_id(key): key for _, _, key in rotations}}
    retired = {old: sequence for sequence, old, _ in rotations}
    if pinned is None:
        return every, retired
    trusted = {name for name in pinned if name in every}
    for _, old, key in rotations:
        if old in trusted:
            trusted.add(key_id(key))
    for sequence, old, key in reversed(rotations):
        if key_id(key) in trusted and _signs_after(places, {key_id(key): key}, sequence):
            trusted.add(old)
    return {name: every[name] for name in trusted}, retired


def _says(content: bytes, kind: str) -> bool:
    """A look that costs little, before one that does not: whether the kind's name is in there."""
    try:
        return kind.encode() in base64.b64decode(json.loads(content)["payload"])
    except (ValueError, KeyError, TypeError, RecursionError):
        return False


def _signs_after(places: Mapping[int, bytes], key: Keys, sequence: int) -> bool:
    return any(isinstance(open_(places[place], key), Record) for place in places if place > sequence)


# -- the chain ------------------------------------------------------------------------------------


def verify_chain(
    places: Mapping[int, bytes],
    keys: Keys,
    head: Head | None = None,
    *,
    pinned: Collection[str] | None = None,
) -> VerifyReport:
    """Check records by the place they stand at (1-based).

    Args:
        keys: public keys by id.
        head: a head kept elsewhere.
        pinned: ids of the keys to believe, with those they named; None believes all of `keys`.
    """
    believed, retired = _believed(places, keys, pinned)
    opened = {place: open_(content, believed) for place, content in sorted(places.items())}
    records = {record.sequence: record for record in opened.values() if isinstance(record, Record)}
    pruned = max(
        (record for record in records.values() if record.is_a(_PRUNED)),
        key=lambda record: int(record.predicate["through"]),
        default=None,
    )
    problems = [
        *_damaged(places, opened),
        *_misplaced(opened),
        *_missing(opened, records, head, pruned),
        *_broken_links(records, pruned),
        *_retired(records, retired),
    ]
    if head is not None and (found := records.get(head.sequence)) and found.sha256 != head.sha256:
        problems.append(Problem(head.sequence, "rewritten", "is not the record the head was taken from"))
    last = records[max(records)] if records else None
    return VerifyReport(
        records=len(places),
        head=last and Head(last.sequence, last.sha256),
        problems=tuple(sorted(problems, key=lambda problem: (problem.sequence, problem.code))),
        anchored=head is not None,
        notes=(*_pruned_note(pruned), *_strangers(records, retired, believed, pinned)),
    )


def _damaged(places: Mapping[int, bytes], opened: Mapping[int, Record | Unverified]) -> Iterator[Problem]:
    for place, found in opened.items():
        if not isinstance(found, Unverified):
            continue
        if place == max(places) and is_torn(places[place]):
            text = "ends in its middle, as a crash or a full disk leaves it; what it said is lost"
            yield Problem(place, "torn", text)
        else:
            yield Problem(place, found.code, found.text)


def is_torn(content: bytes) -> bool:
    """Whether these are the first bytes of an envelope, and not all of them."""
    start = min(len(content), len(_BEGINNING))
    return not content.endswith(b"\n") and content[:start] == _BEGINNING[:start]


def _misplaced(opened: Mapping[int, Record | Unverified]) -> Iterator[Problem]:
    for place, found in opened.items():
        if isinstance(found, Record) and found.sequence != place:
            yield Problem(place, "reordered", f"record {found.sequence} stands in its place")


def _missing(
    opened: Mapping[int, Record | Unverified],
    records: Mapping[int, Record],
    head: Head | None,
    pruned: Record | None,
) -> Iterator[Problem]:
    """Numbers nobody bears. A place whose bytes do not verify is damaged, not missing."""
    damaged = {place for place, found in opened.items() if isinstance(found, Unverified)}
    last = max((*opened, *records), default=0)
    first = int(pruned.predicate["through"]) + 1 if pruned else 1
    for sequence in sorted(set(range(first, last + 1)) - set(records) - damaged):
        yield Problem(sequence, "removed", "is not there")
    if head is not None and head.sequence > last:
        text = f"the account ends at {last}; the head names record {head.sequence}"
        yield Problem(last + 1, "truncated", text)


def _broken_links(records: Mapping[int, Record], pruned: Record | None) -> Iterator[Problem]:
    """Records that are validly signed, and are not the ones their successors were signed after."""
    gone = {int(pruned.predicate["through"]): str(pruned.predicate["sha256"])} if pruned else {}
    for sequence, record in records.items():
        before = records.get(sequence - 1)
        expected = before.sha256 if before else NO_PREVIOUS if sequence == 1 else gone.get(sequence - 1)
        if expected is not None and record.previous != expected:
            changed = max(sequence - 1, 1)
            yield Problem(changed, "rewritten", f"record {sequence} was signed after another one")


def _retired(records: Mapping[int, Record], retired: Mapping[str, int]) -> Iterator[Problem]:
    for sequence, record in records.items():
        last = retired.get(record.key_id)
        if last is not None and sequence > last:
            text = f"is signed with key {record.key_id[:12]}…, which was retired at record {last}"
            yield Problem(sequence, "retired_key", text)


def _pruned_note(pruned: Record | None) -> Iterator[str]:
    if pruned is not None:
        said = pruned.predicate
        yield (
            f"records up to {said['through']} were older than the {said['keep_years']} years they had to be "
            f"kept, and were removed; record {pruned.sequence} says so"
        )


def _strangers(
    records: Mapping[int, Record], retired: Mapping[str, int], keys: Keys, pinned: Collection[str] | None
) -> Iterator[str]:
    """Keys that appear in an account without a word of the key before them."""
    named = {str(r.predicate.get("successor")) for r in records.values() if r.is_a(_ROTATION)}
    first: dict[str, int] = {}
    for sequence, record in sorted(records.items()):
        first.setdefault(record.key_id, sequence)
    for name, sequence in list(first.items())[1:]:
        if name not in named and (pinned is None or name not in pinned):
            yield f"record {sequence} is the first signed with key {name[:12]}…, which no key before it named"


# -- an export ------------------------------------------------------------------------------------


class NotAnExport(ValueError):
    """A file that cannot be read, or is no export of records."""


@dataclass(frozen=True, slots=True)
class Export:
    """An exported account: its records by place, the public keys it brings, and the head it ends at."""

    places: Mapping[int, bytes]
    pems: tuple[str, ...]
    head: Head | None

    @classmethod
    def read(cls, content: bytes) -> Export:
        """Raises:
        NotAnExport: these bytes are none.
        """
        try:
            first, *lines = content.splitlines(keepends=True)
            top = cast("dict[str, Any]", json.loads(first))
            pems = tuple(str(pem) for pem in top["keys"].values())
            known = top["schema"] == EXPORT_SCHEMA
        except (ValueError, KeyError, TypeError, AttributeError):
            raise NotAnExport("is not an export of records") from None
        if not known:
            raise NotAnExport("is not an export of records")
        return cls(dict(_placed(lines)), pems, Head.read(str(top.get("head"))))

    def verify(self, head: Head | None = None, pinned: Collection[str] = ()) -> VerifyReport:
        """Check the account. Without a head from elsewhere it is held to the one it says it ends at.

        Args:
            pinned: the only keys to believe, with those they named: each an id, or a public key in PEM.
        """
        report = verify_chain(self.places, self.keys(pinned), head or self.head, pinned=pinned_ids(pinned))
        return replace(report, anchored=head is not None)

    def keys(self, more: Collection[str]) -> dict[str, Ed25519PublicKey]:
        """The keys it brings, and those given in PEM."""
        return keys_by_id([*self.pems, *(each for each in more if "BEGIN" in each)])


def _placed(lines: Sequence[bytes]) -> Iterator[tuple[int, bytes]]:
    """Where each line stands: at the number it claims, as long as the numbers go up; else after the line
    before it. So a line that was taken out leaves a gap, and two that were swapped stand wrong."""
    claims = [_claimed(line) for line in lines]
    lowest: list[float] = [float("inf")] * (len(lines) + 1)  # of the claims from here on
    for at in range(len(lines) - 1, -1, -1):
        lowest[at] = min(lowest[at + 1], claims[at] or float("inf"))
    place = 0
    for at, (line, claim) in enumerate(zip(lines, claims, strict=True)):
        place = claim if claim is not None and place < claim <= lowest[at] else place + 1
        yield place, line


def _claimed(line: bytes) -> int | None:
    """The number a record says it has, believed for nothing but where to expect it."""
    try:
        number = json.loads(base64.b64decode(json.loads(line)["payload"]))["predicate"]["log"]["sequence"]
    except (ValueError, KeyError, TypeError, RecursionError):
        return None
    return number if type(number) is int and 0 < number < 10**12 else None


def read_files(path: Path) -> dict[str, bytes]:
    """The files of an export: a folder, a zip, or `records.jsonl` alone.

    Raises:
        NotAnExport: it cannot be read.
    """
    try:
        if path.is_dir():
            found = [each for each in path.rglob("*") if each.is_file()]
            return {each.relative_to(path).as_posix(): each.read_bytes() for each in found}
        if zipfile.is_zipfile(path):
            with zipfile.ZipFile(path) as zipped:
                return {name: zipped.read(name) for name in zipped.namelist()}
        return {RECORDS: path.read_bytes()}
    except (OSError, zipfile.BadZipFile, ValueError, zlib.error) as error:
        raise NotAnExport(f"cannot be read ({type(error).__name__})") from None


def verify_files(
    files: Mapping[str, bytes], head: Head | None = None, pinned: Collection[str] = ()
) -> VerifyReport:
    """Check an export: its records, and that its other files are those it was made with.

    Raises:
        NotAnExport: there are no records in it.
    """
    if RECORDS not in files:
        raise NotAnExport(f"holds no {RECORDS}")
    export = Export.read(files[RECORDS])
    report = export.verify(head, pinned)
    if MANIFEST not in files:
        return report
    believed, _ = _believed(export.places, export.keys(pinned), pinned_ids(pinned))
    return replace(report, problems=(*report.problems, *_changed_files(files, believed)))


def _changed_files(files: Mapping[str, bytes], keys: Keys) -> Iterator[Problem]:
    signed = signed_payload(files[MANIFEST], keys)
    if isinstance(signed, Unverified):
        yield Problem(0, signed.code, f"{MANIFEST} {signed.text}")
        return
    stated = {each["name"]: each["digest"]["sha256"] for each in json.loads(signed[0])["subject"]}
    for name in sorted(stated):
        if name not in files:
            yield Problem(0, "removed", f"{name} is not there")
        elif sha256(files[name]) != stated[name]:
            yield Problem(0, "edited", f"{name} was changed after the export was made")


# -- the command ----------------------------------------------------------------------------------


def main(arguments: Sequence[str] | None = None) -> int:
    """Exit 0: whole. 1: not whole. 2: not an export."""
    parser = argparse.ArgumentParser(description="Check an exported account of records.")
    here = Path(__file__).resolve().parent
    parser.add_argument("export", nargs="?", type=Path, default=here, help="folder, zip or records.jsonl")
    parser.add_argument("--against", metavar="SEQ:SHA256", help="a head that was kept elsewhere")
    parser.add_argument("--key", action="append", default=[], help="a key's id, or its public half's file")
    told = parser.parse_args(arguments)
    head = Head.read(told.against) if told.against else None
    if told.against and head is None:
        parser.error("a head is written SEQ:SHA256")
    pinned = [Path(key).read_text("ascii") if Path(key).is_file() else key for key in told.key]
    try:
        report = verify_files(read_files(told.export), head, pinned)
    except NotAnExport as error:
        sys.stderr.write(f"{told.export}: {error}\n")
        return 2
    sys.stdout.writelines(f"{line}\n" for line in _told(report, bool(pinned)))
    return 0 if report.ok else 1


def _told(report: VerifyReport, pinned: bool) -> Iterator[str]:
    yield from map(str, report.problems)
    yield from (f"note: {note}" for note in report.notes)
    yield f"{report.records} records, {'whole' if report.ok else 'NOT whole'}; the head is {report.head}"
    if not report.anchored:
        yield "no head from elsewhere was given: a cut tail would not show (--against SEQ:SHA256)"
    if not pinned:
        yield "no key was given: the export vouches for itself (--key ID, got from the one who keeps it)"


if __name__ == "__main__":
    sys.exit(main())
