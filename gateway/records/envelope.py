"""One record: an in-toto Statement v1 in a DSSE envelope, as the exact bytes that are stored.

securesystemslib brings envelope, pre-authentication encoding and keys: it is what in-toto and TUF
themselves use. The bytes have one form only, so that the hash of a record covers every one of them.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, cast

from securesystemslib.dsse import Envelope
from securesystemslib.exceptions import VerificationError

from gateway.core.errors import RecordError
from gateway.records.keys import PublicKey, SigningKey

STATEMENT_TYPE = "https://in-toto.io/Statement/v1"
PAYLOAD_TYPE = "application/vnd.in-toto+json"
NO_PREVIOUS = "0" * 64


@dataclass(frozen=True, slots=True)
class Record:
    """A record whose signature holds."""

    sequence: int
    previous: str
    sha256: str
    key_id: str
    statement: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Unverified:
    """Bytes that are not a record we can vouch for: a code, and why in words."""

    code: str
    text: str


def seal(statement: Mapping[str, Any], key: SigningKey) -> bytes:
    """Sign a statement.

    Returns:
        The envelope as one line of JSON, ending in a newline.

    Raises:
        RecordError: a value has no JSON form (NaN, an object).
    """
    try:
        payload = canonical(statement)
    except (TypeError, ValueError):
        raise RecordError("a value of this record has no JSON form", fix="report this: it is a bug") from None
    envelope = Envelope(payload, PAYLOAD_TYPE, {})
    envelope.sign(key.signer)
    return _line(envelope)


def open_(content: bytes, keys: Mapping[str, PublicKey]) -> Record | Unverified:
    """Read stored bytes and check form, signature and shape. Never raises for any bytes."""
    try:
        envelope = Envelope.from_dict(json.loads(content))  # pyright: ignore[reportUnknownMemberType]
        whole = _line(envelope) == content
    except Exception:  # foreign bytes can make the parsers raise anything; nothing of them is told
        return Unverified("edited", "is not an envelope")
    if not whole or envelope.payload_type != PAYLOAD_TYPE or len(envelope.signatures) != 1:
        return Unverified("edited", "was changed after it was signed")
    (name,) = envelope.signatures
    if name not in keys:
        return Unverified("unknown_key", f"is signed with key {str(name)[:12]}…, which is not known here")
    try:
        envelope.verify([keys[name]], 1)
    except VerificationError:
        return Unverified("edited", "was changed after it was signed")
    return _record(envelope.payload, content, name)


def _record(payload: bytes, content: bytes, key: str) -> Record | Unverified:
    try:
        statement = cast("dict[str, Any]", json.loads(payload))
        log = statement["predicate"]["log"]
        sequence, previous = log["sequence"], log["previous"]
        well_made = statement["_type"] == STATEMENT_TYPE and type(sequence) is int and type(previous) is str
    except (ValueError, KeyError, TypeError, RecursionError):
        well_made = False
    if not well_made:
        return Unverified("edited", "is signed, and is not one of our statements")
    return Record(sequence, previous, sha256(content), key, statement)  # pyright: ignore[reportPossiblyUnboundVariable]


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def canonical(value: Mapping[str, Any]) -> bytes:
    return json.dumps(
        value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False
    ).encode()


def _line(envelope: Envelope) -> bytes:
    body = cast("dict[str, Any]", envelope.to_dict())  # pyright: ignore[reportUnknownMemberType]
    return canonical(body) + b"\n"
