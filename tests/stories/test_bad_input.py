"""What goes wrong with what people bring: each has its exit code, place, reason and next step."""

from __future__ import annotations

import gzip
import json
import resource
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from tests.stories.conftest import CANARY, User, easy_rows, training_spec


def chat(*turns: tuple[str, str]) -> str:
    return json.dumps({"messages": [{"role": role, "content": content} for role, content in turns]})


GOOD = [chat(("user", f"question {number}"), ("assistant", f"answer {number}")) for number in range(30)]


def lines(*wrong: str) -> bytes:
    """Thirty good rows with the wrong ones from line 17 on."""
    return "".join(f"{line}\n" for line in (*GOOD[:16], *wrong, *GOOD[16:])).encode()


UNREADABLE = {
    "empty": (b"", "empty", "at least one row"),
    "binary": (bytes(range(256)) * 40, "binary", ".jsonl, .csv or .parquet"),
    "utf-16": (f"{CANARY}\n".encode("utf-16"), "UTF-16", "save it as UTF-8"),
    "cut-off gzip": (gzip.compress(lines())[:-20], "cannot be read to its end", "copy it again"),
    "no format we know": (json.dumps({"what": CANARY}).encode(), "format of these rows", "data.columns"),
    "no usable row": (chat(("user", CANARY)).encode(), "no_assistant × 1", "end it with the answer"),
}


@pytest.mark.parametrize("name", UNREADABLE)
def test_a_file_that_cannot_be_used_ends_in_its_place_reason_and_next_step(user: User, name: str) -> None:
    content, reason, fix = UNREADABLE[name]
    user.write("data.jsonl", content)
    user.spec("route: {backends: [openai]}\n")
    ended = user.tunegate("plan", "job.yaml", code=2)
    assert ended.stdout == ""
    assert "data.jsonl" in ended.stderr
    assert reason in ended.stderr
    assert "→" in ended.stderr
    assert fix in ended.stderr
    assert CANARY not in ended.stderr


@pytest.mark.parametrize(
    ("header", "message"), [("a,b,a", "column `a` appears twice"), (f"{CANARY} x,b,{CANARY} x", "a column")]
)
def test_a_column_that_appears_twice_is_named_unless_it_may_be_data(
    user: User, header: str, message: str
) -> None:
    user.write("data.csv", f"{header}\n1,2,3\n".encode())
    user.spec(train="data.csv")
    told = user.tunegate("plan", "job.yaml", code=2).stderr
    assert "data.csv, line 1" in told
    assert message in told
    assert "columns 1 and 3" in told
    assert "→ rename or remove one" in told
    assert CANARY not in told


def test_a_file_that_is_not_there(user: User) -> None:
    user.spec(train="nothing.jsonl")
    ended = user.tunegate("plan", "job.yaml", code=2)
    assert "nothing.jsonl" in ended.stderr
    assert "→" in ended.stderr


def test_a_folder_where_a_file_should_be(user: User) -> None:
    (user.folder / "data.jsonl").mkdir()
    user.spec()
    assert "folder" in user.tunegate("plan", "job.yaml", code=2).stderr


def test_an_address_that_was_not_fetched(user: User) -> None:
    user.spec(train="https://example.org/notes.jsonl")
    assert "tunegate data fetch" in user.tunegate("plan", "job.yaml", code=2).stderr


@pytest.mark.parametrize(
    "content",
    [b"\xef\xbb\xbf" + lines(), lines().replace(b"\n", b"\r\n"), gzip.compress(lines())],
    ids=["BOM", "CRLF", "gzip"],
)
def test_files_as_other_programs_write_them_are_read(user: User, content: bytes) -> None:
    user.write("data.jsonl.gz" if content[:2] == b"\x1f\x8b" else "data.jsonl", content)
    user.spec("route: {backends: [openai]}\n", train="data.jsonl*")
    assert user.json("plan", "job.yaml")["data"]["used"] == 30


WRONG_ROWS = {
    "invalid JSON": (f'{{"messages": [{{"{CANARY}', "bad_json", "valid JSON"),
    "roles in the wrong order": (chat(("assistant", CANARY), ("user", CANARY)), "roles_order", "reorder"),
    "assistant missing": (chat(("user", CANARY)), "no_assistant", "the answer to learn"),
    "empty completion": (chat(("user", CANARY), ("assistant", "")), "empty_completion", "fill it in"),
    "a line of 50 MB": (chat(("user", CANARY * 2_400_000), ("assistant", "a")), "", "line 17"),
}


@pytest.mark.parametrize("name", WRONG_ROWS)
def test_a_wrong_row_is_refused_counted_and_named(user: User, name: str) -> None:
    wrong, code, fix = WRONG_ROWS[name]
    user.write("data.jsonl", lines(wrong))
    user.spec("route: {backends: [openai]}\n")
    planned = user.json("plan", "job.yaml")["data"]
    assert (planned["rows"], planned["used"]) == (31, 30)
    assert sum(planned["refused"].values()) == 1
    found = user.tunegate("data", "check", "job.yaml", code=1)
    assert "data.jsonl, line 17" in found.stdout
    assert code in found.stdout
    assert fix in found.stdout
    assert CANARY not in found.stdout + found.stderr


