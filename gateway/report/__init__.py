"""A plan as a page for people who decide: what was compared, what each would cost, where it breaks even.

write_report(plan, Path("report.html"))     # one file, charts inside, no network
draw(plan, Path("charts"), "svg")           # the same charts as files, svg or png
"""

from __future__ import annotations

from gateway.report.page import draw, write_report

__all__ = ["draw", "write_report"]
