"""The trust bundle: everything that grants permission, in one file signed by the officer who keeps it.

The officer's folder, and what becomes of it:

    trust.toml               sets = ["baseline", "hipaa"], [[attestations]], [[approvers]]
    policies/*.cedar         the organisation's own rules
    keys/*.pub               approvers' public keys, as trust.toml names them
    determinations/*         an officer's signed findings about datasets
    legal/…                  evidence; it stays where it is, and only its hash is signed

The bundle is a DSSE envelope over an in-toto statement whose subjects are those files (evidence left
out) and the shipped sets, by hash, and whose predicate holds their text. The shipped rules are inside
too: what decides is what was signed, whichever version of Tunegate decides.
"""

from __future__ import annotations

import json
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from gateway.core.errors import SettingsError
from gateway.core.gate import USUAL_SETS, Attestation
from gateway.policy.approvers import Approver, approvers_from
from gateway.policy.attestations import attestations_from
from gateway.policy.rules import RuleBook, rules_of, schema_sha256, set_path

if TYPE_CHECKING:  # no command loads cryptography that needs no key
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

    from gateway.records.keys import Signer

PREDICATE = "https://tunegate.example/predicate/trust-bundle/v1"
CONTENTS = "trust.toml"
_PARTS = ("policies/*.cedar", "keys/*.pub", "determinations/*")


class Untrusted(SettingsError):
    """A bundle that does not hold: nothing of it is in force."""

    code = "trust"


@dataclass(frozen=True, slots=True)
class Bundle:
    """A bundle whose signature holds.

    Attributes:
        number: goes up with every bundle; an older one is refused once a newer was seen.
        issued: when it was signed, UTC; expires: the last day it holds.
        key: id of the key that signed it.
        rules: names of its policies: of shipped sets, and file names of the officer's own.
        determinations: signed findings by file name, as they were.
    """

    number: int
    issued: datetime
    expires: date
    key: str
    sha256: str
    book: RuleBook
    rules: tuple[str, ...]
    attestations: tuple[Attestation, ...]
    approvers: tuple[Approver, ...]
    determinations: Mapping[str, bytes]
    schema_sha256: str

    def why_not(self, day: date) -> str | None:
        """Why it does not hold on a day; None where it does."""
        if day > self.expires:
            return f"the trust bundle expired on {self.expires}"
        if day < self.issued.date():
            return f"the trust bundle holds only from {self.issued.date()}"
        return None


