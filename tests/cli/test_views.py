"""What people see holds together on a narrow terminal too."""

from __future__ import annotations

import io
import re
from typing import Any, cast

import pytest
from rich.console import Console

from gateway import JobHandle
from gateway.cli import views

METRICS = ("exact_match", "token_f1", "rouge_l")


class _Ended:
    """As much of a finished job as a result shows."""

    id = "job_1"

    @property
    def evaluation(self) -> dict[str, Any]:
        return {"status": "done", "verdicts": dict.fromkeys(METRICS, "unclear")}

    def to_json(self) -> dict[str, Any]:
        value = {"value": 0.5, "low": 0.4, "high": 0.6}
        every = dict.fromkeys(METRICS, value)
        return {"state": "succeeded", "metrics": {"base": every, "tuned": every, "difference": every}}


@pytest.mark.parametrize(("width", "apart"), [(80, True), (120, False)])
def test_an_interval_is_never_broken_and_goes_under_its_value_when_narrow(width: int, apart: bool) -> None:
    written = io.StringIO()
    views.result(Console(file=written, width=width), cast("JobHandle", _Ended()))
    lines = written.getvalue().splitlines()
    assert max(map(len, lines)) <= width
    holding = [line for line in lines if "…" in line]
    assert [len(re.findall(r"\(0\.400 … 0\.600\)", line)) for line in holding] == [3, 3, 3]
    assert all(("0.500" in line) != apart for line in holding)


def test_what_a_row_is_called_by_can_be_copied_from_a_narrow_terminal() -> None:
    written = io.StringIO()
    console = Console(file=written, width=60, force_terminal=True, color_system=None)
    views.table(
        console, ("job", "name", "where"), [("job_1m8356qmp0gs108q", "preferences " * 3, "local " * 8)]
    )
    lines = written.getvalue().splitlines()
    assert lines[1].startswith("job_1m8356qmp0gs108q  ")
    assert max(map(len, lines)) <= 60
