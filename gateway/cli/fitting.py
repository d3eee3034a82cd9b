"""Prices, what a probe found, and what fits where, as people read it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import median
from typing import Any

from rich.console import Console
from rich.markup import escape

from gateway.cli import views

_BUSY = 1.25  # times as long as on an idle machine: worth a word
_ROOM_FOR_SOURCES = 160  # columns; with fewer, addresses stand once, below
_SHORT = {"lora": "LoRA", "qlora": "QLoRA", "full": "full"}


def prices(console: Console, lines: Sequence[Mapping[str, Any]]) -> None:
    """The price book; where addresses have no room in the table, a number leads to each below it."""
    columns = ("backend", "item", "models", "value", "unit", "age_days", "confidence", "source")
    if views.width(console) >= _ROOM_FOR_SOURCES:
        views.table(console, columns, ([line[column] for column in columns] for line in lines))
        return
    numbers: dict[str, str] = {}
    for line in lines:
        numbers.setdefault(str(line["source"]), f"[{len(numbers) + 1}]")
    shown = (
        (
            *(line[column] for column in columns[:4]),
            str(line["unit"]).removeprefix("usd_per_"),
            line["age_days"],
            line["confidence"],
            numbers[str(line["source"])],
        )
        for line in lines
    )
    views.table(console, ("backend", "item", "models", "USD", "per", "days", "confidence", "source"), shown)
    console.print()
    for source, number in numbers.items():
        console.print(f"{number} {source}", highlight=False, markup=False, soft_wrap=True)


def probed(console: Console, found: Mapping[str, Any]) -> None:
    """The machine, the steps, and the estimate of the whole run before and after."""
    steps: Sequence[Mapping[str, Any]] = found["steps"]
    setting: Mapping[str, Any] = found["setting"]
    tokens = sum(step["passes"]["tokens"] for step in steps)
    took = sum(step["seconds"] for step in steps)
    how = f"{_SHORT.get(setting['method'], setting['method'])}, {setting['precision']}"
    lines = {
        "machine": found["machine"],
        "measured": f"{len(steps)} steps of {found['model']}, {how}, on {found['device']}",
        "speed": f"{tokens / took:,.0f} tokens a second; {median(step['seconds'] for step in steps):.3g} s a "
        f"step, and {found['start_s']:.0f} s around them",
        "memory": f"{found['peak_gib']:.2f} GiB at most; {found['idle_gib']:.2f} before the base was loaded",
    }
    for name, line in lines.items():
        console.print(f"[bold]{name:9}[/bold] {escape(line)}", highlight=False, soft_wrap=True)
    if busy := _busy(found, steps):
        console.print(f"[yellow]note[/yellow]      {busy}", highlight=False, soft_wrap=True)
    for when in ("before", "after"):
        lies: Mapping[str, Any] = found[when]
        basis = lies["basis"] or "assumed from public figures"
        console.print(
            f"[bold]{when:9}[/bold] the whole run: {_hours(lies['duration_h'])}, "
            f"{lies['memory_gib']:.2f} GiB ({basis})",
            highlight=False,
            soft_wrap=True,
        )


def fits(console: Console, found: Sequence[Mapping[str, Any]]) -> None:
    """A table per model: one row per machine, one column per method."""
    methods = list(dict.fromkeys(str(each["method"]) for each in found))
    columns = ["machine", "GiB", *(_SHORT[method] for method in methods)]
    for model in dict.fromkeys(str(each["model"]) for each in found):
        rows: dict[tuple[str, float], dict[str, str]] = {}
        for each in (each for each in found if each["model"] == model):
            rows.setdefault((each["machine"], each["gpu_memory_gib"]), {})[each["method"]] = _cell(each)
        console.print(f"[bold]{escape(model)}[/bold]", highlight=False)
        shown = (
            (machine, f"{gib:g}" if gib else "–", *(cells.get(method, "") for method in methods))
            for (machine, gib), cells in rows.items()
        )
        views.table(console, columns, shown)
        console.print()
    console.print(
        "[dim]GiB · rows a pass, c: with checkpointing · likely time; – where it does not fit[/dim]",
        highlight=False,
    )


def _cell(each: Mapping[str, Any]) -> str:
    needs = f"{each['memory_gib']:.1f}"
    if not each["fits"]:
        return f"– needs {needs}"
    choices: Mapping[str, Mapping[str, Any]] = each["choices"]
    checkpointing = "c" if choices["checkpointing"]["value"] else ""
    hours = views.duration(float(each["duration_h"]["likely"]) * 3600)
    return f"{needs} · {choices['micro_batch']['value']}{checkpointing} · {hours}"


def _busy(found: Mapping[str, Any], steps: Sequence[Mapping[str, Any]]) -> str | None:
    """A sentence where other programs took the machine; several threads do not tell."""
    if found["device"] != "cpu" or found["setting"]["threads"] != 1:
        return None
    times = median(step["seconds"] / max(step["processor_s"], 1e-9) for step in steps)
    if times < _BUSY:
        return None
    return f"others used this machine: a step took {times:.1f} times its own processor time"


def _hours(hours: Mapping[str, str]) -> str:
    low, high = (views.duration(float(hours[name]) * 3600) for name in ("low", "high"))
    return f"{low}–{high}"
