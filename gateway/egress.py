"""The one door through which bytes reach a backend. It asks the gate, every time.

Nothing else calls a backend's `stage`, `submit`, `complete`, `stream`, `score`, `merge` or `deploy`. What the
gate denies is never sent, and no answer is remembered: an agreement may end between two calls.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from fnmatch import fnmatch
from ipaddress import ip_address
from pathlib import Path
from typing import Any
from urllib.parse import SplitResult, urlsplit
from urllib.request import getproxies, proxy_bypass

from backends.base import Backend, Handover, Merged, Staged
from gateway.core.errors import PolicyDenied, TunegateError
from gateway.core.gate import Action, Decision, Gate, GateRequest, Ground
from gateway.core.job import Artifact, ChatMessage, Completion, RemoteRef, Score, Site, Snapshot
from gateway.core.plan import ProviderFile, Translation
from gateway.core.rows import Message

Options = Mapping[str, Any]
NONE: Options = {}


@dataclass(frozen=True, slots=True)
class Sending:
    """What would go out with a yes: under which job's key, which file, about which job at the backend, to
    which model; and to which hosts, where that is known."""

    key: str | None = None
    file: ProviderFile | None = None
    ref: RemoteRef | None = None
    model: str | None = None
    hosts: tuple[str, ...] = ()


NOTHING = Sending()
OnDecision = Callable[[GateRequest, Decision, Sending], None]


class Egress:
    """Calls that let data, or a model made of data, reach a backend.

    Every method takes the question the gate must answer; the backend called is the one it names, in the
    region and under the offer it names. `options` are `options.<backend>`, which say whose account. The
    address that the vendor's SDK would use must be one the backend's facts speak of, or this machine.

    Args:
        gate: what decides.
        backend: a backend at a site.
        on_decision: told of every decision, and of what it is about, before anything is sent. When it
            raises, nothing is sent: a decision that cannot be recorded is not acted upon.

    Raises:
        PolicyDenied: from every method, when the gate's answer is anything but a clean allow.
        BackendError: from every method, when the backend failed.
    """

    def __init__(
        self, gate: Gate, backend: Callable[[Site], Backend], *, on_decision: OnDecision | None = None
    ) -> None:
        self._gate = gate
        self._backend = backend
        self._on_decision = on_decision

    def stage(
        self, request: GateRequest, file: ProviderFile, path: Path, *, key: str, options: Options = NONE
    ) -> Staged:
        with self._admitted(request, Action.UPLOAD, options, Sending(key, file)) as backend:
            return backend.stage(file, path, key=key)

    def submit(
        self,
        request: GateRequest,
        translation: Translation,
        staged: Sequence[Staged],
        *,
        key: str,
        handover: Handover,
        options: Options = NONE,
    ) -> RemoteRef:
        with self._admitted(request, Action.TRAIN, options, Sending(key)) as backend:
            return backend.submit(translation, staged, key=key, handover=handover)

    def resume(self, request: GateRequest, ref: RemoteRef, *, options: Options = NONE) -> Snapshot:
        """Go on with training that was paused, or failed: on the same data, by today's answer."""
        with self._admitted(request, Action.TRAIN, options, Sending(ref=ref)) as backend:
            return backend.resume(ref)

    def deploy(self, request: GateRequest, ref: RemoteRef, *, options: Options = NONE) -> Artifact:
        with self._admitted(request, Action.DEPLOY, options, Sending(ref=ref)) as backend:
            return backend.deploy(ref)

    def merge(
        self,
        request: GateRequest,
        model_ref: str,
        out: Path,
        *,
        ref: RemoteRef,
        card: str,
        options: Options = NONE,
    ) -> Merged:
        """Write the tuned model as one that stands alone. It holds what it was trained on, and leaves the
        job's folder."""
        with self._admitted(request, Action.EXPORT, options, Sending(ref=ref, model=model_ref)) as backend:
            return backend.merge(model_ref, out, card=card)

    def complete(
        self,
        request: GateRequest,
        model_ref: str,
        batch: Sequence[Sequence[ChatMessage]],
        *,
        max_output_tokens: int,
        options: Options = NONE,
    ) -> tuple[Completion, ...]:
        with self._admitted(request, Action.INFER, options, Sending(model=model_ref)) as backend:
            return backend.complete(model_ref, batch, max_output_tokens=max_output_tokens)

    def stream(
        self,
        request: GateRequest,
        model_ref: str,
        messages: Sequence[ChatMessage],
        *,
        max_output_tokens: int,
        options: Options = NONE,
    ) -> Iterator[str]:
        """Pieces of one answer. The gate is asked here and now, not at the first piece."""
        with self._admitted(request, Action.INFER, options, Sending(model=model_ref)) as backend:
            pieces = backend.stream(model_ref, messages, max_output_tokens=max_output_tokens)
        return _classified(backend, pieces)

    def score(
        self,
        request: GateRequest,
        model_ref: str,
        examples: Sequence[tuple[Sequence[Message], Message]],
        *,
        options: Options = NONE,
    ) -> tuple[Score, ...]:
        with self._admitted(request, Action.INFER, options, Sending(model=model_ref)) as backend:
            return backend.score(model_ref, examples)

    @contextmanager
    def _admitted(
        self, request: GateRequest, action: Action, options: Options, sending: Sending = NOTHING
    ) -> Generator[Backend]:
        """The backend where the request says, once the gate has said yes to this action."""
        if request.action is not action:
            raise PolicyDenied(
                f"the gate was asked about {request.action}, for a call that needs {action}",
                place=request.backend,
            )
        decision, backend = self._decide(request), None
        if decision.allowed is True:
            backend = self._backend(Site(request.backend, request.region, request.offer, options))
            with classified(backend):
                addresses = tuple(dict.fromkeys(backend.addresses()))
            hosts = dict.fromkeys(urlsplit(address).netloc for address in addresses)
            sending = replace(sending, hosts=tuple(hosts))
            if ground := _elsewhere(backend, addresses):
                decision = replace(decision, allowed=False, grounds=(ground,))
        if self._on_decision is not None:
            self._on_decision(request, decision, sending)
        if backend is None or decision.allowed is not True:
            raise _denied(request, decision)
        with classified(backend):
            _hush(backend.loggers)
            yield backend

    def _decide(self, request: GateRequest) -> Decision:
        """The gate's answer; a gate that fails has denied."""
        try:
            return self._gate.decide(request)
        except Exception as error:
            ground = Ground("gate-failed", f"the gate could not decide ({type(error).__name__})")
            return Decision(allowed=False, grounds=(ground,), policy_hash="")


