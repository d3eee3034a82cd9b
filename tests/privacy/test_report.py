"""What people get to see of a scan: the page for an officer, and findings in context on a terminal."""

from __future__ import annotations

import html
import json
import os
import pty
import re
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest

from gateway.core.classes import DataClass
from gateway.core.rows import Finding, ScanSummary
from gateway.core.spec import Data
from gateway.data import open_dataset
from gateway.privacy import scan_dataset
from gateway.privacy.report import LIMITS, Tally, page
from gateway.sdk.scanning import in_context

SSN, NAME = "219-09-9999", "Maria Gonzalez"
SPEC = """
version: 1
name: notes
task: sft
model: gpt-4.1-mini
data: {train: rows.jsonl, class: public}
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    rows = [
        {"prompt": f"{NAME}, SSN {SSN}, has asthma and drank juice.", "completion": "ok"},
        {"prompt": "the weather is fine", "completion": "<script>alert(1)</script>"},
    ]
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    (tmp_path / "job.yaml").write_text(SPEC, encoding="utf-8")
    return tmp_path


def tunegate(folder: Path, *args: str, terminal: int | None = None) -> subprocess.CompletedProcess[str]:
    env = {**os.environ, "TUNEGATE_HOME": str(folder / "home"), "TERM": "dumb", "COLUMNS": "200"}
    return subprocess.run(
        [sys.executable, "-m", "gateway.cli", "data", "scan", "job.yaml", *args],
        cwd=folder, env=env, text=True, timeout=120, check=False,
        stdin=terminal if terminal is not None else subprocess.DEVNULL,
        stdout=terminal if terminal is not None else subprocess.PIPE,
        stderr=subprocess.PIPE,
    )  # fmt: skip


def test_the_page_has_the_counts_and_no_text(folder: Path) -> None:
    done = tunegate(folder, "--report", "scan.html")
    assert done.returncode == 0, done.stderr
    text = (folder / "scan.html").read_text(encoding="utf-8")
    assert "2" in text
    assert "phi" in text
    for said in ("ssn", "name", "50.0 %", "rows.jsonl", "sha256:"):
        assert said in text
    assert not any(secret in text for secret in (SSN, "Gonzalez", "asthma", "juice", "alert(1)"))


def test_the_page_loads_nothing_and_names_its_limits() -> None:
    tally = Tally()
    tally.add(Finding(3, "a.<b>", 0, 4, "name", 0.6))
    totals = ScanSummary(False, 0, 0, {}, 0, DataClass.PUBLIC)
    text = page(
        tally, totals, title="a <b>", files=["x<y.jsonl"], size_bytes=9, data_hash="d", scanner="s",
        made_at=datetime(2026, 11, 22, tzinfo=UTC),
    )  # fmt: skip
    assert not re.search(r"https?://|src=|@import|url\(|<script|<b>a", text)
    assert "x&lt;y.jsonl" in text
    assert all(limit in html.unescape(text) for limit in LIMITS)


def test_a_tally_counts_records_and_keeps_a_bounded_list() -> None:
    tally = Tally()
    for line in range(1, 700):
        tally.add(Finding(line, f"messages[{line}].content", 0, 3, "ssn", 0.9))
        tally.add(Finding(line, "metadata.note", 0, 3, "ssn", 0.5))
    kind = tally.types["ssn"]
    assert (kind.findings, kind.records, kind.sure, kind.possible) == (1398, 699, 699, 699)
    assert len(tally.places) + tally.more == 1398
    assert tally.fields["messages[…].content", "ssn"] == 699
    assert len(tally.places) == 500


def test_findings_come_with_their_surroundings(folder: Path) -> None:
    dataset = open_dataset(Data(train=("rows.jsonl",)), folder, task="sft")
    shown = list(in_context(dataset, 12))
    assert [each.finding.type for each in shown] == ["name", "ssn"]
    assert "".join(text for text, _ in shown[1].pieces) == f"nzalez, SSN {SSN}, has asthma"
    assert (SSN, "ssn") in shown[1].pieces
    assert SSN not in repr(shown)
    assert scan_dataset(dataset, processes=1).flagged == 1


def test_text_is_refused_anywhere_but_on_a_terminal(folder: Path) -> None:
    for flags in (["--show-context"], ["--show-context", "--unmask"], ["--unmask"]):
        done = tunegate(folder, *flags)
        assert done.returncode == 2
        assert "terminal" in done.stderr
        assert "juice" not in done.stdout + done.stderr


def test_on_a_terminal_what_was_found_is_masked(folder: Path) -> None:
    ours, theirs = pty.openpty()
    done = tunegate(folder, "--show-context", terminal=theirs)
    os.close(theirs)
    shown = b""
    while True:
        try:
            piece = os.read(ours, 65536)
        except OSError:  # how Linux says that the other end is closed
            break
        if not piece:
            break
        shown += piece
    os.close(ours)
    assert done.returncode == 0, done.stderr
    assert b"[ssn]" in shown
    assert b"juice" in shown
    assert SSN.encode() not in shown
    assert b"Gonzalez" not in shown
