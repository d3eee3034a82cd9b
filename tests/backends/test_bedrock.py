"""Bedrock: requests checked against AWS's own service model, hyperparameters, rows."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import cache
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backends.bedrock.wire import BedrockOptions, job_name, model_name
from backends.ledger import fill
from gateway.core.plan import Translation
from gateway.core.rows import Converted, Refusal, Row
from tests.backends.made import (
    backend,
    chat,
    create,
    message,
    outcome,
    profile,
    spec,
    stats,
    tool_chat,
    translate,
)

KEY = "0123456789abcdef" * 4
PLACES = {name: f"s3://bucket/{name}" for name in ("train.jsonl", "validation.jsonl")}
OPTIONS = {"role_arn": "arn:aws:iam::123456789012:role/tuner", "output_uri": "s3://bucket/out"}
MODELS = (
    "nova-micro",
    "nova-2-lite",
    "llama-3.1-8b-instruct",
    "llama-3.2-3b-instruct",
    "llama-3.3-70b-instruct",
)


def filled(translation: Translation) -> dict[str, Any]:
    return fill(create(translation), PLACES, KEY)


def problems(shape: Any, value: Any, path: str = "") -> list[str]:
    """What AWS's model says against a value. botocore checks types and lengths; patterns and enums it
    leaves to the server, so they are read from the same model here."""
    kind, found = shape.type_name, list[str]()
    if kind == "structure":
        found += [f"{path}.{name}: unknown" for name in value if name not in shape.members]
        for name, item in value.items():
            found += problems(shape.members[name], item, f"{path}.{name}") if name in shape.members else []
    elif kind == "list":
        for index, item in enumerate(value):
            found += problems(shape.member, item, f"{path}[{index}]")
    elif kind == "string":
        pattern, allowed = shape.metadata.get("pattern"), shape.metadata.get("enum")
        if pattern and not re.fullmatch(pattern, value):
            found.append(f"{path}: pattern")
        if allowed and value not in allowed:
            found.append(f"{path}: enum")
    return found


@cache
def create_shape() -> Any:
    session = pytest.importorskip("botocore.session", reason="AWS's service model comes with boto3")
    model = session.get_session().get_service_model("bedrock")
    return model.operation_model("CreateModelCustomizationJob").input_shape


def aws_says(body: Mapping[str, Any]) -> list[str]:
    shape = create_shape()
    report = pytest.importorskip("botocore.validate").ParamValidator().validate(dict(body), shape)
    return [*problems(shape, body), *([report.generate_report()] if report.has_errors() else [])]


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("more", [{}, {
    "kms_key": "alias/tuning", "subnet_ids": ["subnet-12345678"], "security_group_ids": ["sg-12345678"],
}])  # fmt: skip
def test_the_create_call_is_what_aws_describes(model: str, more: dict[str, Any]) -> None:
    asked = spec(model, options={"bedrock": {**OPTIONS, **more}})
    assert aws_says(filled(translate("bedrock", asked))) == []


def test_the_description_refuses_what_is_wrong() -> None:
    """The check above can fail."""
    body = filled(translate("bedrock", spec("nova-micro", options={"bedrock": OPTIONS})))
    assert aws_says({**body, "validationDataConfig": {"s3Uri": "s3://bucket/x"}})
    assert aws_says({**body, "hyperParameters": {"epochCount": 2}})
    assert aws_says({**body, "customModelName": "two--dashes"})
    assert aws_says({**body, "customizationType": "SFT"})


@given(st.from_regex(r"[a-z0-9][a-z0-9._-]{0,62}", fullmatch=True))
def test_any_spec_name_makes_a_valid_model_name(name: str) -> None:
    made = fill(f"{model_name(name)}-{{key#12}}", {}, KEY)
    assert re.fullmatch(r"([0-9a-zA-Z][_-]?){1,63}", made)
    assert len(made) <= 63


def test_nova_gets_strings_and_no_batch_size() -> None:
    asked = spec("nova-micro", hyperparameters={"epochs": 3, "learning_rate": 0.00001})
    assert create(translate("bedrock", asked))["hyperParameters"] == {
        "epochCount": "3", "learningRate": "0.00001",
    }  # fmt: skip
    assert create(translate("bedrock", spec("nova-micro")))["hyperParameters"] == {"epochCount": "2"}


def test_llama_takes_a_batch_of_one_only() -> None:
    plain = translate("bedrock", spec("llama-3.1-8b-instruct"))
    assert create(plain)["hyperParameters"] == {"epochCount": "5", "batchSize": "1"}
    assert outcome(plain, "hyperparameters.epochs").after == 5
    asked = translate("bedrock", spec("llama-3.1-8b-instruct", hyperparameters={"batch_size": 8}))
    assert outcome(asked, "hyperparameters.batch_size").action == "refused"


@pytest.mark.parametrize("model", ["nova-2-lite", "llama-3.3-70b-instruct"])
def test_where_nothing_is_published_nothing_is_sent(model: str) -> None:
    assert "hyperParameters" not in create(translate("bedrock", spec(model)))
    asked = translate("bedrock", spec(model, hyperparameters={"epochs": 2}))
    assert outcome(asked, "hyperparameters.epochs").action == "refused"


@pytest.mark.parametrize(
    ("hyper", "path"),
    [
        ({"epochs": 6}, "epochs"),
        ({"learning_rate": 0.001}, "learning_rate"),
        ({"learning_rate_multiplier": 1.8}, "learning_rate_multiplier"),
        ({"batch_size": 1}, "batch_size"),
        ({"seed": 3}, "seed"),
        ({"lora": {"rank": 8}}, "lora.rank"),
    ],
)
def test_nova_refuses_what_it_cannot_do(hyper: dict[str, Any], path: str) -> None:
    translation = translate("bedrock", spec("nova-micro", hyperparameters=hyper))
    assert [field.path for field in translation.refused] == [f"hyperparameters.{path}"]


def test_no_preference_tuning_and_no_full_tuning() -> None:
    translation = translate("bedrock", spec("nova-micro", task="dpo", method="full"))
    assert [field.path for field in translation.refused] == ["task", "method"]


def test_a_validation_set_that_would_not_be_used_stays_here() -> None:
    used = translate("bedrock", spec("nova-micro"))
    assert create(used)["validationDataConfig"] == {"validators": [{"s3Uri": "{staged:validation.jsonl}"}]}
    unused = translate("bedrock", spec("nova-2-lite"))
    assert [file.name for file in unused.files] == ["train.jsonl"]
    assert outcome(unused, "data.validation").action == "changed"
    assert "validationDataConfig" not in create(unused)


def test_files_are_placed_by_their_content() -> None:
    converted = {"bedrock-converse-nova": (stats("bedrock-converse-nova", "train", 200),)}
    data = profile(rows={"train": 200}, converted=converted)
    translation = translate("bedrock", spec("nova-micro", options={"bedrock": OPTIONS}), data=data)
    assert translation.requests[0].operation == "PutObject"
    assert translation.requests[0].body == {
        "Bucket": "bucket", "Key": f"out/tunegate-data/{'ab' * 32}/train.jsonl",
        "ExpectedBucketOwner": "123456789012",
    }  # fmt: skip


def test_places_may_name_the_region() -> None:
    """A bucket lies in one region, and one settings file serves them all."""
    options = {**OPTIONS, "output_uri": "s3://acme-{region}/out"}
    body = create(translate("bedrock", spec("llama-3.1-8b-instruct", options={"bedrock": options})))
    assert body["outputDataConfig"] == {"s3Uri": "s3://acme-us-west-2/out"}
    body = create(translate("bedrock", spec("nova-micro", options={"bedrock": options})))
    assert body["outputDataConfig"] == {"s3Uri": "s3://acme-us-east-1/out"}
    with pytest.raises(ValueError, match="output_uri"):
        BedrockOptions.model_validate({"output_uri": "s3://acme-{somewhere}/out"})


@given(st.from_regex(r"tunegate-[0-9a-z]{16}-[1-9][0-9]?", fullmatch=True))
def test_any_key_makes_valid_names_that_tell_it_from_others(key: str) -> None:
    body = fill(create(translate("bedrock", spec("nova-micro", options={"bedrock": OPTIONS}))), PLACES, key)
    assert aws_says(body) == []
    assert body["jobName"] == body["clientRequestToken"] == job_name(key) == key
    assert body["customModelName"] != fill("soap-notes-{key#12}", {}, f"{key}0")


def test_the_same_key_gives_the_same_job() -> None:
    body = filled(translate("bedrock", spec("nova-micro")))
    assert body["clientRequestToken"] == KEY
    assert body["jobName"] == KEY[:63]


def test_a_conversation_becomes_a_converse_record() -> None:
    line = backend("bedrock").convert("bedrock-converse-nova")(chat(turns=2))
    assert isinstance(line, Converted)
    assert line.line["schemaVersion"] == "bedrock-conversation-2024"
    assert line.line["system"] == [{"text": "be brief"}]
    assert [turn["role"] for turn in line.line["messages"]] == ["user", "assistant"] * 2
    bare = backend("bedrock").convert("bedrock-converse")(chat(system=None))
    assert isinstance(bare, Converted)
    assert "system" not in bare.line


def test_llama_3_1_gets_a_prompt_that_keeps_the_system_text() -> None:
    convert = backend("bedrock").convert("bedrock-prompt")
    line = convert(chat())
    assert isinstance(line, Converted)
    assert line.line == {"prompt": "be brief\n\nhow are you", "completion": "well"}
    refusal = convert(chat(turns=2))
    assert isinstance(refusal, Refusal)
    assert refusal.code == "multi_turn"
    told = translate("bedrock", spec("llama-3.1-8b-instruct", data={"train": "a", "system": "be brief"}))
    assert outcome(told, "data.system").action == "changed"


@pytest.mark.parametrize("marker", ["User:", "Bot:", "Assistant:", "System:", "<image>", "<video>", "[EOS]"])
def test_text_that_fails_a_nova_job_is_refused_by_row(marker: str) -> None:
    row = Row(17, (message("user", f"a {marker} b"), message("assistant", "c")))
    refusal = backend("bedrock").convert("bedrock-converse-nova")(row)
    assert isinstance(refusal, Refusal)
    assert (refusal.line, refusal.code, refusal.path) == (17, "forbidden_marker", "messages[0].content")
    assert isinstance(backend("bedrock").convert("bedrock-converse")(row), Converted)


@pytest.mark.parametrize(
    ("row", "code"),
    [
        (tool_chat(), "tools_unsupported"),
        (Row(1, (message("assistant", "b"),)), "roles_order"),
        (Row(1, (message("user", "a"), message("user", "b"), message("assistant", "c"))), "roles_order"),
        (Row(1, (message("user", "a"),)), "roles_order"),
        (Row(1, (message("user", "a"), message("assistant", " "))), "empty_turn"),
        (Row(1, (message("user", "a"), message("assistant", "b", weight=0))), "weight_unsupported"),
        (Row(1, (message("user", "a", name="Ann"), message("assistant", "b"))), "name_unsupported"),
        (Row(1, (message("user", "a"), message("system", "s"), message("assistant", "b"))), "many_systems"),
    ],
)
def test_rows_that_cannot_be_said_there_are_refused(row: Row, code: str) -> None:
    refusal = backend("bedrock").convert("bedrock-converse")(row)
    assert isinstance(refusal, Refusal)
    assert refusal.code == code


def test_counts_are_a_proxy_and_say_so() -> None:
    there = backend("bedrock")
    found = there.resolve("nova-micro")
    assert found is not None
    counter = there.counter(found)
    assert counter.band == 0.2
    assert counter.method == "bedrock nova (proxy, ±20%)"
    assert counter.count(chat()) > 0


def test_half_a_private_network_is_no_network() -> None:
    with pytest.raises(ValueError, match="both subnet_ids and security_group_ids"):
        BedrockOptions.model_validate({"subnet_ids": ["subnet-12345678"]})
