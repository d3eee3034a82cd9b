"""What people see: the plan as a table, a job's result, and small tables for everything else."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from decimal import Decimal
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from gateway import Candidate, JobHandle, Plan, Verdict
from gateway.core.plan import Range, Reason

_MARKS = {
    Verdict.ALLOWED: ("green", "allowed"),
    Verdict.UNPRICED: ("yellow", "unpriced"),
    Verdict.UNAVAILABLE: ("yellow", "unavailable"),
    Verdict.DENIED: ("red", "denied"),
    Verdict.UNSUPPORTED: ("dim", "unsupported"),
}


def plan(console: Console, made: Plan, *, every: bool = False) -> None:
    """The candidates, the choice, and what would open a cheaper door."""
    _data_lines(console, made)
    table = Table(box=None, pad_edge=False, show_edge=False, header_style="bold", padding=(0, 2, 0, 0))
    table.add_column("", width=1)
    table.add_column("candidate", no_wrap=True)
    table.add_column("verdict", no_wrap=True)
    table.add_column("training" if not _has_horizon(made) else "total over horizon", justify="right")
    table.add_column("time", justify="right", no_wrap=True)
    table.add_column("why", ratio=1, overflow="fold")
    for group in _grouped(made.candidates, every):
        _candidate_row(table, made, group)
    console.print(table)
    console.print()
    if made.chosen:
        console.print(f"[bold green]chosen[/bold green]  {escape(str(made.chosen))}: {escape(made.why)}")
    else:
        console.print(f"[bold red]nothing can run[/bold red]  {escape(made.why)}")
    for opening in made.openings:
        saves = f", and save ${_money(opening.saves_usd)}" if opening.saves_usd else ""
        console.print(
            f"[bold]would open[/bold]  {escape(str(opening.candidate))}: {escape(opening.change)}{saves}"
        )
    if made.trust == "unverified":
        console.print(
            "[dim]unverified: policies and agreements are as tunegate.toml states them; "
            "no signed trust bundle is pinned[/dim]"
        )


def _data_lines(console: Console, made: Plan) -> None:
    data = made.data
    tokens = f", {data.tokens:,} tokens ({data.tokens_method})" if data.tokens is not None else ""
    splits = ", ".join(f"{count} {name}" for name, count in data.split_rows.items() if count)
    console.print(
        f"[bold]data[/bold]  {data.used:,} of {data.rows:,} rows used ({splits}){escape(tokens)}",
        highlight=False,
    )
    if data.refused:
        refused = ", ".join(f"{count} {code}" for code, count in data.refused.items())
        console.print(f"      refused: {refused}; `tunegate data check` names each", highlight=False)
    found = ", ".join(f"{count} {kind}" for kind, count in data.findings.items()) or "nothing flagged"
    scan = f"scan: {found}" if data.scanned else "not scanned, so it may only be used here"
    console.print(
        f"[bold]class[/bold] [bold]{data.effective}[/bold] (declared {data.declared}); {scan}\n",
        highlight=False,
    )


def _has_horizon(made: Plan) -> bool:
    return any(candidate.estimate.serving_usd_month is not None for candidate in made.candidates)


def _grouped(candidates: Sequence[Candidate], every: bool) -> Iterable[list[Candidate]]:
    """Candidates that differ only in region and offer, and share verdict and reasons, are one row."""
    groups: dict[object, list[Candidate]] = {}
    for candidate in candidates:
        reasons = tuple(reason.text for reason in candidate.reasons)
        same = (candidate.key.backend, candidate.key.model, candidate.verdict, reasons)
        groups.setdefault(candidate.key if every else same, []).append(candidate)
    return groups.values()


def _candidate_row(table: Table, made: Plan, group: list[Candidate]) -> None:
    shown = next((candidate for candidate in group if candidate.key == made.chosen), group[0])
    style, word = _MARKS[shown.verdict]
    if shown.verdict is Verdict.ALLOWED and not shown.selectable:
        style, word = "yellow", "allowed, not chosen"
    where = " · ".join(part for part in (shown.key.region, shown.key.offer) if part)
    more = f" +{len(group) - 1} more" if len(group) > 1 else ""
    name = Text(f"{shown.key.backend}  {shown.key.model}", style="bold")
    if where:
        name.append(f"\n{where}{more}", style="dim")
    chosen = shown.key == made.chosen
    table.add_row(
        Text("▶", style="green") if chosen else "",
        name,
        Text(word, style=style),
        _cost(shown),
        _hours(shown.duration_h),
        _reasons(shown.reasons),
    )


def _cost(candidate: Candidate) -> Text:
    total = candidate.estimate.total_usd or candidate.estimate.training_usd
    if total is None:
        return Text("not priced", style="dim")
    text = Text(f"${_money(total.likely)}")
    if total.low != total.high:
        text.append(f"\n{_money(total.low)}–{_money(total.high)}", style="dim")
    return text


def _reasons(reasons: Sequence[Reason]) -> Text:
    text = Text()
    for number, reason in enumerate(reasons):
        style = "" if reason.verdict is not Verdict.ALLOWED else "dim"
        text.append("\n" if number else "")
        text.append(f"{reason.text}", style=style)
        if reason.rule:
            text.append(f" [{reason.rule}]", style="dim")
    return text


def _money(value: Decimal) -> str:
    return f"{value:,.2f}"


def _hours(hours: Range | None) -> str:
    if hours is None:
        return "–"
    return f"{duration(float(hours.low) * 3600)}–{duration(float(hours.high) * 3600)}"


def duration(seconds: float) -> str:
    """Seconds as people say them: 40 s, 12 min, 3.5 h, 2 d."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    if seconds < 90 * 60:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h" if seconds < 48 * 3600 else f"{seconds / 86400:.0f} d"


