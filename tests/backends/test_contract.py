"""One suite over every registered backend: the pure parts every backend owes the planner."""

from __future__ import annotations

import json
import socket
from decimal import Decimal

import pytest

from backends import registry
from backends.base import Backend
from backends.ledger import every_field
from gateway.core.errors import BackendError, Unsupported
from gateway.core.facts import ModelFacts
from gateway.core.job import RemoteRef
from gateway.core.plan import CandidateKey
from gateway.core.rows import Converted, Refusal
from tests.backends.made import backend, chat, pair, profile, spec, tool_chat

NAMES = registry.names()
OFFERED = [(name, model.name) for name in NAMES for model in registry.facts(name).models]


@pytest.fixture(autouse=True)
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    """Planning touches no network: a socket would be an error."""

    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("a socket was opened while planning")

    monkeypatch.setattr(socket, "socket", refuse)


def found(name: str, model: str) -> tuple[Backend, ModelFacts]:
    there = backend(name)
    resolved = there.resolve(model)
    assert resolved is not None
    return there, resolved


@pytest.mark.parametrize("name", NAMES)
def test_a_backend_is_made_by_its_name_and_knows_its_facts(name: str) -> None:
    there = backend(name)
    assert there.name == name
    assert there.facts is registry.facts(name)
    assert registry.install_hint(name).startswith("pip install")
    assert there.options.model_config.get("extra") == "forbid"
    there.options.model_validate({})


@pytest.mark.parametrize("name", NAMES)
def test_a_model_nobody_offers_is_not_resolved(name: str) -> None:
    assert backend(name).resolve("no-such-model") is None


@pytest.mark.parametrize(("name", "model"), OFFERED)
def test_a_model_answers_to_its_name_id_and_aliases(name: str, model: str) -> None:
    there, resolved = found(name, model)
    for alias in (resolved.name, resolved.id, *resolved.aliases):
        assert there.resolve(alias) == resolved
    assert resolved.regions
    assert {offer for offer in resolved.offers if there.facts.offer(offer)} == set(resolved.offers)


@pytest.mark.parametrize(("name", "model"), OFFERED)
def test_rows_become_lines_of_json_or_refusals(name: str, model: str) -> None:
    there, resolved = found(name, model)
    for task in resolved.tasks:
        convert = there.convert(there.format(resolved, task))
        for row in (chat(), chat(system=None), chat(turns=3), tool_chat(), pair()):
            line = convert(row)
            if isinstance(line, Converted):
                assert json.loads(json.dumps(dict(line.line))) == dict(line.line)
            else:
                assert isinstance(line, Refusal)
                assert (line.line, line.file) == (row.line, row.file)
                assert line.code
                assert line.text
        assert isinstance(convert(pair() if task == "dpo" else chat()), Converted)


MANAGED_MODELS = [(n, m) for n, m in OFFERED if registry.facts(n).kind == "managed"]


@pytest.mark.parametrize(("name", "model"), MANAGED_MODELS)
def test_longer_rows_count_more(name: str, model: str) -> None:
    there, resolved = found(name, model)
    counter = there.counter(resolved)
    assert 0 <= counter.band < 1
    assert 0 < counter.count(chat()) < counter.count(chat(turns=5))


def test_two_counters_of_one_name_count_alike() -> None:
    """A profile keeps counts by the counter's method, so one method is one way of counting."""
    row = chat(turns=7, system="a somewhat longer system prompt, so that ratios show: " + "word " * 200)
    counts: dict[str, int] = {}
    for name, model in MANAGED_MODELS:
        there, resolved = found(name, model)
        counter = there.counter(resolved)
        assert counts.setdefault(counter.method, counter.count(row)) == counter.count(row), counter.method


@pytest.mark.parametrize(("name", "model"), MANAGED_MODELS)
def test_every_offer_translates_and_accounts_for_every_field(name: str, model: str) -> None:
    there, resolved = found(name, model)
    asked = spec(model, route={"budget_usd": Decimal(50)})
    for region in resolved.regions:
        for offer in resolved.offers:
            key = CandidateKey(name, resolved.name, region, offer)
            translation = there.translate(asked, key, profile(), None)
            assert [field.path for field in translation.fields] == [path for path, _ in every_field(asked)]
            assert translation.requests
            assert all(f.rows_in == f.rows_out + sum(f.refused.values()) for f in translation.files)
            json.dumps(translation.to_json())


@pytest.mark.parametrize("name", NAMES)
def test_what_is_not_built_says_so_and_what_to_do(name: str) -> None:
    there, reference = backend(name), RemoteRef(name, "job-1")
    if there.dispatches:
        pytest.skip("dispatch is built")
    for call in (there.poll, there.cancel, there.artifacts, there.deploy, there.delete):
        with pytest.raises(Unsupported) as caught:
            call(reference)
        assert caught.value.fix


@pytest.mark.parametrize("name", NAMES)
def test_an_unknown_error_is_classified_without_its_text(name: str) -> None:
    error = backend(name).classify(RuntimeError("secret-words"))
    assert isinstance(error, BackendError)
    assert error.backend == name
    assert "secret-words" not in str(error)
