"""`gw.policy`: the rules of the gate, and whose word they stand on."""

from __future__ import annotations

import builtins
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from datetime import date, timedelta
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gateway.core.errors import SettingsError
from gateway.core.plan import Plan, rules_missing
from gateway.policy import Pin, TrustState, Untrusted
from gateway.sdk.trust import warnings
from gateway.settings import FILE_NAME

if TYPE_CHECKING:
    from gateway.policy import Bundle, CaseResult
    from gateway.sdk.rooms import Rooms

YEAR = timedelta(days=365)


class Policy:
    """Checks, explains and tests the rules in force; signs and pins what grants permission."""

    def __init__(self, rooms: Rooms) -> None:
        self._rooms = rooms

    # -- rules ------------------------------------------------------------------------------------

    def check(self, files: Iterable[Path] = ()) -> builtins.list[str]:
        """Problems of policy files; where none is named, of all that grants permission here. Empty: all
        is well."""
        from gateway.policy import check
        from gateway.policy.rules import set_path

        named = tuple(files)
        if named:
            return [str(problem) for problem in check(named)]
        settings, state = self._rooms.settings, self._rooms.trust
        if state.pin is not None:
            _, ground = state.on(self._today)
            return [*([ground.reason] if ground else []), *settings_problems(self._rooms)]
        rules = check((*map(set_path, settings.policy_sets), *settings.policy_files))
        return [*map(str, rules), *([] if rules else settings_problems(self._rooms))]

    def explain(self, plan: Plan) -> builtins.list[dict[str, Any]]:
        """Every candidate the gate denies: rules, citations, fixes, and what would open it."""
        changes = {opening.candidate: opening.change for opening in plan.openings}
        return [
            {
                "candidate": str(candidate.key),
                "change": changes.get(candidate.key),
                **candidate.decision.to_json(),
            }
            for candidate in plan.candidates
            if candidate.decision is not None and not candidate.decision.allowed
        ]

    def test(self, cases: Path) -> Sequence[CaseResult]:
        """Run a YAML table of cases against the policies in force."""
        from gateway.policy import try_cases

        return try_cases(cases, self._rooms.gate)

    # -- trust ------------------------------------------------------------------------------------

    def sign(
        self,
        folder: Path,
        to: Path,
        *,
        key: str,
        expires: date | None = None,
        number: int | None = None,
    ) -> Bundle:
        """Sign an officer's folder as a trust bundle, replacing the one that is there.

        Args:
            folder: holds `trust.toml`, `policies/`, `keys/`, `determinations/`; see `gateway.policy.bundle`.
            key: the officer's private key, as `gateway.records.keys` names keys.
            expires: the last day it holds; default: in a year.
            number: must go up with every bundle; default: the time, as 20261122183000.

        Raises:
            SettingsError: the folder is wrong, or the bundle there now bears as high a number.
            RecordError: the key cannot be used, or the bundle cannot be written.
        """
        from gateway.policy.bundle import open_bundle, sign_bundle
        from gateway.policy.trust import read_bundle
        from gateway.records.files import replace_file, unwritable
        from gateway.records.keys import public_keys

        now, signer = self._rooms.clock().replace(microsecond=0), self._rooms.signer(key)
        number = number or int(now.strftime("%Y%m%d%H%M%S"))
        content = sign_bundle(folder, signer, number=number, issued=now, expires=expires or now.date() + YEAR)
        pin = Pin(key, public_keys(signer.public_pem), to)
        signed = open_bundle(content, pin.keys, place=str(to), folder=folder)
        self._rooms.keeper.hold(signed.attestations, signed.book, str(folder))
        with suppress(Untrusted):  # what lies there may be nobody's, or another officer's
            if (before := read_bundle(pin).number) >= number:
                raise SettingsError(
                    f"the bundle there bears the number {before}, and a new one must bear a higher",
                    place=str(to),
                    fix=f"--number {before + 1}",
                )
        try:
            replace_file(to, content)
        except OSError as error:
            raise unwritable(to, "the bundle cannot be written", error) from None
        return signed

    def pin(self, bundle: Path, key: Path, *, replace: bool = False) -> TrustState:
        """Pin a public key in the home folder, and the bundle it must have signed.

        Args:
            key: file of the officer's public key, or keys, in PEM.
            replace: even where another key is pinned there.

        Raises:
            SettingsError: the bundle does not hold under that key today, or another key is pinned.
            RecordError: the pin cannot be written.
        """
        from gateway.policy.trust import home_pin, pin_of, read_bundle, remember, write_pin

        home = self._rooms.home
        pin = pin_of(str(key.absolute()), str(bundle.absolute()), key.absolute())
        pinned = home_pin(home)
        if pinned is not None and pinned.keys.keys() != pin.keys.keys() and not replace:
            raise SettingsError(
                "another key is pinned", place=pinned.place, fix="if the officer's key has changed: --replace"
            )
        opened = read_bundle(pin)
        if why := opened.why_not(self._today):
            raise Untrusted(why, place=str(bundle))
        remember(opened, pin, home / "trust")
        write_pin(home, key.read_text(encoding="utf-8"), bundle)
        return self._rooms.trust

    def unpin(self) -> bool:
        """Take the home folder's pin away; whether there was one. A pin of the system's stays."""
        from gateway.policy.trust import remove_pin

        return remove_pin(self._rooms.settings.home)

    def trust(self) -> dict[str, Any]:
        """Whose word grants permission here today, as JSON."""
        state = self._rooms.trust
        trust, ground = state.on(self._today)
        bundle, pin = state.bundle, state.pin
        return {
            "schema": "tunegate.trust/1",
            "trust": trust,
            "problem": ground.reason if ground else None,
            "pinned_in": pin and pin.place,
            "keys": sorted(pin.keys) if pin else [],
            "bundle": str(pin.bundle) if pin and pin.bundle else None,
            "number": bundle and bundle.number,
            "issued": bundle and bundle.issued.isoformat(),
            "expires": bundle and bundle.expires.isoformat(),
            "rules": list(self._rooms.keeper.rules()[1].rules),
            "attestations": len(state.attestations),
            "approvers": [{"name": who.name, "roles": list(who.roles)} for who in state.approvers],
            "determinations": len(state.determinations),
            "warnings": [*self._stale(), *warnings(self._rooms, self._today, self._rooms.facts)],
        }

    def _stale(self) -> Iterator[str]:
        """What changed since the officer signed."""
        from gateway.policy.rules import load_rules, schema_sha256, set_path, shipped_sets

        bundle = self._rooms.trust.bundle
        if bundle is not None and bundle.schema_sha256 != schema_sha256():
            yield "what rules may ask about has changed since the bundle was signed: review it, sign again"
        for name in bundle.rules if bundle else ():
            if name not in shipped_sets() or bundle is None:
                continue
            ours = load_rules([set_path(name)])
            if any(bundle.book.texts.get(id) != text for id, text in ours.texts.items()):
                yield f"the shipped set `{name}` changed since the bundle was signed: review it, sign again"
        if missing := rules_missing(self._rooms.keeper.rules()[1].rules):
            yield missing

    @property
    def _today(self) -> date:
        return self._rooms.clock().date()


def settings_problems(rooms: Rooms) -> list[str]:
    """What in the settings, or in a bundle, names something that is not there: it would never count."""
    place, known = str(rooms.settings.file or FILE_NAME), rooms.facts
    said: list[str] = []
    for name in sorted(set(rooms.settings.options) - set(known)):
        near = get_close_matches(name, known, n=1)
        meant = f"did you mean {near[0]!r}?" if near else f"the registered ones are {', '.join(known)}"
        said.append(f"{place}: options.{name}: no backend is called so; {meant}")
    try:
        rooms.keeper.check_attestations()
    except SettingsError as error:
        said.append(f"{error.place}: {error.message}; {error.fix}")
    return said
