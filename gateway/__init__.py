"""Tunegate: one fine-tuning job spec, every place that could run it.

    from gateway import Gateway, JobSpec

    gw = Gateway()
    plan = gw.plan("job.yaml")        # every candidate judged; nothing leaves this machine
    job = gw.run("job.yaml")          # dispatched once, to the best allowed candidate
    job.wait()

Names are resolved lazily (PEP 562), so that `import cost` or `import backends` never circles back
and `import gateway` costs milliseconds.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from gateway.core.classes import DataClass
    from gateway.core.errors import (
        BackendError,
        DataError,
        NothingCanRun,
        OverBudget,
        PolicyDenied,
        SettingsError,
        SpecError,
        TunegateError,
    )
    from gateway.core.job import ChatMessage, Completion, JobState
    from gateway.core.plan import Candidate, Plan, Verdict
    from gateway.core.spec import JobSpec
    from gateway.data import CheckReport
    from gateway.sdk.answers import ReviewAnswer
    from gateway.sdk.gateway import Gateway
    from gateway.sdk.jobs import JobHandle
    from gateway.sdk.review import ReviewOutcome, ReviewSample
    from gateway.sdk.sandbox import Sandbox

_HOMES = {
    "Gateway": "gateway.sdk.gateway",
    "JobHandle": "gateway.sdk.jobs",
    "Sandbox": "gateway.sdk.sandbox",
    "JobSpec": "gateway.core.spec",
    "CheckReport": "gateway.data",
    "DataClass": "gateway.core.classes",
    "ReviewAnswer": "gateway.sdk.answers",
    "ReviewOutcome": "gateway.sdk.review",
    "ReviewSample": "gateway.sdk.review",
    "Plan": "gateway.core.plan",
    "Candidate": "gateway.core.plan",
    "Verdict": "gateway.core.plan",
    "JobState": "gateway.core.job",
    "ChatMessage": "gateway.core.job",
    "Completion": "gateway.core.job",
    "TunegateError": "gateway.core.errors",
    "SpecError": "gateway.core.errors",
    "DataError": "gateway.core.errors",
    "SettingsError": "gateway.core.errors",
    "PolicyDenied": "gateway.core.errors",
    "OverBudget": "gateway.core.errors",
    "NothingCanRun": "gateway.core.errors",
    "BackendError": "gateway.core.errors",
}

__all__ = [
    "BackendError",
    "Candidate",
    "ChatMessage",
    "CheckReport",
    "Completion",
    "DataClass",
    "DataError",
    "Gateway",
    "JobHandle",
    "JobSpec",
    "JobState",
    "NothingCanRun",
    "OverBudget",
    "Plan",
    "PolicyDenied",
    "ReviewAnswer",
    "ReviewOutcome",
    "ReviewSample",
    "Sandbox",
    "SettingsError",
    "SpecError",
    "TunegateError",
    "Verdict",
]


def __getattr__(name: str) -> Any:
    if home := _HOMES.get(name):
        return getattr(importlib.import_module(home), name)
    if name == "__version__":
        return importlib.import_module("importlib.metadata").version("tunegate")
    raise AttributeError(f"module 'gateway' has no attribute {name!r}")


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
