"""Local time and memory: predicted after a probe, beside what the whole run then took.

    python benchmarks/estimate_local.py              # settings for this machine's CPU, smallest first
    python benchmarks/estimate_local.py --gpu        # a Llama of 8B's shape, random weights, on this GPU
    python benchmarks/estimate_local.py --only 3     # the first three

Every setting is a whole job as a user has it: a spec, `gw.costs.probe(spec)` with twenty real steps in a
process of its own, `gw.plan(spec)` for the prediction, then the training process itself to its end. Bases
have random weights and a real tokenizer; rows are made, and their lengths lie widely.

Time on a CPU is processor time of a process with one thread: what it takes on an idle machine. The clock
is printed beside it, because others may use the machine meanwhile. `others` is what the probes of the
*other* settings alone predict: how far one probe carries.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import platform
import random
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from statistics import median
from typing import Any

from gateway import Gateway, JobSpec
from gateway.core.plan import Fit
from gateway.core.probe import Probe

WORDS = ("pain", "in", "the", "left", "knee", "and", "a", "cough", "since", "monday", "fever", "better")


@dataclass(frozen=True, slots=True)
class Size:
    name: str
    hidden: int
    intermediate: int
    layers: int
    heads: int
    kv_heads: int
    vocabulary: int


@dataclass(frozen=True, slots=True)
class Case:
    """One setting; `rows` of at most `length` tokens, in steps of `batch`."""

    size: Size
    method: str
    length: int
    rows: int
    batch: int
    epochs: int = 1


@dataclass(frozen=True, slots=True)
class Seen:
    """Predicted beside measured; seconds and GiB."""

    case: Case
    probe: Probe
    predicted: Fit
    measured_s: float
    clock_s: float
    measured_gib: float
    steps: int


TINY = Size("0.8M", 128, 344, 3, 4, 4, 2048)
SMALL = Size("3M", 224, 608, 4, 4, 2, 2048)
MIDDLE = Size("7M", 320, 864, 5, 5, 5, 4096)
LARGE = Size("15M", 448, 1216, 6, 7, 7, 4096)
LLAMA_8B = Size("8B", 4096, 14_336, 32, 32, 8, 128_256)

ON_CPU = (
    Case(TINY, "lora", 256, 256, 8),
    Case(SMALL, "full", 256, 104, 4),
    Case(SMALL, "lora", 512, 104, 4),
    Case(MIDDLE, "qlora", 128, 104, 4),
    Case(LARGE, "lora", 128, 104, 4),
    Case(MIDDLE, "full", 128, 104, 4),
    Case(SMALL, "lora", 128, 192, 8),
    Case(LARGE, "lora", 384, 52, 2),
    Case(SMALL, "qlora", 384, 104, 4),
)
ON_GPU = (
    Case(LLAMA_8B, "lora", 2048, 256, 8),
    Case(LLAMA_8B, "lora", 512, 512, 8),
    Case(LLAMA_8B, "qlora", 2048, 256, 8),
)


def main() -> None:
    asked = argparse.ArgumentParser()
    asked.add_argument("--gpu", action="store_true")
    asked.add_argument("--only", type=int, default=None)
    asked.add_argument("--folder", type=Path, default=None, help="where bases are made; default: temporary")
    options = asked.parse_args()
    if not options.gpu:
        os.environ["OMP_NUM_THREADS"] = "1"
    cases = (ON_GPU if options.gpu else ON_CPU)[: options.only]
    names = ("torch", "transformers", "peft", "tunegate")
    print(f"Python {platform.python_version()}, " + ", ".join(f"{name} {version(name)}" for name in names))
    print(f"load average at the beginning: {_load()}", flush=True)
    print(f"\n{_HEAD}", flush=True)
    with tempfile.TemporaryDirectory() as temporary:
        folder = options.folder or Path(temporary)
        seen = list(_all(cases, folder))
    _print(seen)
    print(f"load average at the end: {_load()}")


def _all(cases: Sequence[Case], folder: Path) -> Iterator[Seen]:
    for number, case in enumerate(cases):
        home = folder / f"home-{number}"
        try:
            seen = _one(case, folder, home)
        except Exception as error:
            print(f"{case.size.name} {case.method} {case.length}: not measured: {error}", flush=True)
            continue
        print(_line(seen), flush=True)
        yield seen


def _one(case: Case, folder: Path, home: Path) -> Seen:
    job = folder / f"job-{case.size.name}-{case.method}-{case.length}"
    job.mkdir(parents=True, exist_ok=True)
    base = _base(case.size, folder, home)
    spec = _spec(case, base, job)
    gateway = Gateway(home=home)
    probed = gateway.costs.probe(spec)
    steps = math.ceil(case.rows / case.batch) * case.epochs
    clock, processor, gib = _train(gateway, spec, job)
    shutil.rmtree(job, ignore_errors=True)
    alone = processor if probed.probe.device == "cpu" else clock
    return Seen(case, probed.probe, probed.after, alone, clock, gib, steps)


def _train(gateway: Gateway, spec: JobSpec, job: Path) -> tuple[float, float, float]:
    """The whole run in its own process: seconds on the clock, seconds of the processor, GiB at most."""
    from backends.local.environment import for_training
    from backends.local.files import sha256_of
    from backends.local.run import Run, read_jsonl
    from gateway.data import SplitFile, assign_splits, open_dataset, write_splits

    planned = gateway.plan(spec).candidates[0]
    assert planned.translation is not None
    rows = job / "train-rows.jsonl"
    dataset = open_dataset(spec.data, spec.folder, task=spec.task)
    convert = _canonical
    write_splits(dataset, assign_splits(dataset, spec.data), {"train": SplitFile(rows, convert, "canonical")})
    run = Run(job / "run")
    files = {"train": {"path": str(rows), "sha256": sha256_of(rows)}}
    body = dict(planned.translation.requests[0].body)
    home = str(gateway.settings.home)
    run.create({"key": "whole", "home": home, "files": files, "body": body}, {})
    before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
    command = [sys.executable, "-m", "backends.local.train", str(run.folder)]
    with (job / "train.log").open("wb") as log:
        subprocess.run(command, env=for_training(), stdout=log, stderr=log, check=True, cwd=run.folder)
    clock, after = time.monotonic() - began, resource.getrusage(resource.RUSAGE_CHILDREN)
    if run.status.state != "succeeded":
        raise RuntimeError(run.status.message)
    processor = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return clock, processor, max(line["memory_gib"] for line in read_jsonl(run.folder / "metrics.jsonl"))


def _canonical(row: Any) -> Any:
    from gateway.core.rows import Converted

    return Converted(row.to_json())


def _spec(case: Case, base: Path, job: Path) -> JobSpec:
    drawn = random.Random(7)
    with (job / "rows.jsonl").open("w", encoding="utf-8") as file:
        for number in range(case.rows):
            words = _words(drawn, case.length)
            cut = len(words) * 2 // 3
            row = {"prompt": f"{number} {' '.join(words[:cut])}", "completion": " ".join(words[cut:])}
            file.write(json.dumps(row) + "\n")
    return JobSpec.model_validate(
        {
            "name": "estimate",
            "model": str(base),
            "method": case.method,
            "data": {
                "train": "rows.jsonl",
                "format": "columns",
                "columns": {"prompt": "prompt", "completion": "completion"},
                "too_long": "truncate",
                "class": "public",
            },
            "hyperparameters": {"epochs": case.epochs, "batch_size": case.batch, "max_length": case.length},
            "route": {"backends": ["local"]},
        }
    ).at(job)


def _words(drawn: random.Random, length: int) -> list[str]:
    """Lengths lie widely: from a tenth of the limit to all of it. A word is about 1.3 tokens here."""
    tokens = min(length, max(length // 10, round(length * 0.45 * math.exp(drawn.gauss(0, 0.5)))))
    return [drawn.choice(WORDS) for _ in range(max(6, round(tokens / 1.3) - 8))]


def _base(size: Size, folder: Path, home: Path) -> Path:
    """A Llama with random weights, written once, with the embedded base's tokenizer."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    from backends.local.base_model import ensure_tokenizer

    target = folder / f"base-{size.name}"
    if (target / "config.json").is_file():
        return target
    shutil.copytree(ensure_tokenizer(home), target, dirs_exist_ok=True)
    config = LlamaConfig(
        vocab_size=size.vocabulary,
        hidden_size=size.hidden,
        intermediate_size=size.intermediate,
        num_hidden_layers=size.layers,
        num_attention_heads=size.heads,
        num_key_value_heads=size.kv_heads,
        max_position_embeddings=8192,
        tie_word_embeddings=False,
    )
    on_gpu = torch.cuda.is_available()
    previous = torch.get_default_dtype()
    torch.set_default_dtype(torch.bfloat16 if on_gpu else torch.float32)
    with torch.device("cuda" if on_gpu else "cpu"):
        model: Any = LlamaForCausalLM(config)
    torch.set_default_dtype(previous)
    model.save_pretrained(str(target))
    return target


