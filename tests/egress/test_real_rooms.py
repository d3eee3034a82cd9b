"""The same proof with the managed rooms themselves: the vendors' own SDKs, their sandboxes on loopback, and
every body that arrives there looked at."""

from __future__ import annotations

import io
import json
import threading
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from backends import registry
from backends.sandbox.server import Application
from gateway import Gateway
from gateway.core.classes import DataClass
from gateway.core.plan import CandidateKey
from gateway.planner.places import offer_of, residency_of
from gateway.records.verify import read_files
from tests.backends.sandboxes import Hand, StartSandbox
from tests.egress.cases import DAY, KINDS, MARK, Case, Fleet, Paper, make
from tests.egress.far import Received, Stance
from tests.egress.trial import Tally, Trial, kept, logged
from tests.jobs.world import Clock

SEED = 20261122
ROOMS = tuple(name for name in registry.names() if registry.facts(name).kind == "managed")


class RealFleet(Fleet):
    """The managed rooms, by what their facts state, read without the gate."""

    def stance(self, key: CandidateKey) -> Stance:
        facts = registry.facts(key.backend)
        stated = {fact.attribute: fact.value for fact in facts.handling if fact.source.confidence.usable}
        requires = stated.get("hipaa_requires", ())
        zone = residency_of(offer_of(facts, key.offer), key.region)
        return Stance(
            key.region,
            zone,
            zone,
            stated.get("hipaa_eligible") is True,
            requires if isinstance(requires, tuple) else (),
            stated.get("trains_on_data") is not False,
        )


FLEET = RealFleet(
    names=ROOMS,
    models=("gpt-4.1-mini", "nova-micro", "gemini-3.5-flash"),
    kinds=(*KINDS, "existing_account"),
    rows=130,
)


class Moving(Clock):
    """The gateway's clock, which moves the sandbox's with it."""

    def __init__(self, hand: Hand) -> None:
        super().__init__()
        self._hand = hand

    def sleep(self, seconds: float) -> None:
        super().sleep(seconds)
        self._hand.advance(seconds)


@dataclass
class Listening:
    """What arrives at the sandbox, by room: every body, whatever the vendor's SDK made of it."""

    quotes: bool = False  # the sandboxes answer in the vendors' own words
    _received: list[Received] = field(default_factory=list[Received])
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def take(self) -> list[Received]:
        with self._lock:
            taken, self._received = self._received, []
        return taken

    def listen(self, monkeypatch: pytest.MonkeyPatch) -> None:
        answer = Application.__call__

        def heard(application: Application, environ: dict[str, Any], start: Any) -> Iterable[bytes]:
            chunked = environ.get("wsgi.input_terminated")
            size = None if chunked else int(environ.get("CONTENT_LENGTH") or 0)
            body = environ["wsgi.input"].read() if size is None else environ["wsgi.input"].read(size)
            environ["wsgi.input"] = io.BytesIO(body)
            query = str(environ.get("QUERY_STRING", "")).encode()
            path = str(environ["PATH_INFO"])
            with self._lock:
                self._received.append(Received(path.split("/")[1], path, body + b"\n" + query))
            return answer(application, environ, start)

        monkeypatch.setattr(Application, "__call__", heard)


def _prove(
    cases: Iterable[Case], folder: Path, sandbox: StartSandbox, monkeypatch: pytest.MonkeyPatch
) -> tuple[Tally, list[str]]:
    hand, listening, tally = Hand(), Listening(), Tally()
    listening.listen(monkeypatch)
    sandbox(*ROOMS, clock=hand, folder=folder / "sandbox")
    home = folder / "home"
    with logged(tally.said):
        for case in cases:
            place, clock = folder / f"case-{case.number}", Moving(hand)
            Trial(case, place, home, listening, tally, fleet=FLEET, clock=clock).run()
    return tally, [str(path.relative_to(home)) for path, held in kept(home) if MARK.encode() in held]


def _holds(tally: Tally, spilled: list[str]) -> None:
    print(tally)
    assert tally.breaches == []
    assert tally.denied_bytes == 0
    assert tally.wrong == []
    assert (spilled, tally.spilled()) == ([], [])


def _open(room: str, number: int) -> Case:
    """Public data and every agreement: what may be done there, is."""
    start = DAY - timedelta(days=30)
    papers = tuple(Paper(kind, room, start, None) for kind in FLEET.kinds)
    return Case(
        number=number,
        model=next(each.name for each in registry.facts(room).models if each.name in FLEET.models),
        declared=DataClass.PUBLIC,
        planted=DataClass.PUBLIC,
        prompt=DataClass.PUBLIC,
        tags=(),
        residency="any",
        sets=("baseline", "hipaa"),
        papers=papers,
        later=papers,
        route=(room,),
        objective="cheapest",
        pauses=(0, 0),
        actions=("complete", "stream", "base", "evaluate", "score"),
        quotes=False,
    )


@pytest.mark.parametrize("room", [name for name in ROOMS if registry.facts(name).models])
def test_what_may_go_goes_is_neither_kept_nor_said_and_is_accounted_for(
    room: str, tmp_path: Path, sandbox: StartSandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    tally, spilled = _prove([_open(room, 1)], tmp_path, sandbox, monkeypatch)
    _holds(tally, spilled)
    assert tally.dispatched == 1
    assert tally.allowed_bytes > 10_000
    _account(room, tmp_path)


def _account(room: str, folder: Path) -> None:
    """What went where, under which agreements, and what was deleted: as an auditor is told."""
    records = Gateway(home=folder / "home").records
    assert records.verify(against=records.head()).ok
    records.export(folder / "all.zip", data_class="public")
    told = json.loads(read_files(folder / "all.zip")["summary.json"])
    (dataset,) = told["datasets"]
    (sent,) = dataset["sent"]
    assert (sent["kind"], sent["place"].split(" · ")[0], sent["dispatched"]) == ("managed", room, True)
    assert sent["uploads"] == 1
    assert "through an address on this machine (127.0.0.1:" in sent["through"]
    assert {agreement.split()[0] for agreement in sent["agreements"]} >= {"baa", "dpa"}
    assert sent["rules"] == ["baseline.public"]
    assert dataset["results"] == {"succeeded": 1}
    assert dataset["deleted"] >= 1
    assert dataset["not_deleted"] == 0


def test_no_content_reaches_a_denied_provider(
    tmp_path: Path, sandbox: StartSandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    tally, spilled = _prove([make(n, SEED, FLEET) for n in range(8)], tmp_path, sandbox, monkeypatch)
    _holds(tally, spilled)
    assert tally.denials > 3


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_no_content_reaches_a_denied_provider_in_many_cases(
    tmp_path: Path, sandbox: StartSandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    tally, spilled = _prove([make(n, SEED, FLEET) for n in range(100, 250)], tmp_path, sandbox, monkeypatch)
    _holds(tally, spilled)
    assert tally.dispatched > 30
    assert tally.denials > 100
