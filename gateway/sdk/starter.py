"""A spec and settings to start from, written by `tunegate init`."""

from __future__ import annotations

import csv
import gzip
import json
import os
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from gateway.core.classes import DataClass
from gateway.core.errors import SettingsError, SpecError
from gateway.core.load import parse_spec

_PROMPTS = ("prompt", "input", "question", "dialogue", "text", "instruction", "source")
_COMPLETIONS = ("completion", "output", "answer", "summary", "label", "category", "response", "target")

# Enough for a first plan to compare something: our own machine with a toy, and two real bases.
_MODELS = ("tunegate-demo", "gpt-4.1-mini", "llama-3.1-8b-instruct")

_SETTINGS = """\
# Settings of Tunegate: what the people who run jobs here share.
# team = "default"

# [policy]
# sets = ["baseline", "hipaa"]          # shipped rules in force
# files = ["policies/*.cedar"]          # your own rules

# [budgets]
# job_usd = 100                         # cap on one job's high estimate

# What your organisation has signed. Without a line here, an agreement does not exist.
# [[attestations]]
# kind = "baa"
# backend = "bedrock"
# signed = 2026-03-01
# expires = 2027-03-01
# evidence = "https://intranet.example/legal/aws-baa.pdf"
"""


@dataclass(frozen=True, slots=True)
class Starter:
    """What `init` will write. `columns` are those found in a table, empty for chat data."""

    data: str
    model: tuple[str, ...]
    data_class: str
    folder: Path
    columns: tuple[str, ...] = ()
    prompt: str | None = None
    completion: str | None = None

    def with_columns(self, prompt: str, completion: str) -> Starter:
        return replace(self, prompt=prompt, completion=completion)

    def spec_text(self) -> str:
        """The spec as commented YAML.

        Raises:
            SpecError: a name or class given by flag is not one a spec may hold.
        """
        name = "".join(c if c.isalnum() else "-" for c in Path(self.data).name.split(".")[0].lower())
        columns = ""
        if self.prompt and self.completion:
            columns = (
                f"\n  columns: {{prompt: {_quoted(self.prompt)}, completion: {_quoted(self.completion)}}}"
            )
        models = ", ".join(_quoted(model) for model in self.model)
        text = f"""\
version: 1
name: {name.strip("-") or "job"}
model: [{models}]     # any of these will do
method: lora
data:
  train: {_quoted(self.data)}{columns}
  # system: You are …                  # for rows that bring no system prompt
  test: 0.15                           # held out, never trained on
  # group_by: patient_id               # rows of one group never straddle a split
{f"  class: {self.data_class}":<39}# a floor; a scan can raise it, never lower it
evaluate: {{metrics: [exact_match, token_f1, rouge_l]}}
route: {{objective: cheapest, budget_usd: 50}}
# serving: {{input_tokens_per_month: 1_000_000, output_tokens_per_month: 200_000, months: 12}}
"""
        parse_spec(text)
        return text

    def write(self, *, force: bool = False) -> tuple[Path, ...]:
        """Write job.yaml, and tunegate.toml where there is none; existing files are kept.

        Raises:
            SettingsError: job.yaml exists and `force` is not given, or the folder cannot be written.
        """
        spec, settings = self.folder / "job.yaml", self.folder / "tunegate.toml"
        if spec.exists() and not force:
            raise SettingsError("there is one already", place=str(spec), fix="add --force to replace it")
        text = self.spec_text()
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            spec.write_text(text, encoding="utf-8")
            if settings.exists():
                return (spec,)
            settings.write_text(_SETTINGS, encoding="utf-8")
        except OSError as error:
            raise SettingsError(f"cannot be written: {error.strerror}", place=str(self.folder)) from None
        return (spec, settings)


def make_starter(
    *,
    data: str,
    model: str | None,
    prompt: str | None,
    completion: str | None,
    data_class: str | None,
    folder: Path,
) -> Starter:
    """A starter for that data; the columns of a table are read and the likeliest two proposed."""
    try:
        chosen_class = DataClass.parse(data_class or "phi")
    except ValueError as error:
        raise SpecError(str(error), place="--class") from None
    columns = _columns(Path(data))
    named = tuple(part.strip() for part in (model or "").split(",") if part.strip())
    return Starter(
        data=_seen_from(folder, data),
        model=named or _MODELS,
        data_class=str(chosen_class),
        folder=folder,
        columns=columns,
        prompt=prompt or _likeliest(columns, _PROMPTS),
        completion=completion or _likeliest(columns, _COMPLETIONS),
    )


def _seen_from(folder: Path, data: str) -> str:
    """The file as a spec in that folder must call it: relative paths in a spec are meant from there."""
    return data if Path(data).is_absolute() else Path(os.path.relpath(data, folder)).as_posix()


def _columns(path: Path) -> tuple[str, ...]:
    """The column names of a table; empty for chat data and for what cannot be read here."""
    if not path.is_file():
        return ()
    try:
        if ".csv" in path.suffixes or ".tsv" in path.suffixes:
            return tuple(
                next(csv.reader(_lines(path), delimiter="\t" if ".tsv" in path.suffixes else ","), ())
            )
        if ".jsonl" in path.suffixes:
            first = json.loads(next(_lines(path), "{}"))
            chat = {"messages", "conversations", "instruction"} & set(first)
            return () if chat else tuple(first)
    except (OSError, UnicodeDecodeError, ValueError, csv.Error):
        return ()
    return ()


def _lines(path: Path) -> Iterator[str]:
    opener = gzip.open if path.suffix == ".gz" else open
    with opener(path, "rt", encoding="utf-8-sig", newline="") as file:
        yield from file  # pyright: ignore[reportReturnType] - text mode gives str


def _likeliest(columns: tuple[str, ...], words: tuple[str, ...]) -> str | None:
    return next((column for word in words for column in columns if word in column.lower()), None)


def _quoted(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)
