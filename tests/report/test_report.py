"""The page for people who decide: it says what the plan says, loads nothing, and its charts are drawn."""

from __future__ import annotations

import re
import shutil
import subprocess
from datetime import date
from decimal import Decimal
from pathlib import Path
from xml.etree import ElementTree

import pytest

from gateway import Gateway, JobSpec, Plan
from gateway.core.errors import DataError, SpecError
from gateway.core.plan import Verdict
from gateway.report import draw, write_report
from gateway.report.charts import tokens
from gateway.report.series import choices
from tests.report.conftest import a_spec

BROWSER = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


def test_a_plan_with_traffic_compares_managed_with_self_hosted(plan: Plan) -> None:
    found = plan.comparison
    assert found is not None
    assert [name.split(" · ")[0] for name in found.managed] == ["bedrock nova-micro"]
    assert any("azure gpt-4.1-mini is not compared with" in note for note in found.notes)
    assert {"L4", "A100-80GB", "H100"} <= {each.gpu for each in found.alternatives}
    for option in found.alternatives:
        assert option.estimate.total_usd is not None
        assert sum(line.usd.likely for line in option.estimate.lines) == option.estimate.total_usd.likely
        assert [crossing.managed for crossing in option.crossings] == list(found.managed)


def test_what_retires_within_the_horizon_is_compared_over_a_shorter_one(
    gateway: Gateway, tmp_path: Path
) -> None:
    traffic = {"input_tokens_per_month": 30_000_000, "output_tokens_per_month": 5_000_000, "months": 6}
    found = gateway.plan(a_spec(tmp_path, serving=traffic)).comparison
    assert found is not None
    assert [name.split(" · ")[0] for name in found.managed] == ["bedrock nova-micro", "azure gpt-4.1-mini"]


def test_the_model_in_use_is_priced_from_the_catalogue(plan: Plan) -> None:
    """gpt-4.1 asks 2 and 8 dollars a million: 30 × 2 + 5 × 8 = 100 a month, over 40,000 questions."""
    assert plan.comparison is not None
    now = plan.comparison.incumbent
    assert now is not None
    assert (now.provider, now.monthly_usd, now.total_usd) == ("openai", Decimal("100.00"), Decimal("1200.00"))
    assert now.per_query_usd == Decimal("0.0025")


def test_a_model_in_use_that_nobody_prices_is_said(gateway: Gateway, tmp_path: Path) -> None:
    spec = a_spec(tmp_path, serving={"input_tokens_per_month": 10, "incumbent": "grandmothers-model"})
    found = gateway.plan(spec).comparison
    assert found is not None
    assert found.incumbent is None
    assert any("grandmothers-model" in note for note in found.notes)


def test_without_traffic_there_is_no_comparison_and_no_report(gateway: Gateway, tmp_path: Path) -> None:
    spec = a_spec(tmp_path, serving=None)
    plan = gateway.plan(spec)
    assert plan.comparison is None
    with pytest.raises(SpecError, match="gives no traffic"):
        write_report(plan, spec, tmp_path / "report.html")
    assert not (tmp_path / "report.html").exists()


def test_what_is_drawn_adds_up_to_what_the_plan_says(plan: Plan) -> None:
    drawn = {each.label: each for each in choices(plan, 12)}
    assert drawn["gpt-4.1 (in use today)"].total(12) == Decimal(1200)
    for candidate in plan.candidates:
        total = candidate.estimate.total_usd
        choice = drawn.get(f"{candidate.key.backend} {candidate.key.model}")
        if choice and total and str(candidate.key) in (plan.comparison.managed if plan.comparison else ()):
            assert abs(choice.total(12) - total.likely) < Decimal("0.01")
            assert sum(choice.lines.values()) == total.likely
            assert (choice.note == "") == (candidate.verdict is Verdict.ALLOWED)


def test_charts_are_whole_files_and_the_same_every_time(plan: Plan, spec: JobSpec, tmp_path: Path) -> None:
    first = [path.read_bytes() for path in draw(plan, spec, tmp_path / "one", "svg")]
    again = [path.read_bytes() for path in draw(plan, spec, tmp_path / "two", "svg")]
    assert first == again
    assert len(first) == 3
    for svg in first:
        ElementTree.fromstring(svg)
    for path in draw(plan, spec, tmp_path / "png", "png"):
        assert path.read_bytes().startswith(b"\x89PNG")
        assert path.stat().st_size > 20_000


def test_the_page_loads_nothing_and_holds_no_row(plan: Plan, spec: JobSpec, tmp_path: Path) -> None:
    write_report(plan, spec, tmp_path / "report.html")
    page = (tmp_path / "report.html").read_text()
    loaded = re.findall(r'(?:src|href)\s*=\s*"([^"]*)"', page)
    assert loaded
    assert all(each.startswith("data:image/svg+xml;base64,") for each in loaded)
    assert "<script" not in page
    assert "question 7" not in page
    for candidate in plan.candidates:
        assert candidate.key.model in page


def test_a_page_that_cannot_be_written_leaves_nothing(plan: Plan, spec: JobSpec, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match="cannot be written"):
        write_report(plan, spec, tmp_path / "file" / "report.html")
    assert not list(tmp_path.glob(".*.part"))


@pytest.mark.skipif(BROWSER is None, reason="no Chromium here")
def test_a_browser_draws_every_chart(plan: Plan, spec: JobSpec, tmp_path: Path) -> None:
    write_report(plan, spec, tmp_path / "report.html")
    looking = (
        "<script>addEventListener('load', () => document.title = "
        "[...document.images].map(i => `${i.naturalWidth}x${i.naturalHeight}@${i.clientWidth}`).join(' '))"
        "</script></body>"
    )
    seen = tmp_path / "seen.html"
    seen.write_text((tmp_path / "report.html").read_text().replace("</body>", looking))
    done = subprocess.run(
        [
            str(BROWSER), "--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage",
            f"--user-data-dir={tmp_path / 'browser'}", "--window-size=1100,3000", "--dump-dom", seen.as_uri(),
        ],
        capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    title = re.search(r"<title>([^<]*)</title>", done.stdout)
    assert title, done.stderr[-500:]
    sizes = [tuple(map(int, re.split("[x@]", each))) for each in title[1].split()]
    assert len(sizes) == 3
    assert all(width > 400 and height > 200 and shown > 600 for width, height, shown in sizes)


@pytest.mark.parametrize(
    ("count", "said"), [(0, "0"), (950, "950"), (216_944_584, "217 M"), (1.05e9, "1.05 B")]
)
def test_numbers_of_tokens_are_said_as_people_say_them(count: float, said: str) -> None:
    assert tokens(count) == said


def test_the_clock_is_the_gateways(plan: Plan) -> None:
    assert plan.as_of == date(2026, 11, 22)
