"""A token-classification model made by hand: one word is a person, one a place, wherever they stand."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

WORDS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "zorblax", "quuxville", "the", "saw", "went", "old")
LETTERS = "abcdefghijklmnopqrstuvwxyz0123456789.,:;-'[]{}@#"
LABELS = ("O", "B-PER", "B-LOC")
_HIDDEN = 8
_KIND = {"zorblax": 1, "quuxville": 2, "##blax": 1}


def make_model(
    folder: Path,
    *,
    labels: Sequence[str] = LABELS,
    positions: int = 16,
    heads: bool = True,
    sure: float = 10.0,
) -> Path:
    """Write the model: `zorblax` has the second label, `quuxville` the third, everything else the first.

    Args:
        positions: how many tokens it reads at once.
        heads: with the weights of its classifier.
        sure: how far its answers lie apart.
    """
    import torch
    from transformers import BertConfig, BertForTokenClassification

    vocabulary = _tokenizer(folder)
    config = BertConfig(
        vocab_size=len(vocabulary),
        hidden_size=_HIDDEN,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=_HIDDEN,
        max_position_embeddings=positions,
        id2label=dict(enumerate(labels)),
        label2id={label: at for at, label in enumerate(labels)},
    )
    model: Any = cast("Any", BertForTokenClassification)(config)
    with torch.no_grad():
        for weights in model.parameters():
            weights.zero_()
        for name, weights in model.named_parameters():
            if name.endswith("LayerNorm.weight"):
                weights.fill_(1.0)
        for word, at in vocabulary.items():
            model.bert.embeddings.word_embeddings.weight[at, _KIND.get(word, 0)] = 10.0
        for at in range(len(labels)):
            model.classifier.weight[at, at] = sure
    state = {name: tensor for name, tensor in model.state_dict().items() if heads or "classifier" not in name}
    model.save_pretrained(folder, state_dict=state)
    return folder


def _tokenizer(folder: Path) -> dict[str, int]:
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    words = [*WORDS, "zor", "##blax", *LETTERS, *(f"##{letter}" for letter in LETTERS)]
    vocabulary = {word: at for at, word in enumerate(words)}
    made: Any = Tokenizer(cast("Any", models.WordPiece)(vocabulary, unk_token="[UNK]"))
    made.normalizer = cast("Any", normalizers).BertNormalizer(lowercase=True)
    made.pre_tokenizer = cast("Any", pre_tokenizers).BertPreTokenizer()
    made.post_processor = cast("Any", processors).TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    made.enable_truncation(8)  # as files often have it: whoever believes it sees the beginning alone
    special = {"unk_token": "[UNK]", "pad_token": "[PAD]", "cls_token": "[CLS]", "sep_token": "[SEP]"}
    cast("Any", PreTrainedTokenizerFast)(tokenizer_object=made, **special).save_pretrained(folder)
    return vocabulary
