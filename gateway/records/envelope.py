"""One record: an in-toto Statement v1 in a DSSE envelope, as the exact bytes that are stored.

Keys and signatures are `cryptography`'s; the envelope itself is one line of encoding. (securesystemslib,
which in-toto and TUF use, loads every cloud's SDK that it finds; the tests hold our envelopes against
it.) The bytes have one form only, so that the hash of a record covers every one of them.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, cast

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from gateway.core.errors import RecordError
from gateway.records.keys import Signer

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


def seal(statement: Mapping[str, Any], key: Signer) -> bytes:
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
    return _line(payload, key.id, key.sign(pre_authentication(payload)))


def open_(content: bytes, keys: Mapping[str, Ed25519PublicKey]) -> Record | Unverified:
    """Read stored bytes and check form, signature and shape. Never raises for any bytes."""
    opened = signed_payload(content, keys)
    return opened if isinstance(opened, Unverified) else _record(*opened, content)


def signed_payload(content: bytes, keys: Mapping[str, Ed25519PublicKey]) -> tuple[bytes, str] | Unverified:
    """What an envelope holds, and the id of the key that signed it: for any statement of ours, a record
    of the log or not. Never raises for any bytes."""
    try:
        envelope = json.loads(content)
        payload = base64.b64decode(envelope["payload"])
        (signed,) = envelope["signatures"]
        name, signature = str(signed["keyid"]), base64.b64decode(signed["sig"])
    except (ValueError, KeyError, TypeError, RecursionError):
        return Unverified("edited", "is not an envelope")
    if _line(payload, name, signature) != content:
        return Unverified("edited", "was changed after it was signed")
    if name not in keys:
        return Unverified("unknown_key", f"is signed with key {name[:12]!a}…, which is not known here")
    try:
        keys[name].verify(signature, pre_authentication(payload))
    except InvalidSignature:
        return Unverified("edited", "was changed after it was signed")
    return payload, name


def pre_authentication(payload: bytes) -> bytes:
    """DSSE's pre-authentication encoding: what is signed is the payload together with its type."""
    return b"DSSEv1 %d %b %d %b" % (len(PAYLOAD_TYPE), PAYLOAD_TYPE.encode(), len(payload), payload)


def _record(payload: bytes, key: str, content: bytes) -> Record | Unverified:
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
    """JSON in the only form we write: sorted keys, no spaces, ASCII."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False).encode()


def _line(payload: bytes, name: str, signature: bytes) -> bytes:
    signatures = [{"keyid": name, "sig": base64.b64encode(signature).decode()}]
    encoded = base64.b64encode(payload).decode()
    return canonical({"payload": encoded, "payloadType": PAYLOAD_TYPE, "signatures": signatures}) + b"\n"
