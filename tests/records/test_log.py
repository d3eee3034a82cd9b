"""The account: appended whole or not at all, and every kind of tampering named."""

from __future__ import annotations

import errno
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import load_pem_public_key
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gateway.core.errors import RecordError
from gateway.records import (
    Head,
    RecordLog,
    SigningKey,
    VerifyReport,
    export_lines,
    load_or_create_key,
    parse_head,
    verify_export,
)
from gateway.records.verify import Record, keys_by_id, open_, verify_chain
from tests.records.conftest import DIGEST, NOW, clock, fill, told

ROOT = Path(__file__).parents[2]


def _codes(report: VerifyReport) -> list[tuple[int, str]]:
    return [(problem.sequence, problem.code) for problem in report.problems]


def test_a_record_is_an_in_toto_statement_in_a_dsse_envelope(log: RecordLog) -> None:
    (ref,) = fill(log, 1)
    envelope = json.loads(ref.path.read_bytes())
    assert set(envelope) == {"payload", "payloadType", "signatures"}
    assert envelope["payloadType"] == "application/vnd.in-toto+json"
    shown = log.show(1)
    assert shown["statement"] == {
        "_type": "https://in-toto.io/Statement/v1",
        "subject": [{"name": "plan", "digest": {"sha256": DIGEST}}],
        "predicateType": "https://tunegate.example/predicate/approval/v1",
        "predicate": {
            **told("job-0"),
            "log": {"sequence": 1, "previous": "0" * 64, "at": NOW.isoformat()},
        },
    }
    assert (shown["kind"], shown["sha256"]) == ("approval", ref.sha256)


def test_in_totos_own_library_verifies_our_envelopes(log: RecordLog) -> None:
    dsse = pytest.importorskip("securesystemslib.dsse")
    signer = pytest.importorskip("securesystemslib.signer")
    (ref,) = fill(log, 1)
    envelope = dsse.Envelope.from_dict(json.loads(ref.path.read_bytes()))
    pem = next((log.folder / "keys").glob("*.pem")).read_bytes()
    key = signer.SSlibKey.from_crypto(load_pem_public_key(pem), keyid=log.show(1)["key_id"])
    assert envelope.verify([key], 1)
    envelope.payload += b" "
    with pytest.raises(Exception, match="do not match threshold"):
        envelope.verify([key], 1)


def test_signing_loads_no_vendors_sdk() -> None:
    code = (
        "import sys; before = set(sys.modules); import gateway.records; "
        "print({'boto3', 'google.cloud', 'securesystemslib'} & (set(sys.modules) - before))"
    )
    assert subprocess.check_output([sys.executable, "-c", code], cwd=ROOT).strip() == b"set()"


def test_an_untouched_account_verifies(log: RecordLog) -> None:
    assert log.verify().ok
    assert log.head() is None
    refs = fill(log, 4)
    report = log.verify(log.head())
    assert (report.ok, report.records, report.anchored) == (True, 4, True)
    assert log.head() == Head(4, refs[-1].sha256)
    assert [entry.sequence for entry in log.entries()] == [1, 2, 3, 4]


def test_a_jobs_records_are_found_and_damaged_ones_are_not(log: RecordLog) -> None:
    refs = [*fill(log, 2), *fill(log, 1)]
    assert [e.sha256 for e in log.of_job("job-0")] == [refs[0].sha256, refs[2].sha256]
    refs[0].path.write_bytes(b"{}")
    assert [e.sequence for e in log.of_job("job-0")] == [3]
    assert log.entries()[0].kind == "?"


def test_every_byte_of_an_envelope_counts(log: RecordLog) -> None:
    """Every byte, one at a time: the payload's, the signature's, the key's name, and the JSON's own."""
    refs = fill(log, 2)
    content = refs[1].path.read_bytes()
    keys = keys_by_id([log._key.public_pem])  # pyright: ignore[reportPrivateUsage]
    assert isinstance(open_(content, keys), Record)
    for place in range(len(content)):
        changed = bytearray(content)
        changed[place] ^= 0x01
        assert not isinstance(open_(bytes(changed), keys), Record), f"byte {place}"
    for changed in (content + b"\n", content[:-1], b" " + content, b"", b"[" * 100_000, b"null", b"\xff"):
        assert not isinstance(open_(changed, keys), Record)


def test_an_edited_record_is_named(log: RecordLog) -> None:
    refs = fill(log, 4)
    content = bytearray(refs[1].path.read_bytes())
    content[60] ^= 0x04
    refs[1].path.write_bytes(content)
    assert _codes(log.verify()) == [(2, "edited")]


def test_a_removed_record_is_named(log: RecordLog) -> None:
    fill(log, 4)[1].path.unlink()
    assert _codes(log.verify()) == [(2, "removed")]