def test_nan_in_a_column_is_refused_by_line_and_column(user: User) -> None:
    user.write("data.csv", f"question,answer\n{CANARY},a\nb,NaN\nc,\nd,e\n")
    user.spec(
        "route: {backends: [openai]}\n",
        train="data.csv",
        columns={"prompt": "question", "completion": "answer"},
    )
    report = user.json("data", "check", "job.yaml", code=1)
    assert report["rows"] == report["used"] + sum(report["refused"].values()) == 4
    assert {problem["first"]["line"] for problem in report["problems"]} <= {3, 4}
    assert CANARY not in json.dumps(report)


def test_five_mistakes_in_a_spec_are_told_at_once_each_with_its_line(user: User) -> None:
    user.write(
        "job.yaml",
        "version: 1\n"
        "name: Five Mistakes\n"
        "modle: gpt-4.1-mini\n"
        "data:\n"
        "  train: data.jsonl\n"
        "  class: secret\n"
        "  colums: {prompt: a}\n"
        "hyperparameters: {epochs: 0}\n",
    )
    told = user.tunegate("plan", "job.yaml", code=2).stderr
    for line, word in ((2, "name"), (3, "modle"), (6, "class"), (7, "colums"), (8, "epochs")):
        assert f"line {line}: " in told
        assert word in told
    assert "did you mean" in told
    assert "model" in told


def test_options_of_a_backend_are_held_to_its_own_language(user: User) -> None:
    user.write("data.jsonl", lines())
    user.spec("route: {backends: [bedrock]}\noptions: {bedrock: {role_arm: x}}\n")
    assert "options.bedrock.role_arm" in user.tunegate("plan", "job.yaml", code=2).stderr


def test_a_model_that_nobody_offers(user: User) -> None:
    user.write("data.jsonl", lines())
    user.spec(model="no-such-model")
    assert "no-such-model" in user.tunegate("plan", "job.yaml").stdout
    ended = user.tunegate("run", "job.yaml", code=5)
    assert "no-such-model" in ended.stderr
    assert "→" in ended.stderr


def test_a_backend_that_nobody_registered(user: User) -> None:
    user.write("data.jsonl", lines())
    user.spec("route: {backends: [nowhere]}\n")
    assert "the registered ones are" in user.tunegate("plan", "job.yaml", code=2).stderr


@pytest.mark.parametrize("where", ["--config", "--home"])
def test_places_that_cannot_be_used(user: User, where: str) -> None:
    user.write("file", "team = ")
    ended = user.tunegate(where, "file", "jobs", "list", code=2)
    assert "file" in ended.stderr
    assert "error:" in ended.stderr


def test_a_store_that_cannot_be_opened(user: User) -> None:
    user.write("tunegate.toml", 'store = "sqlite:////dev/null/jobs.db"\n')
    ended = user.tunegate("jobs", "list", code=6)
    assert "/dev/null" in ended.stderr
    assert "→" in ended.stderr


def test_a_full_disk_fails_the_job_and_leaves_no_half_file(user: User, tiny: Path) -> None:
    rows = [(f"{question} {CANARY} {'word ' * 10}", answer) for question, answer in easy_rows(1500)]
    user.chats("data.jsonl", rows)
    spec = training_spec(user, tiny)
    user.tunegate("jobs", "list")  # makes the store, which may grow no more below

    def small_files() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (150_000, 150_000))

    process = subprocess.run(
        [sys.executable, "-m", "gateway.cli", "run", str(spec)],
        cwd=user.folder, env=user.environment(), capture_output=True, text=True, check=False,
        preexec_fn=small_files, timeout=90,
    )  # fmt: skip
    assert process.returncode in (2, 6), process.stderr
    assert "full" in process.stderr
    assert "→" in process.stderr
    assert "Traceback" not in process.stderr
    assert CANARY not in process.stdout + process.stderr
    assert not [path for path in user.files() if path.suffix == ".jsonl" and "data" in path.parts]


def test_a_closed_port_is_told_as_such(user: User) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    ended = user.tunegate("data", "fetch", f"http://127.0.0.1:{port}/notes.jsonl", code=2)
    assert "127.0.0.1" in ended.stderr
    assert not list(user.folder.iterdir())


def test_usage_errors_exit_2_and_name_the_help(user: User) -> None:
    assert "Usage" in user.tunegate("plan", code=2).stderr
    assert user.tunegate("plan", "job.yaml", "--as-of", "tomorrow", code=2)
    assert "job_unknown" in user.tunegate("jobs", "show", "job_unknown", code=2).stderr
    user.write("data.jsonl", lines())
    user.spec()
    assert "offers none" in user.tunegate("data", "show", "job.yaml", code=2).stderr
