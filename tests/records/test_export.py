"""What is handed to an auditor: it can be checked alone, on another machine, and says where the data went."""

from __future__ import annotations

import json
import subprocess
import sys
import zipfile
from collections.abc import Callable, Mapping
from datetime import UTC, date, datetime
from html.parser import HTMLParser
from pathlib import Path

import pytest

from gateway.core.errors import RecordError
from gateway.records import Period, RecordLog, SigningKey, export_zip, summarise, verify_export
from gateway.records.verify import Head, read_files
from tests.records.sample import a_quarter

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)
Q3 = Period(date(2026, 7, 1), date(2026, 9, 30), "phi")
KEY = SigningKey.generate()


@pytest.fixture(scope="module")
def log(tmp_path_factory: pytest.TempPathFactory) -> RecordLog:
    return a_quarter(tmp_path_factory.mktemp("quarter") / "records", KEY)


@pytest.fixture(scope="module")
def export(log: RecordLog, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("export") / "q3.zip"
    assert export_zip(log, path, Q3, now=NOW) == log.head()
    return path


# -- what it says ---------------------------------------------------------------------------------


def test_every_dataset_of_a_class_and_where_it_went(log: RecordLog) -> None:
    made = summarise(log.records(), Q3, made_at=NOW)
    first, second = made.datasets
    assert (made.managed, made.without_agreement) == (1, 0)
    (sent,) = first.managed
    assert sent.place == "bedrock · llama-3.1-8b-instruct · us-west-2 · on-demand"
    assert (sent.uploads, sent.rows, sent.reached) == (1, 900, True)
    assert sent.agreements[0].startswith("baa signed 2026-03-01, until 2027-03-01")
    assert (first.deleted, dict(first.results)) == (1, {"succeeded": 1})
    assert {"upload", "inference", "deletion"} <= {line.kind for line in first.lines}
    assert second.stayed
    assert [line.kind for line in made.denials] == ["denial"]


def test_a_class_and_a_period_leave_out_what_is_of_another(log: RecordLog) -> None:
    everything = summarise(log.records(), Period(), made_at=NOW)
    assert len(everything.datasets) == 4
    assert sum(everything.kinds.values()) == len(log.records())
    public = summarise(log.records(), Period(data_class="public"), made_at=NOW)
    assert [dataset.effective for dataset in public.datasets] == ["public"]
    assert public.denials == ()  # that was phi
    later = summarise(log.records(), Period(start=date(2026, 10, 1)), made_at=NOW)
    assert [dataset.hash[:2] for dataset in later.datasets] == ["04"]
    assert summarise([], Q3, made_at=NOW).datasets == ()


def test_a_day_at_the_edge_of_a_period_is_in_it(log: RecordLog) -> None:
    days = {record.predicate["log"]["at"][:10] for record in log.records()}
    day = date.fromisoformat(min(days))
    assert summarise(log.records(), Period(day, day), made_at=NOW).kinds


class _Page(HTMLParser):
    """Text and addresses of a page."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.text: list[str] = []
        self.tags: list[str] = []
        self.addresses: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.addresses += [value or "" for name, value in attrs if name in ("src", "href")]

    def handle_data(self, data: str) -> None:
        self.text.append(data.strip())


def test_the_page_needs_nothing_but_itself_and_says_what_an_officer_asks(export: Path) -> None:
    page = _Page(read_files(export)["summary.html"].decode())
    assert all(address.startswith("#") for address in page.addresses)
    assert not {"script", "link", "img", "iframe"} & set(page.tags)
    text = " ".join(page.text)
    assert "Data of class phi, and where it went from 2026-07-01 to 2026-09-30" in text
    assert "baa signed 2026-03-01, until 2027-03-01, https://intranet.example/aws-baa.pdf" in text
    assert "Trained on your own machine" in text
    assert "DENIED by hipaa.no-baa" in text
    assert "The account is whole" in text
    assert "04" * 32 not in text  # a dataset of the next quarter


def test_the_page_of_a_damaged_account_says_so_first(tmp_path: Path) -> None:
    log = a_quarter(tmp_path / "records")
    (log.folder / "00000003.json").write_bytes(b"{}")
    export_zip(log, tmp_path / "q3.zip", Q3, now=NOW)
    text = " ".join(_Page(read_files(tmp_path / "q3.zip")["summary.html"].decode()).text)
    assert "NOT whole" in text
    assert "record 3: edited" in text


def test_what_is_written_in_a_record_cannot_become_markup(tmp_path: Path) -> None:
    log = a_quarter(tmp_path / "records")
    told = {
        "data_hash": "01" * 32,
        "dismissed": {"name": 1},
        "officer": "<script>alert(1)</script>",
        "key_id": "k",
        "document": "ab" * 32,
    }
    log.append("dismissal", [("data", "01" * 32)], told)
    export_zip(log, tmp_path / "all.zip", Period(), now=NOW)
    page = read_files(tmp_path / "all.zip")["summary.html"].decode()
    assert "<script" not in page
    assert "&lt;script&gt;" in page


# -- whether it is whole --------------------------------------------------------------------------


def test_an_export_verifies_by_itself_by_its_head_and_by_the_key(export: Path, log: RecordLog) -> None:
    for pinned in ((), (KEY.id,), (KEY.public_pem,)):
        report = verify_export(export, log.head(), pinned=pinned)
        assert report.ok, report.problems
    assert not verify_export(export, pinned=[SigningKey.generate().id]).ok


def test_any_head_ever_taken_can_be_compared(export: Path, log: RecordLog) -> None:
    for entry in log.entries():
        assert verify_export(export, Head(entry.sequence, entry.sha256)).ok


Change = Callable[[dict[str, bytes]], Mapping[str, bytes]]


def _lines(files: dict[str, bytes], change: Callable[[list[bytes]], list[bytes]]) -> dict[str, bytes]:
    lines = files["records.jsonl"].splitlines(keepends=True)
    return {**files, "records.jsonl": b"".join([lines[0], *change(lines[1:])])}


TAMPERED: dict[str, tuple[Change, str]] = {
    "a byte": (
        lambda f: _lines(f, lambda r: [r[0], r[1].replace(b"A", b"B", 1), *r[2:]]),
        "record 2: edited",
    ),
    "one removed": (lambda f: _lines(f, lambda r: r[:2] + r[3:]), "record 3: removed"),
    "two swapped": (lambda f: _lines(f, lambda r: [r[0], r[2], r[1], *r[3:]]), "record 2: reordered"),
    "tail cut": (lambda f: _lines(f, lambda r: r[:-1]), "truncated"),
    "first cut": (lambda f: _lines(f, lambda r: r[1:]), "record 1: removed"),
    "cut in a line": (lambda f: _lines(f, lambda r: [*r[:-1], r[-1][:-9]]), "torn"),
    "one twice": (lambda f: _lines(f, lambda r: [r[0], *r]), "record 2: reordered"),
    "summary": (
        lambda f: {**f, "summary.html": f["summary.html"].replace(b"managed", b"local")},
        "summary.html was changed",
    ),
    "verifier": (lambda f: {**f, "verify.py": f["verify.py"] + b"#"}, "verify.py was changed"),
    "manifest": (
        lambda f: {**f, "manifest.json": f["manifest.json"].replace(b"A", b"B", 1)},
        "manifest.json",
    ),
    "a file gone": (
        lambda f: {n: c for n, c in f.items() if n != "summary.json"},
        "summary.json is not there",
    ),
}


def _zip(path: Path, files: Mapping[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w") as zipped:
        for name, content in files.items():
            zipped.writestr(name, content)
    return path


@pytest.mark.parametrize("name", TAMPERED)
def test_tampering_with_an_export_is_named(name: str, export: Path, tmp_path: Path) -> None:
    change, told = TAMPERED[name]
    changed = _zip(tmp_path / "changed.zip", change(read_files(export)))
    report = verify_export(changed)
    assert not report.ok
    assert any(told in str(problem) for problem in report.problems), report.problems


def test_one_removed_line_is_one_problem_and_not_all_that_follow(export: Path, tmp_path: Path) -> None:
    changed = _zip(tmp_path / "changed.zip", TAMPERED["one removed"][0](read_files(export)))
    codes = [(p.sequence, p.code) for p in verify_export(changed).problems if p.sequence]
    assert codes == [(3, "removed")]


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04nonsense", b"{}", b"\xff" * 100])
def test_what_is_no_export_is_a_typed_error(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "x.zip"
    path.write_bytes(content)
    with pytest.raises(RecordError):
        verify_export(path)


# -- on another machine ---------------------------------------------------------------------------

_ALONE = """
import importlib.abc, runpy, sys
class Nothing(importlib.abc.MetaPathFinder):
    # A machine with `cryptography` and what it is made of, and nothing else that is not Python's own.
    def find_spec(self, name, path=None, target=None):
        top = name.partition(".")[0]
        if top in sys.stdlib_module_names or top in ("cryptography", "cffi", "_cffi_backend", "pycparser"):
            return None
        raise ModuleNotFoundError(name)
sys.meta_path.insert(0, Nothing())
sys.argv = sys.argv[1:]
runpy.run_path(sys.argv[0], run_name="__main__")
"""


@pytest.fixture
def elsewhere(export: Path, tmp_path: Path) -> Path:
    """The export unpacked in a folder that knows nothing of Tunegate."""
    folder = tmp_path / "elsewhere"
    with zipfile.ZipFile(export) as zipped:
        zipped.extractall(folder)
    return folder


def _alone(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-I", "-c", _ALONE, str(folder / "verify.py"), *arguments]
    return subprocess.run(command, cwd=folder, text=True, capture_output=True, timeout=60)


def test_the_verifier_needs_cryptography_and_nothing_else(elsewhere: Path, log: RecordLog) -> None:
    ran = _alone(elsewhere, "--against", str(log.head()), "--key", KEY.id)
    assert (ran.returncode, ran.stderr) == (0, "")
    assert f"{len(log.entries())} records, whole; the head is {log.head()}" in ran.stdout
    by_itself = _alone(elsewhere)
    assert by_itself.returncode == 0
    assert "a cut tail would not show" in by_itself.stdout
    assert "vouches for itself" in by_itself.stdout


def test_the_verifier_alone_names_what_was_changed(elsewhere: Path, log: RecordLog) -> None:
    path = elsewhere / "records.jsonl"
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join(lines[:-1]))
    ran = _alone(elsewhere, "--against", str(log.head()))
    assert ran.returncode == 1
    assert "truncated" in ran.stdout
    path.write_bytes(b"".join([*lines[:3], lines[4], lines[3], *lines[5:]]))
    ran = _alone(elsewhere)
    assert ran.returncode == 1
    assert "record 3: reordered" in ran.stdout
    assert "export: edited: records.jsonl was changed" in ran.stdout


def test_another_key_is_not_believed(elsewhere: Path, tmp_path: Path) -> None:
    other = tmp_path / "other.pub"
    other.write_text(SigningKey.generate().public_pem)
    assert _alone(elsewhere, "--key", str(other)).returncode == 1
    own = next((elsewhere / "keys").iterdir())
    assert _alone(elsewhere, "--key", str(own)).returncode == 0


@pytest.mark.parametrize("arguments", [["nowhere.zip"], ["verify.py"], ["--against", "latest"]])
def test_the_verifier_says_what_it_cannot_read(elsewhere: Path, arguments: list[str]) -> None:
    ran = _alone(elsewhere, *arguments)
    assert ran.returncode == 2
    assert "Traceback" not in ran.stderr


def test_the_summary_for_programs_agrees_with_the_page(export: Path) -> None:
    told = json.loads(read_files(export)["summary.json"])
    assert told["schema"] == "tunegate.records-summary/1"
    assert (told["class"], told["went_to_a_managed_provider"], told["without_an_agreement"]) == ("phi", 1, 0)
    assert len(told["datasets"]) == 2
