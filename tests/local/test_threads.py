"""Threads of one step wait for each other briefly: the cores are others', too."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from backends.local.environment import for_training

_SETTINGS = ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY")
_CHILD = """
import sys
from pathlib import Path
from backends.registry import create
create("local", Path(sys.argv[1]))
import torch
"""


@pytest.fixture(autouse=True)
def _nothing_set(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in _SETTINGS:
        monkeypatch.delenv(name, raising=False)


def test_the_training_process_spins_briefly() -> None:
    assert for_training()["GOMP_SPINCOUNT"] == "2000"


@pytest.mark.parametrize("name", _SETTINGS)
def test_who_set_a_policy_keeps_it(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setenv(name, "ACTIVE" if name == "OMP_WAIT_POLICY" else "7")
    environment = for_training()
    assert {each: environment[each] for each in _SETTINGS if each in environment} == {
        name: "ACTIVE" if name == "OMP_WAIT_POLICY" else "7"
    }


@pytest.mark.skipif(sys.platform != "linux", reason="torch brings GNU's OpenMP on Linux alone")
def test_torch_hears_it_in_the_process_that_answers(tmp_path: Path) -> None:
    """GNU's OpenMP itself says what it was told, when torch is imported after the room was opened."""
    child = [sys.executable, "-c", _CHILD, str(tmp_path)]
    environment = {**for_training(), "OMP_DISPLAY_ENV": "VERBOSE"}
    del environment["GOMP_SPINCOUNT"]
    told = subprocess.run(child, env=environment, capture_output=True, text=True, check=True).stderr
    assert "GOMP_SPINCOUNT = '2000'" in told
