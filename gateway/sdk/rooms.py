"""The rooms of one gateway, each opened when it is first needed.

Several gateways live side by side in one process: everything they share is on disk.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from datetime import datetime
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from backends import registry
from backends.base import Backend, Handover
from cost.prices import PriceBook
from gateway.core.facts import Facts
from gateway.core.job import Event, Site
from gateway.jobs.model import Caps, Job
from gateway.policy import CedarGate, TrustState
from gateway.sdk.dispatch import Dispatch
from gateway.sdk.trust import Keeper
from gateway.settings import Settings, account_name, credential, make_home, variable

if TYPE_CHECKING:
    from cost.live import Live
    from gateway.egress import Egress
    from gateway.jobs.reconciler import Reconciler
    from gateway.jobs.store import Store
    from gateway.privacy.ner import Ner
    from gateway.records import RecordLog
    from gateway.records.keys import Passphrase, Signer
    from gateway.sdk.accounts import Accounts
    from gateway.sdk.approvals import Approvals
    from gateway.sdk.tracking import Tracker


LIVE_PRICES = "cache/live-prices.json"


class Rooms:
    """What a gateway is assembled from."""

    def __init__(
        self, settings: Settings, clock: Callable[[], datetime], ask: Passphrase = lambda place: None
    ) -> None:
        self._ask = ask
        self.settings = settings
        self.clock = clock
        self._backends: dict[str, Backend] = {}
        self.keeper = Keeper(settings, lambda: self.facts)

    @cached_property
    def home(self) -> Path:
        """The home folder, made on first use."""
        make_home(self.settings)
        return self.settings.home

    @cached_property
    def options(self) -> Mapping[str, Mapping[str, Any]]:
        """Defaults for `options.<backend>`: the settings file over the environment variables that a
        backend's own options name."""
        found: dict[str, Mapping[str, Any]] = {}
        for name in self.facts:
            variables = self.backend(name).variables
            told: dict[str, Any] = {
                option: value for option, of in variables.items() if (value := variable(of))
            }
            told |= self.settings.options.get(name, {})
            if told:
                found[name] = told
        return {**self.settings.options, **found}

    @property
    def caps(self) -> Caps:
        """What the settings let be spent."""
        return Caps(self.settings.budgets.job_usd, self.settings.budgets.team_month_usd)

    @cached_property
    def facts(self) -> Mapping[str, Facts]:
        return {name: registry.facts(name) for name in registry.names()}

    @cached_property
    def book(self) -> PriceBook:
        """The book that plans are priced from; with prices read live where the settings ask for them."""
        live = self.live.prices if self.settings.live_prices else ()
        return PriceBook(self.facts, self.settings.prices, live)

    @property
    def live(self) -> Live:
        """The prices that were last read from public lists; none where they never were, or make no sense."""
        from cost.live import Live, load

        try:
            return load((self.settings.home / LIVE_PRICES).read_bytes())
        except (OSError, ValueError):
            return Live(())

    @property
    def trust(self) -> TrustState:
        """Whose word grants permission here, as of now; its attestations and approvers are those in
        force: a pinned bundle's, else the settings'."""
        return self.keeper.state()

    @property
    def gate(self) -> CedarGate:
        """The one gate that every plan and every action asks.

        Raises:
            SettingsError: a policy is wrong, or an attestation is of no known kind or backend.
        """
        return self.keeper.gate()

    @cached_property
    def ner(self) -> Ner | None:
        """The model that reads names beside the scan's rules, where the settings name one.

        Raises:
            SettingsError, Unsupported: it cannot be used; then nothing is scanned at all.
        """
        from gateway.privacy.ner import Ner

        return Ner(self.settings.ner) if self.settings.ner else None

    def backend(self, name: str) -> Backend:
        """One instance per name, so that loaded models are shared within this gateway."""
        if name not in self._backends:
            self._backends[name] = registry.create(name, self.settings.home)
            self._backends[name].credential = credential
        return self._backends[name]

    def backend_at(self, site: Site) -> Backend:
        """A backend at one of its places, sharing what the name's one instance has loaded."""
        return self.backend(site.backend).at(site)

    @property
    def has_store(self) -> bool:
        """Whether there is a store to read: one that the settings name, or our own file."""
        return bool(self.settings.store) or (self.settings.home / "jobs.db").is_file()

    @property
    def has_account(self) -> bool:
        """Whether anything was recorded here yet."""
        return (self.settings.home / "records").is_dir()

    @cached_property
    def store(self) -> Store:
        from gateway.jobs.store import Store

        _ = self.home
        return Store(self.settings.store_url, clock=self.clock)

    @cached_property
    def log(self) -> RecordLog:
        from gateway.records import RecordLog
        from gateway.records.keys import DeferredSigner

        return RecordLog(self.home / "records", DeferredSigner(self.record_signer), self.clock)

    def signer(self, name: str) -> Signer:
        """The private key that whoever runs the command named, as `gateway.records.keys` names keys.

        Raises:
            RecordError: there is no such key, or its passphrase is missing or wrong.
        """
        from gateway.records.keys import open_signer

        return open_signer(name, folder=Path.cwd(), variable=credential, passphrase=self.passphrase)

    def record_signer(self) -> Signer:
        """What signs records here: the settings' key, else the home folder's own."""
        from gateway.records.keys import load_or_create_key, open_signer
        from gateway.records.rotation import finish_rotation

        name, folder, keys = self.settings.signing.key, self.settings.folder, self.home / "keys"
        if name:
            return open_signer(name, folder=folder, variable=credential, passphrase=self.passphrase)
        finish_rotation(self.log, keys)
        return load_or_create_key(keys, self.passphrase)

    def forget_signer(self) -> None:
        """The account is opened anew, with the key that follows."""
        for room in ("log", "accounts", "egress", "reconciler"):
            self.__dict__.pop(room, None)

    def passphrase(self, place: str) -> str | None:
        """From the variable the settings name, else from whoever is here to be asked."""
        return credential(self.settings.signing.passphrase_env) or self._ask(place)

    @cached_property
    def accounts(self) -> Accounts:
        from gateway.sdk.accounts import Accounts, scanner_name

        return Accounts(self.log, self.store.plan, engine=lambda: scanner_name(self.ner))

    @cached_property
    def dispatch(self) -> Dispatch:
        return Dispatch(self)

    @cached_property
    def approvals(self) -> Approvals:
        from gateway.sdk.approvals import Approvals

        return Approvals(self)

    @property
    def requester(self) -> list[str]:
        """Who asks for jobs here: as the settings name them, and as the operating system does. Whoever
        bears one of these names approves none of them."""
        account = account_name()
        return [self.settings.user or account, account]

    @cached_property
    def egress(self) -> Egress:
        from gateway.egress import Egress

        return Egress(self.keeper, self.backend_at, on_decision=self.accounts.decided)

    @cached_property
    def reconciler(self) -> Reconciler:
        from gateway.jobs.reconciler import Reconciler
        from gateway.sdk.deployments import deploys_freely
        from gateway.sdk.endings import actual_usd, deleted

        return Reconciler(
            self.store,
            self.egress,
            self.backend_at,
            gate_request=self.dispatch.gate_request,
            write_files=self.dispatch.write_file,
            evaluate=self.dispatch.evaluate,
            record=self.dispatch.record,
            on_event=self._happened,
            handover=self._handover,
            actual_usd=partial(actual_usd, self),
            keeps_uploads=self.settings.keep_uploads,
            on_deleted=partial(deleted, self),
            deploys_freely=partial(deploys_freely, self),
            awaiting=self.approvals.awaiting,
            clock=self.clock,
        )

    def _happened(self, job: Job, event: Event) -> None:
        self.accounts.happened(job, event)
        if self.tracker is not None:
            self.tracker.happened(job, event)

    @cached_property
    def tracker(self) -> Tracker | None:
        from gateway.sdk.tracking import Tracker

        return self.settings.tracking and Tracker(self.settings.tracking, self)

    def _handover(self, job: Job) -> Handover:
        """What a job that outlives us is told; at its end it runs this gateway again, for it alone."""
        config = ("--config", str(self.settings.file)) if self.settings.file else ()
        home = ("--home", str(self.settings.home))
        command = (sys.executable, "-m", "gateway.cli", *config, *home, "jobs", "work", "--job", job.id)
        turns = self.settings.turns
        return Handover(job.id, job.folder, command, job.team, turns.slots, turns.per_team)
