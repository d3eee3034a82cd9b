"""TRL's `SFTTrainer`, given the same tokens and the same labels."""

from __future__ import annotations

import sys
from typing import Any

from measure import Task, Watch, callback, quiet

# Rows packed into one sequence a step: as many tokens as eight rows have on average.
_PACKED: dict[str, Any] = {"packing": True, "per_device_train_batch_size": 1}
_GROUPED: dict[str, Any] = {"train_sampling_strategy": "group_by_length"}
VARIANTS: dict[str, dict[str, Any]] = {
    "default": {},
    "fp32": {"bf16": False},
    "plain fp32": {"bf16": False, "gradient_checkpointing": False},
    "plain bf16": {"gradient_checkpointing": False},
    "grouped fp32": {"bf16": False, "gradient_checkpointing": False, **_GROUPED},
    "grouped bf16": {"gradient_checkpointing": False, **_GROUPED},
    "packed fp32": {"bf16": False, "gradient_checkpointing": False, **_PACKED},
    "packed bf16": {"gradient_checkpointing": False, **_PACKED},
    # For `train_gpu.py`: one row a step, and a base that fits.
    "gpu": {"per_device_train_batch_size": 1, "max_length": 2048, "model_init_kwargs": {"dtype": "bfloat16"}},
}


def main(folder: str, variant: str, out: str) -> None:
    from datasets import Dataset
    from transformers import AutoTokenizer, TrainingArguments
    from trl import SFTConfig, SFTTrainer

    task, watch = Task(folder), Watch()
    changes = dict(VARIANTS[variant])
    if "train_sampling_strategy" in changes and not hasattr(TrainingArguments, "train_sampling_strategy"):
        del changes["train_sampling_strategy"]
        changes["group_by_length"] = True
    if changes.get("packing"):
        changes["max_length"] = task.settings["tokens_a_step"]
    settings = {**task.schedule(), **quiet(), **changes}
    rows = [{"input_ids": row["ids"], "labels": row["labels"]} for row in task.train]
    trainer = SFTTrainer(
        model=str(task.base),
        args=SFTConfig(output_dir=out, **settings),
        train_dataset=Dataset.from_list(rows),
        processing_class=AutoTokenizer.from_pretrained(str(task.base)),
        peft_config=task.lora(),
        callbacks=[callback(watch)],
    )
    trainer.train()
    trainer.model.save_pretrained(out)
    watch.report(task.folder / out, settings, ("accelerate", "trl"))


if __name__ == "__main__":
    main(*sys.argv[1:])
