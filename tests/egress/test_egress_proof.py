"""The proof: over random datasets, organisations and deeds, no byte of content reaches a denied backend,
and no canary stands in anything that is kept or said."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from backends import registry
from tests.egress import far
from tests.egress.cases import MARK, make
from tests.egress.far import FarBackend, Recorder
from tests.egress.trial import Tally, Trial, kept, logged

SEED = 20261122
A_HOME = 20  # cases that share a machine


@pytest.fixture
def recorder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Recorder]:
    """Far backends in the registry, and the server where what they are sent arrives."""
    server = far.serve()
    recorder = next(server)
    monkeypatch.setattr(registry, "registrations", far.registrations(tmp_path))
    monkeypatch.setattr(FarBackend, "url", recorder.url)
    yield recorder
    server.close()


def prove(numbers: range, folder: Path, recorder: Recorder, *, seed: int = SEED) -> tuple[Tally, list[str]]:
    """Run cases; what they came to, and the files of their homes in which a canary stands."""
    tally, spilled = Tally(), list[str]()
    for start in range(numbers.start, numbers.stop, A_HOME):
        home = folder / f"home-{start}"
        with logged(tally.said):
            for number in range(start, min(start + A_HOME, numbers.stop)):
                Trial(make(number, seed), folder / f"case-{number}", home, recorder, tally).run()
        spilled += [str(path.relative_to(home)) for path, held in kept(home) if MARK.encode() in held]
    return tally, spilled


def test_no_content_reaches_a_denied_backend(tmp_path: Path, recorder: Recorder) -> None:
    tally, spilled = prove(range(60), tmp_path, recorder)
    print(tally)
    assert tally.breaches == []
    assert tally.denied_bytes == 0
    assert tally.wrong == []
    assert (spilled, tally.spilled()) == ([], [])
    assert tally.allowed_bytes > 10_000
    assert tally.dispatched > 20
    assert tally.denials > 20
