"""`tunegate policy test`: a table of cases with expected verdicts, for an organisation's own CI.

    version: 1
    as_of: 2026-11-22
    cases:
      - name: PHI stays here without a BAA
        ask: {backend: bedrock, kind: managed, class: phi, scanned: true, residency: us,
              handling: {hipaa_eligible: true, hipaa_requires: [baa], trains_on_data: false}}
        expect: deny
        rules: [hipaa.no-baa]        # optional: rules that must be among the grounds
      - name: and goes with one
        ask: {backend: bedrock, kind: managed, class: phi, scanned: true, residency: us,
              agreements: [baa],     # attested, and in force on the day
              handling: {hipaa_eligible: true, hipaa_requires: [baa], trains_on_data: false}}
        expect: allow

What `ask` leaves out has the unsafe value: class `phi`, not scanned, residency `global`.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, StrictBool, ValidationError
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from gateway.core.classes import DataClass
from gateway.core.errors import SettingsError
from gateway.core.gate import Action, Attestation, Decision, Gate, GateRequest
from gateway.core.spec import Class


@dataclass(frozen=True, slots=True)
class CaseResult:
    """One case: what was expected, and what the gate said."""

    name: str
    expected: Literal["allow", "deny"]
    decision: Decision
    missing_rules: tuple[str, ...]

    @property
    def passed(self) -> bool:
        return self.decision.allowed == (self.expected == "allow") and not self.missing_rules

    def to_json(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "passed": self.passed,
            "expected": self.expected,
            "missing_rules": list(self.missing_rules),
            "decision": self.decision.to_json(),
        }


class _Table(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class _Ask(_Table):
    backend: str
    kind: Literal["local", "managed"]
    action: Action = Action.UPLOAD
    team: str = "default"
    model: str = ""
    region: str = ""
    offer: str = ""
    residency: str = "global"
    handling: dict[str, bool | str | tuple[str, ...]] = Field(
        default_factory=dict[str, bool | str | tuple[str, ...]]
    )
    class_: Class = Field(DataClass.PHI, alias="class")
    scanned: StrictBool = False
    tags: tuple[str, ...] = ()
    purpose: str | None = None
    asked_residency: str = "any"
    agreements: tuple[str, ...] = ()
    approvals: tuple[str, ...] = ()


class _Case(_Table):
    name: str
    ask: _Ask
    expect: Literal["allow", "deny"]
    rules: tuple[str, ...] = ()


class _File(_Table):
    version: Literal[1]
    as_of: date
    cases: tuple[_Case, ...] = Field(min_length=1)


def try_cases(table: Path, gate: Gate) -> tuple[CaseResult, ...]:
    """Ask the gate every case of a YAML table.

    Raises:
        SettingsError: the table cannot be read, or has no case; every problem at once.
    """
    file = _read(table)
    return tuple(_try(case, file.as_of, gate) for case in file.cases)


def _try(case: _Case, as_of: date, gate: Gate) -> CaseResult:
    values = dict(case.ask)
    kinds: tuple[str, ...] = values.pop("agreements")
    attested = tuple(Attestation(kind, case.ask.backend, as_of, as_of) for kind in kinds)
    request = GateRequest(data_class=values.pop("class_"), attestations=attested, as_of=as_of, **values)
    decision = gate.decide(request)
    named = {ground.rule for ground in decision.grounds}
    return CaseResult(case.name, case.expect, decision, tuple(r for r in case.rules if r not in named))


_KEYS = "at the top: version, as_of, cases; a case has name, ask, expect (allow or deny), and may have rules"


def _read(table: Path) -> _File:
    try:
        values: Any = YAML(typ="safe", pure=True).load(table.read_text(encoding="utf-8"))  # pyright: ignore[reportUnknownMemberType]
        if not isinstance(values, dict):
            raise SettingsError("this is not a table of cases", place=str(table), fix=_KEYS)
        return _File.model_validate(values)
    except (OSError, UnicodeDecodeError):
        raise SettingsError("this table of cases cannot be read", place=str(table)) from None
    except YAMLError:
        raise SettingsError("this table of cases is not valid YAML", place=str(table)) from None
    except ValidationError as error:
        problems = "; ".join(
            f"{'.'.join(map(str, item['loc']))}: {item['msg']}"
            for item in error.errors(include_url=False, include_input=False)
        )
        raise SettingsError(
            problems,
            place=str(table),
            fix=_KEYS,
        ) from None
