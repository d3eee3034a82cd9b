"""`[[attestations]]`: what the operator vouches for, checked at the door.

[[attestations]]
kind = "baa"
backend = "bedrock"
signed = 2026-03-01
expires = 2027-03-01                  # last day; leave it out only where the agreement has no end
scope = "all HIPAA-eligible services" # in words
account = "123456789012"              # the one account it covers; default: any
services = ["upload", "train"]        # actions it covers; default: all
evidence = "legal/aws-baa.pdf"        # a file beside this one, or a link
evidence_sha256 = "9f86d0…"           # checked wherever the file is at hand
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from datetime import date, datetime, timedelta
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator

from gateway.core.errors import SettingsError
from gateway.core.gate import Action, Attestation

_SOON = timedelta(days=30)


def _a_day(value: object) -> object:
    """A day as TOML writes it or as ISO text; a number or a time of day is a mistake, not a date."""
    if isinstance(value, datetime) or not isinstance(value, date | str):
        raise ValueError("write a day: 2026-03-01")
    return value


Day = Annotated[date, BeforeValidator(_a_day)]


class _Row(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: str = Field(pattern=r"^[a-z][a-z0-9_]*$")
    backend: str = Field(min_length=1)
    signed: Day
    expires: Day | None = None
    scope: str = ""
    evidence: str = ""
    account: str = ""
    services: tuple[Action, ...] = ()
    evidence_sha256: str = Field("", pattern=r"^([0-9a-f]{64})?$")

    @model_validator(mode="after")
    def _ends_after_it_begins(self) -> _Row:
        if self.expires is not None and self.expires < self.signed:
            raise ValueError("expires before it is signed")
        return self


def attestations_from(
    table: Sequence[Mapping[str, Any]], *, place: str = "tunegate.toml", folder: Path | None = None
) -> tuple[Attestation, ...]:
    """The attestations of a settings table, in its order.

    Args:
        folder: where files of evidence are meant from. One that is there and is not the file that was
            attested makes its attestation void; one that is not there cannot be checked.

    Raises:
        SettingsError: a row lacks a field, has an unknown one, or a date that is none; every
            problem at once, with the number of its row (from 1).
    """
    found: list[Attestation] = []
    problems: list[str] = []
    for number, row in enumerate(table, start=1):
        try:
            checked = _Row.model_validate(dict(row))
        except ValidationError as error:
            problems += [
                f"attestations[{number}]{''.join(f'.{part}' for part in item['loc'])}: {item['msg']}"
                for item in error.errors(include_url=False, include_input=False)
            ]
        except (TypeError, ValueError):
            problems.append(f"attestations[{number}]: not a table of keys and values")
        else:
            found.append(_held_to_evidence(Attestation(**checked.model_dump()), folder))
    if problems:
        raise SettingsError(
            "; ".join(problems),
            place=place,
            fix="an attestation has kind, backend, signed, and optionally expires, scope, account, services, "
            "evidence, evidence_sha256",
        )
    return tuple(found)


def expiring(attestations: Sequence[Attestation], on: date, backends: Collection[str]) -> tuple[str, ...]:
    """What to say of agreements with these backends that end within 30 days, or do not count."""
    said: list[str] = []
    for held in attestations:
        what = f"the attestation `{held.kind}` for {held.backend}"
        if held.backend not in backends:
            continue
        if held.void:
            said.append(f"{what} does not count: {held.void}")
        elif held.in_force(on) and held.expires is not None and held.expires - on <= _SOON:
            said.append(f"{what} expires on {held.expires}")
    return tuple(said)


def _held_to_evidence(attested: Attestation, folder: Path | None) -> Attestation:
    if folder is None or not attested.evidence_sha256 or "://" in attested.evidence:
        return attested
    file = folder / attested.evidence
    if not attested.evidence or not file.is_file():
        return attested
    try:
        found = hashlib.sha256(file.read_bytes()).hexdigest()
    except OSError:
        return replace(attested, void=f"its evidence {file.name} cannot be read")
    if found != attested.evidence_sha256:
        return replace(attested, void=f"its evidence {file.name} is not the file that was attested")
    return attested


def check_known(
    attestations: Sequence[Attestation],
    *,
    backends: Collection[str],
    kinds: Collection[str],
    place: str = "tunegate.toml",
) -> None:
    """Refuse an attestation that nothing would ever look at: mistyped, it would vanish in silence.

    Args:
        backends: the registered names.
        kinds: every kind that a provider's facts or a rule asks for.

    Raises:
        SettingsError: every such row at once, by its number (from 1), each with the nearest name.
    """
    problems: list[str] = []
    fixes: list[str] = []
    for number, row in enumerate(attestations, start=1):
        for key, value, known in (("backend", row.backend, backends), ("kind", row.kind, kinds)):
            if value in known:
                continue
            path = f"attestations[{number}].{key}"
            asker = "no backend is called" if key == "backend" else "no fact and no rule asks for"
            problems.append(f"{path}: {asker} {value!r}")
            near = get_close_matches(value.lower(), known, n=1)
            meant = f"did you mean {near[0]!r}?" if near else f"the known ones are {', '.join(sorted(known))}"
            fixes.append(f"{path}: {meant}")
    if problems:
        raise SettingsError("; ".join(problems), place=place, fix="; ".join(fixes))
