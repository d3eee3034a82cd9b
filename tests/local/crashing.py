"""Trains a run and kills itself at given points, as often as asked: `python -m tests.local.crashing`.

    RUN_DIR step:17 backends.local.checkpoint.Checkpoints._prune:2 …

Each point is one life that ends there with a real SIGKILL: `step:17` in the middle of step 17, its
gradients made and not applied; `a.function:2` before that function's second call of a life. The last
life is left in peace. Lives are forks of one process, so that what is imported is so once.
"""

from __future__ import annotations

import importlib
import os
import signal
import sys
from typing import Any

from backends.local import train


def kill_at(point: str) -> None:
    name, number = point.split(":")
    if name == "step":
        return _replace("backends.local.step.apply_gradients", int(number), counted=False)
    return _replace(name, int(number))


def _replace(name: str, number: int, *, counted: bool = True) -> None:
    """Die in the call of this number; where calls are not counted, their second argument has it."""
    owner, attribute = _find(name)
    original, calls = getattr(owner, attribute), 0

    def dying(*arguments: Any, **options: Any) -> Any:
        nonlocal calls
        calls += 1
        if number == (calls if counted else arguments[1]):
            os.kill(os.getpid(), signal.SIGKILL)
        return original(*arguments, **options)

    setattr(owner, attribute, dying)


def _find(name: str) -> tuple[Any, str]:
    parts = name.split(".")
    for length in range(len(parts) - 1, 0, -1):
        try:
            owner: Any = importlib.import_module(".".join(parts[:length]))
        except ModuleNotFoundError:
            continue
        for part in parts[length:-1]:
            owner = getattr(owner, part)
        return owner, parts[-1]
    raise LookupError(name)


def live(folder: str, point: str | None) -> int:
    """One life in a fork; its exit code, negative for a signal."""
    child = os.fork()
    if child == 0:
        code = 1
        try:
            if point:
                kill_at(point)
            code = train.main([folder])
        finally:
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def main(folder: str, points: list[str]) -> int:
    for heavy in ("backends.local.loop", "peft", "transformers.models.llama.modeling_llama"):
        importlib.import_module(heavy)
    for point in points:
        if (code := live(folder, point)) != -signal.SIGKILL:
            print(f"{point} was never reached: {code}", file=sys.stderr)
            return 1
    return live(folder, None)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], sys.argv[2:]))
