"""The page about costs says what the book and the estimator say today."""

from __future__ import annotations

import importlib.util
from pathlib import Path

PAGE = Path(__file__).parents[2] / "docs" / "costs.md"


def test_the_page_is_what_the_code_gives() -> None:
    spec = importlib.util.spec_from_file_location("make_costs_page", PAGE.parent / "make_costs_page.py")
    assert spec is not None
    assert spec.loader is not None
    made = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(made)
    fix = "prices or estimates have changed: run `python docs/make_costs_page.py` and read what it changes"
    assert made.page() == PAGE.read_text(encoding="utf-8"), fix
