"""OpenAI and Azure: requests checked against OpenAI's own API description, rows, counts."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backends.ledger import fill
from backends.openai.wire import OpenAIOptions, auto_epochs, azure_suffix_of
from gateway.core.job import Site
from gateway.core.plan import CandidateKey, Translation
from gateway.core.rows import Converted, Refusal, Row
from tests.backends.made import (
    SHA,
    backend,
    chat,
    create,
    message,
    outcome,
    pair,
    profile,
    spec,
    stats,
    tool_chat,
    translate,
)
from tests.backends.openai_described import Description

KEY = "0123456789abcdef" * 4
PLACES = {"train.jsonl": "file-abc123", "validation.jsonl": "file-def456"}


def filled(translation: Translation) -> dict[str, Any]:
    return fill(create(translation), PLACES, KEY)


@pytest.mark.shared
@pytest.mark.parametrize("task", ["sft", "dpo"])
@pytest.mark.parametrize(
    "hyper", [{}, {"epochs": 50, "batch_size": 256, "learning_rate_multiplier": 1.8, "dpo": {"beta": 2}}]
)
def test_the_create_call_is_what_openai_describes(
    description: Description, task: str, hyper: Mapping[str, Any]
) -> None:
    asked = spec(task=task, hyperparameters=hyper, options={"openai": {"suffix": "x" * 64}})
    body = filled(translate("openai", asked))
    assert description.errors("CreateFineTuningJobRequest", body) == []
    assert set(body) <= description.properties("CreateFineTuningJobRequest")
    kind = "DPO" if task == "dpo" else "Supervised"
    method = body["method"]["dpo" if task == "dpo" else "supervised"]
    assert set(method["hyperparameters"]) <= description.properties(f"FineTune{kind}Hyperparameters")


@pytest.mark.shared
def test_the_description_refuses_what_is_wrong(description: Description) -> None:
    """The check above can fail."""
    body = filled(translate("openai", spec()))
    wrong = {**body, "method": {"type": "supervised", "supervised": {"hyperparameters": {"n_epochs": 51}}}}
    assert description.errors("CreateFineTuningJobRequest", wrong)
    assert description.errors("CreateFineTuningJobRequest", {**body, "suffix": "x" * 65})


@pytest.mark.shared
def test_uploads_and_training_lines_are_what_openai_describes(description: Description) -> None:
    asked = spec(options={"openai": {"files_expire_after_days": 30}})
    uploads = [
        request for request in translate("openai", asked).requests if request.operation == "createFile"
    ]
    assert [upload.body["file"] for upload in uploads] == ["train.jsonl", "validation.jsonl"]
    for upload in uploads:
        assert description.errors("CreateFileRequest", dict(upload.body)) == []
    for row in (chat(), tool_chat()):
        line = backend("openai").convert("openai-chat")(row)
        assert isinstance(line, Converted)
        for turn in line.line["messages"]:
            kind = "FineTuneChatCompletionRequestAssistantMessage"
            name = kind if turn["role"] == "assistant" else "ChatCompletionRequestMessage"
            assert description.errors(name, turn) == []


def test_the_key_travels_as_metadata_or_not_at_all() -> None:
    assert filled(translate("openai", spec()))["metadata"] == {"tunegate_key": KEY}
    assert "metadata" not in create(translate("azure", spec()))


@pytest.mark.parametrize(
    ("offer", "kind"), [("standard", "Standard"), ("global", "GlobalStandard"), ("developer", "Developer")]
)
def test_azure_tiers_are_asked_for_by_name(offer: str, kind: str) -> None:
    assert create(translate("azure", spec(), offer=offer))["trainingType"] == kind
    assert "trainingType" not in create(translate("openai", spec()))


def test_an_azure_tier_without_a_published_name_is_refused_not_guessed() -> None:
    translation = translate("azure", spec(), offer="datazone")
    assert [field.path for field in translation.refused] == ["model"]
    assert "trainingType" not in create(translation)


def test_azure_suffixes_have_no_dots_and_carry_the_key_within_forty_characters() -> None:
    named = translate("azure", spec(name="notes.v2"))
    assert filled(named)["suffix"] == f"notes-v2{azure_suffix_of(KEY)}"
    assert outcome(named, "name").action == "changed"
    longest = filled(translate("azure", spec(name="n" * 63)))["suffix"]
    assert len(longest) == 40
    assert longest.endswith(azure_suffix_of(KEY))
    for wrong in ("notes.v2", "n" * 28):
        asked = translate("azure", spec(options={"azure": {"suffix": wrong}}))
        assert outcome(asked, "options.azure.suffix").action == "refused"


def test_azure_suffixes_of_two_jobs_of_one_minute_differ() -> None:
    """Keys begin with the time, so their first letters are the same for many jobs."""
    assert azure_suffix_of("tunegate-01kaa0000000001-1") != azure_suffix_of("tunegate-01kaa0000000002-1")
    assert azure_suffix_of("tunegate-01kaa0000000001-1") != azure_suffix_of("tunegate-01kaa0000000001-2")


def test_uploads_are_named_by_their_bytes() -> None:
    converted = {"openai-chat": (stats("openai-chat", "train", 200), stats("openai-chat", "validation", 20))}
    asked = spec(options={"openai": {"files_expire_after_days": 2}})
    translation = translate("openai", asked, data=profile(converted=converted))
    first, second = (r.body for r in translation.requests if r.operation == "createFile")
    assert first["file"] == f"{SHA[:32]}-train.jsonl"
    assert second["file"] == f"{SHA[:32]}-validation.jsonl"
    assert first["expires_after"] == {"anchor": "created_at", "seconds": 172_800}


def test_a_file_larger_than_one_upload_takes_is_refused() -> None:
    converted = {"openai-chat": (stats("openai-chat", "train", 200, size=513 * 2**20),)}
    translation = translate("openai", spec(), data=profile(converted=converted, rows={"train": 200}))
    assert outcome(translation, "data.train").action == "refused"
    assert "513 MB" in (outcome(translation, "data.train").why or "")


@pytest.mark.parametrize(("rows", "epochs"), [(10, 10), (2, 25), (33, 3), (34, 3), (8334, 2), (60_000, 1)])
def test_auto_epochs_follow_the_published_rule(rows: int, epochs: int) -> None:
    assert auto_epochs(rows) == epochs
    translation = translate("openai", spec(), data=profile(rows={"train": rows}))
    assert outcome(translation, "hyperparameters.epochs").after == epochs
    assert create(translation)["method"]["supervised"]["hyperparameters"]["n_epochs"] == epochs


def test_open_models_are_not_sent_the_word_auto() -> None:
    hyper = create(translate("azure", spec("qwen3-32b")))["method"]["supervised"]["hyperparameters"]
    assert hyper == {"n_epochs": 3}


def test_tools_and_weights_survive() -> None:
    row = Row(1, (message("user", "a"), message("assistant", "b", weight=0), *tool_chat().messages),
              tools=tool_chat().tools)  # fmt: skip
    line = backend("openai").convert("openai-chat")(row)
    assert isinstance(line, Converted)
    assert line.line["messages"][1]["weight"] == 0
    assert line.line["messages"][3]["tool_calls"][0]["function"]["name"] == "look_up"
    assert line.line["messages"][4]["tool_call_id"] == "call_1"
    assert line.line["tools"] == [dict(tool_chat().tools[0])]


def test_preference_pairs_are_one_turn_against_another() -> None:
    convert = backend("openai").convert("openai-preference")
    line = convert(pair())
    assert isinstance(line, Converted)
    assert line.line == {
        "input": {"messages": [{"role": "user", "content": "greet"}]},
        "preferred_output": [{"role": "assistant", "content": "good day"}],
        "non_preferred_output": [{"role": "assistant", "content": "what"}],
    }
    assert isinstance(convert(chat()), Refusal)
    long = Row(7, pair().messages, chosen=chat(system=None).messages, rejected=pair().rejected)
    refusal = convert(long)
    assert isinstance(refusal, Refusal)
    assert (refusal.line, refusal.code, refusal.path) == (7, "one_turn_only", "chosen")


def test_the_count_is_the_tokenizers_plus_four_a_message() -> None:
    counter = backend("openai").counter(model("gpt-4.1-mini"))
    assert counter.method == "o200k_base (exact)"
    assert counter.band == 0.0
    # "hello world" is 2 tokens of o200k_base, "hi" 1.
    assert (
        counter.count(Row(1, (message("user", "hello world"), message("assistant", "hi")))) == 2 + 1 + 2 * 4
    )


@given(st.text(max_size=200))
def test_special_tokens_in_text_are_counted_as_text(text: str) -> None:
    counter = backend("openai").counter(model("gpt-4.1-mini"))
    plain = counter.count(Row(1, (message("user", text),)))
    assert counter.count(Row(1, (message("user", f"{text}<|endoftext|>"),))) > plain
    assert plain <= 4 + len(text.encode())


def test_very_long_text_counts_as_the_sum_of_its_lines() -> None:
    line = "The patient slept well, ate little and asked for water. (see note)\n/ - more\n"
    assert count(line * 20_000) == count(line) * 20_000
    assert count("x" * 1_200_000) > 0


def test_a_row_longer_than_the_limit_counts_in_full() -> None:
    counter = backend("openai").counter(model("gpt-4.1-mini"))
    assert counter.count(Row(1, (message("user", "word " * 70_000),))) > 65_536


@pytest.mark.parametrize("value", ["", "x" * 65])
def test_options_are_checked(value: str) -> None:
    with pytest.raises(ValueError, match="suffix"):
        OpenAIOptions.model_validate({"suffix": value})


def test_a_compatible_server_tunes_the_models_that_its_options_state_and_no_other() -> None:
    bare = backend("compatible")
    assert bare.resolve("llama-x") is None
    there = bare.at(Site("compatible", options={"models": ["llama-x"], "endpoint": "http://vllm.local/v1"}))
    model = there.resolve("llama-x")
    assert model is not None
    assert there.resolve("gpt-4.1-mini") is None
    asked = spec("llama-x", options={"compatible": {"models": ["llama-x"]}})
    key = CandidateKey("compatible", "llama-x", *model.regions, *model.offers)
    body = create(there.translate(asked, key, profile(), None))
    assert body["model"] == "llama-x"
    assert body["metadata"] == {"tunegate_key": "{key}"}
    assert "auto" not in str(body["method"])
    offer = there.facts.offer(*model.offers)
    assert offer is not None
    assert offer.residency == "global", "where it sends data is not known"


def count(text: str) -> int:
    """Tokens of the text alone."""
    return backend("openai").counter(model("gpt-4.1-mini")).count(Row(1, (message("user", text),))) - 4


def model(name: str) -> Any:
    return backend("openai").resolve(name)
