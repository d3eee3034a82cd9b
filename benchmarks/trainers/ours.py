"""Tunegate's own loop, in its own training process's place: rows in a file, an adapter out."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from measure import Task, Watch

VARIANTS: dict[str, dict[str, Any]] = {
    "default": {},
    "fp32": {"precision": "fp32"},
    "bf16": {"precision": "bf16"},
}


def main(folder: str, variant: str, out: str) -> None:
    from backends.local import loop
    from backends.local.files import sha256_of
    from backends.local.run import Run

    task, watch = Task(folder), Watch()
    data = task.folder / "train.jsonl"
    asked = {
        "epochs": task.settings["epochs"],
        "learning_rate": task.settings["learning_rate"],
        "batch_size": task.settings["rows_a_step"],
        "seed": task.settings["seed"],
        "lora": {
            "rank": task.settings["lora"]["r"],
            "alpha": task.settings["lora"]["lora_alpha"],
            "dropout": task.settings["lora"]["lora_dropout"],
        },
    }
    body = {**body_of(task.base, len(task.train), asked), **VARIANTS[variant]}
    run = Run(Path(out))
    config = {
        "key": "speed",
        "home": str(task.folder / "home"),
        "files": {"train": {"path": str(data), "sha256": sha256_of(data)}},
        "body": body,
    }
    run.create(config, {"job_id": "speed", "folder": str(task.folder), "when_done": []})
    take_step = loop.take_step

    def watched(setup: Any, step: int, items: Any, *rest: Any, **more: Any) -> Any:
        if not watch.steps and not watch.tokens:
            watch.start()
        found = take_step(setup, step, items, *rest, **more)
        watch.tokens += sum(item.length for item in items)
        watch.step()
        return found

    loop.take_step = watched
    loop.train(run, lambda: False)
    watch.report(task.folder / out / "adapter", {**asked, **VARIANTS[variant]}, ())


def body_of(base: Path, rows: int, asked: dict[str, Any], method: str = "lora") -> dict[str, Any]:
    """What `tunegate plan` would make of these settings."""
    from backends.local.backend import LocalBackend
    from backends.registry import facts
    from gateway.core.classes import DataClass
    from gateway.core.plan import CandidateKey
    from gateway.core.rows import DataProfile
    from gateway.core.spec import JobSpec

    spec = JobSpec.model_validate(
        {"name": "speed", "model": str(base), "method": method, "data": {"train": "train.jsonl"},
         "hyperparameters": asked}
    )  # fmt: skip
    profile = DataProfile(
        hash="0" * 64, files=(), bytes=0, rows=rows, used=rows, refused={}, split_rows={"train": rows},
        declared=DataClass.PUBLIC, scan=None, tokens={}, converted={},
    )  # fmt: skip
    target = CandidateKey("local", str(base), "local", "this-machine")
    backend = LocalBackend(facts("local"), base.parent / "home")
    return dict(backend.translate(spec, target, profile, None).requests[0].body)


if __name__ == "__main__":
    os.environ.setdefault(
        "OMP_NUM_THREADS", str(json.loads((Path(sys.argv[1]) / "task.json").read_bytes())["threads"])
    )
    main(*sys.argv[1:])
