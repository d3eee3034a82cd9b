"""The charts of a report, as SVG or PNG: labels, units and the ends of lines written out, readable in print.

Colours are those of Okabe and Ito, which stay apart for the colour-blind; managed lines are solid,
self-hosted dashed, what is in use today dotted, so that a grey print still tells them apart.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal
from typing import Any, Literal

from gateway.core.estimate import Alternative
from gateway.report.series import Choice

Format = Literal["svg", "png"]
_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#7F3C8D", "#8C6D31", "#444444")
_DASHES: Mapping[str, Any] = {"managed": "-", "self-hosted": (0, (5, 2)), "incumbent": (0, (1, 1.5))}
_LEAST_GAP = 0.05  # of the height, between two labels at the ends of lines
_SIZE = (9.5, 4.8)  # inches


def cost_over_time(choices: Sequence[Choice], months: int, format: Format) -> bytes:
    """Cumulative cost by month; the band is low to high."""

    def paint(axes: Any) -> None:
        at = list(range(months + 1))
        for choice, colour in _coloured(choices):
            likely = [float(choice.start.likely + choice.month.likely * month) for month in at]
            low = [float(choice.start.low + choice.month.low * month) for month in at]
            high = [float(choice.start.high + choice.month.high * month) for month in at]
            axes.plot(at, likely, color=colour, linestyle=_DASHES[choice.kind], linewidth=1.8)
            axes.fill_between(at, low, high, color=colour, alpha=0.12, linewidth=0)
        axes.set_xlim(0, months)
        axes.set_ylim(bottom=0)
        _label_ends(axes, [(float(c.total(months)), c.label, colour) for c, colour in _coloured(choices)])
        axes.set_xlabel("months since the model is tuned")
        axes.set_ylabel("USD spent, training included")
        axes.yaxis.set_major_formatter(_dollars)

    return _figure("Cost over time at the planned traffic", paint, format)


def cost_by_line(choices: Sequence[Choice], months: int, format: Format) -> bytes:
    """What each choice's total is made of, as stacked bars."""

    def paint(axes: Any) -> None:
        names = list(dict.fromkeys(name for choice in choices for name in choice.lines))
        places = list(range(len(choices)))[::-1]
        left = [0.0] * len(choices)
        for name, colour in zip(names, _COLOURS * 2, strict=False):
            widths = [float(choice.lines.get(name, Decimal(0))) for choice in choices]
            axes.barh(places, widths, left=left, color=colour, label=name, height=0.62)
            left = [start + width for start, width in zip(left, widths, strict=True)]
        for place, end in zip(places, left, strict=True):
            axes.annotate(
                _dollars(end),
                (end, place),
                xytext=(4, 0),
                textcoords="offset points",
                va="center",
                fontsize=8,
            )
        axes.set_yticks(places, [choice.label for choice in choices], fontsize=8.5)
        axes.set_xlim(0, max(left, default=1.0) * 1.12)
        axes.set_xlabel(f"USD over {months} months, likely case")
        axes.xaxis.set_major_formatter(_dollars)
        axes.legend(fontsize=8, frameon=False, loc="upper center", bbox_to_anchor=(0.4, -0.16), ncols=3)

    return _figure("What the cost is made of", paint, format)


