"""One pass over a gigabyte of chats: read, validate, scan, count tokens; beside the usual way to count them.

    python benchmarks/one_pass.py [--megabytes 1000] [--processes 2] [--new codes]

The usual way is the one that cookbooks show: `json.loads` a line, `tiktoken` each message, one process, and
neither validation nor a scan. Both read the same file in one run, by turns over four parts of it, so that
whoever else uses the machine slows both alike; medians are of the parts. A third turn is a pass over data
that was scanned before, as every plan after the first is that asks something new. Each turn is a process of
its own, timed from where its packages are imported to its end: what loads lists and vocabularies counts.

The file is made by a seeded generator: sentences by chance from the dialogues in `../shared/data`
(MTS-Dialog), no row twice, a word in 25 never seen before: of syllables or, which is harder for the scan, a
code of digits and letters.
Memory is the most that a turn's processes hold at once, shared pages counted once (PSS).
"""

from __future__ import annotations

import argparse
import csv
import gzip
import hashlib
import json
import os
import platform
import random
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from importlib.metadata import distribution, version
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import psutil

from gateway.core.rows import DataProfile, ScanSummary
from gateway.core.spec import JobSpec
from gateway.data import open_dataset, profile
from gateway.onepass import CounterName, Helpers, reader
from gateway.privacy.totals import from_json, to_json
from gateway.sdk.scanning import Known

if TYPE_CHECKING:
    import tiktoken

SHARED = Path(__file__).parents[2] / "shared" / "data" / "mts-dialog"
PARTS = 4
SEED = 17
ENCODING = "o200k_base"
POOL = 60_000  # sentences, each drawn some fifteen times in a gigabyte, never in the same row
NEW_WORDS = 0.04
Turn: TypeAlias = dict[str, Any]
"""What a turn says of itself: seconds `clock` and `work`, MB of `memory`, and what it counted."""


def sentences(rng: random.Random) -> list[str]:
    """Sentences of a chain of words, each following the two before it somewhere in the dialogues."""
    follow: dict[tuple[str, str], list[str]] = {}
    for path in sorted(SHARED.glob("*.csv")):
        with path.open(encoding="utf-8-sig", newline="") as file:
            for row in csv.DictReader(file):
                words = f"{row['dialogue']} {row['section_text']}".split()
                for one, two, three in zip(words, words[1:], words[2:], strict=False):
                    follow.setdefault((one, two), []).append(three)
    starts = list(follow)
    made: list[str] = []
    while len(made) < POOL:
        words = list(rng.choice(starts))
        while len(words) < 25 and (after := follow.get((words[-2], words[-1]))):
            words.append(rng.choice(after))
        made.append(" ".join(words))
    return made


def word(rng: random.Random) -> str:
    """Of two to five syllables, as names of drugs are."""
    return "".join(rng.choice("bcdfglmnprstvz") + rng.choice("aeiou") for _ in range(rng.randint(2, 5)))


def code(rng: random.Random) -> str:
    return f"{rng.randrange(36**5):x}"


NEW = {"words": word, "codes": code}


def turns(rng: random.Random, pool: list[str], kind: str) -> Iterator[dict[str, str]]:
    yield {"role": "system", "content": "You write one section of a clinical note."}
    for at in range(2 * rng.randint(1, 6)):
        text = " ".join(rng.choices(pool, k=rng.randint(1, 5)))
        new = (NEW[kind](rng) for _ in range(round(NEW_WORDS * text.count(" "))))
        yield {"role": ("user", "assistant")[at % 2], "content": " ".join((text, *new))}


def make(path: Path, size: int, pool: list[str], rng: random.Random, kind: str) -> None:
    with path.open("wb") as file:
        while size > 0:
            size -= file.write(json.dumps({"messages": list(turns(rng, pool, kind))}).encode() + b"\n")


def usual_way(path: Path, encoding: tiktoken.Encoding) -> int:
    """Tokens as cookbooks count them: three a message, and every field's."""
    total = 0
    with path.open(encoding="utf-8") as file:
        for line in file:
            for message in json.loads(line)["messages"]:
                total += 3
                for value in message.values():
                    total += len(encoding.encode(value))
    return total


def one_pass(path: Path, home: Path, processes: int, known: ScanSummary | None = None) -> DataProfile:
    spec = JobSpec.model_validate(
        {"name": "one-pass", "model": ("gpt-4.1",), "data": {"train": (path.name,)}}
    ).at(path.parent)
    helpers = Helpers((CounterName(backend="openai", model="gpt-4.1"),), home, {"job": "one-pass"}, processes)
    counters = [name.make(home) for name in helpers.counters]
    dataset = open_dataset(spec.data, spec.folder, task=spec.task)
    scanner = helpers.scanner(dataset) if known is None else Known(known)
    return profile(
        spec, spec.folder, counters=counters, conversions={}, scanner=scanner, read=reader(helpers)
    )