_HEAD = (
    f"{'base':6} {'method':6} {'length':>6} {'steps':>5}   {'predicted':>9} {'measured':>8} {'off':>7} "
    f"{'clock':>7}   {'predicted':>11} {'measured':>8} {'off':>7}"
)


def _line(seen: Seen) -> str:
    case, (time_off, gib_off) = seen.case, _off(seen)
    time_s, gib = float(seen.predicted.hours.likely) * 3600, _own_gib(seen, seen.predicted)
    return (
        f"{case.size.name:6} {case.method:6} {case.length:6} {seen.steps:5}   {time_s:7.1f} s "
        f"{seen.measured_s:6.1f} s {time_off:+7.1%} {seen.clock_s:5.0f} s   {gib:7.3f} GiB "
        f"{seen.measured_gib:8.3f} {gib_off:+7.1%}"
    )


def _off(seen: Seen) -> tuple[float, float]:
    """Relative distance of time and memory from what was measured."""
    time_s = float(seen.predicted.hours.likely) * 3600
    return time_s / seen.measured_s - 1, _own_gib(seen, seen.predicted) / seen.measured_gib - 1


def _print(seen: Sequence[Seen]) -> None:
    if not seen:
        return
    off, memory = zip(*map(_off, seen), strict=True)
    print(
        f"median distance: time {median(map(abs, off)):.1%}, memory {median(map(abs, memory)):.1%}; "
        f"within 10 %: {sum(abs(each) <= 0.10 for each in off)} of {len(off)}, "
        f"within 5 %: {sum(abs(each) <= 0.05 for each in memory)} of {len(memory)}"
    )
    print(f"device: {seen[0].probe.device}; {seen[0].probe.machine}")
    print("\nas the probes of the other settings alone tell it:")
    for each in seen:
        time_s, gib = _from_others(each, seen)
        case = each.case
        print(
            f"{case.size.name:6} {case.method:6} {case.length:6}   time {time_s / each.measured_s - 1:+7.1%}"
            f"   memory {gib / each.measured_gib - 1:+7.1%}"
        )


def _own_gib(seen: Seen, predicted: Fit) -> float:
    """A GPU's counter does not see the process and its context."""
    whole = predicted.memory_gib
    return whole if seen.probe.device == "cpu" else whole - predicted.parts_gib.get("process", 0.0)


def _from_others(seen: Seen, everything: Sequence[Seen]) -> tuple[float, float]:
    """Seconds and GiB as the probes of the other settings tell them."""
    from cost import Probes
    from cost.hours import Work, seconds
    from cost.memory import parts_gib
    from cost.probing import load_of

    others = [each.probe for each in everything if each is not seen]
    measured = Probes(others, seen.probe.machine).measured(
        seen.probe.setting, on_gpu=seen.probe.device != "cpu"
    )
    if measured is None:
        return float("nan"), float("nan")
    work = Work(seen.probe.setting, seen.probe.run, seen.probe.run_steps)
    held = load_of(seen.probe, seen.probe.run.largest, slack=measured.slack)
    parts = parts_gib(held)
    return seconds(work, measured.speed), sum(parts.values()) + (measured.process_gib or 0.0)


def _load() -> str:
    return " ".join(f"{value:.1f}" for value in os.getloadavg())


if __name__ == "__main__":
    main()
