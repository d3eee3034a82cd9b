"""The proof: over random datasets, organisations and deeds, no byte of content reaches a denied backend,
and no canary stands in anything that is kept or said. And proofs of the proof: what leaks is caught."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import pytest

from backends import registry
from gateway.cli.main import EXIT_BUG, main
from gateway.core.classes import DataClass
from gateway.core.errors import BackendError
from gateway.core.gate import Decision, GateRequest
from gateway.core.job import RemoteRef, Snapshot
from gateway.core.rows import Convert, Converted, Row
from gateway.egress import Egress
from gateway.sdk.gateway import Gateway
from tests.egress import far
from tests.egress.cases import ACTIONS, DAY, MARK, Case, allows, make
from tests.egress.far import STANCES, FarBackend, Recorder, reveals
from tests.egress.trial import Tally, Trial, kept, logged
from tests.jobs.world import START

SEED = 20261122
A_HOME = 20  # cases that share a machine


@pytest.fixture
def recorder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Recorder]:
    """Far backends in the registry, and the server where what they are sent arrives."""
    with far.serve() as recorder:
        monkeypatch.setattr(registry, "registrations", far.registrations(tmp_path))
        monkeypatch.setattr(FarBackend, "url", recorder.url)
        monkeypatch.setattr(FarBackend, "around", [])
        yield recorder


def prove(cases: Sequence[Case], folder: Path, recorder: Recorder) -> tuple[Tally, list[str]]:
    """Run cases; what they came to, and the files of their homes in which a canary stands."""
    tally, spilled = Tally(), list[str]()
    for start in range(0, len(cases), A_HOME):
        home = folder / f"home-{start}"
        with logged(tally.said):
            for case in cases[start : start + A_HOME]:
                Trial(case, folder / f"case-{case.number}", home, recorder, tally).run()
        spilled += [str(path.relative_to(home)) for path, held in kept(home) if MARK.encode() in held]
    return tally, spilled


def _holds(tally: Tally, spilled: Sequence[str]) -> None:
    print(tally)
    assert tally.breaches == []
    assert tally.denied_bytes == 0
    assert FarBackend.around == []
    assert tally.wrong == []
    assert (spilled, tally.spilled()) == ([], [])


def test_no_content_reaches_a_denied_backend(tmp_path: Path, recorder: Recorder) -> None:
    tally, spilled = prove([make(n, SEED) for n in range(60)], tmp_path, recorder)
    _holds(tally, spilled)
    assert tally.allowed_bytes > 40_000  # a proof that sends nothing proves nothing
    assert tally.dispatched > 12
    assert tally.denials > 40


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_no_content_reaches_a_denied_backend_in_a_thousand_cases(tmp_path: Path, recorder: Recorder) -> None:
    tally, spilled = prove([make(n, SEED) for n in range(1000, 2040)], tmp_path, recorder)
    _holds(tally, spilled)
    assert tally.cases >= 1000
    for data_class in DataClass:
        assert tally.did["plan", data_class] > 50
        assert tally.did["run", data_class] > 10
    for action in ACTIONS:
        tried = sum(count for (what, _), count in tally.did.items() if what == action)
        assert tried > 30, action


# -- what leaks is caught -------------------------------------------------------------------------

# A few cases in which something is dispatched, and goes to its end.
LIVELY = [
    case
    for number in range(100)
    for case in (make(number, SEED),)
    if case.papers == case.later and case.pauses == (0, 0)
    for may in ([allows(case, STANCES[b], b, case.data_class, case.papers, DAY) for b in case.route],)
    if any(may) and not all(may)
][:3]


class Early(FarBackend):
    """Sends rows while a plan is made, before anybody has asked."""

    def convert(self, format: str) -> Convert:
        def sent(row: Row) -> Converted:
            self._call("POST", "warm-up", json=row.to_json())
            return Converted(row.to_json())

        return sent


class Hidden(FarBackend):
    """The same, in base64."""

    def convert(self, format: str) -> Convert:
        import base64

        def sent(row: Row) -> Converted:
            text = base64.b64encode(row.messages[0].content.encode())
            self._call("POST", "telemetry", content=b"x" + text)
            return Converted(row.to_json())

        return sent


class Talkative(FarBackend):
    """Passes on what the provider said, quotation and all."""

    def classify(self, error: Exception) -> BackendError:
        return BackendError(str(error), backend=self.name)


class Quoting(FarBackend):
    """Fails a job with a row in its message."""

    def poll(self, ref: RemoteRef) -> Snapshot:
        return Snapshot("failed", "FAILED", START, message=f"cannot read `{MARK} the parcel`")


class Keeping(FarBackend):
    """Keeps a copy of what it was sent, in a place of its own."""

    kept: ClassVar[Mapping[str, Any]] = {}

    def submit(self, *given: Any, **named: Any) -> RemoteRef:
        self.home.mkdir(parents=True, exist_ok=True)
        (self.home / "copy.txt").write_text(f"{MARK} the parcel", encoding="utf-8")
        return super().submit(*given, **named)


def _leaks(
    kind: str, tmp_path: Path, recorder: Recorder, monkeypatch: pytest.MonkeyPatch
) -> tuple[Tally, list[str]]:
    path = f"{__name__}:{kind}"
    monkeypatch.setattr(registry, "registrations", far.registrations(tmp_path, path))
    quoted = [replace(case, quotes=kind == "Talkative") for case in LIVELY]
    return prove(quoted, tmp_path, recorder)


@pytest.mark.parametrize("kind", ["Early", "Hidden"])
def test_a_backend_that_sends_before_it_may_is_caught(
    kind: str, tmp_path: Path, recorder: Recorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    tally, _ = _leaks(kind, tmp_path, recorder, monkeypatch)
    assert tally.denied_bytes > 1000
    assert any(": plan at far-" in breach for breach in tally.breaches)


@pytest.mark.parametrize("kind", ["Talkative", "Quoting", "Keeping"])
def test_a_backend_that_lets_content_be_kept_or_said_is_caught(
    kind: str, tmp_path: Path, recorder: Recorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    tally, spilled = _leaks(kind, tmp_path, recorder, monkeypatch)
    assert spilled or tally.spilled()
    if kind != "Keeping":
        assert any("jobs.db" in path for path in spilled)


def test_a_door_that_does_not_listen_is_caught(
    tmp_path: Path, recorder: Recorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    def yes(self: Egress, request: GateRequest) -> Decision:
        return Decision(allowed=True, grounds=(), policy_hash="")

    monkeypatch.setattr(Egress, "_decide", yes)
    tally, _ = prove(LIVELY, tmp_path, recorder)
    assert tally.denied_bytes > 0
    assert {breach.partition(": ")[2].partition(" ")[0] for breach in tally.breaches} <= set(ACTIONS)


def test_a_call_around_the_door_is_caught(tmp_path: Path, recorder: Recorder) -> None:
    registry.create("far-baa", tmp_path).resume(RemoteRef("far-baa", "none"))
    assert FarBackend.around == [__file__]


def test_content_is_recognised_in_other_clothes() -> None:
    import base64
    import gzip
    import zlib

    mark = b"zorblequillabc"
    for before in (b"", b"a", b"ab", b"abc"):
        assert reveals(base64.b64encode(before + mark + b"tail"), mark)
    assert reveals(gzip.compress(b"x" + mark), mark)
    assert reveals(zlib.compress(mark), mark)
    assert not reveals(b"zorblequill", mark)


# -- our own crash report -------------------------------------------------------------------------


def test_a_crash_report_holds_no_content(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    def broken(*given: object, **named: object) -> None:
        row = f"{MARK} said the patient"
        raise ValueError(f"unexpected {row}") from KeyError(row)

    monkeypatch.setattr(Gateway, "plan", broken)
    spec = tmp_path / "job.yaml"
    spec.write_text("version: 1\nname: a\nmodel: m\ndata: {train: d.jsonl}\n")
    monkeypatch.setattr("sys.argv", ["tunegate", "plan", str(spec)])
    assert main() == EXIT_BUG
    shown = capsys.readouterr()
    assert "ValueError" in shown.err
    assert MARK not in shown.out + shown.err
