"""From findings to a class: the one place where that rule stands.

A finding counts when its confidence reaches `THRESHOLD`. One such finding makes its record `pii`;
`phi` when the record also has health content, or the type itself says "patient". A dataset takes the
highest class of its records. Finding nothing gives `public`, which lowers nothing: how detected,
declared and determined classes make the one that counts is `effective_class`, which stands in core
because a profile carries it.
"""

from __future__ import annotations

from collections.abc import Iterable

from gateway.core.classes import DataClass, effective_class

__all__ = ["THRESHOLD", "TYPES", "class_of", "effective_class"]

THRESHOLD = 0.5
"""Confidence from which a finding is reported and raises the class."""

_BY_TYPE: dict[str, DataClass] = {
    # the eighteen identifiers of 45 CFR 164.514(b)(2), as far as text can show them
    "name": DataClass.PII,
    "address": DataClass.PII,
    "geography": DataClass.PII,
    "date": DataClass.PII,
    "age": DataClass.PII,
    "phone": DataClass.PII,
    "fax": DataClass.PII,
    "email": DataClass.PII,
    "ssn": DataClass.PII,
    "mrn": DataClass.PHI,
    "health_plan": DataClass.PHI,
    "account": DataClass.PII,
    "license": DataClass.PII,
    "vehicle": DataClass.PII,
    "device": DataClass.PII,
    "url": DataClass.PII,
    "ip": DataClass.PII,
    "iban": DataClass.PII,
    "card": DataClass.PII,
    "other_id": DataClass.PII,
    # what nobody can read is treated as the worst it might be
    "unknown_content": DataClass.PHI,
}

TYPES = tuple(_BY_TYPE)
"""Every type a finding can have."""


def class_of(types: Iterable[str], *, health: bool) -> DataClass:
    """The class of one record, from the types of its counted findings.

    Args:
        types: types of findings at or above the threshold.
        health: whether the record has health content.
    """
    found = max((_BY_TYPE[kind] for kind in types), default=DataClass.PUBLIC)
    return DataClass.PHI if health and found >= DataClass.PII else found
