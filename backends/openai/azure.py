"""Azure OpenAI as a `Backend`: the same protocol at a resource's own address, our key in the suffix, and
deployments, without which nothing answers."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar
from urllib.parse import quote, urlsplit

import httpx
from pydantic import BaseModel

from backends.base import Check
from backends.openai import client as clients
from backends.openai import replies, wire
from backends.openai.backend import OpenAIBackend
from gateway.core.errors import BackendError, Rejected, Unavailable
from gateway.core.facts import Facts
from gateway.core.job import Artifact, RemoteRef

if TYPE_CHECKING:
    from openai import OpenAI

API_VERSION = "2024-10-21"
_PROCESSED_WITHIN_S = 120.0

# Training tier → how the tuned model is served: in the same place.
SKUS: Mapping[str, str] = {
    "standard": "Standard",
    "datazone": "DataZoneStandard",
    "global": "GlobalStandard",
    "developer": "DeveloperTier",
}
# What stands before a tuned model's name → its `format`, by Microsoft's own deployment notes.
FORMATS: Mapping[str, str] = {
    "gpt-oss": "Microsoft",
    "ministral": "Mistral AI",
    "llama": "Meta",
    "qwen": "Alibaba",
}


class AzureBackend(OpenAIBackend):
    """One Azure OpenAI resource."""

    options: ClassVar[type[BaseModel]] = wire.AzureOptions
    callable_by_name: ClassVar[bool] = False
    variables: ClassVar[Mapping[str, str]] = {
        "endpoint": "AZURE_OPENAI_ENDPOINT",
        "subscription": "AZURE_SUBSCRIPTION_ID",
        "resource_group": "AZURE_RESOURCE_GROUP",
        "account": "AZURE_OPENAI_ACCOUNT",
        "management": "AZURE_MANAGEMENT_ENDPOINT",
    }

    def __init__(self, facts: Facts, home: Path) -> None:
        super().__init__(facts, home)
        self._identities: dict[str, clients.Headers] = {}  # by scope

    def missing(self, options: Mapping[str, Any]) -> tuple[str, ...]:
        return () if options.get("endpoint") else ("endpoint",)

    def account(self, options: Mapping[str, Any]) -> str:
        host = urlsplit(str(options.get("endpoint") or "")).hostname or ""
        return str(options.get("account") or host.split(".")[0])

    @property
    def asked(self) -> wire.AzureOptions:
        return wire.AzureOptions.model_validate(dict(self.site.options))

    def _make_client(self) -> OpenAI:
        return clients.azure_client(self.endpoint())

    def addresses(self) -> tuple[str, ...]:
        return (*super().addresses(), self.asked.management)

    def check(self) -> tuple[Check, ...]:
        """As OpenAI's, and whether deployments of the resource can be seen."""
        checks = super().check()
        if not self.asked.endpoint:
            return checks
        try:
            deployments = self._deployments()
        except Unavailable as error:
            return (*checks, Check("place for deployments", "missing", error.fix or ""))
        return (*checks, self._checked("access to deployments", lambda: deployments.get("tunegate")))

    def _await_processed(self, id: str, reply: replies.Reply) -> None:
        """Files are read before a job may be made of them."""
        ends, pause_s = time.monotonic() + _PROCESSED_WITHIN_S, 0.2
        while (status := replies.text(reply, "status")) not in ("processed", "uploaded"):
            if status in ("error", "failed", "deleted"):
                raise Rejected(
                    "the service could not read the file",
                    backend=self.name,
                    fix="look at the rows with `tunegate data check`, and plan again",
                )
            if time.monotonic() > ends:
                raise BackendError("the service still reads the file", backend=self.name, retryable=True)
            time.sleep(pause_s)
            pause_s = min(5.0, pause_s * 2)
            reply = clients.as_json(self.client.files.retrieve(id))

    # -- our key is in the suffix -------------------------------------------------------------------

    def _jobs_under(self, key: str) -> Iterator[replies.Reply]:
        return clients.listed(self.client.fine_tuning.jobs.list(limit=100))

    def _is_under(self, job: replies.Reply, key: str) -> bool:
        """The suffix is echoed; and a finished model's name ends with it."""
        echoed = replies.text(job, "suffix") or replies.text(job, "fine_tuned_model") or ""
        return echoed.endswith(wire.azure_suffix_of(key))

    # -- deployments --------------------------------------------------------------------------------

    def deploy(self, ref: RemoteRef) -> Artifact:
        """Ask for the job's one deployment, or see how it stands. It costs by the hour while it is there.

        Raises:
            Unavailable: the options do not say where the resource is.
            Rejected: there is no model to deploy, or the deployment failed.
        """
        model = replies.text(
            clients.as_json(self.client.fine_tuning.jobs.retrieve(ref.id)), "fine_tuned_model"
        )
        if model is None:
            raise Rejected("this job has no model to deploy", backend=self.name, fix="wait for its end")
        name, deployments = deployment_name(ref), self._deployments()
        found = deployments.get(name) or deployments.put(name, self._deployment_of(model))
        state = replies.text(replies.part(found, "properties"), "provisioningState")
        if state in ("Failed", "Canceled", "Disabled"):
            raise Rejected(
                f"the deployment {name} is {state}",
                backend=self.name,
                fix="`tunegate jobs undeploy`, and deploy again; quota and region are its usual reasons",
            )
        return Artifact("model", model, name if state == "Succeeded" else None)

    def _deployment_of(self, model: str) -> dict[str, Any]:
        """Body of the request. Served under the tier it was trained in, so that data stays where it was."""
        sku = SKUS.get(self.site.offer)
        if sku is None:
            raise Unavailable(
                f"it is not known how a model trained under `{self.site.offer}` is served",
                place=self.name,
                fix=f"deploy from a job of one of the tiers {', '.join(SKUS)}",
            )
        maker = next((maker for start, maker in FORMATS.items() if model.lower().startswith(start)), "OpenAI")
        return {
            "sku": {"name": sku, "capacity": self.asked.capacity},
            "properties": {"model": {"format": maker, "name": model, "version": "1"}},
        }

    def undeploy(self, ref: RemoteRef) -> None:
        self._deployments().delete(deployment_name(ref))

    def delete(self, ref: RemoteRef) -> None:
        """Also removes the deployment, which goes first for a model in use is not deleted, and the job's
        own entry."""
        if self.asked.subscription and self.asked.resource_group:
            self.undeploy(ref)
        super().delete(ref)
        url = f"{self.endpoint().rstrip('/')}/openai/fine_tuning/jobs/{quote(ref.id, safe='')}"
        version = {"params": {"api-version": API_VERSION}}
        self._if_there(lambda: self.client.delete(url, cast_to=object, options=version))  # pyright: ignore[reportArgumentType]

    def _deployments(self) -> Deployments:
        asked = self.asked
        account = asked.account or (urlsplit(self.endpoint()).hostname or "").split(".")[0]
        if not (asked.subscription and asked.resource_group):
            raise Unavailable(
                "deployments are made through Azure's resource manager, and where the resource is in it is "
                "not known",
                place=self.name,
                fix="set options.azure.subscription and resource_group, or AZURE_SUBSCRIPTION_ID and "
                "AZURE_RESOURCE_GROUP",
            )
        place = (
            f"subscriptions/{quote(asked.subscription, safe='')}"
            f"/resourceGroups/{quote(asked.resource_group, safe='')}"
            f"/providers/Microsoft.CognitiveServices/accounts/{quote(account, safe='')}/deployments"
        )
        return Deployments(f"{asked.management.rstrip('/')}/{place}", self._manager)

    def _manager(self) -> Mapping[str, str]:
        """A token of the identity that may deploy, which is found once."""
        scope = clients.MANAGEMENT_SCOPE
        if scope not in self._identities:
            self._identities[scope] = clients.identity_headers(scope)
        return self._identities[scope]()

    def _called(self, model_ref: str) -> str:
        """On Azure a deployment answers; a base model's is the user's own."""
        if self.resolve(model_ref) is None:
            return model_ref
        if deployment := self.asked.base_deployment:
            return deployment
        raise Unavailable(
            f"no deployment is known that answers for {model_ref}",
            place=self.name,
            fix="deploy the base model, and set options.azure.base_deployment to the deployment's name",
        )


