"""What a job on Bedrock needs, looked at where it is: credential, role, buckets, models. Only reads."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from typing import Any
from urllib.parse import unquote

from backends.base import Check
from backends.bedrock import storage, wire
from backends.bedrock.client import Clients
from backends.bedrock.wire import BedrockOptions
from gateway.core.errors import Auth, BackendError, NotFound
from gateway.core.facts import ModelFacts

Classify = Callable[[Exception], BackendError]
_TRUSTED = "bedrock.amazonaws.com"


def check(
    clients: Clients, region: str, options: BedrockOptions, models: tuple[ModelFacts, ...], classify: Classify
) -> Iterator[Check]:
    """One region: the credential first, since nothing else can be seen without it."""
    credential = _credential(clients, classify)
    yield credential
    if credential.state != "ok":
        return
    yield _role(clients, options.role_arn, classify)
    for option in ("output_uri", "data_uri"):
        if uri := wire.at(getattr(options, option), region):
            yield _bucket(clients, option, uri, wire.account_of(options.role_arn), region, classify)
        elif option == "output_uri":
            yield Check("output bucket", "missing", "set options.bedrock.output_uri")
    for model in models:
        yield _model(clients, model, region, classify)


def _credential(clients: Clients, classify: Classify) -> Check:
    try:
        clients["sts"].get_caller_identity()
    except Exception as error:
        problem = classify(error)
        state = "missing" if isinstance(problem, Auth) else "unknown"
        return Check("AWS credential", state, _words(problem))
    return Check("AWS credential", "ok")


def _role(clients: Clients, arn: str | None, classify: Classify) -> Check:
    name = "role for Bedrock"
    if arn is None:
        return Check(name, "missing", "set options.bedrock.role_arn")
    try:
        role = clients["iam"].get_role(RoleName=arn.rpartition("/")[2])["Role"]
    except Exception as error:
        return _unseen(name, classify(error))
    if not _trusts_bedrock(role.get("AssumeRolePolicyDocument")):
        return Check(name, "missing", f"let {_TRUSTED} assume it: add the service to its trust policy")
    return Check(name, "ok")


def _trusts_bedrock(policy: object) -> bool:
    """Whether some statement of a trust policy lets Bedrock take the role on."""
    document: Any = json.loads(unquote(policy)) if isinstance(policy, str) else policy
    if not isinstance(document, Mapping):
        return False
    statements: Any = document.get("Statement", [])  # pyright: ignore[reportUnknownVariableType, reportUnknownMemberType]
    for statement in [statements] if isinstance(statements, Mapping) else statements:  # pyright: ignore[reportUnknownVariableType]
        principal: Any = statement.get("Principal", {})  # pyright: ignore[reportUnknownVariableType, reportUnknownMemberType]
        services: Any = principal.get("Service", []) if isinstance(principal, Mapping) else []  # pyright: ignore[reportUnknownVariableType, reportUnknownMemberType]
        if statement.get("Effect") == "Allow" and _TRUSTED in services:  # pyright: ignore[reportUnknownMemberType]
            return True
    return False


def _bucket(clients: Clients, option: str, uri: str, account: str, region: str, classify: Classify) -> Check:
    bucket = storage.split(uri)[0]
    name = f"bucket {bucket}"
    try:
        owner = {"ExpectedBucketOwner": account} if account else {}
        found = clients["s3"].head_bucket(Bucket=bucket, **owner).get("BucketRegion")
    except Exception as error:
        return _unseen(name, classify(error))
    if found != region:
        fix = f"it lies in {found or 'an unknown region'}: name one in {region} in options.bedrock.{option}"
        return Check(name, "missing", fix)
    return Check(name, "ok")


def _model(clients: Clients, model: ModelFacts, region: str, classify: Classify) -> Check:
    """Whether AWS lets this model be tuned today: a Legacy one takes no new jobs."""
    name = f"{model.name} in {region}"
    try:
        about = clients["bedrock"].get_foundation_model(modelIdentifier=model.id)["modelDetails"]
    except Exception as error:
        return _unseen(name, classify(error))
    lifecycle = about.get("modelLifecycle", {}).get("status")
    if lifecycle != "ACTIVE":
        return Check(name, "missing", f"AWS says {lifecycle}: choose another model")
    if "FINE_TUNING" not in about.get("customizationsSupported", ()):
        return Check(name, "missing", "AWS does not offer to tune it there: choose another model")
    return Check(name, "ok")


def _unseen(name: str, problem: BackendError) -> Check:
    """A thing that is not there is missing; what may not be looked at is unknown."""
    return Check(name, "missing" if isinstance(problem, NotFound) else "unknown", _words(problem))


def _words(problem: BackendError) -> str:
    return f"{problem.message}; {problem.fix}" if problem.fix else problem.message
