"""What holds for every managed backend: each spec field is accounted for, and none is lost in silence."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator, Mapping
from decimal import Decimal
from typing import Any, cast

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from backends.ledger import Ledger, every_field, fill
from gateway.core.plan import Translation
from gateway.core.rows import Refusal, Row
from gateway.core.spec import JobSpec
from tests.backends.made import (
    MANAGED,
    backend,
    chat,
    create,
    first_model,
    message,
    outcome,
    pair,
    profile,
    spec,
    tool_chat,
    translate,
)  # fmt: skip

# One live model per family whose translation differs.
FAMILIES = (
    ("openai", "gpt-4.1-mini"),
    ("azure", "gpt-4.1-mini"),
    ("azure", "llama-3.3-70b-instruct"),
    ("bedrock", "nova-micro"),
    ("bedrock", "nova-2-lite"),
    ("bedrock", "llama-3.1-8b-instruct"),
    ("bedrock", "llama-3.3-70b-instruct"),
    ("vertex", "gemini-3.5-flash"),
    ("vertex", "gemma-3-4b-it"),
    ("vertex", "llama-3.1-8b-instruct"),
)

# Every field of a spec, off its default. A new field in the spec must come here to be translated.
OFF_DEFAULT: Mapping[str, Any] = {
    "name": {"name": "other"},
    "team": {"team": "notes"},
    "task": {"task": "dpo"},
    "method": {"method": "full"},
    "data.train": {"data": {"train": "other.jsonl"}},
    "data.format": {"data": {"train": "rows.jsonl", "format": "chat"}},
    "data.columns.prompt": {"data": {"train": "rows.csv", "columns": {"prompt": "q"}}},
    "data.columns.completion": {"data": {"train": "rows.csv", "columns": {"completion": "a"}}},
    "data.columns.system": {"data": {"train": "rows.csv", "columns": {"system": "s"}}},
    "data.columns.messages": {"data": {"train": "rows.csv", "columns": {"messages": "m"}}},
    "data.columns.chosen": {"task": "dpo", "data": {"train": "rows.csv", "columns": {"chosen": "c"}}},
    "data.columns.rejected": {"task": "dpo", "data": {"train": "rows.csv", "columns": {"rejected": "r"}}},
    "data.system": {"data": {"train": "rows.jsonl", "system": "be brief"}},
    "data.validation": {"data": {"train": "rows.jsonl", "validation": 0.1}},
    "data.test": {"data": {"train": "rows.jsonl", "test": 0.1}},
    "data.group_by": {"data": {"train": "rows.jsonl", "group_by": "patient"}},
    "data.too_long": {"data": {"train": "rows.jsonl", "too_long": "truncate"}},
    "data.class": {"data": {"train": "rows.jsonl", "class": "public"}},
    "data.tags": {"data": {"train": "rows.jsonl", "tags": ["part2"]}},
    "data.purpose": {"data": {"train": "rows.jsonl", "purpose": "care"}},
    "data.residency": {"data": {"train": "rows.jsonl", "residency": "us"}},
    "data.deidentify": {"data": {"train": "rows.jsonl", "deidentify": "scrub"}},
    "hyperparameters.epochs": {"hyperparameters": {"epochs": 4}},
    "hyperparameters.batch_size": {"hyperparameters": {"batch_size": 8}},
    "hyperparameters.learning_rate": {"hyperparameters": {"learning_rate": 0.00002}},
    "hyperparameters.learning_rate_multiplier": {"hyperparameters": {"learning_rate_multiplier": 1.8}},
    "hyperparameters.max_length": {"hyperparameters": {"max_length": 256}},
    "hyperparameters.seed": {"hyperparameters": {"seed": 4}},
    "hyperparameters.lora.rank": {"hyperparameters": {"lora": {"rank": 8}}},
    "hyperparameters.lora.alpha": {"hyperparameters": {"lora": {"alpha": 8.0}}},
    "hyperparameters.lora.dropout": {"hyperparameters": {"lora": {"dropout": 0.2}}},
    "hyperparameters.lora.rslora": {"hyperparameters": {"lora": {"rslora": True}}},
    "hyperparameters.lora.dora": {"hyperparameters": {"lora": {"dora": True}}},
    "hyperparameters.lora.targets": {"hyperparameters": {"lora": {"targets": ["q_proj"]}}},
    "hyperparameters.dpo.beta": {"hyperparameters": {"dpo": {"beta": 0.3}}},
    "evaluate.metrics": {"evaluate": {"metrics": ["rouge_l"]}},
    "evaluate.baseline": {"evaluate": {"baseline": False}},
    "evaluate.json_schema": {"evaluate": {"json_schema": "answer.json"}},
    "evaluate.scorer": {"evaluate": {"scorer": "mine:score"}},
    "evaluate.max_output_tokens": {"evaluate": {"max_output_tokens": 32}},
    "evaluate.general": {"evaluate": {"general": False}},
    "route.backends": {"route": {"backends": ["openai"]}},
    "route.objective": {"route": {"objective": "fastest"}},
    "route.budget_usd": {"route": {"budget_usd": Decimal(50)}},
    "route.deadline": {"route": {"deadline": "24h"}},
    "serving.input_tokens_per_month": {"serving": {"input_tokens_per_month": 5}},
    "serving.output_tokens_per_month": {"serving": {"output_tokens_per_month": 5}},
    "serving.queries_per_month": {"serving": {"queries_per_month": 5}},
    "serving.months": {"serving": {"months": 3}},
    "serving.incumbent": {"serving": {"incumbent": "gpt-4.1"}},
    "options.local.device": {"options": {"local": {"device": "cpu"}}},
}
OURS = ("version", "team", "data.", "evaluate.", "route.", "serving", "options")


def requests_of(translation: Translation) -> str:
    return json.dumps(translation.to_json()["requests"], sort_keys=True)


def leaves(model: type[Any], prefix: str = "") -> Iterator[str]:
    """Dotted paths of a pydantic model's leaves, by alias."""
    for name, info in model.model_fields.items():
        path = f"{prefix}{info.serialization_alias or info.alias or name}"
        nested = [
            part
            for part in (info.annotation, *getattr(info.annotation, "__args__", ()))
            if hasattr(part, "model_fields")
        ]
        yield from leaves(nested[0], f"{path}.") if nested else (path,)


