"""What a project costs beside the job: entered, to the cent, in no budget and no ranking."""

from __future__ import annotations

import json
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from cost import Project, project_from
from gateway.cli.main import app
from gateway.core.errors import SettingsError
from gateway.core.estimate import Range
from tests.cost.making import TODAY
from tests.data.make import chats, jsonl

FULL: dict[str, Any] = {
    "usd_per_hour": Decimal(95),
    "data_preparation_h": [20, 40, 80],
    "engineering_h": [10, 20, 60],
    "evaluation_h": 12,
    "maintenance_h_per_month": [1, 2, 4],
    "failed_runs": [0, 1, 3],
    "weights_usd_per_gib_month": Decimal("0.023"),
    "egress_usd_per_gib": Decimal("0.09"),
    "source": "finance, 2026",
}


def made(**more: Any) -> Project:
    return project_from({**FULL, **more}, place="tunegate.toml", read_on=TODAY)


def usd(low: str, likely: str, high: str) -> Range:
    return Range(Decimal(low), Decimal(likely), Decimal(high))


def test_every_line_agrees_with_paper() -> None:
    run = usd("4.00", "5.67", "7.35")
    lines = {line.name: line for line in made().lines(run, 12, Decimal("14.96"))}
    assert {name: line.usd for name, line in lines.items()} == {
        "people: data preparation": usd("1900.00", "3800.00", "7600.00"),
        "people: engineering": usd("950.00", "1900.00", "5700.00"),
        "people: evaluation": usd("1140.00", "1140.00", "1140.00"),
        "people: maintenance": usd("1140.00", "2280.00", "4560.00"),
        "experiments that fail": usd("0.00", "5.67", "22.05"),
        "weights kept": usd("4.13", "4.13", "4.13"),  # 14.96 GiB × 12 × 0.023
        "weights moved out": usd("1.35", "1.35", "1.35"),
    }
    assert {line.source.note for line in lines.values()} == {"finance, 2026"}
    assert (lines["people: maintenance"].quantity, lines["people: maintenance"].unit) == (24, "hour")


def test_what_is_not_known_is_no_line() -> None:
    assert [line.name for line in made().lines(None, None)] == [
        "people: data preparation",
        "people: engineering",
        "people: evaluation",
    ]
    assert project_from({"source": "nobody"}, place="x", read_on=TODAY).lines(usd("1", "2", "3"), 12) == ()


@given(hours=st.lists(st.decimals(0, 1000, places=2), min_size=3, max_size=3).map(sorted))
def test_a_line_keeps_the_order_of_its_hours(hours: list[Decimal]) -> None:
    line = made(evaluation_h=hours).lines(None, None)[-1]
    assert line.usd.low <= line.usd.likely <= line.usd.high


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ({"data_preparation_h": [40, 20, 80]}, "data_preparation_h: low, likely and high are not in order"),
        ({"usd_per_hour": None}, "hours are given without usd_per_hour"),
        ({"usd_per_hour": -5}, "usd_per_hour"),
        ({"engineering_h": -1}, "engineering_h"),
        ({"failed_runs": [1, 2]}, "failed_runs"),
        ({"lunch_h": 3}, "lunch_h"),
        ({"source": ""}, "source"),
    ],
)
def test_a_wrong_entry_names_its_place(wrong: dict[str, Any], told: str) -> None:
    with pytest.raises(SettingsError) as caught:
        made(**wrong)
    assert told in str(caught.value)
    assert caught.value.place == "tunegate.toml"


SPEC = """
version: 1
name: notes
model: nova-micro
data: {train: rows.jsonl, class: public}
hyperparameters: {epochs: 3}
route: {backends: [bedrock, local], budget_usd: 50}
serving: {input_tokens_per_month: 30_000_000, output_tokens_per_month: 5_000_000, months: 12}
"""
SETTINGS = """
[project]
usd_per_hour = 95
data_preparation_h = [20, 40, 80]
failed_runs = [0, 1, 3]
weights_usd_per_gib_month = 0.023
source = "finance"
"""


@pytest.fixture
def job(tmp_path: Path) -> Path:
    jsonl(tmp_path / "rows.jsonl", chats(range(40)))
    (tmp_path / "job.yaml").write_text(SPEC)
    (tmp_path / "tunegate.toml").write_text(SETTINGS)
    return tmp_path


def _planned(folder: Path) -> dict[str, Any]:
    settings = ["--config", str(folder / "tunegate.toml"), "--home", str(folder / "home")]
    ran = CliRunner().invoke(app, [*settings, "plan", str(folder / "job.yaml"), "--json"])
    assert ran.exit_code == 0, ran.output
    return json.loads(ran.stdout)


def test_a_plan_shows_it_beside_the_totals_and_in_none_of_them(job: Path) -> None:
    with_project = _planned(job)
    (job / "tunegate.toml").write_text("")
    without = _planned(job)
    for told, plain in zip(with_project["candidates"], without["candidates"], strict=True):
        assert told["estimate"]["total_usd"] == plain["estimate"]["total_usd"]
        assert told["selectable"] == plain["selectable"]  # 3,800 USD of people do not break a budget of 50
    managed = next(each for each in with_project["candidates"] if each["backend"] == "bedrock")["estimate"]
    names = [line["name"] for line in managed["project"]]
    assert names == ["people: data preparation", "experiments that fail"]
    assert Decimal(managed["project_usd"]["likely"]) == sum(
        Decimal(line["usd"]["likely"]) for line in managed["project"]
    )
    own = with_project["comparison"]["self_hosted"][0]["estimate"]["project"]
    assert [line["name"] for line in own] == ["people: data preparation", "weights kept"]
    assert without["candidates"][0]["estimate"]["project_usd"] is None


def test_the_terminal_says_what_was_entered_and_which_candidates_may_not_be_used(job: Path) -> None:
    settings = ["--config", str(job / "tunegate.toml"), "--home", str(job / "home")]
    shown = " ".join(CliRunner().invoke(app, [*settings, "plan", str(job / "job.yaml")]).output.split())
    assert "beside the job, as entered: $3,800" in shown
    assert "data preparation" in shown
    assert "USD, 12 months" in shown
    assert "on GPUs that one rents, running all day for 12 months" in shown
