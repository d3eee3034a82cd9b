"""Scanning: megabytes a second on one core, and what is found on labelled text.

    python benchmarks/scan.py [FOLDER]

FOLDER holds the development data (`mts-dialog/`, `presidio/`; default: `../shared/data` beside the
checkout). Speed is end to end: read, parse, fold, match, confirm. Sparse text is dialogue, its turns drawn
anew for every row so that no text stands twice; dense is the same with one identifier planted every 200
characters, no two of them alike; encoded is sparse text of which every tenth row has a word escaped, which
costs a second look; prompted has one system prompt in front of every row. Prints versions with the figures.
On a machine that others use, the process's own time says more than the clock.
"""

from __future__ import annotations

import csv
import json
import platform
import random
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

from gateway.core.spec import Data
from gateway.data import open_dataset
from gateway.privacy import THRESHOLD, scan_dataset, scan_record

RUNS = 3
SIZE_BYTES = 12_000_000
SHARED_BYTES = 120_000_000  # for two processes, which take a second to start
FORMS = (
    "SSN 2{a}-0{b}-{c}", "call (415) 555-{c}", "MRN: 4{c}{a}", "seen 0{b}/1{b}/20{a} by Dr. Alvarez",
    "mail to jane.doe{c}@example.org", "{c} Oak Street, Springfield, IL 627{a}", "card 4111 11{a} 1111 {c}",
)  # fmt: skip
PROMPT = (
    "You write the section of a note that a conversation belongs to. Answer with the text of that section "
    "alone, in whole sentences, in the past tense, without greetings and without anything that was not said. "
    "Write numbers as digits and doses with their unit. If nothing was said that belongs there, answer with "
    "the word none. Never guess a diagnosis, and leave names of people and places out of what you write."
)
# The labels of the development set that mean what one of our types means; others are not identifiers here.
SAME = {
    "PERSON": "name",
    "ADDRESS": "address",
    "LOCATION": "geography",
    "CREDIT_CARD": "card",
    "PHONE_NUMBER": "phone",
    "DATE_TIME": "date",
    "EMAIL_ADDRESS": "email",
    "US_SSN": "ssn",
    "IBAN_CODE": "iban",
    "DOMAIN_NAME": "url",
    "US_DRIVER_LICENSE": "license",
    "IP_ADDRESS": "ip",
}


@dataclass
class Tally:
    """Spans of one label: how many, touched by any finding, and by one of the same type."""

    spans: int = 0
    touched: int = 0
    same: int = 0
    missed: list[int] = field(default_factory=list[int])


def dialogues(folder: Path) -> Iterator[str]:
    csv.field_size_limit(1 << 24)
    for name in ("train.csv", "valid.csv"):
        with (folder / "mts-dialog" / name).open(newline="", encoding="utf-8") as file:
            for row in csv.DictReader(file):
                yield row["dialogue"]


def mixed(texts: list[str]) -> Iterator[str]:
    """Dialogues without end, as long as the given ones, of their turns."""
    chance, turns = random.Random(0), [turn for text in texts for turn in text.splitlines() if turn.strip()]
    while True:
        yield "\n".join(chance.choices(turns, k=len(chance.choice(texts).splitlines())))


def dense(text: str, start: int) -> str:
    """The same text with an identifier in every 200 characters; each is another."""
    chance, pieces = random.Random(start), [text[at : at + 200] for at in range(0, len(text), 200)]
    return "".join(f"{piece} {_planted(chance, start + at)} " for at, piece in enumerate(pieces))


def _planted(chance: random.Random, at: int) -> str:
    return FORMS[at % len(FORMS)].format(
        a=chance.randint(10, 24), b=chance.randint(1, 9), c=chance.randint(1000, 9999)
    )


def encoded(text: str, at: int) -> str:
    """Every tenth text with an escape in it."""
    return text if at % 10 else text.replace(" the ", " th&#101; ", 1)


