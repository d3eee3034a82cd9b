"""The SDK as Python users hold it: typed errors, several gateways in one process, notebooks."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path

import pytest

import gateway
from gateway import DataClass, Gateway, JobSpec, NothingCanRun, OverBudget, SpecError, Verdict
from gateway.core.plan import Estimate, Range, Reason
from tests.stories.conftest import Done, User, easy_rows


@pytest.fixture
def spec(user: User) -> JobSpec:
    user.chats("data.jsonl", easy_rows())
    return JobSpec.from_yaml(user.spec())


def test_the_public_names_are_there() -> None:
    for name in gateway.__all__:
        assert getattr(gateway, name).__name__ == name
    assert set(gateway.__all__) <= set(dir(gateway))
    assert gateway.__version__
    with pytest.raises(AttributeError, match="no attribute 'Nothing'"):
        _ = gateway.Nothing


def test_a_spec_in_python_is_the_spec_in_yaml(spec: JobSpec) -> None:
    same = JobSpec.model_validate(
        {
            "name": "story",
            "model": "gpt-4.1-mini",
            "data": {"train": "data.jsonl", "class": DataClass.PUBLIC},
        }
    )
    assert same.hash() == spec.hash()


def test_a_pinned_clock_is_the_day_of_every_plan(user: User, spec: JobSpec) -> None:
    then = Gateway(home=user.home, clock=lambda: datetime(2027, 2, 1, tzinfo=UTC))
    assert then.plan(spec).as_of == date(2027, 2, 1)
    assert then.plan(spec, as_of=date(2026, 11, 22)).as_of == date(2026, 11, 22)


def test_several_gateways_live_in_one_process(user: User, spec: JobSpec, tmp_path: Path) -> None:
    (tmp_path / "strict.toml").write_text('team = "b"\n[policy]\nsets = ["baseline", "on-prem-only"]\n')
    one = Gateway(home=tmp_path / "one")
    two = Gateway(home=tmp_path / "two", config=tmp_path / "strict.toml")
    denied = [candidate.verdict is Verdict.DENIED for candidate in two.plan(spec).candidates]
    assert any(denied)
    assert not any(candidate.verdict is Verdict.DENIED for candidate in one.plan(spec).candidates)
    assert (one.settings.team, two.settings.team) == ("default", "b")
    assert one.jobs.list() == two.jobs.list() == []


def test_planning_writes_no_job_and_no_record(user: User, spec: JobSpec) -> None:
    Gateway(home=user.home).plan(spec)
    assert not (user.home / "jobs.db").exists()
    assert not (user.home / "records").exists()


def test_a_plan_made_from_another_spec_is_not_dispatched(user: User, tiny: Path, spec: JobSpec) -> None:
    mine = Gateway(home=user.home)
    asked = spec.model_copy(update={"model": (str(tiny),)}).at(spec.folder)
    plan = mine.plan(asked)
    with pytest.raises(SpecError, match="another spec"):
        mine.dispatch(asked.model_copy(update={"name": "other"}).at(spec.folder), plan)
    assert mine.jobs.list() == []


def test_what_nobody_may_run_says_which_limit_stands_in_the_way(user: User, spec: JobSpec) -> None:
    mine = Gateway(home=user.home)
    plan = mine.plan(spec)
    with pytest.raises(NothingCanRun):
        mine.check(plan)
    dear = Range.exactly(Decimal(900))
    limit = Reason(Verdict.ALLOWED, "over_budget", "may cost $900, above the budget of $50")
    candidates = tuple(
        replace(
            candidate,
            verdict=Verdict.ALLOWED,
            selectable=False,
            reasons=(limit,),
            estimate=Estimate(dear, None, dear),
        )
        for candidate in plan.candidates
    )
    with pytest.raises(OverBudget) as caught:
        mine.check(replace(plan, candidates=candidates))
    assert caught.value.exit_code == 4


def test_a_notebook_shows_a_plan_as_a_table_and_a_job_as_a_bar(finished: Done) -> None:
    mine = Gateway(home=finished.user.home)
    job = mine.jobs.get(finished.shown["id"])
    assert job.id in job._repr_html_()  # pyright: ignore[reportPrivateUsage] - as a notebook does
    html = mine.plan(finished.user.folder / "job.yaml")._repr_html_()  # pyright: ignore[reportPrivateUsage]
    assert "<table" in html
    assert "allowed" in html


def test_a_handle_tells_all_that_the_command_line_does(finished: Done) -> None:
    mine = Gateway(home=finished.user.home)
    job = mine.jobs.get(finished.shown["id"])
    assert json.loads(json.dumps(job.to_json())) == finished.shown
    assert job.done
    assert job.metrics is not None
    assert job.evaluation["words"]["exact_match"].startswith("exact_match")
    assert [job.id for job in mine.jobs.list()] == [job.id]
    assert {artifact.kind for artifact in job.artifacts()} >= {"adapter", "model_card"}
    assert job.wait() is job  # it has ended: returns at once
    told: list[tuple[int, int]] = []
    again = job.evaluate(on_progress=lambda done, total: told.append((done, total)))
    assert again["metrics"] == job.metrics  # greedy, on the same rows: the same numbers
    assert told[-1][0] == told[-1][1] > 2 * again["rows"]  # base and tuned, and the general questions
    with pytest.raises(gateway.SettingsError, match="no backend is called"):
        mine.complete("some-model", [("user", "hello")], backend="nowhere")
    with pytest.raises(gateway.TunegateError, match="no role"):
        mine.complete(job.id, [("wizard", "hello")])
