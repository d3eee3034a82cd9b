"""The scanner beside Presidio's pattern recognisers: the same texts, one run, one core.

    pip install presidio-analyzer        # only for this; a separate environment will do
    python benchmarks/scan_presidio.py [FOLDER]

FOLDER holds the development data (default: `../shared/data` beside the checkout). Presidio runs with every
predefined recogniser that needs no model, on a blank language, so that nothing is downloaded. A span is
found when anything found touches it, and found as its type when that has the same type; what is found and
touches no labelled span counts against precision. Types that a system does not have are shown as such.
Speed is of texts in memory, every finding told: ours as the records of a file, theirs one after the other.
"""

from __future__ import annotations

import csv
import json
import platform
import sys
import time
from collections import Counter, defaultdict, deque
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

from gateway.data.lines import RawRecord
from gateway.privacy import THRESHOLD, Scanner, scan_record

SCORE = 0.4  # Presidio's patterns score 0.4 for weak looks that its context words may raise; lower is noise
# label of the set: (our type, Presidio's entity or None where its patterns have none)
TYPES = {
    "PERSON": ("name", None),
    "ADDRESS": ("address", None),
    "LOCATION": ("geography", None),
    "CREDIT_CARD": ("card", "CREDIT_CARD"),
    "PHONE_NUMBER": ("phone", "PHONE_NUMBER"),
    "DATE_TIME": ("date", "DATE_TIME"),
    "EMAIL_ADDRESS": ("email", "EMAIL_ADDRESS"),
    "US_SSN": ("ssn", "US_SSN"),
    "IBAN_CODE": ("iban", "IBAN_CODE"),
    "DOMAIN_NAME": ("url", "URL"),
    "US_DRIVER_LICENSE": ("license", "US_DRIVER_LICENSE"),
    "IP_ADDRESS": ("ip", "IP_ADDRESS"),
}
# Labels of the set that identify nobody in the sense of the scanner; what lies on them is not counted.
OTHER = ("TITLE", "NRP", "ORGANIZATION", "AGE", "ZIP_CODE", "STREET_ADDRESS", "GPE")

Span = tuple[int, int, str]
System = Callable[[str], list[Span]]


def ours(text: str) -> list[Span]:
    found = scan_record({"text": text}).findings
    return [(each.start, each.end, each.type) for each in found if each.confidence >= THRESHOLD]


def presidio() -> System:
    import spacy
    import tldextract
    from presidio_analyzer import AnalyzerEngine, RecognizerRegistry
    from presidio_analyzer.nlp_engine import NlpArtifacts, NlpEngine

    # Its list of domains is in the package; without this it asks the network for a newer one.
    tldextract.extract = tldextract.TLDExtract(suffix_list_urls=())

    class Blank(NlpEngine):
        """Tokens only: no model, no entities. What the pattern recognisers and their context words need."""

        def __init__(self) -> None:
            self._nlp = spacy.blank("en")

        def load(self) -> None: ...

        def is_loaded(self) -> bool:
            return True

        def process_text(self, text: str, language: str) -> NlpArtifacts:
            tokens = self._nlp(text)
            lemmas = [token.text.lower() for token in tokens]
            return NlpArtifacts([], tokens, [token.idx for token in tokens], lemmas, self, language)

        def process_batch(self, texts: Any, language: str, **_: Any) -> Any:
            return ((text, self.process_text(text, language)) for text in texts)

        def is_stopword(self, word: str, language: str) -> bool:
            return self._nlp.vocab[word].is_stop

        def is_punct(self, word: str, language: str) -> bool:
            return self._nlp.vocab[word].is_punct

        def get_supported_entities(self) -> list[str]:
            return []

        def get_supported_languages(self) -> list[str]:
            return ["en"]

    registry = RecognizerRegistry()
    registry.load_predefined_recognizers(languages=["en"])
    engine = AnalyzerEngine(registry=registry, nlp_engine=Blank(), supported_languages=["en"])

    def find(text: str) -> list[Span]:
        results = engine.analyze(text, language="en", score_threshold=SCORE)
        return [(result.start, result.end, result.entity_type) for result in results]

    return find


