"""Can it: the task, the method, the rows, and every field the user set."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cache

from backends.base import Backend
from backends.ledger import every_field
from gateway.core.facts import ModelFacts
from gateway.core.plan import Reason, Translation, Verdict
from gateway.core.rows import DataProfile, FileStats, Split, TokenStats
from gateway.core.spec import Data, JobSpec


def model_reasons(
    backend: Backend, model: ModelFacts, spec: JobSpec, profile: DataProfile, stats: TokenStats | None
) -> Iterator[Reason]:
    """What this model cannot do for this spec and this data, whatever the region and offer."""
    if spec.task not in model.tasks:
        offers = _either(model.tasks) or "no task"
        yield _cannot("task", f"{model.name} is tuned there by {offers}, not by {spec.task}")
    if spec.method not in ("auto", *model.methods):
        offers = _either(model.methods) or "no method"
        yield _cannot(
            "method",
            f"{model.name} is tuned there with {offers}, not with {spec.method}",
            fix="write `method: auto` to take what there is",
        )
    if profile.has_tools and not model.tools:
        yield _cannot("tools", f"the rows carry tools, which tuning {model.name} there does not take")
    yield from _row_counts(model, profile, _converted(backend, model, spec, profile))
    yield from _row_lengths(model, spec, stats)


def cut_rows(
    model: ModelFacts, spec: JobSpec, stats: TokenStats | None, translation: Translation
) -> Iterator[Reason]:
    """A note that long rows are cut, where the user allows it and the service does it."""
    refused = "data.too_long" in (outcome.path for outcome in translation.refused)
    if spec.data.too_long == "truncate" and not refused and (text := _long_rows(model, stats)):
        yield Reason(Verdict.ALLOWED, "truncated", f"{text}; they are cut", source=model.source)


def left_out_rows(
    spec: JobSpec, profile: DataProfile, stats: TokenStats | None, limit: int | None
) -> Iterator[Reason]:
    """What becomes of rows longer than the `max_length` that a run here will use: left out, or cut."""
    if stats is None or limit is None or stats.longest <= limit:
        return
    over = stats.over.get(limit)
    count = f"at least one of {profile.used:,} rows" if over is None else f"{over:,} of {profile.used:,} rows"
    longer = f"{count} {'is' if over in (None, 1) else 'are'} longer than {limit:,} tokens"
    fix = "raise hyperparameters.max_length as far as the model reaches, or write `too_long: truncate`"
    if spec.data.too_long == "truncate":
        yield Reason(Verdict.ALLOWED, "rows_too_long", f"{longer} and will be shortened")
    elif over == profile.used:
        yield _cannot("rows_too_long", f"{longer}, so none is left to train on", fix=fix)
    else:
        yield Reason(Verdict.ALLOWED, "rows_too_long", f"{longer} and will be left out", fix=fix)


def field_reasons(spec: JobSpec, translation: Translation, already: frozenset[str]) -> Iterator[Reason]:
    """Fields the user set that cannot be honoured. What is at its default was not asked for."""
    defaults = _defaults()
    for outcome in translation.refused:
        if outcome.path in already or outcome.before == defaults.get(outcome.path, _NOTHING):
            continue
        yield _cannot("field", f"{outcome.path}: {outcome.why or 'not possible there'}")


def _row_counts(model: ModelFacts, profile: DataProfile, files: Mapping[str, FileStats]) -> Iterator[Reason]:
    train = files.get("train")
    rows, what = _rows_of("train", files, profile), "to train on"
    if model.limits_include_validation:
        rows, what = rows + _rows_of("validation", files, profile), "to train and validate on"
    if train and train.rows_out < train.rows_in:
        why = ", ".join(f"{count:,} {code}" for code, count in train.refused.items())
        text = (
            f"{train.rows_in - train.rows_out:,} of {train.rows_in:,} training rows cannot go there ({why})"
        )
        yield Reason(Verdict.ALLOWED, "rows_refused", text, fix="see `tunegate data check`")
    if rows < model.min_rows:
        text = f"{rows:,} rows {what}, and {model.name} needs at least {model.min_rows:,} there"
        yield _cannot("too_few_rows", text, source=model)
    if model.max_rows is not None and rows > model.max_rows:
        text = f"{rows:,} rows {what}, and {model.name} takes at most {model.max_rows:,} there"
        yield _cannot("too_many_rows", text, source=model)


def _rows_of(split: Split, files: Mapping[str, FileStats], profile: DataProfile) -> int:
    """Rows of the file that would be sent; before conversion, those of the split."""
    return files[split].rows_out if split in files else profile.split_rows.get(split, 0)


def _row_lengths(model: ModelFacts, spec: JobSpec, stats: TokenStats | None) -> Iterator[Reason]:
    if spec.data.too_long == "refuse" and (text := _long_rows(model, stats)):
        yield _cannot("too_long", text, fix="write `too_long: truncate`, or shorten the rows", source=model)


def _long_rows(model: ModelFacts, stats: TokenStats | None) -> str | None:
    """How many rows are longer than the model takes there; None when none is, or nobody counted."""
    limit = model.max_tokens_per_row
    if stats is None or limit is None or stats.longest <= limit:
        return None
    over = stats.over.get(limit)
    many = f"{over:,} rows are" if over else "at least one row is"
    return f"{many} longer than the {limit:,} tokens that {model.name} takes there"


def _converted(
    backend: Backend, model: ModelFacts, spec: JobSpec, profile: DataProfile
) -> dict[str, FileStats]:
    if spec.task not in model.tasks:
        return {}
    files = profile.converted.get(backend.format(model, spec.task), ())
    return {stats.split: stats for stats in files}


def _cannot(code: str, text: str, *, fix: str | None = None, source: ModelFacts | None = None) -> Reason:
    return Reason(Verdict.UNSUPPORTED, code, text, fix=fix, source=source.source if source else None)


def _either(words: tuple[str, ...]) -> str:
    return " or ".join(words)


_NOTHING = object()


@cache
def _defaults() -> Mapping[str, object]:
    """Every field's value where the user says nothing about it."""
    return dict(every_field(JobSpec(name="default", model=("any",), data=Data(train=("any",)))))