def test_the_list_above_holds_every_field_of_the_spec() -> None:
    assert {path for path in OFF_DEFAULT if not path.startswith("options.")} == set(leaves(JobSpec)) - {
        "version", "model", "options",
    }  # fmt: skip


@pytest.mark.parametrize(("name", "model"), FAMILIES)
@pytest.mark.parametrize("path", OFF_DEFAULT)
def test_no_field_is_lost_in_silence(name: str, model: str, path: str) -> None:
    plain = translate(name, spec(model))
    asked = translate(name, spec(model, **OFF_DEFAULT[path]))
    found = outcome(asked, path)
    if found.action == "refused" or found.path.startswith(OURS):
        assert found.why
    elif found.action == "changed":
        assert found.why
        assert found.after != found.before
    elif requests_of(asked) == requests_of(plain):
        assert found.why, f"{path} is said to be kept, and changes no request"


@pytest.mark.parametrize(("name", "model"), FAMILIES)
def test_every_leaf_has_exactly_one_outcome_with_its_value(name: str, model: str) -> None:
    asked = spec(model, serving={"months": 3}, options={"local": {"device": "cpu"}})
    fields = translate(name, asked).fields
    assert [(field.path, field.before) for field in fields] == list(every_field(asked))
    assert all(field.why for field in fields if field.action != "kept")


@pytest.mark.parametrize(("name", "model"), FAMILIES)
def test_a_plain_spec_is_refused_nowhere(name: str, model: str) -> None:
    """`auto` and defaults are always fine; whoever asks for nothing special is served everywhere."""
    assert translate(name, spec(model)).refused == ()


@pytest.mark.parametrize(("name", "model"), FAMILIES)
@given(
    rate=st.floats(1e-6, 1e-4),
    multiplier=st.floats(0.25, 64),
    batch=st.integers(65, 4096),
    rank=st.integers(33, 60),
)
@settings(max_examples=15, deadline=None)
def test_no_number_crosses_units(
    name: str, model: str, rate: float, multiplier: float, batch: int, rank: int
) -> None:
    """Each distinct number may appear under its own name only, on any wire."""
    hyper = {
        "learning_rate": rate,
        "learning_rate_multiplier": multiplier,
        "batch_size": batch,
        "lora": {"rank": rank, "alpha": 61.5},
    }
    body = create(translate(name, spec(model, hyperparameters=hyper)))
    names = {
        rate: r"learning_?rate",
        multiplier: r"learning_?rate_?multiplier",
        float(batch): r"batch_?size",
        float(rank): r"adapter_?size",
        61.5: r"never",
    }
    for key, number in numbers(body):
        if number in names:
            assert re.fullmatch(names[number], key, re.IGNORECASE), (key, number)


