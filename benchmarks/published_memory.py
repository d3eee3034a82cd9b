"""Peak memory by our count beside what others published with all their settings.

    python benchmarks/published_memory.py

No constant of `cost.memory` was fitted to these figures. Where the other software keeps something else than
ours does (precision of adapters and moments, fused kernels, copies of keys and values, how the loss holds
logits), the setting says so; all of it was read in that software's source at the commit of its table.
"""

from __future__ import annotations

import platform
from dataclasses import dataclass

from cost.memory import LINEARS, Linear, Load, Method, Trainer, parts_gib
from gateway.core.facts import ModelShape

LLAMA_8B = ModelShape(8_030_261_248, 32, 4096, 32, 8, 128, 14_336, 128_256, 131_072)
LLAMA_3B = ModelShape(3_212_749_824, 28, 3072, 24, 8, 128, 8192, 128_256, 131_072, tied_embeddings=True)
README = "torchtune README, table of 24 September 2024 (30b8519e8): 2 × 2048, packed, compiled, bf16, rank 8"
FLAGS = "torchtune README, optimisation flags (bd2a0fc7c): 2 × 4096, packed, bf16, full, no accumulation"


@dataclass(frozen=True, slots=True)
class Published:
    setting: str
    source: str
    gib: float
    load: Load


def torchtune(
    shape: ModelShape,
    method: Method,
    tokens: int,
    *,
    checkpointing: bool = False,
    targets: tuple[Linear, ...] = LINEARS,
    compiled: bool = True,
    kept: bool = True,
) -> Load:
    """Its recipes for one GPU: everything in bf16, the optimizer's moments too; a packed row is trained at
    every position; keys and values are copied to every head."""
    trainer = Trainer(
        adapter_bytes=2,
        targets=targets,
        compiled=compiled,
        repeats_keys=True,
        lean=False,
        packs=False,
        masters=False,
        loss="kept" if kept else "whole",
        process=False,
    )
    accumulates = method != "full"
    return Load(
        shape, method, "bf16", 8, False, tokens, checkpointing, True,
        trained_share=1.0, accumulates=accumulates, trainer=trainer,
    )  # fmt: skip


QV: tuple[Linear, ...] = ("q", "v")
FIGURES = (
    Published(
        "8B LoRA on q and v, checkpointing", README, 16.2,
        torchtune(LLAMA_8B, "lora", 4096, checkpointing=True, targets=QV),
    ),
    Published("8B LoRA on q and v", README, 30.3, torchtune(LLAMA_8B, "lora", 4096, targets=QV)),
    Published(
        "8B QLoRA on all linear layers, checkpointing", README, 7.4,
        torchtune(LLAMA_8B, "qlora", 4096, checkpointing=True),
    ),
    Published("3B full, eager", FLAGS, 60.0, torchtune(LLAMA_3B, "full", 8192, compiled=False, kept=False)),
    Published("3B full, compiled", FLAGS, 51.0, torchtune(LLAMA_3B, "full", 8192, kept=False)),
    Published("3B full, compiled, loss in chunks", FLAGS, 42.9, torchtune(LLAMA_3B, "full", 8192)),
    Published(
        "3B full, compiled, loss in chunks, checkpointing", FLAGS, 24.9,
        torchtune(LLAMA_3B, "full", 8192, checkpointing=True),
    ),
)  # fmt: skip


def main() -> None:
    print(f"Python {platform.python_version()}; nothing is measured here: counted beside published, GiB\n")
    print(f"{'setting':50} {'published':>9} {'counted':>8} {'distance':>9}   largest parts")
    for figure in FIGURES:
        parts = parts_gib(figure.load)
        counted = sum(parts.values())
        largest = sorted(parts, key=lambda name: -parts[name])[:4]
        told = ", ".join(f"{name} {parts[name]:.1f}" for name in largest)
        distance = f"{counted / figure.gib - 1:+.1%}"
        print(f"{figure.setting:50} {figure.gib:9.1f} {counted:8.1f} {distance:>9}   {told}")
    for source in dict.fromkeys(figure.source for figure in FIGURES):
        print(f"\n{source}", end="")
    print()


if __name__ == "__main__":
    main()
