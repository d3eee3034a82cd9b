"""Token counts beside OpenAI's own tokenizer: the same on every real row, and how fast.

    python -m benchmarks.tokens

Rows are MTS-Dialog's, in `../shared/data`: each dialogue and its note, in both encodings. The second table
is speed on the same texts, in one run, by turns: `tiktoken` text by text, `tiktoken` in batches over the
cores, `bpe-openai` text by text, and the counter that plans use. Each counts everything once before, so that
a counter that remembers words has met them: the speed on words never met is that of `bpe-openai`.
"""

from __future__ import annotations

import csv
import gzip
import hashlib
import os
import platform
import statistics
import tempfile
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

import bpe_openai
import tiktoken

from backends.openai.counter import TOKENS_PER_MESSAGE, OpenAICounter
from gateway.core.rows import Message, Row

SHARED = Path(__file__).parents[2] / "shared" / "data" / "mts-dialog"
ENCODINGS = ("o200k_base", "cl100k_base")
RUNS = 5


def texts() -> list[tuple[str, str]]:
    found: list[tuple[str, str]] = []
    for path in sorted(SHARED.glob("*.csv")):
        with path.open(encoding="utf-8-sig", newline="") as file:
            found += [(row["dialogue"], row["section_text"]) for row in csv.DictReader(file)]
    return found


def reference(name: str, folder: Path) -> tiktoken.Encoding:
    """OpenAI's tokenizer, offline; it checks the hash of its file itself."""
    url = f"https://openaipublic.blob.core.windows.net/encodings/{name}.tiktoken"
    packed = Path(bpe_openai.__file__).parent / "data" / f"{name}.tiktoken.gz"
    place = folder / hashlib.sha1(url.encode(), usedforsecurity=False).hexdigest()
    place.write_bytes(gzip.decompress(packed.read_bytes()))
    os.environ["TIKTOKEN_CACHE_DIR"] = str(folder)
    return tiktoken.get_encoding(name)


def rows(pairs: list[tuple[str, str]]) -> list[Row]:
    return [Row(1, (Message("user", asked), Message("assistant", told))) for asked, told in pairs]


def differing(pairs: list[tuple[str, str]], encoding: tiktoken.Encoding) -> tuple[int, int]:
    """(rows whose count is not OpenAI's, tokens in all by OpenAI's)."""
    counter, wrong, total = OpenAICounter(encoding.name), 0, 0
    for pair, row in zip(pairs, rows(pairs), strict=True):
        theirs = sum(TOKENS_PER_MESSAGE + len(encoding.encode_ordinary(text)) for text in pair)
        wrong += counter.count(row) != theirs
        total += theirs
    return wrong, total


def speeds(pairs: list[tuple[str, str]], encoding: tiktoken.Encoding) -> dict[str, float]:
    """MB a second of processor time, the median of some runs; in batches by the clock, over the cores."""
    flat = [text for pair in pairs for text in pair]
    plain, counter, made = bpe_openai.get_encoding(encoding.name), OpenAICounter(encoding.name), rows(pairs)
    ways: dict[str, tuple[Callable[[], object], Callable[[], float]]] = {
        "tiktoken": (lambda: [len(encoding.encode_ordinary(text)) for text in flat], time.process_time),
        "tiktoken, batches": (lambda: encoding.encode_ordinary_batch(flat), time.perf_counter),
        "bpe-openai": (lambda: [len(plain.encode_ordinary(text)) for text in flat], time.process_time),
        "the plan's counter": (lambda: [counter.count(row) for row in made], time.process_time),
    }
    took: dict[str, list[float]] = {name: [] for name in ways}
    for run in range(RUNS + 1):
        for name, (way, clock) in ways.items():
            start = clock()
            way()
            if run:  # the first is to warm up
                took[name].append(clock() - start)
    size = sum(len(text.encode()) for text in flat) / 1e6
    return {name: size / statistics.median(times) for name, times in took.items()}


def main() -> None:
    print(f"Python {platform.python_version()}, {platform.machine()}, {os.cpu_count()} cores;", end=" ")
    print(", ".join(f"{name} {version(name)}" for name in ("bpe-openai", "tiktoken")))
    pairs = texts()
    with tempfile.TemporaryDirectory() as folder:
        for name in ENCODINGS:
            encoding = reference(name, Path(folder))
            wrong, total = differing(pairs, encoding)
            print(f"{name}: {len(pairs):,} rows, {total:,} tokens, {wrong} rows differ from tiktoken's count")
            told = speeds(pairs, encoding)
            for way, speed in told.items():
                print(f"  {way:20} {speed:6.1f} MB/s {speed / told['tiktoken']:6.2f} × tiktoken")


if __name__ == "__main__":
    main()
