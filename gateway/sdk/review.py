"""An officer's review: a random sample, verdicts on it, the bound they support, and what is signed."""

from __future__ import annotations

import random
import secrets
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from gateway.core.classes import DataClass
from gateway.core.errors import DataError, SpecError
from gateway.core.review import Lineage
from gateway.core.rows import Finding, Row
from gateway.core.spec import Data, JobSpec
from gateway.sdk import answers, scanning
from gateway.sdk.answers import ReviewAnswer, Verdict
from gateway.sdk.scrubbing import as_used, lineage_of
from gateway.sdk.standing import REVIEWS_FOLDER

if TYPE_CHECKING:
    from gateway.data import Dataset, SplitAssignment
    from gateway.policy.determinations import Determined, Dismissed, Place
    from gateway.privacy.ner import Ner
    from gateway.records.keys import Signer
    from gateway.sdk.rooms import Rooms

LEVEL = 0.95


@dataclass(frozen=True, slots=True)
class Drawn:
    """A record of the sample. `raw` is its data: shown to whoever may see it, and nowhere else."""

    file: int
    line: int
    raw: Mapping[str, Any] = field(repr=False)
    findings: tuple[Finding, ...] = ()

    def texts(self) -> Iterator[tuple[str, list[tuple[str, str | None]]]]:
        """Every text: (its path, its pieces); a piece that was found has the finding's type beside it."""
        from gateway.privacy.scrubbing import Draft

        draft = Draft(self.raw)
        found: dict[object, list[Finding]] = {}
        for each in sorted(self.findings, key=lambda each: each.start):
            found.setdefault(draft.find(self.raw, each.field), []).append(each)
        for address, text in draft.texts.items():
            if text.text and (address in found or not address.key):
                yield draft.path(address), _pieces(text.text, found.get(address, ()))

    def answer(self, verdict: Verdict, dismiss: Iterable[Finding] = ()) -> ReviewAnswer:
        """A verdict on this record; `dismiss` are those of its findings that identify nobody."""
        places = dict.fromkeys((found.field, found.type) for found in dismiss)
        return ReviewAnswer(self.file, self.line, verdict, tuple(places))


@dataclass(frozen=True, slots=True)
class ReviewSample:
    """A random sample of the rows that would be used, without repeats.

    Attributes:
        data_hash: of exactly the data that was drawn from.
        seed: draws the same sample again.
        rows: how many there are to draw from.
        before: the class that the data has without a determination.
        beside: what goes out with every row and stands in none, such as the spec's system prompt.
    """

    name: str
    data_hash: str
    seed: str
    rows: int
    before: DataClass
    lineage: Lineage | None
    drawn: tuple[Drawn, ...]
    beside: Mapping[str, str] = field(default_factory=dict[str, str], repr=False)

    def to_json(self) -> dict[str, Any]:
        """The sample to be answered: where, and what was found there, without any text."""
        return {
            "schema": answers.SCHEMA,
            "data_hash": self.data_hash,
            "seed": self.seed,
            "rows": self.rows,
            "answers": [
                {
                    "file": each.file,
                    "line": each.line,
                    "verdict": None,
                    "findings": [{"field": found.field, "type": found.type} for found in each.findings],
                    "dismiss": [],
                }
                for each in self.drawn
            ],
        }


@dataclass(frozen=True, slots=True)
class ReviewOutcome:
    """What a review came to.

    Attributes:
        upper_bound: with 95 % confidence at most this share of the rows leaks; None where none was seen.
        files: what was signed and written.
        absent: why what was signed does not hold here, where it does not.
    """

    sampled: int
    leaks: int
    dismissed: int
    upper_bound: float | None
    files: tuple[Path, ...]
    absent: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        return {
            "schema": "tunegate.review/1",
            "sampled": self.sampled,
            "leaks": self.leaks,
            "dismissed": self.dismissed,
            "upper_bound": self.upper_bound,
            "confidence": LEVEL,
            "files": [str(path) for path in self.files],
            "absent": list(self.absent),
        }


def upper_bound(leaks: int, sampled: int) -> float | None:
    """The exact one-sided 95 % bound on the share of rows that leak (Clopper–Pearson)."""
    if not sampled:
        return None
    from scipy import stats

    tested = cast("Any", stats).binomtest(leaks, sampled, alternative="less")
    return float(tested.proportion_ci(LEVEL, method="exact").high)


