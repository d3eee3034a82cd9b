"""Vertex AI as a `Backend`: files through Cloud Storage, jobs through the API, answers through google-genai.

A tuning job has no request id at Google: our key is its label, by which a job whose creation was never
heard of is found again. Google's clients live in `client.py`, and are shared by all sites of one project.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, ClassVar

from pydantic import BaseModel

from backends.base import Backend, Check, Handover, ProxyCounter, Staged
from backends.ledger import fill
from backends.vertex import checks, errors, inference, removal, replies, rows, storage, wire
from backends.vertex.client import Clients
from backends.vertex.places import GLOBAL, location_of, serving_location
from gateway.core.errors import BackendError, NotFound, Rejected, Unsupported
from gateway.core.facts import Facts, ModelFacts
from gateway.core.job import Artifact, ChatMessage, Completion, Event, RemoteRef, Snapshot
from gateway.core.plan import CandidateKey, Fit, ProviderFile, Translation
from gateway.core.rows import Convert, DataProfile, TokenCounter
from gateway.core.spec import JobSpec

# Bytes per token of English prose, beside the template's tokens per message. Google's own cost script
# gives whole rows of open models, template included, 0.231 (Gemma), 0.246 (Qwen) and 0.247 to 0.317
# (Llama) tokens a character, which these stay within; for Gemini nothing is published.
_BYTES_PER_TOKEN = {"gemini": 4.0, "gemma": 4.5, "llama": 4.0, "qwen": 4.2}
_PER_MESSAGE = {"gemini": 3, "gemma": 4, "llama": 5, "qwen": 5}


class VertexBackend(Backend):
    """Gemini and open models, tuned from Cloud Storage."""

    options: ClassVar[type[BaseModel]] = wire.VertexOptions
    variables: ClassVar[Mapping[str, str]] = {
        "project": "GOOGLE_CLOUD_PROJECT",
        "base_url": "GOOGLE_VERTEX_BASE_URL",
    }
    loggers: ClassVar[tuple[str, ...]] = ("google", "google_genai", "httpx", "httpcore", "urllib3")
    dispatches: ClassVar[bool] = True

    def __init__(self, facts: Facts, home: Path) -> None:
        super().__init__(facts, home)
        self._clients: dict[tuple[str, str | None], Clients] = {}

    # -- planning ----------------------------------------------------------------------------------

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
            rows.CONTENTS: rows.contents_line,
            rows.MESSAGES: rows.messages_line,
        }
        return formats[format]

    def counter(self, model: ModelFacts) -> TokenCounter:
        name = model.tokenizer.removeprefix("proxy:")
        return ProxyCounter(
            f"{self.name} {name}",
            bytes_per_token=_BYTES_PER_TOKEN[name],
            per_message=_PER_MESSAGE[name],
            band=0.25,
        )

    def missing(self, options: Mapping[str, Any]) -> tuple[str, ...]:
        return () if options.get("project") else ("project",)

    def account(self, options: Mapping[str, Any]) -> str:
        return str(options.get("project") or "")

    # -- the site ----------------------------------------------------------------------------------

    @property
    def _options(self) -> wire.VertexOptions:
        return wire.VertexOptions.model_validate(dict(self.site.options))

    @property
    def _region(self) -> str:
        """The site's region; where none is meant, the first that tunes."""
        return self.site.region or self._options.location or self.facts.models[0].regions[0]

    def _client(self) -> Clients:
        options = self._options
        if options.project is None:
            raise Rejected(
                "no project is named",
                backend=self.name,
                fix="set options.vertex.project, or GOOGLE_CLOUD_PROJECT",
            )
        key = (options.project, options.base_url)
        return self._clients.setdefault(key, Clients(*key))

    def addresses(self) -> tuple[str, ...]:
        client, region = self._client(), self._region
        places = dict.fromkeys((region, serving_location(region, "gemini-3")))
        return tuple(dict.fromkeys((*map(client.address, places), client.storage_address)))

    def check(self) -> tuple[Check, ...]:
        if self._options.project is None:
            return (Check("project", "missing", "set options.vertex.project, or GOOGLE_CLOUD_PROJECT"),)
        return checks.check(self._client(), self._options, self._region, self.name, self.classify)

    # -- dispatch ----------------------------------------------------------------------------------

    def stage(self, file: ProviderFile, path: Path, *, key: str) -> Staged:
        uri = storage.stage(self._client(), file, path, self._options, self._region, self.name)
        return Staged(file, uri)

    def unstage(self, uri: str) -> None:
        storage.unstage(self._client(), uri)

    def submit(
        self, translation: Translation, staged: Sequence[Staged], *, key: str, handover: Handover
    ) -> RemoteRef:
        client, create = self._client(), translation.requests[-1]
        body = fill(dict(create.body), {each.file.name: each.uri for each in staged}, key)
        version = create.operation.partition(".")[0]
        location = location_of(f"{body['parent']}/")
        if output := body["tuningJob"].get("outputUri"):  # weights are of the data's class
            storage.bucket_near(client, wire.bucket_in(output), location, self.name)
        path = f"{version}/{body['parent']}/tuningJobs"
        job = client.call("POST", location, path, body=body["tuningJob"])
        return replies.ref_of(job, self.name, version, client.address(location))

    def find(self, key: str) -> RemoteRef | None:
        """Asks by label, then looks at every job there is: that Google filters by label rests on
        convention, and a second job costs more than a list. `global` is asked as well, since such jobs
        are carried out in regions, and by which name they are listed is not written anywhere."""
        label = key[: wire.LABEL_LENGTH]
        by_label = {"filter": f'labels.{wire.LABEL}="{label}"'}
        for location in dict.fromkeys((self._region, GLOBAL)):
            for query in (by_label, {}):
                try:
                    found = self._labelled(location, label, query)
                except Exception as error:
                    refused = self.classify(error)
                    is_last_word = location == self._region and query is not by_label
                    if is_last_word or not isinstance(refused, Rejected | NotFound):
                        raise refused from None
                else:
                    if found is not None:
                        return found
        return None

    def _labelled(self, location: str, label: str, query: Mapping[str, str]) -> RemoteRef | None:
        """The first job made under this label. The newer version of the API lists what either made."""
        client = self._client()
        path = f"v1beta1/projects/{self._options.project}/locations/{location}/tuningJobs"
        jobs = client.pages(location, path, "tuningJobs", query)
        ours = [job for job in jobs if job.get("labels", {}).get(wire.LABEL) == label]
        if not ours:
            return None
        first = min(ours, key=lambda job: str(job.get("createTime", "")))
        return replies.ref_of(first, self.name, replies.version_of(first), client.address(location))

    # -- while it runs, and after ------------------------------------------------------------------

    def _path(self, ref: RemoteRef) -> tuple[str, str]:
        """Location and path of a job; `ref.id` may be the bare number a person read in the console."""
        name = ref.id
        if not name.startswith("projects/"):
            name = f"projects/{self._options.project}/locations/{self._region}/tuningJobs/{name}"
        return location_of(name), f"{ref.detail.get('version', 'v1beta1')}/{name}"

    def _job(self, ref: RemoteRef) -> dict[str, Any]:
        location, path = self._path(ref)
        return self._client().call("GET", location, path)

    def poll(self, ref: RemoteRef) -> Snapshot:
        return replies.snapshot(self._job(ref), datetime.now(UTC))

    def events(self, ref: RemoteRef, *, after: str | None = None) -> tuple[Event, ...]:
        told = replies.events(self._job(ref), datetime.now(UTC))
        return tuple(event for event in told if after is None or event.id > after)

    def cancel(self, ref: RemoteRef) -> Snapshot:
        """Google does its best, and the job may succeed all the same: what is told is how it stands."""
        location, path = self._path(ref)
        try:
            self._client().call("POST", location, f"{path}:cancel", body={})
            return self.poll(ref)
        except Exception as error:
            refused = self.classify(error)
        if isinstance(refused, NotFound):
            return replies.gone(datetime.now(UTC))
        if not isinstance(refused, Rejected):
            raise refused
        now = self.poll(ref)
        if now.state not in ("succeeded", "failed", "cancelled", "cancelling"):
            raise refused
        return now

    def artifacts(self, ref: RemoteRef) -> tuple[Artifact, ...]:
        return replies.artifacts(self._job(ref))

    def deploy(self, ref: RemoteRef) -> Artifact:
        raise self.why_not_deployed(self.artifacts(ref))

    def why_not_deployed(self, artifacts: Sequence[Artifact]) -> Unsupported:
        if any(each.callable_id for each in artifacts):
            return Unsupported("a tuned Gemini answers as it is", place=self.name, fix="call it: `jobs show`")
        return Unsupported(
            "an open model's weights are in your bucket, and need a GPU endpoint of yours to answer",
            place=self.name,
            fix="deploy the weights of `jobs show` in Google's console (Model Garden, custom weights); it "
            "costs by the hour",
        )

    def undeploy(self, ref: RemoteRef) -> None:
        """Nothing: what Google deploys by itself costs nothing while idle, and goes with `delete`."""

    def delete(self, ref: RemoteRef) -> None:
        try:
            job = self._job(ref)
        except Exception as error:
            refused = self.classify(error)
            if isinstance(refused, NotFound):
                return
            raise refused from None
        removal.remove(self._client(), job, ref.detail.get("version", "v1beta1"))

    # -- inference ---------------------------------------------------------------------------------

    def complete(
        self, model_ref: str, batch: Sequence[Sequence[ChatMessage]], *, max_output_tokens: int
    ) -> tuple[Completion, ...]:
        location, model = self._called(model_ref)
        return inference.complete(self._client(), location, model, batch, max_output_tokens, self.classify)

    def stream(
        self, model_ref: str, messages: Sequence[ChatMessage], *, max_output_tokens: int
    ) -> Iterator[str]:
        location, model = self._called(model_ref)
        return inference.stream(self._client(), location, model, messages, max_output_tokens)

    def _called(self, model_ref: str) -> tuple[str, str]:
        """Where a model answers, and what it is called there: an endpoint by its resource name, a base
        model by its publisher's. Never elsewhere than the site's region or the multi-region around it."""
        if location := location_of(model_ref):
            near = (self._region, serving_location(self._region, "gemini-3"))
            if self.site.region and location not in near:
                raise Rejected(
                    f"this model answers in {location}, and was asked for in {self.site.region}",
                    backend=self.name,
                )
            return location, model_ref
        model = self.resolve(model_ref)
        if model is None:
            raise Unsupported(f"{self.facts.title} does not offer {model_ref}", place=self.name)
        if model.family == "open":
            raise Unsupported(
                f"{model.name} answers there only from a GPU endpoint of yours",
                place=self.name,
                fix="tune it on `local`, where base and tuned answer on this machine",
            )
        name = f"publishers/google/models/{model.inference_id or model.id}"
        return serving_location(self._region, model.family), name

    def classify(self, error: Exception) -> BackendError:
        found = errors.classify(error, self.name)
        if found.code == "backend_auth":
            self._clients.clear()  # whoever signs in again is believed at once
        return found
