"""Tokens on the disk: written once into a run's folder, and mapped from there by every process of the run.

    tokens/train-00001.safetensors    ids and labels of all chats end to end, and where each begins
    tokens/train.json                 what they were made of, the file's hash, and what was counted

The JSON comes last: tokens without it are not there. Memory stays flat however many rows there are, for
a row is made when it is asked for and its tokens are pages of the file. They say what the data says, so
they lie where the run's own folder keeps others out, and go when it goes.
"""

from __future__ import annotations

import json
from array import array
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, overload

import torch
from safetensors import SafetensorError
from torch import Tensor

from backends.local import tensors
from backends.local.files import sha256_of
from backends.local.run import write_json
from backends.local.tokens import Example, Item, Pair
from gateway.core.errors import DataError


class Items(Sequence[Item]):
    """The rows of a split, each made when it is asked for.

    Args:
        ids: of all chats end to end, int32.
        labels: likewise, as `render` makes them.
        bounds: where chats begin, and the last one's end.
        chats: of a row: one, or the two answers of a preference.
    """

    def __init__(self, ids: Tensor, labels: Tensor, bounds: Sequence[int], chats: int) -> None:
        self._ids, self._labels, self._bounds, self._chats = ids, labels, bounds, chats

    def __len__(self) -> int:
        return (len(self._bounds) - 1) // self._chats

    @overload
    def __getitem__(self, index: int) -> Item: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[Item]: ...
    def __getitem__(self, index: int | slice) -> Item | Sequence[Item]:
        if isinstance(index, slice):
            return [self[each] for each in range(*index.indices(len(self)))]
        first = range(len(self))[index] * self._chats
        if self._chats == 1:
            return self._chat(first)
        return Pair(self._chat(first), self._chat(first + 1))

    def _chat(self, number: int) -> Example:
        begin, end = self._bounds[number], self._bounds[number + 1]
        return Example(self._ids[begin:end], self._labels[begin:end])


def read(folder: Path, split: str, of: str) -> tuple[Items, dict[str, Any]] | None:
    """The rows that were written, and what was counted; None where they are not there, were made of
    something else, or are damaged."""
    try:
        noted: dict[str, Any] = json.loads((folder / f"{split}.json").read_bytes())
        whole = all(sha256_of(folder / name) == sha256 for name, sha256 in noted["files"].items())
        if noted["of"] != of or not whole:
            return None
        found = dict(tensors.load(folder, list(noted["files"])))
    except (OSError, ValueError, KeyError, DataError, SafetensorError):
        return None
    bounds = array("q", found["bounds"].numpy().tobytes())
    return Items(found["ids"], found["labels"], bounds, noted["chats"]), noted["counted"]


def write(folder: Path, split: str, rows: Iterable[Item]) -> tuple[dict[str, str], int]:
    """Put rows on the disk as they come; `note` makes them count.

    Returns:
        The files' hashes by name, and how many chats a row has. No file where there was no row.
    """
    folder.mkdir(exist_ok=True, mode=0o700)
    for old in folder.glob(f"{split}*"):
        old.unlink()
    bounds, chats = array("q", [0]), 1
    raw = [folder / f"{split}.{name}" for name in ("ids", "labels")]
    with raw[0].open("wb") as ids, raw[1].open("wb") as labels:
        for row in rows:
            chats = len(row.chats)
            for chat in row.chats:
                ids.write(chat.ids_T.numpy().tobytes())
                labels.write(chat.labels_T.numpy().tobytes())
                bounds.append(bounds[-1] + chat.length)
    files: dict[str, str] = {}
    if bounds[-1]:
        mapped = [torch.from_file(str(path), size=bounds[-1], dtype=torch.int32) for path in raw]
        places = torch.tensor(bounds, dtype=torch.int64)
        files = tensors.save(folder, split, {"ids": mapped[0], "labels": mapped[1], "bounds": places})
    for path in raw:
        path.unlink()
    return files, chats


def note(
    folder: Path, split: str, of: str, files: Mapping[str, str], chats: int, counted: Mapping[str, Any]
) -> None:
    """Say what was written; from now on it is there."""
    values = {"of": of, "files": dict(files), "chats": chats, "counted": dict(counted)}
    write_json(folder / f"{split}.json", values)
