"""Every other command, as someone uses it who has a folder of files and no account anywhere."""

from __future__ import annotations

import hashlib
import json
import os
import pty
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from http.server import HTTPServer, SimpleHTTPRequestHandler
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from ruamel.yaml import YAML

from gateway.core.load import load_spec
from tests.stories.conftest import CANARY, User, easy_rows

ROOT = Path(__file__).parents[2]
EXAMPLES = sorted(ROOT.glob("examples/*/job.yaml"))
NOTE = "Patient: Maria Gonzalez, DOB 04/12/1961, SSN 219-09-9999, has diabetes mellitus and hypertension."


@pytest.fixture
def someone(user: User) -> User:
    user.chats("data.jsonl", easy_rows())
    user.spec()
    return user


# -- data ------------------------------------------------------------------------------------------


def test_data_check_is_0_for_good_data_and_counts_it(someone: User) -> None:
    assert someone.tunegate("data", "check", "job.yaml").stdout == "40 of 40 rows can be used\n"
    report = someone.json("data", "check", "job.yaml")
    assert (report["ok"], report["rows"], report["used"]) == (True, 40, 40)


def test_data_scan_finds_what_identifies_people_and_prints_none_of_it(user: User) -> None:
    user.chats("data.jsonl", [(NOTE, "ok"), ("the weather is fine", "ok")])
    user.spec()
    found = user.json("data", "scan", "job.yaml")
    assert {"schema", "records", "flagged", "bytes", "seconds", "class", "complete", "findings"} <= set(found)
    assert (found["records"], found["flagged"], found["class"]) == (2, 1, "phi")
    ssn = next(finding for finding in found["findings"] if finding["type"] == "ssn")
    assert NOTE[ssn["start"] : ssn["end"]] == "219-09-9999"
    assert (ssn["line"], ssn["field"]) == (1, "messages[0].content")
    told = json.dumps(found) + user.tunegate("data", "scan", "job.yaml").stdout
    assert not {"219-09-9999", "Gonzalez", "Maria"} & set(told.replace(",", " ").split())
    every = user.json("data", "scan", "job.yaml", "--all")
    assert len(every["findings"]) >= len(found["findings"])


def test_a_declared_class_is_raised_by_what_the_scan_finds(user: User) -> None:
    user.chats("data.jsonl", [(NOTE, "ok"), *easy_rows()])
    user.spec()
    shown = user.json("plan", "job.yaml")["data"]
    expected = {"declared": "public", "detected": "phi", "effective": "phi", "determination": None}
    assert shown["class"] == expected
    assert shown["findings"]["ssn"] == 1


def test_data_show_gives_the_text_as_the_model_sees_it(user: User, tiny: Path) -> None:
    user.chats("data.jsonl", [(f"where {CANARY}", "here")])
    user.spec(model=str(tiny))
    shown = user.tunegate("data", "show", "job.yaml", "-n", "1").stdout
    assert f"<|user|>where {CANARY}<|end|>" in shown.replace("\n", "")
    assert "<|assistant|>here<|end|>" in shown.replace("\n", "")


def test_data_convert_writes_what_a_backend_would_get(someone: User) -> None:
    told = someone.tunegate("data", "convert", "job.yaml", "--backend", "openai", "--to", "out").stderr
    written = list((someone.folder / "out").iterdir())
    assert len(written) == 1
    assert hashlib.sha256(written[0].read_bytes()).hexdigest()[:12] in told
    rows = [json.loads(line) for line in written[0].read_text().splitlines()]
    assert len(rows) == 40
    assert [turn["role"] for turn in rows[0]["messages"]] == ["user", "assistant"]


def test_data_convert_into_a_place_that_cannot_be_written(someone: User) -> None:
    someone.write("out", "a file")
    told = someone.tunegate("data", "convert", "job.yaml", "--backend", "openai", "--to", "out", code=2)
    assert "out" in told.stderr


