"""What each kind of record says, built from typed parts that hold no row; `kinds` has the shapes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, cast

from gateway.core.gate import Decision, GateRequest
from gateway.core.job import Artifact, JobState, RemoteRef
from gateway.core.plan import CandidateKey, ProviderFile, Translation
from gateway.core.spec import canonical_sha256

LONGEST_WORD = 128


def scan(
    data: Mapping[str, Any], *, engine: str, job_id: str | None = None, flagged: int | None = None
) -> dict[str, Any]:
    """What a scan of a dataset found.

    Args:
        data: the `data` part of `Plan.to_json()`, or the same names from elsewhere.
        engine: what looked, with its version.
        flagged: records with at least one finding, where known.
    """
    return {
        "data_hash": data["hash"],
        "engine": engine,
        "complete": data["scanned"],
        "records": data["rows"],
        "flagged": flagged,
        "findings": dict(data["findings"]),
        "detected": data["class"]["detected"],
        "job": job_id,
    }


def decision(plan: Mapping[str, Any], *, job_id: str, requested_by: str | None = None) -> dict[str, Any]:
    """Every candidate's verdict, the choice and why, and what the gate stood on.

    Args:
        plan: `Plan.to_json()`, as it is stored with the job.
        requested_by: who asked for the job, where that is known.
    """
    data = plan["data"]
    return {
        "job": job_id,
        "requested_by": requested_by,
        "spec_hash": plan["spec_hash"],
        "plan_hash": canonical_sha256(plan),
        "as_of": plan["as_of"],
        "policy_hash": plan["policy_hash"],
        "rules": plan["rules"],
        "trust": plan["trust"],
        "data": {**{name: data[name] for name in _DATA}, "class": _class(data["class"])},
        "candidates": [_candidate(candidate) for candidate in plan["candidates"]],
        "chosen": plan["chosen"],
        "why": plan["why"],
    }


_DATA = ("hash", "rows", "used", "refused", "scanned", "findings")
_CLASS = ("declared", "detected", "effective")


def dispatch(
    plan: Mapping[str, Any],
    candidate: CandidateKey,
    remote: RemoteRef,
    gate: tuple[GateRequest, Decision] | None,
    translation: Translation,
    *,
    job_id: str,
    attempt: int,
    decision_sha256: str,
    hosts: Sequence[str] = (),
) -> dict[str, Any]:
    """What was sent where, under which answer of the gate. Requests and files by hash only.

    Args:
        plan: `Plan.to_json()`, as it is stored with the job.
        gate: question and answer at dispatch; None where they were another process's, since dead.
    """
    return {
        "job": job_id,
        "attempt": attempt,
        "decision": decision_sha256,
        "plan_hash": canonical_sha256(plan),
        "data_hash": plan["data"]["hash"],
        "data_class": plan["data"]["class"]["effective"],
        "candidate": _key(candidate),
        "place": gate and _place(gate[0]),
        "agreements": _agreements(gate[0]) if gate else [],
        "hosts": list(hosts),
        "remote": {"backend": remote.backend, "id": remote.id, "address": remote.detail.get("address")},
        "gate": gate and gate[1].to_json(),
        "files": [_file(file) for file in translation.files],
        "requests": [
            {"operation": r.operation, "sha256": canonical_sha256(dict(r.body))} for r in translation.requests
        ],
    }


def action(
    request: GateRequest,
    answer: Decision,
    *,
    job_id: str | None = None,
    attempt: int | None = None,
    data_hash: str | None = None,
    hosts: Sequence[str] = (),
    **more: Any,
) -> dict[str, Any]:
    """The part that records of actions share: where to, of which class, and the gate's answer.

    Args:
        hosts: where the calls really go, as the vendor's SDK resolved it.
        more: the fields of the kind in question; see `kinds.Upload` and its siblings.
    """
    return {
        "job": job_id,
        "attempt": attempt,
        "place": _place(request),
        "data_hash": data_hash,
        "data_class": str(request.data_class),
        "scanned": request.scanned,
        "agreements": _agreements(request),
        "approvals": list(request.approvals),
        "account": request.account,
        "hosts": list(hosts),
        "gate": answer.to_json(),
        **more,
    }


def upload(
    request: GateRequest,
    answer: Decision,
    file: ProviderFile,
    *,
    job_id: str,
    attempt: int,
    data_hash: str,
    hosts: Sequence[str] = (),
) -> dict[str, Any]:
    """A data file that is about to leave."""
    known = action(request, answer, job_id=job_id, attempt=attempt, data_hash=data_hash, hosts=hosts)
    return {**known, "file": _file(file)}


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
    evaluation: str,
    metrics: Mapping[str, Any] | None,
    artifacts: Sequence[Artifact],
    estimate: Mapping[str, Any],
    actual: Mapping[str, Any],
) -> dict[str, Any]:
    """What training left.

    Args:
        plan: `Plan.to_json()`, as it is stored with the job.
        evaluation: how the comparison of base and tuned ended: done, failed or skipped.
        metrics: `Evaluation.metrics_json()`; only its numbers are kept.
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
        "evaluation": evaluation,
        "metrics": _numbers(metrics or {}),
        "artifacts": [{"kind": a.kind, "sha256": a.sha256, "id": a.callable_id} for a in artifacts],
        "estimate": dict(estimate),
        "actual": dict(actual),
    }


def _candidate(candidate: Mapping[str, Any]) -> dict[str, Any]:
    named = ("backend", "model", "region", "offer", "verdict", "selectable")
    return {
        **{name: candidate[name] for name in named},
        "reasons": [{name: r[name] for name in ("verdict", "code", "rule")} for r in candidate["reasons"]],
        "gate": candidate["decision"],
    }


def _class(classes: Mapping[str, Any]) -> dict[str, Any]:
    """The dataset's classes, and the determination that lowered it: by its hash, where there is one."""
    return {**{name: classes[name] for name in _CLASS}, "determination": classes.get("determination")}


def _place(request: GateRequest) -> dict[str, str]:
    key = CandidateKey(request.backend, request.model, request.region, request.offer)
    return {**_key(key), "kind": request.kind, "residency": request.residency}


def _agreements(request: GateRequest) -> list[dict[str, Any]]:
    """What was attested for this backend, in force on the day and for the action in question."""
    return [
        {
            "kind": each.kind,
            "signed": each.signed.isoformat(),
            "expires": each.expires and each.expires.isoformat(),
            "scope": each.scope,
            "evidence": each.evidence,
            "evidence_sha256": each.evidence_sha256,
            "account": each.account,
        }
        for each in request.attestations
        if each.backend == request.backend
        and each.in_force(request.as_of)
        and each.covers(request.action, request.account)
    ]


def _file(file: ProviderFile) -> dict[str, Any]:
    return {"name": file.name, "format": file.format, "rows": file.rows_out, "sha256": file.sha256}


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
