"""Answers: `generateContent` of tuned endpoints and of Google's own models; and how they are removed."""

from __future__ import annotations

import json
import secrets
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from werkzeug.wrappers import Request, Response

from backends.sandbox.learned import BASE_ANSWER, nearest_answer
from backends.sandbox.server import Handler, Route, answer
from backends.sandbox.world import World
from backends.vertex.sandbox.account import PROJECT_NUMBER
from backends.vertex.sandbox.described import Wrong, described
from backends.vertex.sandbox.learning import BYTES_PER_TOKEN, text_of
from backends.vertex.sandbox.problems import missing, problem, refused
from backends.vertex.sandbox.tuning import ENDPOINT, FACTS, JOB

_MULTI_REGIONS = ("us", "eu", "global")
_DEFAULT_TOKENS = 8192
_STREAM = "streamGenerateContent"
_Question = Mapping[str, Any]
_Says = Callable[[_Question, Mapping[str, str]], str | Response]


class Serving:
    """Tuned models answer from the rows they were sent, Google's own with the same sentence always."""

    def __init__(self, world: World) -> None:
        self._world = world

    def routes(self) -> Sequence[Route]:
        root = "/<any(v1,v1beta1):version>/projects/<project>/locations/<location>"
        endpoint, model = f"{root}/endpoints/<id>", f"{root}/publishers/google/models/<id>"
        return (
            Route("POST", f"{endpoint}:generateContent", "endpoints.generateContent", _whole(self._tuned)),
            Route("POST", f"{endpoint}:{_STREAM}", f"endpoints.{_STREAM}", _pieces(self._tuned)),
            Route("POST", f"{model}:generateContent", "models.generateContent", _whole(self._base)),
            Route("POST", f"{model}:{_STREAM}", f"models.{_STREAM}", _pieces(self._base)),
            Route("GET", endpoint, "endpoints.get", self._endpoint),
            Route("POST", f"{endpoint}:undeployModel", "endpoints.undeployModel", self._undeploy),
            Route("DELETE", endpoint, "endpoints.delete", self._delete_endpoint),
            Route("DELETE", f"{root}/models/<id>", "models.delete", self._delete_model),
            Route("GET", f"{root}/operations/<id>", "operations.get", lambda request, names: _done(names)),
        )

    # -- answers -----------------------------------------------------------------------------------

    def _tuned(self, body: _Question, names: Mapping[str, str]) -> str | Response:
        endpoint = self._found(names)
        job = endpoint and self._world.get(JOB, endpoint["job"])
        if not endpoint or not job or self._world.phase(job).name != "succeeded":
            return missing("The Endpoint")
        if not endpoint["deployed"]:
            return problem("FAILED_PRECONDITION", "No model is deployed to the Endpoint.")
        rows = json.loads(self._world.blob(f"rows-{job['id']}").read_text("utf-8"))
        return nearest_answer(tuple((asked, said) for asked, said in rows), _asked(body))

    def _base(self, body: _Question, names: Mapping[str, str]) -> str | Response:
        model = next((each for each in FACTS.models if each.id == names["id"]), None)
        places = _MULTI_REGIONS if model and model.family == "gemini-3" else (model.regions if model else ())
        if names["location"] not in places:
            return missing(f"Publisher Model {names['id']}")
        return BASE_ANSWER

    # -- removal -----------------------------------------------------------------------------------

    def _found(self, names: Mapping[str, str]) -> dict[str, Any] | None:
        endpoint = self._world.get(ENDPOINT, names["id"])
        return endpoint if endpoint and endpoint["location"] == names["location"] else None

    def _endpoint(self, request: Request, names: Mapping[str, str]) -> Response:
        endpoint = self._found(names)
        if endpoint is None:
            return missing("The Endpoint")
        root = f"projects/{PROJECT_NUMBER}/locations/{names['location']}"
        shown: dict[str, Any] = {"name": f"{root}/endpoints/{names['id']}", "displayName": "tuned"}
        if endpoint["deployed"]:
            shown["deployedModels"] = [{"id": "1", "model": f"{root}/models/{endpoint['job']}"}]
        return answer(shown)

    def _undeploy(self, request: Request, names: Mapping[str, str]) -> Response:
        body = json.loads(request.get_data())
        api = described(f"aiplatform.{names['version']}")
        if wrong := api.wrong_body("projects.locations.endpoints.undeployModel", body):
            return refused(wrong)
        with self._world.lock:
            endpoint = self._found(names)
            if endpoint is None:
                return missing("The Endpoint")
            self._world.put(ENDPOINT, names["id"], endpoint | {"deployed": False})
        return _done(names)

    def _delete_endpoint(self, request: Request, names: Mapping[str, str]) -> Response:
        with self._world.lock:
            endpoint = self._found(names)
            if endpoint is None:
                return missing("The Endpoint")
            if endpoint["deployed"]:
                return problem("FAILED_PRECONDITION", "A model is still deployed to the Endpoint.")
            self._world.remove(ENDPOINT, names["id"])
        return _done(names)

    def _delete_model(self, request: Request, names: Mapping[str, str]) -> Response:
        job = self._world.get(JOB, names["id"])
        if job is None or job.get("model_gone"):
            return missing("The Model")
        if any(self._world.get(ENDPOINT, endpoint) for endpoint in job["endpoints"]):
            return problem("FAILED_PRECONDITION", "The Model is deployed to an Endpoint.")
        with self._world.lock:
            self._world.put(JOB, names["id"], job | {"model_gone": True})
        return _done(names)