@pytest.fixture
def server(tmp_path: Path) -> Iterator[str]:
    """A web server on this machine with one file."""
    (tmp_path / "web").mkdir()
    (tmp_path / "web" / "notes.jsonl").write_text('{"a": 1}\n')
    handler = partial(SimpleHTTPRequestHandler, directory=str(tmp_path / "web"))
    with HTTPServer(("127.0.0.1", 0), handler) as serving:
        threading.Thread(target=serving.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{serving.server_port}"
        serving.shutdown()


def test_data_fetch_brings_a_file_and_prints_where_it_is(user: User, server: str) -> None:
    path = user.tunegate("data", "fetch", f"{server}/notes.jsonl", "--to", "data").stdout.strip()
    assert (user.folder / path).read_text() == '{"a": 1}\n'
    user.tunegate("data", "fetch", f"{server}/nothing.jsonl", "--to", "data", code=2)
    assert len(list((user.folder / "data").iterdir())) == 1


# -- rules, prices, backends, models ---------------------------------------------------------------

CASES = """\
version: 1
as_of: 2026-11-22
cases:
  - name: PHI stays here without a BAA
    ask: {{backend: bedrock, kind: managed, class: phi, scanned: true, residency: us,
          handling: {{hipaa_eligible: true, hipaa_requires: [baa], trains_on_data: false}}}}
    expect: {expect}
"""


def test_policy_check_and_test(user: User) -> None:
    user.tunegate("policy", "check")
    wrong = user.write("wrong.cedar", "permit (principal, action, resource) when { context.nothing };")
    assert "wrong.cedar" in user.tunegate("policy", "check", wrong, code=1).stdout
    user.tunegate("policy", "test", user.write("right.yaml", CASES.format(expect="deny")))
    told = user.tunegate("policy", "test", user.write("other.yaml", CASES.format(expect="allow")), code=1)
    assert "WRONG" in told.stdout
    assert "hipaa.no-baa" in told.stdout


def test_the_table_that_the_help_shows_is_a_right_one(user: User) -> None:
    shown = user.tunegate("policy", "test", "--help").stdout
    table = shown[shown.index("   version:") : shown.index("╭")]
    told = user.tunegate("policy", "test", user.write("shown.yaml", table))
    assert told.stdout.count("ok") == 2


def test_policy_explain_with_nothing_denied_has_no_empty_table(someone: User) -> None:
    told = someone.tunegate("policy", "explain", "job.yaml")
    assert told.stdout == ""
    assert "no candidate is denied" in told.stderr


def test_a_policy_file_that_was_meant_and_is_not_there_stops_everything(someone: User) -> None:
    someone.write("tunegate.toml", '[policy]\nfiles = ["rules/*.cedar"]\n')
    assert "rules/*.cedar" in someone.tunegate("plan", "job.yaml", code=2).stderr


def test_prices_and_facts_have_source_age_and_confidence(user: User) -> None:
    for rows in (user.json("cost", "prices"), user.json("backends", "facts", "bedrock")):
        assert rows
        for row in rows:
            assert row["source"].startswith("http") or row["confidence"] in ("memory", "unknown"), row
            assert row["age_days"] is not None
    assert {row["backend"] for row in user.json("backends", "facts", "bedrock")} == {"bedrock"}
    prices = user.json("cost", "prices", "openai")
    wide = replace(user, columns=10_000)
    lines = wide.outside("cost", "prices", "openai").stdout.splitlines()
    assert len(lines) == 1 + len(prices)  # into a pipe, a price is one line
    narrow = user.outside("cost", "prices", "openai").stdout.splitlines()
    assert max(map(len, narrow)) <= 100  # unless COLUMNS says how wide that is
    assert prices[0]["source"] in lines[1]
    assert "bedrock" in user.tunegate("backends", "facts", "bedrock").stdout


def test_a_server_of_ones_own_is_told_where_its_models_are_stated(user: User) -> None:
    user.chats("data.jsonl", easy_rows(12))
    user.spec("route: {backends: [compatible]}\n", model="foo")
    (candidate,) = user.json("plan", "job.yaml")["candidates"]
    assert "options.compatible.models" in candidate["reasons"][0]["fix"]


@pytest.mark.parametrize("data_class", ["phi", "internal", "confidential"])
def test_a_starters_remarks_stand_below_each_other(user: User, data_class: str) -> None:
    user.chats("data.jsonl", easy_rows(12))
    user.tunegate("init", "--data", "data.jsonl", "--class", data_class)
    lines = (user.folder / "job.yaml").read_text().splitlines()
    remarks = [line.rindex("# ") for line in lines if line.startswith("  ") and "# " in line[4:]]
    assert (len(remarks), len(set(remarks))) == (4, 1)


def test_the_version_is_asked_for_alone(user: User) -> None:
    assert user.tunegate("--version").stdout.startswith("tunegate 0.")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no device that is always full")
@pytest.mark.parametrize("command", [("backends", "list"), ("cost", "prices", "--json"), ("--version",)])
def test_output_that_cannot_be_written_is_said(user: User, command: tuple[str, ...]) -> None:
    with Path("/dev/full").open("w") as full:
        ended = subprocess.run(
            [sys.executable, "-m", "gateway.cli", *command],
            cwd=user.folder,
            env=user.environment(),
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
    assert ended.returncode == 2, ended.stderr
    assert "not all there" in ended.stderr
    assert "bug" not in ended.stderr
    assert "Exception ignored" not in ended.stderr


def test_doctor_says_what_is_missing_and_how_to_get_it(user: User) -> None:
    rows = user.json("backends", "doctor", "bedrock", code=1)
    missing = {row["check"]: row["fix"] for row in rows if row["state"] == "missing"}
    assert "options.bedrock" in missing["options"]
    for kind in ("baa", "dpa"):
        assert (
            f'[[attestations]] to tunegate.toml, a line each: kind = "{kind}"'
            in missing[f"attestation {kind}"]
        )
    user.write(
        "tunegate.toml",
        '[options.bedrock]\nrole_arn = "arn:aws:iam::1:role/r"\noutput_uri = "s3://b/o"\n'
        '[[attestations]]\nkind = "baa"\nbackend = "bedrock"\nsigned = 2026-01-01\nexpires = 2999-01-01\n'
        'evidence = "x"\n',
    )
    told = replace(user, columns=10_000).tunegate("backends", "doctor", "bedrock", code=1).stdout
    assert told.count("where the paper is") == 1  # a sentence is told once
    assert 'likewise: kind = "qsoa", backend = "bedrock"' in told
    rows = user.json("backends", "doctor", "bedrock", code=1)
    left = {row["check"] for row in rows if row["state"] == "missing"}
    assert "attestation baa" not in left
    assert left - {"package", "dispatch"} == {"attestation dpa", "attestation qsoa"}
    own = user.json("backends", "doctor", "local")
    assert own[0]["state"] == "ok"
    assert not [row for row in own if row["check"].startswith("attestation")]


@pytest.mark.parametrize("command", [("backends", "facts"), ("backends", "doctor"), ("cost", "prices")])
def test_a_backend_nobody_knows_is_no_empty_table(user: User, command: tuple[str, str]) -> None:
    assert "the registered ones are" in user.tunegate(*command, "nowhere", code=2).stderr


def test_backends_and_models_are_listed_by_their_registry(user: User) -> None:
    from backends import registry

    assert [row["name"] for row in user.json("backends", "list")] == list(registry.names())
    assert "Amazon Bedrock" in user.tunegate("backends", "list").stdout
    names = {row["name"] for row in user.json("models", "list")}
    assert {"tunegate-demo", "nova-micro"} <= names
    assert "nova-micro" in user.tunegate("models", "list").stdout


def test_models_fetch_stays_offline_when_told_so(user: User) -> None:
    user.env["HF_HUB_OFFLINE"] = "1"
    told = user.outside("models", "fetch", "somebody/some-model", code=6).stderr
    assert "error: somebody/some-model: offline mode is set" in told
    assert "unset HF_HUB_OFFLINE to fetch" in told


# -- starting --------------------------------------------------------------------------------------


def test_init_by_flags_writes_a_spec_that_can_be_planned(user: User) -> None:
    user.write("notes.csv", "id,dialogue,summary\n" + "".join(f"{n},hello {n},bye {n}\n" for n in range(20)))
    told = user.tunegate("init", "--data", "notes.csv", "--to", "new", "--class", "internal")
    assert told.stdout.split() == ["new/job.yaml", "new/tunegate.toml"]
    spec = load_spec(user.folder / "new" / "job.yaml")
    assert spec.data.columns is not None
    assert (spec.data.columns.prompt, spec.data.columns.completion) == ("dialogue", "summary")
    assert user.json("data", "check", "new/job.yaml")["used"] == 20
    assert spec.model == ("tunegate-demo", "gpt-4.1-mini", "llama-3.1-8b-instruct")
    assert "--force" in user.tunegate("init", "--data", "notes.csv", "--to", "new", code=2).stderr
    assert "data class" in user.tunegate("init", "--class", "top-secret", "--to", "x", code=2).stderr


def test_init_asks_on_a_terminal(user: User) -> None:
    user.write("notes.csv", "a,b\nhello,bye\n")
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "gateway.cli", "init"],
        cwd=user.folder, env=user.environment(), stdin=theirs, stderr=theirs, stdout=subprocess.PIPE,
    )  # fmt: skip
    os.write(ours, b"notes.csv\na\nb\n")
    process.communicate(timeout=60)
    os.close(theirs)
    os.close(ours)
    assert process.returncode == 0
    spec = load_spec(user.folder / "job.yaml")
    assert spec.data.columns is not None
    assert (spec.data.train, spec.data.columns.prompt) == (("notes.csv",), "a")


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.parent.name)
def test_the_schema_for_editors_accepts_the_examples_and_refuses_a_wrong_key(user: User, path: Path) -> None:
    schema = json.loads(user.tunegate("spec", "schema").stdout)
    spec: Any = YAML(typ="safe", pure=True).load(path)  # pyright: ignore[reportUnknownMemberType]
    jsonschema.Draft202012Validator.check_schema(schema)
    jsonschema.validate(spec, schema)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({**spec, "modle": "x"}, schema)
    assert "a valid spec" in user.tunegate("spec", "check", path).stdout


@pytest.mark.parametrize(
    "command",
    [("serve",)],
)
def test_what_is_not_built_says_so_in_a_typed_error(user: User, command: tuple[str, ...]) -> None:
    told = user.tunegate(*command, code=5).stderr
    assert "not built yet" in told
    assert "→" in told


def test_an_empty_home_has_no_jobs_and_no_records(user: User) -> None:
    assert user.json("jobs", "list") == []
    assert "0 records" in user.tunegate("records", "verify").stderr
    assert "no record" in user.tunegate("records", "show", "1", code=2).stderr
    assert (user.home.stat().st_mode & 0o777) == 0o700
