"""What was decided and done: signed, chained, append-only; and the model card.

log = RecordLog(home / "records", load_or_create_key(home / "keys"), clock)
ref = log.append("decision", subjects, decision(plan.to_json(), job_id=job_id))
log.verify(parse_head(anchored)).ok
"""

from __future__ import annotations

from gateway.records.card import model_card
from gateway.records.chain import parse_head, verify_export
from gateway.records.keys import SigningKey, load_or_create_key
from gateway.records.kinds import KINDS
from gateway.records.log import Entry, RecordLog, RecordRef
from gateway.records.predicates import action, decision, dispatch, scan, training_result, upload
from gateway.records.verify import Head, Problem, VerifyReport

__all__ = [
    "KINDS",
    "Entry",
    "Head",
    "Problem",
    "RecordLog",
    "RecordRef",
    "SigningKey",
    "VerifyReport",
    "action",
    "decision",
    "dispatch",
    "load_or_create_key",
    "model_card",
    "parse_head",
    "scan",
    "training_result",
    "upload",
    "verify_export",
]