def deployment_name(ref: RemoteRef) -> str:
    """The job's one deployment: named by the job, so that it is found again and never made twice."""
    return re.sub(r"[^A-Za-z0-9-]", "-", f"tunegate-{ref.id}")[:64]


@dataclass(frozen=True, slots=True)
class Deployments:
    """The deployments of one resource, in Azure's resource manager."""

    url: str
    headers: clients.Headers

    def get(self, name: str) -> replies.Reply | None:
        answer = self._ask("GET", name)
        return None if answer.status_code == 404 else _body(answer)

    def put(self, name: str, body: Mapping[str, Any]) -> replies.Reply:
        return _body(self._ask("PUT", name, body))

    def delete(self, name: str) -> None:
        answer = self._ask("DELETE", name)
        if answer.status_code != 404:
            _body(answer)

    def _ask(self, method: str, name: str, body: Mapping[str, Any] | None = None) -> httpx.Response:
        return httpx.request(
            method,
            f"{self.url}/{name}",
            params={"api-version": API_VERSION},
            headers=dict(self.headers()),
            json=body,
            timeout=clients.ANSWER_S,
            follow_redirects=False,
        )


def _body(answer: httpx.Response) -> replies.Reply:
    answer.raise_for_status()
    return answer.json() if answer.content else {}
