"""A `GateRequest` as the engine is asked it: every attribute there, and of its type.

What a provider does not state, or states in another type, becomes the unsafe value. Everything else
is handed over as it is: the engine checks it against the schema, and refuses what does not fit.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from gateway.core.classes import DataClass
from gateway.core.gate import Attestation, GateRequest

# attribute → the value that opens no door
UNSAFE: Mapping[str, bool | str | tuple[str, ...]] = {
    "business_associate": True,
    "hipaa_eligible": False,
    "hipaa_requires": (),
    "trains_on_data": True,
    "zero_retention": False,
    "deletes_training_data": False,
    "residency_pinned": False,
    "regions_zone": "",
    "customer_keys": False,
    "private_network": False,
}


def stated(request: GateRequest, attribute: str) -> bool | str | tuple[str, ...]:
    """What the provider states, or the unsafe value where it states nothing usable."""
    unsafe = UNSAFE[attribute]
    value: object = request.handling.get(attribute, unsafe)
    if isinstance(unsafe, tuple):
        return _strings(value) or unsafe
    return value if isinstance(value, type(unsafe)) else unsafe


def in_force(request: GateRequest) -> frozenset[str]:
    """Kinds attested for this backend, action and account that hold on the day; what has expired, is not
    yet signed, or covers something else is absent."""
    return frozenset(
        each.kind
        for each in held(request).rows
        if each.in_force(request.as_of) and each.covers(request.action, request.account)
    )


def cedar_request(request: GateRequest, words: frozenset[str]) -> dict[str, Any]:
    """The engine's own form of the question.

    Args:
        words: what the rules in force mention. A model, region, offer or purpose that no rule
            mentions is left blank, so that candidates which differ in nothing else ask one question.

    Raises:
        TypeError: the class is none, or the tags or approvals are not a tuple: the letters of one
            word must not pass for tags.
    """
    if not isinstance(request.data_class, DataClass):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise TypeError("data_class")
    if not isinstance(request.tags, tuple):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise TypeError("tags")
    if not isinstance(request.approvals, tuple):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise TypeError("approvals")

    def asked(attribute: str, value: str) -> str:
        return value if attribute in words else ""

    return {
        "principal": {"type": "Team", "id": request.team},
        "action": {"type": "Action", "id": str(request.action)},
        "resource": {"type": "Backend", "id": request.backend},
        "context": {
            "data": {
                "class": _entity("Class", str(request.data_class)),
                "scanned": request.scanned,
                "tags": sorted(request.tags),
                "purpose": asked("purpose", request.purpose or ""),
                "residency": request.asked_residency,
            },
            "provider": {
                "kind": _entity("Kind", request.kind),
                **{attribute: _plain(stated(request, attribute)) for attribute in UNSAFE},
            },
            "candidate": {
                "model": asked("model", request.model),
                "region": asked("region", request.region),
                "offer": asked("offer", request.offer),
                "residency": request.residency,
            },
            "agreements": sorted(in_force(request)),
            "approvals": sorted(request.approvals),
        },
    }


def lapsed(request: GateRequest, kind: str) -> Attestation | None:
    """The attestation of that kind which is on file but not in force; the latest, where several are."""
    rows = [each for each in held(request).rows if each.kind == kind]
    return max(rows, key=lambda each: each.signed, default=None)


class Held:
    """What is on file for one backend, in force or not. Hashed once: a plan asks a thousand questions
    over the same."""

    __slots__ = ("_hash", "rows")

    def __init__(self, rows: tuple[Attestation, ...]) -> None:
        self.rows = rows
        self._hash = hash(rows)

    def __hash__(self) -> int:
        return self._hash

    def __eq__(self, other: object) -> bool:
        return self is other or (isinstance(other, Held) and self.rows == other.rows)


_NOTHING = Held(())


class _Last:
    """The attestations asked about last, by backend."""

    seen: tuple[tuple[Attestation, ...], Mapping[str, Held]] | None = None


def held(request: GateRequest) -> Held:
    """What is on file for this question's backend."""
    attestations = request.attestations
    seen = _Last.seen  # read once: another thread may replace it
    if seen is not None and seen[0] is attestations:
        return seen[1].get(request.backend, _NOTHING)
    groups: dict[str, list[Attestation]] = {}
    for each in attestations:
        groups.setdefault(each.backend, []).append(each)
    by_backend = {backend: Held(tuple(rows)) for backend, rows in groups.items()}
    if type(attestations) is tuple:  # a list could change and still be the same
        _Last.seen = (attestations, by_backend)
    return by_backend.get(request.backend, _NOTHING)


def _entity(type: str, id: str) -> dict[str, dict[str, str]]:
    return {"__entity": {"type": type, "id": id}}


def _plain(value: bool | str | tuple[str, ...]) -> bool | str | list[str]:
    return list(value) if isinstance(value, tuple) else value


def _strings(value: object) -> tuple[str, ...]:
    """A list of strings, sorted and without repeats; anything else is no list of strings."""
    if not isinstance(value, list | tuple | set | frozenset):
        return ()
    items: list[object] = list(value)  # pyright: ignore[reportUnknownArgumentType]
    return tuple(sorted({str(item) for item in items})) if all(isinstance(i, str) for i in items) else ()
