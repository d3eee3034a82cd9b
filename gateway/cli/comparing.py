"""Managed against self-hosted, below a plan in the terminal."""

from __future__ import annotations

from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from gateway import Plan, Verdict
from gateway.core.estimate import Alternative, Comparison

_MOST = 6
_ALWAYS = ("L4", "A100-80GB", "H100")  # what people ask about, wherever they hold the model


def comparison(console: Console, made: Plan) -> None:
    """A row per kind of GPU: what it would cost, and from which traffic on it would be the cheaper way."""
    found = made.comparison
    if found is None or not found.alternatives:
        return
    model, months = found.alternatives[0].model, _months(found.months)
    console.print(
        f"\n[bold]self-hosted[/bold]: {escape(model)} on GPUs that one rents, running all day for {months}",
        highlight=False,
    )
    console.print(_table(made, found, months))
    if now := found.incumbent:
        each = f", ${now.per_query_usd} a question" if now.per_query_usd is not None else ""
        console.print(
            f"[bold]in use today[/bold]: {escape(now.model)}, ${now.monthly_usd:,} a month{each}",
            highlight=False,
        )
    _project(console, made, months)
    console.print(
        "[dim]tokens a month in the planned mix of input and output; --report FILE.html draws it[/dim]",
        highlight=False,
    )


def _table(made: Plan, found: Comparison, months: str) -> Table:
    shown = _shown(found)
    grid = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    grid.add_column("GPU", min_width=max(len(option.gpu) for option in shown), no_wrap=True)
    grid.add_column(f"USD, {months}", justify="right", no_wrap=True)
    grid.add_column("rented as", style="dim")
    grid.add_column("cheaper than, from so many tokens a month")
    for option in shown:
        units = f"{option.units} × " if option.units > 1 else ""
        grid.add_row(option.gpu, _usd(option), f"{units}{option.unit}", _crossings(made, option))
    return grid


def _shown(found: Comparison) -> list[Alternative]:
    return [o for place, o in enumerate(found.alternatives) if place < _MOST // 2 or o.gpu in _ALWAYS]


def _usd(option: Alternative) -> Text:
    total = option.estimate.total_usd
    return Text("not priced" if total is None else f"{total.likely:,.0f}", style="bold")


def _crossings(made: Plan, option: Alternative) -> Text:
    """Each managed candidate compared with, and the traffic; one that may not be used today says so."""
    verdicts = {str(each.key): each.verdict for each in made.candidates}
    names = (
        f"{each.managed.split(' · ')[0]}{_mark(verdicts.get(each.managed))}" for each in option.crossings
    )
    traffic = (_traffic(each.tokens_per_month) for each in option.crossings)
    lines = (f"{name}: {tokens}" for name, tokens in zip(names, traffic, strict=True))
    return Text("\n".join(lines) or "no managed candidate has a price for the whole horizon")


def _mark(verdict: Verdict | None) -> str:
    return "" if verdict in (None, Verdict.ALLOWED) else f" ({verdict} today)"


def _traffic(tokens: int | None) -> str:
    if tokens is None:
        return "never"
    if tokens == 0:
        return "at any traffic"
    for size, unit in ((10**9, "B"), (10**6, "M"), (10**3, "k")):
        if tokens >= size:
            return f"from {tokens / size:,.3g} {unit}"
    return f"from {tokens}"


def _project(console: Console, made: Plan, months: str) -> None:
    """What was entered of people and failed runs: beside every total, and in none."""
    told = (made.chosen_candidate, *made.candidates)
    of = next((each.estimate for each in told if each and each.estimate.project), None)
    if of is None or of.project_usd is None:
        return
    usd = of.project_usd
    names = ", ".join(line.name.removeprefix("people: ") for line in of.project)
    console.print(
        f"[bold]beside the job[/bold], as entered: ${usd.likely:,.0f} (${usd.low:,.0f} to ${usd.high:,.0f}) "
        f"over {months}: {escape(names)}",
        highlight=False,
    )


def _months(months: int) -> str:
    return "1 month" if months == 1 else f"{months} months"