def test_a_removed_record_is_named_though_the_rest_moved_up(log: RecordLog) -> None:
    refs = fill(log, 4)
    refs[1].path.unlink()
    refs[2].path.rename(refs[1].path)
    refs[3].path.rename(refs[2].path)
    assert _codes(log.verify()) == [(2, "removed"), (2, "reordered"), (3, "reordered")]


def test_two_swapped_records_are_named(log: RecordLog) -> None:
    refs = fill(log, 4)
    second, third = refs[1].path.read_bytes(), refs[2].path.read_bytes()
    refs[1].path.write_bytes(third)
    refs[2].path.write_bytes(second)
    assert _codes(log.verify()) == [(2, "reordered"), (3, "reordered")]


def test_a_cut_tail_shows_against_a_head_only(log: RecordLog) -> None:
    refs = fill(log, 4)
    head = log.head()
    refs[3].path.unlink()
    refs[2].path.unlink()
    assert log.verify().ok
    assert _codes(log.verify(head)) == [(3, "truncated")]


def test_a_tail_written_anew_shows_against_the_head(log: RecordLog) -> None:
    refs = fill(log, 3)
    head = log.head()
    refs[2].path.unlink()
    log.append("approval", [("plan", DIGEST)], told("another story"))
    assert log.verify().ok
    assert _codes(log.verify(head)) == [(3, "rewritten")]


def test_a_middle_written_anew_with_the_key_breaks_the_link(log: RecordLog, tmp_path: Path) -> None:
    refs = fill(log, 3)
    other = RecordLog(tmp_path / "other", log._key, clock)  # pyright: ignore[reportPrivateUsage]
    forged = [
        other.append("approval", [("plan", DIGEST)], told(job)).path for job in ("job-0", "another story")
    ]
    refs[1].path.write_bytes(forged[1].read_bytes())
    assert _codes(log.verify()) == [(2, "rewritten")]


def test_a_foreign_key_vouches_for_nothing(log: RecordLog, tmp_path: Path) -> None:
    refs = fill(log, 2)
    stranger = RecordLog(tmp_path / "other", SigningKey.generate(), clock)
    refs[0].path.write_bytes(fill(stranger, 1)[0].path.read_bytes())
    assert _codes(log.verify()) == [(1, "unknown_key")]


def test_pinned_keys_are_the_only_ones_believed(log: RecordLog) -> None:
    fill(log, 1)
    assert log.verify(pinned={log._key.id}).ok  # pyright: ignore[reportPrivateUsage]
    assert _codes(log.verify(pinned={"0" * 64})) == [(1, "unknown_key")]


def test_rotation_keeps_old_records_verifiable(tmp_path: Path) -> None:
    for _ in range(2):
        fill(RecordLog(tmp_path / "records", SigningKey.generate(), clock), 2)
    log = RecordLog(tmp_path / "records", SigningKey.generate(), clock)
    assert log.verify().ok
    assert len({log.show(i)["key_id"] for i in range(1, 5)}) == 2


def test_an_export_verifies_on_its_own_and_shows_the_same_tampering(log: RecordLog, tmp_path: Path) -> None:
    fill(log, 4)
    path = tmp_path / "export.jsonl"
    head = export_lines(log, path)
    assert head == log.head()
    assert verify_export(path, head).ok
    lines = path.read_bytes().splitlines(keepends=True)
    tampered = {
        "edited": ([*lines[:2], lines[2].replace(b"A", b"B", 1), *lines[3:]], (2, "edited")),
        "removed": (lines[:2] + lines[3:], (2, "removed")),
        "swapped": ([*lines[:2], lines[3], lines[2], lines[4]], (2, "reordered")),
        "cut": (lines[:-1], (4, "truncated")),
    }
    for name, (changed, problem) in tampered.items():
        copy = tmp_path / f"{name}.jsonl"
        copy.write_bytes(b"".join(changed))
        assert problem in _codes(verify_export(copy, head)), name


def test_an_export_replaces_nothing(log: RecordLog, tmp_path: Path) -> None:
    fill(log, 1)
    export_lines(log, tmp_path / "export.jsonl")
    with pytest.raises(RecordError, match="cannot be written"):
        export_lines(log, tmp_path / "export.jsonl")


def test_what_is_not_an_export_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "x.jsonl"
    for content in (b"", b"[]\n", b'{"schema": "other", "keys": {}}\n', b"\xff\n"):
        path.write_bytes(content)
        with pytest.raises(RecordError, match="not an export"):
            verify_export(path)


