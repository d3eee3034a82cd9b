"""Somebody's own server that speaks OpenAI's protocol, as a `Backend`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import BaseModel

from backends.openai import client as clients
from backends.openai import wire
from backends.openai.backend import OpenAIBackend
from gateway.core.errors import Unsupported
from gateway.core.facts import ModelFacts
from gateway.core.job import RemoteRef

if TYPE_CHECKING:
    from openai import OpenAI


PLACE = "endpoint"  # its one region, and its one offer


class CompatibleBackend(OpenAIBackend):
    """Its key has a variable of its own: OpenAI's never goes there."""

    options: ClassVar[type[BaseModel]] = wire.CompatibleOptions
    variables: ClassVar[Mapping[str, str]] = {"endpoint": "OPENAI_COMPATIBLE_ENDPOINT"}
    key_variable: ClassVar[str] = "OPENAI_COMPATIBLE_API_KEY"

    @property
    def asked(self) -> wire.CompatibleOptions:
        return wire.CompatibleOptions.model_validate(dict(self.site.options))

    def resolve(self, name: str) -> ModelFacts | None:
        """A model that this site's options state. Whatever else is not known of it is as in the protocol,
        or absent."""
        if name not in self.asked.models:
            return None
        return ModelFacts(
            name=name,
            id=name,
            family="open",
            regions=(PLACE,),
            offers=(PLACE,),
            tasks=("sft", "dpo"),
            methods=("lora",),
            tokenizer="proxy:unknown",
            source=self.facts.lookup.source,
        )

    def missing(self, options: Mapping[str, Any]) -> tuple[str, ...]:
        return () if options.get("endpoint") else ("endpoint",)

    def _make_client(self) -> OpenAI:
        return clients.compatible_client(self.endpoint(), lambda: self.credential(self.key_variable))

    def find(self, key: str) -> RemoteRef | None:
        raise Unsupported(
            "a compatible server may ignore the key it is sent, so a missing job proves nothing",
            place=self.name,
        )

    def _inference(self, model_ref: str, max_output_tokens: int) -> dict[str, Any]:
        """Many such servers know only the older name of the limit."""
        request = super()._inference(model_ref, max_output_tokens)
        request["max_tokens"] = request.pop("max_completion_tokens")
        return request
