"""A scan for an officer to read: one self-contained page with types, places and counts, and no text."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from importlib import resources

from gateway.core.classes import DataClass
from gateway.core.rows import Finding, ScanSummary
from gateway.privacy.classes import THRESHOLD

_INDEX = re.compile(r"\[\d+\]")
_PLACES = 500
_SURE, _LIKELY = 0.85, 0.7
LIMITS = (
    "Rules find what has a known form, stands in a list of names or places, or is announced by the words "
    "around it. They miss unusual names, nicknames, places and events that only someone who knows the person "
    "would recognise, and identifiers of unknown form.",
    "Images, sound and encoded content are not read: they are counted as unknown content, which is treated "
    "as health data.",
    "A scan that finds nothing proves nothing. It never lowers the class that was declared; only an "
    "officer's signed determination does, and this page is none.",
    "Confidence says how sure a rule is of its own look; it is no probability.",
)


@dataclass(slots=True)
class _Type:
    """What was found of one type: findings, records that have any, and how sure the rules were."""

    findings: int = 0
    records: int = 0
    sure: int = 0
    likely: int = 0
    possible: int = 0
    last: tuple[int, int] | None = None


@dataclass(slots=True)
class Tally:
    """Counts findings as they are told; memory does not grow with the data."""

    types: dict[str, _Type] = field(default_factory=dict[str, _Type])
    fields: Counter[tuple[str, str]] = field(default_factory=Counter[tuple[str, str]])
    places: list[Finding] = field(default_factory=list[Finding])
    more: int = 0

    def add(self, found: Finding) -> None:
        kind = self.types.setdefault(found.type, _Type())
        kind.findings += 1
        kind.records += kind.last != (found.file, found.line)
        kind.last = (found.file, found.line)
        if found.confidence >= _SURE:
            kind.sure += 1
        elif found.confidence >= _LIKELY:
            kind.likely += 1
        else:
            kind.possible += 1
        self.fields[_INDEX.sub("[…]", found.field), found.type] += 1
        if len(self.places) < _PLACES:
            self.places.append(found)
        else:
            self.more += 1


def why(totals: ScanSummary) -> str:
    """Why the findings give the class they give."""
    if not totals.complete:
        return "the scan is not complete, and what was not scanned is treated as the worst"
    if totals.detected is DataClass.PHI:
        return "a record has an identifier together with health content, or one that only patients have"
    if totals.detected is DataClass.PII:
        return "a record has an identifier, and none of those has health content"
    return f"no finding reached the threshold of {THRESHOLD}"


def page(
    tally: Tally,
    totals: ScanSummary,
    *,
    title: str,
    files: Sequence[str],
    size_bytes: int,
    data_hash: str,
    scanner: str,
    made_at: datetime,
) -> str:
    """The page as HTML. It loads nothing from anywhere.

    Args:
        data_hash, scanner: hashes that name the data and the scanner exactly.
    """
    from jinja2 import Environment, StrictUndefined

    template = resources.files("gateway.privacy").joinpath("report.html").read_text(encoding="utf-8")
    shape = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    return shape.from_string(template).render(
        title=title, files=files, size_bytes=size_bytes, data_hash=data_hash, scanner=scanner,
        made_at=made_at, totals=totals, why=why(totals), limits=LIMITS, tally=tally, threshold=THRESHOLD,
        share=totals.flagged / totals.records if totals.records else 0.0,
        types=sorted(tally.types.items(), key=lambda item: -item[1].findings),
        fields=tally.fields.most_common(40),
    )  # fmt: skip
