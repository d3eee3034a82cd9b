"""The account, taken elsewhere: as JSON Lines, or as a zip with a summary for a period and what an auditor
needs to check it on another machine."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Collection, Mapping
from datetime import datetime
from importlib import metadata, resources
from pathlib import Path

from gateway.core.errors import RecordError
from gateway.records import verify
from gateway.records.files import unwritable, write_new
from gateway.records.log import RecordLog
from gateway.records.summary import Period, Summary, summarise
from gateway.records.verify import Head, NotAnExport, VerifyReport

_FILES = "export_files"
_MADE = (1980, 1, 1, 0, 0, 0)  # a zip's own times say nothing; the manifest is signed and has one


def parse_head(text: str) -> Head:
    """Raises:
    RecordError: this is not a head.
    """
    found = Head.read(text)
    if found is None:
        raise RecordError("a head is written SEQ:SHA256", fix="`tunegate records head` prints one")
    return found


def verify_export(path: Path, head: Head | None = None, *, pinned: Collection[str] = ()) -> VerifyReport:
    """Check an exported account, on any machine.

    Args:
        path: what was exported: a zip, the folder it was unpacked to, or JSON Lines alone.
        head: a head kept elsewhere. Without it, or `pinned`, an export vouches only for itself.
        pinned: the only keys to believe, with those they named as successors: ids, or public keys in PEM.

    Raises:
        RecordError: the file cannot be read or is not an export.
    """
    try:
        return verify.verify_files(verify.read_files(path), head, pinned)
    except NotAnExport as error:
        raise RecordError(str(error), place=str(path), fix="see `tunegate records export`") from None


def export_lines(log: RecordLog, to: Path) -> Head | None:
    """Write the account as JSON Lines: first schema, head and public keys, then every record.

    Returns:
        The head, to be kept apart from the export: `verify_export` wants both.

    Raises:
        RecordError: the file exists or cannot be written.
    """
    head = log.head()
    _write(to, _lines(log, head))
    return head


def export_zip(log: RecordLog, to: Path, period: Period, *, now: datetime) -> Head | None:
    """Write the account as a zip: all records, so that any head ever taken can be checked; a summary of
    the period; public keys; a verifier that stands alone; and a signed list of these files' hashes.

    Returns:
        The head, to be kept apart from the export.

    Raises:
        RecordError: the file exists or cannot be written.
    """
    report, head = log.verify(), log.head()
    summary = summarise(log.records(), period, made_at=now)
    files = {
        "README.txt": _shipped(_FILES, "README.txt"),
        "summary.html": summary_html(summary, report, tuple(log.pems())).encode(),
        "summary.json": json.dumps(summary.to_json(), indent=2).encode(),
        verify.RECORDS: _lines(log, head),
        "verify.py": _shipped("verify.py"),
        **{f"keys/{name}.pem": pem.encode() for name, pem in sorted(log.pems().items())},
    }
    files[verify.MANIFEST] = log.seal_manifest(
        {name: verify.sha256(content) for name, content in files.items()},
        {
            "head": None if head is None else str(head),
            "from": period.start and period.start.isoformat(),
            "to": period.end and period.end.isoformat(),
            "class": period.data_class,
            "made_at": now.isoformat(),
        },
    )
    _write(to, _zipped(files))
    return head


def summary_html(summary: Summary, report: VerifyReport, key_ids: Collection[str]) -> str:
    """The summary as one page that needs nothing else: no script, no font, no picture."""
    import jinja2

    template = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True)
    return template.from_string(_shipped(_FILES, "summary.html.j2").decode()).render(
        title=_title(summary.period),
        made_at=f"{summary.made_at:%Y-%m-%d %H:%M}",
        version=metadata.version("tunegate"),
        of_class=summary.period.data_class,
        summary=summary,
        report=report,
        key_ids=sorted(key_ids),
    )


def _title(period: Period) -> str:
    start = f" from {period.start}" if period.start else ""
    end = f" to {period.end}" if period.end else ""
    what = f"Data of class {period.data_class}" if period.data_class else "Data"
    return f"{what}, and where it went{start}{end}"


def _lines(log: RecordLog, head: Head | None) -> bytes:
    """A line that names schema, head and public keys, then every record as stored."""
    places = log.contents()
    top = {"schema": verify.EXPORT_SCHEMA, "head": None if head is None else str(head), "keys": log.pems()}
    return b"".join((json.dumps(top).encode() + b"\n", *(places[place] for place in sorted(places))))


def _shipped(*names: str) -> bytes:
    return resources.files("gateway.records").joinpath(*names).read_bytes()


def _zipped(files: Mapping[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as zipped:
        for name, content in files.items():
            zipped.writestr(zipfile.ZipInfo(name, _MADE), content, zipfile.ZIP_DEFLATED)
    return buffer.getvalue()


def _write(to: Path, content: bytes) -> None:
    try:
        write_new(to, content)
    except OSError as error:
        raise unwritable(to, "the export cannot be written", error) from None