@given(data=st.data(), n=st.integers(1, 6))
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_no_other_sequence_of_records_verifies_against_the_head(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject, n: int
) -> None:
    """Whatever subset, order or repetition of true records is laid down: only the true one passes."""
    folder = tmp_path_factory.mktemp("chain")
    key = SigningKey.generate()
    log = RecordLog(folder, key, clock)
    truth = [ref.path.read_bytes() for ref in fill(log, n)]
    laid = data.draw(st.lists(st.sampled_from(truth), max_size=n + 1))
    report = verify_chain(dict(enumerate(laid, 1)), keys_by_id([key.public_pem]), log.head())
    assert report.ok == (laid == truth)


_APPENDER = """
import sys
from datetime import UTC, datetime
from pathlib import Path
from gateway.records import RecordLog, load_or_create_key
from tests.records.conftest import told
home = Path(sys.argv[1])
log = RecordLog(home / "records", load_or_create_key(home / "keys"), lambda: datetime.now(UTC))
for i in range(int(sys.argv[2])):
    log.append("approval", [("plan", "ab" * 32)], told(f"{sys.argv[3]}-{i}"))
"""


def _appender(home: Path, n: int, name: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, "-c", _APPENDER, str(home), str(n), name], cwd=ROOT)


def test_two_processes_never_fork_the_chain(tmp_path: Path) -> None:
    writers = [_appender(tmp_path, 25, name) for name in ("a", "b")]
    assert [writer.wait(60) for writer in writers] == [0, 0]
    log = RecordLog(tmp_path / "records", load_or_create_key(tmp_path / "keys"), clock)
    report = log.verify()
    assert (report.ok, report.records) == (True, 50)
    jobs = {log.show(i)["statement"]["predicate"]["job"] for i in range(1, 51)}
    assert jobs == {f"{name}-{i}" for name in ("a", "b") for i in range(25)}


@pytest.mark.skipif(os.name != "posix", reason="needs SIGKILL")
def test_a_killed_writer_leaves_whole_records_only(tmp_path: Path) -> None:
    records = tmp_path / "records"
    for _ in range(3):
        seen = len(list(records.glob("*.json")))
        writer = _appender(tmp_path, 100_000, "killed")
        while len(list(records.glob("*.json"))) < seen + 3 and writer.poll() is None:
            time.sleep(0.005)
        writer.send_signal(signal.SIGKILL)
        writer.wait()
        log = RecordLog(records, load_or_create_key(tmp_path / "keys"), clock)
        assert log.verify().ok
        fill(log, 1)
        assert log.verify().ok


def _leftovers(folder: Path) -> list[str]:
    return sorted(p.name for p in folder.iterdir() if p.name not in (".lock", "keys"))


def test_a_full_disk_leaves_nothing_half_written(log: RecordLog, monkeypatch: pytest.MonkeyPatch) -> None:
    fill(log, 1)

    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(RecordError, match="No space left on device"):
        fill(log, 1)
    monkeypatch.undo()
    assert _leftovers(log.folder) == ["00000001.json"]
    fill(log, 1)
    assert log.verify().ok


def test_a_file_system_without_hard_links_will_do(log: RecordLog, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(os, "link", refuse)
    fill(log, 2)
    assert log.verify().ok
    assert _leftovers(log.folder) == ["00000001.json", "00000002.json"]
    export_lines(log, log.folder / "export.jsonl")
    with pytest.raises(RecordError, match="File exists"):
        export_lines(log, log.folder / "export.jsonl")


def test_a_folder_that_cannot_be_made_is_a_typed_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    log = RecordLog(tmp_path / "file" / "records", SigningKey.generate(), clock)
    with pytest.raises(RecordError, match="cannot be written"):
        fill(log, 1)


def test_a_missing_record_and_a_bad_head_are_typed_errors(log: RecordLog) -> None:
    with pytest.raises(RecordError, match="no record 7"):
        log.show(7)
    with pytest.raises(RecordError, match="SEQ:SHA256"):
        parse_head("latest")
    assert parse_head(f"3:{DIGEST}") == Head(3, DIGEST)


def test_the_key_file_is_private_kept_and_never_shown(tmp_path: Path) -> None:
    key = load_or_create_key(tmp_path / "keys")
    path = tmp_path / "keys" / "record-key.pem"
    assert path.stat().st_mode & 0o777 == 0o600
    assert load_or_create_key(tmp_path / "keys").id == key.id
    assert key.private_pem().decode().splitlines()[1] not in repr(key)
    path.chmod(0o644)
    with pytest.raises(RecordError, match="others may read"):
        load_or_create_key(tmp_path / "keys")


def test_a_damaged_key_is_not_replaced_in_silence(tmp_path: Path) -> None:
    path = tmp_path / "record-key.pem"
    path.write_text("garbage")
    path.chmod(0o600)
    with pytest.raises(RecordError, match="not an Ed25519"):
        load_or_create_key(tmp_path)
    assert path.read_text() == "garbage"
