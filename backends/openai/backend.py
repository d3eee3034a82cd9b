"""OpenAI as a `Backend`. Azure and compatible servers speak the same protocol; what they do in their own
way is in `azure` and `compatible`."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import BaseModel

from backends.base import Backend, Check, Handover, ProxyCounter, Staged
from backends.ledger import fill
from backends.openai import client as clients
from backends.openai import failures, inference, replies, wire
from backends.openai.counter import OpenAICounter
from gateway.core.errors import Auth, BackendError, NotFound, Rejected, Unavailable, Unsupported
from gateway.core.facts import Facts, ModelFacts
from gateway.core.job import Artifact, ChatMessage, Completion, Event, RemoteRef, Snapshot
from gateway.core.plan import CandidateKey, Fit, ProviderFile, Translation
from gateway.core.rows import Convert, DataProfile, TokenCounter
from gateway.core.spec import JobSpec

if TYPE_CHECKING:
    from openai import OpenAI

PAGE = 100
_DAY_S = 86_400


class OpenAIBackend(Backend):
    """OpenAI itself, and what the other two share with it. A client is made once per address and shared
    by all that `at` gives."""

    options: ClassVar[type[BaseModel]] = wire.OpenAIOptions
    loggers: ClassVar[tuple[str, ...]] = ("openai", "httpx", "httpcore")
    dispatches: ClassVar[bool] = True
    callable_by_name: ClassVar[bool] = True  # a tuned model answers without a deployment

    def __init__(self, facts: Facts, home: Path) -> None:
        super().__init__(facts, home)
        self._clients: dict[str, OpenAI] = {}

    # -- planning ----------------------------------------------------------------------------------

    def translate(
        self, spec: JobSpec, target: CandidateKey, profile: DataProfile, fit: Fit | None
    ) -> Translation:
        model = self.resolve(target.model)
        if model is None:
            raise Unsupported(f"{self.facts.title} does not offer {target.model}", place=self.name)
        return wire.translate(spec, target, model, profile, self.counter(model))

    def format(self, model: ModelFacts, task: str) -> str:
        return wire.PREFERENCE if task == "dpo" else wire.CHAT

    def convert(self, format: str) -> Convert:
        formats: Mapping[str, Convert] = {wire.CHAT: wire.chat_line, wire.PREFERENCE: wire.preference_line}
        return formats[format]

    def counter(self, model: ModelFacts) -> TokenCounter:
        if model.tokenizer.startswith("proxy:"):
            name = model.tokenizer.removeprefix("proxy:")
            return ProxyCounter(f"{self.name} {name}", bytes_per_token=3.6, per_message=5, band=0.2)
        return OpenAICounter(model.tokenizer)

    # -- where ---------------------------------------------------------------------------------------

    @property
    def asked(self) -> wire.OpenAIOptions:
        """This site's options."""
        return wire.OPTIONS[self.name].model_validate(dict(self.site.options))

    def addresses(self) -> tuple[str, ...]:
        return (str(self.client.base_url),)

    @property
    def client(self) -> OpenAI:
        """This site's client.

        Raises:
            Unavailable: this site has no address.
            openai.OpenAIError: there is no credential.
        """
        endpoint = self.asked.endpoint or ""
        if endpoint not in self._clients:
            self._clients[endpoint] = self._make_client()
        return self._clients[endpoint]

    def _make_client(self) -> OpenAI:
        return clients.openai_client(self.asked.endpoint)

    def endpoint(self) -> str:
        """The address that everything but OpenAI itself must be given."""
        if endpoint := self.asked.endpoint:
            return endpoint
        raise Unavailable(
            f"no address is known of {self.facts.title}",
            place=self.name,
            fix=f"set options.{self.name}.endpoint, or {self.variables['endpoint']}",
        )

    def check(self) -> tuple[Check, ...]:
        """A credential, and the right to see files and jobs."""
        try:
            reached = self.client
        except Unavailable as error:
            return (Check("address", "missing", error.fix or ""),)
        except Exception as error:
            return (Check("credential", "missing", self.classify(error).fix or ""),)
        return (
            self._checked("credential and access to jobs", lambda: reached.fine_tuning.jobs.list(limit=1)),
            self._checked("access to files", lambda: reached.files.list(limit=1)),
        )

    def _checked(self, name: str, ask: Callable[[], object]) -> Check:
        try:
            ask()
        except Exception as error:
            found = self.classify(error)
            return Check(
                name, "missing" if isinstance(found, Auth) else "unknown", found.fix or found.message
            )
        return Check(name, "ok")

    # -- files ---------------------------------------------------------------------------------------

    def stage(self, file: ProviderFile, path: Path, *, key: str) -> Staged:
        """Upload a file under a name that begins with its hash, unless one of that name is there."""
        file = replace(file, sha256=file.sha256 or _sha256(path))
        body = wire.upload(file, self.asked)
        reply = self._uploaded(body)
        if reply is None:
            with path.open("rb") as stream:
                content: Any = (body["file"], stream, "application/jsonl")
                sender = self.client.with_options(timeout=clients.timeout(clients.UPLOAD_S))
                sending: dict[str, Any] = {**body, "file": content}
                reply = clients.as_json(sender.files.create(**sending))
        id = replies.text(reply, "id")
        if id is None:
            raise clients.unreadable(self.name)
        self._await_processed(id, reply)
        return Staged(file, id)

    def _uploaded(self, body: Mapping[str, Any]) -> replies.Reply | None:
        """The file of that name, if it will last as long as one uploaded now would, give or take a day."""
        keep_s = body.get("expires_after", {}).get("seconds")
        for reply in clients.listed(self.client.files.list(purpose="fine-tune", limit=PAGE, order="desc")):
            if reply.get("filename") != body["file"] or reply.get("status") in ("error", "deleted"):
                continue
            ends = replies.number(reply, "expires_at")
            if keep_s is None and ends is None:
                return reply
            if keep_s is not None and ends is not None and abs(ends - time.time() - keep_s) <= _DAY_S:
                return reply
        return None

    def _await_processed(self, id: str, reply: replies.Reply) -> None:
        """Nothing to wait for: a job may be made of a file at once."""

    def unstage(self, uri: str) -> None:
        self._if_there(lambda: self.client.files.delete(uri))

    # -- jobs ----------------------------------------------------------------------------------------

    def submit(
        self, translation: Translation, staged: Sequence[Staged], *, key: str, handover: Handover
    ) -> RemoteRef:
        """Send the translation's own request, filled in. What the SDK has no name for goes as it is."""
        if translation.refused:
            paths = ", ".join(outcome.path for outcome in translation.refused)
            raise Rejected(f"the translation refuses {paths}", backend=self.name)
        places = {part.file.name: part.uri for part in staged}
        body = fill(translation.requests[-1].body, places, key)
        known = {name: body.pop(name) for name in _CREATE if name in body}
        reply = clients.as_json(self.client.fine_tuning.jobs.create(**known, extra_body=body or None))
        return self._ref(reply)

    def find(self, key: str) -> RemoteRef | None:
        """The oldest job under this key, whatever has become of it. The service's filter is not trusted."""
        found = [job for job in self._jobs_under(key) if self._is_under(job, key)]
        oldest = min(found, key=lambda job: replies.number(job, "created_at") or 0, default=None)
        return None if oldest is None else self._ref(oldest)

    def _jobs_under(self, key: str) -> Iterator[replies.Reply]:
        return clients.listed(
            self.client.fine_tuning.jobs.list(limit=PAGE, metadata={wire.METADATA_KEY: key})
        )

    def _is_under(self, job: replies.Reply, key: str) -> bool:
        return replies.part(job, "metadata").get(wire.METADATA_KEY) == key

    def _ref(self, job: replies.Reply) -> RemoteRef:
        id = replies.text(job, "id")
        if id is None:
            raise clients.unreadable(self.name)
        return RemoteRef(self.name, id, {"address": str(self.client.base_url), "offer": self.site.offer})

    def poll(self, ref: RemoteRef) -> Snapshot:
        job = clients.as_json(self.client.fine_tuning.jobs.retrieve(ref.id))
        return self._seen(ref, job)

    def _seen(self, ref: RemoteRef, job: replies.Reply) -> Snapshot:
        latest: Iterable[replies.Reply] = ()
        if job.get("status") == "running":
            latest = clients.page(self.client.fine_tuning.jobs.list_events(ref.id, limit=10))
        return replies.snapshot(job, datetime.now(UTC), latest)

    def events(self, ref: RemoteRef, *, after: str | None = None) -> tuple[Event, ...]:
        """The service lists them newest first; only as many pages are read as there is news."""
        news: list[replies.Reply] = []
        for reply in clients.listed(self.client.fine_tuning.jobs.list_events(ref.id, limit=PAGE)):
            if after is not None and reply.get("id") == after:
                break
            news.append(reply)
        return replies.events(news)

    def cancel(self, ref: RemoteRef) -> Snapshot:
        try:
            return self._seen(ref, clients.as_json(self.client.fine_tuning.jobs.cancel(ref.id)))
        except Exception as error:
            failed = self.classify(error)
            if isinstance(failed, NotFound):
                return Snapshot("cancelled", "gone", datetime.now(UTC))
            if not isinstance(failed, Rejected):
                raise failed from None
            snapshot = self.poll(ref)  # refused because it has ended meanwhile?
            if snapshot.state not in ("succeeded", "failed", "cancelled", "cancelling"):
                raise failed from None
            return snapshot

    def pause(self, ref: RemoteRef) -> Snapshot:
        """Only a running job can pause; one that cannot yet is asked again later."""
        return self._switch(ref, self.client.fine_tuning.jobs.pause, "paused", waits="queued")

    def resume(self, ref: RemoteRef) -> Snapshot:
        return self._switch(ref, self.client.fine_tuning.jobs.resume, "running", waits="")

    def _switch(self, ref: RemoteRef, ask: Callable[[str], Any], wanted: str, *, waits: str) -> Snapshot:
        """Pause or resume. A refusal is told by what the job is: there already, ended, not yet, never."""
        try:
            return self._seen(ref, clients.as_json(ask(ref.id)))
        except Exception as error:
            failed = self.classify(error)
            if not isinstance(failed, Rejected | NotFound):
                raise failed from None
        snapshot = self.poll(ref)
        if snapshot.state in (wanted, "succeeded") or (wanted == "paused" and _ended(snapshot)):
            return snapshot
        if snapshot.state in (waits, "running") and isinstance(failed, Rejected):
            raise Rejected(
                "it cannot be done just now; it is tried again", backend=self.name, status=failed.status,
                retryable=True,
            )  # fmt: skip
        raise Unsupported(
            f"{self.facts.title} cannot do that with a job that is {snapshot.raw_state}",
            place=self.name,
            fix="plan and run again" if _ended(snapshot) else "let it run, or cancel it",
        )

    def artifacts(self, ref: RemoteRef) -> tuple[Artifact, ...]:
        job = clients.as_json(self.client.fine_tuning.jobs.retrieve(ref.id))
        return replies.artifacts(
            job,
            self._checkpoints(ref),
            base_url=str(self.client.base_url),
            callable=self.callable_by_name,
        )

    def _checkpoints(self, ref: RemoteRef) -> list[replies.Reply]:
        """Checkpoints are an extra: where the service knows none, or not this call, there are none."""
        try:
            return list(clients.listed(self.client.fine_tuning.jobs.checkpoints.list(ref.id, limit=PAGE)))
        except Exception as error:
            if isinstance(failed := self.classify(error), NotFound | Rejected):
                return []
            raise failed from None

    def delete(self, ref: RemoteRef) -> None:
        """Remove the tuned model, its checkpoints and the result files; the job's entry stays.

        Raises:
            Rejected: it has not ended.
        """
        try:
            job = clients.as_json(self.client.fine_tuning.jobs.retrieve(ref.id))
        except Exception as error:
            if isinstance(failed := self.classify(error), NotFound):
                return
            raise failed from None
        if not _ended(replies.snapshot(job, datetime.now(UTC))):
            raise Rejected("this job has not ended", backend=self.name, fix="cancel it first")
        for artifact in self.artifacts(ref):
            if artifact.kind == "metrics":
                self.unstage(artifact.uri.split("/")[-2])
            else:
                self._if_there(lambda model=artifact.uri: self.client.models.delete(model))

    def _if_there(self, ask: Callable[[], object]) -> None:
        try:
            ask()
        except Exception as error:
            if not isinstance(failed := self.classify(error), NotFound):
                raise failed from None

    # -- inference -----------------------------------------------------------------------------------

    def complete(
        self, model_ref: str, batch: Sequence[Sequence[ChatMessage]], *, max_output_tokens: int
    ) -> tuple[Completion, ...]:
        request = self._inference(model_ref, max_output_tokens)
        return inference.answers(self.client, request, batch, self.classify)

    def stream(
        self, model_ref: str, messages: Sequence[ChatMessage], *, max_output_tokens: int
    ) -> Iterator[str]:
        return inference.pieces(self.client, self._inference(model_ref, max_output_tokens), messages)

    def _inference(self, model_ref: str, max_output_tokens: int) -> dict[str, Any]:
        """All of a greedy request but its messages."""
        return {
            "model": self._called(model_ref),
            "temperature": 0,
            "max_completion_tokens": max_output_tokens,
        }

    def _called(self, model_ref: str) -> str:
        """What answers: a tuned model by its name, a base model by the id it is called by."""
        base = self.resolve(model_ref)
        return model_ref if base is None else base.inference_id or base.id

    # -- failures ------------------------------------------------------------------------------------

    def classify(self, error: Exception) -> BackendError:
        if isinstance(error, BackendError):
            return error
        install = f"pip install 'tunegate[{self.facts.extra}]'"
        failed = failures.classify(error, backend=self.name, install=install)
        if isinstance(failed, Auth):
            self._clients.clear()  # the next one reads the credential anew
        return failed


_CREATE = ("model", "training_file", "validation_file", "seed", "suffix", "method", "metadata")


def _ended(snapshot: Snapshot) -> bool:
    return snapshot.state in ("succeeded", "failed", "cancelled")


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
