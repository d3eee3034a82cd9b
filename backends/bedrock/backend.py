"""Amazon Bedrock as a `Backend`: rows in S3, one idempotent create, a deployment to be called."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, ClassVar, TypeVar

from pydantic import BaseModel

from backends.base import Backend, Check, Handover, ProxyCounter, Staged
from backends.bedrock import checks, converse, failures, replies, rows, serving, storage, wire
from backends.bedrock.client import Clients
from backends.ledger import fill
from gateway.core.errors import BackendError, Unreachable, Unsupported
from gateway.core.facts import Facts, ModelFacts
from gateway.core.job import Artifact, ChatMessage, Completion, Event, RemoteRef, Snapshot
from gateway.core.plan import CandidateKey, Fit, ProviderFile, Translation
from gateway.core.rows import Convert, DataProfile, TokenCounter
from gateway.core.spec import JobSpec

T = TypeVar("T")
# No tokenizer of Nova is published and Llama's is not in the wheel: bytes per token of English prose.
_BYTES_PER_TOKEN = {"nova": 3.8, "llama": 4.0, "claude": 3.5}
_AT_ONCE = 8  # answers asked for at the same time


class BedrockBackend(Backend):
    """Nova and Llama, tuned from S3 with one idempotent call."""

    options: ClassVar[type[BaseModel]] = wire.BedrockOptions
    variables: ClassVar[Mapping[str, str]] = {
        "role_arn": "TUNEGATE_BEDROCK_ROLE_ARN",
        "output_uri": "TUNEGATE_BEDROCK_OUTPUT_URI",
        "data_uri": "TUNEGATE_BEDROCK_DATA_URI",
        "kms_key": "TUNEGATE_BEDROCK_KMS_KEY",
    }
    loggers: ClassVar[tuple[str, ...]] = ("boto3", "botocore", "s3transfer", "urllib3")
    dispatches: ClassVar[bool] = True

    def __init__(self, facts: Facts, home: Path) -> None:
        super().__init__(facts, home)
        self._by_region: dict[str, Clients] = {}  # shared with every `at`
        self._folds: dict[str, bool] = {}
        self._just_seen: dict[str, Mapping[str, Any]] = {}

    # -- planning ---------------------------------------------------------------------------------

    def translate(
        self, spec: JobSpec, target: CandidateKey, profile: DataProfile, fit: Fit | None
    ) -> Translation:
        model = self.resolve(target.model)
        if model is None:
            raise Unsupported(f"{self.facts.title} does not offer {target.model}", place=self.name)
        return wire.translate(spec, target, model, profile, self.counter(model))

    def format(self, model: ModelFacts, task: str) -> str:
        return rows.format_of(model)

    def convert(self, format: str) -> Convert:
        formats: Mapping[str, Convert] = {
            rows.NOVA: rows.nova_line,
            rows.CONVERSE: rows.converse_line,
            rows.PROMPT: rows.prompt_line,
        }
        return formats[format]

    def counter(self, model: ModelFacts) -> TokenCounter:
        name = model.tokenizer.removeprefix("proxy:")
        return ProxyCounter(
            f"{self.name} {name}", bytes_per_token=_BYTES_PER_TOKEN[name], per_message=5, band=0.2
        )

    def missing(self, options: Mapping[str, Any]) -> tuple[str, ...]:
        return tuple(name for name in ("role_arn", "output_uri") if not options.get(name))

    def account(self, options: Mapping[str, Any]) -> str:
        return wire.account_of(options.get("role_arn"))

    # -- the site ---------------------------------------------------------------------------------

    def addresses(self) -> tuple[str, ...]:
        return tuple(self._clients.address(service) for service in ("s3", "create", "bedrock-runtime"))

    def check(self) -> tuple[Check, ...]:
        offered = {region for model in self._today for region in model.regions}
        regions = [self.site.region] if self.site.region else sorted(offered)
        found: dict[str, Check] = {}
        for region in regions:
            models = tuple(model for model in self._today if region in model.regions)
            for each in checks.check(self._in(region), region, self._options, models, self.classify):
                found.setdefault(each.name, each)
        return tuple(found.values())

    # -- dispatch ---------------------------------------------------------------------------------

    def stage(self, file: ProviderFile, path: Path, *, key: str) -> Staged:
        request = wire.upload(file, self._options, self.site.region).body
        return Staged(file, storage.put(self._clients, self.site.region, path, request))

    def submit(
        self, translation: Translation, staged: Sequence[Staged], *, key: str, handover: Handover
    ) -> RemoteRef:
        places = {each.file.name: each.uri for each in staged}
        body = fill(translation.requests[-1].body, places, key)
        try:
            reply = self._clients["create"].create_model_customization_job(**body)
            return self._ref(reply["jobArn"], body["jobName"])
        except Exception as error:
            # A name that is taken is a validation error like any other: whose it is, its token tells.
            taken = failures.name_of(error) in ("ValidationException", "ConflictException")
            if taken and (ours := self.find(key)):
                return ours
            raise

    def find(self, key: str) -> RemoteRef | None:
        job = self._known(wire.job_name(key))
        if job is None or job.get("clientRequestToken", key) != key:
            return None
        return self._ref(job["jobArn"], job["jobName"])

    # -- watching ---------------------------------------------------------------------------------

    def poll(self, ref: RemoteRef) -> Snapshot:
        job = self._just_seen[ref.id] = self._job(ref.id)
        return replies.snapshot(job, _now())

    def events(self, ref: RemoteRef, *, after: str | None = None) -> tuple[Event, ...]:
        """Read off the job's reply: the one of the look before, where there was one."""
        job = self._just_seen.pop(ref.id, None) or self._job(ref.id)
        metrics = self._metrics(job) if job.get("status") == "Completed" else ()
        return replies.after(replies.events(job, metrics), after)

    def cancel(self, ref: RemoteRef) -> Snapshot:
        try:
            self._clients["bedrock"].stop_model_customization_job(jobIdentifier=ref.id)
        except Exception as error:
            if failures.is_absent(error):
                return replies.gone(_now())
            seen = self.poll(ref)
            if seen.state in ("queued", "running", "unknown"):
                raise  # it could have been stopped; else it had ended before: that is no error
            return seen
        return self.poll(ref)

    def artifacts(self, ref: RemoteRef) -> tuple[Artifact, ...]:
        """The tuned model, which cannot be called until it is deployed, and the files with its metrics."""
        job = self._job(ref.id)
        if not job.get("outputModelArn"):
            return ()
        bucket, prefix = replies.output_of(job)
        names = self._if_allowed(lambda: storage.names(self._clients, bucket, prefix)) or ()
        left = (Artifact("metrics", f"s3://{bucket}/{name}") for name in names)
        return (Artifact("model", str(job["outputModelArn"])), *left)

    # -- serving ----------------------------------------------------------------------------------

    def deploy(self, ref: RemoteRef) -> Artifact:
        return serving.deploy(self._clients, serving.way_of(self.site.offer), self._job(ref.id), _now())

    def undeploy(self, ref: RemoteRef) -> None:
        name = ref.detail.get("name") or (self._known(ref.id) or {}).get("jobName")
        if name:  # else no job of that id was ever there
            serving.undeploy(self._clients, serving.way_of(self.site.offer), str(name))

    def complete(
        self, model_ref: str, batch: Sequence[Sequence[ChatMessage]], *, max_output_tokens: int
    ) -> tuple[Completion, ...]:
        model_id, folded = self._called_as(model_ref)
        client = self._clients["bedrock-runtime"]

        def answer(chat: Sequence[ChatMessage]) -> Completion:
            body = converse.request(model_id, chat, max_output_tokens=max_output_tokens, folded=folded)
            began = time.perf_counter()
            reply = client.converse(**body)
            return converse.completion(reply, time.perf_counter() - began)

        with ThreadPoolExecutor(max_workers=min(_AT_ONCE, len(batch) or 1)) as pool:
            return tuple(pool.map(answer, batch))

    def stream(
        self, model_ref: str, messages: Sequence[ChatMessage], *, max_output_tokens: int
    ) -> Iterator[str]:
        model_id, folded = self._called_as(model_ref)
        body = converse.request(model_id, messages, max_output_tokens=max_output_tokens, folded=folded)
        whole = False
        for event in self._clients["bedrock-runtime"].converse_stream(**body)["stream"]:
            whole |= "messageStop" in event
            if text := converse.piece(event):
                yield text
        if not whole:  # the SDK takes the end of the connection for the end of the answer
            raise Unreachable("the answer broke off", backend=self.name, retryable=True)

    # -- afterwards -------------------------------------------------------------------------------

    def unstage(self, uri: str) -> None:
        storage.remove(self._clients, uri)

    def delete(self, ref: RemoteRef) -> None:
        """The tuned model and the job's own files. The job itself stays: Bedrock has no call to delete it."""
        job = self._known(ref.id)
        if job is None:
            return
        if model := job.get("outputModelArn"):
            storage.unless_absent(lambda: self._clients["bedrock"].delete_custom_model(modelIdentifier=model))
        bucket, prefix = replies.output_of(job)
        for name in storage.unless_absent(lambda: storage.names(self._clients, bucket, prefix)) or ():
            self._clients["s3"].delete_object(Bucket=bucket, Key=name)

    def classify(self, error: Exception) -> BackendError:
        known = failures.classify(error, backend=self.name, now=_now())
        if known.code == "backend_auth":  # somebody signs in again: what was loaded is no longer good
            self._by_region.clear()
        return known

    # -- inside -----------------------------------------------------------------------------------

    @property
    def _options(self) -> wire.BedrockOptions:
        return wire.BedrockOptions.model_validate(dict(self.site.options))

    @property
    def _today(self) -> tuple[ModelFacts, ...]:
        """Models that no date of the facts has closed for training."""
        ended = [end for end in self.facts.lifecycle if end.until and end.until < _now().date()]
        return tuple(m for m in self.facts.models if not any(end.concerns(m) for end in ended))

    @property
    def _clients(self) -> Clients:
        return self._in(self.site.region)

    def _in(self, region: str) -> Clients:
        return self._by_region.setdefault(region, Clients(region))

    def _job(self, identifier: str) -> Mapping[str, Any]:
        return self._clients["bedrock"].get_model_customization_job(jobIdentifier=identifier)

    def _known(self, identifier: str) -> Mapping[str, Any] | None:
        return storage.unless_absent(lambda: self._job(identifier))

    def _ref(self, arn: str, name: str) -> RemoteRef:
        address = self._clients.address("create")
        return RemoteRef(self.name, arn, {"name": name, "region": self.site.region, "address": address})

    def _if_allowed(self, call: Callable[[], T]) -> T | None:
        """None where the bucket may not be read: one may be allowed to tune and not to look at metrics."""
        try:
            return call()
        except Exception as error:
            if self.classify(error).retryable:
                raise
            return None

    def _metrics(self, job: Mapping[str, Any]) -> tuple[Event, ...]:
        bucket, prefix = replies.output_of(job)
        name = f"{prefix}{replies.METRICS}"
        table = self._if_allowed(lambda: storage.read(self._clients, bucket, name))
        return replies.metric_events(table or "", job.get("endTime") or job["creationTime"])

    def _called_as(self, model_ref: str) -> tuple[str, bool]:
        """What a model is called as at Bedrock, and whether its chats lead with the system text."""
        if re.match(r"arn:[^:]+:bedrock:", model_ref):
            if ":custom-model/" in model_ref:
                raise Unsupported(
                    "a tuned model answers only once it is deployed",
                    place=model_ref,
                    fix="`tunegate jobs deploy`",
                )
            return model_ref, self._folded(model_ref)
        model = self.resolve(model_ref)
        if model is None:
            raise Unsupported("no such model there", place=model_ref, fix="`tunegate backends facts bedrock`")
        if model.inference_id is None:
            raise Unsupported(
                f"{model.name} itself answers only through a profile that sends prompts across regions",
                place=self.name,
                fix="set evaluate.baseline to false; the tuned model answers within its region",
            )
        return model.inference_id, False

    def _folded(self, arn: str) -> bool:
        """Llama 3.1 is trained on prompts that begin with the system text: it is asked in the same way."""
        if ":provisioned-model/" not in arn:
            return False
        if arn not in self._folds:
            about = serving.look(self._clients, serving.WAYS["provisioned"], arn) or {}
            base = str(about.get("foundationModelArn", "")).rpartition("/")[2]
            model = next((m for m in self.facts.models if base and base in (m.id, m.inference_id)), None)
            self._folds[arn] = model is not None and rows.format_of(model) == rows.PROMPT
        return self._folds[arn]


def _now() -> datetime:
    return datetime.now(UTC)
