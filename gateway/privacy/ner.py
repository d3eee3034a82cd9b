"""Tier 1: a model that reads names where no rule sees them. Optional, local, and never in place of the rules.

Any token-classification model in a folder: `config.json`, `model.safetensors`, `tokenizer.json`. Nothing is
fetched, no code of the folder is run, and no pickle is opened. What the model says is added to what the rules
found; it takes nothing away.

A model is somebody else's, so no canary can prove that it still sees names. What can be held is: it answers
for every token, with numbers, at the length it says it reads, with labels that we know. Where it does not, a
text counts as not read, and its scan as incomplete. Nothing is cut off in silence: long texts are read in
overlapping windows, and words that the model has no token for are `unknown_content`.
"""

from __future__ import annotations

import hashlib
import importlib.util
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from importlib.metadata import PackageNotFoundError, version
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from gateway.core.classes import DataClass
from gateway.core.errors import SettingsError, Unsupported
from gateway.core.rows import Finding
from gateway.privacy.classes import THRESHOLD, class_of

if TYPE_CHECKING:
    from gateway.privacy.ner_model import NerModel

_PACKAGES = ("torch", "transformers", "tokenizers", "safetensors")
_FILES = ("config.json", "model.safetensors", "tokenizer.json")
_HASHED = (".json", ".safetensors", ".txt", ".model", ".jinja")
_LONGEST = 1_000_000  # characters of one text; hours of reading, which nobody waits for
_REMEMBERED = 4096


class Named(NamedTuple):
    """What the model saw in a text, by code-point offsets."""

    start: int
    end: int
    type: str
    confidence: float


Read = tuple[Named, ...]


