"""A plan as a page for people who decide, and its line items for their tools.

write_report(plan, spec, Path("report.html"))     # one file, charts inside, no network
draw(plan, spec, Path("charts"), "svg")           # the same charts as files, svg or png
export(plan, Path("costs.xlsx"))                  # line items: .csv, .xlsx or .focus.csv
"""

from __future__ import annotations

from gateway.report.export import export
from gateway.report.page import draw, write_report

__all__ = ["draw", "export", "write_report"]
