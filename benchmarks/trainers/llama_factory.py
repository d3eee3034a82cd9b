"""LLaMA-Factory's own pipeline. Only its chat template is set aside: a prompt is a row's number, and its
encoder is handed that row's tokens and labels, so that it trains on what the others train on."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from measure import Task, Watch, callback, quiet

_NEAT: dict[str, Any] = {"neat_packing": True, "per_device_train_batch_size": 1}
VARIANTS: dict[str, dict[str, Any]] = {
    "default": {},
    "plain fp32": {"disable_gradient_checkpointing": True},
    "grouped fp32": {"disable_gradient_checkpointing": True, "group_by_length": True},
    "neat fp32": {"disable_gradient_checkpointing": True, **_NEAT},
    "neat bf16": {"disable_gradient_checkpointing": True, "bf16": True, **_NEAT},
}


def main(folder: str, variant: str, out: str) -> None:
    from llamafactory.data.processor.supervised import SupervisedDatasetProcessor
    from llamafactory.train.tuner import run_exp
    from transformers import TrainingArguments

    task, watch = Task(folder), Watch()

    def encode(self: Any, prompt: list[dict[str, str]], **rest: Any) -> tuple[list[int], list[int]]:
        row = task.train[int(prompt[-1]["content"])]
        return list(row["ids"]), list(row["labels"])

    SupervisedDatasetProcessor._encode_data_example = encode
    data = Path(out) / "data"
    data.mkdir(parents=True, exist_ok=True)
    numbers = [{"instruction": str(index), "input": "", "output": "."} for index in range(len(task.train))]
    (data / "rows.json").write_text(json.dumps(numbers))
    (data / "dataset_info.json").write_text(json.dumps({"rows": {"file_name": "rows.json"}}))

    lora = task.settings["lora"]
    changes = dict(VARIANTS[variant])
    if "group_by_length" in changes and not hasattr(TrainingArguments, "group_by_length"):
        del changes["group_by_length"]
        changes["train_sampling_strategy"] = "group_by_length"
    if changes.get("neat_packing"):
        changes["cutoff_len"] = task.settings["tokens_a_step"]
    settings = {
        **task.schedule(),
        **quiet(),
        "lora_rank": lora["r"], "lora_alpha": lora["lora_alpha"], "lora_dropout": lora["lora_dropout"],
        **changes,
    }  # fmt: skip
    run_exp(
        {
            "model_name_or_path": str(task.base), "stage": "sft", "do_train": True, "finetuning_type": "lora",
            "dataset": "rows", "dataset_dir": str(data), "template": "empty", "output_dir": out,
            "overwrite_cache": True, **settings,
        },
        callbacks=[callback(watch)],
    )  # fmt: skip
    watch.report(task.folder / out, settings, ("accelerate", "llamafactory"))


if __name__ == "__main__":
    main(*sys.argv[1:])
