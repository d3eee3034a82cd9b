"""How permission stands in this gateway: looked at anew whenever the files it follows from change."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import date, timedelta
from typing import TYPE_CHECKING

from gateway import settings as places
from gateway.core.facts import Facts
from gateway.core.gate import USUAL_SETS, Attestation, Decision, GateRequest
from gateway.policy import (
    CedarGate,
    RuleBook,
    TrustState,
    check_known,
    expiring,
    find_pin,
    gate_of,
    known_agreements,
    open_state,
    watched,
)
from gateway.settings import FILE_NAME, Settings

if TYPE_CHECKING:
    from gateway.sdk.rooms import Rooms

_SOON = timedelta(days=30)


class Keeper:
    """The trust state and the gate over it. A bundle that is replaced is in force at the next question:
    a worker that runs for weeks learns of an agreement that was withdrawn.

    Args:
        facts: every registered backend's, to hold attestations to.
    """

    def __init__(self, settings: Settings, facts: Callable[[], Mapping[str, Facts]]) -> None:
        self._settings = settings
        self._facts = facts
        self._seen: tuple[object, TrustState] | None = None
        self._gate: tuple[TrustState, CedarGate] | None = None
        self._checked = False

    def state(self) -> TrustState:
        """How permission stands now. Never raises: what is wrong with a pinned bundle is in the state."""
        settings, system = self._settings, places.SYSTEM_FOLDER
        if self._seen and self._seen[0] == watched(system, settings.home, self._seen[1].pin):
            return self._seen[1]
        before = watched(system, settings.home, None)  # what changes while we read is looked at again
        pin = find_pin(system=system, home=settings.home, settings=settings.pin)
        mark = (*before[:-1], watched(system, settings.home, pin)[-1])
        if pin is None:
            state = TrustState(attestations=settings.attestations, approvers=settings.approvers)
        else:
            state = open_state(pin, settings.home)
        self._seen = (mark, state)
        return state

    def gate(self) -> CedarGate:
        """The gate that every plan and every action asks. It stands only on settings that mean something:
        a mistyped agreement is an error here, before any question is put.

        Raises:
            SettingsError: a policy of the settings is wrong, or an attestation of no known kind or backend.
        """
        state, gate = self.rules()
        if state.pin is None:
            self.check_attestations()
        return gate

    def rules(self) -> tuple[TrustState, CedarGate]:
        """The state with its gate, whatever the attestations are like.

        Raises:
            SettingsError: a policy of the settings is wrong.
        """
        state = self.state()
        if self._gate is None or self._gate[0] is not state:
            gate = gate_of(state, self._settings.policy_files, self._settings.policy_sets)
            self._gate, self._checked = (state, gate), False
        return self._gate

    def check_attestations(self) -> None:
        """Raises:
        SettingsError: an attestation in force is of a kind or for a backend that nothing looks at.
        """
        state, gate = self.rules()
        if not self._checked:
            place = state.pin.bundle if state.pin else self._settings.file
            self.hold(state.attestations, gate.book, str(place or FILE_NAME))
            self._checked = True

    def hold(self, attestations: Sequence[Attestation], book: RuleBook, place: str) -> None:
        """Raises:
        SettingsError: one of these would never count, by these rules and the registered backends.
        """
        facts = self._facts()
        kinds = known_agreements(book) | _agreements_of(facts.values())
        check_known(attestations, backends=facts, kinds=kinds, place=place)

    def decide(self, request: GateRequest) -> Decision:
        """The answer of the gate as it stands now; the keeper is a gate itself."""
        return self.gate().decide(request)


def warnings(rooms: Rooms, today: date, backends: Collection[str]) -> tuple[str, ...]:
    """What a plan should say of the permissions it stands on."""
    state, settings = rooms.trust, rooms.settings
    said: list[str] = []
    ours = settings.policy_files or settings.attestations or settings.approvers
    if state.pin is not None and (ours or settings.policy_sets != USUAL_SETS):
        said.append(
            f"policies, attestations and approvers in {settings.file} are ignored:"
            f" what grants permission comes from the bundle of the key pinned in {state.pin.place}"
        )
    if settings.pin is not None and state.pin is not None and settings.pin.place != state.pin.place:
        said.append(f"the key pinned in {state.pin.place} stands above {settings.pin.place}")
    if state.bundle is not None and timedelta() <= state.bundle.expires - today <= _SOON:
        said.append(f"the trust bundle expires on {state.bundle.expires}")
    return (*said, *expiring(state.attestations, today, backends))


def _agreements_of(facts: Collection[Facts]) -> frozenset[str]:
    """Kinds of agreement that some provider asks for: for access, or for PHI."""
    found: set[str] = set()
    for each in facts:
        found.update(limit.requires for limit in each.lifecycle if limit.requires)
        for fact in each.handling:
            if fact.attribute == "hipaa_requires" and isinstance(fact.value, tuple):
                found.update(fact.value)
    return frozenset(found)
