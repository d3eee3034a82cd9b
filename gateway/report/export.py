"""The line items of a plan for others' tools: CSV, a workbook whose sums are live formulas, FOCUS columns.

What a project costs beside the job, as entered, is in all three, and in no candidate's sum: in CSV and FOCUS
under a name of its own, in the workbook on a sheet of its own.

FOCUS is the FinOps Open Cost and Usage Specification (focus.finops.org, columns of 1.2). What is exported
is a forecast: nothing was billed yet, so `BilledCost` is the likely estimate, and the tags say so.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any

from gateway.core.errors import SpecError, Unsupported
from gateway.core.estimate import Estimate, LineItem
from gateway.core.plan import Plan
from gateway.data import write_atomically
from gateway.report.series import is_once

COLUMNS = (
    "candidate", "verdict", "line", "quantity", "unit", "price_usd", "usd_low", "usd_likely", "usd_high",
    "source", "source_date", "confidence", "note",
)  # fmt: skip
FOCUS = (
    "BillingAccountId", "BillingAccountName", "BillingCurrency", "BillingPeriodStart", "BillingPeriodEnd",
    "ChargeCategory", "ChargeClass", "ChargeDescription", "ChargeFrequency", "ChargePeriodStart",
    "ChargePeriodEnd", "BilledCost", "EffectiveCost", "ListCost", "ContractedCost", "ListUnitPrice",
    "ContractedUnitPrice", "PricingCategory", "PricingQuantity", "PricingUnit", "ConsumedQuantity",
    "ConsumedUnit", "ProviderName", "PublisherName", "InvoiceIssuerName", "RegionId", "RegionName",
    "ResourceId", "ResourceName", "ServiceCategory", "ServiceName", "SkuId", "SkuPriceId", "Tags",
)  # fmt: skip


BESIDE = "beside the job"
_PARTS = ("usd, likely", "low", "high")
_OWN = "own organisation"  # who charges for people's time


@dataclass(frozen=True, slots=True)
class Row:
    """One line item, and whose it is; `beside` is true for what is no part of the job."""

    provider: str
    name: str
    region: str
    verdict: str
    line: LineItem
    beside: bool = False


def export(plan: Plan, path: Path) -> None:
    """Write the line items, in the form the file's name asks for: `.csv`, `.xlsx` or `.focus.csv`.

    Raises:
        SpecError: the name ends in something else.
        Unsupported: a workbook was asked for and the extra `report` is not installed.
        DataError: the file cannot be written; nothing is left behind.
    """
    rows = tuple(_rows(plan))
    if path.name.endswith(".focus.csv"):
        data = _csv(FOCUS, (_focus(row, plan) for row in rows))
    elif path.suffix == ".csv":
        data = _csv(COLUMNS, (_plain(row) for row in rows))
    elif path.suffix == ".xlsx":
        data = _workbook(rows)
    else:
        raise SpecError(
            f"{path.suffix or 'a name without an ending'} is no form of export",
            place=path.name,
            fix="end the name in .csv, .xlsx or .focus.csv",
        )
    write_atomically(path, [data])


def _rows(plan: Plan) -> Iterator[Row]:
    for candidate in plan.candidates:
        key = candidate.key
        yield from _lines(key.backend, str(key), key.region, str(candidate.verdict), candidate.estimate)
    for option in plan.comparison.alternatives if plan.comparison else ():
        provider, _, unit = option.unit.partition(" ")
        name = f"self-hosted {option.model} · {option.gpu} · {unit}"
        yield from _lines(provider, name, "", "self-hosted", option.estimate)


def _lines(provider: str, name: str, region: str, verdict: str, estimate: Estimate) -> Iterator[Row]:
    for line in estimate.lines:
        yield Row(provider, name, region, verdict, line)
    for line in estimate.project:
        yield Row(_OWN, name, "", verdict, line, beside=True)


def _plain(row: Row) -> Sequence[object]:
    line, source = row.line, row.line.source
    name = f"{BESIDE}: {row.name}" if row.beside else row.name
    return (
        name, row.verdict, line.name, line.quantity, line.unit, line.price, line.usd.low, line.usd.likely,
        line.usd.high, source.url, source.as_of.isoformat(), str(source.confidence), source.note,
    )  # fmt: skip


def _focus(row: Row, plan: Plan) -> Sequence[object]:
    """One FOCUS row; what a forecast cannot know stays empty."""
    line, start = row.line, plan.as_of
    once = is_once(line)
    category = "Other" if row.beside else "AI and Machine Learning"
    service = "model fine-tuning" if once else "model serving"
    likely, price = line.usd.likely, line.price
    tags = {"tunegate:forecast": "true", "tunegate:spec": plan.spec_hash, "tunegate:verdict": row.verdict}
    if row.beside:
        tags["tunegate:beside"] = "true"
    values: Mapping[str, object] = {
        "BillingCurrency": "USD", "BillingPeriodStart": _midnight(_month(start)),
        "BillingPeriodEnd": _midnight(_month(start, 1)), "ChargeCategory": "Usage",
        "ChargeDescription": f"{line.name} ({BESIDE + ': ' if row.beside else ''}{row.name})",
        "ChargeFrequency": "One-Time" if once else "Usage-Based",
        "ChargePeriodStart": _midnight(start), "BilledCost": likely, "EffectiveCost": likely,
        "ListCost": likely, "ContractedCost": likely, "ListUnitPrice": price, "ContractedUnitPrice": price,
        "PricingCategory": "Standard", "PricingQuantity": line.quantity, "PricingUnit": line.unit,
        "ConsumedQuantity": line.quantity, "ConsumedUnit": line.unit, "ProviderName": row.provider,
        "PublisherName": row.provider, "InvoiceIssuerName": row.provider, "RegionId": row.region,
        "ResourceName": row.name, "ServiceCategory": category,
        "ServiceName": BESIDE if row.beside else service, "SkuId": line.name,
        "Tags": json.dumps(tags),
    }  # fmt: skip
    return [values.get(column, "") for column in FOCUS]


def _csv(columns: Sequence[str], rows: Iterator[Sequence[object]]) -> bytes:
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows([_inert(cell) for cell in row] for row in rows)
    return out.getvalue().encode()


def _inert(cell: object) -> object:
    """A text that a spreadsheet would run as a formula is kept a text."""
    return f"'{cell}" if isinstance(cell, str) and cell[:1] in ("=", "+", "-", "@", "\t") else cell


def _workbook(rows: Sequence[Row]) -> bytes:
    """Sheet `lines` with every item, sheet `totals` with its sums: quantity × price and all sums are
    formulas, so that changing a price changes what follows from it."""
    try:
        from openpyxl import Workbook
        from openpyxl.styles import Font
    except ModuleNotFoundError:
        raise Unsupported(
            "a workbook needs the extra `report`", place="export", fix="pip install 'tunegate[report]'"
        ) from None
    book = Workbook()
    first, totals = book.active, book.create_sheet("totals")
    assert first is not None  # noqa: S101  # a new workbook has one
    first.title = "lines"
    job, beside = [row for row in rows if not row.beside], [row for row in rows if row.beside]
    sheets = {"lines": (first, job)}
    if beside:
        sheets[BESIDE] = (book.create_sheet(BESIDE), beside)
    for sheet, items in sheets.values():
        sheet.append([*COLUMNS, "usd"])
        for number, row in enumerate(items, start=2):
            plain = _plain(replace(row, beside=False))
            sheet.append([_cell(value) for value in (*plain, f"=ROUND(D{number}*F{number},2)")])
    heads = (f"{of}{part}" for of in ("", f"{BESIDE}: ")[: len(sheets)] for part in _PARTS)
    totals.append(["candidate", "verdict", *heads])
    for number, (name, verdict) in enumerate({row.name: row.verdict for row in rows}.items(), start=2):
        sums = (_sum(title, len(items), number) for title, (_, items) in sheets.items())
        totals.append([name, verdict, *(each for three in sums for each in three)])
    wide = {"A": 44, "C": 28, "J": 40, "M": 40}
    for sheet, widths in (*((sheet, wide) for sheet, _ in sheets.values()), (totals, {"A": 60, "C": 14})):
        sheet.freeze_panes = "A2"
        for cell in sheet[1]:
            cell.font = Font(bold=True)
        for column, width in widths.items():
            sheet.column_dimensions[column].width = width
    out = io.BytesIO()
    book.save(out)
    return out.getvalue()


def _sum(sheet: str, items: int, number: int) -> Iterator[str]:
    """What a sheet's items of the candidate in that row of `totals` add up to: likely, low, high."""
    title, last = f"'{sheet}'" if " " in sheet else sheet, items + 1
    for column in "NGI":
        yield f"=SUMIF({title}!$A$2:$A${last},A{number},{title}!${column}$2:${column}${last})"


def _cell(value: object) -> Any:
    return value if isinstance(value, Decimal | int | float) else str(value)


def _midnight(day: date) -> str:
    return f"{day.isoformat()}T00:00:00Z"


def _month(day: date, later: int = 0) -> date:
    months = day.year * 12 + day.month - 1 + later
    return date(months // 12, months % 12 + 1, 1)
