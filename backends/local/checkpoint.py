"""What training needs to go on after a crash: safetensors and JSON, whole or absent, never pickle.

A checkpoint is a folder `step-000040` with what is trained (`weights-*.safetensors`), the optimizer's
state, and a `manifest.json`: the files' hashes, how far the run has come, and what it belongs to. The
order of the batches and the dropout follow from the seed and the step, so these are all there is to
keep of them. The latest few are kept; the best by validation loss stays as `best-000040`, without its
optimizer, once it is not among them.
"""

from __future__ import annotations

import json
import platform
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from torch import Tensor

from backends.local import tensors
from backends.local.files import sha256_of
from backends.local.network import Network
from backends.local.ranks import Ranks
from backends.local.run import Run, sync_folder, write_json
from gateway.core.errors import BackendError, DataError

SCHEMA = "tunegate.local.checkpoint/1"
_LIBRARIES = ("torch", "transformers", "peft")


@dataclass(frozen=True, slots=True)
class Reached:
    """How far a run has come: optimizer steps done, and its validation losses (nats) by step."""

    step: int = 0
    validations: tuple[tuple[int, float], ...] = ()

    def after(self, step: int, loss: float | None = None) -> Reached:
        """One step on, validated or not."""
        found = () if loss is None else ((step, loss),)
        return Reached(step, (*self.validations, *found))

    @property
    def best(self) -> int | None:
        """The step of the lowest validation loss, the first of equals; None before any."""
        return min(self.validations, key=lambda each: each[1])[0] if self.validations else None

    @property
    def without_gain(self) -> int:
        """Validations since the best."""
        return sum(step > (self.best or 0) for step, _ in self.validations)


@dataclass(frozen=True, slots=True)
class Origin:
    """What a checkpoint belongs to, and cannot be continued without.

    Attributes:
        settings: those of a run's body that decide what is learnt.
        hashes: of the data, its order in steps, the base, the tokenizer.
    """

    settings: Mapping[str, Any]
    hashes: Mapping[str, str]

    def differences(self, manifest: Mapping[str, Any]) -> list[str]:
        """What a checkpoint was made with that is another now."""
        if manifest.get("schema") != SCHEMA:
            return ["format"]
        theirs = manifest["settings"]
        return [
            *(name for name in {**self.settings, **theirs} if self.settings.get(name) != theirs.get(name)),
            *(name for name, value in self.hashes.items() if manifest["hashes"].get(name) != value),
        ]


