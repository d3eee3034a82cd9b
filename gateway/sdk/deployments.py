"""Tuned models that answer only once they are deployed: what that costs while nobody asks, starting and
ending it, and comparing base with tuned once it stands."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal
from typing import TYPE_CHECKING

from gateway.core.errors import BackendError, Unsupported
from gateway.core.gate import Action
from gateway.core.job import Artifact, JobState
from gateway.jobs.closing import answers, deployment_of
from gateway.jobs.model import Job
from gateway.jobs.waiting import backoff

if TYPE_CHECKING:
    from gateway.sdk.rooms import Rooms

HOURS_PER_MONTH = 730
_LOOKS_EVERY_S = 5.0
_FAILURES = 5


@dataclass(frozen=True, slots=True)
class IdlePrice:
    """What a deployment costs while nobody asks it.

    Attributes:
        usd_per_hour: None where it is not known; then `why_not` says so.
        source: where the price is from, and as of when.
    """

    usd_per_hour: Decimal | None
    why_not: str = ""
    source: str = ""

    def __str__(self) -> str:
        if self.usd_per_hour is None:
            return f"what it costs by the hour is not known: {self.why_not}"
        if not self.usd_per_hour:
            return f"it costs nothing while nobody asks it ({self.source})"
        month = self.usd_per_hour * HOURS_PER_MONTH
        return f"it costs ${self.usd_per_hour} an hour, about ${month:,.2f} a month ({self.source})"


def idle_price(rooms: Rooms, job: Job) -> IdlePrice:
    """The hosting line of the book for the job's candidate, as of today."""
    today = rooms.clock().date()
    quote = rooms.book.quote(job.backend, "hosting", job.model, job.region, job.offer, today)
    line = quote.line
    if line is None:
        return IdlePrice(None, quote.why_not or "no price is known")
    source = f"{line.source.url or line.source.name}, {line.source.as_of}"
    if line.unit == "usd_per_month":
        return IdlePrice((line.value / HOURS_PER_MONTH).quantize(Decimal("0.0001")), source=source)
    if line.unit != "usd_per_hour":
        return IdlePrice(None, f"its price is in {line.unit}")
    return IdlePrice(line.value, source=source)


def deploys_freely(rooms: Rooms, job: Job) -> bool:
    """Whether a model may be deployed for its evaluation without asking anybody: the book states that
    an idle deployment costs nothing (an unknown price is no such statement), and there are rows to ask."""
    from gateway.sdk.files import HELD_OUT

    has_rows = (job.folder / "data" / HELD_OUT).exists()
    return has_rows and idle_price(rooms, job).usd_per_hour == 0


def deploy(
    rooms: Rooms,
    job: Job,
    on_update: Callable[[Job], None] | None,
    sleep: Callable[[float], None] = time.sleep,
) -> Job:
    """Deploy the job's model and wait until it can be called. Interrupting leaves it on its way: the
    same call goes on from there, and never makes a second.

    Raises:
        NotNow: the job has not succeeded.
        PolicyDenied, BackendError, Unsupported: why it is not deployed.
    """
    if answers(job) and deployment_of(job) is None:
        raise Unsupported(
            "this job's model answers without a deployment",
            place=job.id,
            fix=f"ask it: `tunegate jobs chat {job.id}`",
        )
    failures = 0
    while True:
        wait = _LOOKS_EVERY_S
        try:
            job, failures = rooms.reconciler.deploy(job.id), 0
        except BackendError as error:
            failures += 1
            if not error.retryable or failures > _FAILURES:
                raise
            wait = backoff(failures, error, lambda: 1.0).total_seconds()
        if on_update is not None:
            on_update(job)
        standing = deployment_of(job)
        if standing is not None and standing.callable_id:
            return job
        time.sleep(wait)


def refuse_at_once(rooms: Rooms, job: Job) -> None:
    """Refuse a deployment that could never be made, before anybody is asked to pay for it.

    Raises:
        Unsupported: the model answers as it is, or this backend cannot deploy it.
    """
    if deployment_of(job) is not None:
        return
    if answers(job):
        raise Unsupported(
            "this job's model answers without a deployment", place=job.id, fix="ask it as it is"
        )
    if job.state is JobState.SUCCEEDED and (
        why := rooms.backend_at(job.site).why_not_deployed(job.artifacts or ())
    ):
        raise why


def undeploy(rooms: Rooms, job: Job) -> Job:
    """End the deployment, and record that it was ended. Ending one needs nobody's yes."""
    after = rooms.reconciler.undeploy(job.id)
    if job.remote is not None:
        request = rooms.dispatch.gate_request(job, Action.DEPLOY)
        rooms.accounts.undeployed(request, rooms.gate.decide(request), job.remote)
    return after


def described(rooms: Rooms, job: Job) -> list[dict[str, str | None]]:
    """Deployments as `jobs show --json` has them."""
    standing: Artifact | None = deployment_of(job)
    if standing is None:
        return []
    price = idle_price(rooms, job).usd_per_hour
    per_hour = None if price is None else str(price)
    return [{"uri": standing.uri, "callable_id": standing.callable_id, "usd_per_hour": per_hour}]
