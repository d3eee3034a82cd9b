"""Keys that change, tails that tear, records that may go: the account still verifies, and says so."""

from __future__ import annotations

import resource
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from gateway.core.errors import RecordError
from gateway.records import (
    Head,
    RecordLog,
    SigningKey,
    VerifyReport,
    export_lines,
    load_or_create_key,
    verify_export,
)
from gateway.records.log import years_before
from tests.records.conftest import DIGEST, NOW, clock, fill, told

ROOT = Path(__file__).parents[2]


def _codes(report: VerifyReport) -> list[tuple[int, str]]:
    return [(problem.sequence, problem.code) for problem in report.problems]


def _logs(folder: Path, *keys: SigningKey) -> list[RecordLog]:
    return [RecordLog(folder, key, clock) for key in keys]


# -- keys over time -------------------------------------------------------------------------------


def test_a_pinned_key_vouches_for_those_it_named_and_those_before_it(tmp_path: Path) -> None:
    first, second, third = keys = [SigningKey.generate() for _ in range(3)]
    logs = _logs(tmp_path / "records", *keys)
    fill(logs[0], 2)
    logs[0].rotate(second, why="yearly")
    fill(logs[1], 2)
    logs[1].rotate(third, why="yearly")
    fill(logs[2], 1)
    for key in keys:
        report = logs[2].verify(pinned={key.id})
        assert report.ok, report.problems
        assert report.notes == ()
    assert not logs[2].verify(pinned={SigningKey.generate().id}).ok
    assert logs[2].show(3)["kind"] == "key_rotation"
    assert logs[2].show(3)["key_id"] == first.id


def test_a_later_key_vouches_for_nothing_it_has_not_signed_after(tmp_path: Path) -> None:
    """A stranger may name the pinned key as their successor; that makes the stranger's story no truer."""
    stranger, pinned = SigningKey.generate(), SigningKey.generate()
    (log,) = _logs(tmp_path / "records", stranger)
    fill(log, 1)
    log.rotate(pinned, why="so they say")
    assert log.verify().ok
    assert {code for _, code in _codes(log.verify(pinned={pinned.id}))} == {"unknown_key"}


def test_a_key_that_retired_signs_no_more(tmp_path: Path) -> None:
    old, new = SigningKey.generate(), SigningKey.generate()
    logs = _logs(tmp_path / "records", old, new)
    fill(logs[0], 1)
    logs[0].rotate(new, why="lost laptop")
    fill(logs[1], 1)
    with pytest.raises(RecordError, match="was retired at record 2"):
        fill(logs[0], 1)
    assert logs[1].verify().ok


def test_a_rotation_whose_writer_died_at_once_still_retires_the_key(tmp_path: Path) -> None:
    old, new = SigningKey.generate(), SigningKey.generate()
    logs = _logs(tmp_path / "records", old, new)
    fill(logs[0], 1)
    logs[0].rotate(new, why="yearly")
    (tmp_path / "records" / "keys" / f"{old.id}.retired").unlink()  # as if it had never been written
    with pytest.raises(RecordError, match="was retired at record 2"):
        fill(logs[0], 1)
    fill(logs[1], 1)
    with pytest.raises(RecordError, match="was retired at record 2"):
        fill(_logs(tmp_path / "records", old)[0], 1)


def test_what_a_retired_key_signed_all_the_same_is_named(tmp_path: Path) -> None:
    """Whoever has a stolen old key cannot go on with the account, even by other means than ours."""
    old, new = SigningKey.generate(), SigningKey.generate()
    logs = _logs(tmp_path / "records", old, new)
    fill(logs[0], 1)
    logs[0].rotate(new, why="stolen")
    fill(logs[1], 1)
    path = tmp_path / "records" / "00000002.json"
    rotation = path.read_bytes()
    (tmp_path / "records" / "keys" / f"{old.id}.retired").unlink()
    fill(logs[0], 1)
    assert path.read_bytes() == rotation
    assert _codes(logs[1].verify()) == [(4, "retired_key")]


def test_a_key_nobody_named_is_noted(tmp_path: Path) -> None:
    logs = _logs(tmp_path / "records", SigningKey.generate(), SigningKey.generate())
    fill(logs[0], 1)
    fill(logs[1], 1)
    (note,) = logs[1].verify().notes
    assert "record 2 is the first signed with key" in note


# -- torn tails -----------------------------------------------------------------------------------


