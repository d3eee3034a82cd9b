"""An account as an officer asks about it: every dataset of a class, and where it went in a period.

Told from the signed records alone, by joining them on the hash of the data, the job and what a backend
calls it. Nothing is judged anew: the gate's answers, rules and agreements are those of the time.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from typing import Any

from gateway.records.kinds import kind_of
from gateway.records.verify import Record
from gateway.records.wording import agreement_in_words, hosts_in_words, in_words, place_in_words

SCHEMA = "tunegate.records-summary/1"


@dataclass(frozen=True, slots=True)
class Period:
    """Days, both included, in UTC; None is open on that side. `data_class` None means every class."""

    start: date | None = None
    end: date | None = None
    data_class: str | None = None

    def holds(self, at: datetime) -> bool:
        day = at.date()
        return (self.start is None or self.start <= day) and (self.end is None or day <= self.end)


@dataclass(frozen=True, slots=True)
class Line:
    """One record as a line of an account: its number, when, which kind, and what it says in words."""

    sequence: int
    at: datetime
    kind: str
    text: str


@dataclass(slots=True)
class Sent:
    """Data that was sent, or was about to be, to one place under one set of agreements."""

    place: str
    kind: str
    residency: str
    agreements: tuple[str, ...]
    rules: tuple[str, ...]
    trust: str
    uploads: int = 0
    rows: int = 0
    first: datetime | None = None
    reached: bool = False  # the backend took the job
    through: str = ""  # an address on this machine, where that is where the calls went

    def to_json(self) -> dict[str, Any]:
        return {
            "place": self.place,
            "kind": self.kind,
            "residency": self.residency,
            "agreements": list(self.agreements),
            "rules": list(self.rules),
            "trust": self.trust,
            "uploads": self.uploads,
            "rows": self.rows,
            "first": self.first and self.first.isoformat(),
            "dispatched": self.reached,
            "through": self.through or None,
        }


@dataclass(slots=True)
class DatasetAccount:
    """One dataset: its class, where it went, and every record about it in the period."""

    hash: str
    declared: str = "?"
    detected: str | None = None
    effective: str = "?"
    classes: set[str] = field(default_factory=set[str])  # every effective class it ever had
    determination: str | None = None
    rows: int | None = None
    jobs: set[str] = field(default_factory=set[str])
    sent: dict[tuple[object, ...], Sent] = field(default_factory=dict[tuple[object, ...], Sent])
    results: Counter[str] = field(default_factory=Counter[str])
    deleted: int = 0
    not_deleted: int = 0
    lines: list[Line] = field(default_factory=list[Line])

    @property
    def managed(self) -> tuple[Sent, ...]:
        return tuple(sent for sent in self.sent.values() if sent.kind == "managed")

    @property
    def stayed(self) -> bool:
        """Nothing of it was sent to anybody else's machine."""
        return not self.managed

    @property
    def without_agreement(self) -> tuple[Sent, ...]:
        return tuple(sent for sent in self.managed if not sent.agreements)

    def to_json(self) -> dict[str, Any]:
        return {
            "hash": self.hash,
            "class": {
                "declared": self.declared,
                "detected": self.detected,
                "effective": self.effective,
                "determination": self.determination,
            },
            "rows": self.rows,
            "jobs": sorted(self.jobs),
            "sent": [sent.to_json() for sent in self.sent.values()],
            "results": dict(self.results),
            "deleted": self.deleted,
            "not_deleted": self.not_deleted,
            "records": [line.sequence for line in self.lines],
        }


@dataclass(frozen=True, slots=True)
class Summary:
    """What an account holds for a period.

    Attributes:
        denials: what the gate stopped at the door.
        others: records about no dataset: keys, pruning.
        kinds: how many records of each kind.
        rules: rule id → the reason and the citation it was first told with.
    """

    period: Period
    made_at: datetime
    datasets: tuple[DatasetAccount, ...]
    denials: tuple[Line, ...]
    others: tuple[Line, ...]
    kinds: Mapping[str, int]
    rules: Mapping[str, tuple[str, str]]

    @property
    def managed(self) -> int:
        return sum(not dataset.stayed for dataset in self.datasets)

    @property
    def without_agreement(self) -> int:
        return sum(bool(dataset.without_agreement) for dataset in self.datasets)

    def to_json(self) -> dict[str, Any]:
        return {
            "schema": SCHEMA,
            "from": self.period.start and self.period.start.isoformat(),
            "to": self.period.end and self.period.end.isoformat(),
            "class": self.period.data_class,
            "made_at": self.made_at.isoformat(),
            "datasets": [dataset.to_json() for dataset in self.datasets],
            "went_to_a_managed_provider": self.managed,
            "without_an_agreement": self.without_agreement,
            "denials": [line.sequence for line in self.denials],
            "others": [line.sequence for line in self.others],
            "records": dict(self.kinds),
        }


