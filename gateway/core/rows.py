"""Rows of a dataset in canonical form, and what one pass over the dataset learned.

Every input format becomes a `Row`; every backend's `convert(row)` starts from one. Nothing here
is ever logged: only line numbers, field paths and reason codes leave the data room.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

from gateway.core.classes import DataClass, effective_class
from gateway.core.review import Lineage, Review

Role = Literal["system", "user", "assistant", "tool"]
Split = Literal["train", "validation", "test"]
SPLITS: tuple[Split, ...] = ("train", "validation", "test")


@dataclass(frozen=True, slots=True)
class ToolCall:
    """A call the assistant makes; `arguments` is JSON text, as the model wrote it."""

    id: str
    name: str
    arguments: str


@dataclass(frozen=True, slots=True)
class Message:
    """One turn. `weight` 0 keeps an assistant turn out of the loss; None means the default (trained)."""

    role: Role
    content: str
    tool_calls: tuple[ToolCall, ...] = ()
    tool_call_id: str | None = None
    name: str | None = None
    weight: Literal[0, 1] | None = None

    def to_json(self) -> dict[str, Any]:
        """The OpenAI chat shape, absent fields left out."""
        turn: dict[str, Any] = {"role": self.role, "content": self.content}
        if self.tool_calls:
            turn["tool_calls"] = [
                {"id": c.id, "type": "function", "function": {"name": c.name, "arguments": c.arguments}}
                for c in self.tool_calls
            ]
        for key in ("tool_call_id", "name", "weight"):
            if (value := getattr(self, key)) is not None:
                turn[key] = value
        return turn


@dataclass(frozen=True, slots=True)
class Row:
    """One example.

    For `sft`, `messages` is the whole chat and ends with the assistant's turn; `chosen` and
    `rejected` are empty. For `dpo`, `messages` is the prompt and the two answers stand beside it.

    Attributes:
        line: where the row came from, 1-based, in `file` (an index into the dataset's files).
        tools: JSON definitions the model may call, in the OpenAI shape.
        group: value of `data.group_by`, which never straddles a split.
    """

    line: int
    messages: tuple[Message, ...]
    chosen: tuple[Message, ...] = ()
    rejected: tuple[Message, ...] = ()
    tools: tuple[Mapping[str, Any], ...] = ()
    group: str | None = None
    file: int = 0

    @property
    def is_preference(self) -> bool:
        return bool(self.chosen)

    def to_json(self) -> dict[str, Any]:
        """Canonical JSON: what the local runner trains on, and what content hashes are made of."""
        row: dict[str, Any] = {"messages": [turn.to_json() for turn in self.messages]}
        if self.chosen:
            row["chosen"] = [turn.to_json() for turn in self.chosen]
            row["rejected"] = [turn.to_json() for turn in self.rejected]
        if self.tools:
            row["tools"] = [dict(tool) for tool in self.tools]
        return row


@dataclass(frozen=True, slots=True)
class Refusal:
    """A row that is not used: where, which field, which reason code. Never the text.

    `text` explains the code in words that hold no data; `fix` says what to change.
    """

    line: int
    code: str
    path: str
    text: str
    fix: str | None = None
    file: int = 0


@dataclass(frozen=True, slots=True)
class Finding:
    """Something the scanner saw. `start` and `end` are code-point offsets in the field's own text."""

    line: int
    field: str
    start: int
    end: int
    type: str
    confidence: float
    file: int = 0


class TokenCounter(Protocol):
    """Counts the tokens a backend would bill for, or train on, for one row, template included."""

    @property
    def method(self) -> str:
        """How the count is made, for people: `o200k_base (exact)`, `nova (proxy, ±15 %)`."""
        ...

    @property
    def band(self) -> float:
        """Relative half-width of the count's error: 0.0 when exact, 0.15 for ±15 %."""
        ...

    def count(self, row: Row) -> int: ...


@dataclass(frozen=True, slots=True)
class Converted:
    """A row in a provider's own format: the JSON object of one line."""

    line: Mapping[str, Any]


class Convert(Protocol):
    """A room's pure `convert(row)`: the provider's line, or why this row cannot go there."""

    def __call__(self, row: Row) -> Converted | Refusal: ...


@dataclass(frozen=True, slots=True)
class TokenStats:
    """Token counts of the used rows by one counter. `lengths` are the sorted row lengths' quantiles
    (1 %, 10 %, 25 %, 50 %, 75 %, 90 %, 99 %, 100 %)."""

    method: str
    band: float
    tokens: int
    longest: int
    lengths: tuple[int, ...]
    by_split: Mapping[Split, int]
    over: Mapping[int, int] = field(default_factory=dict[int, int])  # limit → rows longer than it


@dataclass(frozen=True, slots=True)
class FileStats:
    """What converting one split to one provider format gave."""

    split: Split
    format: str
    rows_in: int
    rows_out: int
    refused: Mapping[str, int]
    sha256: str
    bytes: int


@dataclass(frozen=True, slots=True)
class ScanSummary:
    """What a scan found, without any text.

    Attributes:
        complete: every record and every field was scanned and the engine's canary answered;
            False means "not scanned", which is the unsafe value.
        findings: findings at or above the flag threshold, by type.
        flagged: records with at least one such finding.
        health: records with health content.
        detected: the class the findings alone would give.
    """

    complete: bool
    records: int
    flagged: int
    findings: Mapping[str, int]
    health: int
    detected: DataClass


@dataclass(frozen=True, slots=True)
class DataProfile:
    """All that planning needs to know of a dataset; holds no row text.

    `rows == used + refused`. `split_rows` adds up to `used`.
    """

    hash: str
    files: tuple[str, ...]
    bytes: int
    rows: int
    used: int
    refused: Mapping[str, int]
    split_rows: Mapping[Split, int]
    declared: DataClass
    scan: ScanSummary | None
    tokens: Mapping[str, TokenStats]  # by the counter's method
    converted: Mapping[str, tuple[FileStats, ...]]  # by format
    duplicates: int = 0
    has_tools: bool = False
    has_system: bool = False
    multi_turn: bool = False
    preference: bool = False
    tags: tuple[str, ...] = ()
    purpose: str | None = None
    residency: str = "any"
    lineage: Lineage | None = None
    review: Review = field(default_factory=Review)

    @property
    def detected(self) -> DataClass | None:
        """The class the scan found; None when the data was not, or not completely, scanned."""
        return self.scan.detected if self.scan and self.scan.complete else None

    @property
    def effective(self) -> DataClass:
        """The class that counts; see `gateway.core.classes.effective_class`."""
        determination = self.review.determination
        return self._effective(determination.to if determination else None)

    @property
    def undetermined(self) -> DataClass:
        """The class that counts once no determination does."""
        return self._effective(None)

    def _effective(self, determined: DataClass | None) -> DataClass:
        source = self.lineage.source_class if self.lineage else None
        return effective_class(self.declared, self.detected, source=source, determined=determined)
