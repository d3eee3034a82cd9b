"""A plan with traffic, as a report is made of."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path

import pytest

from gateway import Gateway, JobSpec, Plan

SETTINGS = """
[[attestations]]
kind = "dpa"
backend = "bedrock"
signed = 2026-01-01
expires = 2027-12-31
evidence = "x"
"""


def a_spec(folder: Path, **changes: object) -> JobSpec:
    rows = (
        {"messages": [{"role": "user", "content": f"question {n}"}, {"role": "assistant", "content": "a"}]}
        for n in range(60)
    )
    (folder / "rows.jsonl").write_text("\n".join(json.dumps(row) for row in rows))
    told: dict[str, object] = {
        "name": "report-me",
        "model": ["gpt-4.1-mini", "nova-micro", "llama-3.1-8b-instruct"],
        "data": {"train": "rows.jsonl", "class": "public", "test": 0.1},
        "serving": {
            "input_tokens_per_month": 30_000_000, "output_tokens_per_month": 5_000_000, "months": 12,
            "incumbent": "gpt-4.1", "queries_per_month": 40_000,
        },
        **changes,
    }  # fmt: skip
    return JobSpec.model_validate(told).at(folder)


@pytest.fixture
def gateway(tmp_path: Path) -> Gateway:
    (tmp_path / "tunegate.toml").write_text(SETTINGS)
    return Gateway(
        config=tmp_path / "tunegate.toml",
        home=tmp_path / "home",
        clock=lambda: datetime(2026, 11, 22, 12, tzinfo=UTC),
    )


@pytest.fixture
def spec(tmp_path: Path) -> JobSpec:
    return a_spec(tmp_path)


@pytest.fixture
def plan(gateway: Gateway, spec: JobSpec) -> Plan:
    return gateway.plan(spec)
