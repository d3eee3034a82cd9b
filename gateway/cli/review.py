"""`tunegate data scrub` and `tunegate data review`: take identifiers out, and look at what came of it."""

from __future__ import annotations

import sys
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer
from rich.text import Text

from gateway import DataClass, SpecError
from gateway.cli import views
from gateway.cli.console import JsonFlag, err, gateway_of, hint, out, parse_day, print_json, working
from gateway.core.rows import Finding

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from gateway import ReviewAnswer, ReviewOutcome, ReviewSample

What = Annotated[
    Path, typer.Argument(help="a job spec, or one data file", metavar="SPEC|FILE", show_default=False)
]
_MASK = "\u2588"


class Dates(StrEnum):
    shift = "shift"
    year = "year"


def register(app: typer.Typer) -> None:
    app.command("scrub")(scrub)
    app.command("review")(review)


def scrub(
    context: typer.Context,
    what: What,
    to: Annotated[Path, typer.Option("--out", help="file to write, in the same format", metavar="FILE")],
    dates: Annotated[
        Dates, typer.Option(help="move each subject's dates by secret weeks, or leave the year alone")
    ] = Dates.shift,
    group_by: Annotated[
        str | None, typer.Option(help="the field that names the subject", metavar="FIELD")
    ] = None,
    seed_file: Annotated[
        Path | None, typer.Option(help="a secret other than the home's own", metavar="FILE")
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="replace an output that is there")] = False,
    as_json: JsonFlag = False,
) -> None:
    """Write a copy with stand-ins for names, numbers and places, dates moved and ages over 89 capped.

    Rules miss names. Have somebody look at a sample of the result: tunegate data review.

    Examples:
      tunegate data scrub notes.jsonl --out scrubbed.jsonl --group-by patient_id
      tunegate data scrub job.yaml --out scrubbed.csv --dates year
    """
    with working("scrubbing") as update:
        done = gateway_of(context).data.scrub(
            what,
            to,
            dates=dates.value,
            group_by=group_by,
            seed_file=seed_file,
            force=force,
            on_progress=update,
        )
    if as_json:
        print_json([{"file": str(path), **report.to_json()} for path, report in done])
        return
    for path, report in done:
        out.print(
            f"{path}: {report.written:,} of {report.rows:,} rows written, {report.changed:,} changed",
            highlight=False,
            soft_wrap=True,
        )
        for code, count in report.refused.items():
            first = report.first_refused[code]
            out.print(f"  left out: {count:,} {code} (first: line {first})", highlight=False)
        kinds = sorted({*report.replaced, *report.left})
        rows = [(kind, report.replaced.get(kind, 0), report.left.get(kind, 0)) for kind in kinds]
        views.table(out, ("type", "replaced", "found afterwards"), rows)
    hint("rules miss names: have a sample looked at with `tunegate data review`; the class stays as it was")


def review(
    context: typer.Context,
    what: What,
    officer: Annotated[str, typer.Option("--as", help="who signs", metavar="NAME")] = "",
    key: Annotated[
        str,
        typer.Option(help="key to sign with: a file, env:VARIABLE or signer:NAME:ARGUMENT", metavar="KEY"),
    ] = "",
    sample: Annotated[int, typer.Option(help="rows to look at", min=1)] = 300,
    seed: Annotated[
        str | None, typer.Option(help="draw this sample again; default: a new one", metavar="SEED")
    ] = None,
    plain: Annotated[bool, typer.Option("--plain", help="show what was found instead of masking it")] = False,
    answers: Annotated[
        Path | None, typer.Option(help="answers to a sample that --json drew, completed", metavar="FILE")
    ] = None,
    to: Annotated[
        str, typer.Option("--to", help="class that the data has if no row leaks", metavar="CLASS")
    ] = "internal",
    expires: Annotated[
        str | None, typer.Option(help="last day it holds; default: in a year", metavar="YYYY-MM-DD")
    ] = None,
    folder: Annotated[
        Path | None, typer.Option("--out", help="where signed files go; default: the home", metavar="FOLDER")
    ] = None,
    as_json: JsonFlag = False,
) -> None:
    """Look at a random sample of a dataset and sign what it shows. Exit 1 when a row leaks.

    Shows data on purpose, and only on a terminal. Without one: --json draws the sample, a person
    writes `clean` or `leak` beside each record's line, and --answers reads it back.

    Examples:
      tunegate data review job.yaml --as alice --key alice.pem
      tunegate data review job.yaml --sample 300 --json > sample.json
      tunegate data review job.yaml --answers sample.json --as alice --key alice.pem
    """
    data = gateway_of(context).data
    target, last = _class(to), parse_day(expires, "--expires")
    if answers is None and as_json:
        print_json(data.sample(what, number=sample, seed=seed).to_json())
        return
    if not officer or not key:
        raise SpecError("nobody to sign", place="--as and --key", fix="name the officer and their key")
    if answers is not None:
        drawn, given = data.answered(what, answers)
    else:
        _need_terminal()
        drawn = data.sample(what, number=sample, seed=seed)
        given = _ask(drawn, plain=plain)
    outcome = data.conclude(drawn, given, officer=officer, key=key, to=target, expires=last, folder=folder)
    if as_json:
        print_json(outcome.to_json())
    else:
        _tell(outcome, drawn.rows)
    raise typer.Exit(1 if outcome.leaks else 0)


