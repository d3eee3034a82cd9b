"""What is wrong with a dataset, row by row and in sum, without a word of it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from gateway.core.rows import Refusal
from gateway.data.dataset import Dataset, OnProgress, Record, run_pass
from gateway.data.reasons import REASONS, refuse

CHECK_SCHEMA = "tunegate.data-check/1"
_FEW_ROWS = 50
_MANY_REFUSED = 0.05


@dataclass(frozen=True, slots=True)
class Problem:
    """One reason code: how often, and where first (1-based line, field path)."""

    code: str
    count: int
    file: str
    line: int
    path: str
    text: str
    fix: str

    def to_json(self) -> dict[str, Any]:
        return {
            "code": self.code,
            "count": self.count,
            "first": {"file": self.file, "line": self.line, "path": self.path},
            "text": self.text,
            "fix": self.fix,
        }


@dataclass(frozen=True, slots=True)
class CheckReport:
    """A dataset's health. `rows == used + sum(refused.values())`; problems, the commonest first."""

    files: tuple[str, ...]
    formats: tuple[str, ...]
    bytes: int
    rows: int
    used: int
    refused: Mapping[str, int]
    problems: tuple[Problem, ...]
    has_tools: bool = False
    has_system: bool = False
    multi_turn: bool = False
    preference: bool = False

    @property
    def ok(self) -> bool:
        """Every row can be used, and there is at least one."""
        return self.used > 0 and not self.refused

    @property
    def tips(self) -> tuple[str, ...]:
        """What to do next, most pressing first."""
        tips = [f"{problem.text}: {problem.fix}" for problem in self.problems[:3]]
        refused = self.rows - self.used
        if self.rows and refused > _MANY_REFUSED * self.rows:
            tips.append(
                f"{refused} of {self.rows} rows are refused: check that the format was recognised rightly"
            )
        if 0 < self.used < _FEW_ROWS:
            tips.append(f"only {self.used} rows: most tasks need at least {_FEW_ROWS} good ones")
        return tuple(tips)

    def to_json(self) -> dict[str, Any]:
        return {
            "schema": CHECK_SCHEMA,
            "ok": self.ok,
            "files": [
                {"name": name, "format": format}
                for name, format in zip(self.files, self.formats, strict=True)
            ],
            "bytes": self.bytes,
            "rows": self.rows,
            "used": self.used,
            "refused": dict(self.refused),
            "problems": [problem.to_json() for problem in self.problems],
            "has_tools": self.has_tools,
            "has_system": self.has_system,
            "multi_turn": self.multi_turn,
            "preference": self.preference,
            "tips": list(self.tips),
        }


class Checks:
    """Observer: counts rows and reasons, and notes what kinds of rows there are."""

    def __init__(self) -> None:
        self._rows = self._used = 0
        self._refused: Counter[str] = Counter()
        self._first: dict[str, Refusal] = {}
        self._tools = self._system = self._turns = self._pairs = False

    def see(self, record: Record) -> None:
        self._rows += 1
        row = record.outcome
        if isinstance(row, Refusal):
            self._refused[row.code] += 1
            self._first.setdefault(row.code, row)
            return
        self._used += 1
        turns = row.messages
        if turns[0].role == "system":
            self._system = True
        if row.chosen:
            self._pairs = True
        if len(turns) > 3 - (turns[0].role != "system") - bool(row.chosen):
            self._turns = True
            self._tools = self._tools or any(turn.tool_calls for turn in turns)
        if row.tools or any(turn.tool_calls for turn in (turns[-1], *row.chosen[:1], *row.rejected[:1])):
            self._tools = True

    def hand_over(self) -> dict[str, Any]:
        """What was seen since the last time, as JSON values, for another one's `add`; no text."""
        first = [(row.code, row.file, row.line, row.path) for row in self._first.values()]
        part = {"rows": self._rows, "used": self._used, "refused": dict(self._refused), "first": first}
        part["kinds"] = [self._tools, self._system, self._turns, self._pairs]
        self.__init__()
        return part

    def add(self, part: Mapping[str, Any]) -> None:
        """Count what another one saw, further on in the data."""
        self._rows += part["rows"]
        self._used += part["used"]
        self._refused.update(part["refused"])
        for code, file, line, path in part["first"]:
            self._first.setdefault(code, refuse(code, line=line, file=file, path=path))
        tools, system, turns, pairs = part["kinds"]
        self._tools, self._system = self._tools or tools, self._system or system
        self._turns, self._pairs = self._turns or turns, self._pairs or pairs

    def report(self, dataset: Dataset) -> CheckReport:
        return CheckReport(
            files=dataset.files,
            formats=tuple(source.format for source in dataset.sources),
            bytes=dataset.bytes,
            rows=self._rows,
            used=self._used,
            refused=dict(self._refused),
            problems=tuple(
                _problem(self._first[code], count, dataset) for code, count in self._refused.most_common()
            ),
            has_tools=self._tools,
            has_system=self._system,
            multi_turn=self._turns,
            preference=self._pairs,
        )


def _problem(first: Refusal, count: int, dataset: Dataset) -> Problem:
    why = REASONS[first.code]
    return Problem(
        code=first.code,
        count=count,
        file=dataset.files[first.file],
        line=first.line,
        path=first.path,
        text=why.text,
        fix=why.fix,
    )


def refusals(dataset: Dataset) -> Iterator[Refusal]:
    """Every refused row, in order, streamed."""
    return (record.outcome for record in dataset.records() if isinstance(record.outcome, Refusal))


def check(dataset: Dataset, *, on_progress: OnProgress | None = None) -> CheckReport:
    """Read the whole dataset once and report its health.

    Raises:
        DataError: a file is gone, damaged, or changed while it was read.
    """
    checks = Checks()
    run_pass(dataset, [checks], on_progress)
    return checks.report(dataset)
