"""Managed against self-hosted, below a plan in the terminal."""

from __future__ import annotations

from rich.console import Console
from rich.markup import escape

from gateway import Plan
from gateway.cli import views
from gateway.core.estimate import Alternative, Comparison

_MOST = 6
_ALWAYS = ("L4", "A100-80GB", "H100")  # what people ask about, wherever they hold the model


def comparison(console: Console, made: Plan) -> None:
    """A row per kind of GPU: what it would cost, and from which traffic on it would be the cheaper way."""
    found = made.comparison
    if found is None or not found.alternatives:
        return
    model = found.alternatives[0].model
    console.print(f"\n[bold]self-hosted[/bold]: {escape(model)}, units running all month", highlight=False)
    heads = [f"beats {_short(name)}" for name in found.managed]
    columns = ("GPU", "rented as", "total", "a month", *heads)
    views.table(console, columns, (_row(option) for option in _shown(found)))
    if now := found.incumbent:
        each = f", ${now.per_query_usd} a question" if now.per_query_usd is not None else ""
        console.print(
            f"[bold]in use today[/bold]: {escape(now.model)}, ${now.monthly_usd:,} a month{each}",
            highlight=False,
        )
    console.print(
        "[dim]beats: from so many tokens a month on, in the planned mix; --report FILE.html draws it[/dim]"
    )


def _shown(found: Comparison) -> list[Alternative]:
    return [o for place, o in enumerate(found.alternatives) if place < _MOST // 2 or o.gpu in _ALWAYS]


def _row(option: Alternative) -> list[str]:
    total = option.estimate.total_usd
    cost = "not priced" if total is None else f"${total.likely:,.0f}"
    monthly = f"${option.estimate.serving_usd_month:,.0f}" if option.estimate.serving_usd_month else ""
    from_on = [_traffic(crossing.tokens_per_month) for crossing in option.crossings]
    units = f"{option.units} × " if option.units > 1 else ""
    return [option.gpu, f"{units}{option.unit}", cost, monthly, *from_on]


def _traffic(tokens: int | None) -> str:
    if tokens is None:
        return "never"
    if tokens == 0:
        return "already"
    for size, unit in ((10**9, "B"), (10**6, "M"), (10**3, "k")):
        if tokens >= size:
            return f"{tokens / size:,.3g} {unit}"
    return str(tokens)


def _short(candidate: str) -> str:
    return candidate.split(" · ")[0]
