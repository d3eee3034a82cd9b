"""Plan the clinical task everywhere, run it on each managed backend, and ask each tuned model a question.

    tunegate sandbox --pace fast -- python examples/compare_managed/compare.py

Without the sandbox the same script would use your own accounts, and pay for them.
"""

from __future__ import annotations

import argparse
from collections import Counter
from pathlib import Path

from gateway import Candidate, Gateway, JobHandle, JobSpec, TunegateError

HERE = Path(__file__).parent
CLINICAL, TICKETS = HERE.parent / "clinical_notes", HERE.parent / "support_tickets"
MODELS = {
    "openai": "gpt-4.1-mini",
    "azure": "gpt-4.1-mini",
    "bedrock": "nova-micro",
    "vertex": "gemini-3.5-flash",
}


def clinical() -> JobSpec:
    """The example's own job, with no horizon of serving: what is compared here is training."""
    return JobSpec.from_yaml(CLINICAL / "job.yaml").model_copy(update={"serving": None}).at(CLINICAL)


def tickets() -> JobSpec:
    """A task without personal data, for a door that stays shut to the clinical one."""
    return JobSpec.from_yaml(TICKETS / "job.yaml").model_copy(update={"serving": None}).at(TICKETS)


def from_table(path: Path) -> JobSpec:
    """The same task over a table of one's own, with MTS-Dialog's columns."""
    columns = {"prompt": "dialogue", "completion": "section_text"}
    data = {"train": str(path), "columns": columns, "test": 0.15, "class": "phi", "too_long": "truncate"}
    evaluate = {"metrics": ["rouge_l"], "max_output_tokens": 64}
    return JobSpec.model_validate(
        {"name": "mts", "model": "gpt-4.1-mini", "data": data, "evaluate": evaluate}
    )


def at(spec: JobSpec, backend: str) -> JobSpec:
    """The job for one backend alone, with that backend's model."""
    route = spec.route.model_copy(update={"backends": (backend,)})
    return spec.model_copy(update={"model": (MODELS[backend],), "route": route}).at(spec.folder)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--data", type=Path, help="a table such as MTS-Dialog's, in place of the clinical notes"
    )
    parser.add_argument(
        "--only", nargs="*", choices=MODELS, default=list(MODELS), help="these backends alone"
    )
    asked = parser.parse_args()
    spec = from_table(asked.data.absolute()) if asked.data else clinical()
    gateway = Gateway(config=HERE / "tunegate.toml")
    everywhere = gateway.plan(spec)
    verdicts = Counter((candidate.key.backend, str(candidate.verdict)) for candidate in everywhere.candidates)
    print(
        "all candidates:", ", ".join(f"{count} {word} at {name}" for (name, word), count in verdicts.items())
    )
    for backend in asked.only:
        compare(gateway, at(spec, backend), backend)


def compare(gateway: Gateway, spec: JobSpec, backend: str) -> None:
    plan = gateway.plan(spec)
    chosen = plan.chosen_candidate
    if chosen is None and spec.name != "support-tickets":
        print(f"{backend:<8} {plan.why}; rehearsed with the support tickets instead")
        compare(gateway, at(tickets(), backend), backend)
        return
    if chosen is None:
        print(f"{backend:<8} {plan.why}")
        return
    try:
        job = gateway.dispatch(spec, plan).wait()
        job.raise_if_failed()
        answer = gateway.complete(job.id, [("user", "The patient's blood pressure is 120 over 80.")])
    except TunegateError as error:
        print(f"{backend:<8} {error}")
        return
    print(line(backend, chosen, job))
    print(f"{'':<8} asked: {answer.text!r}")
    if job.to_json()["deployments"]:
        job.undeploy()


def line(backend: str, chosen: Candidate, job: JobHandle) -> str:
    """One row of the comparison: where, how it ended, what it was to cost, how tuned differs from base."""
    planned = chosen.estimate.training_usd
    cost = f"${planned.likely}" if planned else "not priced"
    name, found = next(iter((job.metrics or {}).get("difference", {}).items()), ("not compared", None))
    better = f"{name} {found['value']:+.3f}" if found else f"{name}: {job.evaluation['status']}"
    where = f"rehearsed at {job.rehearsal}" if job.rehearsal else "for real"
    return f"{backend:<8} {chosen.key}  {job.state}  {cost}  {better}  {where}"


if __name__ == "__main__":
    main()
