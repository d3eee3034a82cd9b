"""Every registered backend, with its real facts and the real gate, on pinned days."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import date
from pathlib import Path

import pytest

from backends import registry
from backends.base import Backend
from cost import PriceBook
from gateway.core.classes import DataClass
from gateway.core.plan import Plan, Verdict
from gateway.core.rows import TokenStats
from gateway.planner import PlanRequest, plan
from tests.planner.making import GATE, profile, spec

MODELS = ["tunegate-demo", "gpt-4.1-mini", "nova-micro", "gemini-3.5-flash"]


def _plan(home: Path, as_of: date) -> Plan:
    backends: Mapping[str, Backend] = {name: registry.create(name, home) for name in registry.BUILT_IN}
    counters = [
        backend.counter(found)
        for backend in backends.values()
        for name in MODELS
        if (found := backend.resolve(name))
    ]
    lengths = (50, 80, 120, 200, 280, 400, 800, 900)
    tokens = {
        each.method: TokenStats(each.method, each.band, 100_000, 900, lengths, {"train": 100_000})
        for each in counters
    }
    request = PlanRequest(
        spec=spec(model=MODELS),
        profile=profile(declared=DataClass.PHI, tokens=tokens),
        backends=backends,
        gate=GATE,
        book=PriceBook({name: backend.facts for name, backend in backends.items()}),
        as_of=as_of,
    )
    return plan(request)


@pytest.mark.parametrize("as_of", [date(2026, 11, 22), date(2027, 1, 7), date(2027, 1, 15)])
def test_phi_without_agreements_trains_here_and_nowhere_else(tmp_path: Path, as_of: date) -> None:
    made = _plan(tmp_path, as_of)
    assert made.chosen is not None
    assert made.chosen.backend == "local"
    assert {each.key.backend for each in made.candidates} == set(registry.BUILT_IN)
    for candidate in made.candidates:
        assert candidate.reasons
        assert (candidate.verdict is Verdict.ALLOWED) == (candidate.key.backend == "local")
        unsupported = candidate.verdict is Verdict.UNSUPPORTED
        assert (candidate.translation is None) == unsupported
    json.dumps(made.to_json())
