"""Identifiers taken out: stand-ins in their place, dates moved, and another look at what came of it.

    scrub_file(source, to, key, Method("shift", year=2026, group_by="patient_id"))  → ScrubReport
    scrub_record(raw, key, method)                                                   one record

Rules miss names, so this makes no dataset safe to release. A person looks at a sample of the result
(`tunegate data review`), and what that person signs is what lowers a class.
"""

from gateway.privacy.scrubbing.draft import Draft
from gateway.privacy.scrubbing.files import check_name, file_sha256, scrub_file
from gateway.privacy.scrubbing.records import VERSION, DateRule, Method, Scrubbed, scrub_record
from gateway.privacy.scrubbing.report import BESIDE, LIMITS, ScrubReport, key_id

__all__ = [
    "BESIDE",
    "LIMITS",
    "VERSION",
    "DateRule",
    "Draft",
    "Method",
    "ScrubReport",
    "Scrubbed",
    "check_name",
    "file_sha256",
    "key_id",
    "scrub_file",
    "scrub_record",
]
