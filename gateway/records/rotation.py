"""One key after another: the old key's last record names the new one, and old records still verify.

The home's own key is replaced in an order that survives a cut at any line: the new key is written
beside the old, the account is told, and then the new one takes the old one's place. What was cut off
after the account was told is finished before the key is next used.
"""

from __future__ import annotations

from pathlib import Path

from gateway.core.errors import RecordError
from gateway.records.files import sync_folder, write_new, writing
from gateway.records.keys import FILE_NAME, Passphrase, Signer, SigningKey, load_or_create_key
from gateway.records.log import RecordLog

_NEXT = "next-{}.pem"


def rotate_home_key(
    log: RecordLog, folder: Path, passphrase: Passphrase, new_passphrase: str | None, *, why: str
) -> SigningKey:
    """Make a new key for the account, and retire the one in `folder`, whose private half is destroyed.

    Args:
        log: signs with the key that retires.
        new_passphrase: of the new key; None for none.

    Raises:
        RecordError: a key cannot be read or written, or the account cannot be.
    """
    load_or_create_key(folder, passphrase)
    new = SigningKey.generate()
    with writing(folder, "the new key cannot be written"):
        for abandoned in folder.glob(_NEXT.format("*")):
            abandoned.unlink()
        write_new(folder / _NEXT.format(new.id), new.private_pem(new_passphrase), mode=0o600)
    log.rotate(new, why=why)
    finish_rotation(log, folder)
    return new


def rotate_to(log: RecordLog, successor: Signer, *, why: str) -> None:
    """Retire a key that the settings name; they must name the successor from now on.

    Raises:
        RecordError: the account cannot be written.
    """
    log.rotate(successor, why=why)


def finish_rotation(log: RecordLog, folder: Path) -> None:
    """Put a new key in its place once the account names it. Where none waits, nothing is read.

    Raises:
        RecordError: the key cannot be put in its place.
    """
    waiting = {path.stem.removeprefix("next-"): path for path in folder.glob(_NEXT.format("*"))}
    if not waiting:
        return
    named = {
        id
        for entry in log.entries()
        if entry.kind == "key_rotation"
        for id in _successor(log, entry.sequence)
    }
    with writing(folder, "the new key cannot be put in its place"):
        for id, path in waiting.items():
            if id in named and path.exists():
                path.replace(folder / FILE_NAME)
        sync_folder(folder)


def _successor(log: RecordLog, sequence: int) -> tuple[str, ...]:
    try:
        return (str(log.show(sequence)["statement"]["predicate"]["successor"]),)
    except RecordError:
        return ()
