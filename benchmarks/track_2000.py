"""What it costs to keep an eye on many jobs at once: 100, 500, 1,000 and 2,000, from one process.

    python benchmarks/track_2000.py [JOBS …]

The stand-ins run in a process of their own, over real HTTP; the vendor's own SDK asks them. All jobs run
for the whole time, and each is looked at once a round: polled, its events read, both kept. Printed per
number of jobs: processor time and wall time of one look, and the memory above what the process had when it
had looked at one job. Flat is good.
"""

from __future__ import annotations

import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from datetime import UTC, datetime, timedelta
from importlib.metadata import version
from pathlib import Path
from typing import Any

import psutil

from backends.base import Handover
from gateway import Gateway, JobSpec, JobState, Plan, Sandbox

SIZES = (100, 500, 1000, 2000)
ROUNDS = 3
THREADS = 8
LIFE_S = 100_000.0  # nothing ends while it is measured
BACKEND, MODEL = "openai", "gpt-4.1-mini"


class Clock:
    """Real time, and what was waited for without waiting."""

    def __init__(self) -> None:
        self.ahead = timedelta()

    def __call__(self) -> datetime:
        return datetime.now(UTC) + self.ahead


def serve(folder: str) -> None:
    """The stand-in's process: says where it is, and stays until its input ends."""
    with Sandbox(only=[BACKEND], folder=folder, pace=LIFE_S) as box:
        for name, value in box.environment.items():
            print(f"{name}={value}", flush=True)
        print(flush=True)
        sys.stdin.read()


def main() -> None:
    sizes = [int(word) for word in sys.argv[1:]] or list(SIZES)
    with tempfile.TemporaryDirectory(dir=_memory()) as folder:
        box = subprocess.Popen(
            [sys.executable, __file__, "--serve", folder],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert box.stdout is not None
        while line := box.stdout.readline().strip():
            name, _, value = line.partition("=")
            os.environ[name] = value
        try:
            measure(Path(folder), sizes)
        finally:
            box.kill()
            box.wait()


def measure(folder: Path, sizes: list[int]) -> None:
    clock = Clock()
    gateway, asked = _gateway(folder, clock)
    rooms = gateway._rooms  # pyright: ignore[reportPrivateUsage]
    plan = gateway.plan(asked)
    told = {name: version(name) for name in ("openai", "sqlalchemy")}
    print(f"Python {platform.python_version()}, {told}, {os.cpu_count()} cores, {THREADS} threads, {BACKEND}")
    _many(rooms, plan, asked, 1)
    _round(rooms, clock, 1)
    idle_mib = _memory_mib()
    print(f"memory when one job was looked at: {idle_mib:.0f} MiB")
    print(
        f"{'jobs':>6} {'CPU ms a look':>14} {'wall ms a look':>15} {'looks a second':>15} {'MiB above':>10}"
    )
    made, cpu = 1, 0.0
    for size in sizes:
        _many(rooms, plan, asked, size - made)
        made = size
        _round(rooms, clock, size)  # the first look reads all events there are
        costs = [_round(rooms, clock, size) for _ in range(ROUNDS)]
        cpu, wall = (statistics.median(each) / size * 1000 for each in zip(*costs, strict=True))
        above = _memory_mib() - idle_mib
        print(f"{size:>6} {cpu:>14.2f} {wall:>15.2f} {1000 / wall:>15.0f} {above:>10.0f}", flush=True)
    print(f"{made} jobs, each looked at every 30 s, take {made * cpu / 30_000:.0%} of one core")


def _round(rooms: Any, clock: Clock, size: int) -> tuple[float, float]:
    """Look at every job once: (processor seconds, wall seconds)."""
    clock.ahead += timedelta(seconds=60)
    cpu, wall = time.process_time(), time.perf_counter()
    looked_at = 0
    while looked_at < size:
        found = rooms.reconciler.work(once=True, light=True, threads=THREADS)
        assert found, f"only {looked_at} of {size} jobs were due"
        looked_at += found
    return time.process_time() - cpu, time.perf_counter() - wall


def _many(rooms: Any, plan: Plan, asked: JobSpec, count: int) -> None:
    """So many jobs at the stand-in, as a dispatch would have left them; the data file is sent once."""
    chosen = plan.chosen_candidate
    assert chosen is not None, plan.why
    assert chosen.translation is not None
    staged: list[Any] = []
    for _ in range(count):
        job = rooms.dispatch.create(asked, plan, chosen)
        backend = rooms.backend_at(job.site)
        if not staged:
            path = rooms.dispatch.write_file(job, chosen.translation.files[0])
            staged.append(backend.stage(chosen.translation.files[0], path, key=job.key))
        handover = Handover(job.id, job.folder)
        ref = backend.submit(chosen.translation, staged, key=job.key, handover=handover)
        job = rooms.store.move(job, JobState.STAGING)
        job = rooms.store.move(job, JobState.SUBMITTING)
        rooms.store.move(job, JobState.QUEUED, remote=ref, next_due_at=rooms.clock())


def _gateway(folder: Path, clock: Clock) -> tuple[Gateway, JobSpec]:
    config = folder / "tunegate.toml"
    config.write_text(
        f'[[attestations]]\nkind = "existing_account"\nbackend = "{BACKEND}"\nsigned = 2026-01-01\n'
        'evidence = "a measurement"\n'
    )
    rows = (
        f'{{"messages": [{{"role": "user", "content": "ticket {n}"}}, '
        f'{{"role": "assistant", "content": "queue {n % 3}"}}]}}\n'
        for n in range(20)
    )
    (folder / "rows.jsonl").write_text("".join(rows))
    asked = JobSpec.model_validate(
        {
            "name": "track",
            "model": MODEL,
            "data": {"train": "rows.jsonl", "format": "chat", "class": "public"},
            "route": {"backends": [BACKEND]},
        }
    ).at(folder)
    return Gateway(config=config, home=folder / "home", clock=clock), asked


def _memory_mib() -> float:
    return psutil.Process().memory_info().rss / 2**20


def _memory() -> str | None:
    """A folder in memory where there is one: the disk's syncs are not what is measured."""
    return "/dev/shm" if os.access("/dev/shm", os.W_OK) else None


if __name__ == "__main__":
    if sys.argv[1:2] == ["--serve"]:
        serve(sys.argv[2])
    else:
        main()
