"""After training: talking to the model, taking it away as one, and a result that keeps nothing quiet."""

from __future__ import annotations

import contextlib
import json
import os
import pty
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from io import StringIO
from pathlib import Path
from typing import Any
from unittest import mock

import pytest

from gateway import Gateway, PolicyDenied, Sandbox
from gateway.core.job import ChatMessage
from tests.stories.conftest import CANARY, Done, User

NO_EXPORT = """
@id("ours.stays-here") @reason("Models made of PHI stay where they were trained.") @fix("ask the officer")
forbid (principal, action == Action::"export", resource) when { context.data.class == Class::"phi" };
"""
ASK = "7 the knee"


def piped(user: User, text: str, *arguments: str, code: int = 0) -> subprocess.CompletedProcess[str]:
    with mock.patch.object(sys, "stdin", StringIO(text)):
        return user.tunegate(*arguments, code=code)


# -- chat ------------------------------------------------------------------------------------------


def test_a_piped_prompt_gets_the_answer_alone(finished: Done) -> None:
    job = finished.shown["id"]
    said = piped(finished.user, f"{ASK}\n", "jobs", "chat", job, "--max-tokens", "8").stdout
    whole = Gateway(home=finished.user.home).complete(job, [("user", ASK)], max_output_tokens=8)
    assert said == whole.text + "\n"


def test_the_base_answers_beside_it_when_asked(finished: Done) -> None:
    job = finished.shown["id"]
    said = piped(finished.user, ASK, "jobs", "chat", job, "--base", "--max-tokens", "4").stdout
    mine = Gateway(home=finished.user.home)
    base = mine.complete(finished.shown["model"], [("user", ASK)], max_output_tokens=4).text
    tuned = mine.complete(job, [("user", ASK)], max_output_tokens=4).text
    assert said == f"base: {base}\ntuned: {tuned}\n"
    assert base != tuned


def test_no_prompt_and_no_job_are_said(finished: Done) -> None:
    nothing = piped(finished.user, " \n", "jobs", "chat", finished.shown["id"], code=2)
    assert "no prompt on standard input" in nothing.stderr
    piped(finished.user, ASK, "jobs", "chat", "job_nowhere", code=2)


def test_a_chat_longer_than_the_model_is_refused_not_shortened_in_silence(finished: Done) -> None:
    told = piped(finished.user, "knee " * 400, "jobs", "chat", finished.shown["id"], code=6)
    assert "the model takes 256" in told.stderr
    assert "knee" not in told.stderr


def test_a_conversation_in_a_terminal(finished: Done) -> None:
    """A real terminal at the other end: two questions, the second knowing the first; then a new chat."""
    user, job = finished.user, finished.shown["id"]
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "gateway.cli", "jobs", "chat", job, "--max-tokens", "4"],
        cwd=user.folder,
        env=user.environment(),
        stdin=theirs,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    os.write(ours, f"{ASK}\n{ASK}\n/new\n{ASK}\n/what\n/exit\n".encode())
    out, err = process.communicate(timeout=90)
    os.close(ours)
    os.close(theirs)
    assert process.returncode == 0, err
    mine = Gateway(home=user.home).jobs.get(job)

    def answer(*turns: tuple[str, str]) -> str:
        chat = [ChatMessage(role, text) for role, text in turns]  # pyright: ignore[reportArgumentType]
        return "".join(mine.stream(chat, max_output_tokens=4))

    first = answer(("user", ASK))
    second = answer(("user", ASK), ("assistant", first), ("user", ASK))
    assert out == f"> {first}\n> {second}\n> > {first}\n> > "
    assert "a new chat" in err
    assert err.count("/exit or Ctrl-D ends") == 2


# -- merge -----------------------------------------------------------------------------------------


@pytest.fixture
def someone(finished: Done, tmp_path: Path) -> User:
    """A user whose home has the finished job, and an account that others do not count."""
    home = shutil.copytree(finished.user.home, tmp_path / "home")
    return User(finished.user.folder, home)


def test_a_merged_model_answers_alone_and_is_on_the_account(
    finished: Done, someone: User, tmp_path: Path
) -> None:
    user, job = someone, finished.shown["id"]
    out = tmp_path / "merged"
    told = user.tunegate("jobs", "merge", job, "--out", out)
    assert "its logits, read back" in told.stderr
    mine = Gateway(home=user.home)
    alone = mine.complete(str(out), [("user", ASK)], max_output_tokens=8).text
    assert alone == mine.complete(job, [("user", ASK)], max_output_tokens=8).text
    card = (out / "README.md").read_text(encoding="utf-8")
    assert "library_name: transformers" in card
    assert "merged into one model" in card
    assert "Inherits class phi" in card
    assert not any(CANARY.encode() in path.read_bytes() for path in out.iterdir())
    last = user.tunegate("records", "show").stdout.splitlines()[-1].split()
    said = json.loads(user.tunegate("records", "show", last[0]).stdout)
    assert '"what": "export"' in json.dumps(said)
    user.tunegate("records", "verify")
    again = user.tunegate("jobs", "merge", job, "--out", out, code=2)
    assert "nothing is written over" in again.stderr


