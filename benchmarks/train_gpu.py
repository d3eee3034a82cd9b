"""LoRA and QLoRA on one GPU, on a base of Llama 3.1 8B's shape with random weights: nothing is downloaded.

    python benchmarks/train_gpu.py [--methods lora qlora] [--checkpointing] [--steps 12] [--others PYTHON]
    python benchmarks/train_gpu.py --tiny            # the same on any machine, to see that it runs

Rows are 2,048 tokens, half of them trained; precision is bf16. Printed per method: tokens a second (median
over the steps after the third), the share of the GPU's dense bf16 peak, and the most memory that tensors
held. The share counts 4 operations per weight and token for the matrices a token goes through (forwards,
and backwards to the activations), 6 with checkpointing; the head counts for trained positions alone. With
`--others`, TRL's `SFTTrainer` does the same steps in a process of its own (its defaults, but bf16 weights
and one row a step).
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
import time
from importlib.metadata import version
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parent), str(HERE / "trainers")]

LENGTH = 2048
WARM_UP = 3
LORA = {"r": 16, "lora_alpha": 32, "lora_dropout": 0.0}
EIGHT_B: dict[str, Any] = {
    "vocab_size": 128_256, "hidden_size": 4096, "intermediate_size": 14_336, "num_hidden_layers": 32,
    "num_attention_heads": 32, "num_key_value_heads": 8, "rope_theta": 500_000.0,
}  # fmt: skip
TINY: dict[str, Any] = {
    "vocab_size": 8192, "hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2,
    "num_attention_heads": 4, "num_key_value_heads": 2,
}  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--methods", nargs="*", default=["lora", "qlora"])
    parser.add_argument("--checkpointing", action="store_true")
    parser.add_argument("--steps", type=int, default=12)
    parser.add_argument("--others", help="a Python with TRL")
    parser.add_argument("--tiny", action="store_true")
    asked = parser.parse_args()
    packages = ("torch", "transformers", "peft")
    print(
        f"{_device()}, Python {platform.python_version()}, {', '.join(f'{n} {version(n)}' for n in packages)}"
    )
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        weights = _prepare(folder, TINY if asked.tiny else EIGHT_B, asked.steps)
        for method in asked.methods:
            _tell(f"Tunegate, {method}", *_ours(folder, method, asked), weights, asked.checkpointing)
        if asked.others:
            _tell("TRL", *_trl(folder, asked.others), weights, checkpointing=True)  # its default
        else:
            print("TRL: no Python given (--others), so not compared with")


def _prepare(folder: Path, shape: dict[str, Any], steps: int) -> float:
    """Base, tokenizer and rows; returns the weights of the matrices that a token goes through."""
    from prepare import make_tokenizer
    from transformers import LlamaConfig, LlamaForCausalLM

    make_tokenizer(folder / "base", ["a text to make tokens of"])
    config = LlamaConfig(
        **shape, max_position_embeddings=LENGTH, tie_word_embeddings=False, pad_token_id=0, eos_token_id=1,
        bos_token_id=None, dtype=torch.bfloat16,
    )  # fmt: skip
    torch.manual_seed(17)
    with torch.device("cuda" if torch.cuda.is_available() else "cpu"):
        model = LlamaForCausalLM._from_config(config, dtype=torch.bfloat16)
    model.save_pretrained(str(folder / "base"))
    in_layers = sum(each.numel() for name, each in model.named_parameters() if "_proj" in name)
    weights = in_layers + model.lm_head.weight.numel() / 2  # half of the positions are trained
    del model
    torch.cuda.empty_cache()
    draw = torch.Generator().manual_seed(17)
    ids = [torch.randint(8, 250, (LENGTH,), generator=draw).tolist() for _ in range(steps)]
    rows = [{"ids": row, "labels": [-100] * (LENGTH // 2) + row[LENGTH // 2 :]} for row in ids]
    (folder / "rows.json").write_text(json.dumps({"train": rows, "validation": []}))
    task = {
        "seed": 17,
        "epochs": 1,
        "learning_rate": 1e-4,
        "warmup_steps": 1,
        "lora": LORA,
        "tokens_a_step": LENGTH,
    }
    (folder / "task.json").write_text(json.dumps(task))
    return weights


def _ours(folder: Path, method: str, asked: argparse.Namespace) -> tuple[float, float]:
    """Tokens a second and GiB, by the steps of the real loop."""
    from measure import Task
    from ours import body_of

    from backends.local.render import Template
    from backends.local.setup import assemble, settle
    from backends.local.step import take_step
    from backends.local.tokens import Example

    task = Task(str(folder))
    lora = {"rank": LORA["r"], "alpha": LORA["lora_alpha"], "dropout": LORA["lora_dropout"]}
    wanted = {
        "epochs": 1,
        "learning_rate": 1e-4,
        "batch_size": 1,
        "seed": 17,
        "lora": lora,
        "max_length": LENGTH,
    }
    body = {
        **body_of(task.base, len(task.train), wanted, method),
        "precision": "bf16",
        "checkpointing": asked.checkpointing,
        "micro_batch_tokens": LENGTH,
    }
    items = [
        Example(*(torch.tensor(row[name], dtype=torch.int32) for name in ("ids", "labels")))
        for row in task.train
    ]
    settle(body)
    setup = assemble(body, task.base, Template.load(task.base, "base"), items)
    ends = [time.perf_counter()]
    for step, rows in enumerate(setup.plan, 1):
        take_step(setup, step, rows).read()  # by which the GPU is done
        ends.append(time.perf_counter())
    seconds = [after - before for before, after in pairwise(ends[WARM_UP:])]
    return LENGTH / statistics.median(seconds), _memory_gib()


def _trl(folder: Path, python: str) -> tuple[float, float]:
    command = [python, str(HERE / "trainers" / "trl_sft.py"), str(folder), "gpu", "trl"]
    environment = {**os.environ, "HF_HUB_OFFLINE": "1"}
    ran = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=True)
    told = json.loads(ran.stdout.strip().splitlines()[-1])
    rates = [(b[0] - a[0]) / (b[1] - a[1]) for a, b in pairwise(told["steps"][WARM_UP:])]
    return statistics.median(rates), told["gpu_gib"]


def _tell(name: str, tokens_s: float, gib: float, weights: float, checkpointing: bool) -> None:
    operations = (6 if checkpointing else 4) * weights * tokens_s
    peak = _peak()
    share = f"{operations / peak:.0%} of the peak" if peak else "of no known peak"
    print(
        f"{name:18} {tokens_s:9.0f} tok/s, {operations / 1e12:7.2f} TFLOP/s, {share}, {gib:.2f} GiB",
        flush=True,
    )


def _device() -> str:
    return (
        torch.cuda.get_device_name() if torch.cuda.is_available() else "no GPU: the CPU, which says nothing"
    )


def _peak() -> float | None:
    """Dense, in bf16, as its maker states it."""
    from cost.gpus import load_gpus

    gpu = load_gpus().gpu(_device()) if torch.cuda.is_available() else None
    return gpu.peak_tflops * 1e12 if gpu else None


def _memory_gib() -> float:
    if not torch.cuda.is_available():
        return 0.0
    most = torch.cuda.max_memory_allocated() / 2**30
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats()
    return most


if __name__ == "__main__":
    main()
