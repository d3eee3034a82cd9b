"""What makes a tuned model answer: a deployment on demand, or provisioned throughput.

Both are found by a name made from the job's, which is unique in an account and region, so a job has at
most one of a kind, whoever asks and how often.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from backends.bedrock.client import Clients
from backends.bedrock.failures import is_absent, name_of
from gateway.core.errors import Rejected, Unsupported
from gateway.core.job import Artifact


@dataclass(frozen=True, slots=True)
class Serving:
    """One way of serving: its calls in the SDK, and how their fields are called."""

    create: str
    get: str
    delete: str
    identifier: str  # of `get` and `delete`: takes an ARN or a name
    name: str
    model: str
    arn: str
    ready: str
    more: Mapping[str, Any]


WAYS: Mapping[str, Serving] = {
    "on-demand": Serving(
        create="create_custom_model_deployment",
        get="get_custom_model_deployment",
        delete="delete_custom_model_deployment",
        identifier="customModelDeploymentIdentifier",
        name="modelDeploymentName",
        model="modelArn",
        arn="customModelDeploymentArn",
        ready="Active",
        more={},
    ),
    "provisioned": Serving(
        create="create_provisioned_model_throughput",
        get="get_provisioned_model_throughput",
        delete="delete_provisioned_model_throughput",
        identifier="provisionedModelId",
        name="provisionedModelName",
        model="modelId",
        arn="provisionedModelArn",
        ready="InService",
        more={"modelUnits": 1},  # and no commitment: it is paid by the hour, and may be ended at any time
    ),
}


def way_of(offer: str) -> Serving:
    """How models of that offer are served.

    Raises:
        Unsupported: the offer is none of a tuned model.
    """
    if offer not in WAYS:
        raise Unsupported(f"{offer or 'no offer'} is no way of serving there", place="bedrock")
    return WAYS[offer]


def deploy(clients: Clients, way: Serving, job: Mapping[str, Any], now: datetime) -> Artifact:
    """Ask for the deployment of a finished job's model, or see how the one that is there stands.

    Raises:
        Rejected: the job has left no model, or Bedrock could not make the deployment.
    """
    model = job.get("outputModelArn")
    if not model:
        raise Rejected("this job has left no model", backend="bedrock", place=str(job["jobName"]))
    name = name_for(str(job["jobName"]))
    standing = look(clients, way, name) or _create(clients, way, name, str(model), now)
    status, arn = str(standing.get("status")), str(standing[way.arn])
    if status == "Failed":
        raise Rejected(
            "Bedrock could not make the deployment",
            backend="bedrock",
            place=arn,
            fix="end it with `tunegate jobs undeploy`, then deploy again",
        )
    callable_now = status in (way.ready, "Updating")
    return Artifact("deployment", arn, callable_id=arn if callable_now else None)


def undeploy(clients: Clients, way: Serving, job_name: str) -> None:
    """End the deployment of that job; where there is none: no error."""
    try:
        getattr(clients["bedrock"], way.delete)(**{way.identifier: name_for(job_name)})
    except Exception as error:
        if not is_absent(error):
            raise


def look(clients: Clients, way: Serving, identifier: str) -> Mapping[str, Any] | None:
    """A deployment by its name or ARN; None where there is none."""
    try:
        return getattr(clients["bedrock"], way.get)(**{way.identifier: identifier})
    except Exception as error:
        if is_absent(error):
            return None
        raise


def name_for(job_name: str) -> str:
    """A deployment's name: the job's, in the letters both ways of serving take."""
    return re.sub(r"[^0-9a-zA-Z]+", "-", job_name)[:63].strip("-")


def _create(clients: Clients, way: Serving, name: str, model: str, now: datetime) -> Mapping[str, Any]:
    """Ask for it, or find the one that somebody asked for in between.

    The token makes a repeated request harmless while the new deployment cannot be looked up yet. It may
    outlive a deployment that was ended, and would then give that one back: so it changes every ten minutes.
    """
    token = f"{name}-{int(now.timestamp()) // 600}"
    request = {way.name: name, way.model: model, "clientRequestToken": token, **way.more}
    try:
        return {way.arn: getattr(clients["create"], way.create)(**request)[way.arn], "status": "Creating"}
    except Exception as error:
        taken = name_of(error) in ("ValidationException", "ConflictException")
        if taken and (standing := look(clients, way, name)):
            return standing
        raise
