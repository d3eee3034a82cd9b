"""The user's own score: `module:function` in the spec's folder.

    def score(prompt: list[dict[str, str]], answer: str, reference: str) -> float: ...

`prompt` is the chat before the answer, as `{"role": …, "content": …}`. Higher is better.
"""

from __future__ import annotations

import importlib.util
import math
import sys
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from gateway.core.errors import DataError, SpecError
from gateway.core.job import ChatMessage

Scorer = Callable[[Sequence[ChatMessage], str, str, int], float]


def load_scorer(name: str, folder: Path) -> Scorer:
    """The function called `module:function`, its module a file below `folder`.

    Returns:
        A callable of prompt, answer, reference and line number.

    Raises:
        SpecError: no such file or function, or importing it failed.
    """
    module, _, attribute = name.partition(":")
    path = folder.joinpath(*module.split(".")).with_suffix(".py")
    if not path.is_file():
        raise SpecError("the scorer's file is missing", place=str(path), fix=_FIX)
    function = getattr(_execute(path, folder), attribute, None)
    if not callable(function):
        raise SpecError(f"has no function {attribute!r}", place=str(path), fix=_FIX)

    def score(prompt: Sequence[ChatMessage], answer: str, reference: str, line: int) -> float:
        turns = [{"role": turn.role, "content": turn.content} for turn in prompt]
        return _call(lambda: function(turns, answer, reference), name, line)

    return score


def _execute(path: Path, folder: Path) -> Any:
    spec = importlib.util.spec_from_file_location(f"_tunegate_scorer_{path.stem}", path)
    assert spec is not None  # noqa: S101 - a .py path always has a loader
    assert spec.loader is not None  # noqa: S101
    module = importlib.util.module_from_spec(spec)
    try:
        with _importable(folder):
            spec.loader.exec_module(module)
    except (Exception, SystemExit) as error:
        raise SpecError(
            f"importing the scorer raised {type(error).__name__}",
            place=str(path),
            fix=f"run `python {path}` to see it fail",
        ) from None
    return module


@contextmanager
def _importable(folder: Path) -> Generator[None]:
    """Lets a scorer import its neighbours, and leaves `sys.path` as it was."""
    sys.path.insert(0, str(folder))
    try:
        yield
    finally:
        sys.path.remove(str(folder))


def _call(function: Callable[[], Any], name: str, line: int) -> float:
    """One score; what the scorer raised may quote the row, so only its type is told."""
    try:
        value = float(function())
    except (Exception, SystemExit) as error:
        raise DataError(
            f"scorer {name} raised {type(error).__name__}", place=f"line {line}", fix=_FIX
        ) from None
    if not math.isfinite(value):
        raise DataError(f"scorer {name} gave a number that is not finite", place=f"line {line}", fix=_FIX)
    return value


_FIX = "`evaluate.scorer` is `module:function(prompt, answer, reference) -> float`, in the spec's folder"