def break_even_curve(
    choices: Sequence[Choice],
    alternatives: Sequence[Alternative],
    planned_tokens: int,
    months: int,
    format: Format,
) -> bytes:
    """Cost per month against traffic, training spread over the horizon."""

    def paint(axes: Any) -> None:
        steps = [10 ** (exponent / 40) for exponent in range(-40, 121)]  # 0.1 to 1,000 times
        at = [planned_tokens * step for step in steps]
        ends: list[tuple[float, str, str]] = []
        hosted = {f"{each.model} on {each.gpu}": each for each in alternatives}
        for choice, colour in _coloured(choices):
            once = float(choice.start.likely) / months
            if choice.kind == "self-hosted":
                option = hosted[choice.label]
                cost = [once + float(option.monthly_usd(count)) for count in at]
            else:
                month, share = float(choice.month.likely), choice.by_token
                cost = [once + month * (1 - share) + month * share * step for step in steps]
            axes.plot(at, cost, color=colour, linestyle=_DASHES[choice.kind], linewidth=1.8)
            ends.append((cost[-1], choice.label, colour))
        axes.set_xscale("log")
        axes.set_yscale("log")
        axes.set_xlim(at[0], at[-1])
        axes.axvline(planned_tokens, color="#999999", linewidth=0.9)
        axes.annotate(
            "planned",
            (planned_tokens, axes.get_ylim()[1]),
            xytext=(3, -10),
            textcoords="offset points",
            fontsize=8,
            color="#666666",
        )
        _label_ends(axes, ends)
        axes.set_xlabel("tokens a month, in the planned mix of input and output")
        axes.set_ylabel("USD a month, training spread over the horizon")
        axes.xaxis.set_major_formatter(tokens)
        axes.yaxis.set_major_formatter(_dollars)

    return _figure("Where self-hosting breaks even", paint, format)


def _coloured(choices: Sequence[Choice]) -> list[tuple[Choice, str]]:
    return [(choice, _COLOURS[place % len(_COLOURS)]) for place, choice in enumerate(choices)]


def _label_ends(axes: Any, ends: Sequence[tuple[float, str, str]]) -> None:
    """Write each line's name at its right end, moved apart where they would overlap. After the limits are
    set: places follow from them."""
    to_share, right = axes.transAxes.inverted().transform, axes.get_xlim()[1]
    ends = sorted(ends)
    at = [float(to_share(axes.transData.transform((right, value)))[1]) for value, _, _ in ends]
    for share, room, (_, label, colour) in zip(at, _apart(at), ends, strict=True):
        axes.annotate(
            label,
            (1.0, share),
            xycoords="axes fraction",
            xytext=(1.03, room),
            textcoords="axes fraction",
            va="center",
            fontsize=8.5,
            color=colour,
            arrowprops={
                "arrowstyle": "-",
                "color": colour,
                "linewidth": 0.6,
                "relpos": (0, 0.5),
                "shrinkB": 0,
            },
        )


def _apart(places: Sequence[float]) -> list[float]:
    """Ascending places pushed apart to the least gap: upwards first, then down again from the top."""
    pushed: list[float] = []
    for place in places:
        pushed.append(max(place, pushed[-1] + _LEAST_GAP) if pushed else place)
    top = 1.0
    for index in range(len(pushed) - 1, -1, -1):
        pushed[index] = min(pushed[index], top)
        top = pushed[index] - _LEAST_GAP
    return pushed


def _figure(title: str, paint: Callable[[Any], None], format: Format) -> bytes:
    """One chart. Without pyplot, so that nothing global is touched and no display is looked for."""
    from matplotlib import rc_context  # pyright: ignore[reportUnknownVariableType]  # of paths
    from matplotlib.figure import Figure

    settings = {"svg.hashsalt": "tunegate", "svg.fonttype": "path", "font.size": 9.5}
    with rc_context(settings):  # pyright: ignore[reportArgumentType]  # its types name every setting
        figure: Any = Figure(figsize=_SIZE, layout="constrained")
        axes: Any = figure.add_subplot()
        figure.draw_without_rendering()
        axes.set_title(title, loc="left", fontweight="bold")
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(axis="both", color="#e6e6e6", linewidth=0.6)
        axes.set_axisbelow(True)
        paint(axes)
        out = io.BytesIO()
        metadata = {"Date": None} if format == "svg" else {"Software": None}
        figure.savefig(out, format=format, dpi=160, bbox_inches="tight", metadata=metadata)
    return out.getvalue()


def _dollars(value: float, _: object = None) -> str:
    if value >= 1_000_000:
        return f"${value / 1_000_000:,.3g} M"
    return f"${value:,.0f}" if value >= 10 or value == 0 else f"${value:,.2f}"


def tokens(value: float, _: object = None) -> str:
    """A number of tokens as people say it: 217 M."""
    for size, unit in ((1e12, "T"), (1e9, "B"), (1e6, "M"), (1e3, "k")):
        if value >= size:
            return f"{value / size:,.3g} {unit}"
    return f"{value:,.0f}"
