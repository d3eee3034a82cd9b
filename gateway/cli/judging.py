"""What a comparison of base and tuned found: the figures, one word for all of them, and where tuned is
worse."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

_MOST_LINES = 12
_MOST_CONFUSIONS = 5
_NAME_WIDTH = 12  # of a metric, where there is little room
_LARGE = 100
_WORDS = {
    "better": "[green]better[/green]",
    "worse": "[bold red]WORSE[/bold red]",
    "unclear": "no clear difference",
    "neutral": "",
    "no_baseline": "base not scored",
    "too_small": "too small to tell",
}
_CONCLUSIONS = {
    "better": "[green]tuned is better than its base[/green]",
    "worse": "[bold red]tuned is WORSE than its base[/bold red]",
    "mixed": "[bold yellow]mixed: tuned is better by some figures and WORSE by others[/bold yellow]",
    "unclear": "no clear difference between tuned and base",
}


def comparison(
    console: Console,
    metrics: Mapping[str, Mapping[str, Any]],
    evaluation: Mapping[str, Any],
    labels: Mapping[str, str],
) -> None:
    """The figures, the conclusion, the rows on which tuned is worse, and the classes.

    Args:
        labels: letter → the class's own words, where whoever looks has asked for them.
    """
    verdicts: Mapping[str, str] = evaluation.get("verdicts") or {}
    console.print(_fitting(console, metrics, verdicts))
    if told := _CONCLUSIONS.get(str(evaluation.get("conclusion"))):
        console.print(told, highlight=False)
    for line in _lines(evaluation):
        console.print(line, highlight=False, markup=False, soft_wrap=True)
    found: Sequence[Mapping[str, Any]] = evaluation.get("classes") or ()
    if found and not any(_is_answered(each) for each in found):
        names = " · ".join(_class_name(each, labels) for each in found)
        told = f"by class: neither model answers with any of the {len(found)}: {names}"
        console.print(told, highlight=False, markup=False, soft_wrap=True)
    elif found:
        console.print(_classes(found, labels))
        for line in _confusions(evaluation.get("confusions") or (), labels):
            console.print(line, highlight=False, markup=False, soft_wrap=True)


def _fitting(
    console: Console, metrics: Mapping[str, Mapping[str, Any]], verdicts: Mapping[str, str]
) -> Table:
    """The widest of three tables that the terminal holds: on one line; intervals below their values and
    names broken after underscores; names broken anywhere."""
    words = {name: _WORDS.get(verdicts.get(name, ""), "") for name in metrics["tuned"]}
    broken = {name: text.replace(" ", "\n") for name, text in words.items()}

    def fits(table: Table) -> bool:
        boundless = console.options.update(max_width=1000)
        return console.measure(table, options=boundless).maximum <= console.width

    wide = _metrics_table(metrics, words, between=" ", most=1000)
    if fits(wide):
        return wide
    least = _metrics_table(metrics, broken, between="\n", most=_NAME_WIDTH)
    return _metrics_table(metrics, words, between="\n", most=_NAME_WIDTH if fits(least) else None)


def _metrics_table(
    metrics: Mapping[str, Mapping[str, Any]], words: Mapping[str, str], *, between: str, most: int | None
) -> Table:
    """`between` stands between a value and its interval; a name takes `most` characters a line, or as many
    as there is room for."""
    table = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 2, 0, 0))
    table.add_column("metric", overflow="fold", no_wrap=most is not None)
    for column in ("base", "tuned", "difference"):
        table.add_column(column, justify="right", no_wrap=True)
    table.add_column("in words", overflow="fold")
    for name, tuned in metrics["tuned"].items():
        values = (metrics["base"].get(name), tuned, metrics["difference"].get(name))
        told = (interval(value, between=between) for value in values)
        table.add_row(_broken(name, most) if most else name, *told, words[name])
    return table


def _broken(name: str, most: int) -> str:
    """A metric's name in lines of at most so many characters where its underscores allow it."""
    lines = [""]
    for part in name.replace("_", "_ ").split():
        if lines[-1] and len(lines[-1] + part) > most:
            lines.append("")
        lines[-1] += part
    return "\n".join(lines)


def _is_answered(found: Mapping[str, Any]) -> bool:
    """Whether a model ever answers with this class: else its precision is of nothing."""
    for model in ("base", "tuned"):
        figures: Mapping[str, Mapping[str, Any]] = found.get(model) or {}
        if figures and figures["precision"].get("value") is not None:
            return True
    return False


def _lines(evaluation: Mapping[str, Any]) -> Iterator[str]:
    """Held-out rows by their lines; never by their text."""
    worse: Mapping[str, Any] = evaluation.get("worse_rows") or {}
    for what, rows in (
        (f"tuned is worse by {worse.get('metric')}", worse.get("rows")),
        ("a model refused to answer", evaluation.get("unanswered")),
        ("the prompt was longer than the model takes, and lost its middle,", evaluation.get("cut")),
    ):
        if rows:
            shown = ", ".join(str(row["line"]) for row in rows[:_MOST_LINES])
            rest = f" and {len(rows) - _MOST_LINES} more" if len(rows) > _MOST_LINES else ""
            yield f"{what} on {_rows(len(rows))}; by line of data/held-out.jsonl: {shown}{rest}"
    yield from evaluation.get("notes") or ()


def _classes(found: Sequence[Mapping[str, Any]], labels: Mapping[str, str]) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 2, 0, 0))
    for column in ("class", "rows", "precision", "recall", "F1", "F1 of the base"):
        table.add_column(column, justify="left" if column == "class" else "right", overflow="fold")
    for each in found:
        tuned: Mapping[str, Any] = each["tuned"]
        base: Mapping[str, Any] = each.get("base") or {}
        table.add_row(
            escape(_class_name(each, labels)),
            str(each["n"]),
            *(_share(tuned[name]) for name in ("precision", "recall")),
            interval(tuned["f1"]),
            _share(base.get("f1")),
        )
    return table


def _class_name(found: Mapping[str, Any], labels: Mapping[str, str]) -> str:
    """Its own words where they were asked for, else its letter and a held-out line that has it."""
    return labels.get(found["label"], f"{found['label']} (line {found['line']})")


def _rows(count: int) -> str:
    return "1 row" if count == 1 else f"{count} rows"


def _share(value: Mapping[str, Any] | None) -> str:
    return "–" if not value or value.get("value") is None else f"{value['value']:.3f}"


def _confusions(found: Sequence[Mapping[str, Any]], labels: Mapping[str, str]) -> Iterator[str]:
    def name(letter: str | None) -> str:
        return "something else" if letter is None else labels.get(letter, letter)

    for each in [each for each in found if each["tuned"]][:_MOST_CONFUSIONS]:
        before = "" if each["base"] is None else f" (base: {each['base']})"
        pair = f"{name(each['reference'])} answered as {name(each['answered'])}"
        yield f"{pair}: {_rows(each['tuned'])}{before}"


def interval(value: Mapping[str, Any] | None, *, between: str = " ") -> str:
    """A value with its 95 % interval."""
    if not value or value.get("value") is None:
        return "–"
    low, high = value.get("low"), value.get("high")
    text = _figure(value["value"])
    return text if low is None or high is None else f"{text}{between}({_figure(low)} … {_figure(high)})"


def _figure(value: float) -> str:
    """Three decimals, and none of them where there are a hundred or more before the point."""
    return f"{value:,.0f}" if abs(value) >= _LARGE else f"{value:.3f}"
