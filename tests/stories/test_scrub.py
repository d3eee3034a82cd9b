"""Scrubbing and review, from outside: a door that is shut for PHI opens once an officer has signed."""

from __future__ import annotations

import json
import os
import pty
import shutil
import subprocess
import sys
import time
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import pytest

from gateway import DataClass, DataError, Gateway
from gateway.records.keys import SigningKey, write_key
from gateway.sdk.rooms import Rooms
from gateway.sdk.standing import still_determined
from gateway.settings import load_settings
from tests.stories.conftest import User, training_spec

NAMES = ("Mary Okafor", "Thomas Whitfield", "Laura Benitez", "George Hanley")


def notes(count: int = 24) -> str:
    """Clinical rows that name people, dates and numbers; a subject has several."""
    rows: list[dict[str, Any]] = []
    for number in range(count):
        name, subject = NAMES[number % 4], f"P-{number % 4:04}"
        said = (
            f"Patient {name}, MRN {480_000 + number % 4}, seen on 03/{number + 1:02}/2024 with chest pain "
            f"and hypertension (visit {number}). Call 615-322-12{number:02}. "
            f"Started metformin {number + 5} mg."
        )
        answer = f"Assessment {number}: diabetes mellitus, stable. Discussed with {name.split()[0]}."
        rows.append(
            {
                "patient": subject,
                "messages": [{"role": "user", "content": said}, {"role": "assistant", "content": answer}],
            }
        )
    return "".join(json.dumps(row) + "\n" for row in rows)


@pytest.fixture
def clinic(user: User) -> User:
    """Someone with clinical notes, an officer's key on file, and Amazon's agreement not signed."""
    user.write("notes.jsonl", notes())
    write_key(user.folder / "alice.pem", SigningKey.generate())
    user.write(
        "tunegate.toml",
        '[[approvers]]\nname = "alice"\nroles = ["privacy-officer"]\nkey = "alice.pub"\n'
        '[[approvers]]\nname = "bob"\nroles = ["finance"]\nkey = "bob.pub"\n',
    )
    write_key(user.folder / "bob.pem", SigningKey.generate())
    spec(user, deidentify="scrub")
    return user


def spec(user: User, name: str = "job.yaml", **data: Any) -> Path:
    parts = {"train": "notes.jsonl", "class": "phi", "group_by": "patient", **data}
    where = "{role_arn: 'arn:aws:iam::123456789012:role/tuning', output_uri: 's3://tuning/out'}"
    route = f"route: {{backends: [bedrock]}}\noptions: {{bedrock: {where}}}\n"
    return user.spec(route, name=name, model="nova-micro", **parts)


def bedrock(user: User, name: str = "job.yaml") -> tuple[dict[str, Any], set[str], set[str]]:
    """The plan's data, and the verdicts and denying rules over its candidates."""
    shown = user.json("plan", name)
    reasons = [reason for each in shown["candidates"] for reason in each["reasons"] if reason["rule"]]
    verdicts = {each["verdict"] for each in shown["candidates"]}
    return shown["data"], verdicts, {reason["rule"] for reason in reasons}


def answers(user: User, what: str = "job.yaml", *, leak: int | None = None, sample: int = 300) -> Path:
    """The file that `review --json` begins, completed by somebody who saw no leak, or one."""
    drawn = user.json("data", "review", what, "--sample", str(sample))
    for number, each in enumerate(drawn["answers"]):
        each["verdict"] = "leak" if number == leak else "clean"
    return user.write("answers.json", json.dumps(drawn))


def review(user: User, *more: str, who: str = "alice", code: int = 0) -> dict[str, Any]:
    return user.json(
        "data", "review", "job.yaml", "--answers", "answers.json", "--as", who, "--key", f"{who}.pem", *more,
        code=code,
    )  # fmt: skip


def test_a_shut_door_opens_once_an_officer_signed_for_the_scrubbed_data(clinic: User) -> None:
    data, verdicts, rules = bedrock(clinic)
    assert (data["class"]["effective"], verdicts) == ("phi", {"denied"})
    assert rules
    assert data["lineage"]["source_class"] == "phi"
    assert sum(data["lineage"]["left"].values()) == 0

    answers(clinic)
    outcome = review(clinic)
    assert (outcome["sampled"], outcome["leaks"], outcome["absent"]) == (24, 0, [])

    data, verdicts, rules = bedrock(clinic)
    assert data["class"]["declared"] == "phi"
    assert data["class"]["effective"] == "internal"
    assert data["class"]["determination"]
    assert data["review"]["determination"]["officer"] == "alice"
    assert verdicts == {"allowed"}
    assert not rules