class _Model(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class _Contents(_Model):
    """`trust.toml`."""

    sets: tuple[str, ...] = USUAL_SETS
    attestations: list[dict[str, Any]] = Field(default_factory=list[dict[str, Any]])
    approvers: list[dict[str, Any]] = Field(default_factory=list[dict[str, Any]])


class _Predicate(_Model):
    number: Annotated[int, Field(ge=1)]
    issued: datetime
    expires: date
    schema_sha256: str
    files: dict[str, str]


def sign_bundle(folder: Path, key: Signer, *, number: int, issued: datetime, expires: date) -> bytes:
    """The signed bundle of an officer's folder, as one line of JSON.

    Raises:
        SettingsError: something in the folder is wrong, as it would be when the bundle is read; or it
            would never hold.
    """
    from gateway.records.envelope import seal

    contents = _contents(_text(folder / CONTENTS) or "", str(folder / CONTENTS))
    names = sorted({path for part in _PARTS for path in folder.glob(part) if path.is_file()})
    own = {path.relative_to(folder).as_posix(): _text(path) for path in (folder / CONTENTS, *names)}
    shipped = {f"sets/{name}.cedar": _text(set_path(name)) for name in contents.sets}
    files = {name: text for name, text in {**own, **shipped}.items() if text is not None}
    if unreadable := sorted({*own, *shipped} - set(files)):
        raise SettingsError("not a readable file of UTF-8 text", place=str(folder / unreadable[0]))
    bundle = _bundle(
        {
            "number": number,
            "issued": issued.isoformat(),
            "expires": expires.isoformat(),
            "schema_sha256": schema_sha256(),
            "files": files,
        },
        place=str(folder),
        folder=folder,
    )
    if wrong := next((held for held in bundle.attestations if held.void), None):
        raise SettingsError(
            f"the attestation `{wrong.kind}` for {wrong.backend}: {wrong.void}", place=str(folder)
        )
    if why := bundle.why_not(issued.date()):
        raise SettingsError(f"{why}: it would never hold", place="--expires")
    return seal(_statement(bundle, files), key)


def open_bundle(content: bytes, keys: Mapping[str, Ed25519PublicKey], *, place: str, folder: Path) -> Bundle:
    """A bundle from its bytes, if one of these keys signed exactly them.

    Args:
        folder: where the bundle lies; evidence that lies beside it is checked.

    Raises:
        Untrusted: it is not signed by one of the keys, was altered, or does not say what a bundle says.
    """
    from gateway.records.envelope import STATEMENT_TYPE, Unverified, sha256, signed_payload

    opened = signed_payload(content, keys)
    if isinstance(opened, Unverified):
        altered = "was altered or is not signed: it " if opened.code == "edited" else ""
        raise Untrusted(f"the trust bundle {altered}{opened.text}", place=place)
    payload, key = opened
    try:
        statement = json.loads(payload)
        predicate: dict[str, Any] = statement["predicate"]
        well_made = statement["_type"] == STATEMENT_TYPE and statement["predicateType"] == PREDICATE
        named = {subject["name"]: subject["digest"]["sha256"] for subject in statement["subject"]}
        whole = named == {name: sha256(text.encode()) for name, text in predicate["files"].items()}
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        raise Untrusted("this is signed, and is not a trust bundle", place=place) from None
    if not (well_made and whole):
        raise Untrusted("this is signed, and is not a trust bundle", place=place)
    try:
        return _bundle(predicate, place=place, folder=folder, key=key, digest=sha256(content))
    except SettingsError as error:
        raise Untrusted(
            f"the trust bundle holds what cannot be used: {error.message}", place=error.place
        ) from None


def _statement(bundle: Bundle, files: Mapping[str, str]) -> dict[str, Any]:
    from gateway.records.envelope import STATEMENT_TYPE, sha256

    return {
        "_type": STATEMENT_TYPE,
        "subject": [
            {"name": name, "digest": {"sha256": sha256(text.encode())}}
            for name, text in sorted(files.items())
        ],
        "predicateType": PREDICATE,
        "predicate": {
            "number": bundle.number,
            "issued": bundle.issued.isoformat(),
            "expires": bundle.expires.isoformat(),
            "schema_sha256": bundle.schema_sha256,
            "files": dict(files),
        },
    }


def _bundle(
    predicate: Mapping[str, Any], *, place: str, folder: Path, key: str = "", digest: str = ""
) -> Bundle:
    try:
        said = _Predicate.model_validate(predicate)
    except ValidationError as error:
        where = ", ".join(".".join(map(str, item["loc"])) for item in error.errors(include_input=False))
        raise SettingsError(f"not as a trust bundle says it: {where}", place=place) from None
    if said.issued.tzinfo is None:
        raise SettingsError("a time without a zone: issued", place=place)
    contents = _contents(said.files.get(CONTENTS, ""), f"{place}: {CONTENTS}")
    policies = {name: text for name, text in said.files.items() if name.endswith(".cedar")}
    if missing := [name for name in contents.sets if f"sets/{name}.cedar" not in policies]:
        raise SettingsError(f"the set {missing[0]!r} is not in the bundle", place=place)
    own = tuple(name.split("/")[-1] for name in policies if name.startswith("policies/"))
    return Bundle(
        number=said.number,
        issued=said.issued,
        expires=said.expires,
        key=key,
        sha256=digest,
        book=rules_of({f"{place}: {name}": text for name, text in policies.items()}),
        rules=(*contents.sets, *own),
        attestations=attestations_from(contents.attestations, place=f"{place}: {CONTENTS}", folder=folder),
        approvers=approvers_from(
            contents.approvers, place=f"{place}: {CONTENTS}", folder=folder, read=said.files.get
        ),
        determinations={
            name.split("/")[-1]: text.encode()
            for name, text in said.files.items()
            if name.startswith("determinations/")
        },
        schema_sha256=said.schema_sha256,
    )


def _contents(text: str, place: str) -> _Contents:
    try:
        return _Contents.model_validate(tomllib.loads(text, parse_float=Decimal))
    except tomllib.TOMLDecodeError as error:
        raise SettingsError(f"this is not valid TOML: {error}", place=place) from None
    except ValidationError as error:
        problems = "; ".join(
            f"{'.'.join(map(str, item['loc']))}: {item['msg']}"
            for item in error.errors(include_url=False, include_input=False)
        )
        raise SettingsError(
            problems, place=place, fix="it has sets, [[attestations]] and [[approvers]]"
        ) from None


def _text(path: Path) -> str | None:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        return None
