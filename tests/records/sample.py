"""An account as a quarter of work leaves it: PHI under a BAA, PHI that stayed, a public set, and a denial."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

from gateway.core.classes import DataClass
from gateway.core.gate import Action, Attestation, Decision, GateRequest, Ground
from gateway.core.job import Artifact, JobState, RemoteRef
from gateway.core.plan import CandidateKey, DataSummary, Plan, ProviderFile, Verdict
from gateway.records import RecordLog, SigningKey, action, decision, dispatch, scan, training_result, upload
from tests.policy.asking import GOOD, MANAGED
from tests.records.test_predicates import DIGEST, PLAN, TRANSLATION

START = datetime(2026, 7, 6, 9, 0, tzinfo=UTC)
BEDROCK = CandidateKey("bedrock", "llama-3.1-8b-instruct", "us-west-2", "on-demand")
LOCAL = CandidateKey("local", "llama-3.1-8b-instruct", "local", "this-machine")
BAA = Attestation(
    "baa", "bedrock", date(2026, 3, 1), date(2027, 3, 1), evidence="https://intranet.example/aws-baa.pdf"
)
ALLOWED = Decision(True, (Ground("hipaa.phi", "under a BAA", "45 CFR 164.502(e)"),), DIGEST, "verified")
DENIED = Decision(
    False, (Ground("hipaa.no-baa", "no BAA is on file", "45 CFR 164.502(e)", "sign one"),), DIGEST
)
FILE = ProviderFile("train.jsonl", "train", "bedrock-converse", 900, 900, {}, "cd" * 32)


class Times:
    """A clock that goes on by an hour at every look."""

    def __init__(self, start: datetime = START) -> None:
        self.now = start

    def __call__(self) -> datetime:
        self.now += timedelta(hours=1)
        return self.now


def asked(key: CandidateKey, what: Action, data_class: DataClass, *agreements: Attestation) -> GateRequest:
    return replace(
        MANAGED,
        action=what,
        backend=key.backend,
        model=key.model,
        region=key.region,
        offer=key.offer,
        kind="local" if key.backend == "local" else "managed",
        residency="local" if key.backend == "local" else "us",
        handling=GOOD,
        data_class=data_class,
        attestations=agreements,
        as_of=START.date(),
    )


def plan_of(number: int, data_class: DataClass, key: CandidateKey) -> Plan:
    data = DataSummary(
        rows=1000, used=990, refused={"empty": 10}, split_rows={"train": 900, "validation": 0, "test": 90},
        tokens=1, tokens_method="exact", hash=f"{number:02x}" * 32, declared=data_class, detected=data_class,
        effective=data_class, scanned=True, findings={"name": 40, "mrn": 12} if number == 1 else {},
    )  # fmt: skip
    candidate = replace(PLAN.candidates[0], key=key, decision=ALLOWED, reasons=())
    other = replace(candidate, key=replace(key, backend="openai"), decision=DENIED, verdict=Verdict.DENIED)
    return replace(PLAN, data=data, candidates=(candidate, other), chosen=key)


def job(
    log: RecordLog, number: int, data_class: DataClass, key: CandidateKey, *agreements: Attestation
) -> None:
    """The records of one job, from its scan to its result."""
    plan, job_id = plan_of(number, data_class, key).to_json(), f"job_{number}"
    subjects = [("spec", plan["spec_hash"]), ("data", plan["data"]["hash"])]
    log.append("scan", subjects, scan(plan["data"], engine="tunegate rules 1", job_id=job_id))
    decided = log.append("decision", subjects, decision(plan, job_id=job_id))
    question = asked(key, Action.UPLOAD, data_class, *agreements)
    data_hash = plan["data"]["hash"]
    if key.backend != "local":
        body = upload(question, ALLOWED, FILE, job_id=job_id, attempt=1, data_hash=data_hash)
        log.append("upload", subjects, body)
    remote = RemoteRef(key.backend, f"remote-{number}")
    sent = dispatch(
        plan, key, remote, (question, ALLOWED), TRANSLATION,
        job_id=job_id, attempt=1, decision_sha256=decided.sha256,
    )  # fmt: skip
    dispatched = log.append("dispatch", subjects, sent)
    result = training_result(
        plan, key, job_id=job_id, attempt=1, decision_sha256=decided.sha256,
        dispatch_sha256=dispatched.sha256, state=JobState.SUCCEEDED, raw_state="Completed",
        base_revision=None, libraries={}, hyperparameters={}, evaluation="done", metrics={},
        artifacts=(Artifact("model", "m", callable_id=f"custom-model-{number}"),),
        estimate={}, actual={},
    )  # fmt: skip
    log.append("training_result", subjects, result)
    if key.backend != "local":
        infer = asked(key, Action.INFER, data_class, *agreements)
        log.append("inference", subjects, action(infer, ALLOWED, model=f"custom-model-{number}"))
        items = [
            {
                "name": "train.jsonl",
                "uri": "s3://clinic-tuning/train.jsonl",
                "sha256": FILE.sha256,
                "deleted": True,
            }
        ]
        receipt = {"job": job_id, "backend": key.backend, "data_hash": data_hash, "why": "the job ended"}
        log.append("deletion", subjects, {**receipt, "items": items})


def a_quarter(folder: Path, key: SigningKey | None = None) -> RecordLog:
    times = Times()
    log = RecordLog(folder, key or SigningKey.generate(), times)
    job(log, 1, DataClass.PHI, BEDROCK, BAA)
    job(log, 2, DataClass.PHI, LOCAL)
    times.now = datetime(2026, 8, 14, 9, tzinfo=UTC)
    job(log, 3, DataClass.PUBLIC, BEDROCK)
    denied = asked(replace(BEDROCK, backend="openai"), Action.INFER, DataClass.PHI)
    log.append("denial", [("question", DIGEST)], action(denied, DENIED, action="infer"))
    times.now = datetime(2026, 10, 5, 9, tzinfo=UTC)  # the next quarter
    job(log, 4, DataClass.PHI, LOCAL)
    return log
