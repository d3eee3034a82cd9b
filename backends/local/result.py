"""What a run leaves: the best weights it found, in a folder that appears whole or not at all."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping

import torch

from backends.local import four_bit
from backends.local.checkpoint import Checkpoints, Reached
from backends.local.files import sha256_of
from backends.local.network import Network
from backends.local.run import Run, sync_folder, write_json
from backends.local.setup import Setup


def save(run: Run, setup: Setup, checkpoints: Checkpoints, reached: Reached) -> None:
    """The best step's weights by validation, the last ones where nothing was validated; with the
    tokenizer, and a note of what they were made from."""
    step = checkpoints.load_best(reached)
    if not setup.ranks.first:
        return
    if step != reached.step:
        run.event(
            "info", "best_taken", f"the result is that of step {step}, the best by validation", step=step
        )
    name = setup.network.result
    unfinished, target = run.folder / f".{name}", run.folder / name
    shutil.rmtree(unfinished, ignore_errors=True)
    weights = _whole_network(setup, checkpoints, step).save(unfinished)
    setup.template.tokenizer.save_pretrained(str(unfinished))
    hashes: Mapping[str, str] = setup.origin.hashes if setup.origin else {}
    write_json(
        unfinished / "tunegate.json",
        {
            "model": run.config["body"]["model"],
            "base": hashes.get("base"),
            "data": hashes.get("train data"),
            "step": step,
            "task": setup.body["task"],
            "method": setup.network.method,
            **_weights_note(setup.network.method, {each: sha256_of(unfinished / each) for each in weights}),
        },
    )
    for path in unfinished.iterdir():
        with path.open("rb") as file:
            os.fsync(file.fileno())
    shutil.rmtree(target, ignore_errors=True)
    unfinished.rename(target)
    sync_folder(run.folder)


def _weights_note(method: str, hashes: Mapping[str, str]) -> dict[str, object]:
    """What whoever loads the weights looks at."""
    if method == "full":
        return {"files": hashes}
    (adapter,) = hashes.values()
    return {"adapter": adapter, **({"quantization": four_bit.NOTE} if method == "qlora" else {})}


def _whole_network(setup: Setup, checkpoints: Checkpoints, step: int) -> Network:
    """The network itself; where its weights lie in parts, another one that holds them whole."""
    if not setup.ranks.sharded:
        return setup.network
    network = Network.load(setup.folder, setup.body, setup.template.tokenizer, torch.device("cpu"))
    checkpoints.restore_into(network, step)
    return network
