"""What can be looked up: models, prices, policies and backends. Each a small door of `gw`."""

from __future__ import annotations

import builtins
from collections.abc import Iterable, Mapping
from datetime import date, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from backends import registry
from gateway.core.errors import BackendError, Unsupported
from gateway.core.facts import Facts, Source
from gateway.core.job import Site
from gateway.egress import classified
from gateway.sdk.planning import installed
from gateway.sdk.policy import settings_problems

if TYPE_CHECKING:
    from gateway.sdk.rooms import Rooms


class Models:
    """`gw.models`: which model can be tuned where, and bringing one here."""

    def __init__(self, rooms: Rooms) -> None:
        self._rooms = rooms

    def list(self) -> builtins.list[tuple[str, str, str, str]]:
        """(name, backend, the provider's id, whether its weights are here), by name."""
        rows: list[tuple[str, str, str, str]] = []
        for name, facts in self._rooms.facts.items():
            backend = self._rooms.backend(name)
            for model in facts.models:
                here = "" if facts.kind == "managed" else "no" if backend.absent(model) else "yes"
                rows.append((model.name, name, model.id, here))
        return sorted(rows)

    def fetch(self, model: str) -> Path:
        """Bring a base model here for local runs. Uses the network.

        Raises:
            Unsupported: no backend keeps models on this machine.
        """
        for name, facts in self._rooms.facts.items():
            if facts.kind == "local":
                _ = self._rooms.home
                return self._rooms.backend(name).fetch_model(model)
        raise Unsupported("no registered backend keeps models on this machine", place=model)


class Backends:
    """`gw.backends`: what could run a job, what is known of it, and what is missing."""

    def __init__(self, rooms: Rooms) -> None:
        self._rooms = rooms

    def list(self) -> builtins.list[dict[str, Any]]:
        """Every registered backend."""
        return [
            {
                "name": name,
                "title": facts.title,
                "kind": facts.kind,
                "models": len(facts.models),
                "dispatch": "yes" if self._rooms.backend(name).dispatches else "not built yet",
                "installed": "yes" if installed(facts) else f"no: {registry.install_hint(name)}",
            }
            for name, facts in self._rooms.facts.items()
        ]

    def facts(self, backend: str | None = None) -> builtins.list[dict[str, Any]]:
        """Everything stated, one row a fact, each with source, age and confidence."""
        today = self._rooms.clock().date()
        return [
            {"backend": name, "fact": fact, "about": about, "statement": statement, **_source(source, today)}
            for name, facts in _asked(self._rooms, backend).items()
            for fact, about, statement, source in _statements(facts)
        ]

    def doctor(self, backend: str | None = None, *, live: bool = False) -> builtins.list[dict[str, Any]]:
        """What is missing to use a backend, and how to get it. Shows no secret.

        Args:
            live: ask the backends too, only to read: credential, account, role, bucket. Else no network.
        """
        rows: list[dict[str, Any]] = []
        for name, facts in _asked(self._rooms, backend).items():
            made = self._rooms.backend(name)
            options = self._rooms.options.get(name, {})
            missing = ", ".join(made.missing(options))
            rows += [
                _check(name, "package", installed(facts), registry.install_hint(name)),
                _check(name, "dispatch", made.dispatches, "planning works; dispatch is not built yet"),
                _check(name, "options", not missing, f"set {missing} under options.{name}"),
            ]
            rows += self._agreements(name, facts)
            if live and made.dispatches and installed(facts):
                rows += self._live(name, facts, options)
        return rows if backend else [*rows, *self._trust()]

    def _trust(self) -> Iterable[dict[str, Any]]:
        """Whose word grants permission here, and what the settings name that is not there."""
        trust, ground = self._rooms.trust.on(self._rooms.clock().date())
        fix = "an officer signs what grants permission: `tunegate policy sign`, then `tunegate policy trust`"
        told = f"{ground.reason} {ground.fix}" if ground else fix
        row = _check("-", "trust bundle", trust == "verified", told)
        yield row if trust == "verified" else {**row, "state": trust}
        for problem in settings_problems(self._rooms):
            yield _check("-", "settings", False, problem)

    def _live(self, name: str, facts: Facts, options: Mapping[str, Any]) -> Iterable[dict[str, Any]]:
        """What the backend itself says, at the first region that its facts name."""
        region = next((region for model in facts.models for region in model.regions), "")
        made = self._rooms.backend_at(Site(name, region, options=options))
        try:
            with classified(made):
                found = made.check()
        except BackendError as error:
            yield {
                "backend": name,
                "check": "reachable",
                "state": "missing",
                "fix": error.fix or error.message,
            }
            return
        for each in found:
            yield {"backend": name, "check": each.name, "state": each.state, "fix": each.fix}

    def _agreements(self, name: str, facts: Facts) -> Iterable[dict[str, Any]]:
        """The agreements that this backend needs for PHI or access, or that the rules in force ask of
        whoever manages data for us; and whether they are in force."""
        today = self._rooms.clock().date()
        stated = facts.handles("hipaa_requires")
        phi = stated.value if stated and isinstance(stated.value, tuple) else ()
        state, gate = self._rooms.keeper.rules()
        ruled = gate.book.agreements if facts.kind == "managed" else ()
        needed = {*phi, *ruled, *(limit.requires for limit in facts.lifecycle if limit.requires)}
        account = self._rooms.backend(name).account(self._rooms.options.get(name, {}))
        held = {
            each.kind
            for each in state.attestations
            if each.backend == name and each.in_force(today) and each.account in ("", account)
        }
        for kind in sorted(needed):
            fix = _attest(kind, name, today, gate.attested_in)
            yield _check(name, f"attestation {kind}", kind in held, fix)


def _asked(rooms: Rooms, backend: str | None) -> Mapping[str, Facts]:
    """Facts of the backend asked about; of all where none is.

    Raises:
        SettingsError: no backend has this name.
    """
    return rooms.facts if backend is None else {backend: registry.facts(backend)}


def _check(backend: str, check: str, ok: bool, fix: str) -> dict[str, Any]:
    return {"backend": backend, "check": check, "state": "ok" if ok else "missing", "fix": "" if ok else fix}


def _attest(kind: str, backend: str, today: date, where: str) -> str:
    signed, expires = today.isoformat(), (today + timedelta(days=365)).isoformat()
    return (
        f'once signed, add [[attestations]] to {where}, a line each: kind = "{kind}", '
        f'backend = "{backend}", signed = {signed}, expires = {expires}, evidence = "where the paper is"'
    )


def _statements(facts: Facts) -> Iterable[tuple[str, str, str, Source]]:
    yield "lookup", facts.lookup.how, facts.lookup.text, facts.lookup.source
    for model in facts.models:
        yield (
            "model",
            model.name,
            f"{model.id}; {', '.join(model.tasks)}; {', '.join(model.regions)}",
            model.source,
        )
    for offer in facts.offers:
        yield "offer", offer.name, f"data goes: {offer.residency}. {offer.text}", offer.source
    for limit in facts.lifecycle:
        yield f"lifecycle: {limit.what}", ", ".join(limit.models), limit.text, limit.source
    for handling in facts.handling:
        yield "handling", handling.attribute, f"{handling.value}. {handling.text}", handling.source
    for line in facts.prices:
        yield f"price: {line.item}", ", ".join(line.models), f"{line.value} {line.unit}", line.source


def _source(source: Source, today: date) -> dict[str, Any]:
    return {
        "source": source.url,
        "as_of": source.as_of.isoformat(),
        "age_days": (today - source.as_of).days,
        "confidence": str(source.confidence),
    }