def test_copies_that_nobody_uses_any_more_go(clinic: User) -> None:
    bedrock(clinic)
    (first,) = (clinic.home / "cache" / "scrubbed").iterdir()
    month = time.time() - 31 * 24 * 3600
    os.utime(first, (month, month))
    bedrock(clinic)  # in use again: it stays
    assert [each.name for each in first.parent.iterdir()] == [first.name]
    os.utime(first, (month, month))
    clinic.write("notes.jsonl", notes(25))
    bedrock(clinic)
    (second,) = first.parent.iterdir()
    assert second.name != first.name


def test_the_source_itself_stays_as_it_was(clinic: User) -> None:
    answers(clinic)
    review(clinic)
    spec(clinic, "raw.yaml", deidentify="none")
    data, verdicts, _ = bedrock(clinic, "raw.yaml")
    assert (data["class"]["effective"], verdicts) == ("phi", {"denied"})


def test_a_changed_row_shuts_the_door_again_and_says_why(clinic: User) -> None:
    answers(clinic)
    review(clinic)
    clinic.write("notes.jsonl", notes(25))
    data, verdicts, _ = bedrock(clinic)
    assert (data["class"]["effective"], verdicts) == ("phi", {"denied"})
    assert any("other data" in reason for reason in data["review"]["absent"])
    assert "other data" in " ".join(clinic.tunegate("plan", "job.yaml").stdout.split())


def test_a_determination_may_lie_where_the_settings_say_and_hides_none_of_the_homes(clinic: User) -> None:
    """As on a machine that runs jobs, to which an officer's file was brought."""
    answers(clinic)
    (signed,) = review(clinic)["files"]
    (clinic.folder / "signed").mkdir()
    brought = Path(signed).rename(clinic.folder / "signed" / Path(signed).name)
    assert bedrock(clinic)[0]["class"]["effective"] == "phi"
    settings = clinic.folder / "tunegate.toml"
    settings.write_text(settings.read_text() + '[policy]\ndeterminations = ["signed/*.json"]\n')
    assert bedrock(clinic)[0]["class"]["effective"] == "internal"
    answers(clinic, leak=0)
    (revoked,) = review(clinic, code=1)["files"]
    Path(revoked).rename(Path(revoked).with_name(brought.name))
    assert bedrock(clinic)[0]["class"]["effective"] == "phi"
    shutil.rmtree(brought.parent)
    assert "no signed determination matches" in clinic.tunegate("plan", "job.yaml", code=2).stderr


def test_an_expired_or_altered_determination_is_none(clinic: User) -> None:
    answers(clinic)
    (signed,) = review(clinic, "--expires", "2027-01-31")["files"]
    later = clinic.json("plan", "job.yaml", "--as-of", "2027-02-01")["data"]
    assert later["class"]["effective"] == "phi"
    assert any("expired on 2027-01-31" in reason for reason in later["review"]["absent"])
    path = Path(signed)
    content = path.read_bytes()
    path.write_bytes(content.replace(b'"sig":"', b'"sig":"A', 1))
    data, verdicts, _ = bedrock(clinic)
    assert (data["class"]["effective"], verdicts) == ("phi", {"denied"})
    assert data["review"]["absent"]


@pytest.mark.parametrize(("who", "why"), [("bob", "role"), ("mallory", "unknown here")])
def test_whose_signature_does_not_count_changes_nothing(clinic: User, who: str, why: str) -> None:
    if who == "mallory":
        write_key(clinic.folder / "mallory.pem", SigningKey.generate())
    answers(clinic)
    outcome = review(clinic, who=who)
    assert any(why in reason for reason in outcome["absent"])
    data, verdicts, _ = bedrock(clinic)
    assert (data["class"]["effective"], verdicts) == ("phi", {"denied"})


def test_nobody_signs_with_anothers_name(clinic: User) -> None:
    answers(clinic)
    shown = clinic.json(
        "data", "review", "job.yaml", "--answers", "answers.json", "--as", "alice", "--key", "bob.pem"
    )
    assert any("bob signed" in reason for reason in shown["absent"])
    assert bedrock(clinic)[0]["class"]["effective"] == "phi"