def _class(name: str) -> DataClass:
    try:
        return DataClass.parse(name)
    except ValueError as error:
        raise SpecError(str(error), place="--to") from None


def _need_terminal() -> None:
    if not (out.is_terminal and sys.stdin.isatty()):
        raise SpecError(
            "data is shown on a terminal only, and this is none",
            fix="draw the sample with --json, complete it, and give it back with --answers",
        )


def _ask(sample: ReviewSample, *, plain: bool) -> list[ReviewAnswer]:
    """A verdict on every record, from whoever sits at the terminal."""
    given: list[ReviewAnswer] = []
    for name, text in sample.beside.items():
        out.print(Text.assemble((f"with every row, {name}: ", "dim"), _harmless(text)))
    for number, each in enumerate(sample.drawn, start=1):
        out.rule(f"{number} of {len(sample.drawn)} · line {each.line}", align="left", style="dim")
        for path, pieces in each.texts():
            out.print(Text.assemble((f"{path}: ", "dim"), *_shown(pieces, plain=plain)))
        given.append(_answer(each.findings, each.answer))
    return given


def _shown(pieces: Iterable[tuple[str, str | None]], *, plain: bool) -> list[tuple[str, str]]:
    shown: list[tuple[str, str]] = []
    for text, kind in pieces:
        if kind is None:
            shown.append((_harmless(text), ""))
        else:
            shown.append((_harmless(text) if plain else _MASK * min(len(text), 12), "black on yellow"))
            shown.append((f" {kind} ", "yellow"))
    return shown


def _harmless(text: str) -> str:
    """Data must not command the terminal it is shown on."""
    return "".join(char if char.isprintable() or char in "\n\t" else "\ufffd" for char in text)


def _answer(
    findings: Sequence[Finding], answer: Callable[[Literal["clean", "leak"], list[Finding]], ReviewAnswer]
) -> ReviewAnswer:
    """Asked until there is a verdict; findings may be dismissed on the way."""
    dismissed: list[Finding] = []
    while True:
        said = typer.prompt("c clean, l leak, d dismiss a finding, q quit", err=True).strip().lower()
        if said in ("c", "clean"):
            return answer("clean", dismissed)
        if said in ("l", "leak"):
            return answer("leak", dismissed)
        if said in ("q", "quit"):
            err.print("nothing is signed")
            raise typer.Abort
        if said in ("d", "dismiss"):
            dismissed += _choose(findings)


def _choose(findings: Sequence[Finding]) -> list[Finding]:
    for number, found in enumerate(findings, start=1):
        err.print(f"  {number} {found.type} in {found.field}", highlight=False)
    said: int = typer.prompt("number of the finding that identifies nobody; 0 for none", type=int, err=True)
    return [findings[said - 1]] if 0 < said <= len(findings) else []


def _tell(outcome: ReviewOutcome, rows: int) -> None:
    out.print(
        f"{outcome.leaks} of {outcome.sampled:,} rows looked at leak (of {rows:,} in all): "
        f"with 95 % confidence at most {outcome.upper_bound:.2%} of them do",
        highlight=False,
        soft_wrap=True,
    )
    for path in outcome.files:
        out.print(f"signed: {path}", highlight=False, soft_wrap=True)
    if outcome.leaks:
        hint(
            "rows leak, so there is no determination: correct the data, scrub it again and draw a new sample"
        )
    for reason in outcome.absent:
        err.print(f"[yellow]does not hold here:[/yellow] {reason}", highlight=False, soft_wrap=True)
