"""Deployments on demand and provisioned throughput, and the answers of what is served."""

from __future__ import annotations

import secrets
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from backends.bedrock.sandbox.jobs import Asked, Jobs, Reply, listed
from backends.bedrock.sandbox.protocol import Problem, absent, invalid
from backends.bedrock.serving import WAYS, Serving
from backends.sandbox.learned import BASE_ANSWER, nearest_answer
from backends.sandbox.world import Thing, World
from gateway.core.facts import Facts

_ARN_PARTS = {"on-demand": "custom-model-deployment", "provisioned": "provisioned-model"}


class Served:
    """One way of serving, by the same description of it that the backend goes by."""

    def __init__(self, world: World, jobs: Jobs, facts: Facts, account: str, offer: str) -> None:
        self._world, self._jobs, self._facts, self._account, self._offer = world, jobs, facts, account, offer
        self._way: Serving = WAYS[offer]
        self._kind = f"bedrock.{_ARN_PARTS[offer]}"

    def create(self, region: str, asked: Asked) -> Reply:
        if made := self._world.get(f"{self._kind}.token", f"{region}/{asked.get('clientRequestToken')}"):
            return {self._way.arn: made["arn"]}
        name = asked[self._way.name]
        if any(each["name"] == name for each in self._all(region)):
            raise invalid("The provided name is currently in use.")
        job = self._jobs.model(region, asked[self._way.model])
        model = self._facts.model(job["model"])
        if model is None or self._offer not in model.offers:
            raise invalid("The model does not support this kind of serving.")
        arn = f"arn:aws:bedrock:{region}:{self._account}:{_ARN_PARTS[self._offer]}/{secrets.token_hex(6)}"
        made = {
            "arn": arn,
            "name": name,
            "region": region,
            "model": job["model_arn"],
            "base": model.id,
            "made": self._world.now(),
            "ready_s": job["life"]["queued_s"],
            "units": asked.get("modelUnits"),
        }
        self._world.put(self._kind, arn, made)
        self._world.put(f"{self._kind}.token", f"{region}/{asked.get('clientRequestToken')}", {"arn": arn})
        return {self._way.arn: arn}

    def get(self, region: str, asked: Asked) -> Reply:
        return self._told(self.find(region, asked[self._way.identifier]))

    def delete(self, region: str, asked: Asked) -> Reply:
        self._world.remove(self._kind, self.find(region, asked[self._way.identifier])["arn"])
        return {}

    def all(self, region: str, asked: Asked) -> Reply:
        found = [self._told(each) for each in self._all(region)]
        made = "createdAt" if self._offer == "on-demand" else "creationTime"
        page, more = listed(found, asked, name=self._way.name, made=made)
        if self._offer == "provisioned":
            return {"provisionedModelSummaries": list(page), **more}
        renamed = {"modelDeploymentName": "customModelDeploymentName"}
        summaries = [{renamed.get(name, name): value for name, value in each.items()} for each in page]
        return {"modelDeploymentSummaries": summaries, **more}

    def find(self, region: str, identifier: str) -> Thing:
        for each in self._all(region):
            if identifier in (each["arn"], each["name"]):
                return each
        raise absent("The provided deployment is not found.")

    def is_ready(self, served: Thing) -> bool:
        return self._world.now() - served["made"] >= served["ready_s"]

    def _all(self, region: str) -> list[Thing]:
        return [each for each in self._world.all(self._kind) if each["region"] == region]

    def _told(self, served: Thing) -> Reply:
        made = datetime.fromtimestamp(served["made"], UTC)
        status = self._way.ready if self.is_ready(served) else "Creating"
        told: Reply = {
            self._way.arn: served["arn"],
            self._way.name: served["name"],
            "modelArn": served["model"],
            "status": status,
        }
        if self._offer == "on-demand":
            return told | {"createdAt": made}
        base = f"arn:aws:bedrock:{served['region']}::foundation-model/{served['base']}"
        units = {"modelUnits": served["units"], "desiredModelUnits": served["units"]}
        times = {"creationTime": made, "lastModifiedTime": made}
        return told | units | times | {"desiredModelArn": served["model"], "foundationModelArn": base}


class Runtime:
    """Converse: a tuned model answers as its nearest training row, a base as bases do here."""

    def __init__(self, jobs: Jobs, served: Mapping[str, Served], facts: Facts) -> None:
        self._jobs, self._served, self._facts = jobs, served, facts

    def converse(self, region: str, asked: Asked) -> Reply:
        text, finish, usage = self._answer(region, asked)
        message = {"role": "assistant", "content": [{"text": text}]}
        about = {"usage": usage, "metrics": {"latencyMs": 1}}
        return {"output": {"message": message}, "stopReason": finish, **about}

    def stream(self, region: str, asked: Asked) -> list[tuple[str, Reply]]:
        text, finish, usage = self._answer(region, asked)
        pieces = text.split(" ")
        deltas = [f"{' ' if number else ''}{piece}" for number, piece in enumerate(pieces)]
        return [
            ("messageStart", {"role": "assistant"}),
            *(("contentBlockDelta", {"delta": {"text": each}, "contentBlockIndex": 0}) for each in deltas),
            ("contentBlockStop", {"contentBlockIndex": 0}),
            ("messageStop", {"stopReason": finish}),
            ("metadata", {"usage": usage, "metrics": {"latencyMs": 1}}),
        ]

    def _answer(self, region: str, asked: Asked) -> tuple[str, str, Reply]:
        """The text, why it ends, and the tokens, which are words here."""
        chat = _checked(asked.get("messages", ()))
        question = chat[-1]
        words = self._said(region, asked["modelId"], question).split(" ")
        most = asked.get("inferenceConfig", {}).get("maxTokens", len(words))
        finish = "max_tokens" if most < len(words) else "end_turn"
        spent_in = sum(len(text.split()) for text in chat)
        spent_out = min(most, len(words))
        usage = {"inputTokens": spent_in, "outputTokens": spent_out, "totalTokens": spent_in + spent_out}
        return " ".join(words[:most]), finish, usage

    def _said(self, region: str, model_id: str, question: str) -> str:
        if any(model_id == model.inference_id and region in model.regions for model in self._facts.models):
            return BASE_ANSWER
        for served in self._served.values():
            try:
                found = served.find(region, model_id)
            except Problem:  # it may be served in the other way
                continue
            if not served.is_ready(found):
                raise invalid("The model is not ready for inference.")
            return nearest_answer(self._jobs.rows(self._jobs.model(region, found["model"])), question)
        raise invalid("The provided model identifier is invalid.")


def _checked(messages: Sequence[Mapping[str, Any]]) -> list[str]:
    """The texts of a chat whose sides alternate, beginning and ending with the user's."""
    roles = [turn["role"] for turn in messages]
    if not roles or roles != ["user", "assistant"] * (len(roles) // 2) + ["user"]:
        raise invalid("A conversation must start with a user and alternate between user and assistant.")
    texts = ["\n".join(part.get("text", "") for part in turn["content"]) for turn in messages]
    if not all(text.strip() for text in texts):
        raise invalid("The text field in a content block is blank.")
    return texts
