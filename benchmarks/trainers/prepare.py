"""The task that all trainers are given: a Llama made from its configuration, and MTS-Dialog's rows."""

from __future__ import annotations

import csv
import json
import math
from pathlib import Path
from typing import Any

SPECIALS = ["<|pad|>", "<|end|>", "<|system|>", "<|user|>", "<|assistant|>"]
TEMPLATE = (
    "{% for m in messages %}<|{{ m['role'] }}|>{{ m['content'] }}<|end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}"
)
VOCABULARY = 8192
LONGEST = 1024  # TRL's default; longer rows are left out, so that no tool cuts any


def task(folder: Path, data: Path, *, rows: int, held_out: int, settings: dict[str, Any]) -> dict[str, Any]:
    """Write base, tokenizer, rows and settings into a folder; returns the settings, completed."""
    train, valid = (_chats(data / name) for name in ("train.csv", "valid.csv"))
    base = folder / "base"
    make_tokenizer(base, [turn["content"] for chat in train for turn in chat])
    parameters = _model(base, settings["seed"])
    template = _template(base)
    kept = [(chat, row) for chat in train if (row := _row(template, chat))][:rows]
    with (folder / "train.jsonl").open("w", encoding="utf-8") as file:
        file.writelines(json.dumps({"messages": chat}) + "\n" for chat, _ in kept)
    validation = [row for chat in valid if (row := _row(template, chat))][:held_out]
    content = {"train": [row for _, row in kept], "validation": validation}
    (folder / "rows.json").write_text(json.dumps(content))
    lengths = sorted(len(row["ids"]) for _, row in kept)
    a_step = settings["rows_a_step"]
    steps = settings["epochs"] * -(-len(kept) // a_step)
    found = {
        **settings,
        "warmup_steps": max(1, round(0.05 * steps)),
        # a multiple of 8, to which LLaMA-Factory pads what it packs
        "tokens_a_step": 8 * math.ceil(max(lengths[-1], a_step * sum(lengths) / len(lengths)) / 8),
        "parameters": parameters,
        "rows": len(kept),
        "tokens": sum(lengths),
        "trained_tokens": sum(label != -100 for _, row in kept for label in row["labels"][1:]),
        "lengths": {"median": lengths[len(lengths) // 2], "longest": lengths[-1]},
    }
    (folder / "task.json").write_text(json.dumps(found))
    return found


def _chats(path: Path) -> list[list[dict[str, str]]]:
    with path.open(encoding="utf-8", newline="") as file:
        return [
            [
                {"role": "user", "content": row["dialogue"]},
                {"role": "assistant", "content": row["section_text"]},
            ]
            for row in csv.DictReader(file)
        ]


def _row(template: Any, chat: list[dict[str, str]]) -> dict[str, list[int]] | None:
    rendered = template.render({"messages": chat})
    if len(rendered.input_ids) > LONGEST:
        return None
    return {"ids": rendered.input_ids, "labels": rendered.labels}


def _template(base: Path) -> Any:
    from backends.local.render import Template

    return Template.load(base, "base")


def make_tokenizer(folder: Path, texts: list[str]) -> None:
    """A byte-level BPE of these texts, with a chat template."""
    from tokenizers import Tokenizer
    from tokenizers.decoders import ByteLevel as Decoder
    from tokenizers.models import BPE
    from tokenizers.pre_tokenizers import ByteLevel
    from tokenizers.trainers import BpeTrainer
    from transformers import PreTrainedTokenizerFast

    tokenizer: Any = Tokenizer(BPE())
    tokenizer.pre_tokenizer = ByteLevel(add_prefix_space=False)
    tokenizer.decoder = Decoder()
    alphabet = ByteLevel.alphabet()
    trainer = BpeTrainer(
        vocab_size=VOCABULARY, special_tokens=SPECIALS, initial_alphabet=alphabet, show_progress=False
    )
    tokenizer.train_from_iterator(texts, trainer)
    fast: Any = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        eos_token="<|end|>",
        pad_token="<|pad|>",
        extra_special_tokens=SPECIALS[2:],
    )
    fast.chat_template = TEMPLATE
    fast.save_pretrained(str(folder))


def _model(folder: Path, seed: int) -> int:
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(seed)
    config = LlamaConfig(
        vocab_size=VOCABULARY, hidden_size=384, intermediate_size=1024, num_hidden_layers=6,
        num_attention_heads=6, num_key_value_heads=6, max_position_embeddings=2048, eos_token_id=1,
        pad_token_id=0, bos_token_id=None, tie_word_embeddings=False,
    )  # fmt: skip
    model = LlamaForCausalLM(config)
    model.save_pretrained(str(folder))
    return sum(each.numel() for each in model.parameters())