def result(console: Console, job: JobHandle) -> None:
    """How the job ended: state, base against tuned, artifacts, record."""
    shown = job.to_json()
    style = "green" if shown["state"] == "succeeded" else "red"
    console.print(f"\n[bold]{job.id}[/bold]  [{style}]{shown['state']}[/{style}]", highlight=False)
    evaluation: Mapping[str, Any] = shown.get("evaluation") or {}
    if shown.get("metrics"):
        _metrics(console, shown["metrics"], evaluation)
    elif evaluation.get("status") == "failed":
        console.print(f"[yellow]evaluation failed[/yellow]: {escape(str(evaluation.get('error')))}")
    for artifact in shown.get("artifacts") or ():
        console.print(
            f"[bold]{artifact['kind']}[/bold]  {escape(artifact['uri'])}", highlight=False, soft_wrap=True
        )
    if shown.get("record"):
        console.print(f"[bold]record[/bold]  {escape(str(shown['record']))}", highlight=False, soft_wrap=True)


def _metrics(console: Console, metrics: Mapping[str, Any], evaluation: Mapping[str, Any]) -> None:
    table = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 2, 0, 0))
    table.add_column("metric")
    for column in ("base", "tuned", "difference"):
        table.add_column(column, justify="right")
    table.add_column("in words", ratio=1)
    words: Mapping[str, str] = evaluation.get("words") or {}
    for name, tuned in (metrics.get("tuned") or {}).items():
        base, difference = ((metrics.get(part) or {}).get(name) for part in ("base", "difference"))
        table.add_row(name, interval(base), interval(tuned), interval(difference), words.get(name, ""))
    console.print(table)


def interval(value: Mapping[str, Any] | None) -> str:
    """A value with its 95 % interval."""
    if not value or value.get("value") is None:
        return "–"
    text = f"{value['value']:.3f}"
    if value.get("low") is not None and value.get("high") is not None:
        text += f" ({value['low']:.3f} … {value['high']:.3f})"
    return text


def table(console: Console, columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """A plain table; values are printed as they are, never as markup."""
    shown = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 2, 0, 0))
    for column in columns:
        shown.add_column(column, overflow="fold")
    for row in rows:
        shown.add_row(*(Text("" if cell is None else str(cell)) for cell in row))
    console.print(shown)