class Watch(threading.Thread):
    """Watches this process and those below it, for as long as a block takes."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self._most, self._over, self._used = 0.0, threading.Event(), dict[int, float]()
        self._began, self._own = time.perf_counter(), time.process_time()

    def __enter__(self) -> Watch:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._clock, self._own = time.perf_counter() - self._began, time.process_time() - self._own
        self._over.set()
        self.join()

    def run(self) -> None:
        while not self._over.wait(0.5):
            held = 0
            for process in (me := psutil.Process(), *me.children(recursive=True)):
                try:
                    held += process.memory_full_info().pss
                    if process.pid != me.pid:
                        times = process.cpu_times()
                        self._used[process.pid] = times.user + times.system
                except psutil.Error:
                    continue
            self._most = max(self._most, held / 1e6)

    def told(self) -> Turn:
        """Seconds by the clock and of processor time (of processes below, up to half a second short for
        each), and the MB that were held at once."""
        work = self._own + sum(self._used.values())
        return {"clock": self._clock, "work": work, "memory": self._most}


def keep_vocabulary(folder: Path) -> None:
    """Put the reference tokenizer's file where it looks for it, so that nothing is fetched; it checks the
    hash itself."""
    url = f"https://openaipublic.blob.core.windows.net/encodings/{ENCODING}.tiktoken"
    packed = Path(str(distribution("bpe-openai").locate_file(f"bpe_openai/data/{ENCODING}.tiktoken.gz")))
    place = folder / hashlib.sha1(url.encode(), usedforsecurity=False).hexdigest()
    place.write_bytes(gzip.decompress(packed.read_bytes()))
    os.environ["TIKTOKEN_CACHE_DIR"] = str(folder)


def alone(turn: str, *told: object) -> Turn:
    """What one of the turns below says of itself, in a process that holds nothing else."""
    code = "import json, sys; from benchmarks import one_pass; turn = getattr(one_pass, sys.argv[1])"
    code += "; print(json.dumps(turn(*sys.argv[2:])))"
    command = [sys.executable, "-c", code, turn, *map(str, told)]
    root = Path(__file__).parents[1]
    done = subprocess.run(
        command, capture_output=True, text=True, check=True, env={**os.environ, "PYTHONPATH": str(root)}
    )
    return json.loads(done.stdout)


def usual_turn(path: str, folder: str) -> Turn:
    import tiktoken  # here alone, so that it is not in the memory of the other turns

    keep_vocabulary(Path(folder))
    with Watch() as watch:
        usual_way(Path(path), tiktoken.get_encoding(ENCODING))
    return watch.told()


def our_turn(path: str, folder: str, processes: str, known: str) -> Turn:
    """A pass; `known` are the totals of a scan before it, as JSON, or null."""
    scanned = json.loads(known)
    with Watch() as watch:
        found = one_pass(Path(path), Path(folder), int(processes), scanned and from_json(scanned))
    tokens = next(iter(found.tokens.values())).tokens
    scan = found.scan and to_json(found.scan)
    return {**watch.told(), "rows": found.rows, "tokens": tokens, "scan": scan}


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--megabytes", type=int, default=1000)
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--new", choices=NEW, default="words")
    asked = parser.parse_args()
    print(f"Python {platform.python_version()}, {platform.machine()}, {os.cpu_count()} cores;", end=" ")
    print(", ".join(f"{name} {version(name)}" for name in ("bpe-openai", "tiktoken", "orjson", "google-re2")))
    with tempfile.TemporaryDirectory() as name:
        compare(Path(name), asked.megabytes, asked.processes, asked.new)


def compare(folder: Path, megabytes: int, processes: int, kind: str) -> None:
    rng = random.Random(SEED)
    pool, path = sentences(rng), folder / "part.jsonl"
    parts: list[tuple[float, list[Turn]]] = []
    for part in range(PARTS):
        make(path, megabytes * 1_000_000 // PARTS, pool, rng, kind)
        usual = alone("usual_turn", path, folder)
        whole = alone("our_turn", path, folder, processes, "null")
        again = alone("our_turn", path, folder, processes, json.dumps(whole["scan"]))
        parts.append((path.stat().st_size / 1e6, [usual, whole, again]))
        print(f"part {part + 1}: {told(*parts[-1])}", flush=True)
    rows, tokens = (sum(turns[1][name] for _, turns in parts) for name in ("rows", "tokens"))
    print(f"{rows:,} rows, {tokens:,} tokens, {processes} processes; medians of {PARTS} parts:")
    for at, name in enumerate(("usual way (json + tiktoken)", "one pass", "one pass, scanned before")):
        speed = statistics.median(size / turns[at]["clock"] for size, turns in parts)
        times = statistics.median(turns[0]["clock"] / turns[at]["clock"] for _, turns in parts)
        labour = statistics.median(turns[0]["work"] / turns[at]["work"] for _, turns in parts)
        most = max(turns[at]["memory"] for _, turns in parts)
        print(
            f"{name:28} {speed:6.1f} MB/s {times:6.2f} × by the clock {labour:6.2f} × by processor time,"
            f" {most:4.0f} MB at most"
        )


def told(size: float, turns: list[Turn]) -> str:
    names = ("usual", "one pass", "scanned before")
    return f"{size:.0f} MB; " + "; ".join(
        f"{name} {size / turn['clock']:.1f} MB/s, {size / turn['work']:.1f} a processor second"
        for name, turn in zip(names, turns, strict=True)
    )


if __name__ == "__main__":
    main()
