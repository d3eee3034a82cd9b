"""Azure OpenAI's stand-in: the resource's own interface, the resource manager that makes deployments, and
the identity endpoint that hands out tokens."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from werkzeug.wrappers import Request, Response

from backends.openai.sandbox.desk import Arguments, Refused
from backends.openai.sandbox.room import OpenAIRoom
from backends.sandbox.server import Handler, Route, answer
from backends.sandbox.world import PhaseName, Thing

TOKEN = "sandbox-token-of-azure"  # noqa: S105 - opens nothing but this sandbox
_SUFFIX = re.compile(r"[A-Za-z0-9_-]{1,40}")
_TRAINING_TYPES = frozenset({"Standard", "GlobalStandard", "Developer"})
_SKUS = frozenset({"Standard", "DataZoneStandard", "GlobalStandard", "DeveloperTier"})
_DEPLOYMENT = (
    "/management/subscriptions/<subscription>/resourceGroups/<group>"
    "/providers/Microsoft.CognitiveServices/accounts/<account>/deployments/<name>"
)


class AzureRoom(OpenAIRoom):
    """One resource. Its jobs begin as `pending`, its files are read before they can be used, `auto` comes
    back as -1, and a tuned model answers only by the name of a deployment."""

    name = "azure"
    prefix = "/openai/v1"
    key = "sandbox-key-of-azure"
    facts = "facts-azure.toml"
    extra_job_fields: ClassVar[frozenset[str]] = frozenset({"trainingType"})
    status_of_new_file: ClassVar[str] = "pending"

    def environment(self, address: str) -> Mapping[str, str]:
        return {
            "AZURE_OPENAI_ENDPOINT": f"{address}/{self.name}",
            "AZURE_OPENAI_API_KEY": self.key,
            "AZURE_OPENAI_ACCOUNT": "sandbox",
            "AZURE_SUBSCRIPTION_ID": "00000000-0000-0000-0000-000000000000",
            "AZURE_RESOURCE_GROUP": "sandbox",
            "AZURE_MANAGEMENT_ENDPOINT": f"{address}/{self.name}/management",
            # The identity: an app service's, which is asked over HTTP at the address it is told.
            "AZURE_TOKEN_CREDENTIALS": "ManagedIdentityCredential",
            "IDENTITY_ENDPOINT": f"{address}/{self.name}/identity",
            "IDENTITY_HEADER": "sandbox",
        }

    def routes(self) -> Sequence[Route]:
        dated = "/openai/fine_tuning/jobs/<id>"
        return [
            *super().routes(),
            Route("DELETE", dated, "deleteFineTuningJob", self.guarded(self.delete_job)),
            Route("GET", "/identity", "getToken", self.token),
            Route("GET", _DEPLOYMENT, "getDeployment", self.managed(self.get_deployment)),
            Route("PUT", _DEPLOYMENT, "createDeployment", self.managed(self.create_deployment)),
            Route("DELETE", _DEPLOYMENT, "deleteDeployment", self.managed(self.delete_deployment)),
        ]

    def admit(self, request: Request) -> None:
        bearer = request.headers.get("Authorization")
        if request.headers.get("api-key") != self.key and bearer != f"Bearer {TOKEN}":
            raise Refused(401, "Access denied due to invalid subscription key or token", code="401")

    # -- files and jobs --------------------------------------------------------------------------------

    def retrieve_file(self, request: Request, arguments: Arguments) -> Response:
        """A file is read while somebody looks at it."""
        file = self.get("file", arguments["id"])
        response = super().retrieve_file(request, arguments)
        if file["status"] != "processed":
            self.put("file", {**file, "status": "processed"})
        return response

    def create_job(self, request: Request, arguments: Arguments) -> Response:
        body: dict[str, Any] = request.get_json(force=True)
        if "metadata" in body:
            raise Refused(400, "There is no metadata here", code="invalidPayload", param="metadata")
        if (suffix := body.get("suffix")) is not None and not _SUFFIX.fullmatch(str(suffix)):
            raise Refused(400, "The suffix is wrong", code="invalidPayload", param="suffix")
        if body.get("trainingType", "Standard") not in _TRAINING_TYPES:
            raise Refused(400, "There is no such training type", code="invalidPayload", param="trainingType")
        for name in ("training_file", "validation_file"):
            if (id := body.get(name)) and self.get("file", id)["status"] != "processed":
                raise Refused(400, "The file is not ready", code="invalidPayload", param=name)
        return super().create_job(request, arguments)

    def model_name(self, id: str, body: Mapping[str, Any]) -> str:
        suffix = f"-{body['suffix']}" if body.get("suffix") else ""
        return f"{body['model']}.ft-{id.removeprefix('ftjob-')}{suffix}"

    def id_of_maker(self, model: str) -> str:
        match = re.search(r"\.ft-([0-9a-f]{24})", model)
        return f"ftjob-{match[1]}" if match else ""

    def status(self, phase: PhaseName) -> str:
        return "pending" if phase in ("validating", "queued") else super().status(phase)

    def echoed(self, hyper: Mapping[str, Any]) -> Mapping[str, Any]:
        return {name: -1 if value == "auto" else value for name, value in super().echoed(hyper).items()}

    def described_job(self, job: Thing) -> dict[str, Any]:
        request = job["request"]
        return {
            **super().described_job(job),
            "suffix": request.get("suffix"),
            "trainingType": request.get("trainingType", "Standard"),
        }

    def fits(self, job: Thing, wanted: Mapping[str, str]) -> bool:
        return True  # it knows no such filter

    def delete_job(self, request: Request, arguments: Arguments) -> Response:
        job = self.get("job", arguments["id"])
        self.world.remove(f"{self.name}.job", job["id"])
        return Response(status=204)

    # -- deployments -----------------------------------------------------------------------------------

    def managed(self, handler: Handler) -> Handler:
        """A handler of the resource manager: for holders of a token, with errors in its own shape."""

        def handle(request: Request, arguments: Arguments) -> Response:
            if request.headers.get("Authorization") != f"Bearer {TOKEN}":
                return _manager_error(401, "InvalidAuthenticationToken")
            if "api-version" not in request.args:
                return _manager_error(400, "MissingApiVersionParameter")
            with self.world.lock:
                return handler(request, arguments)

        return handle

    def get_deployment(self, request: Request, arguments: Arguments) -> Response:
        deployment = self.world.get(f"{self.name}.deployment", arguments["name"])
        if deployment is None:
            return _manager_error(404, "ResourceNotFound")
        return answer(self.deployed(deployment))

    def create_deployment(self, request: Request, arguments: Arguments) -> Response:
        body: dict[str, Any] = request.get_json(force=True)
        model = body.get("properties", {}).get("model", {})
        if body.get("sku", {}).get("name") not in _SKUS or {"format", "name", "version"} - set(model):
            return _manager_error(400, "InvalidResourceProperties")
        if self.tuned(str(model["name"])) is None and model["name"] not in self.tunable:
            return _manager_error(400, "InvalidModel")
        born = self.world.now()
        deployment: Thing = {"id": arguments["name"], "born": born, "sku": body["sku"], "model": model}
        self.put("deployment", deployment)
        return answer(self.deployed(deployment), 201)

    def delete_deployment(self, request: Request, arguments: Arguments) -> Response:
        gone = self.world.remove(f"{self.name}.deployment", arguments["name"])
        return Response(status=202 if gone else 204)

    def deployed(self, deployment: Thing) -> dict[str, Any]:
        """A deployment is made in as long as a job waits."""
        ready = self.world.now() - deployment["born"] >= self.world.life.queued_s
        state = "Succeeded" if ready else "Creating"
        properties = {"model": deployment["model"], "provisioningState": state}
        return {"name": deployment["id"], "sku": deployment["sku"], "properties": properties}

    def answering(self, model: str) -> Sequence[tuple[str, str]]:
        """What is called is a deployment."""
        deployment = self.world.get(f"{self.name}.deployment", model)
        if deployment is None or self.deployed(deployment)["properties"]["provisioningState"] != "Succeeded":
            raise Refused(404, "The deployment does not exist", code="DeploymentNotFound")
        job = self.tuned(deployment["model"]["name"])
        return () if job is None else self.rows(job)

    def token(self, request: Request, arguments: Arguments) -> Response:
        """A token of the identity this sandbox plays."""
        if request.headers.get("X-IDENTITY-HEADER") != "sandbox":
            return _manager_error(401, "Unauthorized")
        ends = int(self.world.now()) + 86_400
        token = {"access_token": TOKEN, "expires_on": str(ends), "token_type": "Bearer"}
        return answer({**token, "resource": request.args.get("resource", "")})


def _manager_error(status: int, code: str) -> Response:
    return answer({"error": {"code": code, "message": "refused in this rehearsal"}}, status)
