"""An account as it is taken elsewhere, and checked there: `verify` says whether it is whole."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from pathlib import Path

from gateway.core.errors import RecordError
from gateway.records import verify
from gateway.records.verify import Head, NotAnExport, VerifyReport


def parse_head(text: str) -> Head:
    """Raises:
    RecordError: this is not a head.
    """
    found = Head.read(text)
    if found is None:
        raise RecordError("a head is written SEQ:SHA256", fix="`tunegate records head` prints one")
    return found


def export_lines(
    places: Mapping[int, bytes], pems: Mapping[str, str], head: Head | None
) -> tuple[bytes, ...]:
    """A line that names schema, head and public keys, then every record as stored."""
    top = {"schema": verify.EXPORT_SCHEMA, "head": None if head is None else str(head), "keys": dict(pems)}
    return (json.dumps(top).encode() + b"\n", *(places[place] for place in sorted(places)))


def verify_export(path: Path, head: Head | None = None, *, pinned: Collection[str] = ()) -> VerifyReport:
    """Check an exported account, on any machine.

    Args:
        path: what `records export` wrote: a zip, the folder it was unpacked to, or JSON Lines alone.
        head: a head kept elsewhere. Without it, or `pinned`, an export vouches only for itself.
        pinned: the only keys to believe, with those they named as successors: ids, or public keys in PEM.

    Raises:
        RecordError: the file cannot be read or is not an export.
    """
    try:
        return verify.verify_files(verify.read_files(path), head, pinned)
    except NotAnExport as error:
        raise RecordError(str(error), place=str(path), fix="see `tunegate records export`") from None
