"""One record: an in-toto Statement v1 in a DSSE envelope, as the exact bytes that are stored.

Keys and signatures are `cryptography`'s; the envelope itself is one line of encoding. (securesystemslib,
which in-toto and TUF use, loads every cloud's SDK that it finds; the tests hold our envelopes against
it.) The bytes have one form only, so that the hash of a record covers every one of them. Reading one is
`verify`'s, which stands alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from gateway.core.errors import RecordError
from gateway.records.keys import Signer
from gateway.records.verify import (
    NO_PREVIOUS,
    PAYLOAD_TYPE,
    STATEMENT_TYPE,
    Record,
    Unverified,
    canonical,
    envelope_line,
    open_,
    pre_authentication,
    sha256,
    signed_payload,
)

__all__ = [
    "NO_PREVIOUS",
    "PAYLOAD_TYPE",
    "STATEMENT_TYPE",
    "Record",
    "Unverified",
    "canonical",
    "open_",
    "pre_authentication",
    "seal",
    "sha256",
    "signed_payload",
]


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
    return envelope_line(payload, key.id, key.sign(pre_authentication(payload)))