def test_a_torn_tail_is_told_from_tampering_and_put_aside(log: RecordLog) -> None:
    refs = fill(log, 3)
    content = refs[2].path.read_bytes()
    for length in (0, 5, 12, 200, len(content) - 1):
        refs[2].path.write_bytes(content[:length])
        assert _codes(log.verify()) == [(3, "torn")], length
    refs[1].path.write_bytes(refs[1].path.read_bytes()[:-20])  # one that is not the last was not torn
    assert (2, "edited") in _codes(log.verify())


def test_the_account_goes_on_after_a_torn_tail_and_says_so(log: RecordLog) -> None:
    refs = fill(log, 2)
    head = log.head()
    refs[1].path.write_bytes(refs[1].path.read_bytes()[:100])
    fill(log, 1)
    report = log.verify()
    assert report.ok
    assert report.notes == ("00000002.torn ended in its middle after a crash, and was put aside",)
    assert _codes(log.verify(head)) == [(2, "rewritten")]  # and who kept the head sees that one is lost


def test_an_export_that_was_cut_off_in_a_line_says_torn(log: RecordLog, tmp_path: Path) -> None:
    fill(log, 3)
    path = tmp_path / "export.jsonl"
    export_lines(log, path)
    path.write_bytes(path.read_bytes()[:-50])
    assert _codes(verify_export(path)) == [(3, "torn")]


def test_drafts_of_a_killed_writer_are_cleared(log: RecordLog) -> None:
    fill(log, 1)
    (log.folder / ".00000002.json.abcdef").write_bytes(b'{"payload":"')
    fill(RecordLog(log.folder, log._key, clock), 1)  # pyright: ignore[reportPrivateUsage]  # the next process
    assert sorted(path.name for path in log.folder.glob("*.json*")) == ["00000001.json", "00000002.json"]
    assert not list(log.folder.glob(".*.json.*"))


_FULL = """
import resource, signal, sys
from datetime import UTC, datetime
from pathlib import Path
from gateway.core.errors import RecordError
from gateway.records import RecordLog, load_or_create_key
from tests.records.conftest import told
home = Path(sys.argv[1])
log = RecordLog(home / "records", load_or_create_key(home / "keys"), lambda: datetime.now(UTC))
log.append("approval", [("plan", "ab" * 32)], told("one"))
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (700, resource.RLIM_INFINITY))
try:
    log.append("approval", [("plan", "ab" * 32)], told("two"))
except RecordError as error:
    print(error)
resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
log.append("approval", [("plan", "ab" * 32)], told("three"))
print(log.verify().to_json())
"""


@pytest.mark.skipif(not hasattr(resource, "RLIMIT_FSIZE"), reason="needs POSIX limits")
def test_a_write_that_the_system_cuts_short_leaves_nothing(tmp_path: Path) -> None:
    """The operating system itself stops the file in its middle, as a full disk does."""
    told_of = subprocess.check_output([sys.executable, "-c", _FULL, str(tmp_path)], cwd=ROOT, text=True)
    assert "nothing was half-written" in told_of
    assert "'ok': True, 'records': 2" in told_of
    names = sorted(path.name for path in (tmp_path / "records").iterdir() if path.name != ".lock")
    assert names == ["00000001.json", "00000002.json", "keys"]


# -- retention ------------------------------------------------------------------------------------


class _Times:
    def __init__(self, start: datetime) -> None:
        self.now = start

    def __call__(self) -> datetime:
        return self.now


@pytest.fixture
def times() -> _Times:
    return _Times(NOW - timedelta(days=365 * 8))


@pytest.fixture
def old(tmp_path: Path, times: _Times) -> RecordLog:
    """One record a year, for eight years and today."""
    log = RecordLog(tmp_path / "records", SigningKey.generate(), times)
    for _ in range(8):
        fill(log, 1)
        times.now += timedelta(days=365)
    times.now = NOW
    fill(log, 1)
    return log


def test_old_records_may_go_and_the_chain_still_holds(old: RecordLog) -> None:
    before = old.head()
    ref = old.prune(before=years_before(NOW, 6), keep_years=6)
    assert ref is not None
    shown = old.show(ref.sequence)
    said = shown["statement"]["predicate"]
    assert (shown["kind"], said["through"], said["removed"]) == ("pruned", 2, 2)
    report = old.verify(before)
    assert report.ok, report.problems
    assert "records up to 2 were older than the 6 years" in report.notes[0]
    assert [entry.sequence for entry in old.entries()] == [3, 4, 5, 6, 7, 8, 9, 10]
    assert old.prune(before=years_before(NOW, 6), keep_years=6) is None  # nothing is left to remove


def test_nothing_younger_than_must_be_kept_goes(old: RecordLog) -> None:
    with pytest.raises(RecordError, match="kept for 6 years: nothing after 2020-11-22"):
        old.prune(before=NOW, keep_years=6)
    assert old.verify().records == 9