def test_with_a_bundle_pinned_its_officers_count_and_no_others(clinic: User) -> None:
    """The engineer's own tunegate.toml names alice; the bundle decides whether she counts, and may carry
    what she signed."""
    answers(clinic)
    (signed,) = review(clinic)["files"]
    write_key(clinic.folder / "root.pem", SigningKey.generate())
    clinic.write("trust/trust.toml", 'sets = ["baseline", "hipaa"]\n')
    pin(clinic, 1)
    assert bedrock(clinic)[0]["class"]["effective"] == "phi"

    officer = '[[approvers]]\nname = "alice"\nroles = ["privacy-officer"]\nkey = "keys/alice.pub"\n'
    clinic.write("trust/trust.toml", f'sets = ["baseline", "hipaa"]\n{officer}')
    clinic.write("trust/keys/alice.pub", (clinic.folder / "alice.pub").read_bytes())
    clinic.write("trust/determinations/notes.json", Path(signed).read_bytes())
    Path(signed).unlink()
    pin(clinic, 2)
    shown = clinic.json("plan", "job.yaml")
    assert shown["trust"] == "verified"
    assert shown["data"]["class"]["effective"] == "internal"


def pin(user: User, number: int) -> None:
    numbered = ("--number", str(number), "--out", "trust.bundle")
    user.tunegate("policy", "sign", "trust", "--key", "root.pem", *numbered)
    user.tunegate("policy", "trust", "trust.bundle", "--key", "root.pub")


def test_a_job_asks_again_and_a_lapsed_determination_no_longer_lowers_its_class(clinic: User) -> None:
    answers(clinic)
    review(clinic, "--expires", "2027-01-31")
    data = clinic.json("plan", "job.yaml")["data"]
    assert data["class"]["effective"] == "internal"
    rooms = Rooms(load_settings(clinic.folder / "tunegate.toml", home=clinic.home), lambda: datetime.now(UTC))
    assert still_determined(rooms, data, date(2027, 1, 31)) is DataClass.INTERNAL
    assert still_determined(rooms, data, date(2027, 2, 1)) is DataClass.PHI
    for signed in (clinic.home / "reviews").iterdir():
        signed.unlink()
    assert still_determined(rooms, data, date(2027, 1, 31)) is DataClass.PHI


def test_one_leak_keeps_the_class_and_revokes_what_was_signed_before(clinic: User) -> None:
    answers(clinic)
    review(clinic)
    assert bedrock(clinic)[0]["class"]["effective"] == "internal"
    answers(clinic, leak=3)
    assert review(clinic, code=1)["leaks"] == 1
    data, verdicts, _ = bedrock(clinic)
    assert (data["class"]["effective"], verdicts) == ("phi", {"denied"})
    assert data["review"]["determination"]["leaks"] == 1


def test_answers_to_a_part_of_the_sample_are_none(clinic: User) -> None:
    """The bound is over the whole sample, so a verdict may not be left out, or given twice."""
    gateway = Gateway(home=clinic.home, config=clinic.folder / "tunegate.toml")
    sample = gateway.data.sample(clinic.folder / "job.yaml", number=5)
    said = [each.answer("clean") for each in sample.drawn]
    for given in (said[:-1], [*said, said[0]], []):
        with pytest.raises(DataError):
            gateway.data.conclude(sample, given, officer="alice", key=str(clinic.folder / "alice.pem"))
    assert not (clinic.home / "reviews").exists()


def test_it_cannot_have_expired_before_it_is_signed(clinic: User) -> None:
    answers(clinic)
    command = (
        "data",
        "review",
        "job.yaml",
        "--answers",
        "answers.json",
        "--as",
        "alice",
        "--key",
        "alice.pem",
    )
    assert "later day" in clinic.tunegate(*command, "--expires", "2020-01-01", code=2).stderr


def test_answers_must_be_complete_and_about_this_data(clinic: User) -> None:
    path = answers(clinic)
    said = json.loads(path.read_text())
    said["answers"][0]["verdict"] = None
    path.write_text(json.dumps(said))
    command = (
        "data",
        "review",
        "job.yaml",
        "--answers",
        "answers.json",
        "--as",
        "alice",
        "--key",
        "alice.pem",
    )
    assert "clean" in clinic.tunegate(*command, code=2).stderr
    said["answers"].pop(0)
    path.write_text(json.dumps(said))
    assert "another sample" in clinic.tunegate(*command, code=2).stderr


def test_the_bound_is_exact_and_printed(user: User) -> None:
    write_key(user.folder / "alice.pem", SigningKey.generate())
    user.chats("data.jsonl", [(f"question {number} of many", f"answer {number}") for number in range(400)])
    user.spec()
    answers(user)
    shown = user.tunegate(
        "data", "review", "job.yaml", "--answers", "answers.json", "--as", "alice", "--key", "alice.pem"
    )
    assert "at most 0.99%" in shown.stdout


def test_a_review_is_on_record(clinic: User) -> None:
    answers(clinic)
    review(clinic)
    clinic.tunegate("records", "verify")
    gateway = Gateway(home=clinic.home, config=clinic.folder / "tunegate.toml")
    assert "determination" in [kind for _, _, kind, _ in gateway.records.list()]


