"""`tunegate policy …`: the rules, why they say what they say, and tests for them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from gateway import JobSpec, Verdict
from gateway.cli import views
from gateway.cli.console import (
    AsOf,
    JsonFlag,
    confirm,
    err,
    gateway_of,
    hint,
    out,
    parse_day,
    print_json,
    working,
)
from gateway.core.errors import SpecError

app = typer.Typer(
    help="policy: check, explain and test the rules of the gate; sign and pin them", no_args_is_help=True
)


@app.command("check")
def check(
    context: typer.Context,
    files: Annotated[
        list[Path] | None,
        typer.Argument(help="policy files; default: those in force", metavar="FILE...", show_default=False),
    ] = None,
) -> None:
    """Validate policies against the schema, and all that grants permission. Exit 1 when one is wrong.

    Example: tunegate policy check policies/*.cedar
    """
    problems = gateway_of(context).policy.check(files or ())
    for problem in problems:
        out.print(problem, markup=False, highlight=False, soft_wrap=True)
    if not problems:
        err.print("the policies are valid", highlight=False)
    if not files:
        _tell(gateway_of(context).policy.trust())
    raise typer.Exit(1 if problems else 0)


@app.command("explain")
def explain(
    context: typer.Context,
    spec: Annotated[Path, typer.Argument(help="the job spec", metavar="SPEC", show_default=False)],
    as_json: JsonFlag = False,
    as_of: AsOf = None,
) -> None:
    """Why each candidate is denied: the rule, its citation, the fix, and what would change it.

    Example: tunegate policy explain job.yaml
    """
    with working("reading the data") as update:
        made = gateway_of(context).plan(JobSpec.from_yaml(spec), as_of=parse_day(as_of), on_progress=update)
    explained = gateway_of(context).policy.explain(made)
    if as_json:
        print_json(explained)
        return
    for group in _alike(explained):
        _explain(group)
    if not any(candidate.verdict is Verdict.DENIED for candidate in made.candidates):
        err.print("no candidate is denied by policy alone", highlight=False)


def _alike(explained: list[dict[str, Any]]) -> list[list[dict[str, Any]]]:
    """Candidates that are denied for the same reasons, told together."""
    groups: dict[str, list[dict[str, Any]]] = {}
    for item in explained:
        groups.setdefault(repr(item["grounds"]), []).append(item)
    return list(groups.values())


def _explain(group: list[dict[str, Any]]) -> None:
    """Who is denied, then each reason with its rule, citation and fix, then what would change the answer."""
    for item in group:
        out.print(item["candidate"], style="bold", highlight=False, markup=False, soft_wrap=True)
    for ground in group[0]["grounds"]:
        cited = f" ({ground['citation']})" if ground["citation"] else ""
        out.print(f"  · {ground['reason']}", highlight=False, markup=False, soft_wrap=True)
        out.print(f"    rule: {ground['rule']}{cited}", highlight=False, markup=False, soft_wrap=True)
        if ground["fix"]:
            out.print(f"    fix:  {ground['fix']}", highlight=False, markup=False, soft_wrap=True)
    if awaiting := group[0].get("awaiting"):
        text = f"  a job there waits for the approval of {' and '.join(awaiting)}"
        out.print(text, highlight=False, markup=False, soft_wrap=True)
    if change := next((item["change"] for item in group if item["change"]), None):
        text = f"  the smallest change that opens it: {change}"
        out.print(text, highlight=False, markup=False, soft_wrap=True)
    out.print()


@app.command("test")
def test(
    context: typer.Context,
    cases: Annotated[Path, typer.Argument(help="YAML table of cases and expected verdicts", metavar="FILE")],
) -> None:
    """Run a table of cases against the policies in force. Exit 1 when one answers differently.

    Example: tunegate policy test policies/cases.yaml

    \b
    A table (what `ask` leaves out has the unsafe value: class phi, not scanned):
      version: 1
      as_of: 2026-11-22
      cases:
        - name: health data stays here without a BAA
          ask:
            backend: bedrock
            kind: managed
            class: phi
            scanned: true
            handling: {hipaa_eligible: true, trains_on_data: false}
          expect: deny
          rules:                     # optional: must be among the grounds
            - hipaa.no-baa
        - name: public data may go
          ask: {backend: bedrock, kind: managed, class: public, scanned: true}
          expect: allow
    """
    results = gateway_of(context).policy.test(cases)
    rows = (
        (
            "ok" if result.passed else "WRONG",
            result.name,
            result.expected,
            "allow" if result.decision.allowed else "deny",
            ", ".join(ground.rule for ground in result.decision.grounds),
        )
        for result in results
    )
    views.table(out, ("", "case", "expected", "got", "rules"), rows)
    raise typer.Exit(0 if all(result.passed for result in results) else 1)


@app.command("sign")
def sign(
    context: typer.Context,
    folder: Annotated[Path, typer.Argument(help="the officer's folder", metavar="FOLDER")],
    key: Annotated[
        str,
        typer.Option(help="the officer's key: a file, env:VARIABLE or signer:NAME:ARGUMENT", metavar="KEY"),
    ],
    to: Annotated[Path, typer.Option("--out", help="file to write", metavar="FILE")] = Path("trust.bundle"),
    expires: Annotated[
        str | None, typer.Option(help="the last day it holds; default: in a year", metavar="YYYY-MM-DD")
    ] = None,
    number: Annotated[int | None, typer.Option(help="must go up; default: the time", min=1)] = None,
) -> None:
    """Sign everything that grants permission, as one file: policies, attestations, approvers' keys.

    The folder holds trust.toml (rules, attestations, approvers), policies/*.cedar, keys/*.pub and
    determinations/. Once its key is pinned, nothing else grants permission.

    Example: tunegate policy sign trust/ --key officer.pem --out trust.bundle
    """
    last = parse_day(expires, "--expires")
    signed = gateway_of(context).policy.sign(folder, to, key=key, expires=last, number=number)
    err.print(f"{to}: number {signed.number}, until {signed.expires}, key {signed.key}", highlight=False)
    for held in signed.attestations:
        if held.evidence and not held.evidence_sha256:
            hint(f"the evidence of `{held.kind}` for {held.backend} is not bound: add evidence_sha256")
    hint(f"pin its public key where jobs are run: tunegate policy trust {to} --key PUBLIC_KEY")


@app.command("trust")
def trust(
    context: typer.Context,
    bundle: Annotated[Path | None, typer.Argument(help="a signed bundle", metavar="BUNDLE")] = None,
    key: Annotated[Path | None, typer.Option(help="the officer's public key", metavar="FILE")] = None,
    replace: Annotated[bool, typer.Option("--replace", help="even where another key is pinned")] = False,
    forget: Annotated[bool, typer.Option("--forget", help="take the pin away")] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="take it away without asking")] = False,
    as_json: JsonFlag = False,
) -> None:
    """Pin an officer's key and the bundle it signed; without a bundle, show what is pinned. Exit 1 when
    what is pinned does not hold.

    With a key pinned, policies and attestations in tunegate.toml are ignored, and a bundle that is
    unsigned, altered, expired, missing or older than one seen before denies everything managed.
    A key that an administrator pins for the whole machine stands above this one.

    Examples:
      tunegate policy trust trust.bundle --key officer.pub
      tunegate policy trust
    """
    policy = gateway_of(context).policy
    if forget:
        confirm("Let the settings grant permission again, signed by nobody?", yes=yes)
        policy.unpin()
    elif bundle is not None or key is not None:
        if bundle is None or key is None:
            raise SpecError("a bundle is pinned with its key", fix="give BUNDLE and --key")
        policy.pin(bundle, key, replace=replace)
    state = policy.trust()
    if as_json:
        print_json(state)
    else:
        _tell(state)
    raise typer.Exit(1 if state["problem"] else 0)


def _tell(state: dict[str, Any]) -> None:
    """Whose word grants permission, on stderr."""
    colour = {"verified": "green", "unverified": "yellow"}.get(state["trust"], "bold red")
    about = "no signed trust bundle is pinned" if state["pinned_in"] is None else f"by {state['pinned_in']}"
    if state["number"] is not None:
        about += f", bundle {state['number']} until {state['expires']}"
    err.print(f"trust: [{colour}]{state['trust']}[/{colour}], {about}", highlight=False, soft_wrap=True)
    err.print(f"rules: {', '.join(state['rules']) or 'none'}", highlight=False, markup=False)
    for text in filter(None, (state["problem"], *state["warnings"])):
        err.print(text, highlight=False, markup=False, soft_wrap=True, style="yellow")
