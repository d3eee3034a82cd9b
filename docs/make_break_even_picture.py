"""Draw `docs/break-even.svg`, the README's second picture: the support tickets, managed against self-hosted.

python docs/make_break_even_picture.py
"""

from __future__ import annotations

import tempfile
from datetime import date
from pathlib import Path

from gateway import Gateway, JobSpec
from gateway.core.spec import Serving

ROOT = Path(__file__).parents[1]
TRAFFIC = Serving(
    input_tokens_per_month=100_000_000, output_tokens_per_month=10_000_000, months=6, incumbent="gpt-4.1"
)


def main() -> None:
    spec = JobSpec.from_yaml(ROOT / "examples/support_tickets/job.yaml")
    models = ("nova-micro", "gpt-4.1-mini", "llama-3.1-8b-instruct")
    asked = spec.model_copy(update={"model": models, "serving": TRAFFIC}).at(spec.folder)
    with tempfile.TemporaryDirectory() as folder:
        gateway = Gateway(home=Path(folder) / "home")
        plan = gateway.plan(asked, as_of=date(2026, 11, 22))
        written = gateway.report(asked, plan, charts=Path(folder) / "charts")
        (drawn,) = (path for path in written if path.name == "break-even.svg")
        (ROOT / "docs/break-even.svg").write_bytes(drawn.read_bytes())


if __name__ == "__main__":
    main()
