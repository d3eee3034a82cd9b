"""What each kind of record says. Built from typed parts that hold no row, and checked again on the way in.

A predicate may hold hashes, counts, codes, names, numbers and the gate's own words. Its top-level
fields are an allow-list; free text longer than a rule's reason is refused.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

from gateway.core.errors import RecordError
from gateway.core.gate import Decision
from gateway.core.job import Artifact, JobState, RemoteRef
from gateway.core.plan import CandidateKey, Translation
from gateway.core.spec import canonical_sha256

LONGEST_TEXT = 1_000
LONGEST_WORD = 128
_BASE = "https://tunegate.example/predicate"


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of record: its predicate type, and the only fields it may have."""

    uri: str
    fields: frozenset[str]


KINDS: Mapping[str, Kind] = {
    "decision": Kind(
        f"{_BASE}/decision/v1",
        frozenset(
            {"job", "spec_hash", "plan_hash", "as_of", "policy_hash", "rules", "trust", "data"}
            | {"candidates", "chosen", "why"}
        ),
    ),
    "dispatch": Kind(
        f"{_BASE}/dispatch/v1",
        frozenset(
            {"job", "attempt", "decision", "plan_hash", "data_hash", "candidate", "remote", "gate"}
            | {"files", "requests"}
        ),
    ),
    "training_result": Kind(
        f"{_BASE}/training-result/v1",
        frozenset(
            {"job", "attempt", "decision", "dispatch", "state", "raw_state", "candidate"}
            | {"data_hash", "data_class"}
            | {"base_revision", "libraries", "hyperparameters", "metrics", "artifacts", "estimate", "actual"}
        ),
    ),
}


def decision(plan: Mapping[str, Any], *, job_id: str) -> dict[str, Any]:
    """Every candidate's verdict, the choice and why, and what the gate stood on.

    Args:
        plan: `Plan.to_json()`, as it is stored with the job.
    """
    data = plan["data"]
    return {
        "job": job_id,
        "spec_hash": plan["spec_hash"],
        "plan_hash": canonical_sha256(plan),
        "as_of": plan["as_of"],
        "policy_hash": plan["policy_hash"],
        "rules": plan["rules"],
        "trust": plan["trust"],
        "data": {name: data[name] for name in _DATA},
        "candidates": [_candidate(candidate) for candidate in plan["candidates"]],
        "chosen": plan["chosen"],
        "why": plan["why"],
    }


_DATA = ("hash", "rows", "used", "refused", "class", "scanned", "findings")


def dispatch(
    plan: Mapping[str, Any],
    candidate: CandidateKey,
    remote: RemoteRef,
    gate: Decision | None,
    translation: Translation,
    *,
    job_id: str,
    attempt: int,
    decision_sha256: str,
) -> dict[str, Any]:
    """What was sent where, under which answer of the gate. Requests and files by hash only.

    Args:
        plan: `Plan.to_json()`, as it is stored with the job.
        gate: the answer given at dispatch; None where it was given to a process that has since died.
    """
    return {
        "job": job_id,
        "attempt": attempt,
        "decision": decision_sha256,
        "plan_hash": canonical_sha256(plan),
        "data_hash": plan["data"]["hash"],
        "candidate": _key(candidate),
        "remote": {"backend": remote.backend, "id": remote.id},
        "gate": gate and gate.to_json(),
        "files": [
            {"name": f.name, "format": f.format, "rows": f.rows_out, "sha256": f.sha256}
            for f in translation.files
        ],
        "requests": [
            {"operation": r.operation, "sha256": canonical_sha256(dict(r.body))} for r in translation.requests
        ],
    }


