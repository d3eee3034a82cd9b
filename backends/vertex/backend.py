"""Vertex AI as a `Backend`. Dispatch is not built yet: the lifecycle calls inherited from `Backend`
say so."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from pydantic import BaseModel

from backends.base import Backend, ProxyCounter
from backends.vertex import rows, wire
from gateway.core.errors import Unsupported
from gateway.core.facts import ModelFacts
from gateway.core.plan import CandidateKey, Fit, Translation
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