def draw(rooms: Rooms, what: JobSpec | Path, number: int, seed: str | None = None) -> ReviewSample:
    """Draw a sample of a dataset, in two passes over it.

    Args:
        what: a spec; or a data file, as a spec would name it with nothing else said.
        seed: draws the same sample of the same data; default: a new one.

    Raises:
        DataError: the data cannot be read.
    """
    from gateway.data import SplitCollector, open_dataset, run_pass
    from gateway.privacy import Scanner, effective_class

    asked = _as_spec(what)
    spec = as_used(rooms, asked)
    dataset = open_dataset(spec.data, spec.folder, task=spec.task)
    beside = {"system": spec.data.system} if spec.data.system else {}
    collector = SplitCollector(dataset)
    scanner = Scanner(beside=scanning.beside(spec), ner=rooms.ner)
    run_pass(dataset, [collector, scanner])
    assignment, lineage = collector.finish(), lineage_of(dataset)
    summary, seed = scanner.summary(), seed or secrets.token_hex(8)
    before = effective_class(
        spec.data.class_,
        summary.detected if summary.complete else None,
        source=lineage.source_class if lineage else None,
    )
    rows = sum(assignment.rows.values())
    chosen = _chosen(rows, number, f"{assignment.hash}:{seed}")
    drawn = tuple(
        replace(each, findings=_found(each, rooms.ner)) for each in _records(dataset, assignment, chosen)
    )
    return ReviewSample(asked.name, assignment.hash, seed, rows, before, lineage, drawn, beside)


def answered(rooms: Rooms, what: JobSpec | Path, path: Path) -> tuple[ReviewSample, tuple[ReviewAnswer, ...]]:
    """The sample that a file of answers is about, drawn again, and the answers.

    Raises:
        DataError: the file makes no sense, leaves a record unanswered, or the data has changed since.
    """
    said = answers.read_answers(path)
    sample = draw(rooms, what, len(said.given), said.seed)
    said.check(sample.data_hash, [(each.file, each.line) for each in sample.drawn])
    return sample, said.given


def conclude(
    rooms: Rooms,
    sample: ReviewSample,
    given: Sequence[ReviewAnswer],
    *,
    officer: str,
    key: str,
    to: DataClass,
    expires: date,
    out: Path | None = None,
) -> ReviewOutcome:
    """Sign what the answers support: the determination, and dismissals.

    One leak, and the class stays what it was; that is signed too, and revokes what was signed before.

    Args:
        officer, key: who signs, and the key's name, as `gateway.records.keys` names keys.
        out: folder to write into; default: the home's own, where every plan looks.

    Raises:
        DataError: a dismissed finding is not there, or a record of the sample has no verdict.
        RecordError: the key cannot sign, or what was signed cannot be recorded.
    """
    from gateway.policy.determinations import About, review

    today = rooms.clock().date()
    _check(sample, given, expires, today)
    dismissed = tuple(_dismissed(sample, given))
    leaks = sum(answer.verdict == "leak" for answer in given)
    bound = upper_bound(leaks, len(given))
    common: dict[str, Any] = {
        "name": sample.name,
        "data_hash": sample.data_hash,
        "source_hash": sample.lineage.source_hash if sample.lineage else None,
        "officer": officer,
        "signed": today,
        "expires": expires,
    }
    seen = {"sampled": len(given), "leaks": leaks, "upper_bound": bound}
    signer = rooms.signer(key)
    documents = _documents(sample, common, seen, to, dismissed)
    files = tuple(_store(rooms, document, signer, out) for document in documents)
    contents = {path.name: path.read_bytes() for path in files}
    about = About(sample.data_hash, sample.name, sample.lineage)
    found, _ = review(contents, rooms.trust.approvers, about, today)
    return ReviewOutcome(len(given), leaks, len(dismissed), bound, files, found.absent)


def _check(sample: ReviewSample, given: Sequence[ReviewAnswer], expires: date, today: date) -> None:
    """Every record of the sample has one verdict: a bound over fewer would be worth less than it says."""
    if not given:
        raise DataError("no record was looked at, so nothing can be signed", fix="draw a larger sample")
    drawn = sorted((each.file, each.line) for each in sample.drawn)
    if sorted((answer.file, answer.line) for answer in given) != drawn:
        raise DataError("these answers are not one for each record of the sample", fix="answer all of them")
    if expires < today:
        raise SpecError("it would have expired before it is signed", place="expires", fix="name a later day")


