"""What a record says, and what it can never say."""

from __future__ import annotations

import base64
import json
import re
from dataclasses import replace
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from gateway.core.classes import DataClass
from gateway.core.errors import RecordError
from gateway.core.gate import Decision, Ground
from gateway.core.html import plan_html
from gateway.core.job import Artifact, JobState, RemoteRef
from gateway.core.plan import (
    Candidate,
    CandidateKey,
    DataSummary,
    Estimate,
    Plan,
    ProviderFile,
    ProviderRequest,
    Range,
    Reason,
    Translation,
    Verdict,
)
from gateway.core.spec import canonical_sha256
from gateway.records import KINDS, RecordLog, action, decision, dispatch, scan, training_result, upload
from tests.policy.asking import MANAGED, signed
from tests.records.conftest import DIGEST, told

CANARY = "Zebediah Quux, born 1931"
KEY = CandidateKey("local", "tiny", "here", "this-machine")
ALLOW = Decision(True, (Ground("local-allowed", "it never leaves this machine"),), DIGEST)
ASKED = replace(
    MANAGED, attestations=(*signed("baa"), *signed("dpa", backend="elsewhere"), *signed("scc", days=-1))
)
TRANSLATION = Translation(
    requests=(ProviderRequest("train", {"note": CANARY}),),
    files=(ProviderFile("train.jsonl", "train", "chat", 10, 9, {"too_long": 1}, DIGEST),),
    fields=(),
)
PLAN = Plan(
    spec_hash=DIGEST,
    as_of=date(2026, 11, 22),
    trust="unverified",
    policy_hash=DIGEST,
    data=DataSummary(
        rows=10,
        used=9,
        refused={"too_long": 1},
        split_rows={"train": 8, "validation": 0, "test": 1},
        tokens=900,
        tokens_method="exact",
        hash=DIGEST,
        declared=DataClass.PHI,
        detected=None,
        effective=DataClass.PHI,
        scanned=False,
        findings={},
    ),
    candidates=(
        Candidate(
            key=KEY,
            verdict=Verdict.ALLOWED,
            reasons=(Reason(Verdict.ALLOWED, "unscanned", CANARY, rule="scan-1"),),
            tokens=900,
            tokens_method="exact",
            billed_tokens=None,
            estimate=Estimate(None, None, None),
            duration_h=Range.exactly(Decimal("0.05")),
            memory_gib=1.0,
            translation=TRANSLATION,
            decision=ALLOW,
        ),
    ),
    chosen=KEY,
    why="the only allowed candidate",
    rules=("baseline", "ours.cedar"),
)


def _bodies() -> dict[str, dict[str, Any]]:
    remote = RemoteRef("local", "run-1", {"argv": CANARY})
    return {
        "decision": decision(PLAN.to_json(), job_id="job-1"),
        "dispatch": dispatch(
            PLAN.to_json(),
            KEY,
            remote,
            (ASKED, ALLOW),
            TRANSLATION,
            job_id="job-1",
            attempt=1,
            decision_sha256=DIGEST,
        ),
        "training_result": training_result(
            PLAN.to_json(),
            KEY,
            job_id="job-1",
            attempt=1,
            decision_sha256=DIGEST,
            dispatch_sha256=DIGEST,
            state=JobState.SUCCEEDED,
            raw_state="done",
            base_revision="rev-1",
            libraries={"peft": "0.18.0"},
            hyperparameters={
                "epochs": 3,
                "method": "lora",
                "lora": {"rank": 8},
                "system": CANARY,
                "rows": [CANARY],
            },
            evaluation="done",
            metrics={"tuned": {"exact_match": {"value": 1.0, "low": 0.9, "high": 1.0, "n": 40, "x": CANARY}}},
            artifacts=(Artifact("adapter", f"/home/{CANARY}", sha256=DIGEST),),
            estimate={"usd": None, "hours": Range.exactly(Decimal("0.05")).to_json()},
            actual={"usd": None, "hours": "0.06"},
        ),
        "scan": scan(PLAN.to_json()["data"], engine="rules 1", job_id="job-1"),
        "approval": told("job-1"),
        "upload": upload(ASKED, ALLOW, TRANSLATION.files[0], job_id="job-1", attempt=1, data_hash=DIGEST),
        "denial": action(ASKED, ALLOW, action="infer"),
        "inference": action(ASKED, ALLOW, model="tiny"),
        "deployment": action(ASKED, ALLOW, what="deploy", remote={"backend": "cloud", "id": "ft-1"}),
        "deletion": {
            "job": "job-1",
            "backend": "cloud",
            "data_hash": DIGEST,
            "why": "the job ended",
            "items": [{"name": "train.jsonl", "uri": "file-1", "sha256": DIGEST, "deleted": True}],
        },
        "determination": {
            "data_hash": DIGEST,
            "source_hash": DIGEST,
            "method": "scrub 1",
            "before": "phi",
            "to": "internal",
            "sampled": 300,
            "leaks": 0,
            "upper_bound": 0.0099,
            "officer": "Ana Ortiz",
            "key_id": "k1",
            "expires": "2027-11-22",
            "document": DIGEST,
        },
        "dismissal": {
            "data_hash": DIGEST,
            "dismissed": {"name": 3},
            "officer": "Ana Ortiz",
            "key_id": "k1",
            "document": DIGEST,
        },
        "key_rotation": {"retired": DIGEST, "successor": DIGEST, "public_pem": "PEM", "why": "yearly"},
        "pruned": {
            "through": 7,
            "sha256": DIGEST,
            "removed": 7,
            "oldest": "2019-01-01T00:00:00+00:00",
            "newest": "2019-02-01T00:00:00+00:00",
            "keep_years": 6,
        },
    }


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_can_be_signed_and_holds_no_planted_text(kind: str, log: RecordLog) -> None:
    ref = log.append(kind, [("data", DIGEST)], _bodies()[kind])
    assert log.show(1)["kind"] == kind
    assert log.verify().ok
    payload = base64.b64decode(json.loads(ref.path.read_bytes())["payload"]).decode()
    assert CANARY not in payload
    assert "Zebediah" not in payload


