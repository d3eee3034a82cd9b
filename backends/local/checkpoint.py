"""What training needs to go on after a crash: safetensors and JSON, whole or absent, never pickle.

A checkpoint is a folder `step-000040` with `adapter.safetensors`, `optimizer.safetensors` and a
`manifest.json` that names their hashes and what they belong to: configuration, data, base. The order
of the batches and the dropout follow from the seed and the step, so the step is all there is to keep
of them.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save

from backends.local.network import Network
from backends.local.run import Run, sync_folder, write_bytes, write_json
from gateway.core.errors import BackendError

KEEP = 2


def save_checkpoint(
    run: Run,
    step: int,
    network: Network,
    optimizer: torch.optim.Optimizer,
    belongs_to: Mapping[str, str],
) -> None:
    """Write a checkpoint under a temporary name and give it its own when it is on the disk."""
    parameters = network.trainable()
    moments = {
        f"{name}.{key}": value
        for name, parameter in parameters.items()
        for key, value in optimizer.state[parameter].items()
    }
    files = {"adapter.safetensors": parameters, "optimizer.safetensors": moments}
    folder = run.folder / "checkpoints"
    unfinished = folder / f".step-{step:06d}"
    shutil.rmtree(unfinished, ignore_errors=True)
    unfinished.mkdir(parents=True)
    hashes: dict[str, str] = {}
    for name, tensors in files.items():
        content = save({key: value.detach().cpu().contiguous() for key, value in tensors.items()})
        write_bytes(unfinished / name, content)
        hashes[name] = hashlib.sha256(content).hexdigest()
    write_json(unfinished / "manifest.json", {"step": step, "files": hashes, **belongs_to})
    target = folder / f"step-{step:06d}"
    shutil.rmtree(target, ignore_errors=True)
    unfinished.rename(target)
    sync_folder(folder)
    for old in _checkpoints(run)[KEEP:]:
        shutil.rmtree(old, ignore_errors=True)


def load_checkpoint(
    run: Run, network: Network, optimizer: torch.optim.Optimizer, belongs_to: Mapping[str, str]
) -> int:
    """Put the last good checkpoint into model and optimizer.

    Returns:
        The number of optimizer steps done; 0 when there is no usable checkpoint.

    Raises:
        BackendError: a checkpoint is of another configuration, dataset or base; the message says which.
    """
    for folder in _checkpoints(run):
        read = _read(folder)
        if read is None:
            run.event("warning", "checkpoint_corrupt", f"{folder.name} is damaged; an earlier one is used")
            continue
        manifest, tensors = read
        if wrong := [name for name, value in belongs_to.items() if manifest.get(name) != value]:
            raise BackendError(
                f"{folder.name} was made with another {' and '.join(wrong)}",
                backend="local",
                place=str(folder),
                fix="start a new job; this one cannot be continued",
            )
        _restore(network, optimizer, tensors)
        return int(manifest["step"])
    return 0


def _restore(
    network: Network,
    optimizer: torch.optim.Optimizer,
    tensors: Mapping[str, Mapping[str, torch.Tensor]],
) -> None:
    moments = tensors["optimizer.safetensors"]
    with torch.no_grad():
        for name, parameter in network.trainable().items():
            parameter.copy_(tensors["adapter.safetensors"][name])
            optimizer.state[parameter] = {
                # torch keeps the step count on the CPU and the moments beside the parameter
                "step": moments[f"{name}.step"],
                "exp_avg": moments[f"{name}.exp_avg"].to(parameter.device),
                "exp_avg_sq": moments[f"{name}.exp_avg_sq"].to(parameter.device),
            }


def _checkpoints(run: Run) -> list[Path]:
    """Newest first."""
    return sorted((run.folder / "checkpoints").glob("step-*"), reverse=True)


def _read(folder: Path) -> tuple[dict[str, Any], dict[str, dict[str, torch.Tensor]]] | None:
    """Manifest and tensors; None when a file is missing or is not what the manifest says."""
    try:
        manifest = json.loads((folder / "manifest.json").read_bytes())
        contents = {name: (folder / name).read_bytes() for name in manifest["files"]}
        if any(hashlib.sha256(contents[name]).hexdigest() != manifest["files"][name] for name in contents):
            return None
        return manifest, {name: load(content) for name, content in contents.items()}
    except (OSError, ValueError, KeyError, SafetensorError):
        return None