def test_findings_that_identify_nobody_are_dismissed_and_declared_stays_the_floor(user: User) -> None:
    write_key(user.folder / "alice.pem", SigningKey.generate())
    user.write(
        "tunegate.toml",
        '[[approvers]]\nname = "alice"\nroles = ["privacy-officer"]\nkey = "alice.pub"\n',
    )
    user.chats("data.jsonl", [("who wrote it?", "Jane Austen wrote it, and so on")] + [("a", "b")] * 3)
    user.spec(**{"class": "internal"})
    before = user.json("plan", "job.yaml")["data"]
    assert before["class"]["effective"] == "pii"
    drawn = user.json("data", "review", "job.yaml")
    for each in drawn["answers"]:
        each["verdict"], each["dismiss"] = "clean", each["findings"]
    user.write("answers.json", json.dumps(drawn))
    dismissals, determination = review(user)["files"]
    assert "dismissals" in dismissals
    Path(determination).unlink()
    after = user.json("plan", "job.yaml")["data"]
    assert after["class"] == {
        "declared": "internal", "detected": "public", "effective": "internal", "determination": None,
    }  # fmt: skip
    assert after["review"]["dismissed"] == {"name": 1}


def test_the_smallest_change_names_both_commands(clinic: User) -> None:
    """Where no agreement would do, scrubbing is the smallest change."""
    clinic.spec("route: {backends: [openai]}\n", name="openai.yaml", train="notes.jsonl", **{"class": "phi"})
    changes = [each["change"] for each in clinic.json("plan", "openai.yaml")["openings"]]
    assert any("`tunegate data scrub`" in text and "`tunegate data review`" in text for text in changes)


def test_scrub_writes_the_same_format_and_says_what_it_did(clinic: User) -> None:
    (report,) = clinic.json("data", "scrub", "notes.jsonl", "--out", "clean.jsonl", "--group-by", "patient")
    text = (clinic.folder / "clean.jsonl").read_text()
    assert not any(name in text for name in (*NAMES, "615-322", "480001", "P-0001"))
    assert (report["rows"], report["written"], report["refused"]) == (24, 24, {})
    assert report["replaced"]["mrn"] == 24
    assert sum(report["left"].values()) == 0
    for words in ("safe harbor", "de-identified", "deidentified"):
        assert words not in json.dumps(report).lower()


def test_scrub_refuses_to_write_over_anything(clinic: User) -> None:
    command = ("data", "scrub", "notes.jsonl", "--out")
    assert "is scrubbed" in clinic.tunegate(*command, "notes.jsonl", "--force", code=2).stderr
    clinic.write("there.jsonl", "mine")
    assert "--force" in clinic.tunegate(*command, "there.jsonl", code=2).stderr
    assert (clinic.folder / "there.jsonl").read_text() == "mine"
    clinic.tunegate(*command, "there.jsonl", "--force")
    assert "says otherwise" in clinic.tunegate(*command, "other.csv", code=2).stderr


def test_a_scrubbed_file_keeps_its_sources_class_in_another_spec(clinic: User) -> None:
    clinic.tunegate("data", "scrub", "notes.jsonl", "--out", "clean.jsonl", "--dates", "year")
    spec(clinic, "clean.yaml", train="clean.jsonl", **{"class": "public"})
    data, verdicts, _ = bedrock(clinic, "clean.yaml")
    assert data["class"]["declared"] == "public"
    assert (data["class"]["effective"], verdicts) == ("phi", {"denied"})


def test_the_home_keeps_the_key_to_itself(clinic: User) -> None:
    bedrock(clinic)
    key = clinic.home / "keys" / "scrub-key"
    assert key.stat().st_mode & 0o777 == 0o600
    shown = clinic.tunegate("plan", "job.yaml", "--json").stdout
    assert key.read_text() not in shown
    assert not any(name in shown for name in NAMES)


def test_held_out_files_are_scrubbed_apart_and_stay_held_out(clinic: User) -> None:
    lines = notes(40).splitlines(keepends=True)
    clinic.write("notes.jsonl", "".join(lines[:24]))
    clinic.write("held/a.jsonl", "".join(lines[24:30]))
    clinic.write("held/b.jsonl", "".join(lines[30:36]))
    clinic.write("last.jsonl", "".join(lines[36:]))
    spec(clinic, deidentify="scrub", validation="held/*.jsonl", test="last.jsonl", group_by=None)
    data, _, _ = bedrock(clinic)
    assert data["splits"] == {"train": 24, "validation": 12, "test": 4}
    copies = [path.read_text() for path in (clinic.home / "cache").rglob("*.jsonl")]
    assert len(copies) == 4
    assert not any(name in text for text in copies for name in NAMES)


