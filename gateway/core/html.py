"""Plans and jobs as small HTML tables, for notebooks. Escaped throughout; holds no row text."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from gateway.core.job import Progress
    from gateway.core.plan import Candidate, Plan

_COLOURS = {
    "allowed": "#1a7f37",
    "unpriced": "#9a6700",
    "unavailable": "#9a6700",
    "denied": "#cf222e",
    "unsupported": "#6e7781",
}


def plan_html(plan: Plan) -> str:
    """The candidates as a table, and the choice in a sentence."""
    rows = "".join(_row(candidate, candidate.key == plan.chosen) for candidate in plan.candidates)
    head = _cells("th", ("", "candidate", "verdict", "USD, likely", "why"))
    choice = f"<b>{escape(str(plan.chosen or 'nothing can run'))}</b>: {escape(plan.why)}"
    missing = plan.rules_missing
    warning = f'<p style="color:{_COLOURS["denied"]}">{escape(missing)}</p>' if missing else ""
    return f"<table><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table><p>{choice}</p>{warning}"


def progress_html(title: str, phase: str, progress: Progress | None) -> str:
    """One job as a line and a bar."""
    if progress is None or not progress.steps:
        return f"<div><b>{escape(title)}</b> {escape(phase)}</div>"
    loss = "" if progress.loss is None else f", loss {progress.loss:.3f}"
    return (
        f"<div><b>{escape(title)}</b> {escape(phase)}, step {progress.step} of {progress.steps}{loss}<br>"
        f'<progress max="{progress.steps}" value="{progress.step}" style="width:24em"></progress></div>'
    )


def _row(candidate: Candidate, chosen: bool) -> str:
    total = candidate.estimate.total_usd or candidate.estimate.training_usd
    colour = _COLOURS[str(candidate.verdict)]
    why = "<br>".join(escape(reason.text) for reason in candidate.reasons)
    verdict = f'<span style="color:{colour}">{candidate.verdict}</span>'
    plain = ("▶" if chosen else "", escape(str(candidate.key)), verdict)
    return f"<tr>{_cells('td', (*plain, 'not priced' if total is None else str(total.likely), why))}</tr>"


def _cells(tag: str, values: Sequence[str]) -> str:
    return "".join(f'<{tag} style="text-align:left">{value}</{tag}>' for value in values)
