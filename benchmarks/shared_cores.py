"""How long threads of one step should spin for each other, while other programs want the cores, too.

    python benchmarks/shared_cores.py                 # rounds of each setting, idle and beside busy programs
    python benchmarks/shared_cores.py --rounds 5

Two pieces of work, each in a process of its own as users have it: building the embedded base, and steps
of LoRA on a base of 15 million parameters. Every round takes every setting once, so that an hour in which the
machine is slower is slower for all. Beside them, as many endless loops as there are cores. Printed: median
seconds a step, how many times as long as the quickest of that column, and whether the weights are the same.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import platform
import subprocess
import sys
import tempfile
from collections import defaultdict
from collections.abc import Generator
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from statistics import median
from typing import Any

from gateway import Gateway, JobSpec

SETTINGS = ("300000", "2000", "0")  # GOMP_SPINCOUNT; the first is what GNU's OpenMP has by default
STEPS = 6


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--build", metavar="SPIN", help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.build:
        print(json.dumps(_build()))
        return
    libraries = ", ".join(f"{name} {version(name)}" for name in ("torch", "transformers", "peft"))
    print(f"Python {platform.python_version()}, {libraries}, {os.cpu_count()} cores, {asked.rounds} rounds")
    with tempfile.TemporaryDirectory() as folder:
        spec = _job(Path(folder))
        for others in (0, os.cpu_count() or 1):
            load = os.getloadavg()[0]  # what runs here besides: "alone" may not be so
            took, weights = _rounds(Path(folder), spec, asked.rounds, others)
            _print(took, weights, others, load)


def _rounds(folder: Path, spec: JobSpec, rounds: int, others: int) -> tuple[dict[str, Any], set[str]]:
    took: dict[str, dict[str, list[float]]] = {"build": defaultdict(list), "train": defaultdict(list)}
    weights: set[str] = set()
    for _ in range(rounds):
        for spin in SETTINGS:
            os.environ["GOMP_SPINCOUNT"] = spin
            with _busy(others):
                built = subprocess.run(
                    [sys.executable, __file__, "--build", spin], capture_output=True, check=True
                )
                found = json.loads(built.stdout.splitlines()[-1])
                probe = Gateway(home=folder / "home").costs.probe(spec, steps=STEPS).probe
            took["build"][spin].append(found["s"])
            took["train"][spin].append(median(step.seconds for step in probe.steps))
            weights.add(found["sha256"])
    return took, weights


def _build() -> dict[str, Any]:
    """Some steps of the embedded base; seconds a step, the first one left out."""
    import time
    from dataclasses import replace

    from backends.local.base_model import RECIPE
    from backends.local.base_model.build import write_model, write_tokenizer

    recipe, at = replace(RECIPE, steps=STEPS, tokenizer_documents=500, pool=1500), list[float]()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_tokenizer(folder, recipe)
        write_model(folder, recipe, "benchmark", lambda _: at.append(time.monotonic()))
        sha256 = hashlib.sha256((folder / "model.safetensors").read_bytes()).hexdigest()
    return {"s": (at[-1] - at[0]) / (len(at) - 1), "sha256": sha256}


def _job(folder: Path) -> JobSpec:
    """LoRA on random weights: how long a step takes does not ask what it learns."""
    from transformers import LlamaConfig, LlamaForCausalLM

    from backends.local.base_model import ensure_tokenizer

    base = ensure_tokenizer(folder / "made").rename(folder / "base")
    config = LlamaConfig(
        vocab_size=4096, hidden_size=384, intermediate_size=1024, num_hidden_layers=6, num_attention_heads=6,
        num_key_value_heads=6, max_position_embeddings=2048,
    )  # fmt: skip
    model: Any = LlamaForCausalLM(config)
    model.save_pretrained(str(base))
    with (folder / "rows.jsonl").open("w", encoding="utf-8") as file:
        for number in range(96):
            words = " ".join(str(each) for each in range(number, number + 40))
            file.write(json.dumps({"prompt": words, "completion": words}) + "\n")
    columns = {"prompt": "prompt", "completion": "completion"}
    data = {"train": "rows.jsonl", "format": "columns", "columns": columns, "class": "public"}
    settings = {"epochs": 1, "batch_size": 8, "max_length": 256}
    return JobSpec.model_validate(
        {
            "name": "shared",
            "model": str(base),
            "method": "lora",
            "data": {**data, "too_long": "truncate"},
            "hyperparameters": settings,
            "route": {"backends": ["local"]},
        }
    ).at(folder)


@contextmanager
def _busy(count: int) -> Generator[None]:
    loops = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(count)]
    try:
        yield
    finally:
        for loop in loops:
            loop.kill()
            loop.wait()


def _print(took: dict[str, dict[str, list[float]]], weights: set[str], others: int, load: float) -> None:
    beside = f"beside {others} endless loops" if others else "without loops of ours"
    beside += f" (load before: {load:.1f})"
    print(f"\n{beside}; weights of the base {'the same' if len(weights) == 1 else 'DIFFER'}")
    print(f"{'rounds of spinning':>18}   {'build':>16}   {'train':>16}")
    middle = {what: {spin: median(each) for spin, each in of.items()} for what, of in took.items()}
    for spin in SETTINGS:
        cells = (f"{of[spin]:7.3f} s {of[spin] / min(of.values()):5.2f} ×" for of in middle.values())
        print(f"{int(spin):18,}   {'   '.join(cells)}")


if __name__ == "__main__":
    main()
