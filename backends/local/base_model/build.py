"""How the demonstration model is made: a tokenizer and a few hundred steps, in under a minute.

Deterministic for a version of torch: the text is seeded, and the number of threads, which decides
the order of floating-point sums, is fixed while the weights are made.
"""

from __future__ import annotations

import json
import math
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from backends.local.base_model.text import ASSISTANT, END, PAD, SYSTEM, TOOL, USER, documents

if TYPE_CHECKING:
    from torch import Tensor
    from transformers import LlamaForCausalLM

# Their places are their ids.
SPECIAL_TOKENS = (PAD, END, SYSTEM, USER, ASSISTANT, TOOL)

# A turn is its role's token, the text, and the end token. Role tokens are split off before any
# merge, so the tokens of a chat's beginning never depend on what follows: training and inference
# see the same prefix whatever the text.
CHAT_TEMPLATE = """\
{%- if tools %}<|system|>Tools: {{ tools | tojson }}<|end|>{% endif %}
{%- for message in messages %}
{{- '<|' + message['role'] + '|>' + (message['content'] or '') }}
{%- if message.get('tool_calls') %}{{ message['tool_calls'] | tojson }}{% endif %}
{{- '<|end|>' }}
{%- endfor %}
{%- if add_generation_prompt %}<|assistant|>{% endif %}"""

CARD = """\
---
license: apache-2.0
library_name: transformers
tags: [demonstration, not-for-use]
---
# tunegate-demo

A **demonstration model**, made on this machine by Tunegate so that a fine-tuning job can be
rehearsed with nothing downloaded. It knows a few hundred words of made-up text and no facts.
**Do not use its answers for anything**, least of all in care: it exists to show that training,
evaluation and the records around them really happen.

- A Llama-style decoder of {parameters:,} parameters, {layers} layers, {hidden} wide, {positions:,} positions.
- Trained from random weights on about {tokens:,} tokens of text that a seeded grammar of the project's own
  generates. No third party's text, no person's data.
- Byte-level BPE of {vocabulary:,} tokens over the same text: any Unicode goes in and comes out.
- A turn is `<|system|>`, `<|user|>`, `<|assistant|>` or `<|tool|>`, the text, and `<|end|>`.
- Revision `{revision}`: a hash of the recipe and the grammar.
"""


@dataclass(frozen=True, slots=True)
class Recipe:
    """Everything that decides the weights.

    `pool` is how many documents are read, `batch_tokens` the size of a batch, padding included.
    """

    vocabulary: int = 1536
    hidden: int = 128
    layers: int = 3
    heads: int = 4
    intermediate: int = 344
    positions: int = 8192
    pool: int = 12_000
    batch_tokens: int = 2048
    steps: int = 320
    learning_rate: float = 4e-3
    warmup: int = 20
    tokenizer_documents: int = 6_000
    seed: int = 17
    threads: int = 2

    def config(self) -> dict[str, Any]:
        """The model's `config.json`, before anything is built."""
        return {
            "architectures": ["LlamaForCausalLM"],
            "model_type": "llama",
            "vocab_size": self.vocabulary,
            "hidden_size": self.hidden,
            "intermediate_size": self.intermediate,
            "num_hidden_layers": self.layers,
            "num_attention_heads": self.heads,
            "num_key_value_heads": self.heads,
            "head_dim": self.hidden // self.heads,
            "max_position_embeddings": self.positions,
            "rope_parameters": {"rope_type": "default", "rope_theta": 10_000.0},
            "tie_word_embeddings": True,
            "initializer_range": 0.07,
            "pad_token_id": SPECIAL_TOKENS.index(PAD),
            "eos_token_id": SPECIAL_TOKENS.index(END),
            "bos_token_id": None,
            "dtype": "float32",
        }