def numbers(node: object, key: str = "") -> Iterator[tuple[str, float]]:
    """Every number in a body with the name it stands under; numeric strings count."""
    if isinstance(node, Mapping):
        for name, value in cast("Mapping[str, object]", node).items():
            yield from numbers(value, name)
    elif isinstance(node, list):
        for value in cast("list[object]", node):
            yield from numbers(value, key)
    elif isinstance(node, bool):
        return
    elif isinstance(node, int | float | str) and re.fullmatch(r"\d[\d.e-]*", str(node)):
        yield key, float(node)


@pytest.mark.parametrize(("name", "model"), FAMILIES)
def test_a_length_the_service_cannot_hold_is_refused(name: str, model: str) -> None:
    path, asked = "hyperparameters.max_length", spec(model, hyperparameters={"max_length": 256})
    assert outcome(translate(name, asked, longest=200), path).action == "kept"
    assert outcome(translate(name, asked, longest=300), path).action == "refused"
    assert outcome(translate(name, asked, longest=None), path).action == "refused"


@pytest.mark.parametrize(("name", "model"), FAMILIES)
def test_the_test_split_never_leaves(name: str, model: str) -> None:
    translation = translate(name, spec(model))
    assert {file.split for file in translation.files} <= {"train", "validation"}
    assert "test.jsonl" not in requests_of(translation)


@pytest.mark.parametrize(("name", "model"), FAMILIES)
def test_every_file_is_uploaded_and_named_in_the_create_call(name: str, model: str) -> None:
    translation = translate(name, spec(model))
    named = set(re.findall(r"\{staged:([^}]+)\}", json.dumps(create(translation))))
    assert named == {file.name for file in translation.files}
    assert len(translation.requests) == len(translation.files) + 1


@pytest.mark.parametrize(("name", "model"), FAMILIES)
def test_rows_in_are_rows_out_plus_refused(name: str, model: str) -> None:
    """Every row of a mixed bag ends as a line or as a refusal with line, path, reason and way out."""
    there = backend(name)
    found = there.resolve(model)
    assert found is not None
    convert = there.convert(there.format(found, "sft"))
    bag = [
        chat(), chat(system=None), chat(turns=3), tool_chat(), pair(), Row(9, ()),
        Row(10, (message("user", "a"), message("assistant", "b", weight=0))),
        Row(11, (message("user", "User: a"), message("assistant", "b"))),
        Row(12, (message("user", "secret-words"), message("user", "b"), message("assistant", "c"))),
    ]  # fmt: skip
    results = [convert(row) for row in bag]
    refused = [result for result in results if isinstance(result, Refusal)]
    assert len(results) == len(bag)
    assert all(r.code and r.path and r.fix and "secret-words" not in r.text for r in refused)
    assert not isinstance(results[0], Refusal)
    assert not isinstance(results[1], Refusal)
    assert isinstance(results[4], Refusal)
    assert isinstance(results[5], Refusal)


@pytest.mark.parametrize("name", MANAGED)
def test_what_is_missing_is_named_and_enough(name: str) -> None:
    there = backend(name)
    given_all = {
        "endpoint": "https://x", "role_arn": "arn", "output_uri": "s3://x", "project": "p",
    }  # fmt: skip
    missing = there.missing({})
    assert missing == () if name == "openai" else missing
    assert set(missing) <= set(there.options.model_fields)
    assert there.missing({key: given_all[key] for key in missing}) == ()


def test_a_forgotten_field_is_an_error() -> None:
    ledger = Ledger(spec())
    ledger.ours()
    with pytest.raises(ValueError, match=r"no outcome for .*hyperparameters\.epochs"):
        ledger.close()


def test_placeholders_are_filled_everywhere() -> None:
    body = {"a": ["{staged:train.jsonl}", {"b": "x-{key:4}"}], "c": "{key}", "d": 3}
    filled = fill(body, {"train.jsonl": "file-1"}, "0123456789")
    assert filled == {"a": ["file-1", {"b": "x-0123"}], "c": "0123456789", "d": 3}
    assert fill("y-{key#8}", {}, "0123456789") == f"y-{hashlib.sha256(b'0123456789').hexdigest()[:8]}"


def test_files_carry_the_counts_of_their_conversion() -> None:
    data = profile(rows={"train": 5, "validation": 0, "test": 0})
    (file,) = translate("openai", spec(first_model("openai")), data=data).files
    assert (file.name, file.rows_in, file.rows_out, file.sha256) == ("train.jsonl", 5, 5, None)
