"""Local training beside the specialists, on one machine's CPU: tokens a second, memory, and what was learnt.

    python benchmarks/train_cpu.py MTS_DIALOG [--others PYTHON …] [--rounds 3] [--rows 240] [--threads N]

MTS_DIALOG is the folder with `train.csv` and `valid.csv`. Every trainer runs in a process of its own, with
the first Python that has it (`benchmarks/trainers/README.md` says how to make those), on the same tokens
and labels, from the same base (made from its configuration), with the same LoRA, rate and schedule. Rounds
are interleaved, and figures are medians over them:

- `tok/s`: tokens that are not padding by wall time, median over the steps after the first;
- `tok/cpu-s`: the same by processor time, which other users of the machine disturb less;
- `whole`: all of training, data and saving included, in seconds of wall time;
- `learnt`: by how much the loss on held-out rows fell, asked of each saved adapter by one evaluator.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parent), str(HERE / "trainers")]

# trainer → its script, the package that must be there, and the settings it is run with
CONTENDERS = (
    ("TRL", "trl_sft", "trl", ("default", "grouped fp32", "grouped bf16", "packed fp32", "packed bf16")),
    ("Trainer", "plain_trainer", "transformers", ("default", "grouped bf16")),
    ("LLaMA-Factory", "llama_factory", "llamafactory", ("default", "neat fp32", "neat bf16")),
    ("Tunegate", "ours", "gateway", ("fp32", "bf16", "default")),
)
LORA = {"r": 16, "lora_alpha": 32, "lora_dropout": 0.0}
REFERENCE = ("TRL", "default")


@dataclass
class Contender:
    tool: str
    script: str
    variant: str
    python: str
    runs: list[dict[str, Any]] = field(default_factory=list)

    @property
    def name(self) -> str:
        return f"{self.tool}, {self.variant}"

    def figure(self, name: str) -> float:
        return statistics.median(run[name] for run in self.runs)


def main() -> None:
    asked = _arguments()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        made = _prepare(folder, asked)
        contenders = _contenders(asked)
        before = _validation_loss(folder, None)
        print(f"\nheld-out loss of the base: {before:.4f}; load before: {_load()}\n", flush=True)
        for number in range(asked.rounds):
            for each in contenders:
                _run(each, folder, number, made["threads"], before)
            print(f"\nafter {number + 1} round(s), load {_load()}:\n")
            _table(contenders)
        _settings(contenders)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("data", type=Path)
    parser.add_argument("--others", nargs="*", default=[], help="Pythons with the other trainers")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--rows", type=int, default=240)
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--only", nargs="*", default=[], help="names as in the table; default: all")
    return parser.parse_args()


def _prepare(folder: Path, asked: argparse.Namespace) -> dict[str, Any]:
    from prepare import task

    settings = {
        "seed": 17,
        "epochs": 1,
        "rows_a_step": 8,  # the default of TRL, of Trainer and of ours; LLaMA-Factory takes Trainer's
        "learning_rate": 1e-3,
        "threads": asked.threads,
        "lora": LORA,
    }
    made = task(folder, asked.data, rows=asked.rows, held_out=60, settings=settings)
    print(f"Python {platform.python_version()}, {_processor()}, {asked.threads} thread(s)")
    print(f"task: {json.dumps(made)}")
    return made


def _contenders(asked: argparse.Namespace) -> list[Contender]:
    """Who can be run here; who cannot is said."""
    pythons = [sys.executable, *asked.others]
    found: list[Contender] = []
    for tool, script, package, variants in CONTENDERS:
        python = next((each for each in pythons if _has(each, package)), None)
        if python is None:
            print(f"{tool}: not installed in any Python given, so not compared with")
            continue
        found += [Contender(tool, script, variant, python) for variant in variants]
    return [each for each in found if not asked.only or each.name in asked.only]


def _has(python: str, package: str) -> bool:
    code = f"import importlib.util as u, sys; sys.exit(u.find_spec({package!r}) is None)"
    return subprocess.run([python, "-c", code], cwd=HERE.parent).returncode == 0


def _run(each: Contender, folder: Path, number: int, threads: int, before: float) -> None:
    out = f"{each.script}-{each.variant}-{number}".replace(" ", "-")
    environment = {
        **os.environ, "OMP_NUM_THREADS": str(threads), "HF_HUB_OFFLINE": "1",
        "TOKENIZERS_PARALLELISM": "false", "DISABLE_VERSION_CHECK": "1",
    }  # fmt: skip
    command = [each.python, str(HERE / "trainers" / f"{each.script}.py"), str(folder), each.variant, out]
    ran = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)
    lines = ran.stdout.strip().splitlines()
    if ran.returncode or not lines:
        print(f"{each.name}: ended with {ran.returncode}: {ran.stderr.strip().splitlines()[-1:]}", flush=True)
        return
    told = json.loads(lines[-1])
    run = {
        "tok/s": _rate(told["steps"], 1),
        "tok/cpu-s": _rate(told["steps"], 2),
        "whole": told["train_s"],
        "peak": told["peak_mib"],
        "learnt": before - _validation_loss(folder, Path(told["adapter"])),
        "tokens": told["tokens"],
        "settings": told["settings"],
        "versions": told["versions"],
    }
    each.runs.append(run)
    print(
        f"{each.name:30} {run['tok/s']:7.0f} tok/s {run['tok/cpu-s']:7.0f} tok/cpu-s {run['whole']:7.1f} s "
        f"{run['peak']:6.0f} MiB, learnt {run['learnt']:.4f}, {run['tokens']} tokens",
        flush=True,
    )


def _rate(steps: list[list[float]], clock: int) -> float:
    """Tokens by a clock, median over the steps after the first."""
    return statistics.median((b[0] - a[0]) / (b[clock] - a[clock]) for a, b in pairwise(steps))


def _validation_loss(folder: Path, adapter: Path | None) -> float:
    """Mean loss by trained token in fp32, by transformers and PEFT alone, row by row."""
    import torch
    from measure import Task
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    task = Task(str(folder))
    model: Any = AutoModelForCausalLM.from_pretrained(str(task.base))
    model = (PeftModel.from_pretrained(model, str(adapter)) if adapter else model).eval()
    total = trained = 0.0
    with torch.no_grad():
        for row in task.validation:
            ids, labels = torch.tensor([row["ids"]]), torch.tensor([row["labels"]])
            count = int((labels[:, 1:] != -100).sum())
            total += float(model(input_ids=ids, labels=labels).loss) * count
            trained += count
    return total / trained


def _table(contenders: list[Contender]) -> None:
    done = [each for each in contenders if each.runs]
    reference = next((each for each in done if (each.tool, each.variant) == REFERENCE), None)
    print(" " * 30 + "   tok/s     × tok/cpu-s     ×  whole s    MiB  learnt      %")
    for each in done:
        wall, processor, learnt = (each.figure(name) for name in ("tok/s", "tok/cpu-s", "learnt"))
        names = ("tok/s", "tok/cpu-s", "learnt")
        ratios = [each.figure(name) / (reference or each).figure(name) for name in names]
        print(
            f"{each.name:30} {wall:7.0f} {ratios[0]:5.2f} {processor:9.0f} {ratios[1]:5.2f} "
            f"{each.figure('whole'):8.1f} {each.figure('peak'):6.0f} {learnt:7.4f} "
            f"{100 * ratios[2] - 100:+6.1f}"
        )
    against = ", ".join(REFERENCE) if reference else "each itself, for the reference was not run"
    print(f"× and % are against {against}.", flush=True)


def _settings(contenders: list[Contender]) -> None:
    print("\nwhat is not each tool's default:")
    for each in contenders:
        if each.runs:
            print(f"  {each.name}: {json.dumps(each.runs[-1]['settings'])}")
    print("\nversions:")
    for tool in dict.fromkeys(each.tool for each in contenders if each.runs):
        run = next(each for each in contenders if each.tool == tool and each.runs).runs[-1]
        print(f"  {tool}: {json.dumps(run['versions'])}")


def _load() -> str:
    return ", ".join(f"{value:.1f}" for value in os.getloadavg())


def _processor() -> str:
    lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []
    name = next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "?")
    bf16 = any("avx512_bf16" in line or "amx_bf16" in line for line in lines)
    return f"{name} ({'computes in bf16' if bf16 else 'no bf16'})"


if __name__ == "__main__":
    main()
