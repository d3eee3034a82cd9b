"""One pass over a gigabyte of chats: read, validate, scan, count tokens; beside the usual way to count them.

    python benchmarks/one_pass.py [--megabytes 1000] [--processes 2] [--new codes]

The usual way is the one that cookbooks show: `json.loads` a line, `tiktoken` each message, one process, and
neither validation nor a scan. Both read the same file in one run, by turns over four parts of it, so that
whoever else uses the machine slows both alike; medians are of the parts. A third turn is a pass over data
that was scanned before, as every plan after the first is that asks something new. The file is made
by a seeded generator: sentences by chance from the dialogues in `../shared/data` (MTS-Dialog), no row twice,
a word in 25 never seen before: of syllables or, which is harder for the scan, a code of digits and letters.
Memory is the most that all our processes hold at once, shared pages counted once (PSS).
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
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from typing import NamedTuple

import bpe_openai
import psutil
import tiktoken

from gateway.core.rows import DataProfile, ScanSummary
from gateway.core.spec import JobSpec
from gateway.data import open_dataset, profile
from gateway.onepass import CounterName, Helpers, reader
from gateway.sdk.scanning import Known

SHARED = Path(__file__).parents[2] / "shared" / "data" / "mts-dialog"
PARTS = 4
SEED = 17
ENCODING = "o200k_base"
POOL = 60_000  # sentences, each drawn some fifteen times in a gigabyte, never in the same row
NEW_WORDS = 0.04


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


class Memory(threading.Thread):
    """Watches this process and those below it.

    Attributes:
        most: MB that they held at once.
        work: seconds of processor time of those below, up to half a second short for each.
    """

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.most, self._over, self._used = 0.0, threading.Event(), dict[int, float]()

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
            self.most = max(self.most, held / 1e6)

    @property
    def work(self) -> float:
        return sum(self._used.values())

    def stop(self) -> None:
        self._over.set()
        self.join()


class Run(NamedTuple):
    """Seconds by the clock and of processor time, and MB held."""

    clock: float
    work: float
    memory: float


def tokenizer(folder: Path) -> tiktoken.Encoding:
    """The reference tokenizer, offline; it checks the hash of its file itself."""
    url = f"https://openaipublic.blob.core.windows.net/encodings/{ENCODING}.tiktoken"
    packed = Path(bpe_openai.__file__).parent / "data" / f"{ENCODING}.tiktoken.gz"
    place = folder / hashlib.sha1(url.encode(), usedforsecurity=False).hexdigest()
    place.write_bytes(gzip.decompress(packed.read_bytes()))
    os.environ["TIKTOKEN_CACHE_DIR"] = str(folder)
    return tiktoken.get_encoding(ENCODING)


def usual_alone(path: Path, folder: Path) -> tuple[float, float]:
    """Seconds by the clock and of processor time that the usual way takes, in a process of its own: what
    it holds is then no part of our memory."""
    from subprocess import run

    code = (
        "import sys,time; sys.path[:0]=sys.argv[3:]; from pathlib import Path\n"
        "from benchmarks import one_pass as o\n"
        "e=o.tokenizer(Path(sys.argv[2])); c,p=time.perf_counter(),time.process_time()\n"
        "o.usual_way(Path(sys.argv[1]),e); print(time.perf_counter()-c,time.process_time()-p)"
    )
    root = str(Path(__file__).parents[1])
    told = run([sys.executable, "-c", code, path, folder, root], capture_output=True, text=True, check=True)
    clock, busy = map(float, told.stdout.split())
    return clock, busy


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


def timed(path: Path, folder: Path, processes: int, known: ScanSummary | None) -> tuple[Run, DataProfile]:
    watch, own, start = Memory(), time.process_time(), time.perf_counter()
    watch.start()
    found = one_pass(path, folder, processes, known)
    clock, own = time.perf_counter() - start, time.process_time() - own
    watch.stop()
    return Run(clock, own + watch.work, watch.most), found


def compare(folder: Path, megabytes: int, processes: int, kind: str) -> None:
    rng = random.Random(SEED)
    pool, path = sentences(rng), folder / "part.jsonl"
    parts: list[tuple[float, Run, Run, Run]] = []
    rows = tokens = 0
    for part in range(PARTS):
        make(path, megabytes * 1_000_000 // PARTS, pool, rng, kind)
        usual = Run(*usual_alone(path, folder), 0)
        whole, found = timed(path, folder, processes, None)
        again, _ = timed(path, folder, processes, found.scan)
        rows, tokens = rows + found.rows, tokens + next(iter(found.tokens.values())).tokens
        parts.append((path.stat().st_size / 1e6, usual, whole, again))
        print(f"part {part + 1}: {told(*parts[-1])}", flush=True)
    print(f"{rows:,} rows, {tokens:,} tokens, {processes} processes; medians of {PARTS} parts:")
    for name, at in (("usual way (json + tiktoken)", 1), ("one pass", 2), ("one pass, scanned before", 3)):
        speed = statistics.median(part[0] / part[at].clock for part in parts)
        times = statistics.median(part[1].clock / part[at].clock for part in parts)
        labour = statistics.median(part[1].work / part[at].work for part in parts)
        print(f"{name:28} {speed:6.1f} MB/s {times:6.2f} × by the clock {labour:6.2f} × by processor time")
    print(f"memory over all processes: {max(part[2].memory for part in parts):.0f} MB at most")


def told(size: float, *runs: Run) -> str:
    names = ("usual", "one pass", "scanned before")
    return f"{size:.0f} MB; " + "; ".join(
        f"{name} {size / run.clock:.1f} MB/s, {size / run.work:.1f} a processor second"
        for name, run in zip(names, runs, strict=True)
    )


if __name__ == "__main__":
    main()
