"""Keys that sign: Ed25519, named by the SHA-256 of their public half.

A private key is named in one notation, wherever one is asked for (`open_signer`):

    officer.pem                  a file: PKCS#8 in PEM, with or without a passphrase
    env:OFFICER_KEY              the same text, in an environment variable
    signer:NAME:ARGUMENT         a key that cannot be read (PKCS#11, a KMS): `ARGUMENT` goes to entry point
                                 `NAME` of the group `tunegate.signers`, which gives an `OutsideKey`
"""

from __future__ import annotations

import hashlib
import os
import re
import stat
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from importlib.metadata import entry_points
from pathlib import Path
from typing import Protocol

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from gateway.core.errors import RecordError
from gateway.records.files import write_new, writing

FILE_NAME = "record-key.pem"
SIGNERS = "tunegate.signers"

_PEM = re.compile(r"-----BEGIN PUBLIC KEY-----\n.+?\n-----END PUBLIC KEY-----\n?", re.DOTALL)

# Gives the passphrase of the key at a place; None where nobody can be asked.
Passphrase = Callable[[str], str | None]


class Signer(Protocol):
    """What signs records, bundles, determinations and approvals."""

    @property
    def id(self) -> str:
        """SHA-256 (hex) of the 32 raw bytes of the public key."""
        ...

    @property
    def public_pem(self) -> str: ...

    def sign(self, message: bytes) -> bytes: ...


class OutsideKey(Protocol):
    """What an entry point of `tunegate.signers` gives for its argument: an Ed25519 key it keeps to itself."""

    def public_key(self) -> bytes:
        """The public half: SubjectPublicKeyInfo in PEM."""
        ...

    def sign(self, message: bytes, /) -> bytes:
        """The 64 bytes of the signature over the message itself, not over a hash of it."""
        ...


@dataclass(frozen=True, slots=True)
class SigningKey:
    """A private key in memory. Its text form never shows it."""

    _private: Ed25519PrivateKey

    @classmethod
    def generate(cls) -> SigningKey:
        return cls(Ed25519PrivateKey.generate())

    @property
    def id(self) -> str:
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

    def private_pem(self, passphrase: str | None = None) -> bytes:
        """PKCS#8, encrypted where there is a passphrase: for the key file and nothing else."""
        encryption = (
            serialization.BestAvailableEncryption(passphrase.encode())
            if passphrase
            else serialization.NoEncryption()
        )
        return self._private.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, encryption
        )

    def __repr__(self) -> str:
        return f"SigningKey({self.id[:12]}…)"


class DeferredSigner:
    """A signer that is opened when it is first needed: reading an account asks for no passphrase."""

    def __init__(self, open: Callable[[], Signer]) -> None:
        self._open = open

    @cached_property
    def _signer(self) -> Signer:
        return self._open()

    @property
    def id(self) -> str:
        return self._signer.id

    @property
    def public_pem(self) -> str:
        return self._signer.public_pem

    def sign(self, message: bytes) -> bytes:
        return self._signer.sign(message)


class _OutsideSigner:
    """An `OutsideKey` held to what it says: a signature that its public half does not verify is none."""

    def __init__(self, key: OutsideKey, place: str) -> None:
        self._key = key
        self._place = place
        public = public_key(self._asked(key.public_key))
        if public is None:
            raise RecordError(
                "this signer's public key is not Ed25519 in PEM",
                place=place,
                fix="give the signer an Ed25519 key, or name another under `[signing]`",
            )
        self._public = public

    @property
    def id(self) -> str:
        return key_id(self._public)

    @property
    def public_pem(self) -> str:
        return self._public.public_bytes(
            serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
        ).decode()

    def sign(self, message: bytes) -> bytes:
        signature = self._asked(lambda: self._key.sign(message))
        try:
            self._public.verify(signature, message)
        except (InvalidSignature, TypeError):
            raise RecordError(
                "what this signer signed does not verify",
                place=self._place,
                fix="its public key must belong to the key it signs with, and be Ed25519",
            ) from None
        return signature

    def _asked(self, call: Callable[[], bytes]) -> bytes:
        """A failure by its type alone: the text of a token's or service's error may hold a PIN."""
        try:
            return call()
        except Exception as error:
            raise RecordError(
                f"this signer failed with {type(error).__name__}",
                place=self._place,
                fix="see that its token or service is there and unlocked, and try again",
            ) from None


def open_signer(
    name: str,
    *,
    folder: Path,
    variable: Callable[[str], str | None],
    passphrase: Passphrase,
) -> Signer:
    """The key of that name; see the top of this module.

    Args:
        folder: what a relative file name is meant from.
        variable: reads an environment variable.
        passphrase: asked where the key is encrypted.

    Raises:
        RecordError: there is no such key, it is not Ed25519, its passphrase is missing or wrong, or
            others may read an unencrypted one.
    """
    kind, _, rest = name.partition(":")
    if kind == "signer":
        return _from_outside(name, *rest.partition(":")[::2])
    if kind == "env":
        text = variable(rest)
        if text is None:
            raise RecordError(
                "this environment variable is not set",
                place=rest,
                fix="put an Ed25519 private key in PEM into it, or name another key under `[signing]`",
            )
        return SigningKey(_parse(text.encode(), rest, passphrase))
    return read_key(folder / Path(name).expanduser(), passphrase)


