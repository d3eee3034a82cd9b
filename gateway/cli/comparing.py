"""Managed against self-hosted, below a plan in the terminal."""

from __future__ import annotations

from rich.console import Console
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from gateway import Plan
from gateway.core.estimate import Alternative, Comparison

_MOST = 6
_ALWAYS = ("L4", "A100-80GB", "H100")  # what people ask about, wherever they hold the model


def comparison(console: Console, made: Plan) -> None:
    """A row per kind of GPU: what it would cost, and from which traffic on it would be the cheaper way."""
    found = made.comparison
    if found is None or not found.alternatives:
        return
    model, shown = found.alternatives[0].model, _shown(found)
    console.print(f"\n[bold]self-hosted[/bold]: {escape(model)}, units running all month", highlight=False)
    grid = Table.grid(padding=(0, 2, 0, 0))
    grid.add_column(min_width=max(len(option.gpu) for option in shown), no_wrap=True)
    grid.add_column(ratio=1)
    for option in shown:
        grid.add_row(option.gpu, _line(option))
    console.print(grid)
    if now := found.incumbent:
        each = f", ${now.per_query_usd} a question" if now.per_query_usd is not None else ""
        console.print(
            f"[bold]in use today[/bold]: {escape(now.model)}, ${now.monthly_usd:,} a month{each}",
            highlight=False,
        )
    console.print(
        "[dim]tokens a month, in the planned mix; --report FILE.html draws it[/dim]", highlight=False
    )


def _shown(found: Comparison) -> list[Alternative]:
    return [o for place, o in enumerate(found.alternatives) if place < _MOST // 2 or o.gpu in _ALWAYS]


def _line(option: Alternative) -> Text:
    """What it costs, as what it is rented, and from which traffic on it would be the cheaper way."""
    total, units = option.estimate.total_usd, f"{option.units} × " if option.units > 1 else ""
    cost = "not priced" if total is None else f"${total.likely:,.0f}"
    text = Text(cost, style="bold")
    text.append(f"  {units}{option.unit}", style="dim")
    beats = "; ".join(
        f"{_short(each.managed)}: {_traffic(each.tokens_per_month)}" for each in option.crossings
    )
    text.append(f"  cheaper than {beats}" if beats else "", style="")
    return text


def _traffic(tokens: int | None) -> str:
    if tokens is None:
        return "never"
    if tokens == 0:
        return "at any traffic"
    for size, unit in ((10**9, "B"), (10**6, "M"), (10**3, "k")):
        if tokens >= size:
            return f"from {tokens / size:,.3g} {unit}"
    return f"from {tokens}"


def _short(candidate: str) -> str:
    return candidate.split(" · ")[0]
