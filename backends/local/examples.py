"""Rows as training takes them: tokenised once, batched by length, the same for the same seed."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from backends.local.files import read_rows, sha256_of
from backends.local.render import IGNORE, Template, Unrenderable, shorten
from backends.local.run import Run
from gateway.core.errors import DataError

BUCKET_STEPS = 16  # rows of this many steps are sorted by length together


@dataclass(frozen=True, slots=True)
class Example:
    """One row as int32 tensors of its length: tokens, and labels as `render` makes them."""

    ids_T: Tensor
    labels_T: Tensor

    @property
    def length(self) -> int:
        return len(self.ids_T)


def tokenise(run: Run, split: str, template: Template) -> list[Example]:
    """Every row of a split as tensors; rows that cannot be used are counted by reason.

    Raises:
        DataError: the file changed since it was staged, or no row can be used.
    """
    config = run.config
    file, body = config["files"][split], config["body"]
    path = Path(file["path"])
    if sha256_of(path) != file["sha256"]:
        raise DataError("the file changed after it was staged", place=str(path), fix="plan and run again")
    examples: list[Example] = []
    refused: Counter[str] = Counter()
    shortened = 0
    for row in read_rows(path):
        try:
            rendered = template.render(row)
            if len(rendered.input_ids) > body["max_length"] and body["too_long"] == "refuse":
                raise Unrenderable("too_long", "longer than max_length")
            cut = shorten(rendered, body["max_length"])
            if not cut.trained:
                raise Unrenderable("nothing_to_train", "no turn of the assistant is trained")
        except Unrenderable as reason:
            refused[reason.reason] += 1
            continue
        shortened += cut is not rendered
        ids, labels = (torch.tensor(part, dtype=torch.int32) for part in (cut.input_ids, cut.labels))
        examples.append(Example(ids, labels))
    level = "warning" if refused or shortened else "info"
    run.event(
        level, "rows",
        f"{split}: {len(examples)} rows used, {sum(refused.values())} refused, {shortened} shortened",
        split=split, used=len(examples), refused=dict(refused), shortened=shortened,
    )  # fmt: skip
    if not examples:
        reasons = ", ".join(f"{reason} × {count}" for reason, count in refused.items()) or "the file is empty"
        raise DataError(
            f"no row of the {split} split can be used: {reasons}", place=str(path), fix=_fix(refused)
        )
    return examples


def _fix(refused: Counter[str]) -> str:
    """What would make rows usable, when none is."""
    if refused and refused.most_common(1)[0][0] == "too_long":
        return "raise hyperparameters.max_length, or set data.too_long: truncate; then plan and run again"
    return "look at the rows with `tunegate data check`; then plan and run again"


def trained_tokens(row: Example) -> int:
    return int((row.labels_T[1:] != IGNORE).sum())


def batches(rows: Sequence[Example], epochs: int, size: int, seed: int) -> Iterator[list[Example]]:
    """Rows of one optimizer step each, the same for the same seed: shuffled, then rows of similar
    length brought together so that little is padding, then the steps shuffled."""
    for epoch in range(epochs):
        order = random.Random(f"{seed}:{epoch}")  # noqa: S311  not for secrets
        shuffled = order.sample(range(len(rows)), len(rows))
        window = size * BUCKET_STEPS
        steps: list[list[Example]] = []
        by_length: list[int] = []
        for begin in range(0, len(shuffled), window):
            by_length += sorted(shuffled[begin : begin + window], key=lambda index: rows[index].length)
        for begin in range(0, len(by_length), size):
            steps.append([rows[index] for index in by_length[begin : begin + size]])
        order.shuffle(steps)
        yield from steps


def micro_batches(batch: Sequence[Example], tokens: int) -> Iterator[list[Example]]:
    """Parts of a step that fit one forward pass: rows × longest row ≤ `tokens`."""
    part: list[Example] = []
    for row in sorted(batch, key=lambda row: row.length):
        if part and row.length * (len(part) + 1) > tokens:
            yield part
            part = []
        part.append(row)
    if part:
        yield part


def padded(rows: Sequence[Example], device: torch.device) -> tuple[Tensor, Tensor]:
    """Tokens and labels, int64, rows × longest row. Padding comes last, where a causal model cannot
    see it, so no attention mask is needed and the fast kernels stay open."""
    ids = [row.ids_T for row in rows]
    labels = [row.labels_T for row in rows]
    pad = torch.nn.utils.rnn.pad_sequence
    return (
        pad(ids, batch_first=True, padding_value=0).long().to(device),
        pad(labels, batch_first=True, padding_value=IGNORE).long().to(device),
    )
