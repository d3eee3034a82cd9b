"""The example that rehearses one task on every managed backend, as its README runs it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
EXAMPLE = ROOT / "examples" / "compare_managed" / "compare.py"
MTS = ROOT.parent / "shared" / "data" / "mts-dialog"


def _rehearsed(home: Path, *arguments: str) -> str:
    sandbox = [sys.executable, "-m", "gateway.cli", "sandbox", "--port", "0", "--pace", "fast"]
    ran = subprocess.run(
        [*sandbox, "--", sys.executable, str(EXAMPLE), *arguments],
        capture_output=True,
        text=True,
        cwd=home,
        env={**os.environ, "TUNEGATE_HOME": str(home)},
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
    return ran.stdout


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_every_managed_backend_is_planned_run_and_asked(tmp_path: Path) -> None:
    told = _rehearsed(tmp_path)
    for backend in ("openai", "azure", "bedrock", "vertex"):
        assert f"{backend}   "[:8] in told
    assert told.count("succeeded") == 4, told
    assert told.count("asked: ") == 4
    assert told.count("rehearsed at 127.0.0.1:") == 4
    assert "rehearsed with the support tickets instead" in told, "nothing states Azure's terms for PHI"


@pytest.mark.slow
@pytest.mark.shared
@pytest.mark.timeout(600)
def test_a_real_table_of_ones_own_is_compared_too(tmp_path: Path) -> None:
    table = next(MTS.rglob("*rain*.csv"), None) if MTS.is_dir() else None
    if table is None:
        pytest.skip(f"the development data is not here: {MTS}")
    told = _rehearsed(tmp_path, "--data", str(table), "--only", "openai")
    assert told.count("succeeded") == 1, told
