"""What people see: the plan as a table, a job's result, and small tables for everything else."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from decimal import Decimal
from shutil import get_terminal_size
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from gateway import Candidate, JobHandle, Plan, Verdict
from gateway.cli import judging, outcome
from gateway.core.plan import DataSummary, Opening, Range, Reason

if TYPE_CHECKING:
    from gateway import CheckReport

_MARKS = {
    Verdict.ALLOWED: ("green", "allowed"),
    Verdict.UNPRICED: ("yellow", "unpriced"),
    Verdict.UNAVAILABLE: ("yellow", "unavailable"),
    Verdict.DENIED: ("red", "denied"),
    Verdict.UNSUPPORTED: ("dim", "unsupported"),
}

_BESIDE_NAME = 50  # columns of a candidate's row that are not its name


def plan(console: Console, made: Plan, *, every: bool = False) -> None:
    """The candidates, the choice, and what would open a cheaper door.

    One row per backend, model and verdict, the cheapest of its regions and offers standing for all;
    under it every reason that stands in the way. `every` shows each candidate, warnings included.
    """
    _data_lines(console, made)
    groups = _grouped(made, every)
    name_width = max((len(_name(group[0])) for group in groups), default=0)
    name_width = min(name_width, max(console.width - _BESIDE_NAME, 24))
    head = "total" if _has_horizon(made) else "training"
    _row(console, name_width, "", "candidate", "verdict", head, "time", style="bold")
    for group in groups:
        _candidate(console, name_width, made, group, every)
    console.print()
    _choice(console, made)


def _choice(console: Console, made: Plan) -> None:
    if made.chosen:
        console.print(
            f"[bold green]chosen[/bold green]: {escape(str(made.chosen))}: {escape(made.why)}",
            highlight=False,
        )
    else:
        console.print(f"[bold red]nothing can run[/bold red]: {escape(made.why)}", highlight=False)
    for opening in made.openings:
        console.print(
            f"[bold]would open[/bold]: {escape(str(opening.candidate))}, {_worth(made, opening)}: "
            f"{escape(opening.change)}",
            highlight=False,
        )
    if made.trust == "unverified":
        console.print(
            "[dim]unverified: policies and agreements are as tunegate.toml states them; "
            "no signed trust bundle is pinned[/dim]"
        )
    if made.trust == "verified":
        console.print("[dim]verified: policies and agreements are from the signed trust bundle[/dim]")
    for warning in made.warnings:
        console.print(f"[yellow]note[/yellow]: {escape(warning)}", highlight=False)
    if made.rules_missing:
        console.print(f"[bold red]{escape(made.rules_missing)}[/bold red]", highlight=False)


def _worth(made: Plan, opening: Opening) -> str:
    """What a door is worth opening for: its saving, or its cost where the choice has no price."""
    if opening.saves_usd:
        return f"which saves ${_money(opening.saves_usd)}"
    estimate = made.candidate(opening.candidate).estimate
    total = estimate.total_usd
    return f"{estimate.told(total)} in all" if total else "not priced"


def _data_lines(console: Console, made: Plan) -> None:
    data = made.data
    tokens = f", {data.tokens:,} tokens ({data.tokens_method})" if data.tokens is not None else ""
    splits = ", ".join(f"{count} {name}" for name, count in data.split_rows.items() if count)
    console.print(
        f"[bold]data[/bold]: {data.used:,} of {data.rows:,} rows used ({splits}){escape(tokens)}",
        highlight=False,
    )
    if data.refused:
        refused = ", ".join(f"{count} {code}" for code, count in data.refused.items())
        console.print(f"      refused: {refused}; `tunegate data check` names each", highlight=False)
    found = ", ".join(f"{count} {kind}" for kind, count in data.findings.items()) or "nothing flagged"
    scan = f"scan: {found}" if data.scanned else "not scanned, so it may only be used here"
    console.print(
        f"[bold]class[/bold]: [bold]{data.effective}[/bold] (declared {data.declared}); {scan}",
        highlight=False,
    )
    for line in standing(data):
        console.print(f"       {escape(line)}", highlight=False)
    console.print()


def standing(data: DataSummary) -> Iterator[str]:
    """Where the data came from and what officers signed about it, a line each; mostly none."""
    if data.lineage is not None:
        since = ", and changed since" if data.lineage.edited else ""
        refused = f", {data.lineage.rows_refused} rows left out" if data.lineage.rows_refused else ""
        left = sum(data.lineage.left.values())
        found = f", {left} findings left" if left else ""
        source = data.lineage.source_class
        yield f"scrubbed ({data.lineage.method}{refused}{found}{since}) from data of class {source};"
        yield "what the scan shows may be stand-ins and moved dates"
    if (held := data.review.determination) is not None:
        yield f"{held.officer} determined: {held.to}, until {held.expires} (else {data.undetermined})"
    if data.review.dismissed:
        dismissed = ", ".join(f"{count} {kind}" for kind, count in data.review.dismissed.items())
        yield f"dismissed by an officer: {dismissed}"
    yield from (f"does not hold: {reason}" for reason in data.review.absent)


def _has_horizon(made: Plan) -> bool:
    return any(candidate.estimate.serving_usd_month is not None for candidate in made.candidates)


_ORDER = (Verdict.ALLOWED, Verdict.UNPRICED, Verdict.UNAVAILABLE, Verdict.DENIED, Verdict.UNSUPPORTED)


def _grouped(made: Plan, every: bool) -> list[list[Candidate]]:
    """Candidates as rows: the chosen first, then by verdict and cost."""

    def place(candidate: Candidate) -> tuple[bool, int, int, Decimal]:
        total, known = _total(candidate), candidate.estimate.total_usd
        unknown = 0 if known else 1 if total else 2  # all of it, a part, nothing
        cost = total.likely if total else Decimal(0)
        return candidate.key != made.chosen, _ORDER.index(candidate.verdict), unknown, cost

    groups: dict[object, list[Candidate]] = {}
    for candidate in sorted(made.candidates, key=place):
        same = (candidate.key.backend, candidate.key.model, candidate.verdict)
        groups.setdefault(candidate.key if every else same, []).append(candidate)
    return list(groups.values())


def _candidate(console: Console, name_width: int, made: Plan, group: list[Candidate], every: bool) -> None:
    shown = group[0]
    style, word = _MARKS[shown.verdict]
    if shown.verdict is Verdict.ALLOWED and not shown.selectable:
        style, word = "yellow", "not chosen"
    mark = "▶" if shown.key == made.chosen else ""
    hours = _hours(shown.duration_h)
    _row(console, name_width, mark, _name(shown), f"[{style}]{word}[/{style}]", _cost(shown), hours)
    where = " · ".join(part for part in (shown.key.region, shown.key.offer) if part)
    if where:
        more = f"  (and {len(group) - 1} more like it: --all)" if len(group) > 1 else ""
        _indented(console, "", Text(where + more, style="dim"))
    warn = every or shown.verdict is Verdict.ALLOWED
    for reason in shown.reasons:
        if reason.verdict is not Verdict.ALLOWED or warn:
            _indented(console, "· ", _reason(reason))
            if reason.verdict is Verdict.UNSUPPORTED and reason.fix and reason.fix not in reason.text:
                _indented(console, "  ", Text(f"→ {reason.fix}", style="dim"))


def _row(console: Console, name_width: int, mark: str, *cells: str, style: str = "") -> None:
    row = Table.grid(padding=(0, 2, 0, 0))
    row.add_column(width=1, style="green")
    row.add_column(width=name_width, style="bold", overflow="fold")
    row.add_column(width=11)
    row.add_column(width=14, justify="right")
    row.add_column(width=13, justify="right")
    row.add_row(mark, *cells, style=style)
    console.print(row)


def _name(candidate: Candidate) -> str:
    return f"{candidate.key.backend}  {candidate.key.model}"


def _total(candidate: Candidate) -> Range | None:
    return candidate.estimate.total_usd or candidate.estimate.training_usd


def _cost(candidate: Candidate) -> str:
    """The total where all of it is known; else what is known, and a sign that more is to come."""
    total, training = candidate.estimate.total_usd, candidate.estimate.training_usd
    if total is not None:
        return candidate.estimate.told(total)
    return "not priced" if training is None else f"{candidate.estimate.told(training)} + ?"


def _indented(console: Console, mark: str, text: Text) -> None:
    """A line under a candidate; its wrapped rest stands under its own beginning."""
    grid = Table.grid(padding=0)
    grid.add_column(width=4)
    grid.add_column(width=len(mark))
    grid.add_column(ratio=1)
    grid.add_row("", mark, text)
    console.print(grid)


def _reason(reason: Reason) -> Text:
    text = Text(reason.text, style="" if reason.verdict is not Verdict.ALLOWED else "dim")
    if reason.rule:
        text.append(f"  [{reason.rule}]", style="dim")
    return text


def problems(console: Console, report: CheckReport) -> None:
    """Every reason for refusing rows: how often, where first, what it means, what to do."""
    for problem in report.problems:
        rows = "1 row" if problem.count == 1 else f"{problem.count:,} rows"
        where = f"first {problem.file}, line {problem.line}" + (f", {problem.path}" if problem.path else "")
        console.print(f"[yellow]{problem.code}[/yellow]  {rows}, {escape(where)}", highlight=False)
        console.print(f"  {problem.text}\n  → {problem.fix}", highlight=False, markup=False)


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


def result(console: Console, job: JobHandle, labels: Mapping[str, str] | None = None) -> None:
    """How the job ended: state, base against tuned, artifacts, record. `labels` are the classes' own
    words, where whoever looks has asked for them."""
    shown = job.to_json()
    style = "green" if shown["state"] == "succeeded" else "red"
    console.print(f"\n[bold]{job.id}[/bold]  [{style}]{shown['state']}[/{style}]", highlight=False)
    evaluation = job.evaluation
    if shown.get("metrics"):
        judging.comparison(console, shown["metrics"], evaluation, labels or {})
    elif evaluation.get("status") == "failed":
        error: Mapping[str, Any] = evaluation.get("error") or {}
        console.print(
            f"[yellow]evaluation failed[/yellow]: {escape(str(error.get('message')))}", highlight=False
        )
    outcome.more(console, job)
    for artifact in shown.get("artifacts") or ():
        console.print(
            f"[bold]{artifact['kind']}[/bold]  {escape(artifact['uri'])}", highlight=False, soft_wrap=True
        )
    if shown.get("record"):
        console.print(f"[bold]record[/bold]  {escape(str(shown['record']))}", highlight=False, soft_wrap=True)


def table(console: Console, columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """A plain table; values are printed as they are, never as markup. Into a pipe or a file a row is
    one line, however long, unless COLUMNS says how wide that is. What a row is called by, in the first
    column, is never broken: it is there to be copied."""
    shown = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 2, 0, 0))
    for place, column in enumerate(columns):
        shown.add_column(column, overflow="fold", no_wrap=place == 0, min_width=len(column))
    for row in rows:
        shown.add_row(*(Text("" if cell is None else str(cell)) for cell in row))
    if not console.is_terminal:
        console = Console(file=console.file, width=width(console))
    console.print(shown)


def width(console: Console) -> int:
    """Columns there are for a table: no end of them into a pipe or a file, unless COLUMNS says so."""
    return console.width if console.is_terminal else get_terminal_size((10_000, 0)).columns
