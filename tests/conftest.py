"""Shared ground of all tests: no network but loopback, no state outside the test's own folder."""

from __future__ import annotations

from pathlib import Path

import pytest

SHARED = Path(__file__).parent.parent.parent / "shared"


@pytest.fixture(autouse=True)
def own_home(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Every test gets an empty home, and no settings file of the machine's is found by accident."""
    home = tmp_path_factory.mktemp("home")
    monkeypatch.setenv("TUNEGATE_HOME", str(home))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    return home
