"""The room: which operations there are, who may ask, and the variables that lead here."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

from werkzeug.wrappers import Request, Response

from backends.bedrock.sandbox.buckets import Buckets
from backends.bedrock.sandbox.jobs import Jobs
from backends.bedrock.sandbox.protocol import Keys, Problem, Service, authenticate
from backends.bedrock.sandbox.serving import Runtime, Served
from backends.facts import load_facts
from backends.sandbox.faults import Fault
from backends.sandbox.server import Handler, Room, Route
from backends.sandbox.world import World

Answer = Callable[[str, Mapping[str, Any]], Any]
_FACTS = Path(__file__).parents[1] / "facts.toml"
_ACCOUNT = "bedrock.account"
# Calls of S3 are told apart by method and path; the parts of a large upload count as its PutObject.
_S3: Sequence[tuple[str, str, str]] = (
    ("POST", "/aws/", "Query"),  # IAM and STS
    ("GET", "/aws/", "ListBuckets"),
    ("HEAD", "/aws/<bucket>", "HeadBucket"),
    ("GET", "/aws/<bucket>", "ListObjectsV2"),
    ("PUT", "/aws/<bucket>", "CreateBucket"),
    ("POST", "/aws/<bucket>", "DeleteObjects"),
    ("HEAD", "/aws/<bucket>/<path:key>", "HeadObject"),
    ("GET", "/aws/<bucket>/<path:key>", "GetObject"),
    ("PUT", "/aws/<bucket>/<path:key>", "PutObject"),
    ("POST", "/aws/<bucket>/<path:key>", "MultipartUpload"),
    ("DELETE", "/aws/<bucket>/<path:key>", "DeleteObject"),
)


class BedrockRoom(Room):
    """Bedrock, and as much of S3, IAM and STS as goes with it. One account, made up for the sandbox."""

    name: ClassVar[str] = "bedrock"

    def __init__(self, world: World) -> None:
        super().__init__(world)
        self.facts = load_facts(_FACTS)
        about = _account(world)
        self.account = about["account"]
        self.keys = Keys(about["key"], about["secret"], about["token"])
        regions = tuple(sorted({region for model in self.facts.models for region in model.regions}))
        self.buckets = Buckets(world, self.account, regions)
        self.jobs = Jobs(world, self.facts, self.account, self.buckets)
        self.served = {
            offer: Served(world, self.jobs, self.facts, self.account, offer)
            for offer in ("on-demand", "provisioned")
        }
        self.runtime = Runtime(self.jobs, self.served, self.facts)

    def open(self) -> None:
        self.buckets.open()

    def close(self) -> None:
        self.buckets.close()

    def environment(self, address: str) -> Mapping[str, str]:
        here = f"{address}/{self.name}"
        return {
            "AWS_ENDPOINT_URL_BEDROCK": f"{here}/control",
            "AWS_ENDPOINT_URL_BEDROCK_RUNTIME": f"{here}/runtime",
            **{f"AWS_ENDPOINT_URL_{service}": f"{here}/aws" for service in ("S3", "IAM", "STS")},
            "AWS_IGNORE_CONFIGURED_ENDPOINT_URLS": "false",
            "AWS_ACCESS_KEY_ID": self.keys.key,
            "AWS_SECRET_ACCESS_KEY": self.keys.secret,
            "AWS_SESSION_TOKEN": self.keys.token,  # a real one in the environment must not be sent
            "AWS_EC2_METADATA_DISABLED": "true",
            "AWS_DEFAULT_REGION": "us-east-1",
            "TUNEGATE_BEDROCK_ROLE_ARN": self.buckets.role_arn,
            "TUNEGATE_BEDROCK_OUTPUT_URI": f"s3://{self.buckets.name('{region}')}/output",
        }

    def routes(self) -> Sequence[Route]:
        control, runtime = Service("bedrock"), Service("bedrock-runtime")
        found = [self._route(control, "/control", name, answer) for name, answer in self._control().items()]
        found.append(self._route(runtime, "/runtime", "Converse", self.runtime.converse))
        found.append(self._route(runtime, "/runtime", "ConverseStream", self.runtime.stream, streams=True))
        found += [Route(method, path, operation, self._s3) for method, path, operation in _S3]
        return found

    def problem(self, fault: Fault) -> Response:
        """In JSON as Bedrock has it; S3, IAM and STS have it in XML, and other names for some."""
        operation = fault.operation.partition(".")[2]
        in_xml = operation in {name for _, _, name in _S3}
        json_name, xml_name, status, text = _PROBLEMS[fault.kind]
        if in_xml:
            return _xml_problem(Problem(xml_name, status, text), query=operation == "Query")
        response = Problem(json_name, status, text).response()
        if fault.kind == "throttle":
            response.headers["x-amz-retry-after"] = str(round(fault.seconds * 1000))
        return response

    def _control(self) -> Mapping[str, Answer]:
        jobs, on_demand, provisioned = self.jobs, self.served["on-demand"], self.served["provisioned"]
        return {
            "CreateModelCustomizationJob": jobs.create,
            "GetModelCustomizationJob": jobs.get,
            "StopModelCustomizationJob": jobs.stop,
            "ListModelCustomizationJobs": jobs.all,
            "GetCustomModel": jobs.get_model,
            "DeleteCustomModel": jobs.delete_model,
            "GetFoundationModel": jobs.get_base,
            "CreateCustomModelDeployment": on_demand.create,
            "GetCustomModelDeployment": on_demand.get,
            "ListCustomModelDeployments": on_demand.all,
            "DeleteCustomModelDeployment": on_demand.delete,
            "CreateProvisionedModelThroughput": provisioned.create,
            "GetProvisionedModelThroughput": provisioned.get,
            "ListProvisionedModelThroughputs": provisioned.all,
            "DeleteProvisionedModelThroughput": provisioned.delete,
        }

    def _route(
        self, service: Service, under: str, operation: str, answer: Answer, *, streams: bool = False
    ) -> Route:
        method, path = service.route(operation)
        write = service.stream if streams else service.write

        def handle(request: Request, places: Mapping[str, str]) -> Response:
            try:
                region = authenticate(request, self.keys, time.time(), body_signed=True)
                asked = service.read(operation, request, places)
                with self.world.lock:
                    return write(operation, answer(region, asked))
            except Problem as problem:
                return problem.response()

        handler: Handler = handle
        return Route(method, f"{under}{path}", operation, handler)

    def _s3(self, request: Request, places: Mapping[str, str]) -> Response:
        try:
            authenticate(request, self.keys, time.time(), body_signed=False)
            if request.headers.get("x-amz-expected-bucket-owner", self.account) != self.account:
                raise Problem("AccessDenied", 403, "Access Denied")
        except Problem as problem:
            return _xml_problem(problem, query=not places)
        return self.buckets.answer(request, places)


_PROBLEMS: Mapping[str, tuple[str, str, int, str]] = {
    "throttle": ("ThrottlingException", "SlowDown", 429, "Too many requests"),
    "unavailable": ("ServiceUnavailableException", "ServiceUnavailable", 503, "Try again later"),
    "broken": ("InternalServerException", "InternalError", 500, "An internal error occurred"),
    "unauthorized": ("ExpiredTokenException", "ExpiredToken", 403, "The security token has expired"),
    "forbidden": ("AccessDeniedException", "AccessDenied", 403, "You are not authorized to perform this"),
}


_S3_NAMES = {
    "UnrecognizedClientException": "InvalidAccessKeyId",
    "InvalidSignatureException": "RequestTimeTooSkewed",
    "MissingAuthenticationTokenException": "AccessDenied",
}


def _xml_problem(problem: Problem, *, query: bool) -> Response:
    """As S3 says it, with its own names for some; IAM and STS put it one level deeper."""
    name = problem.name if query else _S3_NAMES.get(problem.name, problem.name)
    error = f"<Error><Code>{name}</Code><Message>{problem.message}</Message></Error>"
    body = f"<ErrorResponse>{error}</ErrorResponse>" if query else error
    return Response(body, problem.status, mimetype="application/xml")


def _account(world: World) -> Mapping[str, str]:
    """The made-up account: twelve digits and a credential, the same for as long as the folder is."""
    with world.lock:
        if (kept := world.get(_ACCOUNT, "it")) is None:
            kept = {
                "account": f"9{secrets.randbelow(10**11):011d}",
                "key": f"ASIASANDBOX{secrets.token_hex(5).upper()}",
                "secret": secrets.token_urlsafe(30),
                "token": secrets.token_urlsafe(24),
            }
            world.put(_ACCOUNT, "it", kept)
    return kept
