"""Prompts can raise the class that the gate judges, and never lower it; no unknown address is called."""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from gateway import privacy
from gateway.core.classes import DataClass
from gateway.core.errors import PolicyDenied
from gateway.core.gate import Action, Decision, GateRequest
from gateway.core.job import ChatMessage
from gateway.egress import Egress, Sending
from gateway.privacy import RecordScan
from gateway.sdk.prompts import with_prompts
from tests.egress.cases import PLANTED
from tests.jobs.world import FolderBackend, StubGate
from tests.policy.asking import LOCAL, MANAGED

PUBLIC = replace(MANAGED, action=Action.INFER, data_class=DataClass.PUBLIC)


def _chats(*classes: DataClass) -> list[list[ChatMessage]]:
    return [[ChatMessage("system", "Be brief."), ChatMessage("user", PLANTED[each])] for each in classes]


@pytest.mark.parametrize("held", PLANTED)
def test_what_a_prompt_holds_raises_the_class(held: DataClass) -> None:
    assert with_prompts(PUBLIC, _chats(held)).data_class is held


def test_the_highest_of_a_batch_counts_and_nothing_is_lowered() -> None:
    both = _chats(DataClass.PUBLIC, DataClass.PHI, DataClass.PUBLIC)
    assert with_prompts(PUBLIC, both).data_class is DataClass.PHI
    phi = replace(PUBLIC, data_class=DataClass.PHI)
    assert with_prompts(phi, _chats(DataClass.PUBLIC)) == phi


def test_an_unscanned_dataset_stays_unscanned_and_a_silent_engine_has_not_looked(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    unscanned = replace(PUBLIC, scanned=False)
    assert not with_prompts(unscanned, _chats(DataClass.PUBLIC)).scanned

    def silent(raw: object, **_: object) -> RecordScan:
        return RecordScan((), health=False, complete=False)

    monkeypatch.setattr(privacy, "scan_record", silent)
    assert not with_prompts(PUBLIC, _chats(DataClass.PUBLIC)).scanned


def test_what_stays_on_this_machine_is_not_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(privacy, "scan_record")
    assert with_prompts(LOCAL, _chats(DataClass.PHI)) is LOCAL


class Elsewhere(FolderBackend):
    def addresses(self) -> tuple[str, ...]:
        return ("https://collector.example.com/v1", "http://127.0.0.1:9/v1")


def test_an_address_the_facts_do_not_know_is_a_denial_that_is_told(tmp_path: Path) -> None:
    there = Elsewhere(tmp_path)
    told: list[tuple[GateRequest, Decision, Sending]] = []
    door = Egress(
        StubGate(), lambda site: there, on_decision=lambda asked, said, what: told.append((asked, said, what))
    )
    with pytest.raises(PolicyDenied, match=r"collector\.example\.com") as caught:
        door.complete(PUBLIC, "m", _chats(DataClass.PUBLIC), max_output_tokens=8)
    assert caught.value.rules == ("egress.address",)
    assert there.calls == []
    ((_, answer, sending),) = told
    assert answer.allowed is False
    assert sending.hosts == ("collector.example.com", "127.0.0.1:9")


@dataclass(frozen=True)
class Asked:
    address: str
    says: str | None
    site: str = "us-east-1"
    hosts: tuple[str, ...] = ("api.openai.com", "s3.{region}.amazonaws.com")


@pytest.mark.parametrize(
    "asked",
    [
        Asked("https://api.openai.com/v1", None),
        Asked("http://api.openai.com/v1", "not be encrypted"),
        Asked("https://s3.us-east-1.amazonaws.com", None),
        Asked("https://s3.eu-west-1.amazonaws.com", "say nothing"),
        Asked("https://s3.eu-west-1.amazonaws.com", None, site=""),
        Asked("http://10.0.0.5:8000/v1", None, hosts=("*",)),  # one's own server: nothing is granted there
    ],
)
def test_data_goes_to_the_region_decided_about_and_only_encrypted(asked: Asked, tmp_path: Path) -> None:
    class There(FolderBackend):
        def addresses(self) -> tuple[str, ...]:
            return (asked.address,)

    there = There(tmp_path)
    there.facts = replace(there.facts, hosts=asked.hosts)
    door = Egress(StubGate(), lambda site: there.at(replace(site, region=asked.site)))
    with nullcontext() if asked.says is None else pytest.raises(PolicyDenied, match=asked.says):
        door.complete(PUBLIC, "m", _chats(DataClass.PUBLIC), max_output_tokens=8)
    assert bool(there.calls) is (asked.says is None)


def test_a_proxy_is_not_this_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Here(FolderBackend):
        def addresses(self) -> tuple[str, ...]:
            return ("http://127.0.0.1:9/v1",)

    there = Here(tmp_path)
    door = Egress(StubGate(), lambda site: there)
    for name in ("http_proxy", "no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HTTP_PROXY", "http://proxy.example.com:8080")
    with pytest.raises(PolicyDenied, match="proxy") as caught:
        door.complete(PUBLIC, "m", _chats(DataClass.PUBLIC), max_output_tokens=8)
    assert caught.value.fix == "set NO_PROXY=127.0.0.1,localhost"
    assert there.calls == []
    monkeypatch.setenv("NO_PROXY", "127.0.0.1,localhost")
    door.complete(PUBLIC, "m", _chats(DataClass.PUBLIC), max_output_tokens=8)
    assert there.calls
