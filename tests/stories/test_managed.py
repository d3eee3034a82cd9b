"""Managed jobs from outside: the command line, the SDK and the stand-ins over real HTTP."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from gateway import Gateway, Sandbox
from tests.stories.conftest import CANARY, User, until

ATTESTED = (
    '[[attestations]]\nkind = "existing_account"\nbackend = "openai"\nsigned = 2026-01-01\nevidence = "x"\n'
)
MODELS = {"openai": "gpt-4.1-mini", "bedrock": "nova-micro", "vertex": "gemini-3.5-flash"}


def _rows(count: int = 60) -> list[tuple[str, str]]:
    return [(f"ticket {n} {CANARY} about {'ab'[n % 2]}", "left" if n % 2 else "right") for n in range(count)]


def _spec(user: User, backend: str = "openai", **data: Any) -> Path:
    user.chats("data.jsonl", _rows())
    user.write("tunegate.toml", ATTESTED)
    text = (
        f"hyperparameters: {{epochs: 1}}\nevaluate: {{metrics: [exact_match], max_output_tokens: 4}}\n"
        f"route: {{backends: [{backend}]}}\n"
    )
    given: dict[str, Any] = {"class": "internal", "test": 0.2, **data}
    return user.spec(text, model=MODELS[backend], **given)


@pytest.fixture
def box(user: User, tmp_path: Path) -> Iterator[Callable[..., Sandbox]]:
    """Starts a sandbox, and points the user's environment at it."""

    boxes: list[Sandbox] = []

    def start(**settings: Any) -> Sandbox:
        given: dict[str, Any] = {"only": ["openai", "bedrock"], "folder": tmp_path / "box", **settings}
        made = Sandbox(**given).start()
        user.env |= made.environment
        boxes.append(made)
        return made

    yield start
    for each in boxes:
        each.stop()


def test_a_managed_job_from_plan_to_record(user: User, box: Callable[..., Sandbox]) -> None:
    made = box()
    spec = _spec(user)
    there = set(user.folder.rglob("*"))
    shown = user.json("run", spec, "--yes")
    assert (shown["state"], shown["evaluation"]["status"]) == ("succeeded", "done")
    assert set(user.folder.rglob("*")) == there  # where the command runs, nothing is left
    assert shown["rehearsal"] == made.address.removeprefix("http://")
    assert (
        shown["metrics"]["tuned"]["exact_match"]["value"] > shown["metrics"]["base"]["exact_match"]["value"]
    )
    assert float(shown["actual_usd"]) >= 0
    assert shown["billed_tokens"] > 0
    events = user.tunegate("jobs", "events", shown["id"]).stdout
    assert "deleted at openai" in events
    result = user.tunegate("jobs", "show", shown["id"]).stdout
    assert "rehearsal (127.0.0.1:" in result
    assert "training cost $" in result
    assert "was a rehearsal" in (Path(shown["folder"]) / "model-card.md").read_text()
    kinds = user.tunegate("records", "show").stdout
    assert "deletion" in kinds
    user.tunegate("records", "verify")
    assert CANARY not in events + result + kinds + json.dumps(shown)


def test_uploads_are_kept_where_the_settings_say_so(user: User, box: Callable[..., Sandbox]) -> None:
    made = box()
    spec = _spec(user)
    user.write("tunegate.toml", ATTESTED + "\n[uploads]\nkeep = true\n")
    job = user.json("run", spec, "--yes")["id"]
    world = made._running.world  # pyright: ignore[reportPrivateUsage]
    assert len(world.all("openai.file")) >= 1
    assert "deletion" not in user.tunegate("records", "show").stdout
    user.tunegate("jobs", "purge", job, "--yes")
    assert not [each for each in world.all("openai.file") if each.get("purpose") == "fine-tune"]


def test_a_refused_dataset_fails_the_job_and_deletes_what_was_sent(
    user: User, box: Callable[..., Sandbox]
) -> None:
    box(reject_file=True)
    ran = user.tunegate("run", _spec(user), "--yes", "--json", code=6)
    shown = json.loads(ran.stdout)
    assert (shown["state"], shown["evaluation"]["status"]) == ("failed", "skipped")
    assert "deleted at openai" in user.tunegate("jobs", "events", shown["id"]).stdout


def test_another_attempt_is_a_new_paid_job_and_says_so(user: User, box: Callable[..., Sandbox]) -> None:
    box(fail=True)
    failed = json.loads(user.tunegate("run", _spec(user), "--yes", "--json", code=6).stdout)
    refused = user.tunegate("jobs", "resume", failed["id"], code=2).stderr
    assert "Pay for a new one" in refused
    user.tunegate("jobs", "resume", failed["id"], "--yes")
    until(lambda: user.json("jobs", "show", failed["id"])["state"] == "failed")
    again = user.json("jobs", "show", failed["id"])
    assert again["attempt"] == 2
    assert again["remote_id"] != failed["remote_id"]
    told = [event["text"] for event in user.json("jobs", "events", failed["id"])]
    assert any(f"paid for anew; the one that failed was {failed['remote_id']}" in text for text in told)


def test_a_free_deployment_is_made_for_the_comparison_shown_and_ended(
    user: User, box: Callable[..., Sandbox]
) -> None:
    box()
    shown = user.json("run", _spec(user, "bedrock"), "--yes")
    assert shown["evaluation"]["status"] == "done"
    [deployment] = shown["deployments"]
    assert (float(deployment["usd_per_hour"]), bool(deployment["callable_id"])) == (0, True)
    refused = user.tunegate("jobs", "purge", shown["id"], "--yes", code=2)
    assert "tunegate jobs undeploy" in refused.stderr
    user.tunegate("jobs", "undeploy", shown["id"])
    assert user.json("jobs", "show", shown["id"])["deployments"] == []