@contextmanager
def classified(backend: Backend) -> Generator[None]:
    """A vendor's exceptions as the backend classifies them, by type and status. The original is not
    chained: its text may quote what was sent."""
    try:
        yield
    except TunegateError:
        raise
    except Exception as error:
        raise backend.classify(error) from None


def _elsewhere(backend: Backend, addresses: Sequence[str]) -> Ground | None:
    """What the gate was told of a backend holds at that backend's own addresses, and on a way that nobody
    reads along; an environment variable that leads its SDK elsewhere would send the data past every rule.
    """
    found = (_astray(backend, urlsplit(address)) for address in addresses)
    return next((ground for ground in found if ground), None)


def _astray(backend: Backend, address: SplitResult) -> Ground | None:
    host, known = address.hostname or "", backend.facts.hosts
    if is_loopback(host):
        # Plain HTTP to this machine leaves it all the same where a proxy is to carry it.
        return _PROXIED if address.scheme != "https" and through_proxy(host) else None
    region = backend.site.region or "*"
    if not any(fnmatch(host, pattern.replace("{region}", region)) for pattern in known):
        return Ground(
            "egress.address",
            f"calls would go to {host or 'an address without a host'}, of which the facts about "
            f"{backend.facts.title} say nothing",
            fix="unset the variable or option that sends them there; your own server is `compatible`",
        )
    if address.scheme != "https" and "*" not in known:
        return Ground(
            "egress.address",
            f"calls to {host} would not be encrypted",
            fix="give its address with https://, or unset the variable that names it",
        )
    return None


_PROXIED = Ground(
    "egress.address",
    "calls to this machine would go through the proxy that HTTP_PROXY names",
    fix="set NO_PROXY=127.0.0.1,localhost",
)


def through_proxy(host: str) -> bool:
    """Whether SDKs would ask a proxy for what this host serves over plain HTTP."""
    proxies = getproxies()
    return bool(proxies.get("http") or proxies.get("all")) and not proxy_bypass(host)


def _hush(loggers: Sequence[str]) -> None:
    """Keep a vendor's SDK from logging what it sends, where an application has turned that on for all."""
    for logger in map(logging.getLogger, loggers):
        if logger.getEffectiveLevel() < logging.INFO:
            logger.setLevel(logging.INFO)


def is_loopback(host: str) -> bool:
    """Whether a host name or address is this machine by definition; no name is looked up."""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")


def _classified(backend: Backend, pieces: Iterator[str]) -> Iterator[str]:
    with classified(backend):
        yield from pieces


def _denied(request: GateRequest, decision: Decision) -> PolicyDenied:
    grounds = decision.grounds or (Ground("nothing-allows", "no rule allows it"),)
    reasons = "; ".join(
        f"{ground.reason} [{ground.rule}{f', {ground.citation}' if ground.citation else ''}]"
        for ground in grounds
    )
    fixes = [ground.fix for ground in grounds if ground.fix]
    return PolicyDenied(
        f"{request.action} is denied: {reasons}",
        place=f"{request.backend} {request.model} · {request.region} · {request.offer}",
        fix="; ".join(dict.fromkeys(fixes)) or None,
        rules=tuple(ground.rule for ground in grounds),
    )
