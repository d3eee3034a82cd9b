"""The job spec: what a user asks for.

One frozen pydantic model, the same from YAML and from Python. Unknown keys are errors. Every
problem is reported at once (see `gateway.core.load`, which adds the nearest known key and the line).

Values of different units never stand in for each other: a learning-rate multiplier is not a
learning rate, and `auto` is a word, not a number.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainSerializer,
    PrivateAttr,
    field_validator,
    model_validator,
)

from gateway.core.classes import DataClass

Auto = Literal["auto"]
Task = Literal["sft", "dpo"]
Method = Literal["lora", "qlora", "full", "auto"]
Objective = Literal["cheapest", "fastest", "order"]

_DURATION = re.compile(r"(\d{1,6}(?:\.\d{1,6})?)\s*([mhd])")
_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,62}")
_SECONDS = {"m": 60, "h": 3600, "d": 86400}


def _duration(value: object) -> object:
    """`90m`, `24h` or `7d` as a timedelta."""
    if isinstance(value, str):
        match = _DURATION.fullmatch(value.strip())
        if match is None:
            raise ValueError("write a duration as minutes, hours or days, at most six digits: 90m, 24h, 7d")
        seconds = float(match[1]) * _SECONDS[match[2]]
        if not seconds:
            raise ValueError("a deadline of no time cannot be met")
        return timedelta(seconds=seconds)
    return value


def _money(value: object) -> object:
    """Money from YAML arrives as int, float or string; a float goes through its shortest text."""
    if isinstance(value, int | float) and not isinstance(value, bool):
        return Decimal(str(value))
    return Decimal(value) if isinstance(value, str) else value


def _as_tuple(value: object) -> object:
    return tuple(value) if isinstance(value, list) else value  # pyright: ignore[reportUnknownArgumentType, reportUnknownVariableType]


def _one_or_many(value: object) -> object:
    return (value,) if isinstance(value, str) else _as_tuple(value)


def _data_class(value: object) -> object:
    """A class by its name; the type error then lists the names."""
    return DataClass.parse(value) if isinstance(value, str) else value


Duration = Annotated[timedelta, BeforeValidator(_duration, json_schema_input_type=str)]
Money = Annotated[Decimal, BeforeValidator(_money, json_schema_input_type=float | str), Field(ge=0)]
Names = Annotated[tuple[str, ...], BeforeValidator(_one_or_many, json_schema_input_type=str | list[str])]
Strings = Annotated[tuple[str, ...], BeforeValidator(_as_tuple, json_schema_input_type=list[str])]
Class = Annotated[
    DataClass,
    BeforeValidator(
        _data_class,
        json_schema_input_type=Literal["public", "internal", "confidential", "pii", "phi"],
    ),
    PlainSerializer(str, return_type=str, when_used="json"),
]
Share = Annotated[float, Field(ge=0, lt=1)]


class Part(BaseModel):
    """A part of the spec: frozen, unknown keys forbidden, no silent conversion of types."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, populate_by_name=True)


class Columns(Part):
    """Which columns hold what, for tables; names are the file's own."""

    prompt: str | None = Field(default=None, description="column with the user's side")
    completion: str | None = Field(default=None, description="column with the answer to learn")
    system: str | None = Field(default=None, description="column with a system prompt per row")
    messages: str | None = Field(default=None, description="column with a whole chat, as JSON")
    chosen: str | None = Field(default=None, description="column with the preferred answer (dpo)")
    rejected: str | None = Field(default=None, description="column with the other answer (dpo)")


