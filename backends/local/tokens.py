"""Rows as training takes them: rendered and tokenised once, counted, the same for every pass."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from backends.local.files import read_rows, sha256_of
from backends.local.render import IGNORE, Template, Unrenderable, shorten
from backends.local.run import Run
from gateway.core.errors import DataError


@dataclass(frozen=True, slots=True)
class Example:
    """One chat as int32 tensors of its length: tokens, and labels as `render` makes them."""

    ids_T: Tensor
    labels_T: Tensor

    @property
    def length(self) -> int:
        return len(self.ids_T)

    @property
    def chats(self) -> tuple[Example, ...]:
        return (self,)

    @property
    def trained(self) -> int:
        """Tokens that the loss is taken over; the first token of a chat has none before it."""
        return int(np.count_nonzero(self.labels_T.numpy()[1:] != IGNORE))


@dataclass(frozen=True, slots=True)
class Pair:
    """Two answers to one prompt, each as a whole chat; `chosen` is the one people preferred.

    Attributes:
        before: how much likelier the base finds the chosen answer, in nats; None until it is asked.
    """

    chosen: Example
    rejected: Example
    before: float | None = None

    @property
    def length(self) -> int:
        return self.chosen.length + self.rejected.length

    @property
    def chats(self) -> tuple[Example, ...]:
        return (self.chosen, self.rejected)

    @property
    def trained(self) -> int:
        return self.chosen.trained + self.rejected.trained


Item = Example | Pair  # what one row of the dataset becomes


def tokenise(run: Run, split: str, template: Template) -> Sequence[Item]:
    """Every row of a split; rows that cannot be used are counted by reason.

    Raises:
        DataError: the file changed since it was staged, or no row can be used.
    """
    config = run.config
    file, body = config["files"][split], config["body"]
    path = Path(file["path"])
    if sha256_of(path) != file["sha256"]:
        raise DataError("the file changed after it was staged", place=str(path), fix="plan and run again")
    items: list[Item] = []
    refused: Counter[str] = Counter()
    shortened = 0
    for row in read_rows(path):
        try:
            item, cut = _item(row, body, template)
        except Unrenderable as reason:
            refused[reason.reason] += 1
            continue
        shortened += cut
        items.append(item)
    level = "warning" if refused or shortened else "info"
    run.event(
        level, "rows",
        f"{split}: {len(items)} rows used, {sum(refused.values())} refused, {shortened} shortened",
        split=split, used=len(items), refused=dict(refused), shortened=shortened,
    )  # fmt: skip
    if not items:
        reasons = ", ".join(f"{reason} × {count}" for reason, count in refused.items()) or "the file is empty"
        raise DataError(
            f"no row of the {split} split can be used: {reasons}", place=str(path), fix=_fix(refused)
        )
    return items


def _item(row: Mapping[str, Any], body: Mapping[str, Any], template: Template) -> tuple[Item, bool]:
    """What a row becomes, and whether it had to be shortened."""
    if body["task"] == "sft":
        return _example(row, body, template)
    chosen, cut_one = _example(_with_answer(row, "chosen"), body, template, last_only=True)
    rejected, cut_two = _example(_with_answer(row, "rejected"), body, template, last_only=True)
    return Pair(chosen, rejected), cut_one or cut_two


def _with_answer(row: Mapping[str, Any], which: str) -> dict[str, Any]:
    return {"messages": [*row["messages"], *row[which]], "tools": row.get("tools", ())}


def _example(
    row: Mapping[str, Any], body: Mapping[str, Any], template: Template, *, last_only: bool = False
) -> tuple[Example, bool]:
    rendered = template.render(row, last_only=last_only)
    if len(rendered.input_ids) > body["max_length"] and body["too_long"] == "refuse":
        raise Unrenderable("too_long", "longer than max_length")
    cut = shorten(rendered, body["max_length"])
    if not cut.trained:
        raise Unrenderable("nothing_to_train", "no turn of the assistant is trained")
    ids, labels = (torch.tensor(part, dtype=torch.int32) for part in (cut.input_ids, cut.labels))
    return Example(ids, labels), cut is not rendered


def _fix(refused: Counter[str]) -> str:
    """What would make rows usable, when none is."""
    if refused and refused.most_common(1)[0][0] == "too_long":
        return "raise hyperparameters.max_length, or set data.too_long: truncate; then plan and run again"
    return "look at the rows with `tunegate data check`; then plan and run again"
