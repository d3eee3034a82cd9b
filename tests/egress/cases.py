"""Random cases, and who may see what in each: an independent reading of the shipped rules."""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, timedelta

from gateway.core.classes import DataClass
from gateway.core.plan import CandidateKey
from tests.egress.far import MODEL, STANCES, Stance

DAY = date(2026, 11, 22)
MARK = "zorblequill"  # begins every canary, and stands nowhere else
KINDS = ("baa", "dpa", "modified_retention", "qsoa", "scc")
SETS = (
    ("baseline", "hipaa"),
    ("baseline", "hipaa"),
    ("baseline", "hipaa", "gdpr-eu"),
    ("baseline", "gdpr-eu"),
    ("baseline", "hipaa", "on-prem-only"),
    ("hipaa",),
    ("baseline",),
)
ACTIONS = ("complete", "stream", "base", "deploy", "score", "stray", "evaluate", "resume")
PLANTED: Mapping[DataClass, str] = {
    DataClass.PUBLIC: "the parcel arrived late and the box was dented",
    DataClass.PII: "call me back, my SSN is 536-90-4399 and my mail is m.gonzalez@gmail.com",
    DataClass.PHI: "MRN: 00482913, diagnosed with diabetes mellitus, on metformin 500 mg, SSN 536-90-4399",
}


@dataclass(frozen=True, slots=True)
class Paper:
    """An agreement, as tunegate.toml attests it."""

    kind: str
    backend: str
    signed: date
    expires: date | None

    def in_force(self, on: date) -> bool:
        return self.signed <= on and (self.expires is None or on <= self.expires)

    def toml(self) -> str:
        expires = f"expires = {self.expires}\n" if self.expires else ""
        head = f'[[attestations]]\nkind = "{self.kind}"\nbackend = "{self.backend}"\n'
        return f'{head}signed = {self.signed}\n{expires}evidence = "a drawer"\n'


@dataclass(frozen=True)
class Fleet:
    """The managed backends of a proof, and what each states of itself.

    Attributes:
        models: one of these is asked for, or several at once.
        kinds: agreements there may be.
        rows: how many a dataset has.
    """

    names: tuple[str, ...] = tuple(STANCES)
    models: tuple[str, ...] = (MODEL,)
    kinds: tuple[str, ...] = KINDS
    rows: int = 24

    def stance(self, key: CandidateKey) -> Stance:
        """What is stated of this place."""
        return STANCES[key.backend]


FAR = Fleet()


@dataclass(frozen=True, slots=True)
class Case:
    """One dataset, one organisation, and what somebody does over a year.

    Attributes:
        papers: agreements at planning; `later` those at everything after, where the settings changed.
        pauses: days that pass before dispatch, and before the actions that follow.
        quotes: the provider refuses something, and quotes it.
    """

    number: int
    model: str
    declared: DataClass
    planted: DataClass
    prompt: DataClass
    tags: tuple[str, ...]
    residency: str
    sets: tuple[str, ...]
    papers: tuple[Paper, ...]
    later: tuple[Paper, ...]
    route: tuple[str, ...]
    objective: str
    pauses: tuple[int, int]
    actions: tuple[str, ...]
    quotes: bool

    @property
    def mark(self) -> str:
        """The canary of this case, in letters: a number could be taken for somebody's."""
        return MARK + "".join(chr(97 + int(digit)) for digit in str(self.number))

    @property
    def data_class(self) -> DataClass:
        return max(self.declared, self.planted)

    def rows(self, count: int) -> list[tuple[str, str]]:
        text = PLANTED[self.planted]
        words = ("parcel", "window", "garden", "engine", "letter", "kettle", "bridge", "pencil")
        return [
            (
                f"{self.mark} {text}, the {words[n % 8]} and the {words[n // 8 % 8]} number {n}",
                f"{self.mark} {words[n % 5]}",
            )
            for n in range(count)
        ]


def make(number: int, seed: int, fleet: Fleet = FAR) -> Case:
    """The case of that number: the same for the same seed, whichever were made before."""
    chance = random.Random(f"{seed}/{number}")
    papers = _papers(chance, fleet)
    planted = chance.choice((DataClass.PUBLIC, DataClass.PUBLIC, DataClass.PII, DataClass.PHI))
    return Case(
        number=number,
        model=chance.choice(fleet.models),
        declared=chance.choice(tuple(DataClass)),
        planted=planted,
        prompt=chance.choice(tuple(PLANTED)),
        tags=tuple(tag for tag in ("part2", "gdpr-art9", "copyrighted") if chance.random() < 0.15),
        residency=chance.choice(("any", "any", "any", "us", "eu")),
        sets=chance.choice(SETS),
        papers=papers,
        later=papers if chance.random() < 0.6 else _papers(chance, fleet),
        route=tuple(chance.sample(fleet.names, chance.randint(1, len(fleet.names)))),
        objective=chance.choice(("cheapest", "order")),
        pauses=(chance.choice((0, 0, 20, 200)), chance.choice((0, 0, 40, 400))),
        actions=tuple(chance.sample(ACTIONS, chance.randint(1, 4))),
        quotes=chance.random() < 0.2,
    )


def _papers(chance: random.Random, fleet: Fleet) -> tuple[Paper, ...]:
    """Each backend has each agreement or not; some lapsed, some begin later, some end soon."""
    generous = chance.random()
    return tuple(
        Paper(kind, backend, DAY + timedelta(days=start), None if end is None else DAY + timedelta(days=end))
        for backend in fleet.names
        for kind in fleet.kinds
        if chance.random() < generous
        for start, end in (chance.choice(((-300, 900), (-300, 10), (-300, -1), (5, 900), (-10, None))),)
    )


def allows(
    case: Case, stance: Stance, backend: str, data_class: DataClass, papers: tuple[Paper, ...], on: date
) -> bool:
    """Whether the shipped sets in force let data of this class go to such a place on that day."""
    sets = set(case.sets)
    held = {paper.kind for paper in papers if paper.backend == backend and paper.in_force(on)}
    personal = data_class >= DataClass.PII
    permits = {
        DataClass.PUBLIC: "baseline" in sets,
        DataClass.INTERNAL: "baseline" in sets and not stance.trains,
        DataClass.CONFIDENTIAL: "baseline" in sets and not stance.trains,
        DataClass.PII: "baseline" in sets and not stance.trains and "dpa" in held,
        DataClass.PHI: "hipaa" in sets
        and stance.eligible
        and not stance.trains
        and "baa" in held
        and bool(stance.requires)
        and set(stance.requires) <= held,
    }
    forbids = (
        ("baseline" in sets and case.residency not in ("any", stance.zone)),
        ("hipaa" in sets and data_class is DataClass.PHI and "baa" not in held),
        ("hipaa" in sets and "part2" in case.tags and "qsoa" not in held),
        ("gdpr-eu" in sets and personal and stance.zone != "eu" and "scc" not in held),
        ("gdpr-eu" in sets and personal and "dpa" not in held),
        ("gdpr-eu" in sets and "gdpr-art9" in case.tags and stance.zone != "eu"),
        "on-prem-only" in sets,
    )
    return permits[data_class] and not any(forbids)