def write_rows(path: Path, texts: Iterable[str], prompt: str = "", least: int = SIZE_BYTES) -> int:
    """Chat rows until the file is large enough; returns its bytes."""
    size = 0
    with path.open("w", encoding="utf-8") as file:
        for text in texts:
            turns = [{"role": "user", "content": text}, {"role": "assistant", "content": "Noted."}]
            if prompt:
                turns.insert(0, {"role": "system", "content": prompt})
            size += file.write(json.dumps({"messages": turns}) + "\n")
            if size >= least:
                break
    return path.stat().st_size


def speed(path: Path, processes: int, runs: int = RUNS) -> tuple[float, float]:
    """Best megabytes a second of a few runs after one more: of the clock, and of this process's own time."""

    def once() -> tuple[float, float]:
        dataset = open_dataset(Data(train=(path.name,)), path.parent, task="sft")
        clock, own = time.perf_counter(), time.process_time()
        totals = scan_dataset(dataset, processes=processes)
        assert totals.complete
        size = path.stat().st_size / 1e6
        return size / (time.perf_counter() - clock), size / (time.process_time() - own)

    once()
    every = [once() for _ in range(runs)]
    return max(run[0] for run in every), max(run[1] for run in every)


def quality(rows: list[dict[str, Any]]) -> None:
    tallies: dict[str, Tally] = {}
    records = Counter[str]()
    for index, row in enumerate(rows):
        found = [f for f in scan_record({"text": row["full_text"]}).findings if f.confidence >= THRESHOLD]
        spans = [span for span in row["spans"] if span["entity_type"] in SAME]
        records["with" if spans else "without"] += 1
        records["with flagged" if spans else "without flagged"] += bool(found)
        for span in spans:
            tally = tallies.setdefault(span["entity_type"], Tally())
            over = [f for f in found if f.start < span["end_position"] and f.end > span["start_position"]]
            tally.spans += 1
            tally.touched += bool(over)
            tally.same += any(f.type == SAME[span["entity_type"]] for f in over)
            if not over:
                tally.missed.append(index)
    print(f"records with identifiers flagged: {records['with flagged']}/{records['with']}")
    print(f"records without, flagged: {records['without flagged']}/{records['without']}")
    for label, tally in sorted(tallies.items(), key=lambda item: -item[1].spans):
        print(
            f"  {label:18} {tally.spans:5} spans  touched {tally.touched / tally.spans:6.1%}"
            f"  as {SAME[label]:9} {tally.same / tally.spans:6.1%}"
        )


def main() -> None:
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parents[2] / "shared" / "data"
    print(
        f"python {platform.python_version()}, google-re2 {version('google-re2')}, "
        f"{platform.machine()}, one core"
    )
    texts = list(dialogues(folder))
    with tempfile.TemporaryDirectory() as place:
        path = Path(place) / "rows.jsonl"
        for kind, rows, prompt in (
            ("sparse", mixed(texts), ""),
            ("dense", (dense(text, at) for at, text in enumerate(mixed(texts))), ""),
            ("encoded", (encoded(text, at) for at, text in enumerate(mixed(texts))), ""),
            ("prompted", mixed(texts), PROMPT),
        ):
            size = write_rows(path, rows, prompt)
            clock, own = speed(path, 1)
            print(f"{kind}: {size / 1e6:.1f} MB; {clock:.1f} MB/s by the clock, {own:.1f} by its own time")
        size = write_rows(path, mixed(texts), least=SHARED_BYTES)
        (one, _), (two, _) = speed(path, 1, 1), speed(path, 2, 1)
        print(
            f"sparse: {size / 1e6:.0f} MB; by the clock one process {one:.1f} MB/s, two {two:.1f}: "
            f"{two / one:.2f} times"
        )
    flagged = sum(
        any(f.confidence >= THRESHOLD for f in scan_record({"text": text}).findings) for text in texts
    )
    print(f"dialogues flagged (de-identified text, some with dates and places): {flagged}/{len(texts)}")
    quality(json.loads((folder / "presidio" / "generated_large.json").read_text(encoding="utf-8")))


if __name__ == "__main__":
    main()