def test_a_decision_says_who_was_judged_how_and_why() -> None:
    body = _bodies()["decision"]
    assert body["plan_hash"] == canonical_sha256(PLAN.to_json())
    assert body["chosen"] == str(KEY)
    assert body["rules"] == ["baseline", "ours.cedar"]
    (candidate,) = body["candidates"]
    assert candidate["verdict"] == "allowed"
    assert candidate["reasons"] == [{"verdict": "allowed", "code": "unscanned", "rule": "scan-1"}]
    assert candidate["gate"]["grounds"][0]["rule"] == "local-allowed"
    assert body["data"]["class"]["effective"] == "phi"


def test_a_result_says_what_it_took() -> None:
    body = _bodies()["training_result"]
    assert body["metrics"]["tuned"]["exact_match"] == {"value": 1.0, "low": 0.9, "high": 1.0, "n": 40}
    assert body["base_revision"] == "rev-1"
    assert body["hyperparameters"] == {"epochs": 3, "method": "lora", "lora": {"rank": 8}}
    assert body["data_class"] == "phi"


def test_every_kind_is_documented_and_no_other() -> None:
    page = (Path(__file__).parents[2] / "docs" / "records.md").read_text(encoding="utf-8")
    assert re.findall(r"^\| `(\w+)` \|", page, re.MULTILINE) == list(KINDS)


def test_an_upload_names_the_agreements_in_force_there_and_no_other() -> None:
    body = _bodies()["upload"]
    assert [each["kind"] for each in body["agreements"]] == ["baa"]
    assert body["place"] == {
        "backend": "cloud",
        "model": "a-model",
        "region": "us-1",
        "offer": "standard",
        "kind": "managed",
        "residency": "us",
    }
    assert body["file"] == {"name": "train.jsonl", "format": "chat", "rows": 9, "sha256": DIGEST}


@pytest.mark.parametrize(
    ("kind", "change", "message"),
    [
        ("decision", {"messages": [CANARY]}, "is no field"),
        ("decision", {"log": {"sequence": 9}}, "is no field"),
        ("decision", {"why": CANARY * 50}, "does not belong"),
        ("decision", {"why": None}, "why does not belong"),
        ("decision", {"data": {CANARY: 1}}, "is no field|is missing"),
        ("decision", {"data": object()}, "does not belong"),
        ("approval", {"key_id": 7}, "does not belong"),
        ("deletion", {"items": [{"name": CANARY}]}, "is missing"),
        ("scan", {"findings": {CANARY * 50: 1}}, "does not belong"),
        ("scan", {"findings": {CANARY: "many"}}, "does not belong"),
        ("training_result", {"metrics": {"deep": [{"er": CANARY * 50}]}}, "does not belong"),
        ("training_result", {"metrics": {CANARY * 50: 1}}, "does not belong"),
        ("training_result", {"metrics": {"x": float("nan")}}, "no JSON form"),
        ("training_result", {"metrics": {"x": object()}}, "does not belong"),
        ("gossip", {}, "no kind of record"),
    ],
)
def test_what_does_not_belong_is_refused_without_being_quoted(
    log: RecordLog, kind: str, change: dict[str, Any], message: str
) -> None:
    with pytest.raises(RecordError, match=message) as caught:
        log.append(kind, [("data", DIGEST)], {**_bodies().get(kind, {}), **change})
    assert "Zebediah" not in str(caught.value)
    assert log.head() is None


@pytest.mark.parametrize("kind", KINDS)
def test_a_record_that_lacks_a_field_is_refused(kind: str, log: RecordLog) -> None:
    body = _bodies()[kind]
    needed = [n for n, info in KINDS[kind].shape.model_fields.items() if info.is_required()]
    assert needed
    for name in needed:
        lacking = {key: value for key, value in body.items() if key != {"class_": "class"}.get(name, name)}
        with pytest.raises(RecordError, match="is missing"):
            log.append(kind, [("data", DIGEST)], lacking)


@pytest.mark.parametrize("subjects", [[], [("data", "not a digest")], [("data", DIGEST.upper())]])
def test_a_record_is_about_something_with_a_digest(log: RecordLog, subjects: list[tuple[str, str]]) -> None:
    with pytest.raises(RecordError):
        log.append("approval", subjects, told("job-1"))


def test_a_notebook_too_says_which_shipped_rules_were_not_in_force() -> None:
    assert "the shipped `hipaa` rules are not in force" in plan_html(PLAN)
    assert "not in force" not in plan_html(replace(PLAN, rules=("hipaa", "baseline")))
