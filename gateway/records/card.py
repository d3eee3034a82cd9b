"""The model card left beside an adapter, in the Hugging Face format: YAML front matter, then Markdown."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from io import StringIO
from typing import Any

from ruamel.yaml import YAML


def model_card(
    job: Mapping[str, Any],
    plan: Mapping[str, Any],
    evaluation: Mapping[str, Any] | None,
    *,
    spec: Mapping[str, Any] | None = None,
    libraries: Mapping[str, str] | None = None,
    record: str | None = None,
    merged: bool = False,
) -> str:
    """A card from what was asked, planned, done and measured; no text of any row.

    Args:
        job: `tunegate jobs show --json`.
        plan: `Plan.to_json()`.
        evaluation: `Evaluation.to_json()`, or None where nothing was evaluated.
        spec: `JobSpec.to_json()`; brings name, task, method, purpose and hyperparameters.
        libraries: versions of what trained it.
        record: reference of the signed record, `SEQ:SHA256`.
        merged: the card is for base and adapter as one model, not for the adapter.
    """
    spec = spec or {}
    name = str(spec.get("name") or job.get("id") or "tuned-model")
    parts = [
        _front_matter(name, job, plan, evaluation, spec, "transformers" if merged else "peft"),
        f"# {_md(name)}",
        f"`{job.get('model')}` fine-tuned by Tunegate (job `{job.get('id')}`).",
        *(["Base and adapter merged into one model: it needs no PEFT."] if merged else []),
        *_rehearsal(job),
        *_section("Intended use", _intended(plan, spec)),
        *_section("Training data", _data(plan)),
        *_section("Training", _training(job, spec, libraries or {})),
        *_section("Evaluation", _evaluation(evaluation)),
        *_section("Limitations", _limitations(plan, evaluation)),
        *_section("Record", _record(plan, record)),
    ]
    return "\n\n".join(parts) + "\n"


def _rehearsal(job: Mapping[str, Any]) -> Iterable[str]:
    if where := job.get("rehearsal"):
        yield (
            f"**This was a rehearsal** against a local stand-in ({_md(where)}). Nothing was trained, and "
            "every number below measures the stand-in alone."
        )


def _front_matter(
    name: str,
    job: Mapping[str, Any],
    plan: Mapping[str, Any],
    evaluation: Mapping[str, Any] | None,
    spec: Mapping[str, Any],
    library: str,
) -> str:
    tags = ["tunegate", str(spec.get("task") or "sft"), f"data-class-{_effective(plan)}"]
    head: dict[str, Any] = {
        "base_model": str(job.get("model")),
        "library_name": library,
        "pipeline_tag": "text-generation",
        "tags": tags,
    }
    if results := _model_index(evaluation):
        head["model-index"] = [{"name": name, "results": [results]}]
    yaml = YAML(typ="safe", pure=True)
    yaml.default_flow_style = False
    text = StringIO()
    yaml.dump(head, text)  # pyright: ignore[reportUnknownMemberType]
    return f"---\n{text.getvalue()}---"


def _model_index(evaluation: Mapping[str, Any] | None) -> dict[str, Any] | None:
    tuned: Mapping[str, Any] = _part(evaluation, "metrics", "tuned")
    metrics = [
        {"type": name, "value": found["value"]}
        for name, found in tuned.items()
        if found.get("value") is not None
    ]
    if not metrics:
        return None
    return {
        "task": {"type": "text-generation"},
        "dataset": {"type": "private", "name": "held-out rows of the training dataset"},
        "metrics": metrics,
    }


def _intended(plan: Mapping[str, Any], spec: Mapping[str, Any]) -> Iterable[str]:
    purpose = _part(spec, "data").get("purpose")
    yield f"Purpose, as the spec states it: {_md(purpose)}." if purpose else "The spec states no purpose."
    yield (
        f"Only where data of class **{_effective(plan)}** may be handled: serving or sharing this model "
        "passes the same policy as its training data."
    )


def _data(plan: Mapping[str, Any]) -> Iterable[str]:
    data, classes = _part(plan, "data"), _part(plan, "data", "class")
    declared, detected = classes.get("declared"), classes.get("detected") or "not scanned"
    refused = sum(_part(data, "refused").values())
    yield f"- Class: **{_effective(plan)}** (declared {declared}, detected {detected})"
    yield f"- SHA-256: `{data.get('hash')}`"
    yield f"- Rows: {data.get('rows')}; used {data.get('used')}; refused {refused}"
    splits = ", ".join(f"{name} {rows}" for name, rows in _part(data, "splits").items())
    if splits:
        yield f"- Splits: {splits}; test rows were never trained on"


def _training(job: Mapping[str, Any], spec: Mapping[str, Any], libraries: Mapping[str, str]) -> Iterable[str]:
    where = " · ".join(str(job[key]) for key in ("backend", "region", "offer") if job.get(key))
    yield f"- Where: {_md(where)}"
    yield f"- Method: {spec.get('method', 'unknown')}; state: {job.get('state')} (`{job.get('raw_state')}`)"
    for key, title in (("estimate_usd", "Estimated cost"), ("actual_usd", "Actual cost")):
        value = job.get(key)
        yield f"- {title}: {'unknown' if value is None else f'${_likely(value)}'}"
    for path, value in _leaves(_part(spec, "hyperparameters")):
        yield f"- {path}: {value}"
    for name, version in libraries.items():
        yield f"- {name} {version}"


def _evaluation(evaluation: Mapping[str, Any] | None) -> Iterable[str]:
    if not evaluation or not evaluation.get("metrics"):
        yield "Not evaluated. Nothing is known of whether this model is better than its base."
        return
    yield f"On {evaluation.get('rows')} held-out rows, with 95 % intervals; the difference is paired."
    yield ""
    yield "| metric | base | tuned | difference | |"
    yield "|---|---|---|---|---|"
    verdicts = _part(evaluation, "verdicts")
    for name, tuned in _part(evaluation, "metrics", "tuned").items():
        base, difference = (_cell(_part(evaluation, "metrics", p, name)) for p in ("base", "difference"))
        verdict = _WORDS.get(verdicts.get(name, ""), "")
        yield f"| {name} | {base} | {_cell(tuned)} | {difference} | {verdict} |"
    worse = [name for name, verdict in verdicts.items() if verdict == "worse"]
    if worse:
        yield ""
        yield f"**This model is WORSE than its base by {', '.join(worse)}.**"


_WORDS = {
    "better": "better",
    "worse": "**WORSE**",
    "unclear": "no clear difference",
    "no_baseline": "base not scored",
    "too_small": "base too small to tell",
}


def _limitations(plan: Mapping[str, Any], evaluation: Mapping[str, Any] | None) -> Iterable[str]:
    yield (
        f"- Inherits class {_effective(plan)} from its training data: it may repeat what it was trained on. "
        "Whoever serves, shares or exports it handles data of that class."
    )
    if not _part(plan, "data").get("scanned"):
        yield "- The training data was not completely scanned; its class is the declared one."
    if evaluation and (evaluation.get("rows") or 0) < 100:
        yield f"- Evaluated on {evaluation.get('rows')} rows only: the intervals are wide for a reason."
    yield "- Measured on rows like those it was trained on; other inputs were not tried."


def _record(plan: Mapping[str, Any], record: str | None) -> Iterable[str]:
    yield f"Signed record: `{record}`" if record else "No signed record."
    rules = ", ".join(f"`{_md(rule)}`" for rule in plan.get("rules") or ()) or "none"
    yield f"Rules in force: {rules}; policy `{plan.get('policy_hash')}` ({plan.get('trust')})."
    yield f"Spec `{plan.get('spec_hash')}`."


def _section(title: str, lines: Iterable[str]) -> Sequence[str]:
    return (f"## {title}", "\n".join(lines))


def _effective(plan: Mapping[str, Any]) -> str:
    return str(_part(plan, "data", "class").get("effective") or "phi")


def _part(value: Mapping[str, Any] | None, *names: str) -> Mapping[str, Any]:
    """What lies at these names, one inside the other; empty where anything is absent."""
    for name in names:
        value = (value or {}).get(name)
    return value or {}


def _likely(value: object) -> object:
    return value.get("likely") if isinstance(value, Mapping) else value  # pyright: ignore[reportUnknownMemberType, reportUnknownVariableType]


def _cell(found: Mapping[str, Any]) -> str:
    if found.get("value") is None:
        return "–"
    low, high = found.get("low"), found.get("high")
    width = "" if low is None or high is None else f" ({low:.3f} … {high:.3f})"
    return f"{found['value']:.3f}{width}"


def _leaves(value: Mapping[str, Any], path: str = "") -> Iterable[tuple[str, object]]:
    for name, item in value.items():
        if isinstance(item, Mapping):
            yield from _leaves(item, f"{path}{name}.")  # pyright: ignore[reportUnknownArgumentType]
        else:
            yield f"{path}{name}", item


def _md(text: object) -> str:
    """User text on one line, with nothing that Markdown would act on."""
    line = " ".join(str(text).split())
    return "".join(f"\\{c}" if c in "\\`*_[]<>#|" else c for c in line)