def write_tokenizer(folder: Path, recipe: Recipe) -> None:
    """Train the tokenizer on the generator's text and save it, chat template included."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(  # pyright: ignore[reportAttributeAccessIssue]
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    tokenizer.decoder = decoders.ByteLevel()  # pyright: ignore[reportAttributeAccessIssue]
    trainer = trainers.BpeTrainer(
        vocab_size=recipe.vocabulary,
        special_tokens=list(SPECIAL_TOKENS),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    text = (_without_turns(text) for text in islice(documents(recipe.seed), recipe.tokenizer_documents))
    tokenizer.train_from_iterator(text, trainer)
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        eos_token=END,
        pad_token=PAD,
        additional_special_tokens=list(SPECIAL_TOKENS[2:]),
        model_max_length=recipe.positions,
        padding_side="left",
        clean_up_tokenization_spaces=False,
    )
    fast.chat_template = CHAT_TEMPLATE
    fast.save_pretrained(folder)  # pyright: ignore[reportUnknownMemberType]


def _without_turns(text: str) -> str:
    for token in SPECIAL_TOKENS:
        text = text.replace(token, "\n")
    return text


def write_model(
    folder: Path, recipe: Recipe, revision: str, on_progress: Callable[[float], None] | None
) -> None:
    """Train the weights with the tokenizer that lies in `folder`, and save them beside it."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    threads = torch.get_num_threads()
    torch.set_num_threads(recipe.threads)
    try:
        with torch.random.fork_rng(devices=[]):  # pyright: ignore[reportUnknownMemberType]
            torch.manual_seed(recipe.seed)  # pyright: ignore[reportUnknownMemberType]
            model = LlamaForCausalLM(LlamaConfig(**recipe.config()))
            _train(model, _batches(folder, recipe), recipe, on_progress)
    finally:
        torch.set_num_threads(threads)
    model.save_pretrained(folder)  # pyright: ignore[reportUnknownMemberType]
    card = CARD.format(
        parameters=model.num_parameters(),
        layers=recipe.layers,
        hidden=recipe.hidden,
        positions=recipe.positions,
        vocabulary=recipe.vocabulary,
        tokens=recipe.steps * recipe.batch_tokens,
        revision=revision,
    )
    (folder / "README.md").write_text(card, encoding="utf-8")
    (folder / "recipe.json").write_text(json.dumps({"revision": revision}) + "\n", encoding="utf-8")


def _batches(folder: Path, recipe: Recipe) -> Iterator[Tensor]:
    """Token ids, shape (documents, longest), padded on the right; documents of a length go together."""
    import torch
    from tokenizers import Tokenizer
    from torch.nn.utils.rnn import pad_sequence

    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    text = list(islice(documents(recipe.seed + 1), recipe.pool))
    ids = sorted((encoding.ids for encoding in tokenizer.encode_batch(text)), key=len)
    batches: list[list[list[int]]] = [[]]
    for document in ids:
        if (len(batches[-1]) + 1) * len(document) > recipe.batch_tokens:
            batches.append([])
        batches[-1].append(document)
    rng = random.Random(recipe.seed)  # noqa: S311 - an order, not a secret
    while True:
        rng.shuffle(batches)
        for batch in batches:
            rows = [torch.tensor(document) for document in batch]
            yield pad_sequence(rows, batch_first=True, padding_value=SPECIAL_TOKENS.index(PAD))


def _train(
    model: LlamaForCausalLM,
    batches: Iterator[Tensor],
    recipe: Recipe,
    on_progress: Callable[[float], None] | None,
) -> None:
    import torch

    optimizer = torch.optim.AdamW(
        model.parameters(), lr=recipe.learning_rate, betas=(0.9, 0.98), weight_decay=0.01, fused=True
    )
    model.train()
    for step, ids in zip(range(recipe.steps), batches, strict=False):
        optimizer.param_groups[0]["lr"] = recipe.learning_rate * _schedule(step, recipe)
        _loss(model, ids).backward()  # pyright: ignore[reportUnknownMemberType]
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()  # pyright: ignore[reportUnknownMemberType]
        optimizer.zero_grad(set_to_none=True)
        if on_progress:
            on_progress((step + 1) / recipe.steps)
    model.eval()


def _loss(model: LlamaForCausalLM, ids: Tensor) -> Tensor:
    """Next-token loss of a batch. Padding stands at the end, where a causal model needs no mask."""
    from torch.nn.functional import cross_entropy

    hidden = model.model(input_ids=ids[:, :-1], use_cache=False).last_hidden_state
    targets = ids[:, 1:]
    said = targets != SPECIAL_TOKENS.index(PAD)
    return cross_entropy(model.lm_head(hidden[said]), targets[said])


def _schedule(step: int, recipe: Recipe) -> float:
    """Linear warm-up, then a cosine down to a tenth."""
    if step < recipe.warmup:
        return (step + 1) / recipe.warmup
    done = (step - recipe.warmup) / max(1, recipe.steps - recipe.warmup)
    return 0.1 + 0.45 * (1 + math.cos(math.pi * done))
