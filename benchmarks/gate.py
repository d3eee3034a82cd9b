"""Gate speed: 1,000 questions over few and over very many attestations.

    python benchmarks/gate.py

A plan asks one question a candidate, all over the same attestations. Prints processor time, since it is
what the gate itself takes on a machine that others share; the median of nine runs over fresh gates.
"""

from __future__ import annotations

import platform
import statistics
import time
from datetime import date, timedelta
from importlib.metadata import version

from gateway.core.classes import DataClass
from gateway.core.gate import Action, Attestation, GateRequest
from gateway.policy import load_gate

TODAY = date(2026, 11, 22)
YEAR = timedelta(days=365)
RUNS = 9
GOOD = {"hipaa_eligible": True, "hipaa_requires": ("baa",), "trains_on_data": False}


def attestations(count: int) -> tuple[Attestation, ...]:
    """Spread over fifty backends, every second one a BAA."""
    return tuple(
        Attestation(
            "baa" if number % 2 else "dpa",
            f"cloud-{number % 50}",
            TODAY - YEAR,
            TODAY + YEAR,
            scope=f"agreement {number}",
            evidence=f"https://intranet.example/legal/{number}.pdf",
        )
        for number in range(count)
    )


def questions(held: tuple[Attestation, ...]) -> list[GateRequest]:
    """A plan's: 5 backends × 10 models × 10 regions × 2 offers."""
    return [
        GateRequest(
            action=Action.TRAIN,
            team="notes",
            backend=f"cloud-{number % 5}",
            kind="managed",
            model=f"model-{number % 10}",
            region=f"us-{number // 100}",
            offer="standard" if number % 2 else "reserved",
            residency="us",
            handling=GOOD,
            data_class=DataClass.PHI,
            scanned=True,
            tags=(),
            purpose=None,
            asked_residency="us",
            attestations=held,
            as_of=TODAY,
        )
        for number in range(1000)
    ]


def main() -> None:
    print(f"python {platform.python_version()}, {platform.machine()}, cedarpy {version('cedarpy')}")
    for count in (0, 10, 100, 1000):
        asked, times = questions(attestations(count)), list[float]()
        for _ in range(RUNS):
            gate = load_gate()
            began = time.process_time()
            answers = gate.decide_many(asked)
            times.append(time.process_time() - began)
        allowed = sum(answer.allowed for answer in answers)
        median = statistics.median(times) * 1000
        print(f"{count:5,} attestations: {median:4.0f} ms of processor time, {allowed:,} of 1,000 allowed")


if __name__ == "__main__":
    main()
