"""`gw.keys`: the keys that sign here, new ones, and one after another."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from gateway.core.errors import RecordError
from gateway.settings import credential

if TYPE_CHECKING:
    from gateway.records.keys import Passphrase, Signer
    from gateway.sdk.rooms import Rooms


class Keys:
    """Signing keys: the one that signs records here, and new pairs for officers and approvers."""

    def __init__(self, rooms: Rooms) -> None:
        self._rooms = rooms

    def show(self) -> dict[str, Any]:
        """The key that signs records here, by id and public half."""
        signer = self._rooms.record_signer()
        named = self._rooms.settings.signing.key
        return {
            "schema": "tunegate.key/1",
            "id": signer.id,
            "where": named or str(self._rooms.settings.home / "keys"),
            "public_pem": signer.public_pem,
        }

    def new(self, path: Path, *, passphrase: Passphrase | None) -> dict[str, Any]:
        """Write a new pair: the private half, mode 0600, and beside it the public one (`.pub`).

        Args:
            passphrase: asked for the new key's, where the environment has none; None writes it plain.

        Raises:
            RecordError: one of the two is there already or cannot be written, or no passphrase was given.
        """
        from gateway.records.keys import SigningKey, write_key

        key = SigningKey.generate()
        public = write_key(path, key, self._secret(str(path), passphrase))
        return {"schema": "tunegate.key/1", "id": key.id, "where": str(path), "public": str(public)}

    def rotate(
        self, *, why: str, to: str | None = None, passphrase: Passphrase | None = None
    ) -> dict[str, Any]:
        """Retire the key that signs records: its last record names the next one, so that old records
        verify for as long as they are kept.

        Args:
            why: in a few words; recorded.
            to: the next key, where the settings name the present one; default: a new key of the home's.
            passphrase: asked for the new key's, where one is made and the environment has none; None
                makes one without.

        Raises:
            RecordError: the keys cannot be read or written, or the settings name the present key and
                `to` names none.
        """
        from gateway.records.rotation import rotate_home_key, rotate_to

        rooms = self._rooms
        retired, named = rooms.record_signer().id, rooms.settings.signing.key
        if named and to is None:
            raise RecordError(
                "the settings name the key that signs", place=named, fix="--to names the next one"
            )
        if to is not None and not named:
            raise RecordError("the home folder's own key signs here", place=to, fix="leave out --to")
        if to is not None:
            successor: Signer = rooms.signer(to)
            rotate_to(rooms.log, successor, why=why)
        else:
            keys, ask = rooms.home / "keys", rooms.passphrase
            secret = self._secret("the new key", passphrase)
            successor = rotate_home_key(rooms.log, keys, ask, secret, why=why)
        rooms.forget_signer()
        return {"schema": "tunegate.rotation/1", "retired": retired, "successor": successor.id}

    def _secret(self, place: str, ask: Passphrase | None) -> str | None:
        """The new key's passphrase; None only where none is wanted."""
        if ask is None:
            return None
        variable = self._rooms.settings.signing.passphrase_env
        given = credential(variable) or ask(place)
        if not given:
            raise RecordError(
                "a passphrase is needed, and nobody is here to be asked",
                place=place,
                fix=f"run it in a terminal, or set {variable}",
            )
        return given
