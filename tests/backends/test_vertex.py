"""Vertex: requests checked against Google's discovery document, modes, rows."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any, cast

import pytest

from backends.ledger import fill
from gateway.core.plan import Translation
from gateway.core.rows import Converted, Refusal, Row
from tests.backends.made import (
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

KEY = "0123456789abcdef" * 4
PLACES = {name: f"gs://bucket/{name}" for name in ("train.jsonl", "validation.jsonl")}
OPTIONS = {"project": "my-project"}


def _is_a(kind: str, value: Any) -> bool:
    kinds = {"string": str, "boolean": bool, "number": float | int, "object": dict, "array": list}
    return isinstance(value, kinds[kind])


class Discovery:
    """One version of Google's discovery document; `errors` reads a value against one of its schemas."""

    def __init__(self, version: str) -> None:
        package = pytest.importorskip(
            "googleapiclient", reason="the document comes with google-api-python-client"
        )
        folder = Path(cast("str", package.__file__)).parent / "discovery_cache" / "documents"
        self.document: dict[str, Any] = json.loads((folder / f"aiplatform.{version}.json").read_text("utf-8"))

    def errors(self, schema: dict[str, Any], value: Any, path: str = "") -> list[str]:
        if "$ref" in schema:
            schema = self.document["schemas"][schema["$ref"]]
        if not _is_a(schema["type"], value):
            return [f"{path}: not a {schema['type']}"]
        if schema.get("readOnly"):
            return [f"{path}: read-only"]
        if "enum" in schema and value not in schema["enum"]:
            return [f"{path}: enum"]
        if schema.get("format") == "int64" and not str(value).isdigit():
            return [f"{path}: no int64"]
        known: dict[str, Any] = schema.get("properties", {})
        found: list[str] = []
        for name, item in value.items() if known else ():
            found += self.errors(known[name], item, f"{path}.{name}") if name in known else [f"{path}.{name}"]
        return found

    def says(self, operation: str, body: dict[str, Any]) -> list[str]:
        node = self.document
        for name in operation.split(".")[1:-1]:
            node = node["resources"][name]
        method = node["methods"][operation.rsplit(".", 1)[-1]]
        assert re.fullmatch(method["parameters"]["parent"]["pattern"], body["parent"])
        return self.errors(method["request"], body["tuningJob"])


def google_says(translation: Translation) -> list[str]:
    request = translation.requests[-1]
    body = fill(dict(request.body), PLACES, KEY)
    return Discovery(request.operation.split(".")[0]).says(request.operation, body)


def job(translation: Translation) -> dict[str, Any]:
    return create(translation)["tuningJob"]


@pytest.mark.parametrize(
    ("model", "hyper", "options"),
    [
        ("gemini-3.5-flash", {}, {}),
        ("gemini-3.5-flash", {"epochs": 4, "learning_rate_multiplier": 1.8, "lora": {"rank": 8}}, {}),
        ("gemini-3.1-flash-lite", {}, {"service_account": "tuner@my-project.iam.gserviceaccount.com"}),
        (
            "gemma-3-4b-it",
            {"epochs": 2, "batch_size": 8, "learning_rate": 2e-5},
            {"output_uri": "gs://my-out/x"},
        ),
        ("llama-3.1-8b-instruct", {"lora": {"rank": 32}}, {}),
    ],
)
def test_the_create_call_is_what_google_describes(
    model: str, hyper: dict[str, Any], options: dict[str, Any]
) -> None:
    asked = spec(model, hyperparameters=hyper, options={"vertex": {**OPTIONS, **options}})
    translation = translate("vertex", asked)
    assert translation.refused == ()
    assert google_says(translation) == []


def test_the_description_refuses_what_is_wrong() -> None:
    """The check above can fail: v1 knows no batch size and no `validation_dataset`."""
    discovery = Discovery("v1")
    schema = {"$ref": "GoogleCloudAiplatformV1TuningJob"}
    wrong = [
        {"supervisedTuningSpec": {"hyperParameters": {"batchSize": "8"}}},
        {"supervisedTuningSpec": {"hyperParameters": {"epochCount": 3}}},
        {"supervisedTuningSpec": {"hyperParameters": {"adapterSize": "8"}}},
        {"supervisedTuningSpec": {"validation_dataset": "gs://x"}},
        {"state": "JOB_STATE_RUNNING"},
    ]
    assert all(discovery.errors(schema, body) for body in wrong)


def test_gemini_takes_a_multiplier_and_an_adapter() -> None:
    asked = spec("gemini-3.5-flash", hyperparameters={"learning_rate_multiplier": 1.8})
    translation = translate("vertex", asked)
    assert translation.requests[-1].operation.startswith("v1.")
    assert job(translation)["supervisedTuningSpec"]["hyperParameters"] == {
        "epochCount": "3", "learningRateMultiplier": 1.8, "adapterSize": "ADAPTER_SIZE_SIXTEEN",
    }  # fmt: skip
    assert "outputUri" not in job(translation)


@pytest.mark.parametrize(
    ("model", "hyper", "path"),
    [
        ("gemini-3.5-flash", {"learning_rate": 0.0001}, "learning_rate"),
        ("gemini-3.5-flash", {"batch_size": 8}, "batch_size"),
        ("gemini-3.5-flash", {"lora": {"rank": 32}}, "lora.rank"),
        ("gemini-3.5-flash", {"lora": {"rank": 12}}, "lora.rank"),
        ("llama-3.1-8b-instruct", {"learning_rate_multiplier": 1.8}, "learning_rate_multiplier"),
        ("gemma-3-4b-it", {"lora": {"rank": 8}}, "lora.rank"),
        ("gemma-3-4b-it", {"seed": 4}, "seed"),
    ],
)
def test_what_cannot_be_done_is_refused(model: str, hyper: dict[str, Any], path: str) -> None:
    translation = translate("vertex", spec(model, hyperparameters=hyper))
    assert [field.path for field in translation.refused] == [f"hyperparameters.{path}"]


