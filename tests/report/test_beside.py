"""What a project costs beside the job stands on the page and in every export, and in no candidate's sum."""

from __future__ import annotations

import csv
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

import pytest

from gateway import Gateway, JobSpec, Plan
from gateway.report import export, write_report
from tests.report.conftest import SETTINGS

PROJECT = """
[project]
usd_per_hour = 95
data_preparation_h = [20, 40, 80]
maintenance_h_per_month = [1, 2, 4]
failed_runs = [0, 1, 3]
source = "finance, 2026"
"""


@pytest.fixture
def beside(tmp_path: Path, spec: JobSpec) -> Plan:
    (tmp_path / "tunegate.toml").write_text(SETTINGS + PROJECT)
    clock = datetime(2026, 11, 22, 12, tzinfo=UTC)
    return Gateway(config=tmp_path / "tunegate.toml", home=tmp_path / "home", clock=lambda: clock).plan(spec)


def _rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def _nova(plan: Plan) -> tuple[str, Decimal]:
    """A managed candidate's name, and the sum of its own lines."""
    found = next(each for each in plan.candidates if each.key.model == "nova-micro")
    assert found.estimate.total_usd
    return str(found.key), found.estimate.total_usd.likely


def test_the_csv_keeps_them_under_a_name_of_their_own(plan: Plan, beside: Plan, tmp_path: Path) -> None:
    export(beside, tmp_path / "costs.csv")
    rows = _rows(tmp_path / "costs.csv")
    name, total = _nova(beside)
    assert (name, total) == _nova(plan)
    assert sum(Decimal(row["usd_likely"]) for row in rows if row["candidate"] == name) == total
    besides = {row["line"]: row for row in rows if row["candidate"] == f"beside the job: {name}"}
    assert set(besides) == {"people: data preparation", "people: maintenance", "experiments that fail"}
    assert besides["people: data preparation"]["usd_likely"] == "3800.00"
    assert besides["people: maintenance"]["note"] == "finance, 2026"


def test_focus_rows_are_told_apart_by_service_and_tag(beside: Plan, tmp_path: Path) -> None:
    export(beside, tmp_path / "costs.focus.csv")
    rows = [row for row in _rows(tmp_path / "costs.focus.csv") if "tunegate:beside" in row["Tags"]]
    assert rows
    told = {(row["ServiceCategory"], row["ServiceName"], row["ProviderName"]) for row in rows}
    assert told == {("Other", "beside the job", "own organisation")}
    assert all("beside the job: " in row["ChargeDescription"] for row in rows)


def test_the_workbook_has_a_sheet_for_them_and_sums_beside_the_totals(beside: Plan, tmp_path: Path) -> None:
    openpyxl = pytest.importorskip("openpyxl")
    export(beside, tmp_path / "costs.xlsx")
    book = openpyxl.load_workbook(tmp_path / "costs.xlsx")
    assert book.sheetnames == ["lines", "totals", "beside the job"]
    assert not [cell.value for cell in book["lines"]["C"] if str(cell.value).startswith("people")]
    name, _ = _nova(beside)
    sheet = book["beside the job"]
    own = [n for n in range(2, sheet.max_row + 1) if sheet.cell(n, 1).value == name]
    assert len(own) == 3
    for n in own:
        product = Decimal(str(sheet.cell(n, 4).value)) * Decimal(str(sheet.cell(n, 6).value))
        assert abs(product - Decimal(str(sheet.cell(n, 8).value))) <= Decimal("0.005")
    totals = book["totals"]
    heads = [cell.value for cell in totals[1]]
    column = heads.index("beside the job: usd, likely") + 1
    formula = totals.cell(2, column).value
    assert formula.startswith("=SUMIF('beside the job'!$A$2:")
    assert heads[2:5] == ["usd, likely", "low", "high"]


def test_the_page_says_them_apart_from_every_total(
    plan: Plan, beside: Plan, spec: JobSpec, tmp_path: Path
) -> None:
    write_report(beside, spec, tmp_path / "with.html")
    write_report(plan, spec, tmp_path / "without.html")
    told, silent = ((tmp_path / name).read_text() for name in ("with.html", "without.html"))
    assert "<h2>Beside the job</h2>" in told
    assert "<h2>Beside the job</h2>" not in silent
    for text in ("people: data preparation", "$3,800.00", "finance, 2026", "in no total, chart, ranking"):
        assert text in told