class Data(Part):
    """Where the rows are, how they are read and split, and how they must be treated."""

    train: Names = Field(description="a path or glob, or a list: jsonl, csv, parquet, and .gz of these")
    format: Literal["auto", "chat", "alpaca", "sharegpt", "preference", "columns"] = "auto"
    columns: Columns | None = None
    system: str | None = Field(default=None, description="system prompt for rows that bring none")
    validation: Share | str = Field(default=0.0, description="a fraction of the rows, or a path")
    test: Share | str = Field(default=0.0, description="held out and never trained on; a fraction, or a path")
    group_by: str | None = Field(default=None, description="rows with the same value never straddle a split")
    too_long: Literal["refuse", "truncate"] = "refuse"
    class_: Class = Field(
        default=DataClass.PHI,
        validation_alias="class",
        serialization_alias="class",
        description="a floor; absent means phi",
    )
    tags: Strings = ()
    purpose: str | None = None
    residency: str = Field(
        default="any", pattern=r"^(any|[a-z]{2})$", description="any, us, eu or a country code"
    )
    deidentify: Literal["none", "scrub"] = "none"

    @field_validator("train")
    @classmethod
    def _some_path(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        if not value or not all(value):
            raise ValueError("name at least one file")
        return value


class Lora(Part):
    rank: int = Field(default=16, ge=1, le=512)
    alpha: float = Field(default=32, gt=0)
    dropout: float = Field(default=0.05, ge=0, lt=1)
    rslora: bool = Field(default=False, description="scale by alpha / √rank, not alpha / rank")
    dora: bool = Field(default=False, description="also learn each weight's length, apart from its direction")
    targets: Strings = Field(
        default=(),
        description="names of the layers to adapt, as q_proj; none: every linear layer but the output",
    )


class Dpo(Part):
    beta: float = Field(default=0.1, gt=0, le=2)


class Hyperparameters(Part):
    epochs: Auto | Annotated[int, Field(ge=1, le=50)] = "auto"
    batch_size: Auto | Annotated[int, Field(ge=1, le=4096)] = Field(
        default="auto", description="rows per optimizer step"
    )
    learning_rate: Auto | Annotated[float, Field(gt=0, lt=1)] = Field(
        default="auto", description="the optimizer's own rate"
    )
    learning_rate_multiplier: Auto | Annotated[float, Field(gt=0, le=100)] = Field(
        default="auto", description="times the provider's own default rate; not a learning rate"
    )
    max_length: Auto | Annotated[int, Field(ge=16, le=1_048_576)] = Field(
        default="auto", description="tokens per row"
    )
    seed: int = Field(default=17, ge=0, le=2**31 - 1)
    lora: Lora = Lora()
    dpo: Dpo = Dpo()


class Evaluate(Part):
    """How base and tuned are compared on the held-out rows."""

    metrics: Strings = Field(
        default=("exact_match", "token_f1", "rouge_l"), description="names from `gateway.evaluate`"
    )
    baseline: bool = Field(default=True, description="also score the base model, on the same rows")
    json_schema: str | None = Field(
        default=None, description="path of a JSON Schema the answers must satisfy"
    )
    scorer: str | None = Field(
        default=None,
        pattern=r"^[A-Za-z_][\w.]*:[A-Za-z_]\w*$",
        description="your own score, as `module:function`",
    )
    max_output_tokens: int = Field(default=256, ge=1, le=32_768)
    general: Auto | bool = Field(
        default="auto",
        description="also ask 48 fixed general questions, to see what was forgotten; auto: where it is free",
    )


class Route(Part):
    backends: Names = Field(default=(), description="registry names; empty means every registered backend")
    objective: Objective = "cheapest"
    budget_usd: Money | None = Field(default=None, description="cap on the high estimate of the total")
    deadline: Duration | None = Field(
        default=None, description="90m, 24h, 7d: latest end of training from now"
    )


class Serving(Part):
    """The traffic the tuned model will carry, and for how long."""

    input_tokens_per_month: int = Field(default=0, ge=0, le=10**15)
    output_tokens_per_month: int = Field(default=0, ge=0, le=10**15)
    queries_per_month: int | None = Field(default=None, ge=1, le=10**12)
    months: int = Field(default=12, ge=1, le=120)
    incumbent: str | None = Field(default=None, description="the model that does this work today")


class JobSpec(Part):
    """One fine-tuning job, for whichever backend may run it.

    Raises:
        pydantic.ValidationError: from the constructor; use `gateway.core.load` for `SpecError`s
            with line numbers and suggestions.
    """

    version: Literal[1] = 1
    name: str = Field(description="lower case letters, digits and - . _, at most 63")
    team: str | None = Field(default=None, description="who asks; default from the settings, else `default`")
    task: Task = "sft"
    model: Names = Field(description="a model's name, or a list: any of these will do")
    method: Method = "auto"
    data: Data
    hyperparameters: Hyperparameters = Hyperparameters()
    evaluate: Evaluate = Evaluate()
    route: Route = Route()
    serving: Serving | None = None
    options: dict[str, dict[str, Any]] = Field(
        default_factory=dict[str, dict[str, Any]],
        description="per backend; checked by the backend's own model",
    )

    _folder: Path | None = PrivateAttr(None)  # where it was read from; no part of what is asked

    @property
    def folder(self) -> Path:
        """What relative paths in this spec are relative to: its file's folder, else where we stand."""
        return self._folder or Path.cwd()

    def at(self, folder: Path) -> JobSpec:
        """The same spec, its relative paths meant from `folder`."""
        copy = self.model_copy()
        copy._folder = folder.absolute()
        return copy

    @field_validator("name")
    @classmethod
    def _plain_name(cls, value: str) -> str:
        if not _NAME.fullmatch(value):
            raise ValueError(
                "a name is lower case letters, digits and - . _, at most 63, letter or digit first"
            )
        return value

    @field_validator("model")
    @classmethod
    def _some_model(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        if not value or not all(value):
            raise ValueError("name at least one model")
        return value

    @model_validator(mode="after")
    def _task_fits_columns(self) -> JobSpec:
        columns = self.data.columns
        if columns and self.task == "sft" and (columns.chosen or columns.rejected):
            raise ValueError("chosen and rejected columns are for task: dpo")
        return self

    @classmethod
    def from_yaml(cls, path: str | Path) -> JobSpec:
        """Read and check a spec file; see `gateway.core.load.load_spec`."""
        from gateway.core.load import load_spec

        return load_spec(path)

    def to_json(self) -> dict[str, Any]:
        """The spec as plain JSON values, every default filled in."""
        return self.model_dump(mode="json", by_alias=True)

    def hash(self) -> str:
        """SHA-256 over the canonical JSON of the whole spec, defaults included."""
        return canonical_sha256(self.to_json())


def canonical_sha256(value: Mapping[str, Any]) -> str:
    """SHA-256 (hex) of JSON with sorted keys and no spaces: the house's one way to hash a structure."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()