class Ner:
    """A model by its folder. Looking at that is cheap; the model is loaded when there is a text to read.

    Args:
        folder: where `config.json`, `model.safetensors` and `tokenizer.json` lie.

    Raises:
        SettingsError: a file is missing, or the weights are a pickle.
        Unsupported: the extra `ner` is not installed.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        _check_folder(folder)
        missing = [name for name in _PACKAGES if importlib.util.find_spec(name) is None]
        if missing:
            raise Unsupported(
                "a model that reads names needs the extra `ner`",
                place="scan.ner",
                fix="pip install 'tunegate[ner]'",
            )
        self._known: dict[bytes, Read | None] = {}
        self._seen: list[tuple[str, int, int]] = []

    @cached_property
    def fingerprint(self) -> str:
        """A hash over everything that says what the model finds: its files, and what runs it."""
        whole = hashlib.sha256()
        self._seen = _state(self.folder)
        for path in _hashed(self.folder):
            with path.open("rb") as file:
                content = hashlib.file_digest(file, "sha256").hexdigest()
            whole.update(f"{path.name} {content}\n".encode())
        for package in _PACKAGES:
            whole.update(f"{package} {_version(package)}\n".encode())
        return whole.hexdigest()

    @cached_property
    def _model(self) -> NerModel:
        from gateway.privacy.ner_model import NerModel

        _ = self.fingerprint
        model = NerModel(self.folder)
        if _state(self.folder) != self._seen:  # what was hashed is what was loaded
            raise SettingsError("this model changed while it was in use", place=str(self.folder))
        return model

    def read(self, texts: Sequence[str]) -> list[Read | None]:
        """What stands in each text; None where the model could not read it, which is no "nothing found".

        Equal texts, such as a system prompt in every row, are read once. Texts are remembered by hash alone.

        Raises:
            SettingsError: the model cannot be loaded, or has a label that we do not know.
        """
        keys = [_digest(text) for text in texts]
        found: dict[bytes, Read | None] = {}
        fresh: dict[bytes, str] = {}
        for key, text in zip(keys, texts, strict=True):
            if key in self._known:
                found[key] = self._known[key]
            elif not text or text.isspace():
                found[key] = ()
            elif len(text) > _LONGEST:
                found[key] = None
            else:
                fresh[key] = text
        if fresh:
            found |= zip(fresh, self._model.read(list(fresh.values())), strict=True)
        self._remember(found)
        return [found[key] for key in keys]

    def _remember(self, found: dict[bytes, Read | None]) -> None:
        self._known |= found
        for key in list(islice(self._known, max(len(self._known) - _REMEMBERED, 0))):
            del self._known[key]


def _digest(text: str) -> bytes:
    return hashlib.blake2b(text.encode(errors="surrogatepass"), digest_size=16).digest()


def _check_folder(folder: Path) -> None:
    place = f"scan.ner: {folder}"
    if not folder.is_dir():
        fix = "name the folder of a token-classification model; nothing is fetched"
        raise SettingsError("there is no such folder", place=place, fix=fix)
    missing = [name for name in _FILES if not (folder / name).is_file()]
    if "model.safetensors" in missing and any(folder.glob("*.bin")):
        raise SettingsError(
            "these weights are a pickle, which can run code when it is opened",
            place=place,
            fix="convert them to model.safetensors",
        )
    if missing:
        raise SettingsError(
            f"this folder has no {' and no '.join(missing)}",
            place=place,
            fix="it needs config.json, model.safetensors and a fast tokenizer's tokenizer.json",
        )
    if (folder / "adapter_config.json").exists():
        raise SettingsError(
            "this is an adapter, whose base may lie anywhere", place=place, fix="merge it into its base first"
        )


def _hashed(folder: Path) -> Iterator[Path]:
    return (path for path in sorted(folder.iterdir()) if path.suffix in _HASHED and path.is_file())


def _state(folder: Path) -> list[tuple[str, int, int]]:
    stats = [(path.name, path.stat()) for path in _hashed(folder)]
    return [(name, stat.st_size, stat.st_mtime_ns) for name, stat in stats]


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "?"


def together(
    rules: Sequence[Finding], model: Sequence[Finding], texts: Mapping[str, str]
) -> tuple[Finding, ...]:
    """What rules and model found in a record, none over another, in the record's order.

    The rules go first, and of a model's finding what they leave uncovered is kept. Where the model names
    what is of a higher class, or the rules were not sure enough to count, the model goes first.

    Args:
        texts: field → its text, in the record's order.
    """
    if not model:
        return tuple(rules)
    of_field: dict[str, list[tuple[int, Finding]]] = {}
    for each in rules:
        of_field.setdefault(each.field, []).append((2 if each.confidence >= THRESHOLD else 4, each))
    for each in model:
        of_field.setdefault(each.field, []).append((_rank(each), each))
    found: list[Finding] = []
    for field in texts:
        if ranked := of_field.get(field):
            found += _uncovered(texts[field], sorted(ranked, key=lambda item: item[0]))
    return tuple(found)


def _rank(found: Finding) -> int:
    if found.type == "unknown_content":
        return 3  # what the model cannot read, the rules may have
    return 1 if class_of([found.type], health=False) is DataClass.PHI else 3


def _uncovered(text: str, ranked: Sequence[tuple[int, Finding]]) -> list[Finding]:
    kept: list[Finding] = []
    for _, each in ranked:
        at = each.start
        for other in sorted(kept, key=lambda found: found.start):
            if at < other.end and other.start < each.end:
                kept += _piece(text, each, at, other.start)
                at = other.end
        kept += _piece(text, each, at, each.end)
    return sorted(kept, key=lambda found: found.start)


def _piece(text: str, found: Finding, start: int, end: int) -> list[Finding]:
    """That part of a finding, where it is more than marks and spaces; a whole finding as it is."""
    if (start, end) == (found.start, found.end):
        return [found]
    piece = text[start:end]
    if not any(map(str.isalnum, piece)):
        return []
    start += len(piece) - len(piece.lstrip())
    return [replace(found, start=start, end=start + len(piece.strip()))]
