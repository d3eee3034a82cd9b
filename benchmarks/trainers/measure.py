"""What every trainer is watched with, whichever Python it runs in: torch and the standard library only."""

from __future__ import annotations

import json
import resource
import time
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

PAD = 0  # the tokenizer's padding token, which no text has


class Task:
    """A folder that `train_cpu.py` prepared: `base/`, `rows.json`, `train.jsonl` and `task.json`."""

    def __init__(self, folder: str) -> None:
        self.folder = Path(folder)
        self.base = self.folder / "base"
        self.settings: dict[str, Any] = json.loads((self.folder / "task.json").read_bytes())
        rows = json.loads((self.folder / "rows.json").read_bytes())
        self.train: list[dict[str, list[int]]] = rows["train"]
        self.validation: list[dict[str, list[int]]] = rows["validation"]

    def lora(self) -> Any:
        """The adapter that is trained, as PEFT's configuration."""
        from peft import LoraConfig

        return LoraConfig(target_modules="all-linear", task_type="CAUSAL_LM", **self.settings["lora"])

    def schedule(self) -> dict[str, Any]:
        """How far and how fast: the same for all, in the names of `transformers.TrainingArguments`."""
        return {
            "num_train_epochs": self.settings["epochs"],
            "learning_rate": self.settings["learning_rate"],
            "lr_scheduler_type": "cosine",
            "warmup_steps": self.settings["warmup_steps"],
            "seed": self.settings["seed"],
        }


def quiet() -> dict[str, Any]:
    """What a benchmark needs and a tool does not do by itself; in the names of `TrainingArguments`."""
    import torch

    return {
        "use_cpu": not torch.cuda.is_available(),
        "report_to": "none",
        "save_strategy": "no",
        "disable_tqdm": True,
    }


class Watch:
    """Tokens the model has seen, wall and processor seconds, at the end of each optimizer step."""

    def __init__(self) -> None:
        self.tokens = 0
        self.steps: list[tuple[int, float, float]] = []
        self.began = time.perf_counter()
        self._cpu = time.process_time()

    def see(self, model: Any) -> None:
        """Count the tokens of every forward pass of this model that are not padding."""

        def count(module: Any, args: Any, kwargs: dict[str, Any]) -> None:
            ids = kwargs["input_ids"] if "input_ids" in kwargs else args[0]
            self.tokens += int((ids != PAD).sum())

        model.register_forward_pre_hook(count, with_kwargs=True)

    def step(self) -> None:
        self.steps.append((self.tokens, time.perf_counter(), time.process_time()))

    def start(self) -> None:
        self.began, self._cpu = time.perf_counter(), time.process_time()

    def report(self, adapter: Path, settings: dict[str, Any], packages: tuple[str, ...]) -> None:
        """One line of JSON, the last that a trainer prints."""
        found = {
            "steps": self.steps,
            "tokens": self.tokens,
            "train_s": time.perf_counter() - self.began,
            "cpu_s": time.process_time() - self._cpu,
            "peak_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
            "gpu_gib": _gpu_gib(),
            "adapter": str(adapter),
            "settings": settings,
            "versions": {name: _version(name) for name in ("torch", "transformers", "peft", *packages)},
        }
        print("\n" + json.dumps(found))


def callback(watch: Watch) -> Any:
    """A `transformers.TrainerCallback` that feeds the watch."""
    from transformers import TrainerCallback

    class Steps(TrainerCallback):  # type: ignore[misc]
        def on_train_begin(self, *args: Any, model: Any = None, **kwargs: Any) -> None:
            watch.see(model)
            watch.start()

        def on_step_end(self, *args: Any, **kwargs: Any) -> None:
            watch.step()

    return Steps()


def _gpu_gib() -> float:
    import torch

    return torch.cuda.max_memory_allocated() / 2**30 if torch.cuda.is_available() else 0.0


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "absent"