def judge(rows: list[dict[str, Any]], system: System, which: int) -> None:
    """Recall and precision by type and by record; `which` picks the system's own names from `TYPES`."""
    spans, touched, same, right, told = (Counter[str]() for _ in range(5))
    records = Counter[str]()
    for row in rows:
        labelled = [
            (s["start_position"], s["end_position"], s["entity_type"])
            for s in row["spans"]
            if s["entity_type"] in TYPES
        ]
        ignored = [
            (s["start_position"], s["end_position"]) for s in row["spans"] if s["entity_type"] in OTHER
        ]
        found = system(row["full_text"])
        key = "with" if labelled else "without"
        records[key] += 1
        records[f"{key} flagged"] += bool(found)
        records["whole"] += bool(labelled) and all(_over(span, found) for span in labelled)
        for span in labelled:
            over = _over(span, found)
            spans[span[2]] += 1
            touched[span[2]] += bool(over)
            same[span[2]] += any(each[2] == TYPES[span[2]][which] for each in over)
        for each in found:
            if not any(start < each[1] and end > each[0] for start, end in ignored):
                told["all"] += 1
                right["all"] += bool(_over(each, labelled))
    print(
        f"  records with identifiers flagged {records['with flagged'] / records['with']:.1%}, every span of"
        f" them touched {records['whole'] / records['with']:.1%}; records without, flagged"
        f" {records['without flagged']}/{records['without']}"
    )
    total = sum(spans.values())
    print(f"  spans touched {sum(touched.values()) / total:.1%}, precision {right['all'] / told['all']:.1%}")
    for label, count in spans.most_common():
        name = TYPES[label][which]
        typed = f"as {name:17} {same[label] / count:6.1%}" if name else "not a type of this system"
        print(f"    {label:18} {count:5} spans  touched {touched[label] / count:6.1%}  {typed}")


def _over(span: Span, others: list[Span]) -> list[Span]:
    return [each for each in others if each[0] < span[1] and each[1] > span[0]]


def speed(texts: list[str], read: Callable[[list[str]], object]) -> float:
    """Megabytes a second of this process's own time, best of three."""
    size, best = sum(len(text.encode()) for text in texts) / 1e6, float("inf")
    for _ in range(3):
        started = time.process_time()
        read(texts)
        best = min(best, time.process_time() - started)
    return size / best


def as_records(texts: list[str]) -> None:
    """Ours, as the records of a file are read: a page at a time."""
    scanner = Scanner(on_finding=lambda finding: None)
    for line, text in enumerate(texts, 1):
        scanner.see_raw(RawRecord(line, 0, {"text": text}))
    scanner.summary()


def main() -> None:
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parents[2] / "shared" / "data"
    rows = json.loads((folder / "presidio" / "generated_large.json").read_text(encoding="utf-8"))
    print(
        f"python {platform.python_version()}, presidio-analyzer {version('presidio-analyzer')}, "
        f"google-re2 {version('google-re2')}, {platform.machine()}, one core, process time"
    )
    other, counts = presidio(), defaultdict(int)
    for row in rows:
        for span in row["spans"]:
            counts[span["entity_type"]] += 1
    print(f"{len(rows)} texts, labels {dict(counts)}")
    print("Tunegate")
    judge(rows, ours, 0)
    print("Presidio, pattern recognisers")
    judge(rows, other, 1)
    for kind, texts in (("its own", [row["full_text"] for row in rows]), ("MTS-Dialog", dialogues(folder))):
        some = texts[:: max(len(texts) // 100, 1)]
        mine, theirs = speed(texts, as_records), speed(some, lambda texts: deque(map(other, texts), maxlen=0))
        print(f"speed, {kind}: Tunegate {mine:.2f} MB/s, Presidio {theirs:.3f}, {mine / theirs:.0f} times")


def dialogues(folder: Path) -> list[str]:
    csv.field_size_limit(1 << 24)
    with (folder / "mts-dialog" / "train.csv").open(newline="", encoding="utf-8") as file:
        return [row["dialogue"] for row in csv.DictReader(file)]


if __name__ == "__main__":
    main()
