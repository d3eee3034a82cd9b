"""One question to Cedar, and the strictest reading of its answer."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import cedarpy
import orjson

from gateway.policy.rules import schema

REMEMBERED = 8192  # answers kept; one is a few hundred bytes

# Everything a rule may ask about is in the question; there is no second place to look it up.
_NO_ENTITIES = cedarpy.Entities.from_json_str("[]")  # pyright: ignore[reportUnknownMemberType]


@dataclass(frozen=True, slots=True)
class Verdict:
    """The engine's bare answer.

    Attributes:
        allowed: a clean allow; whatever else the engine says is not.
        rules: ids of the rules that determined it, sorted.
        judged: whether the question could be judged at all.
    """

    allowed: bool
    rules: tuple[str, ...]
    judged: bool = True


def judge(question: dict[str, Any], rules: cedarpy.PolicySet) -> Verdict:
    """Ask the engine, which first checks the question against the schema.

    A rule that fails on an attribute is skipped by Cedar, and a skipped forbid opens a door: so one
    error spoils the whole answer. The engine's messages quote the question and go no further.
    """
    answer = cedarpy.is_authorized(question, rules, _NO_ENTITIES, schema())  # pyright: ignore[reportUnknownMemberType]
    determining = tuple(sorted(answer.diagnostics.reasons))
    if answer.diagnostics.errors or answer.decision is cedarpy.Decision.NoDecision:
        return Verdict(False, determining, judged=False)
    return Verdict(answer.decision is cedarpy.Decision.Allow and bool(determining), determining)


def judge_of(rules: cedarpy.PolicySet) -> Callable[[bytes], Verdict]:
    """`judge` over these rules, from a question's canonical JSON; each is asked once."""

    @lru_cache(REMEMBERED)
    def asked(question: bytes) -> Verdict:
        return judge(orjson.loads(question), rules)

    return asked