def test_deploying_shows_the_price_asks_and_then_compares(user: User, box: Callable[..., Sandbox]) -> None:
    box()
    shown = user.json("run", _spec(user, "bedrock", test=0), "--yes")
    assert shown["deployments"] == [], "nothing to compare, so nothing was deployed"
    asked = user.tunegate("jobs", "deploy", shown["id"], code=2).stderr
    assert "it costs nothing while nobody asks it" in asked
    user.tunegate("jobs", "deploy", shown["id"], "--yes", "--no-evaluate")
    [first] = user.json("jobs", "show", shown["id"])["deployments"]
    user.tunegate("jobs", "deploy", shown["id"], "--yes", "--no-evaluate")
    assert user.json("jobs", "show", shown["id"])["deployments"] == [first]


def test_a_model_that_answers_as_it_is_needs_no_deployment(user: User, box: Callable[..., Sandbox]) -> None:
    box()
    shown = user.json("run", _spec(user), "--yes")
    assert (
        "answers without a deployment" in user.tunegate("jobs", "deploy", shown["id"], "--yes", code=5).stderr
    )


def test_a_lost_reply_and_throttling_cost_no_second_job(user: User, box: Callable[..., Sandbox]) -> None:
    made = box(
        faults=[
            {"kind": "throttle", "times": 2, "seconds": 0.1},
            {"kind": "lose_reply", "operation": "*.createFile"},
        ]
    )
    shown = user.json("run", _spec(user), "--yes")
    assert shown["state"] == "succeeded"
    assert len(made._running.world.all("openai.job")) == 1  # pyright: ignore[reportPrivateUsage]


def test_the_command_prints_variables_and_runs_a_command_with_its_exit_code(user: User) -> None:
    ran = user.outside("sandbox", "--port", "0", "--only", "openai", "--", "sh", "-c", "env; exit 7", code=7)
    assert re.search(r"^OPENAI_BASE_URL=http://127\.0\.0\.1:\d+/openai/v1$", ran.stdout, re.MULTILINE)


def test_the_command_ends_by_ctrl_c_and_says_what_to_set(user: User) -> None:
    process = user.start("sandbox", "--port", "0", "--only", "openai")
    assert process.stdout is not None
    lines = [process.stdout.readline() for _ in range(2)]
    process.send_signal(2)
    process.communicate(timeout=30)
    assert process.returncode == 0
    assert all(re.fullmatch(r"export [A-Z_]+=\S+\n", line) for line in lines)


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (("--only", "nobody"), 2, "no backend is called"),
        (("--only", "local"), 5, "no stand-in"),
        (("--pace", "soon", "--only", "openai"), 2, "no pace"),
        (("--port", "0", "--only", "openai", "--", "no-such-command"), 2, "cannot be run"),
    ],
)
def test_a_sandbox_that_cannot_be_says_why(
    user: User, arguments: tuple[str, ...], code: int, words: str
) -> None:
    assert words in user.tunegate("sandbox", *arguments, code=code).stderr


def test_a_port_that_is_taken_is_told(user: User, box: Callable[..., Sandbox]) -> None:
    port = box().address.rpartition(":")[2]
    assert "cannot be used" in user.tunegate("sandbox", "--port", port, code=2).stderr


def test_the_sdk_rehearses_in_one_process(
    user: User, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    spec = _spec(user)
    with Sandbox(only=["openai"]) as made:
        for name, value in made.environment.items():
            monkeypatch.setenv(name, value)
        gateway = Gateway(config=user.folder / "tunegate.toml", home=user.home)
        job = gateway.run(spec).wait()
        assert (str(job.state), job.rehearsal) == ("succeeded", made.address.removeprefix("http://"))
        answer = gateway.complete(job.id, [("user", f"ticket 3 {CANARY} about b")])
        assert answer.text == "left"


def test_the_doctor_asks_when_told_to_and_shows_no_secret(user: User, box: Callable[..., Sandbox]) -> None:
    made = box()
    quiet = user.json("backends", "doctor", "openai", code=1)
    live = user.json("backends", "doctor", "openai", "--live", code=1)
    assert len(live) > len(quiet)
    assert made.environment["OPENAI_API_KEY"] not in json.dumps(live)
    assert {row["state"] for row in live[len(quiet) - 1 :]} & {"ok"}


def test_without_the_extra_the_sandbox_names_it(user: User) -> None:
    """As on a machine without it: the import fails, and the fix says what to install."""
    code = (
        "import sys; sys.modules['werkzeug'] = None; sys.modules['werkzeug.exceptions'] = None\n"
        "from gateway.cli.main import main; sys.argv = ['tunegate', 'sandbox']; sys.exit(main())"
    )
    ran = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=user.environment(), cwd=user.folder
    )
    assert ran.returncode == 5, ran.stderr
    assert "tunegate[sandbox]" in ran.stderr


def test_what_cannot_be_deployed_is_said_before_anybody_is_asked_to_pay(
    user: User, box: Callable[..., Sandbox]
) -> None:
    """No `--yes`, and no terminal: an exit of 2 would say that the question came first."""
    box(only=["vertex"])
    _spec(user, "vertex", test=0)
    text = "hyperparameters: {epochs: 1}\nroute: {backends: [vertex]}\n"
    shown = user.json("run", user.spec(text, model="qwen3-8b", **{"class": "internal"}), "--yes")
    assert shown["state"] == "succeeded"
    refused = user.tunegate("jobs", "deploy", shown["id"], code=5).stderr
    assert "need a GPU endpoint of yours" in refused
    assert "Model Garden" in refused
    assert "until you end that" not in refused
