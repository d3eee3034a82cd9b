"""Whose word counts: the pinned public key, the bundle it must have signed, and how that stands.

A key may be pinned in three places, and the first one that pins a key decides:

    /etc/tunegate/trust.pub    an administrator's, out of reach of whoever runs jobs (`SYSTEM_FOLDER`
                               in the settings says where on other systems), with trust.bundle beside it
    $TUNEGATE_HOME/trust/      `tunegate policy trust`
    tunegate.toml [trust]      key and bundle: a project's own, and as changeable as the project

A pin that is there and cannot be read is a pin: everything managed is denied until it can be.
"""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gateway.core.errors import RecordError
from gateway.core.gate import Attestation, Ground, Trust
from gateway.policy.approvers import Approver
from gateway.policy.bundle import Bundle, Untrusted, open_bundle
from gateway.policy.gate import CedarGate, Standing, load_gate

if TYPE_CHECKING:  # no command loads cryptography that needs no key
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

PUBLIC, BUNDLE = "trust.pub", "trust.bundle"
_PIN, _SEEN = "pin.json", "seen.json"
_FIX = "ask whoever keeps the trust bundle for the present one; `tunegate policy trust` shows what is pinned"


@dataclass(frozen=True, slots=True)
class Pin:
    """Public keys that a bundle may be signed with, by id; none where the pin cannot be read.

    Attributes:
        place: where the pin stands.
        bundle: where the bundle is; None where the pin does not say.
    """

    place: str
    keys: Mapping[str, Ed25519PublicKey]
    bundle: Path | None = None


@dataclass(frozen=True, slots=True)
class TrustState:
    """How permission stands here. Without a pin, it is as the settings say, and unverified.

    Attributes:
        problem: why the pinned bundle does not hold, whatever the day; empty where it does.
    """

    pin: Pin | None = None
    bundle: Bundle | None = None
    problem: str = ""
    attestations: tuple[Attestation, ...] = ()
    approvers: tuple[Approver, ...] = ()
    determinations: Mapping[str, bytes] = field(default_factory=dict[str, bytes])

    def on(self, day: date) -> tuple[Trust, Ground | None]:
        """The trust on a day; and, where a pinned bundle does not hold, what denies everything managed."""
        if self.pin is None:
            return "unverified", None
        why = self.problem or (self.bundle.why_not(day) if self.bundle else "no trust bundle is there")
        if not why:
            return "verified", None
        reason = f"A key is pinned ({self.pin.place}), and {why}."
        return "broken", Ground("trust", reason, "House rule: what grants permission is signed", _FIX)


def gate_of(state: TrustState, files: Sequence[Path], sets: Sequence[str]) -> CedarGate:
    """The gate over a bundle's rules; over the settings' own `files` and `sets` where no key is pinned.

    Where a bundle cannot be opened, the shipped rules still say what may happen on one's own machine.

    Raises:
        SettingsError: a policy of the settings is wrong.
    """
    standing: Standing = state.on
    if state.pin is None:
        gate = load_gate(files, sets=sets)
        return CedarGate(gate.book, gate.rules, standing=standing)
    if state.bundle is None:
        gate = load_gate()
        return CedarGate(gate.book, gate.rules, standing=standing)
    bundle = state.bundle
    return CedarGate(bundle.book, bundle.rules, standing=standing, attested_in="the trust bundle")


def open_state(pin: Pin, home: Path) -> TrustState:
    """What a pin and its bundle come to. Remembers the newest bundle seen, so that an older one shows.

    Never raises: what is wrong is the state's `problem`.
    """
    try:
        bundle = read_bundle(pin)
        remember(bundle, pin, home / "trust")
    except (Untrusted, RecordError) as error:
        return TrustState(pin=pin, problem=error.message)
    return TrustState(pin, bundle, "", bundle.attestations, bundle.approvers, bundle.determinations)


def read_bundle(pin: Pin) -> Bundle:
    """The bundle of a pin.

    Raises:
        Untrusted: the pin or the bundle is missing or cannot be read, or the bundle does not hold.
    """
    if not pin.keys:
        raise Untrusted("the pinned key cannot be read", place=pin.place)
    if pin.bundle is None:
        raise Untrusted("nothing says where the trust bundle is", place=pin.place)
    try:
        content = pin.bundle.read_bytes()
    except OSError as error:
        raise Untrusted(f"the trust bundle cannot be read: {error.strerror}", place=str(pin.bundle)) from None
    return open_bundle(content, pin.keys, place=str(pin.bundle), folder=pin.bundle.parent)