def test_a_second_pruning_goes_further(old: RecordLog, times: _Times) -> None:
    old.prune(before=years_before(NOW, 7), keep_years=6)
    old.prune(before=years_before(NOW, 6), keep_years=6)
    times.now += timedelta(days=400)
    old.prune(before=years_before(times.now, 6), keep_years=6)
    assert old.verify(old.head()).ok
    assert old.entries()[0].sequence == 5


def test_a_removal_that_no_record_vouches_for_is_still_seen(old: RecordLog) -> None:
    old.prune(before=years_before(NOW, 6), keep_years=6)
    (old.folder / "00000003.json").unlink()
    assert _codes(old.verify()) == [(3, "removed")]
    (old.folder / "00000010.json").unlink()  # the word for what was pruned
    assert _codes(old.verify())[:3] == [(1, "removed"), (2, "removed"), (3, "removed")]


def test_another_beginning_does_not_fit(old: RecordLog, tmp_path: Path) -> None:
    """What is left after a pruning goes on from the hash of what was removed, and from no other."""
    old.prune(before=years_before(NOW, 6), keep_years=6)
    other = RecordLog(tmp_path / "other", old._key, clock)  # pyright: ignore[reportPrivateUsage]
    fill(other, 1)
    other.append("approval", [("plan", DIGEST)], told("another story"))
    forged = fill(other, 1)[0].path.read_bytes()
    (old.folder / "00000003.json").write_bytes(forged)
    assert (2, "rewritten") in _codes(old.verify())


def test_rotations_outlive_the_records_around_them(tmp_path: Path, times: _Times) -> None:
    first, second = SigningKey.generate(), SigningKey.generate()
    logs = [RecordLog(tmp_path / "records", key, times) for key in (first, second)]
    fill(logs[0], 2)
    logs[0].rotate(second, why="yearly")
    fill(logs[1], 2)
    times.now = NOW
    fill(logs[1], 1)
    logs[1].prune(before=years_before(NOW, 6), keep_years=6)
    assert [entry.sequence for entry in logs[1].entries()] == [3, 6, 7]
    for key in (first, second):
        assert logs[1].verify(pinned={key.id}).ok
    path = tmp_path / "export.jsonl"
    export_lines(logs[1], path)
    assert verify_export(path, pinned=[first.public_pem]).ok


def test_a_damaged_account_is_not_pruned(old: RecordLog) -> None:
    (old.folder / "00000001.json").write_bytes(b"{}")
    with pytest.raises(RecordError, match="damaged"):
        old.prune(before=years_before(NOW, 6), keep_years=6)


def test_a_pruning_cut_off_in_its_middle_is_finished_by_the_next(old: RecordLog) -> None:
    kept = (old.folder / "00000002.json").read_bytes()
    old.prune(before=years_before(NOW, 6), keep_years=6)
    (old.folder / "00000002.json").write_bytes(kept)  # as if the process had died before it
    assert old.verify().ok
    old.prune(before=years_before(NOW, 6), keep_years=6)
    assert old.verify().ok
    assert old.entries()[0].sequence == 3


def test_a_leap_day_has_an_anniversary() -> None:
    assert years_before(datetime(2028, 2, 29, tzinfo=UTC), 6).date().isoformat() == "2022-02-28"


def test_a_second_writer_is_seen_by_the_first(tmp_path: Path) -> None:
    """Each remembers where the account ended when it last looked; it may have grown, or lost its end."""
    key = SigningKey.generate()
    one, other = _logs(tmp_path / "records", key, key)
    fill(one, 2)
    fill(other, 3)
    fill(one, 1)
    assert one.verify().ok
    assert one.head() == other.head()
    (tmp_path / "records" / "00000006.json").unlink()
    assert one.head() == other.head()
    assert str(one.head()).startswith("5:")


def test_an_account_of_two_machines_is_read_from_its_head(tmp_path: Path) -> None:
    """Looking for a job's records stops at those older than the job."""
    times = _Times(NOW - timedelta(days=2))
    log = RecordLog(tmp_path / "records", load_or_create_key(tmp_path / "keys"), times)
    fill(log, 3)
    times.now = NOW
    fill(log, 2)
    assert [e.sequence for e in log.entries(since=NOW)] == [4, 5]
    assert [e.sequence for e in log.of_job("job-1")] == [2, 5]
    assert [e.sequence for e in log.of_job("job-1", since=NOW)] == [5]
    assert log.head() == Head(5, log.entries()[-1].sha256)
