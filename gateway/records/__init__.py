"""What was decided and done: signed, chained, append-only; and the model card.

log = RecordLog(home / "records", load_or_create_key(home / "keys"), clock)
ref = log.append("decision", subjects, decision(plan.to_json(), job_id=job_id))
log.verify(parse_head(anchored)).ok
"""

from __future__ import annotations

from gateway.records.card import model_card
from gateway.records.export import export_lines, export_zip, parse_head, summary_html, verify_export
from gateway.records.keys import SigningKey, load_or_create_key
from gateway.records.kinds import KINDS
from gateway.records.log import Entry, RecordLog, RecordRef
from gateway.records.predicates import action, decision, dispatch, scan, training_result, upload
from gateway.records.summary import Period, Summary, summarise
from gateway.records.verify import Head, Problem, VerifyReport

__all__ = [
    "KINDS",
    "Entry",
    "Head",
    "Period",
    "Problem",
    "RecordLog",
    "RecordRef",
    "SigningKey",
    "Summary",
    "VerifyReport",
    "action",
    "decision",
    "dispatch",
    "export_lines",
    "export_zip",
    "load_or_create_key",
    "model_card",
    "parse_head",
    "scan",
    "summarise",
    "summary_html",
    "training_result",
    "upload",
    "verify_export",
]
