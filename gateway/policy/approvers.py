"""`[[approvers]]`: people whose signature counts, by name, with the roles that rules ask for.

[[approvers]]
name = "alice"
roles = ["privacy-officer"]
key = "keys/alice.pub"        # Ed25519 in PEM; several keys in one file while one replaces another
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError

from gateway.core.errors import SettingsError

if TYPE_CHECKING:  # no command loads cryptography that needs no key
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

Name = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._@-]{0,63}$")]


Read = Callable[[str], str | None]


@dataclass(frozen=True, slots=True)
class Approver:
    """Somebody who may sign approvals and determinations.

    Attributes:
        name: the person, as `--as` names them; nobody approves a job they asked for.
        roles: what rules ask for; a rule may also ask for the name.
        keys: public keys by id.
    """

    name: str
    roles: tuple[str, ...]
    keys: Mapping[str, Ed25519PublicKey]


class _Row(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    name: Name
    roles: tuple[Name, ...] = ()
    key: str = Field(min_length=1)


def approvers_from(
    table: Sequence[Mapping[str, Any]], *, place: str, folder: Path, read: Read | None = None
) -> tuple[Approver, ...]:
    """The approvers of a table, in its order.

    Args:
        folder: where key files are meant from.
        read: the text of a key file, as the table names it, where that is not in the folder.

    Raises:
        SettingsError: a row has a wrong field, a key that is none, or a name twice; all at once.
    """

    def beside(name: str) -> str | None:
        return _read(folder / name)

    text_of = read or beside
    found: dict[str, Approver] = {}
    problems: list[str] = []
    for number, row in enumerate(table, start=1):
        try:
            checked = _Row.model_validate(dict(row))
        except ValidationError as error:
            problems += [
                f"approvers[{number}]{''.join(f'.{part}' for part in item['loc'])}: {item['msg']}"
                for item in error.errors(include_url=False, include_input=False)
            ]
            continue
        keys = _keys(text_of(checked.key) or "")
        if not keys:
            problems.append(f"approvers[{number}].key: not a readable file of Ed25519 public keys in PEM")
        if checked.name in found:
            problems.append(f"approvers[{number}].name: {checked.name!r} is there already")
        found[checked.name] = Approver(checked.name, checked.roles, keys)
    if problems:
        raise SettingsError("; ".join(problems), place=place, fix="an approver has name, roles and key")
    return tuple(found.values())


def _keys(text: str) -> Mapping[str, Ed25519PublicKey]:
    from gateway.records.keys import public_keys

    return public_keys(text)


def _read(path: Path) -> str | None:
    try:
        return path.read_text(encoding="ascii")
    except (OSError, UnicodeDecodeError):
        return None