def summarise(records: Iterable[Record], period: Period, *, made_at: datetime) -> Summary:
    """Tell the account of a period. Records before it are read too: what a dataset is was often said then."""
    every = sorted(records, key=lambda record: record.sequence)
    owners = _owners(every)
    datasets: dict[str, DatasetAccount] = {}
    denials, others = list[Line](), list[Line]()
    kinds: Counter[str] = Counter()
    rules: dict[str, tuple[str, str]] = {}
    for record in every:
        kind, said, at = kind_of(record.statement["predicateType"]), record.predicate, _at(record)
        dataset = _dataset_of(said, owners, datasets)
        if dataset is not None:
            _learn(dataset, kind, said)
        if not period.holds(at):
            continue
        kinds[kind] += 1
        for ground in _grounds(said):
            rules.setdefault(ground["rule"], (ground["reason"], ground["citation"]))
        line = Line(record.sequence, at, kind, in_words(kind, said))
        if dataset is not None:
            _account(dataset, kind, said, at)
            dataset.lines.append(line)
        if kind == "denial" and _is_of(period, said["data_class"]):
            denials.append(line)
        elif dataset is None and kind != "denial":
            others.append(line)
    shown = [d for d in datasets.values() if d.lines and (not d.classes or _is_of(period, *d.classes))]
    return Summary(
        period,
        made_at,
        datasets=tuple(shown),
        denials=tuple(denials),
        others=tuple(others),
        kinds=dict(sorted(kinds.items())),
        rules=dict(sorted(rules.items())),
    )


def _grounds(said: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """Every ground of the gate's that a record holds: for what was done, and for what was judged."""
    judged: Sequence[Mapping[str, Any]] = said.get("candidates") or ()
    for each in (said, *judged):
        yield from _part(each, "gate").get("grounds", ())


def _is_of(period: Period, *classes: str) -> bool:
    return period.data_class in (None, *classes)


def _at(record: Record) -> datetime:
    return datetime.fromisoformat(str(record.predicate["log"]["at"]))


def _owners(records: Sequence[Record]) -> dict[tuple[str, str], str]:
    """Whose data a job, a job at a backend, or a model is made of: the data's hash."""
    owners: dict[tuple[str, str], str] = {}
    for record in records:
        said = record.predicate
        data = _data_of(said)
        if data is None:
            continue
        if said.get("job"):
            owners["job", said["job"]] = data
        if remote := _part(said, "remote"):
            owners[remote["backend"], remote["id"]] = data
        artifacts: Sequence[Mapping[str, Any]] = said.get("artifacts") or ()
        owners.update({("model", each["id"]): data for each in artifacts if each.get("id")})
    return owners


def _data_of(said: Mapping[str, Any]) -> str | None:
    return said.get("data_hash") or _part(said, "data").get("hash")


def _part(said: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    """A part of what is said; empty where it is not said."""
    return said.get(name) or {}


def _dataset_of(
    said: Mapping[str, Any], owners: Mapping[tuple[str, str], str], datasets: dict[str, DatasetAccount]
) -> DatasetAccount | None:
    remote = _part(said, "remote")
    keys = (
        ("job", str(said.get("job"))),
        (str(remote.get("backend")), str(remote.get("id"))),
        ("model", str(said.get("model"))),
    )
    data = _data_of(said) or next((owners[key] for key in keys if key in owners), None)
    return None if data is None else datasets.setdefault(data, DatasetAccount(data))


def _learn(dataset: DatasetAccount, kind: str, said: Mapping[str, Any]) -> None:
    """What a record says of what the dataset is, whenever it was said."""
    if kind == "decision":
        data, classes = said["data"], said["data"]["class"]
        dataset.rows = data["rows"]
        dataset.declared, dataset.detected = classes["declared"], classes["detected"]
        dataset.effective, dataset.determination = classes["effective"], classes.get("determination")
        dataset.classes.add(classes["effective"])


def _account(dataset: DatasetAccount, kind: str, said: Mapping[str, Any], at: datetime) -> None:
    """What a record of the period says of where the dataset went, and what became of it."""
    if said.get("job"):
        dataset.jobs.add(said["job"])
    if kind in ("upload", "dispatch"):
        sent = _sent(dataset, said)
        sent.first = min(sent.first or at, at)
        sent.reached |= kind == "dispatch"
        if kind == "upload":
            sent.uploads += 1
            sent.rows += said["file"]["rows"]
    elif kind == "training_result":
        dataset.results[said["state"]] += 1
    elif kind == "deletion":
        dataset.deleted += sum(item["deleted"] for item in said["items"])
        dataset.not_deleted += sum(not item["deleted"] for item in said["items"])


def _sent(dataset: DatasetAccount, said: Mapping[str, Any]) -> Sent:
    place = _part(said, "place") or {**said["candidate"], "kind": "unknown", "residency": "unknown"}
    gate = _part(said, "gate")
    agreements = tuple(sorted(map(agreement_in_words, said.get("agreements", ()))))
    rules = tuple(str(ground["rule"]) for ground in gate.get("grounds", ()))
    sent = Sent(
        place_in_words(place),
        place["kind"],
        place["residency"],
        agreements,
        rules,
        gate.get("trust", "unknown"),
        through=hosts_in_words(said) if place["kind"] == "managed" else "",
    )
    return dataset.sent.setdefault((sent.place, agreements, rules), sent)
