"""Draw `docs/plan.svg`, the README's picture: the plan of the clinical example, as the terminal shows it.

python docs/make_plan_picture.py
"""

from __future__ import annotations

import tempfile
from datetime import date
from io import StringIO
from pathlib import Path

from rich.console import Console

from gateway import Gateway
from gateway.cli import views

ROOT = Path(__file__).parents[1]


def main() -> None:
    console = Console(record=True, width=104, file=StringIO(), force_terminal=True)
    with tempfile.TemporaryDirectory() as home:
        gateway = Gateway(home=home)
        made = gateway.plan(ROOT / "examples/clinical_notes/job.yaml", as_of=date(2026, 11, 22))
    views.plan(console, made)
    console.save_svg(str(ROOT / "docs/plan.svg"), title="tunegate plan examples/clinical_notes/job.yaml")


if __name__ == "__main__":
    main()