def test_the_gate_is_asked_before_a_model_leaves(finished: Done, someone: User, tmp_path: Path) -> None:
    (tmp_path / "ours.cedar").write_text(NO_EXPORT, encoding="utf-8")
    settings = tmp_path / "tunegate.toml"
    settings.write_text('[policy]\nfiles = ["ours.cedar"]\n', encoding="utf-8")
    strict = Gateway(home=someone.home, config=settings)
    with pytest.raises(PolicyDenied, match="stay where they were trained"):
        strict.jobs.get(finished.shown["id"]).merge(tmp_path / "out")
    assert not (tmp_path / "out").exists()
    assert strict.complete(finished.shown["id"], [("user", ASK)], max_output_tokens=2).output_tokens


# -- the result ------------------------------------------------------------------------------------


def test_a_result_says_how_tuned_stands_to_its_base_and_on_which_lines_it_is_worse(finished: Done) -> None:
    shown = finished.shown["evaluation"]
    assert shown["conclusion"] in ("better", "worse", "mixed", "unclear")
    assert shown["verdicts"]["general_answers"] == "too_small"  # a model of two layers knows no capitals
    assert {each["label"] for each in shown["classes"]} == {"A", "B"}
    text = finished.user.tunegate("jobs", "show", finished.shown["id"]).stdout
    assert "general_answers" in text
    assert "too small to tell" in text
    assert "A (line " in text
    assert not {"even", "odd"} & set(text.split())


def test_classes_have_their_words_on_request_and_in_no_file(finished: Done) -> None:
    user, job = finished.user, finished.shown["id"]
    text = user.tunegate("jobs", "show", job, "--labels").stdout
    assert {"even", "odd"} <= set(text.split())
    kept = json.dumps(user.json("jobs", "show", job, "--labels"))
    assert not {"even", "odd"} & set(kept.split())


def test_the_general_questions_can_be_left_out(finished: Done) -> None:
    """The spec decides; nothing is asked twice."""
    from gateway.core.spec import Evaluate

    assert Evaluate().general == "auto"
    mine = Gateway(home=finished.user.home)
    job = mine.jobs.get(finished.shown["id"])
    stored: dict[str, Any] = job._job.spec["spec"]  # pyright: ignore[reportPrivateUsage]
    stored["evaluate"] = {**stored["evaluate"], "general": False}
    assert set(job.evaluate()["metrics"]["tuned"]) == {"exact_match"}


@pytest.mark.slow
def test_a_preference_job_is_measured_by_what_the_model_prefers(user: User, tiny: Path) -> None:
    rows = [
        {
            "input": {"messages": [{"role": "user", "content": f"{number} the knee"}]},
            "preferred_output": [{"role": "assistant", "content": "better"}],
            "non_preferred_output": [{"role": "assistant", "content": "worse pain"}],
        }
        for number in range(40)
    ]
    user.write("data.jsonl", "".join(f"{json.dumps(row)}\n" for row in rows))
    text = (
        "task: dpo\nhyperparameters: {epochs: 2, batch_size: 8, learning_rate: 1e-2}\n"
        "evaluate: {metrics: [token_f1], max_output_tokens: 4, general: false}\nroute: {backends: [local]}\n"
    )
    shown = user.json("run", user.spec(text, model=str(tiny), test=0.3))
    metrics = shown["metrics"]
    assert metrics["tuned"]["preference"]["value"] == 1.0
    assert metrics["tuned"]["preference"]["n"] == shown["evaluation"]["rows"]
    assert set(metrics["tuned"]) == {"token_f1", "preference", "preference_per_token"}
    assert "preference" in user.tunegate("jobs", "show", shown["id"]).stdout


# -- managed ---------------------------------------------------------------------------------------


@pytest.fixture
def managed(user: User, tmp_path: Path) -> Iterator[Callable[[], tuple[str, Sandbox]]]:
    """A managed job that has ended, at a stand-in."""
    with contextlib.ExitStack() as stack:

        def run() -> tuple[str, Sandbox]:
            box = Sandbox(only=["openai"], folder=tmp_path / "box").start()
            stack.callback(box.stop)
            user.env |= box.environment
            user.write(
                "tunegate.toml",
                '[[attestations]]\nkind = "existing_account"\nbackend = "openai"\nsigned = 2026-01-01\n'
                'evidence = "x"\n',
            )
            user.chats("data.jsonl", [(f"ticket {n}", "ab"[n % 2]) for n in range(60)])
            text = "evaluate: {metrics: [exact_match], max_output_tokens: 4}\nroute: {backends: [openai]}\n"
            spec = user.spec(text, model="gpt-4.1-mini", test=0.2, **{"class": "internal"})
            return user.json("run", spec, "--yes")["id"], box

        yield run


def test_chatting_with_a_managed_model_passes_the_gate_with_what_was_typed(
    user: User, managed: Callable[[], tuple[str, Sandbox]]
) -> None:
    job, _ = managed()
    shown = user.json("jobs", "show", job)
    assert set(shown["metrics"]["tuned"]) == {"exact_match"}  # our questions cost tokens there: off
    assert piped(user, "ticket 9", "jobs", "chat", job).stdout.strip()
    typed = "Patient Maria Castellano, MRN 48813377, born 04/12/1957, has diabetes."
    refused = piped(user, typed, "jobs", "chat", job, code=3)
    assert "denied" in refused.stderr
    assert "Castellano" not in refused.stderr + refused.stdout
    away = user.tunegate("jobs", "merge", job, "--out", user.folder / "out", code=5)
    assert "merge" in away.stderr
