"""Small specs, rows and profiles for the backends' tests."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from backends import registry
from backends.base import Backend
from gateway.core.classes import DataClass
from gateway.core.plan import CandidateKey, FieldOutcome, Translation
from gateway.core.rows import DataProfile, FileStats, Message, Row, Split, TokenStats, ToolCall
from gateway.core.spec import JobSpec
from gateway.settings import credential

SHARED = Path(__file__).parents[2].parent / "shared"
MANAGED = tuple(name for name in registry.names() if registry.facts(name).kind == "managed")
TOOL = {"type": "function", "function": {"name": "look_up", "parameters": {"type": "object"}}}
SHA = "ab" * 32


def backend(name: str) -> Backend:
    made = registry.create(name, Path("unused"))
    made.credential = credential
    return made


def spec(model: str = "gpt-4.1-mini", **changes: Any) -> JobSpec:
    """A spec with every nested part overridable: `spec(hyperparameters={"epochs": 2})`."""
    values: dict[str, Any] = {"name": "soap-notes", "model": model, "data": {"train": "rows.jsonl"}}
    return JobSpec.model_validate({**values, **changes})


def message(role: Any, content: str, **more: Any) -> Message:
    return Message(role, content, **more)


def chat(*, system: str | None = "be brief", turns: int = 1, line: int = 1, **more: Any) -> Row:
    start = (message("system", system),) if system else ()
    exchange = (message("user", "how are you"), message("assistant", "well"))
    return Row(line, (*start, *exchange * turns), **more)


def tool_chat() -> Row:
    call = ToolCall("call_1", "look_up", '{"city": "Bonn"}')
    return Row(
        3,
        (
            message("user", "weather?"),
            message("assistant", "", tool_calls=(call,)),
            message("tool", "rain", tool_call_id="call_1"),
            message("assistant", "it rains"),
        ),
        tools=(TOOL,),
    )


def pair() -> Row:
    return Row(
        4,
        (message("user", "greet"),),
        chosen=(message("assistant", "good day"),),
        rejected=(message("assistant", "what"),),
    )


def profile(
    *,
    rows: Mapping[Split, int] | None = None,
    methods: Mapping[str, int] | None = None,
    converted: Mapping[str, tuple[FileStats, ...]] | None = None,
) -> DataProfile:
    """A profile of `rows` per split; `methods` maps a counter's method to its longest row."""
    rows = rows or {"train": 200, "validation": 20, "test": 30}
    total = sum(rows.values())
    tokens = {
        method: TokenStats(method, 0.0, 100 * total, longest, (longest,) * 8, {})
        for method, longest in (methods or {}).items()
    }
    return DataProfile(
        hash=SHA, files=("rows.jsonl",), bytes=1000, rows=total, used=total, refused={}, split_rows=rows,
        declared=DataClass.PHI, scan=None, tokens=tokens, converted=converted or {},
    )  # fmt: skip


def stats(format: str, split: Split, rows: int, *, size: int = 1000) -> FileStats:
    return FileStats(split, format, rows, rows, {}, SHA, size)


def target(name: str, model: str, *, region: str | None = None, offer: str | None = None) -> CandidateKey:
    found = registry.facts(name).model(model)
    assert found is not None
    return CandidateKey(name, found.name, region or found.regions[0], offer or found.offers[0])


def translate(
    name: str,
    asked: JobSpec,
    *,
    longest: int | None = 500,
    data: DataProfile | None = None,
    region: str | None = None,
    offer: str | None = None,
) -> Translation:
    """The translation of `asked` for the first region and offer of its model."""
    there = backend(name)
    key = target(name, asked.model[0], region=region, offer=offer)
    model = there.resolve(key.model)
    assert model is not None
    if data is None:
        data = profile(methods={} if longest is None else {there.counter(model).method: longest})
    return there.translate(asked, key, data, None)


def outcome(translation: Translation, path: str) -> FieldOutcome:
    return next(field for field in translation.fields if field.path == path)


def create(translation: Translation) -> dict[str, Any]:
    """Body of the call that creates the job: the last request."""
    return dict(translation.requests[-1].body)


def first_model(name: str) -> str:
    return registry.facts(name).models[0].name
