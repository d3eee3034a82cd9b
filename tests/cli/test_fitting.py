"""What fits where, on a narrow terminal."""

from __future__ import annotations

from io import StringIO
from typing import Any

from rich.console import Console

from gateway.cli.fitting import fits


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
    written = StringIO()
    fits(Console(file=written, width=80, force_terminal=True, color_system=None), found)
    lines = [line.rstrip() for line in written.getvalue().splitlines()]
    assert [line for line in lines if line in models] == list(models)
    assert max(map(len, lines)) <= 80
    for machine, _ in machines:
        rows = [line for line in lines if line.startswith(machine)]
        assert [line.count("141.7 · 8c · 72 min") for line in rows] == [3, 3]
