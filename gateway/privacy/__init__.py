"""What may not leave: a local, streaming scan for identifiers, and the class that findings give.

    Scanner(on_finding=…)          observer of a data pass; `summary()` is core's ScanSummary
    scan(records)                  findings as a stream
    scan_record(raw)               one record
    scan_dataset(dataset)          all of them, over several processes
    THRESHOLD, TYPES, class_of     the class rule

Rules miss names; "nothing found" never lowers a class. No finding holds text.
"""

from gateway.privacy.classes import THRESHOLD, TYPES, class_of, effective_class
from gateway.privacy.passes import scan_dataset
from gateway.privacy.scanner import RecordScan, Scanner, scan, scan_record

__all__ = [
    "THRESHOLD",
    "TYPES",
    "RecordScan",
    "Scanner",
    "class_of",
    "effective_class",
    "scan",
    "scan_dataset",
    "scan_record",
]
