"""`tunegate plan`: what people read, what programs rely on, and what it exits with."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from tests.stories.conftest import User, easy_rows

PLAN = {"schema", "spec_hash", "as_of", "trust", "data", "candidates", "chosen", "why", "openings", "rules"}
DATA = {"rows", "used", "refused", "tokens", "tokens_method", "hash", "class", "findings"}
CANDIDATE = {
    "backend", "model", "region", "offer", "verdict", "reasons", "tokens", "tokens_method",
    "billed_tokens", "estimate", "duration_h", "memory_gib", "translation",
}  # fmt: skip
ESTIMATE = {"training_usd", "serving_usd_month", "total_usd", "lines"}
LINE = {"name", "quantity", "unit", "price", "usd", "source", "as_of", "confidence"}
REASON = {"code", "text", "rule", "source", "fix"}
MONEY = re.compile(r"\d+(\.\d+)?")


@pytest.fixture
def planner(user: User) -> User:
    """Someone with public tickets and a spec that names models of several places."""
    user.chats("data.jsonl", easy_rows())
    user.spec(
        "serving: {input_tokens_per_month: 1000000, output_tokens_per_month: 200000, months: 2}\n",
        model="gpt-4.1-mini",
    )
    return user


def candidates(shown: dict[str, Any], backend: str) -> list[dict[str, Any]]:
    return [each for each in shown["candidates"] if each["backend"] == backend]


def test_the_json_has_the_keys_that_programs_rely_on(planner: User) -> None:
    shown = planner.json("plan", "job.yaml")
    assert set(shown) >= PLAN
    assert shown["schema"] == "tunegate.plan/1"
    assert set(shown["data"]) >= DATA
    assert set(shown["data"]["class"]) == {"declared", "detected", "effective", "determination"}
    for candidate in shown["candidates"]:
        assert set(candidate) >= CANDIDATE
        assert set(candidate["estimate"]) >= ESTIMATE
        assert all(set(line) >= LINE for line in candidate["estimate"]["lines"])
        assert all(set(reason) >= REASON for reason in candidate["reasons"])
        total = candidate["estimate"]["total_usd"]
        assert total is None or all(MONEY.fullmatch(total[part]) for part in ("low", "likely", "high"))
        assert (candidate["translation"] is None) == (candidate["verdict"] == "unsupported")
    priced = [each for each in candidates(shown, "openai") if each["estimate"]["lines"]]
    assert priced


@pytest.mark.parametrize("columns", [80, 140])
def test_people_read_it_at_any_width(planner: User, columns: int) -> None:
    planner.columns = columns
    text = planner.outside("plan", "job.yaml").stdout
    assert max(map(len, text.splitlines())) <= columns
    for word in ("40 of 40 rows", "class: public", "openai", "gpt-4.1-mini", "verdict", "nothing can run"):
        assert word in text


def test_a_candidate_is_named_in_full_on_a_narrow_terminal(planner: User) -> None:
    planner.columns = 80
    planner.spec(name="long.yaml", model="llama-3.1-8b-instruct")
    assert "bedrock  llama-3.1-8b-instruct " in planner.outside("plan", "long.yaml").stdout


def test_a_plan_without_a_choice_exits_0_and_with_check_as_run_would(planner: User) -> None:
    planner.tunegate("plan", "job.yaml")
    planner.tunegate("plan", "job.yaml", "--check", code=5)
    planner.spec(name="phi.yaml", **{"class": "phi"})
    assert "No BAA with" in planner.tunegate("plan", "phi.yaml", "--check", code=3).stdout


def test_denied_reasons_name_the_provider_as_people_do(planner: User) -> None:
    planner.spec("route: {backends: [bedrock]}\n", name="phi.yaml", model="nova-micro", **{"class": "phi"})
    explained = planner.json("policy", "explain", "phi.yaml")
    texts = [ground["reason"] for each in explained for ground in each["grounds"]]
    assert "No BAA with Amazon Bedrock on file" in texts
    assert "Amazon Bedrock" in planner.tunegate("policy", "explain", "phi.yaml").stdout


def test_a_job_that_may_end_too_late_is_allowed_and_not_chosen(user: User, tiny: Path) -> None:
    user.chats("data.jsonl", easy_rows(400))
    user.spec("route: {backends: [local], deadline: 1m}\nhyperparameters: {epochs: 50}\n", model=str(tiny))
    shown = user.json("plan", "job.yaml")
    assert not shown["candidates"][0]["selectable"]
    assert shown["chosen"] is None
    assert "past_deadline" in {reason["code"] for reason in shown["candidates"][0]["reasons"]}
    user.tunegate("plan", "job.yaml", "--check", code=5)


def test_the_day_of_a_closing_is_the_last_day_it_works(planner: User) -> None:
    planner.write(
        "tunegate.toml",
        '[[attestations]]\nkind = "existing_account"\nbackend = "openai"\nsigned = 2026-01-01\n'
        'evidence = "console"\n',
    )

    def codes(day: str) -> set[str]:
        shown = planner.json("plan", "job.yaml", "--as-of", day)
        assert shown["as_of"] == day
        return {reason["code"] for each in candidates(shown, "openai") for reason in each["reasons"]}

    assert "training_sunset" in codes("2027-01-06")
    assert "training_ended" not in codes("2027-01-06")
    assert "training_ended" in codes("2027-01-07")


def test_without_the_agreement_a_closed_door_says_which_one_it_needs(planner: User) -> None:
    shown = planner.json("plan", "job.yaml", "--as-of", "2027-01-06")
    texts = [reason["text"] for each in candidates(shown, "openai") for reason in each["reasons"]]
    assert any("`existing_account`" in text for text in texts)


def test_the_exact_requests_can_be_read_without_any_row(planner: User) -> None:
    shown = json.loads(planner.tunegate("plan", "job.yaml", "--show-translation", "openai").stdout)
    for translation in shown.values():
        assert translation["requests"]
        assert {field["action"] for field in translation["fields"]} <= {"kept", "changed", "refused"}
    assert "knee" not in json.dumps(shown)
    planner.tunegate("plan", "job.yaml", "--show-translation", "nowhere", code=2)


def test_paid_dispatch_needs_a_yes(planner: User) -> None:
    """Nothing can be paid for yet: `run` ends where the plan does, and spends nothing."""
    told = planner.tunegate("run", "job.yaml", code=5).stderr
    assert "error:" in told
    assert planner.json("jobs", "list") == []
    assert "tunegate run" in planner.tunegate("jobs", "list").stderr


@pytest.mark.parametrize(
    ("row", "told", "near"),
    [
        (
            'kind = "baa"\nbackend = "bedrok"',
            "attestations[1].backend: no backend is called 'bedrok'",
            "bedrock",
        ),
        (
            'kind = "baaa"\nbackend = "bedrock"',
            "attestations[1].kind: no fact and no rule asks for 'baaa'",
            "baa",
        ),
    ],
)
def test_a_mistyped_agreement_stops_the_plan_and_is_not_left_out(
    planner: User, row: str, told: str, near: str
) -> None:
    planner.write("tunegate.toml", f"[[attestations]]\n{row}\nsigned = 2026-01-01\n")
    said = planner.tunegate("plan", "job.yaml", code=2).stderr.replace("\n", " ")
    assert told in said
    assert f"did you mean '{near}'?" in said
    assert "tunegate.toml" in said


PERMIT_ALL = (
    '@id("ours.all")\n@reason("Everything may go anywhere.")\npermit (principal, action, resource);\n'
)


@pytest.mark.parametrize(
    ("sets", "told"),
    [
        ("[]", "the shipped `baseline` and `hipaa` rules are not in force"),
        ('["baseline"]', "the shipped `hipaa` rules are not in force"),
    ],
)
def test_going_without_a_shipped_set_is_said_wherever_its_answers_are_read(
    planner: User, sets: str, told: str
) -> None:
    planner.write("ours.cedar", PERMIT_ALL)
    planner.write("tunegate.toml", f'[policy]\nsets = {sets}\nfiles = ["ours.cedar"]\n')
    planner.spec(name="phi.yaml", **{"class": "phi"})
    shown = planner.json("plan", "phi.yaml")
    assert shown["rules"] == [*json.loads(sets), "ours.cedar"]
    assert all(each["verdict"] != "denied" for each in shown["candidates"])  # what has to be said
    last = planner.tunegate("plan", "phi.yaml").stdout.splitlines()[-1]
    assert last == told
    assert told in planner.tunegate("policy", "check").stderr


def test_the_usual_rules_need_no_warning(planner: User) -> None:
    assert planner.json("plan", "job.yaml")["rules"] == ["baseline", "hipaa"]
    assert "not in force" not in planner.tunegate("plan", "job.yaml").stdout
    assert "not in force" not in planner.tunegate("policy", "check").stderr


def test_the_name_a_provider_would_see_is_scanned_like_a_row(user: User) -> None:
    user.chats("rows.jsonl", easy_rows())
    spec = "version: 1\nname: {name}\nmodel: nova-micro\ndata: {{train: rows.jsonl, class: public}}\n"
    user.write("job.yaml", spec.format(name="patient-219-09-9999"))
    assert user.json("plan", "job.yaml")["data"]["class"]["effective"] != "public"
    user.write("job.yaml", spec.format(name="tickets"))
    assert user.json("plan", "job.yaml")["data"]["class"]["effective"] == "public"