def test_the_files_of_a_spec_go_into_a_folder(clinic: User) -> None:
    (clinic.folder / "out").mkdir()
    clinic.write("more.jsonl", notes(4))
    spec(clinic, train=["notes.jsonl", "more.jsonl"])
    reports = clinic.json("data", "scrub", "job.yaml", "--out", "out")
    assert [Path(report["file"]).name for report in reports] == ["notes.jsonl", "more.jsonl"]
    assert all("group_by=patient" in report["method"] for report in reports)


def test_one_secret_gives_the_same_copy_in_any_home(clinic: User) -> None:
    seed = clinic.write("seed", "5" * 64)
    seed.chmod(0o600)
    for home, to in (("one", "a.jsonl"), ("two", "b.jsonl")):
        clinic.home = clinic.folder / home
        clinic.tunegate("data", "scrub", "notes.jsonl", "--out", to, "--seed-file", "seed")
    clinic.tunegate("data", "scrub", "notes.jsonl", "--out", "c.jsonl")
    a, b, c = ((clinic.folder / name).read_bytes() for name in ("a.jsonl", "b.jsonl", "c.jsonl"))
    assert a == b != c


@pytest.mark.parametrize(("content", "mode", "why"), [("short", 0o600, "short"), ("5" * 64, 0o644, "others")])
def test_a_secret_that_is_none_is_refused(clinic: User, content: str, mode: int, why: str) -> None:
    clinic.write("seed", content).chmod(mode)
    command = ("data", "scrub", "notes.jsonl", "--out", "clean.jsonl", "--seed-file")
    assert why in clinic.tunegate(*command, "seed", code=2).stderr
    assert "cannot be read" in clinic.tunegate(*command, "nowhere", code=2).stderr
    assert not (clinic.folder / "clean.jsonl").exists()


def test_a_run_trains_on_the_scrubbed_copy(user: User, tiny: Path) -> None:
    user.write("notes.jsonl", notes())
    source: dict[str, Any] = {"train": "notes.jsonl", "class": "phi", "too_long": "truncate"}
    shown = user.json("run", training_spec(user, tiny, deidentify="scrub", **source))
    assert shown["state"] == "succeeded"
    written = [path.read_text() for path in (user.home / "jobs").rglob("data/*.jsonl")]
    assert len(written) >= 2  # the rows to train on, and those kept for evaluation
    for text in written:
        assert "metformin" in text
        assert not any(name in text for name in (*NAMES, "615-322", "480001"))


def test_a_copy_that_was_changed_is_made_anew(clinic: User) -> None:
    before = bedrock(clinic)[0]["hash"]
    (copy,) = (clinic.home / "cache" / "scrubbed").rglob("*.jsonl")
    copy.write_text(copy.read_text().replace("Started", "Mary Okafor started"))
    assert bedrock(clinic)[0]["hash"] == before


def test_data_is_shown_on_a_terminal_only(clinic: User) -> None:
    shown = clinic.tunegate("data", "review", "job.yaml", "--as", "alice", "--key", "alice.pem", code=2)
    assert "terminal" in shown.stderr
    assert "metformin" not in shown.stdout


@pytest.mark.skipif(sys.platform == "win32", reason="needs a pseudo-terminal")
def test_an_officer_answers_at_a_terminal(clinic: User) -> None:
    """Two rows, masked: the text is shown, what was found is not, and nothing commands the terminal."""
    clinic.write("notes.jsonl", notes().replace("chest pain", "chest pain \\u001b[2J"))
    command = ["data", "review", "notes.jsonl", "--sample", "2", "--as", "alice", "--key", "alice.pem"]
    shown = _at_a_terminal(clinic, command, "c\nd\n1\nc\n")
    assert "metformin" in shown
    assert "\x1b[2J" not in shown
    assert not any(name in shown for name in NAMES)
    assert "0 of 2 rows" in shown
    assert len(list((clinic.home / "reviews").glob("*.json"))) == 2  # dismissals, and the determination


def _at_a_terminal(user: User, command: list[str], typed: str) -> str:
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "gateway.cli", *command],
        cwd=user.folder,
        env={**user.environment(), "TERM": "xterm"},
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
    )
    os.close(theirs)
    os.write(ours, typed.encode())
    shown = b""
    while True:
        try:
            piece = os.read(ours, 4096)
        except OSError:
            break
        if not piece:
            break
        shown += piece
    assert process.wait(60) == 0, shown.decode()
    return shown.decode()
