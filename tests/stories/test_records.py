"""A compliance officer and the account: what went where last quarter, and whether the account is whole."""

from __future__ import annotations

import contextlib
import json
import shutil
import sqlite3
import subprocess
import sys
import zipfile
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from gateway import Gateway
from tests.stories.conftest import CANARY, Done, User

KINDS = ("scan", "decision", "dispatch", "training_result")


@pytest.fixture
def officer(finished: Done, tmp_path: Path) -> User:
    """Someone with a copy of the home in which a job was run; whatever they do to it stays theirs."""
    home = tmp_path / "home"
    shutil.copytree(finished.user.home, home, ignore=shutil.ignore_patterns("jobs", "base-models", "*.lock"))
    (tmp_path / "office").mkdir()
    return User(tmp_path / "office", home)


def _head(user: User) -> str:
    return user.tunegate("records", "head").stdout.strip()


def test_an_officer_exports_a_quarter_and_an_auditor_checks_it_elsewhere(
    officer: User, finished: Done, tmp_path: Path
) -> None:
    head = _head(officer)
    year = str(datetime.now(UTC).year)
    told = officer.tunegate(
        "records",
        "export",
        "--from",
        f"{year}-01-01",
        "--to",
        f"{year}-12-31",
        "--class",
        "phi",
        "--out",
        "y.zip",
    )
    assert told.stdout.strip() == head
    with zipfile.ZipFile(officer.folder / "y.zip") as zipped:
        zipped.extractall(tmp_path / "auditor")
        names = set(zipped.namelist())
    assert {
        "README.txt",
        "summary.html",
        "summary.json",
        "records.jsonl",
        "verify.py",
        "manifest.json",
    } <= names
    summary = json.loads((tmp_path / "auditor" / "summary.json").read_text())
    (dataset,) = summary["datasets"]
    assert dataset["class"]["effective"] == "phi"
    assert [sent["kind"] for sent in dataset["sent"]] == ["local"]
    assert dataset["jobs"] == [finished.shown["id"]]
    assert summary["went_to_a_managed_provider"] == 0
    page = (tmp_path / "auditor" / "summary.html").read_text()
    assert "stayed on your own machines" in page
    assert CANARY not in page + json.dumps(summary)
    checked = subprocess.run(
        [sys.executable, "-I", tmp_path / "auditor" / "verify.py", "--against", head],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert f"whole; the head is {head}" in checked.stdout


def test_an_export_is_verified_in_a_home_that_knows_nothing_of_it(officer: User, tmp_path: Path) -> None:
    head = _head(officer)
    officer.tunegate("records", "export", "--out", tmp_path / "all.zip")
    other = User(officer.folder, tmp_path / "other-home")
    report = other.json("records", "verify", tmp_path / "all.zip", "--against", head)
    assert (report["ok"], report["anchored"], report["head"]) == (True, True, head)
    assert not (tmp_path / "other-home").exists()  # looking makes nothing
    key = next((officer.home / "records" / "keys").glob("*.pem"))
    assert key.stem in officer.tunegate("records", "head").stderr
    for named in (key, key.stem):
        assert other.json("records", "verify", tmp_path / "all.zip", "--key", named)["ok"]
    told = other.tunegate("records", "verify", tmp_path / "all.zip", "--key", "0" * 64, code=1)
    assert "unknown_key" in told.stdout


def _edit(records: Path) -> None:
    path = records / "00000002.json"
    path.write_bytes(path.read_bytes().replace(b"A", b"B", 1))


def _remove(records: Path) -> None:
    (records / "00000002.json").unlink()


def _swap(records: Path) -> None:
    second, third = (records / f"0000000{n}.json" for n in (2, 3))
    kept = second.read_bytes()
    second.write_bytes(third.read_bytes())
    third.write_bytes(kept)


def _cut(records: Path) -> None:
    max(records.glob("*.json")).unlink()


def _tear(records: Path) -> None:
    path = max(records.glob("*.json"))
    path.write_bytes(path.read_bytes()[:-40])


@pytest.mark.parametrize(
    ("harm", "told"),
    [
        (_edit, "record 2: edited"),
        (_remove, "record 2: removed"),
        (_swap, "record 2: reordered"),
        (_cut, "truncated"),
        (_tear, "torn"),
    ],
)
def test_what_was_done_to_an_account_is_named(harm: Callable[[Path], None], told: str, officer: User) -> None:
    head = _head(officer)
    harm(officer.home / "records")
    shown = officer.tunegate("records", "verify", "--against", head, code=1)
    assert told in shown.stdout
    assert "NOT intact" in shown.stderr


def test_the_list_says_what_happened_in_order(officer: User) -> None:
    listed = officer.tunegate("records", "show").stdout
    assert [kind for line in listed.splitlines() for kind in KINDS if f" {kind}" in line] == list(KINDS)


def test_a_scan_by_itself_is_on_the_account_where_there_is_one(officer: User, tmp_path: Path) -> None:
    officer.chats("data.jsonl", [("who?", f"Jane Austen, SSN 219-09-9999, {CANARY}")])
    officer.spec()
    before = _head(officer)
    found = officer.json("data", "scan", "job.yaml")
    assert _head(officer) != before
    number = _head(officer).split(":")[0]
    said = officer.tunegate("records", "show", number).stdout
    assert '"flagged": 1' in said
    assert f'"detected": "{found["class"]}"' in said
    assert CANARY not in said
    officer.tunegate("data", "scan", "job.yaml")
    officer.tunegate("data", "scan", "job.yaml", "--report", "scan.html")
    assert int(_head(officer).split(":")[0]) == int(number) + 2
    officer.tunegate("records", "verify")
    newcomer = User(officer.folder, tmp_path / "fresh")
    newcomer.tunegate("data", "scan", "job.yaml")  # looking at a file makes no account, and no key
    assert not newcomer.home.exists()


def test_records_outlive_their_job(finished: Done, tmp_path: Path) -> None:
    home = tmp_path / "home"
    shutil.copytree(finished.user.home, home, ignore=shutil.ignore_patterns("*.lock"))
    user = User(finished.user.folder, home)
    before = _head(user)
    _adopt(home, finished.user.home)
    user.tunegate("jobs", "purge", finished.shown["id"], "--yes")
    assert not (home / "jobs" / finished.shown["id"]).exists()
    assert user.json("records", "verify", "--against", before)["ok"]
    assert "training_result" in user.tunegate("records", "show").stdout


def test_a_copied_store_deletes_nothing_of_the_home_it_came_from(finished: Done, tmp_path: Path) -> None:
    home = tmp_path / "home"
    shutil.copytree(finished.user.home, home, ignore=shutil.ignore_patterns("*.lock"))
    told = User(finished.user.folder, home).tunegate("jobs", "purge", finished.shown["id"], "--yes", code=2)
    assert "lies in another home" in told.stderr
    assert (finished.user.home / "jobs" / finished.shown["id"] / "plan.json").is_file()


def _adopt(home: Path, from_home: Path) -> None:
    """Make a copied store name the files of its own home."""
    with contextlib.closing(sqlite3.connect(home / "jobs.db")) as store, store:
        for column in ("folder", "remote", "artifacts"):
            change = f"UPDATE jobs SET {column} = replace({column}, ?, ?)"
            store.execute(change, (str(from_home), str(home)))


def test_young_records_are_not_pruned_and_old_ones_leave_a_word(officer: User) -> None:
    assert "no record is old enough" in officer.tunegate("records", "prune").stderr
    tomorrow = (datetime.now(UTC) + timedelta(days=1)).date().isoformat()
    told = officer.tunegate("records", "prune", "--before", tomorrow, code=2)
    assert "kept for 6 years" in told.stderr
    officer.write("tunegate.toml", "[records]\nkeep_years = 0\n")
    head = _head(officer)
    assert "nobody is here to ask" in officer.tunegate("records", "prune", code=2).stderr
    assert officer.tunegate("records", "prune", "--yes").stdout == "4 records removed\n"
    report = officer.json("records", "verify", "--against", head)
    assert (report["ok"], report["records"]) == (True, 1)
    assert "records up to 4 were older than the 0 years" in report["notes"][0]


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["export", "--out", "a.zip", "--from", "yesterday"], "--from"),
        (["export", "--out", "a.zip", "--from", "2026-02-01", "--to", "2026-01-01"], "ends before it begins"),
        (["export", "--out", "a.zip", "--class", "secret"], "is not a data class"),
        (["prune", "--before", "soon"], "--before"),
    ],
)
def test_what_makes_no_sense_is_said(arguments: list[str], told: str, officer: User) -> None:
    shown = officer.tunegate("records", *arguments, code=2)
    assert told in shown.stderr
    assert not (officer.folder / "a.zip").exists()


def test_what_is_no_export_and_no_head_is_said(officer: User) -> None:
    officer.write("x.zip", b"nothing")
    assert "not an export" in officer.tunegate("records", "verify", "x.zip", code=2).stderr
    assert "SEQ:SHA256" in officer.tunegate("records", "verify", "--against", "latest", code=2).stderr
    officer.tunegate("records", "export", "--out", "a.zip")
    assert "File exists" in officer.tunegate("records", "export", "--out", "a.zip", code=2).stderr


def test_the_same_in_python(officer: User) -> None:
    gateway = Gateway(home=officer.home)
    head = gateway.records.export(officer.folder / "p.zip", data_class="phi")
    assert head == gateway.records.head()
    assert gateway.records.verify(officer.folder / "p.zip", against=head).ok
    assert Gateway(home=officer.folder / "new").records.head() == ""
