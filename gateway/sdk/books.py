"""What can be looked up: models, prices, policies and backends. Each a small door of `gw`."""

from __future__ import annotations

import builtins
from collections.abc import Iterable, Mapping, Sequence
from datetime import date, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from backends import registry
from gateway.core.errors import Unsupported
from gateway.core.facts import Facts, Source
from gateway.core.plan import Plan
from gateway.sdk.planning import installed

if TYPE_CHECKING:
    from gateway.policy import CaseResult
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


class Costs:
    """`gw.costs`: the price book."""

    def __init__(self, rooms: Rooms) -> None:
        self._rooms = rooms

    def prices(
        self, backend: str | None = None, *, as_of: date | None = None
    ) -> builtins.list[dict[str, Any]]:
        """Every price line with its age; money as decimal strings."""
        today = as_of or self._rooms.clock().date()
        return [
            {
                "backend": name,
                "item": line.item,
                "models": ", ".join(line.models),
                "regions": ", ".join(line.regions),
                "offers": ", ".join(line.offers),
                "value": str(line.value),
                "unit": line.unit,
                "currency": line.currency,
                **_source(line.source, today),
            }
            for name, facts in _asked(self._rooms, backend).items()
            for line in facts.prices
        ]


class Policy:
    """`gw.policy`: the rules of the gate."""

    def __init__(self, rooms: Rooms) -> None:
        self._rooms = rooms

    def check(self, files: Iterable[Path] = ()) -> builtins.list[str]:
        """Problems of policy files; of those in force where none is named. Empty: they are valid."""
        from gateway.policy import check
        from gateway.policy.rules import set_path

        named = tuple(files)
        settings = self._rooms.settings
        in_force = (*map(set_path, settings.policy_sets), *settings.policy_files)
        return [str(problem) for problem in check(named or in_force)]

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

    def doctor(self, backend: str | None = None) -> builtins.list[dict[str, Any]]:
        """What is missing to use a backend, and how to get it. Looks at no secret and no network."""
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
        return rows

    def _agreements(self, name: str, facts: Facts) -> Iterable[dict[str, Any]]:
        """The agreements that this backend needs for PHI or access, or that the rules in force ask of
        whoever manages data for us; and whether they are in force."""
        today = self._rooms.clock().date()
        stated = facts.handles("hipaa_requires")
        phi = stated.value if stated and isinstance(stated.value, tuple) else ()
        ruled = self._rooms.gate.book.agreements if facts.kind == "managed" else ()
        needed = {*phi, *ruled, *(limit.requires for limit in facts.lifecycle if limit.requires)}
        held = {a.kind for a in self._rooms.settings.attestations if a.backend == name and a.in_force(today)}
        for kind in sorted(needed):
            yield _check(name, f"attestation {kind}", kind in held, _attest(kind, name, today))


def _asked(rooms: Rooms, backend: str | None) -> Mapping[str, Facts]:
    """Facts of the backend asked about; of all where none is.

    Raises:
        SettingsError: no backend has this name.
    """
    return rooms.facts if backend is None else {backend: registry.facts(backend)}


def _check(backend: str, check: str, ok: bool, fix: str) -> dict[str, Any]:
    return {"backend": backend, "check": check, "state": "ok" if ok else "missing", "fix": "" if ok else fix}


def _attest(kind: str, backend: str, today: date) -> str:
    signed, expires = today.isoformat(), (today + timedelta(days=365)).isoformat()
    return (
        f'once signed, add [[attestations]] to tunegate.toml, a line each: kind = "{kind}", '
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
