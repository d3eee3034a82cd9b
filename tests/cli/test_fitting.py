"""Prices, and what fits where, on a narrow terminal."""

from __future__ import annotations

import re
from io import StringIO
from typing import Any

import pytest
from rich.console import Console

from gateway.cli.fitting import fits, prices


def _printed(width: int) -> tuple[Console, StringIO]:
    written = StringIO()
    return Console(file=written, width=width, force_terminal=True, color_system=None), written


@pytest.mark.parametrize(("width", "apart"), [(80, True), (200, False)])
def test_every_price_leads_to_its_whole_source(width: int, apart: bool) -> None:
    source = "https://platform.example/docs/guides/supervised-fine-tuning/pricing"
    line = {
        "backend": "openai", "item": "cached_input", "models": "gpt-4.1-mini", "value": "0.10",
        "unit": "usd_per_1m_tokens", "age_days": 56, "confidence": "high",
    }  # fmt: skip
    console, written = _printed(width)
    prices(console, [{**line, "source": source}, {**line, "source": "other"}, {**line, "source": source}])
    text = written.getvalue()
    assert "confidence  source" in text.splitlines()[0]
    assert re.search(r"cached_input +gpt-4.1-mini +0.10 +(usd_per_)?1m_tokens +56 ", text)  # not broken
    assert text.count(source) == (1 if apart else 2)
    assert (text.count("[1]"), text.count("[2]")) == ((3, 2) if apart else (0, 0))


def _fit(model: str, machine: str, method: str, gib: float) -> dict[str, Any]:
    choices = {"checkpointing": {"value": True}, "micro_batch": {"value": 8}}
    return {
        "model": model, "machine": machine, "method": method, "gpu_memory_gib": gib, "memory_gib": 141.7,
        "fits": True, "choices": choices, "duration_h": {"likely": "1.2"},
    }  # fmt: skip


def test_a_machine_is_one_line_of_eighty_columns_under_its_model() -> None:
    models = ("llama-3.1-8b-instruct", "tunegate-demo")
    machines = (("this-machine", 0.0), ("A100-80GB", 80.0))
    found = [
        _fit(model, machine, method, gib)
        for model in models
        for machine, gib in machines
        for method in ("lora", "qlora", "full")
    ]
    console, written = _printed(80)
    fits(console, found)
    lines = [line.rstrip() for line in written.getvalue().splitlines()]
    assert [line for line in lines if line in models] == list(models)
    assert max(map(len, lines)) <= 80
    for machine, _ in machines:
        rows = [line for line in lines if line.startswith(machine)]
        assert [line.count("141.7 · 8c · 72 min") for line in rows] == [3, 3]