def read_key(path: Path, passphrase: Passphrase) -> SigningKey:
    """The private key in a file; one that others may read must be encrypted.

    Raises:
        RecordError: it cannot be read, is not Ed25519, or its passphrase is missing or wrong.
    """
    try:
        content = path.read_bytes()
        mode = path.stat().st_mode
    except OSError as error:
        raise RecordError(
            f"this key cannot be read: {error.strerror}",
            place=str(path),
            fix="name one that exists and that you may read under `[signing]`",
        ) from None
    open_to_all = os.name == "posix" and mode & (stat.S_IRWXG | stat.S_IRWXO)
    if open_to_all and b"ENCRYPTED" not in content:
        raise RecordError("others may read this signing key", place=str(path), fix=f"chmod 600 {path}")
    return SigningKey(_parse(content, str(path), passphrase))


def load_or_create_key(folder: Path, passphrase: Passphrase = lambda place: None) -> SigningKey:
    """The key in `folder`, made on first use with mode 0600 and no passphrase.

    Raises:
        RecordError: the key cannot be read or written, is not Ed25519, others may read it, or its
            passphrase is missing or wrong.
    """
    path = folder / FILE_NAME
    with writing(folder, "the signing key cannot be read or written"):
        if not path.exists():
            write_new(path, SigningKey.generate().private_pem(), mode=0o600)
    return read_key(path, passphrase)


def write_key(path: Path, key: SigningKey, passphrase: str | None = None) -> Path:
    """Write a key pair: `path`, mode 0600, and the public half beside it; where that is.

    Raises:
        RecordError: one of the two is there already, or cannot be written.
    """
    public = path.with_suffix(".pub")
    try:
        if public.exists():
            raise FileExistsError(17, "File exists")
        write_new(path, key.private_pem(passphrase), mode=0o600)
        write_new(public, key.public_pem.encode())
    except OSError as error:
        raise RecordError(f"the key cannot be written: {error.strerror}", place=str(path)) from None
    return public


def key_id(key: Ed25519PublicKey) -> str:
    return hashlib.sha256(key.public_bytes_raw()).hexdigest()


def public_key(pem: str | bytes) -> Ed25519PublicKey | None:
    """An Ed25519 public key from PEM; None for anything else."""
    try:
        key = serialization.load_pem_public_key(pem.encode() if isinstance(pem, str) else pem)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        return None
    return key if isinstance(key, Ed25519PublicKey) else None


def public_keys(text: str) -> dict[str, Ed25519PublicKey]:
    """Every Ed25519 public key of a PEM file, by id; empty where one of its blocks is anything else."""
    found = [public_key(block) for block in _PEM.findall(text)]
    keys = {key_id(key): key for key in found if key is not None}
    return keys if len(found) == text.count("-----BEGIN") and None not in found else {}


def _from_outside(place: str, name: str, argument: str) -> Signer:
    known = {entry.name: entry for entry in entry_points(group=SIGNERS)}
    if name not in known:
        installed = ", ".join(sorted(known)) or "none"
        raise RecordError("no signer is called so", place=place, fix=f"installed: {installed}")
    try:
        key = known[name].load()(argument)
    except Exception as error:  # its text may hold a PIN
        raise RecordError(
            f"this signer failed with {type(error).__name__}",
            place=place,
            fix="see that its token or service is there and unlocked, and what follows its name",
        ) from None
    return _OutsideSigner(key, place)


def _parse(content: bytes, place: str, passphrase: Passphrase) -> Ed25519PrivateKey:
    secret = passphrase(place) if b"ENCRYPTED" in content else None
    if secret is None and b"ENCRYPTED" in content:
        raise RecordError(
            "this key has a passphrase, and nobody is here to be asked",
            place=place,
            fix="run the command in a terminal, or set the variable that `[signing] passphrase_env` names",
        )
    try:
        key = serialization.load_pem_private_key(content, password=secret.encode() if secret else None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        key = None
    if not isinstance(key, Ed25519PrivateKey):
        raise _not_a_key(place, locked=secret is not None)
    return key


def _not_a_key(place: str, *, locked: bool) -> RecordError:
    if locked:
        return RecordError(
            "the passphrase is wrong, or this is not an Ed25519 key",
            place=place,
            fix="try the passphrase again",
        )
    return RecordError(
        "this is not an Ed25519 private key in PEM",
        place=place,
        fix="restore it from a backup, or move it away: a new key is made, old records still verify",
    )
