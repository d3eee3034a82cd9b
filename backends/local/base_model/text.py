"""Made-up text from a grammar: all that the demonstration model ever reads before fine-tuning."""

from __future__ import annotations

import random
import re
import tomllib
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path

GRAMMAR = Path(__file__).with_name("grammar.toml")
SYSTEM, USER, ASSISTANT, TOOL = "<|system|>", "<|user|>", "<|assistant|>", "<|tool|>"
END, PAD = "<|end|>", "<|pad|>"

_SLOT = re.compile(r"\{(?:(?P<bind>\w+)=)?(?P<rule>\w+)(?:\*(?P<by>\w+))?\}")


@cache
def grammar() -> Mapping[str, list[str]]:
    """Every rule and the ways to say it, in the file's order."""
    return tomllib.loads(GRAMMAR.read_text(encoding="utf-8"))


def documents(seed: int) -> Iterator[str]:
    """An endless stream of documents, turn tokens included; the same for the same seed."""
    rng = random.Random(seed)  # noqa: S311 - text, not secrets
    while True:
        yield _say("{document}", {}, rng)


def _say(line: str, bound: dict[str, str], rng: random.Random) -> str:
    """`line` with every slot replaced, left to right; `bound` collects what was named."""

    def fill(slot: re.Match[str]) -> str:
        bind, rule, by = slot["bind"], slot["rule"], slot["by"]
        if by is None and rule in bound:
            return bound[rule]
        said = _say(rng.choice(grammar()[rule + bound[by] if by else rule]), bound, rng)
        if bind:
            bound[bind] = said
        return "" if bind and bind.startswith("_") else said

    return _SLOT.sub(fill, line)
