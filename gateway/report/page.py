"""The report as one self-contained HTML file, and its charts as files."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from decimal import Decimal
from importlib import resources
from pathlib import Path
from typing import Any

from gateway.core.errors import SpecError, Unsupported
from gateway.core.plan import Candidate, Plan
from gateway.core.spec import JobSpec, Serving
from gateway.data import write_atomically
from gateway.report import charts
from gateway.report.charts import Format
from gateway.report.series import choices, shown


def write_report(plan: Plan, spec: JobSpec, path: Path) -> None:
    """The plan as a page with its charts inside. Holds no row text and loads nothing from elsewhere.

    Raises:
        SpecError: the spec gives no traffic, so there is nothing to compare over time.
        Unsupported: the extra `report` is not installed.
        DataError: the file cannot be written; nothing is left behind.
    """
    from jinja2 import Environment, StrictUndefined

    serving = _serving(spec)
    template = resources.files("gateway.report").joinpath("page.html").read_text(encoding="utf-8")
    drawn = {name: base64.b64encode(svg).decode() for name, svg in _charts(plan, serving, "svg").items()}
    page = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    page.filters.update(usd=_usd, tokens=_tokens)
    beside = _beside(plan)
    text = page.from_string(template).render(
        plan=plan, spec=spec, serving=serving, comparison=plan.comparison, charts=drawn,
        shown=shown(plan.comparison.alternatives) if plan.comparison else [],
        beside=beside and beside.estimate, beside_of=beside and beside.key,
    )  # fmt: skip
    write_atomically(path, [text.encode()])


def draw(plan: Plan, spec: JobSpec, folder: Path, format: Format) -> tuple[Path, ...]:
    """The report's charts as files: `cost-over-time`, `cost-by-line`, `break-even`.

    Raises:
        SpecError, Unsupported, DataError: as `write_report`.
    """
    paths: list[Path] = []
    for name, data in _charts(plan, _serving(spec), format).items():
        paths.append(folder / f"{name}.{format}")
        write_atomically(paths[-1], [data])
    return tuple(paths)


def _charts(plan: Plan, serving: Serving, format: Format) -> Mapping[str, bytes]:
    found = choices(plan, serving.months)
    planned = serving.input_tokens_per_month + serving.output_tokens_per_month
    alternatives = shown(plan.comparison.alternatives) if plan.comparison else []
    try:
        drawn: dict[str, Any] = {
            "cost-over-time": charts.cost_over_time(found, serving.months, format),
            "cost-by-line": charts.cost_by_line(found, serving.months, format),
        }
        if planned:
            drawn["break-even"] = charts.break_even_curve(
                found, alternatives, planned, serving.months, format
            )
    except ModuleNotFoundError:
        raise Unsupported(
            "charts need the extra `report`", place="report", fix="pip install 'tunegate[report]'"
        ) from None
    return drawn


def _beside(plan: Plan) -> Candidate | None:
    """Whose project lines are shown: the chosen candidate's, else those of the first that has some."""
    chosen = plan.chosen_candidate
    told = (chosen, *plan.candidates) if chosen else plan.candidates
    return next((each for each in told if each.estimate.project), None)


def _usd(value: Decimal | None) -> str:
    return "not priced" if value is None else f"${value:,.2f}"


def _tokens(value: int | None) -> str:
    return "never" if value is None else charts.tokens(value)


def _serving(spec: JobSpec) -> Serving:
    if spec.serving is None:
        raise SpecError(
            "a report compares costs over time, and the spec gives no traffic",
            place="serving",
            fix="add serving: {input_tokens_per_month: …, output_tokens_per_month: …, months: 12}",
        )
    return spec.serving
