"""Amazon Bedrock as a `Backend`. Dispatch is not built yet: the lifecycle calls inherited from
`Backend` say so."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from pydantic import BaseModel

from backends.base import Backend, ProxyCounter
from backends.bedrock import rows, wire
from gateway.core.errors import Unsupported
from gateway.core.facts import ModelFacts
from gateway.core.plan import CandidateKey, Fit, Translation
from gateway.core.rows import Convert, DataProfile, TokenCounter
from gateway.core.spec import JobSpec

# No tokenizer of Nova is published and Llama's is not in the wheel: bytes per token of English prose.
_BYTES_PER_TOKEN = {"nova": 3.8, "llama": 4.0, "claude": 3.5}


class BedrockBackend(Backend):
    """Nova and Llama, tuned from S3 with one idempotent call."""

    options: ClassVar[type[BaseModel]] = wire.BedrockOptions

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