def remember(bundle: Bundle, pin: Pin, folder: Path) -> None:
    """Refuse a bundle older than the newest one seen, and keep its number where it is that one.

    Raises:
        Untrusted: it is older, or another one bears its number.
        RecordError: what was seen cannot be read or written.
    """
    from gateway.records.files import replace_file, writing

    with writing(folder, "what was seen of trust bundles cannot be kept"):
        seen = _seen(folder / _SEEN)
        number, digest = max((each for key, each in seen.items() if key in pin.keys), default=(0, ""))
        if bundle.number < number:
            raise Untrusted(
                f"the trust bundle is number {bundle.number}, and number {number} was seen before"
            )
        if bundle.number == number and bundle.sha256 != digest:
            raise Untrusted(f"two trust bundles bear the number {number}")
        if bundle.number > number:
            seen[bundle.key] = (bundle.number, bundle.sha256)
            replace_file(folder / _SEEN, json.dumps(seen).encode(), mode=0o600)


def find_pin(*, system: Path, home: Path, settings: Pin | None) -> Pin | None:
    """The pin that decides; its bundle is the next pin's where it names none itself."""
    pins = [pin for pin in (_system_pin(system), home_pin(home), settings) if pin is not None]
    if not pins:
        return None
    bundle = next((pin.bundle for pin in pins if pin.bundle is not None), None)
    return Pin(pins[0].place, pins[0].keys, bundle)


def pin_of(key: str, bundle: str | None, file: Path) -> Pin:
    """The pin of a settings file: `key` is a file of public keys or their PEM text itself."""
    text = key if key.startswith("-----BEGIN") else _text_of(file.parent / Path(key).expanduser()) or ""
    where = file.parent / Path(bundle).expanduser() if bundle else None
    return Pin(f"[trust] in {file}", _keys(text), where)


def write_pin(home: Path, key_pem: str, bundle: Path) -> None:
    """Pin a key in the home folder, mode 0600.

    Raises:
        RecordError: it cannot be written.
    """
    from gateway.records.files import replace_file, writing

    folder = home / "trust"
    with writing(folder, "the pin cannot be written"):
        content = json.dumps({"keys": key_pem, "bundle": str(bundle.absolute())}, indent=2)
        replace_file(folder / _PIN, content.encode(), mode=0o600)


def remove_pin(home: Path) -> bool:
    """Take the home folder's pin away; whether there was one."""
    path = home / "trust" / _PIN
    if not path.exists():
        return False
    path.unlink()
    return True


def watched(system: Path, home: Path, pin: Pin | None) -> tuple[object, ...]:
    """What the state follows from, as the disk has it: another one means to look again."""
    paths = (system / PUBLIC, system / BUNDLE, home / "trust" / _PIN, pin.bundle if pin else None)
    return tuple(_mark(path) if path else None for path in paths)


def _mark(path: Path) -> object:
    try:
        stat = path.stat()
    except OSError as error:
        return error.errno
    return stat.st_mtime_ns, stat.st_size, stat.st_ino, stat.st_mode


def _system_pin(folder: Path) -> Pin | None:
    text = _text_of(folder / PUBLIC)
    if text is None:
        return None
    bundle = folder / BUNDLE
    return Pin(str(folder / PUBLIC), _keys(text), bundle if _text_of(bundle) is not None else None)


def home_pin(home: Path) -> Pin | None:
    """The pin of a home folder; None where there is none."""
    path = home / "trust" / _PIN
    if _text_of(path) is None:
        return None
    try:
        if os.name == "posix" and path.stat().st_mode & (stat.S_IWGRP | stat.S_IWOTH):
            return Pin(str(path), {})  # others could have written it
        said = json.loads(path.read_bytes())
        return Pin(str(path), _keys(said["keys"]), Path(said["bundle"]))
    except (OSError, ValueError, KeyError, TypeError):
        return Pin(str(path), {})


def _keys(pem: str) -> Mapping[str, Ed25519PublicKey]:
    from gateway.records.keys import public_keys

    return public_keys(pem)


def _text_of(path: Path) -> str | None:
    """None only where there is no such file; one that cannot be read is there, and says nothing."""
    try:
        return path.read_text(encoding="utf-8")
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, UnicodeDecodeError):
        return ""


def _seen(path: Path) -> dict[str, tuple[int, str]]:
    """Number and hash of the newest bundle seen, by the key that signed it."""
    text = _text_of(path)
    try:
        said: dict[str, Any] = {} if text is None else json.loads(text)
        return {key: (int(number), str(digest)) for key, (number, digest) in said.items()}
    except (ValueError, TypeError, AttributeError):
        raise RecordError("what was seen of trust bundles cannot be read", place=str(path)) from None
