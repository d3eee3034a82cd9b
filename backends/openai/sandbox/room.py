"""OpenAI's stand-in, and what the two others share with it.

Requests are held to the types of the `openai` package; replies have every field its API description
asks for, and some that real ones add. A refused file is quoted in the refusal, as real services do.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, NoReturn

from werkzeug.wrappers import Request, Response

from backends.facts import load_facts
from backends.openai.sandbox import described, story, training_file
from backends.openai.sandbox.desk import Arguments, Refused
from backends.openai.sandbox.jobs import Jobs, method_of
from backends.sandbox.learned import BASE_ANSWER, nearest_answer
from backends.sandbox.server import Handler, Route, answer
from backends.sandbox.world import Thing, World


class OpenAIRoom(Jobs):
    """`api.openai.com/v1`."""

    name: ClassVar[str] = "openai"
    prefix: ClassVar[str] = "/v1"
    key: ClassVar[str] = "sandbox-key-of-openai"
    facts: ClassVar[str] = "facts.toml"
    extra_chat_fields: ClassVar[frozenset[str]] = frozenset()

    def __init__(self, world: World) -> None:
        super().__init__(world)
        models = load_facts(Path(__file__).parents[1] / self.facts).models
        self.tunable = frozenset(model.id for model in models)

    def environment(self, address: str) -> Mapping[str, str]:
        return {"OPENAI_BASE_URL": f"{address}/{self.name}{self.prefix}", "OPENAI_API_KEY": self.key}

    def routes(self) -> Sequence[Route]:
        job = "/fine_tuning/jobs/<id>"
        table: Sequence[tuple[str, str, str, Handler]] = (
            ("POST", "/files", "createFile", self.create_file),
            ("GET", "/files", "listFiles", self.list_files),
            ("GET", "/files/<id>", "retrieveFile", self.retrieve_file),
            ("GET", "/files/<id>/content", "downloadFile", self.download_file),
            ("DELETE", "/files/<id>", "deleteFile", self.delete_file),
            ("POST", "/fine_tuning/jobs", "createFineTuningJob", self.create_job),
            ("GET", "/fine_tuning/jobs", "listPaginatedFineTuningJobs", self.list_jobs),
            ("GET", job, "retrieveFineTuningJob", self.retrieve_job),
            ("POST", f"{job}/cancel", "cancelFineTuningJob", self.cancel_job),
            ("POST", f"{job}/pause", "pauseFineTuningJob", self.pause_job),
            ("POST", f"{job}/resume", "resumeFineTuningJob", self.resume_job),
            ("GET", f"{job}/events", "listFineTuningEvents", self.list_events),
            ("GET", f"{job}/checkpoints", "listFineTuningJobCheckpoints", self.list_checkpoints),
            ("GET", "/models/<path:model>", "retrieveModel", self.retrieve_model),
            ("DELETE", "/models/<path:model>", "deleteModel", self.delete_model),
            ("POST", "/chat/completions", "createChatCompletion", self.chat),
        )
        return [Route(m, f"{self.prefix}{path}", name, self.guarded(h)) for m, path, name, h in table]

    # -- models --------------------------------------------------------------------------------------

    def tuned(self, model: str) -> Thing | None:
        """The job that made a model, or the checkpoint of one, that is there."""
        whole, _, step = model.partition(":ckpt-step-")
        job = self.world.get(f"{self.name}.job", self.id_of_maker(whole))
        if job is None or job["model_name"] != whole or self.world.get(f"{self.name}.gone", model):
            return None
        steps = [str(each) for each in story.checkpoint_steps(job["life"]["steps"])]
        ready = self.world.phase(job).name == "succeeded" and (not step or step in steps)
        return job if ready else None

    def id_of_maker(self, model: str) -> str:
        """The id of the job that made a model, which is in the model's name."""
        return f"ftjob-{model.rpartition(':')[2]}"

    def retrieve_model(self, request: Request, arguments: Arguments) -> Response:
        model = arguments["model"]
        if model not in self.tunable and self.tuned(model) is None:
            self.no_model()
        return answer({"id": model, "object": "model", "created": 1_700_000_000, "owned_by": "sandbox"})

    def delete_model(self, request: Request, arguments: Arguments) -> Response:
        if self.tuned(arguments["model"]) is None:
            self.no_model()
        self.world.put(f"{self.name}.gone", arguments["model"], {"id": arguments["model"]})
        return answer({"id": arguments["model"], "object": "model", "deleted": True})

    def no_model(self) -> NoReturn:
        raise Refused(404, "The model does not exist or you do not have access to it", code="model_not_found")

    def answering(self, model: str) -> Sequence[tuple[str, str]]:
        """The rows a model answers by; none for a base model."""
        job = self.tuned(model)
        if job is None and self.tunable and model not in self.tunable:
            self.no_model()
        return () if job is None else self.rows(job)

    def rows(self, job: Thing) -> Sequence[tuple[str, str]]:
        path = self.world.blob(job["request"]["training_file"])
        return training_file.answers(path, method_of(job["request"])[0])

    def chat(self, request: Request, arguments: Arguments) -> Response:
        body = described.chat_request(request.get_data(), extra=self.extra_chat_fields)
        asked = training_file.words_of(body["messages"])
        rows = self.answering(body["model"])
        said = nearest_answer(rows, asked) if rows else BASE_ANSWER
        most = body.get("max_completion_tokens") or body.get("max_tokens") or 2**20
        cut, finish = said[: 4 * most], "stop" if len(said) <= 4 * most else "length"
        id = f"chatcmpl-{hashlib.sha256(asked.encode()).hexdigest()[:24]}"
        head = {"id": id, "created": int(self.world.now()), "model": body["model"]}
        if body.get("stream"):
            return Response(_streamed(head, cut, finish), mimetype="text/event-stream")
        usage = {"prompt_tokens": -(-len(asked) // 4), "completion_tokens": -(-len(cut) // 4)}
        message = {"role": "assistant", "content": cut, "refusal": None}
        return answer(
            {
                **head,
                "object": "chat.completion",
                "choices": [{"index": 0, "message": message, "finish_reason": finish, "logprobs": None}],
                "usage": {**usage, "total_tokens": sum(usage.values())},
            }
        )


class CompatibleRoom(OpenAIRoom):
    """Somebody's own server: it takes any model, and what it does not know it ignores in silence, our
    metadata with it. It can neither pause nor keep checkpoints."""

    name = "compatible"
    key = "sandbox-key-of-compatible"
    facts = "facts-compatible.toml"

    def environment(self, address: str) -> Mapping[str, str]:
        return {
            "OPENAI_COMPATIBLE_ENDPOINT": f"{address}/{self.name}{self.prefix}",
            "OPENAI_COMPATIBLE_API_KEY": self.key,
        }

    def routes(self) -> Sequence[Route]:
        lacks = ("pauseFineTuningJob", "resumeFineTuningJob", "listFineTuningJobCheckpoints")
        return [route for route in super().routes() if route.operation not in lacks]

    def kept_of(self, body: Mapping[str, Any]) -> Mapping[str, Any]:
        return {name: value for name, value in body.items() if name != "metadata"}

    def fits(self, job: Thing, wanted: Mapping[str, str]) -> bool:
        return True


def _streamed(head: Mapping[str, Any], said: str, finish: str) -> Iterator[bytes]:
    """An answer in events, a few characters each."""
    pieces = [said[i : i + 12] for i in range(0, len(said), 12)]
    for piece in pieces:
        yield _event(head, {"role": "assistant", "content": piece}, None)
    yield _event(head, {}, finish)
    yield b"data: [DONE]\n\n"


def _event(head: Mapping[str, Any], delta: Mapping[str, Any], finish: str | None) -> bytes:
    choice = {"index": 0, "delta": delta, "finish_reason": finish, "logprobs": None}
    chunk = {**head, "object": "chat.completion.chunk", "choices": [choice]}
    return f"data: {json.dumps(chunk)}\n\n".encode()
