"""DoRA learns each weight's length beside its direction, and holds more for it."""

from __future__ import annotations

from dataclasses import replace

from cost.memory import GIB, Load, kept_bytes, parts_gib, working_bytes
from gateway.core.facts import ModelShape

SHAPE = ModelShape(8_030_000_000, 32, 4096, 32, 8, 128, 14_336, 128_256, 8192)
LOAD = Load(SHAPE, "lora", "bf16", 16, False, 2048, False, True)


def test_every_adapted_layers_output_is_kept_twice_more() -> None:
    """The pass of an 8B model: 4,096 + 2 × 1,024 + 4,096 of attention, 2 × 14,336 + 4,096 of the rest."""
    outputs = 2 * 2 * (4096 + 2 * 1024 + 4096 + 2 * 14_336 + 4096)
    peft = replace(LOAD, trainer=replace(LOAD.trainer, lean=False))
    assert kept_bytes(replace(LOAD, dora=True)) - kept_bytes(peft) == 2048 * 32 * outputs


def test_the_largest_layer_is_made_beside_its_weight() -> None:
    """What `down` reads is 14,336 wide: an identity of that, B·A, and the sum, in fp32."""
    more = working_bytes(replace(LOAD, dora=True)) - working_bytes(LOAD)
    assert more == 4 * 14_336 * (14_336 + 2 * 4096)
    whole = sum(parts_gib(replace(LOAD, dora=True)).values()) - sum(parts_gib(LOAD).values())
    assert whole > more / GIB
