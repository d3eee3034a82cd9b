"""Line items for others' tools: they add up to the plan's own figures, and an independent sheet agrees."""

from __future__ import annotations

import csv
import re
from collections import defaultdict
from decimal import ROUND_HALF_UP, Decimal
from pathlib import Path

import pytest

from gateway import Plan
from gateway.core.errors import SpecError
from gateway.report import export
from gateway.report.export import COLUMNS, FOCUS

# The columns that FOCUS 1.2 makes mandatory for every row of a provider's cost data.
MANDATORY = {
    "BilledCost", "BillingAccountId", "BillingAccountName", "BillingCurrency", "BillingPeriodEnd",
    "BillingPeriodStart", "ChargeCategory", "ChargeClass", "ChargeDescription", "ChargePeriodEnd",
    "ChargePeriodStart", "ContractedCost", "EffectiveCost", "InvoiceIssuerName", "ListCost",
    "PricingQuantity", "PricingUnit", "ProviderName", "PublisherName", "ServiceCategory", "ServiceName",
}  # fmt: skip


def _totals(plan: Plan) -> dict[str, Decimal]:
    found = {
        str(each.key): sum((line.usd.likely for line in each.estimate.lines), Decimal(0))
        for each in plan.candidates
        if each.estimate.lines
    }
    assert plan.comparison
    for option in plan.comparison.alternatives:
        assert option.estimate.total_usd
        name = f"self-hosted {option.model} · {option.gpu} · {option.unit.partition(' ')[2]}"
        found[name] = option.estimate.total_usd.likely
    return found


def test_the_csv_adds_up_to_the_plan(plan: Plan, tmp_path: Path) -> None:
    export(plan, tmp_path / "costs.csv")
    with (tmp_path / "costs.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert tuple(rows[0]) == COLUMNS
    sums: dict[str, Decimal] = defaultdict(Decimal)
    for row in rows:
        sums[row["candidate"]] += Decimal(row["usd_likely"])
        assert row["source"]
    assert sums == _totals(plan)


def test_an_independent_sheet_agrees_to_the_cent(plan: Plan, tmp_path: Path) -> None:
    """The workbook's formulas are worked out here by another arithmetic: decimal, halves up, as sheets do."""
    openpyxl = pytest.importorskip("openpyxl")
    export(plan, tmp_path / "costs.xlsx")
    book = openpyxl.load_workbook(tmp_path / "costs.xlsx")
    lines, totals = book["lines"], book["totals"]
    sums: dict[str, Decimal] = defaultdict(Decimal)
    for number in range(2, lines.max_row + 1):
        assert lines.cell(number, 14).value == f"=ROUND(D{number}*F{number},2)"
        product = Decimal(str(lines.cell(number, 4).value)) * Decimal(str(lines.cell(number, 6).value))
        sums[str(lines.cell(number, 1).value)] += product.quantize(Decimal("0.01"), ROUND_HALF_UP)
    assert sums == _totals(plan)
    for number in range(2, totals.max_row + 1):
        formula = str(totals.cell(number, 3).value)
        assert re.fullmatch(rf"=SUMIF\(lines!\$A\$2:\$A\$\d+,A{number},lines!\$N\$2:\$N\$\d+\)", formula)
    assert {str(totals.cell(n, 1).value) for n in range(2, totals.max_row + 1)} == set(sums)


def test_focus_rows_have_the_mandatory_columns_and_say_they_are_forecasts(plan: Plan, tmp_path: Path) -> None:
    export(plan, tmp_path / "costs.focus.csv")
    with (tmp_path / "costs.focus.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert tuple(rows[0]) == FOCUS
    assert set(FOCUS) >= MANDATORY
    assert sum(Decimal(row["BilledCost"]) for row in rows) == sum(_totals(plan).values())
    assert all("tunegate:forecast" in row["Tags"] and row["BillingCurrency"] == "USD" for row in rows)
    assert rows[0]["BillingPeriodStart"] == "2026-11-01T00:00:00Z"
    assert rows[0]["BillingPeriodEnd"] == "2026-12-01T00:00:00Z"


def test_another_ending_is_refused_with_those_there_are(plan: Plan, tmp_path: Path) -> None:
    with pytest.raises(SpecError, match="no form of export") as caught:
        export(plan, tmp_path / "costs.pdf")
    assert ".xlsx" in str(caught.value.fix)
    assert not (tmp_path / "costs.pdf").exists()
