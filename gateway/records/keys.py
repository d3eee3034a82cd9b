"""Keys that sign records: Ed25519, named by the SHA-256 of their public half."""

from __future__ import annotations

import hashlib
import os
import stat
from dataclasses import dataclass
from pathlib import Path

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from gateway.core.errors import RecordError
from gateway.records.files import write_new, writing

FILE_NAME = "record-key.pem"


@dataclass(frozen=True, slots=True)
class SigningKey:
    """A private key. Its text form never shows it."""

    _private: Ed25519PrivateKey

    @classmethod
    def generate(cls) -> SigningKey:
        return cls(Ed25519PrivateKey.generate())

    @property
    def id(self) -> str:
        """SHA-256 (hex) of the 32 raw bytes of the public key."""
        return key_id(self._private.public_key())

    @property
    def public_pem(self) -> str:
        return (
            self._private.public_key()
            .public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
            .decode()
        )

    def sign(self, message: bytes) -> bytes:
        return self._private.sign(message)

    def private_pem(self) -> bytes:
        """PKCS#8, not encrypted: for the key file and nothing else."""
        return self._private.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )

    def __repr__(self) -> str:
        return f"SigningKey({self.id[:12]}…)"


def key_id(key: Ed25519PublicKey) -> str:
    return hashlib.sha256(key.public_bytes_raw()).hexdigest()


def public_key(pem: str | bytes) -> Ed25519PublicKey | None:
    """An Ed25519 public key from PEM; None for anything else."""
    try:
        key = serialization.load_pem_public_key(pem.encode() if isinstance(pem, str) else pem)
    except (ValueError, UnsupportedAlgorithm):
        return None
    return key if isinstance(key, Ed25519PublicKey) else None


def load_or_create_key(folder: Path) -> SigningKey:
    """The key in `folder`, made on first use with mode 0600.

    To rotate, move the key file away: the next record makes a new one, and the public halves kept
    beside the records verify the old.

    Raises:
        RecordError: the key cannot be read or written, is not Ed25519, or others may read it.
    """
    path = folder / FILE_NAME
    with writing(folder, "the signing key cannot be read or written"):
        if not path.exists():
            write_new(path, SigningKey.generate().private_pem(), mode=0o600)
        if os.name == "posix" and path.stat().st_mode & (stat.S_IRWXG | stat.S_IRWXO):
            raise RecordError("others may read this signing key", place=str(path), fix=f"chmod 600 {path}")
        return SigningKey(_parse(path))


def _parse(path: Path) -> Ed25519PrivateKey:
    try:
        key = serialization.load_pem_private_key(path.read_bytes(), password=None)
    except (ValueError, TypeError):
        key = None
    if not isinstance(key, Ed25519PrivateKey):
        raise RecordError(
            "this is not an Ed25519 private key in PEM",
            place=str(path),
            fix="restore it from a backup, or move it away: a new key is made, old records still verify",
        )
    return key