def _documents(
    sample: ReviewSample,
    common: dict[str, Any],
    seen: dict[str, Any],
    to: DataClass,
    dismissed: tuple[Place, ...],
) -> Iterator[Determined | Dismissed]:
    from gateway.policy.determinations import Determined, Dismissed

    if dismissed:
        yield Dismissed(**common, findings=dismissed)
    yield Determined(
        **common,
        **seen,
        method=sample.lineage.method if sample.lineage else "none",
        before=str(sample.before),
        to=str(max(to, sample.before) if seen["leaks"] else to),
        rows=sample.rows,
        seed=sample.seed,
    )


def _found(drawn: Drawn, ner: Ner | None) -> tuple[Finding, ...]:
    """What the scanner finds in a record, but for stand-ins: a reviewer should see those as they are."""
    from gateway.privacy import scan_record
    from gateway.privacy.scrubbing import Draft

    draft, kept = Draft(drawn.raw), list[Finding]()
    for each in scan_record(drawn.raw, line=drawn.line, file=drawn.file, ner=ner).findings:
        address = draft.find(drawn.raw, each.field)
        text = None if address is None else draft.texts[address]
        if text is None or not text.is_made(each.type, each.start, each.end):
            kept.append(each)
    return tuple(kept)


def _pieces(text: str, findings: Iterable[Finding]) -> list[tuple[str, str | None]]:
    pieces, at = list[tuple[str, str | None]](), 0
    for each in findings:
        pieces += [(text[at : each.start], None), (text[each.start : each.end], each.type)]
        at = each.end
    return [piece for piece in (*pieces, (text[at:], None)) if piece[0]]


def _as_spec(what: JobSpec | Path) -> JobSpec:
    """A data file as a spec that says nothing else of it."""
    if isinstance(what, JobSpec):
        return what
    data = Data(train=(what.name,))
    task = "dpo" if _is_preference(what) else "sft"
    return JobSpec(name="review", task=task, model=("none",), data=data).at(what.absolute().parent)


def _is_preference(path: Path) -> bool:
    from gateway.data import open_dataset

    try:
        open_dataset(Data(train=(path.name,)), path.absolute().parent, task="dpo")
    except DataError:
        return False
    return True


def _chosen(rows: int, number: int, seed: str) -> frozenset[int]:
    return frozenset(random.Random(seed).sample(range(rows), min(number, rows)))  # noqa: S311 - drawn, not secret


def _records(dataset: Dataset, assignment: SplitAssignment, chosen: frozenset[int]) -> Iterator[Drawn]:
    """The chosen ones of the used rows, in reading order."""
    at = -1
    for record in dataset.records():
        if not isinstance(record.outcome, Row) or assignment.of(record) is None:
            continue
        at += 1
        if at in chosen and record.raw is not None:
            yield Drawn(record.file, record.line, record.raw)


def _dismissed(sample: ReviewSample, given: Sequence[ReviewAnswer]) -> Iterator[Place]:
    from gateway.policy.determinations import Place

    found = {(d.file, d.line): {(f.field, f.type) for f in d.findings} for d in sample.drawn}
    for answer in given:
        for field_path, kind in answer.dismiss:
            if (field_path, kind) not in found[answer.file, answer.line]:
                raise DataError(
                    "a finding that is to be dismissed is not there",
                    place=f"line {answer.line}",
                    fix="dismiss only what the sample lists under `findings`",
                )
            yield Place(file=answer.file, line=answer.line, field=field_path, type=kind)


def _store(rooms: Rooms, document: Any, key: Signer, out: Path | None) -> Path:
    """Sign, record and write one document; recorded first, so that none is in force unrecorded."""
    import hashlib

    from gateway.data import write_atomically
    from gateway.policy.determinations import Determined, sign

    content = sign(document, key)
    sha256 = hashlib.sha256(content).hexdigest()
    common = {"data_hash": document.data_hash, "officer": document.officer, "key_id": key.id}
    if isinstance(document, Determined):
        rooms.accounts.determined(
            {
                **common,
                "source_hash": document.source_hash,
                "method": document.method,
                "before": document.before,
                "to": document.to,
                "sampled": document.sampled,
                "leaks": document.leaks,
                "upper_bound": document.upper_bound,
                "expires": document.expires.isoformat(),
                "document": sha256,
            }
        )
    else:
        counts = Counter(place.type for place in document.findings)
        rooms.accounts.dismissed({**common, "dismissed": dict(sorted(counts.items())), "document": sha256})
    kind = "determination" if isinstance(document, Determined) else "dismissals"
    folder = out or rooms.home / REVIEWS_FOLDER
    path = folder / f"{document.data_hash[:12]}-{kind}-{document.signed}-{sha256[:8]}.json"
    write_atomically(path, [content])
    return path
