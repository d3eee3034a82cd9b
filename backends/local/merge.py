"""A LoRA adapter worked into its base: a model that stands alone, for servers that know no adapters.

The sums are PEFT's. Around them: the folder appears whole or not at all, and what was written is read
back from the disk and asked, beside base and adapter, before anybody is told that it is done.

An adapter trained on a base in 4 bits is merged into the base's own weights, not into the rounded ones:
merging into 4 bits would round the adapter away. Its answers can differ a little from the 4-bit model's.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from backends.base import Merged
from backends.local import models
from backends.local.files import sha256_of
from backends.local.loaded import Loaded, Weights, load, weights_of
from backends.local.run import read_json, sync_folder, write_bytes, write_json
from gateway.core.errors import BackendError, SettingsError, Unsupported

if TYPE_CHECKING:
    from torch import Tensor

# How far the merged logits may be from those of base and adapter, as a share of their length: rounding
# only. In 16 bits every merged weight is rounded once more.
TOLERANCE = {"float32": 1e-4, "float16": 0.02, "bfloat16": 0.05}
_SHARD = "4GB"
_PROBES = (
    "Hello, how are you?",
    "Write one sentence about the weather in spring.",
    "What is 7 + 5?",
    "List three colours.",
)


def merge(folder: Path, out: Path, home: Path, *, card: str) -> Merged:
    """Write base and adapter as one model: safetensors, config, tokenizer, README.

    Args:
        folder: the adapter's.
        out: the new folder.
        home: the local backend's folder, where the embedded base is kept.
        card: what README.md says.

    Raises:
        Unsupported: there is no adapter in the folder, or it cannot be merged.
        SettingsError: `out` exists, or cannot be written.
        BackendError: the adapter is damaged or of another base, or what was written is not what it was.
    """
    weights = weights_of(folder)
    if weights.adapter is None:
        raise Unsupported("this model stands alone already", place=str(folder), fix="copy its folder")
    _refuse_existing(out)
    loaded = load(Weights(weights.base), home, dtype=_stored_dtype(weights.base, home))
    precision = str(loaded.model.dtype).removeprefix("torch.")
    with loaded.wearing(weights.adapter):
        expected = _logits(loaded)
        merged = _worked_in(loaded, folder)
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        unfinished = Path(tempfile.mkdtemp(dir=out.parent, prefix=f".{out.name}."))
    except OSError as error:
        raise _unwritable(out, error) from None
    try:
        _write(merged, loaded, unfinished, folder, card)
        del merged, loaded.model
        deviation = _deviation(expected, _logits(load(Weights(str(unfinished)), home, dtype=precision)))
        if not deviation <= TOLERANCE.get(precision, 0.05):
            raise BackendError(
                f"the merged model's logits are {deviation:.1%} from those of base and adapter",
                backend="local",
                place=str(folder),
                fix="nothing was written; serve the adapter on its base instead",
            )
        files = {path.name: sha256_of(path) for path in sorted(unfinished.glob("*.safetensors"))}
        _note(unfinished, folder, files, deviation, precision)
        _appear(unfinished, out)
    except OSError as error:
        raise _unwritable(out, error) from None
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)
    size = sum(path.stat().st_size for path in out.iterdir())
    return Merged(out, files, size, deviation, precision)


def _worked_in(loaded: Loaded, folder: Path) -> Any:
    """The base with the adapter's sums in its weights."""
    try:
        return loaded.model.merge_and_unload(safe_merge=True)
    except (ValueError, NotImplementedError, AttributeError):
        raise Unsupported(
            "this adapter cannot be merged: its sums are not finite, or it is of a kind that stays beside "
            "its base",
            place=str(folder),
            fix="serve the adapter on its base",
        ) from None


def _write(merged: Any, loaded: Loaded, unfinished: Path, folder: Path, card: str) -> None:
    merged.config.use_cache = True
    merged.save_pretrained(str(unfinished), safe_serialization=True, max_shard_size=_SHARD)
    loaded.template.tokenizer.save_pretrained(str(unfinished))
    write_bytes(unfinished / "README.md", card.encode())


def _note(unfinished: Path, folder: Path, files: dict[str, str], deviation: float, precision: str) -> None:
    made = read_json(folder / "tunegate.json") or {}
    write_json(
        unfinished / "tunegate.json",
        {
            **{
                name: made[name]
                for name in ("model", "base", "data", "adapter", "quantization")
                if name in made
            },
            "method": "merged",
            "files": files,
            "precision": precision,
            "deviation": deviation,
        },
    )


def _appear(unfinished: Path, out: Path) -> None:
    for path in unfinished.iterdir():
        with path.open("rb") as file:
            os.fsync(file.fileno())
    unfinished.chmod(0o700)
    _refuse_existing(out)  # somebody may have made it meanwhile; a rename onto an empty folder would work
    unfinished.rename(out)
    sync_folder(out.parent)


def _refuse_existing(out: Path) -> None:
    if out.exists() or out.is_symlink():
        raise SettingsError(
            "there is something of this name already, and nothing is written over",
            place=str(out),
            fix="name a folder that does not exist",
        )


def _unwritable(out: Path, error: OSError) -> SettingsError:
    return SettingsError(
        f"cannot be written: {error.strerror}",
        place=str(out),
        fix="name a folder with room, where you may write",
    )


def _stored_dtype(base: str, home: Path) -> str:
    """The type the base's weights have on the disk: merging makes a model no larger than its base."""
    config = models.text_config(models.ensure(base, home))
    stored = str(config.get("dtype") or config.get("torch_dtype") or "float32")
    return stored if stored in TOLERANCE else "float32"


def _logits(loaded: Loaded) -> list[Tensor]:
    """What the model makes of a few fixed prompts, on the CPU in fp32."""
    import torch

    found: list[Tensor] = []
    with torch.inference_mode():
        for text in _PROBES:
            ids = loaded.template.prompt([{"role": "user", "content": text}])
            out = loaded.model(input_ids=torch.tensor([ids], device=loaded.model.device), use_cache=False)
            found.append(out.logits[0].float().cpu())
    return found


def _deviation(expected: list[Tensor], found: list[Tensor]) -> float:
    """The largest, over the probes, of the difference's length over the logits' own."""
    return max(_length(a - b) / max(_length(a), 1e-12) for a, b in zip(expected, found, strict=True))


def _length(values: Tensor) -> float:
    return float(values.double().square().sum()) ** 0.5
