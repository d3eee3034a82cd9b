"""One run from its command to its record, and what can be asked of it afterwards."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from gateway import Gateway, JobSpec, Plan
from gateway.core.errors import PolicyDenied, TunegateError
from tests.stories.conftest import CANARY, Done, User, easy_rows, long_spec, training_spec, until

RUN_KEYS = {
    "id", "state", "raw_state", "backend", "model", "region", "offer", "remote_id", "created_at",
    "updated_at", "estimate_usd", "actual_usd", "metrics", "evaluation", "artifacts", "record",
}  # fmt: skip


def test_a_run_ends_trained_compared_and_recorded(finished: Done) -> None:
    shown = finished.shown
    assert set(shown) >= RUN_KEYS
    assert shown["schema"] == "tunegate.job/1"
    assert (shown["state"], shown["evaluation"]["status"]) == ("succeeded", "done")
    assert set(shown["metrics"]) == {"base", "tuned", "difference"}
    assert shown["metrics"]["tuned"]["exact_match"]["n"] == shown["evaluation"]["rows"] > 0
    assert shown["estimate_usd"] is None  # one's own hardware: not priced, never zero


def test_without_a_terminal_every_phase_is_told_on_stderr_alone(finished: Done) -> None:
    phases = [line.split("  ")[1] for line in finished.err.splitlines() if line.startswith("job_")]
    assert phases[0] == "staging"
    assert [phase for phase in phases if phase in ("running", "evaluating", "succeeded")] == [
        "running", "evaluating", "succeeded",
    ]  # fmt: skip
    assert json.loads(finished.out)["id"] == finished.shown["id"]


def test_no_warning_of_one_library_about_another_is_shown(finished: Done) -> None:
    assert "Warning" not in finished.err


def test_the_data_stands_nowhere_but_where_the_job_keeps_its_data(finished: Done) -> None:
    assert CANARY not in finished.out + finished.err
    job = finished.shown["id"]
    holding = {path for path in finished.user.files() if CANARY.encode() in path.read_bytes()}
    kept = finished.user.home / "jobs" / job / "data"
    assert holding
    assert {path.parent for path in holding} == {kept}


def test_jobs_show_events_logs_and_artifacts(finished: Done) -> None:
    user, job = finished.user, finished.shown["id"]
    assert job in user.tunegate("jobs", "list").stdout
    assert user.json("jobs", "show", job) == finished.shown
    text = user.tunegate("jobs", "show", job).stdout
    assert "succeeded" in text
    assert "exact_match" in text
    states = [event["data"].get("state") for event in user.json("jobs", "events", job)]
    assert states.index("running") < states.index("succeeded")
    assert user.tunegate("jobs", "events", job).stdout
    assert user.tunegate("jobs", "logs", job, "--lines", "5")
    kinds = {artifact["kind"]: artifact for artifact in user.json("jobs", "artifacts", job)}
    assert {"adapter", "metrics", "log", "plan", "model_card"} <= set(kinds)
    for artifact in kinds.values():
        assert Path(artifact["uri"]).exists()


def test_how_long_it_took_stands_beside_the_estimate_and_the_next_plan_says_so(finished: Done) -> None:
    told = finished.user.json("cost", "accuracy")
    (job,) = [each for each in told["jobs"] if each["job"] == finished.shown["id"]]
    assert float(job["estimated_h"]) > 0
    assert float(job["actual_h"]) > 0
    (local,) = [each for each in told["backends"] if each["backend"] == "local"]
    assert local["time_ratio"] > 0
    assert local["cost_ratio"] is None  # one's own machine without an entered price
    plan = finished.user.json("plan", "job.yaml")
    reasons = [r for c in plan["candidates"] if c["backend"] == "local" for r in c["reasons"]]
    assert any(r["code"] == "past_jobs" and "the estimated time" in r["text"] for r in reasons)


def test_what_is_left_names_base_data_decision_and_libraries(finished: Done) -> None:
    user, job = finished.user, finished.shown["id"]
    folder = user.home / "jobs" / job
    plan = json.loads((folder / "plan.json").read_text())
    card = (folder / "model-card.md").read_text()
    assert plan["data"]["hash"][:12] in card
    adapter = next(a["uri"] for a in finished.shown["artifacts"] if a["kind"] == "adapter")
    assert (Path(adapter) / "README.md").read_text() == card
    result = user.tunegate("records", "show", "4").stdout
    assert json.loads((Path(adapter) / "tunegate.json").read_text())["base"] in result
    assert plan["data"]["hash"] in result
    assert '"torch"' in result


def test_the_records_verify_and_an_edited_one_does_not(finished: Done, tmp_path: Path) -> None:
    user = finished.user
    assert user.json("records", "verify")["ok"] is True
    listed = user.tunegate("records", "show").stdout
    for kind in ("scan", "decision", "dispatch", "training_result"):
        assert kind in listed
    head = user.tunegate("records", "export", "--out", tmp_path / "records.jsonl").stdout.strip()
    assert len((tmp_path / "records.jsonl").read_text().splitlines()) == 1 + 4
    against = user.tunegate("records", "verify", "--against", head)
    assert (against.stdout, "--against" in against.stderr) == ("", False)
    alone = user.tunegate("records", "verify")
    assert alone.stdout.strip() == head
    assert "a cut tail shows only against a head" in alone.stderr
    copy = tmp_path / "copy"
    subprocess.run(["cp", "-r", user.home, copy], check=True)
    first = min((copy / "records").rglob("*.json"))
    first.write_text(first.read_text().replace("a", "b", 1))
    told = User(user.folder, copy).tunegate("records", "verify", code=1)
    assert "NOT intact" in told.stderr
    assert head not in told.stdout


def test_the_adapter_answers_in_plain_peft_as_through_the_gateway(finished: Done) -> None:
    user, job = finished.user, finished.shown["id"]
    gateway = Gateway(home=user.home)
    asked = [("user", "4 in the")]
    answer = gateway.complete(job, asked, max_output_tokens=6).text
    adapter = next(a["uri"] for a in finished.shown["artifacts"] if a["kind"] == "adapter")
    code = (
        "import sys; from peft import AutoPeftModelForCausalLM; from transformers import AutoTokenizer\n"
        "adapter, base, question = sys.argv[1:]\n"
        "tokenizer = AutoTokenizer.from_pretrained(base)\n"
        "model = AutoPeftModelForCausalLM.from_pretrained(adapter).eval()\n"
        "chat = [{'role': 'user', 'content': question}]\n"
        "ids = tokenizer.apply_chat_template(chat, add_generation_prompt=True, return_tensors='pt',"
        " return_dict=True)\n"
        "new = model.generate(**ids, max_new_tokens=6, do_sample=False)[0, ids['input_ids'].shape[1]:]\n"
        "print(tokenizer.decode(new, skip_special_tokens=True), end='')"
    )
    ran = subprocess.run(
        [sys.executable, "-c", code, adapter, finished.shown["model"], "4 in the"],
        capture_output=True, text=True, check=True, env=user.environment(),
    )  # fmt: skip
    assert ran.stdout == answer
    assert "".join(gateway.stream(job, asked, max_output_tokens=6)) == answer


def test_an_adapter_named_by_its_callable_id_is_asked_about_as_the_job_it_came_from(
    finished: Done, tmp_path: Path
) -> None:
    user = finished.user
    rule = user.write(
        "closed.cedar",
        '@id("house.no-phi-answers")\n@reason("No answers from models trained on PHI.")\n'
        '@citation("House rule")\n@fix("Ask another model.")\n'
        'forbid (principal, action == Action::"infer", resource)\n'
        'when { context.data.class == Class::"phi" && context.data.scanned };\n',
    )
    settings = tmp_path / "closed.toml"
    settings.write_text(f'[policy]\nfiles = ["{rule}"]\n')
    gateway = Gateway(config=settings, home=user.home)
    ref = next(a["callable_id"] for a in finished.shown["artifacts"] if a["callable_id"])
    for name in (finished.shown["id"], ref):
        with pytest.raises(PolicyDenied, match="No answers from models trained on PHI"):
            gateway.complete(name, [("user", "hello")], max_output_tokens=2)


@pytest.mark.slow
def test_detach_returns_once_the_backend_has_it_and_the_job_ends_by_itself(user: User, tiny: Path) -> None:
    spec = training_spec(user, tiny)
    told = user.tunegate("run", spec, "--detach").stderr
    job = next(line.split(": ")[1] for line in told.splitlines() if "goes on without" in line)
    # The supervisor's own hand-over evaluates and records: nobody of ours looks but at the records.
    until(lambda: "training_result" in user.tunegate("records", "show").stdout)
    until(lambda: user.json("jobs", "show", job)["record"])
    shown = user.json("jobs", "show", job)
    assert (shown["state"], shown["evaluation"]["status"]) == ("succeeded", "done")


def test_a_cancelled_job_ends_cancelled(user: User, tiny: Path) -> None:
    job = user.json("run", long_spec(user, tiny), "--detach")["id"]
    assert "cannot be purged" in user.tunegate("jobs", "purge", job, "--yes", code=2).stderr
    user.tunegate("jobs", "cancel", job)
    until(lambda: user.json("jobs", "show", job)["record"])
    user.tunegate("jobs", "cancel", job)  # on one that has ended: no error
    shown = user.json("jobs", "show", job)
    assert (shown["state"], shown["evaluation"]["status"]) == ("cancelled", "skipped")
    assert "cancelled" in user.tunegate("jobs", "resume", job, code=2).stderr


def test_purging_deletes_what_a_job_left_and_keeps_the_account(user: User, tiny: Path) -> None:
    job = user.json("run", long_spec(user, tiny), "--detach")["id"]
    user.tunegate("jobs", "cancel", job)
    until(lambda: user.json("jobs", "show", job)["record"])
    told = user.tunegate("jobs", "purge", job, code=2).stderr  # nobody is here to ask
    assert "--yes" in told
    assert (user.home / "jobs" / job / "data").exists()
    user.tunegate("jobs", "purge", job, "--yes")
    assert not (user.home / "jobs" / job).exists()
    assert user.json("jobs", "artifacts", job) == []
    assert "purged" in user.tunegate("jobs", "events", job).stdout
    assert user.json("records", "verify")["ok"] is True


def test_a_failed_job_keeps_its_error_its_class_and_its_exit_code(user: User, tiny: Path) -> None:
    spec = training_spec(user, tiny)
    gateway = Gateway(home=user.home)
    job = gateway.dispatch(*_planned(gateway, spec))
    user.chats(
        "data.jsonl", [(question, "other") for question, _ in easy_rows()]
    )  # what was planned is no longer there
    job.wait()
    assert job.phase == "failed"
    with pytest.raises(TunegateError) as caught:
        job.raise_if_failed()
    assert caught.value.exit_code == 2
    assert "plan and run again" in str(caught.value)
    assert "plan and run again" in user.tunegate("jobs", "show", job.id).stdout


def test_what_the_plan_allows_is_asked_again_before_anything_is_sent(user: User, tiny: Path) -> None:
    spec = training_spec(user, tiny)
    rule = user.write(
        "uploads.cedar",
        '@id("house.no-uploads")\n@reason("Nothing is staged on Sundays.")\n@citation("House rule")\n'
        '@fix("Wait for Monday.")\nforbid (principal, action == Action::"upload", resource);\n',
    )
    user.write("tunegate.toml", f'[policy]\nfiles = ["{rule.name}"]\n')
    ended = user.tunegate("run", spec, code=3)
    assert "Nothing is staged on Sundays" in ended.stderr
    assert "Wait for Monday" in ended.stderr
    assert user.json("jobs", "list")[0]["state"] == "failed"
    assert not list(user.home.glob("jobs/*/training-*"))


def test_a_plan_that_policy_denies_makes_no_job(user: User) -> None:
    user.chats("data.jsonl", easy_rows())
    spec = user.spec("route: {backends: [bedrock]}\n", model="nova-micro", **{"class": "phi"})
    told = user.tunegate("run", spec, "--yes", code=3).stderr
    assert "→" in told
    assert user.json("jobs", "list") == []


def _planned(gateway: Gateway, path: Path) -> tuple[JobSpec, Plan]:
    spec = JobSpec.from_yaml(path)
    return spec, gateway.plan(spec)


LONG_ROWS = [(f"{number} {' '.join(['pain'] * 40)}", "even") for number in range(40)]


def test_rows_that_are_all_too_long_are_told_before_a_job_is_made(user: User, tiny: Path) -> None:
    user.chats("data.jsonl", LONG_ROWS)
    spec = training_spec(user, tiny)
    spec.write_text(spec.read_text().replace("max_length: 128", "max_length: 16"))
    told = " ".join(user.tunegate("plan", spec).stdout.split())
    assert "40 of 40 rows are longer than 16 tokens, so none is left to train on" in told
    user.tunegate("run", spec, "--yes", code=5)
    assert user.json("jobs", "list") == []


def test_training_rows_that_are_all_too_long_end_the_job_as_the_datas_failure(user: User, tiny: Path) -> None:
    user.chats("data.jsonl", LONG_ROWS)
    user.chats("short.jsonl", easy_rows(5))
    spec = training_spec(user, tiny)
    text = spec.read_text().replace("max_length: 128", "max_length: 32")
    spec.write_text(text.replace('"test": 0.2', '"test": "short.jsonl"'))
    planned = user.json("plan", spec)["candidates"][0]
    assert (planned["verdict"], planned["reasons"][0]["code"]) == ("allowed", "rows_too_long")
    told = user.outside("run", spec, code=2).stderr
    assert "no row of the train split can be used" in told
    assert "max_length" in told.split("→")[-1]
    shown = user.json("jobs", "list")[0]
    error = user.json("jobs", "show", shown["id"])["error"]
    assert (error["code"], shown["state"]) == ("data", "failed")
    hinted = user.tunegate("jobs", "show", shown["id"]).stderr
    assert f"tunegate jobs events {shown['id']}" in hinted
    assert f"tunegate jobs resume {shown['id']}" in hinted


def test_how_long_training_took_stands_beside_what_was_planned(finished: Done) -> None:
    took = finished.shown["training_time"]
    assert took["actual_s"] > 0
    assert took["planned_s"]["low"] <= took["planned_s"]["likely"] <= took["planned_s"]["high"]
    text = finished.user.tunegate("jobs", "show", finished.shown["id"]).stdout
    assert "training took " in text
    assert "(planned " in text