class Checkpoints:
    """Those of one run, for the network and optimizer it trains. Every rank calls; the first writes."""

    def __init__(
        self, run: Run, network: Network, optimizer: torch.optim.Optimizer, origin: Origin, ranks: Ranks
    ) -> None:
        self._run, self._origin, self._ranks = run, origin, ranks
        self._network, self._optimizer = network, optimizer
        self._folder = run.folder / "checkpoints"

    def save(self, reached: Reached, *, keep: int = 2) -> None:
        """Write a checkpoint under another name, and give it its own when all of it is on the disk.

        Raises:
            OSError: the disk is full; nothing of it is left behind.
        """
        unfinished = self._folder / f".step-{reached.step:06d}"
        if not self._ranks.first:
            self._ranks.gather_for_first(self._network.trainable().values(), self._moments().values())
            return
        shutil.rmtree(unfinished, ignore_errors=True)
        unfinished.mkdir(parents=True)
        try:
            self._write(unfinished, reached)
        except BaseException:
            shutil.rmtree(unfinished, ignore_errors=True)
            raise
        target = self._folder / f"step-{reached.step:06d}"
        shutil.rmtree(target, ignore_errors=True)
        unfinished.rename(target)
        sync_folder(self._folder)
        self._prune(keep)

    def load(self) -> Reached:
        """Put the last good checkpoint into network and optimizer; says how far it had come.

        Raises:
            BackendError: a checkpoint is of another configuration, dataset or base; the message says which.
        """
        for folder in self._newest_first():
            manifest = _verified(folder)
            if manifest is None:
                self._run.event(
                    "warning", "checkpoint_corrupt", f"{folder.name} is damaged; an earlier one is used"
                )
                continue
            if different := self._origin.differences(manifest):
                raise BackendError(
                    f"{folder.name} was made with another {' and another '.join(different)}",
                    backend="local",
                    place=str(folder),
                    fix="start a new job; this one cannot be continued",
                )
            self._say_other_versions(manifest)
            self._restore_weights(folder, manifest)
            self._restore_moments(folder, manifest)
            return Reached(manifest["step"], tuple((step, loss) for step, loss in manifest["validations"]))
        return Reached()

    def load_best(self, reached: Reached) -> int:
        """Put the best weights into the network, where they are not in it already.

        Returns:
            The step they are of: the last one where nothing was validated, or the best are gone.
        """
        best = reached.best
        if best is None or best == reached.step:
            return reached.step
        for folder in (self._folder / f"best-{best:06d}", self._folder / f"step-{best:06d}"):
            if manifest := _verified(folder, "weights-"):
                self._restore_weights(folder, manifest)
                return best
        self._run.event(
            "warning", "best_lost", f"the weights of step {best}, the best, are damaged; the last are taken"
        )
        return reached.step

    def restore_into(self, network: Network, step: int) -> None:
        """Put a checkpoint's weights into another network, whose tensors lie whole in this process."""
        for name in ("best", "step"):
            folder = self._folder / f"{name}-{step:06d}"
            if manifest := _verified(folder, "weights-"):
                return _copy_weights(folder, manifest, network, Ranks())
        raise BackendError("the checkpoint to make the result of is gone", backend="local", place=str(folder))

    # -- inside ------------------------------------------------------------------------------------

    def _write(self, folder: Path, reached: Reached) -> None:
        whole = self._ranks.whole
        files = {
            **tensors.save(folder, "weights", self._network.trainable(), whole),
            **tensors.save(folder, "optimizer", self._moments(), whole),
        }
        write_json(
            folder / "manifest.json",
            {
                "schema": SCHEMA,
                "step": reached.step,
                "validations": [list(each) for each in reached.validations],
                "rng": {"seed": self._origin.settings.get("seed"), "step": reached.step},
                "settings": dict(self._origin.settings),
                "hashes": dict(self._origin.hashes),
                "made_with": _versions(),
                "files": files,
            },
        )

    def _moments(self) -> dict[str, Tensor]:
        return {
            f"{name}.{key}": value
            for name, parameter in self._network.trainable().items()
            for key, value in self._optimizer.state[parameter].items()
        }

    def _restore_weights(self, folder: Path, manifest: Mapping[str, Any]) -> None:
        _copy_weights(folder, manifest, self._network, self._ranks)

    def _restore_moments(self, folder: Path, manifest: Mapping[str, Any]) -> None:
        parameters = self._network.trainable()
        numbers = {id(value): number for number, value in enumerate(_in_order(self._optimizer))}
        state: dict[int, dict[str, Tensor]] = {number: {} for number in numbers.values()}
        for name, value in tensors.load(folder, _names(manifest, "optimizer-")):
            owner, _, key = name.rpartition(".")
            parameter = parameters[owner]
            alike = value.shape == parameter.shape
            state[numbers[id(parameter)]][key] = (
                self._ranks.part(value, parameter) if alike else value.clone()
            )
        groups = self._optimizer.state_dict()["param_groups"]
        self._optimizer.load_state_dict({"state": state, "param_groups": groups})

    def _prune(self, keep: int) -> None:
        """Only the latest few stay, and the best that one of them may still be the end of."""
        kept, old = self._newest_first()[:keep], self._newest_first()[keep:]
        wanted = {_best_of(folder) for folder in kept}
        for folder in old:
            if folder.name.removeprefix("step-") in wanted:
                best = folder.with_name(folder.name.replace("step-", "best-"))
                shutil.rmtree(best, ignore_errors=True)
                folder.rename(best)
                for path in best.glob("optimizer-*"):
                    path.unlink()
            else:
                shutil.rmtree(folder, ignore_errors=True)
        for folder in self._folder.glob("best-*"):
            if folder.name.removeprefix("best-") not in wanted:
                shutil.rmtree(folder, ignore_errors=True)

    def _newest_first(self) -> list[Path]:
        return sorted(self._folder.glob("step-*"), reverse=True)

    def _say_other_versions(self, manifest: Mapping[str, Any]) -> None:
        """Not a reason to refuse: the weights are as good; only the bits that follow may differ."""
        now, then = _versions(), manifest["made_with"]
        other = [f"{name} {then.get(name)} → {now[name]}" for name in now if then.get(name) != now[name]]
        if other:
            self._run.event(
                "warning", "other_versions", f"training goes on with other versions: {', '.join(other)}"
            )


def _copy_weights(folder: Path, manifest: Mapping[str, Any], network: Network, ranks: Ranks) -> None:
    parameters = network.trainable()
    with torch.no_grad():
        for name, value in tensors.load(folder, _names(manifest, "weights-")):
            parameters[name].copy_(ranks.part(value, parameters[name]))


def _verified(folder: Path, only: str = "") -> dict[str, Any] | None:
    """The manifest of a folder; None when a file (whose name begins so) is not what it says."""
    try:
        manifest: dict[str, Any] = json.loads((folder / "manifest.json").read_bytes())
        for name in _names(manifest, only):
            if sha256_of(folder / name) != manifest["files"][name]:
                return None
        tuple(tensors.load(folder, _names(manifest, only)))
    except (OSError, ValueError, KeyError, TypeError, DataError, SafetensorError):
        return None
    return manifest


def _names(manifest: Mapping[str, Any], begin: str) -> list[str]:
    return [name for name in manifest["files"] if name.startswith(begin)]


def _best_of(folder: Path) -> str | None:
    """The step, as folders are named, of the best validation that a checkpoint knows of."""
    try:
        manifest = json.loads((folder / "manifest.json").read_bytes())
        best = Reached(0, tuple((step, loss) for step, loss in manifest["validations"])).best
    except (OSError, ValueError, KeyError):
        return None
    return None if best is None else f"{best:06d}"


def _in_order(optimizer: torch.optim.Optimizer) -> list[Tensor]:
    return [parameter for group in optimizer.param_groups for parameter in group["params"]]


def _versions() -> dict[str, str]:
    return {"python": platform.python_version(), **{name: version(name) for name in _LIBRARIES}}
