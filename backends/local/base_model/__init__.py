"""The embedded base model: a small Llama-style decoder, made on this machine, for demonstrations.

It needs no download: on first use it is trained from text that the project generates, in under a
minute on two cores, and kept under `home/models`. Any other model on this machine is a folder of
the same shape, so nothing outside this package knows the difference.
"""

from __future__ import annotations

import hashlib
import shutil
import tempfile
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from typing import Any

from backends.local.base_model.build import Recipe, write_model, write_tokenizer
from backends.local.base_model.text import GRAMMAR

NAME = "tunegate-demo"
RECIPE = Recipe()
_TOKENIZER_FILES = ("tokenizer.json", "tokenizer_config.json")


def config() -> Mapping[str, Any]:
    """The model's `config.json`, known before it is built: the sizes that planning needs."""
    return RECIPE.config()


@cache
def revision(recipe: Recipe = RECIPE) -> str:
    """Twelve hex digits over the recipe and the grammar: a changed model is a new folder."""
    return hashlib.sha256(repr(recipe).encode() + GRAMMAR.read_bytes()).hexdigest()[:12]


def folder(home: Path, recipe: Recipe = RECIPE) -> Path:
    """Where the finished model lies, built or not."""
    return home / "models" / f"{NAME}-{revision(recipe)}"


def is_built(home: Path, recipe: Recipe = RECIPE) -> bool:
    """Whether the weights are there. A folder under this name is always a finished one."""
    return (folder(home, recipe) / "model.safetensors").is_file()


def ensure_tokenizer(home: Path, recipe: Recipe = RECIPE) -> Path:
    """The folder of the tokenizer alone, made if need be: seconds, and no weights.

    Returns:
        A folder for `AutoTokenizer.from_pretrained`; the model's own once that is built.
    """
    if is_built(home, recipe):
        return folder(home, recipe)
    target = folder(home, recipe).with_name(f"{NAME}-{revision(recipe)}-tokenizer")
    return _once(target, lambda place: write_tokenizer(place, recipe))


def ensure(
    home: Path, on_progress: Callable[[float], None] | None = None, *, recipe: Recipe = RECIPE
) -> Path:
    """The model's folder in Hugging Face's format, built on first use.

    Of several processes that ask at once, one builds and the others wait for it. A killed build
    leaves nothing that looks finished.

    Args:
        home: folder of the local backend; the model goes under `models`.
        on_progress: told the share done, 0 to 1, once a step.
    """

    def write(place: Path) -> None:
        tokenizer = ensure_tokenizer(home, recipe)
        for name in _TOKENIZER_FILES:
            shutil.copyfile(tokenizer / name, place / name)
        if (template := tokenizer / "chat_template.jinja").is_file():
            shutil.copyfile(template, place / template.name)
        write_model(place, recipe, revision(recipe), on_progress)

    return _once(folder(home, recipe), write)


def _once(target: Path, write: Callable[[Path], None]) -> Path:
    """Run `write` on a temporary folder and give it its name when it is whole, one process at a time."""
    from filelock import FileLock

    if target.is_dir():
        return target
    target.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(target.with_name(f".{target.name}.lock")):
        if not target.is_dir():
            with tempfile.TemporaryDirectory(dir=target.parent, prefix=f".{target.name}-") as place:
                made = Path(place) / "made"
                made.mkdir()
                write(made)
                made.rename(target)
    return target
