"""`transformers.Trainer` around a PEFT model, as its documentation has it."""

from __future__ import annotations

import sys
from typing import Any

from measure import Task, Watch, callback, quiet

VARIANTS: dict[str, dict[str, Any]] = {
    "default": {},
    "grouped fp32": {"train_sampling_strategy": "group_by_length"},
    "grouped bf16": {"train_sampling_strategy": "group_by_length", "bf16": True},
}


class Rows:
    def __init__(self, rows: list[dict[str, list[int]]]) -> None:
        self._rows = [{"input_ids": row["ids"], "labels": row["labels"]} for row in rows]

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, index: int) -> dict[str, list[int]]:
        return self._rows[index]


def main(folder: str, variant: str, out: str) -> None:
    import torch
    from peft import get_peft_model
    from transformers import (
        AutoModelForCausalLM,
        AutoTokenizer,
        DataCollatorForSeq2Seq,
        Trainer,
        TrainingArguments,
    )

    task, watch = Task(folder), Watch()
    torch.manual_seed(task.settings["seed"])
    model = get_peft_model(AutoModelForCausalLM.from_pretrained(str(task.base)), task.lora())
    settings = {**task.schedule(), **quiet(), **VARIANTS[variant]}
    trainer = Trainer(
        model=model,
        args=TrainingArguments(output_dir=out, **settings),
        train_dataset=Rows(task.train),
        data_collator=DataCollatorForSeq2Seq(AutoTokenizer.from_pretrained(str(task.base))),
        callbacks=[callback(watch)],
    )
    trainer.train()
    model.save_pretrained(out)
    watch.report(task.folder / out, settings, ("accelerate",))


if __name__ == "__main__":
    main(*sys.argv[1:])
