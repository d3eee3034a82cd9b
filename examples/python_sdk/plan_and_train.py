"""Plan and train with the Python SDK alone: sort support tickets into queues.

python examples/python_sdk/plan_and_train.py
"""

from __future__ import annotations

from pathlib import Path

from gateway import Gateway, JobSpec

TICKETS = Path(__file__).parents[1] / "support_tickets" / "tickets.jsonl"


def main() -> None:
    spec = JobSpec.model_validate(
        {
            "name": "support-tickets-sdk",
            "model": "tunegate-demo",
            "method": "lora",
            "data": {"train": str(TICKETS), "format": "chat", "test": 0.2, "class": "internal"},
            "route": {"backends": ["local"]},
        }
    )
    gateway = Gateway()

    plan = gateway.plan(spec)
    for candidate in plan.candidates:
        print(candidate.key, candidate.verdict, *(reason.text for reason in candidate.reasons))

    job = gateway.run(spec)
    job.wait()
    for event in job.events():
        print(event.at, event.text)
    print(job.evaluate())

    adapter = next(artifact for artifact in job.artifacts() if artifact.callable_id)
    print(adapter.uri)
    message = ("user", "Hello. The parcel never came. Please answer by Friday. Cheers.")
    print(gateway.complete(adapter.callable_id or "", [message]).text)


if __name__ == "__main__":
    main()
