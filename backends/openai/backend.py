"""OpenAI, Azure OpenAI and compatible endpoints as a `Backend`. Dispatch is not built yet: the
lifecycle calls inherited from `Backend` say so."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from pydantic import BaseModel

from backends.base import Backend, ProxyCounter
from backends.openai import wire
from backends.openai.counter import OpenAICounter
from gateway.core.errors import Unsupported
from gateway.core.facts import ModelFacts
from gateway.core.plan import CandidateKey, Fit, Translation
from gateway.core.rows import Convert, DataProfile, TokenCounter
from gateway.core.spec import JobSpec


class OpenAIBackend(Backend):
    """One protocol under three registry names; what differs between them is facts."""

    options: ClassVar[type[BaseModel]] = wire.OpenAIOptions

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

    def missing(self, options: Mapping[str, Any]) -> tuple[str, ...]:
        """Everything but OpenAI itself needs an address."""
        return () if self.name == "openai" or options.get("endpoint") else ("endpoint",)