def training_result(
    plan: Mapping[str, Any],
    candidate: CandidateKey,
    *,
    job_id: str,
    attempt: int,
    decision_sha256: str,
    dispatch_sha256: str | None,
    state: JobState,
    raw_state: str,
    base_revision: str | None,
    libraries: Mapping[str, str],
    hyperparameters: Mapping[str, Any],
    metrics: Mapping[str, Any] | None,
    artifacts: Sequence[Artifact],
    estimate: Mapping[str, Any],
    actual: Mapping[str, Any],
) -> dict[str, Any]:
    """What training left.

    Args:
        metrics: `Evaluation.metrics_json()`; only its numbers are kept.
        plan: `Plan.to_json()`, as it is stored with the job.
        hyperparameters: as they were really used, every `auto` resolved; numbers, switches and short
            words are kept, longer text (a system prompt) is not.
        estimate: what was expected: `usd` and `hours`, each {low, likely, high} or None.
        actual: what it came to: `usd` and `hours`; None where not known.
    """
    return {
        "job": job_id,
        "attempt": attempt,
        "decision": decision_sha256,
        "dispatch": dispatch_sha256,
        "state": str(state),
        "raw_state": raw_state,
        "candidate": _key(candidate),
        "data_hash": plan["data"]["hash"],
        "data_class": plan["data"]["class"]["effective"],
        "base_revision": base_revision,
        "libraries": dict(libraries),
        "hyperparameters": _settings(hyperparameters),
        "metrics": _numbers(metrics or {}),
        "artifacts": [{"kind": a.kind, "sha256": a.sha256} for a in artifacts],
        "estimate": dict(estimate),
        "actual": dict(actual),
    }


def check_predicate(kind: str, predicate: Mapping[str, Any]) -> None:
    """Refuse what a record of this kind may not hold.

    Raises:
        RecordError: an unknown kind, a field outside its allow-list, or text too long to be a reason;
            the message names the field and never the value.
    """
    if kind not in KINDS:
        raise RecordError(f"there is no kind of record {kind!r}", fix=f"the kinds are {', '.join(KINDS)}")
    if unknown := sorted(set(predicate) - KINDS[kind].fields):
        raise RecordError(f"a {kind} record has no field {unknown[0]!r}", place=unknown[0])
    for path, text in _texts(predicate, ""):
        if len(text) > LONGEST_TEXT:
            raise RecordError(f"text of {len(text)} characters does not belong in a record", place=path)


def _candidate(candidate: Mapping[str, Any]) -> dict[str, Any]:
    named = ("backend", "model", "region", "offer", "verdict", "selectable")
    return {
        **{name: candidate[name] for name in named},
        "reasons": [{name: r[name] for name in ("verdict", "code", "rule")} for r in candidate["reasons"]],
        "gate": candidate["decision"],
    }


def _key(key: CandidateKey) -> dict[str, str]:
    return {"backend": key.backend, "model": key.model, "region": key.region, "offer": key.offer}


def _numbers(value: Mapping[str, Any]) -> dict[str, Any]:
    """The numbers of a nested mapping, and nothing else."""
    kept: dict[str, Any] = {}
    for name, item in value.items():
        if isinstance(item, Mapping):
            kept[name] = _numbers(cast("Mapping[str, Any]", item))
        elif item is None or isinstance(item, int | float):
            kept[name] = item
    return kept


def _settings(value: Mapping[str, Any]) -> dict[str, Any]:
    """Numbers, switches and words of a nested mapping; no text."""
    kept: dict[str, Any] = {}
    for name, item in value.items():
        if isinstance(item, Mapping):
            kept[name] = _settings(cast("Mapping[str, Any]", item))
        elif item is None or isinstance(item, int | float) or _is_word(item):
            kept[name] = item
    return kept


def _is_word(value: object) -> bool:
    return isinstance(value, str) and len(value) <= LONGEST_WORD and not any(c.isspace() for c in value)


def _texts(value: object, path: str) -> Iterator[tuple[str, str]]:
    if isinstance(value, str):
        yield path, value
    elif isinstance(value, Mapping):
        for name, item in cast("Mapping[str, object]", value).items():
            yield f"{path}.<key>".lstrip("."), str(name)
            yield from _texts(item, f"{path}.{str(name)[:40]}".lstrip("."))
    elif isinstance(value, list | tuple):
        for item in cast("Sequence[object]", value):
            yield from _texts(item, path)
