"""`tunegate policy …`: the rules, why they say what they say, and tests for them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from gateway import JobSpec, Verdict
from gateway.cli import views
from gateway.cli.console import AsOf, JsonFlag, err, gateway_of, out, parse_day, print_json, working
from gateway.core.plan import rules_missing

app = typer.Typer(help="policy: check, explain and test the rules of the gate", no_args_is_help=True)


@app.command("check")
def check(
    context: typer.Context,
    files: Annotated[list[Path] | None, typer.Argument(help="policy files; default: those in force")] = None,
) -> None:
    """Validate policies against the schema. Exit 1 when one is wrong.

    Example: tunegate policy check policies/*.cedar
    """
    problems = gateway_of(context).policy.check(files or ())
    for problem in problems:
        out.print(problem, markup=False, highlight=False, soft_wrap=True)
    if not problems:
        err.print("the policies are valid", highlight=False)
    if missing := rules_missing(gateway_of(context).settings.policy_sets):
        err.print(f"[bold red]{missing}[/bold red]", highlight=False)
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
    rows = (
        (item["candidate"], ground["rule"], ground["reason"], ground["citation"], ground["fix"])
        for item in explained
        for ground in item["grounds"]
    )
    if explained:
        views.table(out, ("candidate", "rule", "reason", "citation", "fix"), rows)
    if not any(candidate.verdict is Verdict.DENIED for candidate in made.candidates):
        err.print("no candidate is denied by policy alone", highlight=False)


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