@pytest.mark.parametrize(
    ("model", "method", "mode"),
    [
        ("llama-3.1-8b-instruct", "auto", "TUNING_MODE_PEFT_ADAPTER"),
        ("llama-3.1-8b-instruct", "lora", "TUNING_MODE_PEFT_ADAPTER"),
        ("llama-3.1-8b-instruct", "full", "TUNING_MODE_FULL"),
        ("gemma-3-4b-it", "auto", "TUNING_MODE_FULL"),
    ],
)
def test_open_models_are_tuned_in_the_mode_asked_for(model: str, method: str, mode: str) -> None:
    translation = translate("vertex", spec(model, method=method, options={"vertex": OPTIONS}))
    assert translation.refused == ()
    assert translation.requests[-1].operation.startswith("v1beta1.")
    tuning = job(translation)["supervisedTuningSpec"]
    assert tuning["tuningMode"] == mode
    assert ("adapterSize" in tuning["hyperParameters"]) is (mode == "TUNING_MODE_PEFT_ADAPTER")
    assert job(translation)["outputUri"] == "gs://my-project-tunegate-global/tunegate-models/{key#16}"


def test_a_mode_the_model_lacks_is_refused() -> None:
    assert outcome(translate("vertex", spec("gemma-3-4b-it", method="lora")), "method").action == "refused"
    assert outcome(translate("vertex", spec("gemini-3.5-flash", method="full")), "method").action == "refused"


def test_a_location_chooses_among_candidates() -> None:
    asked = spec("gemini-3.5-flash", options={"vertex": {"project": "p-12", "location": "europe-west4"}})
    assert translate("vertex", asked, region="europe-west4").refused == ()
    elsewhere = translate("vertex", asked, region="us-central1")
    assert [field.path for field in elsewhere.refused] == ["options.vertex.location"]


def test_a_key_that_cannot_be_used_is_refused() -> None:
    key = "projects/p-12/locations/us-central1/keyRings/r/cryptoKeys/k"
    options = {"vertex": {"project": "p-12", "kms_key": key}}
    for model, region in (
        ("gemini-3.5-flash", "us-central1"),
        ("gemma-3-4b-it", "global"),
        ("gemma-3-4b-it", "us-west1"),
    ):
        refused = translate("vertex", spec(model, options=options), region=region).refused
        assert [field.path for field in refused] == ["options.vertex.kms_key"]
    kept = translate("vertex", spec("gemma-3-4b-it", options=options), region="us-central1")
    assert kept.refused == ()
    assert job(kept)["encryptionSpec"] == {"kmsKeyName": key}


@pytest.mark.parametrize(
    ("model", "train", "validation", "refused"),
    [
        ("gemini-3.5-flash", 100_000, 5_001, True),
        ("gemini-3.5-flash", 4_000, 1_300, True),
        ("gemini-3.5-flash", 5_000, 1_300, False),
        ("gemma-3-4b-it", 100_000, 5_001, True),
    ],
)
def test_too_much_validation_data_is_refused(model: str, train: int, validation: int, refused: bool) -> None:
    data = profile(
        rows={"train": train, "validation": validation}, methods={"vertex gemini (proxy, ±25%)": 100}
    )
    found = outcome(translate("vertex", spec(model), data=data), "data.validation")
    assert (found.action == "refused") is refused


def test_open_models_weigh_validation_data_in_bytes() -> None:
    converted = {
        "vertex-messages": (
            stats("vertex-messages", "train", 100, size=1000),
            stats("vertex-messages", "validation", 10, size=251),
        )
    }
    data = profile(rows={"train": 100, "validation": 10}, converted=converted)
    assert outcome(translate("vertex", spec("qwen3-8b"), data=data), "data.validation").action == "refused"


def test_gemini_rows_have_contents_and_a_model_role() -> None:
    line = backend("vertex").convert("vertex-contents")(chat(turns=2))
    assert isinstance(line, Converted)
    assert line.line["systemInstruction"] == {"parts": [{"text": "be brief"}]}
    assert [turn["role"] for turn in line.line["contents"]] == ["user", "model"] * 2
    bare = backend("vertex").convert("vertex-contents")(chat(system=None))
    assert isinstance(bare, Converted)
    assert "systemInstruction" not in bare.line


def test_open_rows_have_messages_and_an_assistant() -> None:
    line = backend("vertex").convert("vertex-messages")(chat())
    assert isinstance(line, Converted)
    assert [turn["role"] for turn in line.line["messages"]] == ["system", "user", "assistant"]


@pytest.mark.parametrize("format", ["vertex-contents", "vertex-messages"])
@pytest.mark.parametrize(
    ("row", "code"),
    [
        (tool_chat(), "tools_unsupported"),
        (pair(), "preference_unsupported"),
        (Row(1, (message("user", "a"), message("assistant", "b", weight=0))), "weight_unsupported"),
        (Row(1, (message("user", "a"), message("assistant", ""))), "empty_turn"),
        (Row(1, (message("user", "a"), message("user", "b"), message("assistant", "c"))), "roles_order"),
    ],
)
def test_rows_that_cannot_be_said_there_are_refused(format: str, row: Row, code: str) -> None:
    refusal = backend("vertex").convert(format)(row)
    assert isinstance(refusal, Refusal)
    assert refusal.code == code
