"""Many tensors on the disk as safetensors, one at a time in memory.

The libraries' own writers want everything as bytes first: a second copy of the weights. The format is
a length, a JSON header and the bytes, so it is written here as the tensors come.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor

FILE_BYTES = 4 * 2**30  # of tensors in one file; a single tensor may be larger

_NAMES = {
    torch.float64: "F64",
    torch.float32: "F32",
    torch.float16: "F16",
    torch.bfloat16: "BF16",
    torch.int64: "I64",
    torch.int32: "I32",
    torch.int16: "I16",
    torch.int8: "I8",
    torch.uint8: "U8",
    torch.bool: "BOOL",
}


def save(
    folder: Path,
    stem: str,
    tensors: Mapping[str, Tensor],
    whole: Callable[[Tensor], Tensor] = lambda tensor: tensor,
) -> dict[str, str]:
    """Write tensors as `stem-00001.safetensors` and so on, each on the disk when this returns.

    Args:
        whole: brings a tensor together whose parts lie in several places; called in order, once each.

    Returns:
        SHA-256 (hex) by file name, files in order.
    """
    return {
        (name := f"{stem}-{number:05d}.safetensors"): _save_one(folder / name, part, whole)
        for number, part in enumerate(_parts(tensors), 1)
    }


def load(folder: Path, names: Sequence[str]) -> Iterator[tuple[str, Tensor]]:
    """Every tensor of some files by name; its bytes are read when they are used.

    Raises:
        SafetensorError, OSError: a file is damaged or gone.
    """
    from safetensors import safe_open

    opened: Any = safe_open
    for name in names:
        with opened(str(folder / name), framework="pt") as file:
            for key in file.keys():  # noqa: SIM118  not a mapping
                yield key, file.get_tensor(key)


def _parts(tensors: Mapping[str, Tensor]) -> Iterator[dict[str, Tensor]]:
    part: dict[str, Tensor] = {}
    size = 0
    for name, tensor in tensors.items():
        if part and size + tensor.nbytes > FILE_BYTES:
            yield part
            part, size = {}, 0
        part[name] = tensor
        size += tensor.nbytes
    if part:
        yield part


def _save_one(path: Path, tensors: Mapping[str, Tensor], whole: Callable[[Tensor], Tensor]) -> str:
    digest = hashlib.sha256()
    with path.open("xb") as file:
        header = _header(tensors)
        for content in (len(header).to_bytes(8, "little"), header):
            digest.update(content)
            file.write(content)
        for tensor in tensors.values():
            content = _bytes(whole(tensor.detach()))
            digest.update(content)
            file.write(content)
        file.flush()
        os.fsync(file.fileno())
    return digest.hexdigest()


def _header(tensors: Mapping[str, Tensor]) -> bytes:
    header: dict[str, object] = {}
    at = 0
    for name, tensor in tensors.items():
        header[name] = {
            "dtype": _NAMES[tensor.dtype],
            "shape": list(tensor.shape),
            "data_offsets": [at, at + tensor.nbytes],
        }
        at += tensor.nbytes
    content = json.dumps(header, separators=(",", ":")).encode()
    return content + b" " * (-len(content) % 8)  # readers map the file: tensors begin at a word


def _bytes(tensor: Tensor) -> memoryview:
    flat = tensor.cpu().contiguous().reshape(-1)
    return memoryview(cast("Any", flat.view(torch.uint8).numpy()))