def _whole(says: _Says) -> Handler:
    def handler(request: Request, names: Mapping[str, str]) -> Response:
        body = _read(request, names)
        if isinstance(body, Response):
            return body
        text = says(body, names)
        return text if isinstance(text, Response) else answer(_replied(body, text))

    return handler


def _pieces(says: _Says) -> Handler:
    """Server-sent events, a word each; an array of them where `alt=sse` was not asked for."""

    def handler(request: Request, names: Mapping[str, str]) -> Response:
        body = _read(request, names)
        if isinstance(body, Response):
            return body
        text = says(body, names)
        if isinstance(text, Response):
            return text
        pieces = _in_pieces(_replied(body, text))
        if request.args.get("alt") != "sse":
            return answer(pieces)
        events = "".join(f"data: {json.dumps(piece)}\r\n\r\n" for piece in pieces)
        return Response(events, mimetype="text/event-stream")

    return handler


def _in_pieces(whole: Mapping[str, Any]) -> list[dict[str, Any]]:
    """An answer word by word; how it ended, and what it took, are in the last piece."""
    candidate = whole["candidates"][0]
    words: list[str] = candidate["content"]["parts"][0]["text"].split(" ")
    pieces = [_piece(word + " " * (place < len(words))) for place, word in enumerate(words, start=1)]
    pieces[-1]["candidates"][0]["finishReason"] = candidate["finishReason"]
    pieces[-1]["usageMetadata"] = whole["usageMetadata"]
    return pieces


def _read(request: Request, names: Mapping[str, str]) -> _Question | Response:
    """The body of a question, once it is as described."""
    try:
        body = json.loads(request.get_data())
    except ValueError:
        return refused([Wrong("", "the payload is no JSON")])
    api = described(f"aiplatform.{names['version']}")
    if wrong := api.wrong_body("projects.locations.endpoints.generateContent", body):
        return refused(wrong)
    return body if body.get("contents") else refused([Wrong("contents", "contents is required")])


def _asked(body: _Question) -> str:
    """Everything that was said before the answer."""
    system = body.get("systemInstruction") or body.get("system_instruction")
    return " ".join(text_of(content) for content in (*([system] if system else ()), *body["contents"]))


def _replied(body: _Question, text: str) -> dict[str, Any]:
    limit = int(body.get("generationConfig", {}).get("maxOutputTokens", _DEFAULT_TOKENS)) * BYTES_PER_TOKEN
    reply = _piece(text[:limit])
    reply["candidates"][0]["finishReason"] = "STOP" if len(text) <= limit else "MAX_TOKENS"
    prompt, said = _tokens(_asked(body)), _tokens(text[:limit])
    usage = {"promptTokenCount": prompt, "candidatesTokenCount": said, "totalTokenCount": prompt + said}
    return reply | {"usageMetadata": usage}


def _piece(text: str) -> dict[str, Any]:
    content = {"role": "model", "parts": [{"text": text}]}
    return {"candidates": [{"content": content, "index": 0}], "modelVersion": "rehearsal"}


def _tokens(text: str) -> int:
    return len(text) // BYTES_PER_TOKEN + 1


def _done(names: Mapping[str, str]) -> Response:
    """A long-running operation that has ended."""
    root = f"projects/{PROJECT_NUMBER}/locations/{names['location']}/operations"
    return answer({"name": f"{root}/{secrets.randbelow(10**18)}", "done": True, "response": {}})
