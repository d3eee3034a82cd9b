"""A model of names in `[scan] ner`, from outside: whatever looks at data looks with it."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from gateway import DataClass
from gateway.core.gate import Action
from gateway.core.job import ChatMessage
from gateway.records.keys import SigningKey, write_key
from gateway.sdk.prompts import with_prompts
from gateway.sdk.rooms import Rooms
from gateway.settings import load_settings
from tests.policy.asking import MANAGED
from tests.privacy.ner_made import make_model
from tests.stories.conftest import User

pytest.importorskip("transformers", reason="the extra `ner` is not installed")


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_model(tmp_path_factory.mktemp("ner"))


@pytest.fixture
def reader(user: User, model: Path) -> User:
    """Someone with rows in which only the model sees a name, and an officer's key."""
    write_key(user.folder / "alice.pem", SigningKey.generate())
    user.write(
        "tunegate.toml",
        '[[approvers]]\nname = "alice"\nroles = ["privacy-officer"]\nkey = "alice.pub"\n'
        f"[scan]\nner = {json.dumps(str(model))}\n",
    )
    user.chats("data.jsonl", [("who went?", f"the old zorblax {number}") for number in range(4)])
    user.spec(**{"class": "internal"})
    return user


def classes(user: User) -> dict[str, Any]:
    return user.json("plan", "job.yaml")["data"]["class"]


def test_one_scan_with_a_model_needs_no_settings(user: User, model: Path) -> None:
    user.chats("data.jsonl", [("who went?", "the old zorblax")])
    user.spec()
    assert user.json("data", "scan", "job.yaml")["class"] == "public"
    scanned = user.json("data", "scan", "job.yaml", "--ner", model)
    (found,) = scanned["findings"]
    assert (found["field"], found["type"]) == ("messages[1].content", "name")
    assert (found["start"], found["end"]) == (8, 15)
    assert (scanned["class"], scanned["complete"], scanned["flagged"]) == ("pii", True, 1)
    assert "zorblax" not in json.dumps(scanned)
    assert "class found: pii" in user.tunegate("data", "scan", "job.yaml", "--ner", model).stdout
    user.tunegate("data", "scan", "job.yaml", "--ner", model, "--report", "scan.html")
    assert "with the model" in (user.folder / "scan.html").read_text()


def test_a_plan_goes_by_it_and_by_another_once_it_changed(reader: User, model: Path) -> None:
    assert classes(reader)["effective"] == "pii"
    assert classes(reader)["effective"] == "pii"  # from the cache
    (reader.folder / "tunegate.toml").write_text("")
    assert classes(reader)["effective"] == "internal"


def test_a_text_it_cannot_read_leaves_the_data_unscanned_and_every_provider_denied(reader: User) -> None:
    reader.chats("data.jsonl", [("who went?", f"{'b' * 40} {number}") for number in range(12)])
    shown = reader.json("plan", "job.yaml")
    assert (shown["data"]["class"]["detected"], shown["data"]["scanned"]) == (None, False)
    managed = [each for each in shown["candidates"] if each["backend"] == "openai"]
    assert {each["verdict"] for each in managed} == {"denied"}
    said = reader.tunegate("data", "scan", "job.yaml")
    assert "could not be read" in said.stderr


def test_a_dismissal_takes_away_what_it_names_and_none_of_the_models_other_findings(reader: User) -> None:
    drawn = reader.json("data", "review", "job.yaml")
    assert all(each["findings"] for each in drawn["answers"])
    for at, each in enumerate(drawn["answers"]):
        each["verdict"], each["dismiss"] = "clean", each["findings"] if at == 0 else []
    reader.write("answers.json", json.dumps(drawn))
    signed = ("--answers", "answers.json", "--as", "alice", "--key", "alice.pem")
    _, determination = reader.json("data", "review", "job.yaml", *signed)["files"]
    Path(determination).unlink()
    after = reader.json("plan", "job.yaml")["data"]
    assert (after["class"]["effective"], after["review"]["dismissed"]) == ("pii", {"name": 1})
    assert after["findings"] == {"name": 3}


def test_dismissals_leave_the_scan_of_a_jobs_name_in_place(user: User) -> None:
    """What goes out beside the rows was weighed by the plan's scan, and is by the one without dismissals."""
    write_key(user.folder / "alice.pem", SigningKey.generate())
    approver = '[[approvers]]\nname = "alice"\nroles = ["privacy-officer"]\nkey = "alice.pub"\n'
    user.write("tunegate.toml", approver)
    user.chats("data.jsonl", [("who wrote it?", "Jane Austen wrote it, and so on")] + [("a", "b")] * 3)
    spec = user.spec(**{"class": "internal"})
    spec.write_text(spec.read_text().replace("name: story", "name: ssn-123-45-6789"))
    drawn = user.json("data", "review", "job.yaml")
    for each in drawn["answers"]:
        each["verdict"], each["dismiss"] = "clean", each["findings"]
    user.write("answers.json", json.dumps(drawn))
    signed = ("--answers", "answers.json", "--as", "alice", "--key", "alice.pem")
    _, determination = user.json("data", "review", "job.yaml", *signed)["files"]
    Path(determination).unlink()
    assert classes(user)["effective"] == "pii"


def test_a_scrubbed_copy_is_made_with_it(reader: User) -> None:
    reader.spec(**{"class": "internal", "deidentify": "scrub"})
    data = reader.json("plan", "job.yaml")["data"]
    assert "ner=" in data["lineage"]["method"]
    assert data["findings"].get("name", 0) == 0
    copies = [path.read_text() for path in reader.files() if path.suffix == ".jsonl"]
    assert copies
    assert not any("zorblax" in text for text in copies)


def test_prompts_are_read_by_it(reader: User) -> None:
    rooms = Rooms(load_settings(reader.folder / "tunegate.toml", home=reader.home), lambda: datetime.now(UTC))
    ask = replace(MANAGED, action=Action.INFER, data_class=DataClass.PUBLIC)
    chat = [ChatMessage("user", "the zorblax")]
    assert with_prompts(ask, [chat]).data_class is DataClass.PUBLIC
    assert with_prompts(ask, [chat], rooms.ner).data_class is DataClass.PII
    assert not with_prompts(ask, [[ChatMessage("user", "b" * 40)]], rooms.ner).scanned


def test_a_model_that_cannot_be_used_stops_the_plan(reader: User) -> None:
    reader.write("tunegate.toml", '[scan]\nner = "nowhere"\n')
    said = reader.tunegate("plan", "job.yaml", code=2).stderr
    assert "no such folder" in said
    assert str(reader.folder / "nowhere") in " ".join(said.split())
    assert reader.tunegate("plan", "job.yaml", code=2).stdout == ""
