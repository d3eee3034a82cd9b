"""From a split's file to tokens: every row rendered and tokenised once a run, and counted."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from backends.local import token_file
from backends.local.files import read_rows, sha256_of
from backends.local.render import Template, Unrenderable, shorten
from backends.local.run import Run
from backends.local.tokens import Example, Item, Pair
from gateway.core.errors import DataError
from gateway.core.spec import canonical_sha256

_MADE_BY = 1  # to be counted up when the same row becomes other tokens than before


def tokenise(run: Run, split: str, template: Template, tokenizer: str) -> Sequence[Item]:
    """Every row of a split; rows that cannot be used are counted by reason.

    Args:
        tokenizer: identity of the tokenizer and its template. With the data's and the settings' it
            tells whether tokens that the run's folder holds already are these.

    Raises:
        DataError: the file changed since it was staged, or no row can be used.
    """
    config = run.config
    file, body = config["files"][split], config["body"]
    path = Path(file["path"])
    if sha256_of(path) != file["sha256"]:
        raise DataError("the file changed after it was staged", place=str(path), fix="plan and run again")
    settings = [body["task"], body["max_length"], body["too_long"]]
    of = canonical_sha256({"is": [_MADE_BY, file["sha256"], tokenizer, *settings]})
    folder = run.folder / "tokens"
    kept = token_file.read(folder, split, of)
    if kept is None:
        counts = _Counts()
        files, chats = token_file.write(folder, split, _usable(path, body, template, counts))
        _tell(run, split, counts.to_json())
        if not files:
            raise _nothing_usable(path, split, counts.refused)
        token_file.note(folder, split, of, files, chats, counts.to_json())
        kept = token_file.read(folder, split, of)
        if kept is None:
            raise OSError("the tokens just written cannot be read")
    else:
        _tell(run, split, kept[1])
    return kept[0]


class _Counts:
    """What became of the rows."""

    def __init__(self) -> None:
        self.used = self.shortened = 0
        self.refused: Counter[str] = Counter()

    def to_json(self) -> dict[str, Any]:
        return {"used": self.used, "refused": dict(self.refused), "shortened": self.shortened}


def _usable(path: Path, body: Mapping[str, Any], template: Template, counts: _Counts) -> Iterator[Item]:
    for row in read_rows(path):
        try:
            item, cut = _item(row, body, template)
        except Unrenderable as reason:
            counts.refused[reason.reason] += 1
            continue
        counts.shortened += cut
        counts.used += 1
        yield item


def _tell(run: Run, split: str, counted: Mapping[str, Any]) -> None:
    refused, shortened = sum(counted["refused"].values()), counted["shortened"]
    level = "warning" if refused or shortened else "info"
    text = f"{split}: {counted['used']} rows used, {refused} refused, {shortened} shortened"
    run.event(level, "rows", text, split=split, **counted)


def _nothing_usable(path: Path, split: str, refused: Counter[str]) -> DataError:
    reasons = ", ".join(f"{reason} × {count}" for reason, count in refused.items()) or "the file is empty"
    return DataError(
        f"no row of the {split} split can be used: {reasons}", place=str(path), fix=_fix(refused)
    )


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
